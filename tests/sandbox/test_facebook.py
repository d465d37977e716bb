"""Emulated Facebook: each quirk shown."""

from datetime import timedelta
from urllib.parse import parse_qsl, urlsplit

import pytest

from socialvault.sandbox import page_id

PAGES = "public_profile,email,pages_show_list,business_management"


def error_of(response):
    error = response.json()["error"]
    assert error["fbtrace_id"]
    assert error["type"] == "OAuthException"
    return error["code"], error.get("error_subcode")


@pytest.fixture
def token(facebook):
    return facebook.connect(scope=PAGES)["access_token"]


@pytest.fixture
def long_lived(facebook, token):
    return facebook.long_lived(token).json()["access_token"]


def listed(facebook, token, path="/me/accounts", **params):
    """Follow the cursors and return every row, and how many answers it took."""
    rows, answers, after = [], 0, ""
    while True:
        answer = facebook.graph(path, token, **params, **({"after": after} if after else {})).json()
        rows += answer["data"]
        answers += 1
        if "next" not in answer.get("paging", {}):
            return rows, answers
        after = answer["paging"]["cursors"]["after"]


# --- tokens -----------------------------------------------------------------------------------------


def test_the_callback_has_its_odd_fragment(facebook):
    assert facebook.consent().url.endswith("#_=_")


def test_declining_says_why(facebook):
    callback = facebook.consent(approve=False)
    assert (callback["error"], callback["error_reason"]) == ("access_denied", "user_denied")


def test_a_code_brings_a_short_lived_token_without_refresh_token(facebook, sandbox):
    sandbox.clock.freeze()
    tokens = facebook.connect()
    assert set(tokens) == {"access_token", "token_type", "expires_in"}
    assert 3600 <= tokens["expires_in"] <= 7200
    sandbox.clock.advance(timedelta(seconds=tokens["expires_in"]))
    assert error_of(facebook.graph("/me", tokens["access_token"])) == (190, 463)


def test_the_exchange_works_by_get_too(facebook, http, sandbox):
    params = {
        "client_id": facebook.client_id,
        "client_secret": facebook.secret,
        "code": facebook.consent()["code"],
        "redirect_uri": "https://app.example/callback",
    }
    response = http.get(sandbox.url("facebook", "/v24.0/oauth/access_token"), params=params)
    assert response.json()["access_token"] in sandbox.live_tokens("facebook")
    again = http.get(sandbox.url("facebook", "/v24.0/oauth/access_token"), params=params)
    assert error_of(again) == (100, None)


def test_a_living_token_is_exchanged_for_sixty_days_again_and_again(facebook, token, sandbox):
    sandbox.clock.freeze()
    first = facebook.long_lived(token).json()
    assert first["expires_in"] == 60 * 86400
    assert sandbox.log[-1].outcome == "exchanged"
    sandbox.clock.advance(timedelta(days=50))
    second = facebook.long_lived(first["access_token"]).json()
    assert second["expires_in"] == 60 * 86400
    sandbox.clock.advance(timedelta(days=59))
    assert facebook.graph("/me", second["access_token"]).status_code == 200
    assert error_of(facebook.long_lived(first["access_token"])) == (190, 463)
    sandbox.clock.advance(timedelta(days=1))
    assert error_of(facebook.long_lived(second["access_token"])) == (190, 463)


def test_another_applications_token_is_not_exchanged(facebook, token, register):
    other = register("facebook", client_id="other-app")
    assert error_of(other.long_lived(token)) == (100, None)
    assert error_of(facebook.long_lived("nonsense")) == (190, 467)
    assert error_of(facebook.post(facebook.token_path, {"grant_type": "refresh_token"})) == (100, None)


@pytest.mark.parametrize(("setting", "said"), [("absent", None), ("zero", 0)])
def test_expires_in_may_be_absent_or_zero_and_debug_token_knows_better(facebook, sandbox, setting, said):
    sandbox.clock.freeze()
    sandbox.settings("facebook", expires_in=setting)
    answer = facebook.long_lived(facebook.connect()["access_token"]).json()
    assert answer.get("expires_in") == said
    told = facebook.debug(answer["access_token"]).json()["data"]["expires_at"]
    assert told == int(sandbox.clock.now_seconds() + 60 * 86400)


