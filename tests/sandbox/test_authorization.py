"""What every emulated authorization server has in common: consents, codes, client authentication."""

import base64
import re
from datetime import timedelta
from urllib.parse import parse_qsl, urlsplit

import pytest

from socialvault.exceptions import ConfigurationError


def test_a_consent_ends_in_a_callback_that_is_not_followed(app):
    callback = app.consent()
    assert callback["state"] == "state-1"
    assert callback["code"].startswith(f"{app.provider}-code-")
    assert callback.method == "GET"
    assert callback.url.startswith("https://app.example/callback?")
    assert dict(parse_qsl(urlsplit(callback.url).query)) == callback


def test_a_code_brings_tokens_that_name_their_grant(app, sandbox):
    tokens = app.connect()
    entry = sandbox.log.entries(outcome="issued")[0]
    assert tokens["access_token"].startswith(f"{app.provider}-at-{entry.grant_id}-")
    assert tokens["access_token"] in sandbox.live_tokens(app.provider, entry.grant_id)
    assert sandbox.live_tokens(app.provider, "g999") == frozenset()


def test_f_07_a_code_works_once_and_its_second_use_ends_the_grant(app, sandbox):
    code = app.consent()["code"]
    assert app.exchange(code).status_code == 200
    assert sandbox.live_tokens(app.provider)
    assert app.exchange(code).status_code == 400
    assert sandbox.log[-1].outcome == "code_reused"
    assert sandbox.live_tokens(app.provider) == frozenset()


@pytest.mark.parametrize(
    ("provider", "lives"), [("x", 30), ("linkedin", 600), ("facebook", 600), ("instagram", 600), ("oidc", 600)]
)
def test_a_code_lives_as_long_as_the_provider_says(register, sandbox, provider, lives):
    app = register(provider)
    sandbox.clock.freeze()
    code = app.consent()["code"]
    sandbox.clock.advance(timedelta(seconds=lives - 1))
    assert app.exchange(code).status_code == 200
    code = app.consent()["code"]
    sandbox.clock.advance(timedelta(seconds=lives))
    assert app.exchange(code).status_code == 400
    assert sandbox.log[-1].outcome == "code_expired"


def test_the_redirect_uri_of_the_exchange_must_be_the_same(app, sandbox):
    response = app.exchange(app.consent()["code"], redirect_uri="https://app.example/callback/")
    assert response.status_code == 400
    assert sandbox.log[-1].outcome == "invalid_grant"


@pytest.mark.parametrize(
    "redirect_uri",
    [
        "https://app.example/callback/",
        "https://app.example/Callback",
        "https://app.example/callback?a=1",
        "nonsense",
        "https://app.example/callback#fragment",
        "",
    ],
)
def test_a_redirect_uri_that_is_not_registered_byte_for_byte_shows_an_error_page(app, sandbox, redirect_uri):
    sandbox.register(app.provider, redirect_uris=["https://app.example/callback"])
    assert app.consent()["code"]
    with pytest.raises(ConfigurationError, match="invalid_redirect_uri"):
        sandbox.authorize(app.login_url(redirect_uri=redirect_uri))
    assert sandbox.log[-1].outcome == "invalid_redirect_uri"


def test_an_unknown_application_shows_an_error_page(app, sandbox):
    with pytest.raises(ConfigurationError, match="not registered"):
        sandbox.authorize(app.login_url(client_id="stranger"))


def test_a_code_of_one_application_is_nothing_to_another(app, register):
    other = register(app.provider, client_id="other-app")
    code = app.consent()["code"]
    assert other.exchange(code).status_code == 400
    assert app.exchange(code).status_code == 200


def test_another_response_type_is_sent_back_as_an_error(app, sandbox):
    callback = sandbox.authorize(app.login_url(response_type="token"))
    assert callback["error"] == "unsupported_response_type"
    assert callback["state"] == "state-1"


def test_only_facebook_fills_in_a_missing_response_type(app, sandbox):
    callback = sandbox.authorize(app.login_url(response_type=None))
    assert ("code" in callback) is (app.provider == "facebook")


