from __future__ import annotations

import hashlib
import hmac
from datetime import UTC, datetime, timedelta
from types import MappingProxyType
from urllib.parse import urlsplit

import pytest

from socialvault.exceptions import (
    AccountMismatchError,
    ClientRejectedError,
    ConfigurationError,
    MalformedResponseError,
    ProviderError,
    ProviderUnavailableError,
    RateLimitedError,
    ReauthorizationRequiredError,
)
from socialvault.model.connection import SubAccount
from socialvault.model.identity import Identity
from socialvault.model.secret import Secret
from socialvault.providers import Facebook
from socialvault.providers._families.meta import appsecret_proof, exchange_form, without_credentials

GRAPH = "https://graph.facebook.com/v24.0"
NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
ENDS, DATA_ENDS = NOW + timedelta(days=60), NOW + timedelta(days=90)
ME = {"id": "1234", "name": "Ann", "email": "a@b.example", "picture": {"data": {"url": "https://p"}}}
SHORT = {"access_token": "short", "token_type": "bearer", "expires_in": 5000}
LONG = {"access_token": "long", "token_type": "bearer"}


def debug(**others):
    data = {
        "app_id": "client", "type": "USER", "is_valid": True, "user_id": "1234", "scopes": ["public_profile", "email"],
        "expires_at": int(ENDS.timestamp()), "data_access_expires_at": int(DATA_ENDS.timestamp()), **others,
    }  # fmt: skip
    return {"data": {name: value for name, value in data.items() if value is not None}}


def proof(token, secret="s3cret"):
    return hmac.new(secret.encode(), token.encode(), hashlib.sha256).hexdigest()


@pytest.fixture
def facebook():
    return Facebook("client", "s3cret")


@pytest.fixture
def login(facebook, drive, answer):
    def run(*, long=LONG, inspected=None, me=ME, requests=None):
        exchange = facebook.exchange_code(
            facebook.static_server, Secret("code"), "https://app.example/cb", Secret("verifier"), None
        )
        replies = [answer(SHORT), answer(long), answer(debug() if inspected is None else inspected)]
        return drive(exchange, *replies, *([answer(me)] if me else []), requests=requests)

    return run


# --- connecting ------------------------------------------------------------------------------------


def test_an_account_is_connected_with_a_long_lived_token(login):
    grant = login()
    assert grant.identity == Identity("1234", "Ann", "", "a@b.example", "https://p")
    assert grant.token.access_token.reveal() == "long"
    assert grant.token.refresh_token is None
    assert grant.token.scopes == {"public_profile", "email"}
    assert (grant.token.expires_at, grant.token.data_access_expires_at) == (ENDS, DATA_ENDS)
    assert dict(grant.token.extra) == {"user_id": "1234"}


def test_the_four_calls_of_a_connect(login, read):
    sent = []
    login(requests=sent)
    code, long, inspect, me = sent
    assert [(request.method, read.place(request)) for request in sent] == [
        ("POST", f"{GRAPH}/oauth/access_token"), ("POST", f"{GRAPH}/oauth/access_token"),
        ("GET", f"{GRAPH}/debug_token"), ("GET", f"{GRAPH}/me"),
    ]  # fmt: skip
    client = {"client_id": "client", "client_secret": "s3cret"}
    assert read.form(code) == {
        "grant_type": "authorization_code", "code": "code", "redirect_uri": "https://app.example/cb",
        "code_verifier": "verifier", **client,
    }  # fmt: skip
    assert read.form(long) == {"grant_type": "fb_exchange_token", "fb_exchange_token": "short", **client}
    assert read.headers(inspect)["authorization"] == "Bearer client|s3cret"
    assert read.query(inspect) == {"input_token": "long", "appsecret_proof": proof("client|s3cret")}
    assert read.headers(me)["authorization"] == "Bearer long"
    assert read.query(me) == {"fields": "id,name,email,picture.type(large)", "appsecret_proof": proof("long")}


