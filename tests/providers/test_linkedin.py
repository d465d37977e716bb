from __future__ import annotations

from datetime import timedelta

import pytest

from socialvault.exceptions import (
    ConfigurationError,
    MalformedResponseError,
    ProviderError,
    ProviderUnavailableError,
    RateLimitedError,
)
from socialvault.model.connection import SubAccount
from socialvault.model.identity import Identity
from socialvault.model.secret import Secret
from socialvault.providers import LinkedIn

ISSUER = "https://www.linkedin.com/oauth"
ME = {
    "sub": "subject", "name": "Ann", "email": "a@b.example", "picture": "https://p", "locale": {"country": "US"},
}  # fmt: skip
DAY = 86_400


@pytest.fixture
def linkedin():
    return LinkedIn("client", "s3cret")


@pytest.fixture
def login(linkedin, drive, answer, signer):
    def run(*, claims=None, requests=None, **token):
        body = {"access_token": "at", "expires_in": 60 * DAY, "scope": "email,openid,profile", **token}
        body["id_token"] = signer.sign(**{"iss": ISSUER, **(claims or {})})
        exchange = linkedin.exchange_code(
            linkedin.static_server, Secret("code"), "https://app.example/cb", None, Secret("n0nce")
        )
        return drive(exchange, answer(body), answer(signer.keys), answer(ME), requests=requests)

    return run


def test_a_member_is_connected(login, read):
    sent = []
    grant = login(requests=sent)
    assert grant.identity == Identity("subject", "Ann", "", "a@b.example", "https://p")
    assert grant.token.scopes == {"openid", "profile", "email"}
    form = read.form(sent[0])
    assert (form["client_id"], form["client_secret"]) == ("client", "s3cret")
    assert "code_verifier" not in form
    assert [read.place(request) for request in sent] == [
        "https://www.linkedin.com/oauth/v2/accessToken",
        "https://www.linkedin.com/oauth/openid/jwks",
        "https://api.linkedin.com/v2/userinfo",
    ]


def test_row_33_an_id_token_without_a_nonce_is_accepted_and_one_with_another_is_not(login):
    assert login(claims={"nonce": None}).token.id_token is not None
    with pytest.raises(MalformedResponseError, match="nonce"):
        login(claims={"nonce": "another flow's"})


def test_row_33_a_member_of_an_app_without_programmatic_refresh_has_no_refresh_token(login):
    grant = login()
    assert grant.token.refresh_token is None
    assert grant.token.refresh_expires_at is None


def test_row_33_a_partner_app_learns_the_refresh_tokens_deadline(login):
    grant = login(refresh_token="rt", refresh_token_expires_in=365 * DAY)
    assert grant.token.refresh_expires_at == grant.token.obtained_at + timedelta(days=365)


@pytest.mark.parametrize(
    ("said_seconds", "kept_days"),
    [(100 * DAY, 100), (99 * DAY, 99), (365 * DAY, 100), (None, 100)],
    ids=["same", "nearer", "later", "silent"],
)
def test_row_33_a_refresh_never_extends_the_refresh_tokens_life(
    linkedin, drive, answer, tokens, said_seconds, kept_days
):
    response = answer({
        "access_token": "at-1", "refresh_token": "rt-0", "expires_in": 60 * DAY,
        **({"refresh_token_expires_in": said_seconds} if said_seconds else {}),
    })  # fmt: skip
    stored = tokens(refresh_expires_at=response.sent_at + timedelta(days=100))
    renewed = drive(linkedin.renew(linkedin.static_server, stored, "subject"), response)
    assert renewed.refresh_expires_at == response.sent_at + timedelta(days=kept_days)
    assert renewed.access_token.reveal() == "at-1"


def test_a_deadline_that_was_unknown_is_learned(linkedin, drive, answer, tokens):
    response = answer({"access_token": "at-1", "refresh_token_expires_in": DAY})
    renewed = drive(linkedin.renew(linkedin.static_server, tokens(), "subject"), response)
    assert renewed.refresh_expires_at == response.sent_at + timedelta(days=1)


@pytest.mark.parametrize(
    ("status", "body", "outcome"),
    [
        (200, b"", "revoked"),
        (400, {"error": "invalid_token"}, "already_gone"),
        (400, {"error": "invalid_request"}, "unsupported"),
        (401, {"error": "invalid_client"}, "unsupported"),
        (403, b"<html>", "unsupported"),
        (404, {"message": "no such resource"}, "unsupported"),
    ],
)
def test_a_revocation_that_nobody_promised_never_fails_for_good(linkedin, answer, status, body, outcome):
    assert linkedin.read_revocation(answer(body, status)) == outcome


@pytest.mark.parametrize(("status", "branch"), [(429, RateLimitedError), (503, ProviderUnavailableError)])
def test_a_revocation_that_may_pass_is_worth_another_try(linkedin, answer, status, branch):
    with pytest.raises(branch):
        linkedin.read_revocation(answer({}, status))


def test_revocation_can_be_switched_off_or_moved(drive, tokens):
    off = LinkedIn("client", "s3cret", revocation_style="none")
    assert drive(off.revoke(off.static_server, tokens())) == "unsupported"
    moved = LinkedIn("client", "s3cret", revoke_url="https://proxy.example/revoke")
    assert next(moved.revoke(moved.static_server, tokens())).url == "https://proxy.example/revoke"


# --- organizations ---------------------------------------------------------------------------------