def test_a_repeated_parameter_of_the_request_is_an_error(app, sandbox):
    assert sandbox.authorize(app.login_url() + "&state=again")["error"] == "invalid_request"


def test_a_repeated_parameter_at_the_token_endpoint_is_an_error(app, http, sandbox):
    url = sandbox.url(app.provider, app.token_path)
    form = f"grant_type=authorization_code&code=a&code=b&client_id={app.client_id}"
    response = http.post(url, content=form, headers={"Content-Type": "application/x-www-form-urlencoded"})
    assert response.status_code == 400
    assert sandbox.log[-1].outcome in ("invalid_request", "100")


def test_a_consent_is_given_once(app, http, sandbox):
    page = http.get(app.login_url()).text
    request_id = re.search(r'name="request" value="([^"]+)"', page)[1]
    form = {"request": request_id, "user": "ada", "decision": "allow"}
    assert http.post(sandbox.url(app.provider, "/consent"), data=form).status_code == 303
    again = http.post(sandbox.url(app.provider, "/consent"), data=form)
    assert again.status_code == 400
    assert "location" not in again.headers


def test_scopes_that_were_unticked_are_not_granted(x, sandbox):
    tokens = x.connect(scopes=["users.read"])
    assert tokens["scope"] == "users.read"
    with pytest.raises(ConfigurationError, match="has no scope"):
        x.consent(scopes=["admin"])


@pytest.mark.parametrize(
    ("provider", "error"),
    [
        ("x", "access_denied"),
        ("linkedin", "user_cancelled_login"),
        ("facebook", "access_denied"),
        ("instagram", "access_denied"),
        ("oidc", "access_denied"),
    ],
)
def test_a_person_can_decline(register, sandbox, provider, error):
    callback = register(provider).consent(approve=False)
    assert callback["error"] == error
    assert callback["state"] == "state-1"
    assert "code" not in callback
    assert sandbox.log[-1].outcome == "denied"
    assert sandbox.issued_tokens() == frozenset()


def test_people_have_stable_ids_of_their_own(app, sandbox):
    def id_of(user):
        token = app.connect(user=user)["access_token"]
        if app.provider == "facebook":
            return app.graph("/me", token).json()["id"]
        if app.provider == "instagram":
            return app.get("/me?fields=user_id", token).json()["user_id"]
        if app.provider == "x":
            return app.get("/2/users/me", token).json()["data"]["id"]
        return app.get("/v2/userinfo" if app.provider == "linkedin" else "/userinfo", token).json()["sub"]

    ada, new, again = id_of("ada"), id_of("somebody-new"), id_of("ada")
    assert ada == again != new
    assert [entry.user for entry in sandbox.log.entries(outcome="issued")] == ["ada", "somebody-new", "ada"]


# --- client authentication --------------------------------------------------------------------------

_META = ("facebook", "instagram")
_FITTING = {
    "x": {"basic"},
    "linkedin": {"body"},
    "facebook": {"body"},
    "instagram": {"body"},
    "oidc": {"basic", "body"},
}


@pytest.mark.parametrize("auth", ["basic", "body", "none"])
def test_a_confidential_client_must_authenticate_as_the_provider_wants_it(app, sandbox, auth):
    response = app.exchange(app.consent()["code"], auth=auth)
    if auth in _FITTING[app.provider]:
        assert response.status_code == 200
    else:
        assert response.status_code == (400 if app.provider in _META else 401)
        assert sandbox.log[-1].outcome == "invalid_client"


@pytest.mark.parametrize("provider", ["x", "oidc"])
def test_a_public_client_shows_its_id_alone(register, provider):
    app = register(provider, public=True)
    code = app.consent()["code"]
    assert app.exchange(code, auth="body").status_code == 401
    tokens = app.exchange(code).json()
    assert app.refresh(tokens["refresh_token"]).status_code == 200