def test_no_token_or_secret_is_in_a_url_but_the_one_that_debug_token_asks_about(login):
    sent = []
    login(requests=sent)
    for request in sent:
        for secret in ("short", "s3cret", "code=", "verifier"):
            assert secret not in request.url
    assert [request.url.count("input_token=long") for request in sent] == [0, 0, 1, 0]


def test_the_exact_bytes_of_the_appsecret_proof():
    assert (
        appsecret_proof(Secret("app-secret"), Secret("user-token"))
        == "b5a94d985eb7b68467d28ca5375162d12b9ca8fe238615acc927c8a9c08d2e95"
    )


def test_an_exchange_names_its_parameter_like_its_grant_type():
    assert exchange_form("th_exchange_token", Secret("at")) == {
        "grant_type": "th_exchange_token", "th_exchange_token": "at",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("token", "inspected", "expected"),
    [
        ({"expires_in": 5_184_000}, {}, ENDS),
        ({"expires_in": 0}, {"expires_at": 0}, None),
        ({}, {"expires_at": 0}, None),
        ({"expires_in": 5_184_000}, {"expires_at": 0}, None),
        ({"expires_in": 60}, {"expires_at": None}, NOW + timedelta(seconds=60)),
        ({"expires_in": 0}, {"expires_at": None}, None),
        ({}, {"expires_at": None}, None),
        ({}, {"expires_at": "soon"}, None),
    ],
)
def test_row_34_debug_token_decides_when_a_token_expires_and_0_is_never(login, token, inspected, expected):
    assert login(long={**LONG, **token}, inspected=debug(**inspected)).token.expires_at == expected


def test_0_means_that_data_access_has_no_end(login):
    assert login(inspected=debug(data_access_expires_at=0)).token.data_access_expires_at is None
    assert login(inspected=debug(data_access_expires_at=None)).token.data_access_expires_at is None


def test_o_36_the_scopes_are_those_that_were_granted(login):
    assert login(inspected=debug(scopes=["email"])).token.scopes == {"email"}
    assert login(inspected=debug(scopes=None)).token.scopes is None


@pytest.mark.parametrize("app_id", ["another", 99, "client2", "Client", ""], ids=repr)
def test_r_15_a_token_of_another_app_is_refused_before_its_account_is_asked_for(login, app_id):
    sent = []
    with pytest.raises((AccountMismatchError, MalformedResponseError)) as caught:
        login(inspected=debug(app_id=app_id), me=None, requests=sent)
    assert isinstance(caught.value, AccountMismatchError if app_id else MalformedResponseError)
    assert len(sent) == 3


@pytest.mark.parametrize(
    "inspected",
    [
        debug(app_id=None), debug(user_id=None), debug(user_id=""), debug(is_valid=None), debug(is_valid="true"),
        {"data": []}, {"data": None}, {},
    ],
)  # fmt: skip
def test_r_15_a_token_that_nobody_vouches_for_is_refused(login, inspected):
    with pytest.raises(MalformedResponseError, match="does not say whose the token is"):
        login(inspected=inspected, me=None)


@pytest.mark.parametrize(
    ("error", "reason"),
    [({"code": 190, "subcode": 463}, "expired"), ({"code": 190, "subcode": 458}, "app_removed"), ({}, "invalid")],
)
def test_a_token_that_is_dead_on_arrival_is_refused(login, error, reason):
    with pytest.raises(ReauthorizationRequiredError) as caught:
        login(inspected=debug(is_valid=False, error=error, app_id=None, user_id=None), me=None)
    assert caught.value.reason == reason


def test_a_foreign_dead_token_is_foreign_first(login):
    with pytest.raises(AccountMismatchError):
        login(inspected=debug(is_valid=False, app_id="another"), me=None)


def test_an_account_other_than_the_tokens_is_refused(login):
    with pytest.raises(AccountMismatchError, match="about another account"):
        login(me={**ME, "id": "9999"})


@pytest.mark.parametrize("failing", [0, 1, 2, 3])
def test_any_of_the_four_calls_can_fail(facebook, drive, answer, failing):
    replies = [answer(SHORT), answer(LONG), answer(debug()), answer(ME)]
    replies[failing:] = [answer({"error": {"code": 2}}, 500)]
    exchange = facebook.exchange_code(facebook.static_server, Secret("c"), "https://app.example/cb", None, None)
    with pytest.raises(ProviderUnavailableError):
        drive(exchange, *replies)