def acl(number, **others):
    return {
        "organization": f"urn:li:organization:{number}", "role": "ADMINISTRATOR", "state": "APPROVED",
        "roleAssignee": "urn:li:person:subject", **others,
    }  # fmt: skip


class Rest:
    """LinkedIn's REST API with a number of organizations."""

    def __init__(self, answer, read, elements, names=()):
        self.answer, self.read, self.elements, self.names = answer, read, elements, dict(names)
        self.requests = []

    def __call__(self, request):
        self.requests.append(request)
        place = self.read.place(request)
        if place == "https://api.linkedin.com/rest/organizationAcls":
            start, count = (int(self.read.query(request)[field]) for field in ("start", "count"))
            paging = {"start": start, "count": count, "links": []}
            return self.answer({"elements": self.elements[start : start + count], "paging": paging})
        number = place.removeprefix("https://api.linkedin.com/rest/organizations/")
        status, body = self.names.get(number, (200, {"id": int(number), "localizedName": f"Organization {number}"}))
        return self.answer(body, status)


@pytest.fixture
def listing(linkedin, serve, answer, read, tokens):
    def run(elements, names=(), provider=linkedin):
        rest = Rest(answer, read, elements, names)
        return serve(provider.list_sub_accounts(provider.static_server, tokens("member")), rest), rest.requests

    return run


def test_organizations_act_with_the_members_token(listing, read):
    grants, requests = listing([acl(1), acl(2)])
    assert [grant.account for grant in grants] == [
        SubAccount("urn:li:organization:1", "Organization 1", "organization", roles=("ADMINISTRATOR",)),
        SubAccount("urn:li:organization:2", "Organization 2", "organization", roles=("ADMINISTRATOR",)),
    ]
    assert [grant.access_token for grant in grants] == [None, None]
    assert read.query(requests[0]) == {
        "q": "roleAssignee", "role": "ADMINISTRATOR", "state": "APPROVED", "start": "0", "count": "100",
    }  # fmt: skip
    for request in requests:
        headers = read.headers(request)
        assert headers["linkedin-version"] == "202601"
        assert headers["x-restli-protocol-version"] == "2.0.0"
        assert headers["authorization"] == "Bearer member"


@pytest.mark.parametrize(("count", "pages"), [(0, 1), (99, 1), (100, 2), (101, 2), (250, 3)])
def test_lists_are_read_to_their_end(listing, read, count, pages):
    grants, requests = listing([acl(number) for number in range(1, count + 1)])
    assert [grant.account.id for grant in grants] == [f"urn:li:organization:{n}" for n in range(1, count + 1)]
    starts = [read.query(request)["start"] for request in requests if "organizationAcls" in request.url]
    assert starts == [str(page * 100) for page in range(pages)]


def test_a_list_without_an_end_is_refused_after_100_answers(linkedin, serve, answer, tokens):
    requests = []
    with pytest.raises(MalformedResponseError, match="does not end"):
        serve(
            linkedin.list_sub_accounts(linkedin.static_server, tokens()),
            lambda _: answer({"elements": [acl(1)] * 100}),
            requests,
        )
    assert len(requests) == 100


def test_what_is_no_organization_is_left_out(listing):
    odd = [
        acl("../../v2/me"), acl("1?x=y"), {"organization": "urn:li:organizationBrand:7"}, {"organization": 8}, {},
        acl(3, role=None), acl(3, role=None),
    ]  # fmt: skip
    grants, requests = listing(odd)
    assert [grant.account for grant in grants] == [
        SubAccount("urn:li:organization:3", "Organization 3", "organization")
    ]
    assert len(requests) == 2


@pytest.mark.parametrize("details", [(403, {"status": 403}), (404, b""), (200, {"id": 1}), (200, {"localizedName": 7})])
def test_an_organization_without_a_readable_name_goes_by_its_id(listing, details):
    grants, _ = listing([acl(1), acl(2)], {"1": details})
    assert [grant.account.name for grant in grants] == ["urn:li:organization:1", "Organization 2"]


@pytest.mark.parametrize(
    ("status", "branch"), [(401, ProviderError), (429, RateLimitedError), (500, ProviderUnavailableError)]
)
def test_a_list_that_is_refused_is_an_error(listing, linkedin, serve, answer, tokens, status, branch):
    with pytest.raises(branch):
        serve(linkedin.list_sub_accounts(linkedin.static_server, tokens()), lambda _: answer({}, status))
    with pytest.raises(branch):
        listing([acl(1)], {"1": (status, {"status": status})})


def test_version_and_place_of_the_rest_api_are_configurable(drive, answer, read, tokens):
    provider = LinkedIn(
        "client", "s3cret", api_version="202711", rest_url="https://proxy.example/rest/",
        api_hosts=["api.linkedin.com", "proxy.example"],
    )  # fmt: skip
    sent = []
    drive(provider.list_sub_accounts(provider.static_server, tokens()), answer({}), requests=sent)
    assert read.place(sent[0]) == "https://proxy.example/rest/organizationAcls"
    assert read.headers(sent[0])["linkedin-version"] == "202711"


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        ("api_version", "2026-01", "api_version is '2026-01'"),
        ("api_version", "202601\r\nX: 1", "api_version is"),
        ("rest_url", "http://api.linkedin.com/rest", "rest_url must be https"),
        ("rest_url", "https://evil.example/rest", r"no token is sent to 'evil\.example'"),
    ],
)
def test_r_19_a_rest_api_that_cannot_be_used_is_refused_at_once(option, value, message):
    with pytest.raises(ConfigurationError, match=message):
        LinkedIn("client", "s3cret", **{option: value})