def test_scopes_are_separated_by_commas_or_spaces(facebook):
    for scope in ("public_profile,email", "public_profile email"):
        token = facebook.connect(scope=scope)["access_token"]
        rows = facebook.graph("/me/permissions", token).json()["data"]
        assert {row["permission"] for row in rows} == {"public_profile", "email"}


# --- who may call -----------------------------------------------------------------------------------


def test_a_call_without_the_right_proof_is_refused(facebook, token, http, sandbox):
    url, bearer = sandbox.url("facebook", "/v24.0/me"), {"Authorization": f"Bearer {token}"}
    assert error_of(http.get(url, headers=bearer)) == (100, None)
    assert sandbox.log[-1].outcome == "appsecret_proof"
    assert error_of(facebook.graph("/me", token, appsecret_proof="0" * 64)) == (100, None)
    assert error_of(facebook.graph("/me", token, appsecret_proof="é")) == (100, None)
    in_query = {"access_token": token, "appsecret_proof": facebook.proof(token)}
    assert http.get(url, params=in_query).status_code == 200
    sandbox.settings("facebook", appsecret_proof="checked")
    assert http.get(url, headers=bearer).status_code == 200
    assert error_of(facebook.graph("/me", token, appsecret_proof="0" * 64)) == (100, None)


def test_the_account_gives_the_fields_asked_for(facebook, token):
    plain = facebook.graph("/me", token).json()
    assert set(plain) == {"id", "name"}
    full = facebook.graph("/me", token, fields="id,name,email,picture.type(large),unknown").json()
    assert full["email"] == "ada@example.com"
    assert "picture" not in full  # only the part before the modifier names a field
    assert facebook.graph("/me", token, fields="picture{url}").json()["picture"]["data"]["url"]


def test_ids_differ_per_application(facebook, token, register):
    other = register("facebook", client_id="other-app")
    assert other.graph("/me", other.connect()["access_token"]).json()["id"] != facebook.graph("/me", token).json()["id"]


def test_a_declined_e_mail_is_absent_and_listed_as_declined(facebook):
    token = facebook.connect(scopes=["public_profile"])["access_token"]
    assert "email" not in facebook.graph("/me", token, fields="email").json()
    rows = {row["permission"]: row["status"] for row in facebook.graph("/me/permissions", token).json()["data"]}
    assert rows == {"public_profile": "granted", "email": "declined", "pages_show_list": "declined"}


def test_a_missing_permission_is_200(facebook):
    token = facebook.connect(scope="public_profile")["access_token"]
    refused = facebook.graph("/me/accounts", token)
    assert refused.status_code == 403
    assert error_of(refused) == (200, None)


# --- how a token dies -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("end", "subcode"), [("change_password", 460), ("revoke_grant", 458)], ids=["password changed", "app removed"]
)
def test_a_dead_grant_says_how_it_died(facebook, long_lived, sandbox, end, subcode):
    pages, _ = listed(facebook, long_lived)
    assert getattr(sandbox, end)("facebook", user="ada") == 1
    assert error_of(facebook.graph("/me", long_lived)) == (190, subcode)
    assert error_of(facebook.graph("/me", pages[0]["access_token"])) == (190, subcode)
    assert facebook.debug(long_lived).json()["data"]["error"]["subcode"] == subcode


def test_an_unknown_token_is_467(facebook):
    assert error_of(facebook.graph("/me", "nonsense")) == (190, 467)


@pytest.mark.parametrize("node", ["me", "id"])
def test_deleting_the_permissions_ends_every_grant_of_the_person(facebook, token, sandbox, node):
    second, other = facebook.connect()["access_token"], facebook.connect(user="grace")["access_token"]
    node = facebook.graph("/me", token).json()["id"] if node == "id" else node
    assert facebook.graph(f"/{node}/permissions", token, "DELETE").json() == {"success": True}
    assert sandbox.log[-1].outcome == "revoked"
    assert error_of(facebook.graph("/me", second)) == (190, 458)
    assert facebook.graph("/me", other).status_code == 200