# --- renewing --------------------------------------------------------------------------------------


def test_a_valid_token_is_exchanged_for_a_longer_one(facebook, drive, answer, read, tokens):
    sent = []
    stored = tokens("old", None, extra=MappingProxyType({"user_id": "1234", "kept": "yes"}))
    renewed = drive(
        facebook.renew(facebook.static_server, stored, "1234"), answer(LONG), answer(debug()), requests=sent
    )
    assert read.form(sent[0])["fb_exchange_token"] == "old"
    assert (renewed.access_token.reveal(), renewed.expires_at) == ("long", ENDS)
    assert dict(renewed.extra) == {"user_id": "1234", "kept": "yes"}


@pytest.mark.parametrize(
    "inspected", [{"user_id": "9999"}, {"app_id": "another"}], ids=["o_33_another_person", "r_15_another_app"]
)
def test_a_renewal_that_comes_back_as_somebody_elses_is_refused(facebook, drive, answer, tokens, inspected):
    with pytest.raises(AccountMismatchError):
        drive(
            facebook.renew(facebook.static_server, tokens("old", None), "1234"),
            answer(LONG), answer(debug(**inspected)),
        )  # fmt: skip


@pytest.mark.parametrize(
    ("status", "error", "branch"),
    [
        (400, {"code": 190, "message": "Invalid OAuth access token signature."}, ClientRejectedError),
        (401, {"code": 190}, ClientRejectedError),
        (200, {"code": 190, "error_subcode": 463}, ClientRejectedError),
        (400, {"code": 102}, ClientRejectedError),
        (400, {"code": 100, "message": "Invalid appsecret_proof provided in the API argument"}, ClientRejectedError),
        (400, {"code": 4}, RateLimitedError),
        (500, {"code": 190}, ProviderUnavailableError),
    ],
)
def test_row_13_a_wrong_app_secret_kills_nobodys_grant(facebook, drive, answer, tokens, status, error, branch):
    """The token is inspected with the app's own: what is wrong with that one says nothing about a person's."""
    renewal = facebook.renew(facebook.static_server, tokens("old", None), "1234")
    with pytest.raises(branch) as caught:
        drive(renewal, answer(LONG), answer({"error": error}, status))
    assert type(caught.value) is branch
    assert (caught.value.status, caught.value.error.partition(":")[0]) == (status, str(error["code"]))


# --- revoking --------------------------------------------------------------------------------------


def test_disconnecting_removes_the_whole_grant(facebook, drive, answer, read, tokens):
    sent = []
    stored = tokens("long", None, extra={"user_id": "1234"})
    assert drive(facebook.revoke(facebook.static_server, stored), answer({"success": True}), requests=sent) == "revoked"
    (request,) = sent
    assert (request.method, read.place(request)) == ("DELETE", f"{GRAPH}/1234/permissions")
    assert read.headers(request)["authorization"] == "Bearer long"
    assert read.query(request) == {"appsecret_proof": proof("long")}
    assert facebook.revocation_reach == "grant"


def test_an_imported_token_revokes_whoever_it_belongs_to(facebook, tokens):
    (request,) = facebook.revocation_requests(facebook.static_server, tokens("long", None))
    assert urlsplit(request.url).path == "/v24.0/me/permissions"


def test_a_user_id_stays_one_segment_of_the_path(facebook, tokens):
    stored = tokens("long", None, extra={"user_id": "../me?x=/"})
    (request,) = facebook.revocation_requests(facebook.static_server, stored)
    assert request.url.startswith(f"{GRAPH}/..%2Fme%3Fx%3D%2F/permissions?appsecret_proof=")


@pytest.mark.parametrize(
    ("status", "body", "outcome"),
    [
        (200, {"success": True}, "revoked"),
        (200, b"true", "revoked"),
        (400, {"error": {"code": 190, "error_subcode": 458}}, "already_gone"),
        (401, {"error": {"code": 190}}, "already_gone"),
    ],
)
def test_what_a_revocation_reached(facebook, answer, status, body, outcome):
    assert facebook.read_revocation(answer(body, status)) == outcome