def test_a_wrong_secret_is_the_applications_fault(app, sandbox):
    app.secret = "wrong"
    code = app.consent()["code"]
    assert app.exchange(code).status_code == (400 if app.provider in _META else 401)
    assert sandbox.log[-1].outcome == "invalid_client"


def test_an_unknown_client_is_refused_at_the_token_endpoint(app, sandbox):
    code = app.consent()["code"]
    app.client_id = "stranger"
    assert app.exchange(code).status_code in (400, 401)
    assert sandbox.log[-1].outcome == "invalid_client"


def test_o_37_basic_carries_form_encoded_values_and_one_method_only(oidc, http, sandbox):
    def post(pair: str, **form: str):
        encoded = base64.b64encode(pair.encode()).decode()
        return http.post(
            sandbox.url("oidc", "/token"),
            data={"grant_type": "refresh_token", "refresh_token": "unknown", **form},
            headers={"Authorization": f"Basic {encoded}"},
        )

    oidc_id = oidc.client_id.replace("-", "%2D")
    assert post(f"{oidc_id}:{oidc.secret.replace('-', '%2d')}").json()["error"] == "invalid_grant"
    assert post("no-colon").json()["error"] == "invalid_client"
    assert post(f"{oidc.client_id}:{oidc.secret}", client_secret=oidc.secret).json()["error"] == "invalid_request"
    assert post(f"{oidc.client_id}:{oidc.secret}", client_id="other").json()["error"] == "invalid_request"
    unreadable = http.post(sandbox.url("oidc", "/token"), headers={"Authorization": "Basic %%%"})
    assert unreadable.status_code == 401
    assert unreadable.headers["www-authenticate"].startswith("Basic")


def test_a_secret_in_the_url_is_refused(oidc, http, sandbox):
    url = sandbox.url("oidc", f"/token?client_secret={oidc.secret}")
    assert http.post(url, data={"client_id": oidc.client_id}).json()["error"] == "invalid_request"


@pytest.mark.parametrize("grant_type", ["password", "", "refresh_token"])
def test_a_grant_type_that_linkedin_does_not_offer_here(linkedin, sandbox, grant_type):
    sandbox.settings("linkedin", rotation="none")
    response = linkedin.exchange("code", grant_type=grant_type)
    assert response.json()["error"] == ("unsupported_grant_type" if grant_type else "invalid_request")


def test_a_token_request_must_be_a_form(x, http, sandbox):
    response = http.post(sandbox.url("x", "/2/oauth2/token"), json={"client_id": x.client_id})
    assert response.status_code == 401


# --- PKCE -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("provider", ["x", "oidc"])
@pytest.mark.parametrize("verifier", [None, "", "w" * 43])
def test_o_06_a_verifier_that_does_not_fit_is_refused(register, sandbox, provider, verifier):
    app = register(provider)
    assert app.exchange(app.consent()["code"], code_verifier=verifier).status_code == 400
    assert sandbox.log[-1].outcome == "invalid_grant"


@pytest.mark.parametrize("provider", ["x", "oidc"])
def test_o_06_pkce_is_required(register, sandbox, provider):
    app = register(provider)
    url = app.login_url(code_challenge=None, code_challenge_method=None)
    assert sandbox.authorize(url)["error"] == "invalid_request"


def test_x_accepts_a_plain_challenge_and_the_openid_provider_does_not(x, oidc, sandbox):
    plain = {"code_challenge": "p" * 43, "code_challenge_method": "plain"}
    code = sandbox.authorize(x.login_url(**plain))["code"]
    assert x.exchange(code, code_verifier="p" * 43).status_code == 200
    assert sandbox.authorize(oidc.login_url(**plain))["error"] == "invalid_request"


def test_a_verifier_without_a_challenge_is_refused_where_pkce_is_optional(oidc, sandbox):
    sandbox.settings("oidc", pkce="supported")
    url = oidc.login_url(code_challenge=None, code_challenge_method=None)
    assert oidc.exchange(sandbox.authorize(url)["code"]).status_code == 400
    assert oidc.exchange(sandbox.authorize(url)["code"], code_verifier=None).status_code == 200