def test_the_app_token_deletes_permissions_of_a_person_by_id(facebook, token, sandbox, http):
    def delete(node, app_token):
        url = sandbox.url("facebook", f"/v24.0/{node}/permissions")
        return http.delete(url, headers={"Authorization": f"Bearer {app_token}"})

    subject, app_token = facebook.graph("/me", token).json()["id"], f"{facebook.client_id}|{facebook.secret}"
    assert error_of(delete("1", app_token)) == (100, None)
    assert error_of(delete(subject, f"{facebook.client_id}|wrong")) == (190, 467)
    assert delete(subject, app_token).json() == {"success": True}
    assert error_of(delete(subject, app_token)) == (100, None)


def test_one_permission_can_be_taken_back(facebook, token, sandbox):
    assert facebook.graph("/me/permissions/email", token, "DELETE").json() == {"success": True}
    rows = {row["permission"]: row["status"] for row in facebook.graph("/me/permissions", token).json()["data"]}
    assert (rows["email"], rows["public_profile"]) == ("declined", "granted")
    assert error_of(facebook.graph("/me/permissions/email", token, "DELETE")) == (100, None)
    assert error_of(facebook.graph("/4/permissions", token, "DELETE")) == (100, None)
    assert facebook.graph("/me", token).status_code == 200


# --- Pages ------------------------------------------------------------------------------------------


def test_pages_come_five_at_a_time(facebook, token):
    rows, answers = listed(facebook, token, fields="id,name,access_token,tasks", limit="100")
    assert ([row["id"] for row in rows], answers) == ([page_id(number) for number in range(1, 13)], 3)
    assert rows[0]["name"] == "Page 1"
    assert "MANAGE" in rows[0]["tasks"]
    assert set(rows[0]) == {"id", "name", "access_token", "tasks"}
    assert len(facebook.graph("/me/accounts", token, limit="2").json()["data"]) == 2


@pytest.mark.parametrize("params", [{"limit": "0"}, {"limit": "x"}, {"after": "nonsense"}])
def test_a_wrong_limit_or_cursor_is_refused(facebook, token, params):
    assert error_of(facebook.graph("/me/accounts", token, **params)) == (100, None)


def test_the_next_link_carries_the_token_but_no_proof(facebook, token, http):
    following = facebook.graph("/me/accounts", token).json()["paging"]["next"]
    query = dict(parse_qsl(urlsplit(following).query))
    assert query["access_token"] == token
    assert error_of(http.get(following)) == (100, None)
    answer = http.get(f"{following}&appsecret_proof={facebook.proof(token)}").json()
    assert answer["data"][0]["id"] == page_id(6)


def test_130_pages_over_3_cursors_5_of_a_business_3_not_ticked(facebook, sandbox):
    sandbox.settings("facebook", pages=130, page_size=50, business_pages=5)
    everything = [page_id(n) for n in range(1, 131)] + [page_id(n, "business-page") for n in range(1, 6)]
    token = facebook.connect(scope=PAGES, pages=everything[3:])["access_token"]
    own, answers = listed(facebook, token, limit="100")
    assert (len(own), answers) == (130, 3)
    assert [row["id"] for row in own if "access_token" not in row] == everything[:3]
    [business] = facebook.graph("/me/businesses", token).json()["data"]
    owned, _ = listed(facebook, token, f"/{business['id']}/owned_pages")
    assert [row["id"] for row in owned] == everything[130:]
    assert all("access_token" in row for row in owned)
    assert listed(facebook, token, f"/{business['id']}/client_pages") == ([], 1)
    assert listed(facebook, token, "/1/owned_pages") == ([], 1)


def test_business_pages_come_in_pages_too(facebook, sandbox):
    sandbox.settings("facebook", business_pages=7)
    token = facebook.connect(scope=PAGES)["access_token"]
    [business] = facebook.graph("/me/businesses", token).json()["data"]
    first = facebook.graph(f"/{business['id']}/owned_pages", token).json()
    assert f"/{business['id']}/owned_pages?" in first["paging"]["next"]
    assert len(listed(facebook, token, f"/{business['id']}/owned_pages")[0]) == 7