@pytest.mark.parametrize(
    ("status", "body", "branch"),
    [
        (500, {"error": {"code": 190}}, ProviderUnavailableError),
        (200, {"success": False}, ProviderError),
        (200, {"error": {"code": 2}}, ProviderUnavailableError),
        (403, {"error": {"code": 200}}, ProviderError),
        (404, b"", MalformedResponseError),
    ],
)
def test_a_revocation_that_failed_is_not_called_one(facebook, answer, status, body, branch):
    with pytest.raises(branch):
        facebook.read_revocation(answer(body, status))


@pytest.mark.parametrize("options", [{"revocation_style": "none"}, {"revocation_style": "rfc7009"}])
def test_revocation_can_be_done_otherwise(tokens, options):
    provider = Facebook("client", "s3cret", **options)
    requests = provider.revocation_requests(provider.static_server, tokens("long", None))
    assert [request.method for request in requests] == (["POST"] if options["revocation_style"] == "rfc7009" else [])


# --- Pages -----------------------------------------------------------------------------------------


def page(number, *, granted=True, **others):
    token = {"access_token": f"page-token-{number}"} if granted else {}
    return {"id": str(number), "name": f"Page {number}", "tasks": ["MANAGE", "CREATE_CONTENT"], **token, **others}


@pytest.fixture
def listing(facebook, drive, answer, tokens):
    def run(*documents, scopes=(), requests=None):
        stored = tokens("user-token", None, scopes=frozenset(scopes))
        exchange = facebook.list_sub_accounts(facebook.static_server, stored)
        return drive(exchange, *map(answer, documents), requests=requests)

    return run


def test_pages_have_tokens_of_their_own(listing, read):
    sent = []
    grants = listing({"data": [page(1), page(2)]}, requests=sent)
    assert [grant.account for grant in grants] == [
        SubAccount("1", "Page 1", "page", roles=("MANAGE", "CREATE_CONTENT")),
        SubAccount("2", "Page 2", "page", roles=("MANAGE", "CREATE_CONTENT")),
    ]
    assert [grant.access_token.reveal() for grant in grants] == ["page-token-1", "page-token-2"]
    assert read.place(sent[0]) == f"{GRAPH}/me/accounts"
    assert read.query(sent[0]) == {
        "fields": "id,name,username,access_token,tasks", "limit": "100", "appsecret_proof": proof("user-token"),
    }  # fmt: skip
    assert read.headers(sent[0])["authorization"] == "Bearer user-token"


@pytest.mark.parametrize("missing", [{}, {"access_token": ""}, {"access_token": None}], ids=repr)
def test_row_32_a_page_that_was_not_ticked_is_listed_without_a_token_and_as_not_granted(listing, missing):
    (grant,) = listing({"data": [page(1, granted=False, **missing)]})
    assert grant.account == SubAccount("1", "Page 1", "page", granted=False, roles=("MANAGE", "CREATE_CONTENT"))
    assert grant.access_token is None


def test_row_32_paging_is_followed_without_the_token_in_the_link(listing, read):
    link = f"{GRAPH}/1234/accounts?access_token=user-token&limit=100&after=abc%3D&appsecret_proof=old&fields=id#x"
    sent = []
    grants = listing(
        {"data": [page(1)], "paging": {"next": link, "cursors": {"after": "abc="}}},
        {"data": [page(2)], "paging": {"cursors": {"after": "def"}}},
        requests=sent,
    )
    assert [grant.account.id for grant in grants] == ["1", "2"]
    assert read.place(sent[1]) == f"{GRAPH}/1234/accounts"
    assert read.query(sent[1]) == {
        "limit": "100", "after": "abc=", "fields": "id", "appsecret_proof": proof("user-token"),
    }  # fmt: skip
    assert "user-token" not in sent[1].url
    assert "#" not in sent[1].url
    assert read.headers(sent[1])["authorization"] == "Bearer user-token"


def test_row_32_130_pages_over_two_cursors(listing):
    pages = [page(number, granted=number not in (3, 50, 129)) for number in range(130)]
    grants = listing(
        {"data": pages[:60], "paging": {"next": f"{GRAPH}/me/accounts?after=60"}},
        {"data": pages[60:120], "paging": {"next": f"{GRAPH}/me/accounts?after=120"}},
        {"data": pages[120:], "paging": {}},
    )
    assert len(grants) == 130
    assert [grant.account.id for grant in grants if not grant.account.granted] == ["3", "50", "129"]


HOSTILE_LINKS = {
    "another_host": "https://evil.example/v24.0/me/accounts?access_token=user-token",
    "a_host_that_begins_alike": "https://graph.facebook.com.evil.example/",
    "a_user_before_the_host": "https://graph.facebook.com@evil.example/",
    "a_user_before_our_host": "https://evil@graph.facebook.com/",
    "another_port": "https://graph.facebook.com:8443/",
    "plain_http": "http://graph.facebook.com/v24.0/me/accounts",
    "backslash": "https://evil.example\\@graph.facebook.com/",
    "no_url": "https://[evil",
    "no_scheme": "//graph.facebook.com/me",
    "a_path": "/v24.0/me/accounts",
    "metadata_service": "http://169.254.169.254/latest/meta-data",
    "a_script": "javascript:alert(1)",
    "a_number": 7,
    "an_object": {"url": "https://graph.facebook.com/"},
    "nothing": "",
}


@pytest.mark.parametrize("link", HOSTILE_LINKS.values(), ids=HOSTILE_LINKS)
def test_row_32_a_hostile_link_is_refused_and_nothing_is_sent_to_it(listing, link):
    sent = []
    with pytest.raises(ConfigurationError, match="no token is sent to") as caught:
        listing({"data": [page(1)], "paging": {"next": link}}, requests=sent)
    assert len(sent) == 1
    assert "user-token" not in str(caught.value)


def test_a_list_without_an_end_is_refused_after_100_answers(facebook, serve, answer, tokens):
    sent = []
    endless = {"data": [page(1)], "paging": {"next": f"{GRAPH}/me/accounts?after=again"}}
    with pytest.raises(MalformedResponseError, match="longer than 100 answers"):
        serve(facebook.list_sub_accounts(facebook.static_server, tokens()), lambda _: answer(endless), sent)
    assert len(sent) == 100


def test_a_list_of_exactly_100_answers_is_fine(facebook, serve, answer, tokens):
    sent = []

    def respond(_):
        link = {"next": f"{GRAPH}/me/accounts?after={len(sent)}"} if len(sent) < 100 else {}
        return answer({"data": [page(len(sent))], "paging": link})

    assert len(serve(facebook.list_sub_accounts(facebook.static_server, tokens()), respond, sent)) == 100


def test_row_32_pages_of_a_business_are_read_where_that_was_granted(listing, read):
    sent = []
    grants = listing(
        {"data": [page(1), page(2, granted=False)]},
        {"data": [{"id": "77"}]},
        {"data": [page(2), page(3)]},
        {"data": [page(1, granted=False), page(4, granted=False)]},
        scopes=["business_management"],
        requests=sent,
    )
    assert [read.place(request).removeprefix(GRAPH) for request in sent] == [
        "/me/accounts", "/me/businesses", "/77/owned_pages", "/77/client_pages",
    ]  # fmt: skip
    assert {grant.account.id: grant.account.granted for grant in grants} == {
        "1": True,
        "2": True,
        "3": True,
        "4": False,
    }
    assert all((grant.access_token is not None) is grant.account.granted for grant in grants)


def test_without_that_permission_businesses_are_not_asked_for(listing):
    sent = []
    listing({"data": []}, scopes=["pages_show_list"], requests=sent)
    assert len(sent) == 1