def test_without_business_pages_there_is_no_business(facebook, token):
    assert facebook.graph("/me/businesses", token).json() == {"data": []}
    poor = facebook.connect(scope="pages_show_list")["access_token"]
    assert error_of(facebook.graph("/me/businesses", poor)) == (200, None)


def test_a_pages_token_has_no_expiry_when_read_with_a_long_lived_one(facebook, token, long_lived, sandbox):
    short = listed(facebook, token)[0][0]["access_token"]
    forever = listed(facebook, long_lived)[0][0]["access_token"]
    assert short != forever
    assert listed(facebook, long_lived)[0][0]["access_token"] == forever
    sandbox.clock.advance(timedelta(days=300))
    assert error_of(facebook.graph("/me", short)) == (190, 463)
    assert error_of(facebook.graph("/me", long_lived)) == (190, 463)
    assert facebook.graph("/me", forever).json() == {"id": page_id(1), "name": "Page 1"}
    assert facebook.debug(forever).json()["data"]["expires_at"] == 0


def test_a_page_can_be_read_with_its_own_token_and_the_persons(facebook, token):
    rows, _ = listed(facebook, token)
    own, other = rows[0]["access_token"], rows[1]["access_token"]
    assert facebook.graph(f"/{page_id(1)}", own).json()["name"] == "Page 1"
    assert facebook.graph(f"/{page_id(1)}", token).json()["name"] == "Page 1"
    assert error_of(facebook.graph(f"/{page_id(1)}", other)) == (100, None)
    assert error_of(facebook.graph("/4", token)) == (100, None)


def test_pages_are_offered_on_the_consent_page_only_when_asked_for(facebook, http, sandbox):
    assert page_id(12) in http.get(facebook.login_url()).text
    assert page_id(1) not in http.get(facebook.login_url(scope="email")).text


# --- debug_token ------------------------------------------------------------------------------------


def test_debug_token_tells_everything(facebook, long_lived, sandbox):
    sandbox.clock.freeze()
    data = facebook.debug(long_lived).json()["data"]
    now = sandbox.clock.now_seconds()
    assert (data["app_id"], data["type"], data["is_valid"]) == (facebook.client_id, "USER", True)
    assert data["user_id"] == facebook.graph("/me", long_lived).json()["id"]
    assert abs(data["expires_at"] - now - 60 * 86400) < 5
    assert abs(data["data_access_expires_at"] - now - 90 * 86400) < 5
    assert set(data["scopes"]) == set(PAGES.split(","))
    sandbox.clock.advance(timedelta(days=60))
    data = facebook.debug(long_lived).json()["data"]
    assert (data["is_valid"], data["error"]["subcode"]) == (False, 463)


def test_debug_token_of_a_page_names_the_page(facebook, long_lived):
    data = facebook.debug(listed(facebook, long_lived)[0][2]["access_token"]).json()["data"]
    assert (data["type"], data["profile_id"]) == ("PAGE", page_id(3))


def test_r_15_debug_token_wants_the_app_token_and_tells_foreign_ones_apart(facebook, token, register, http, sandbox):
    other = register("facebook", client_id="other-app")
    assert error_of(other.debug(token)) == (100, None)
    assert error_of(facebook.debug(token, app_token="no-bar")) == (190, 467)
    assert error_of(facebook.debug(token, app_token=f"{facebook.client_id}|wrong")) == (190, 467)
    assert error_of(facebook.debug(token, app_token=token)) == (190, 467)
    params = {"input_token": token, "access_token": f"{facebook.client_id}|{facebook.secret}"}
    assert http.get(sandbox.url("facebook", "/debug_token"), params=params).json()["data"]["is_valid"] is True
    assert facebook.debug("nonsense").json()["data"]["is_valid"] is False
    assert error_of(http.get(sandbox.url("facebook", "/debug_token"), params=params | {"appsecret_proof": "0"})) == (
        100,
        None,
    )


def test_r_15_debug_token_can_be_made_to_name_another_application(facebook, token, sandbox):
    sandbox.settings("facebook", debug_app_id="999")
    assert facebook.debug(token).json()["data"]["app_id"] == "999"