def test_what_a_page_leaves_out(listing):
    grants = listing({"data": [
        {"id": 5, "access_token": "t"}, {"id": "6", "username": "six", "tasks": "MANAGE"},
        {"id": "7", "name": "", "tasks": ["MANAGE", 1, None]},
    ]})  # fmt: skip
    assert [(grant.account.id, grant.account.name, grant.account.roles) for grant in grants] == [
        ("5", "5", ()), ("6", "six", ()), ("7", "7", ("MANAGE",)),
    ]  # fmt: skip


@pytest.mark.parametrize("item", [{"name": "nameless"}, {"id": None}, {"id": ""}])
def test_an_item_without_an_id_is_refused(listing, item):
    with pytest.raises(MalformedResponseError, match="has no id"):
        listing({"data": [item]})
    with pytest.raises(MalformedResponseError, match="has no id"):
        listing({"data": []}, {"data": [item]}, scopes=["business_management"])


def test_a_dead_token_is_found_out_while_listing(facebook, drive, answer, tokens):
    with pytest.raises(ReauthorizationRequiredError) as caught:
        drive(
            facebook.list_sub_accounts(facebook.static_server, tokens()),
            answer({"error": {"code": 190, "error_subcode": 460}}, 400),
        )
    assert caught.value.reason == "password_changed"


@pytest.mark.parametrize(
    ("link", "clean"),
    [
        ("https://g.example/p?access_token=t&a=1&appsecret_proof=p", "https://g.example/p?a=1"),
        ("https://g.example/p?access_token=t", "https://g.example/p"),
        ("https://g.example/p?access_token=t&access_token=u&b=", "https://g.example/p?b="),
        ("https://g.example/p", "https://g.example/p"),
        ("https://[", ""),
    ],
)
def test_links_lose_their_credentials(link, clean):
    assert without_credentials(link) == clean


# --- where it is -----------------------------------------------------------------------------------


def test_the_version_moves_every_endpoint():
    provider = Facebook("client", "s3cret", graph_version="27.0")
    server = provider.static_server
    assert server.authorize_url == "https://www.facebook.com/v27.0/dialog/oauth"
    for url in (server.token_url, server.revoke_url, server.introspect_url, server.userinfo_url, provider.graph_url):
        assert url.startswith("https://graph.facebook.com/v27.0")
    assert provider.api_hosts == {"graph.facebook.com"}
    assert Facebook("client", "s3cret").static_server.token_url == f"{GRAPH}/oauth/access_token"


def test_another_graph_brings_its_own_host():
    provider = Facebook("client", "s3cret", graph_url="https://graph.proxy.example:8443/v24.0/")
    assert provider.api_hosts == {"graph.proxy.example:8443"}
    assert provider.static_server.userinfo_url.startswith("https://graph.proxy.example:8443/v24.0/me?")
    assert provider.static_server.authorize_url == "https://www.facebook.com/v24.0/dialog/oauth"


def test_an_endpoint_given_by_name_counts_before_the_version():
    provider = Facebook("client", "s3cret", graph_version="27.0", token_url="https://proxy.example/token")
    assert provider.static_server.token_url == "https://proxy.example/token"
    assert provider.static_server.introspect_url == "https://graph.facebook.com/v27.0/debug_token"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"graph_version": "v24.0"}, "graph_version is 'v24.0'"),
        ({"graph_version": "24.0/../evil"}, "graph_version is"),
        ({"graph_url": "http://graph.facebook.com/v24.0"}, "graph_url must be https"),
        ({"graph_url": "http://127.0.0.1:8000"}, "graph_url must be https"),
        ({"revoke_url": "https://evil.example/{user_id}"}, r"no token is sent to 'evil\.example'"),
        ({"introspect_url": "https://evil.example/debug"}, r"no token is sent to 'evil\.example'"),
        ({"api_hosts": ["elsewhere.example"]}, "api_hosts must hold"),
        ({"client_secret": ""}, "client_secret is missing"),
        ({"client_secret": None, "client_auth": "none"}, "client_secret is missing: calls need it"),
    ],
)
def test_r_19_a_graph_that_cannot_be_used_is_refused_at_once(options, message):
    with pytest.raises(ConfigurationError, match=message):
        Facebook("client", **{"client_secret": "s3cret", **options})
