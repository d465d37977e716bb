"""Emulated LinkedIn: each quirk shown."""

from datetime import timedelta

import pytest
from joserfc import jwt
from joserfc.jwk import KeySet

from socialvault.sandbox import organization_id

ADMIN = "openid r_organization_admin"
VERSION = {"LinkedIn-Version": "202601"}


def claims_of(app, token):
    keys = KeySet.import_key_set(app.get("/oauth/openid/jwks").json())
    return jwt.decode(token, keys, algorithms=["RS256"]).claims


def test_an_access_token_lives_sixty_days_and_cannot_be_refreshed(linkedin, sandbox):
    sandbox.clock.freeze()
    tokens = linkedin.connect()
    assert tokens["expires_in"] == 60 * 86400
    assert "refresh_token" not in tokens
    sandbox.clock.advance(timedelta(days=60))
    refused = linkedin.get("/v2/userinfo", tokens["access_token"])
    assert (refused.status_code, refused.json()["code"]) == (401, "EXPIRED_ACCESS_TOKEN")


def test_scopes_come_back_comma_separated(linkedin):
    assert linkedin.connect()["scope"] == "openid,profile,email"


def test_partners_get_a_refresh_token_that_stays_the_same(partner, sandbox):
    sandbox.clock.freeze()
    tokens = partner.connect()
    assert tokens["refresh_token_expires_in"] == 365 * 86400
    sandbox.clock.advance(timedelta(days=50))
    fresh = partner.refresh(tokens["refresh_token"]).json()
    assert fresh["refresh_token"] == tokens["refresh_token"]
    assert fresh["access_token"] != tokens["access_token"]
    assert partner.refresh(tokens["refresh_token"]).status_code == 200
    assert sandbox.log.count(outcome="refreshed") == 2


def test_the_365_days_are_never_extended_and_cut_the_access_token(partner, sandbox):
    sandbox.clock.freeze()
    tokens = partner.connect()
    sandbox.clock.advance(timedelta(days=350))
    fresh = partner.refresh(tokens["refresh_token"]).json()
    assert fresh["refresh_token_expires_in"] == 15 * 86400
    assert fresh["expires_in"] == 15 * 86400
    sandbox.clock.advance(timedelta(days=15))
    refused = partner.refresh(tokens["refresh_token"])
    assert (refused.status_code, refused.json()["error"]) == (400, "invalid_grant")
    assert sandbox.live_tokens("linkedin") == frozenset()


def test_pkce_is_not_supported(linkedin, sandbox):
    url = linkedin.login_url(code_challenge="c" * 43, code_challenge_method="S256")
    code = sandbox.authorize(url)["code"]
    assert linkedin.exchange(code, code_verifier="v" * 43).json()["error"] == "invalid_request"


def test_an_id_token_comes_when_openid_is_asked_and_never_repeats_the_nonce(linkedin, sandbox):
    url = linkedin.login_url(nonce="nonce-1")
    tokens = linkedin.exchange(sandbox.authorize(url)["code"]).json()
    claims = claims_of(linkedin, tokens["id_token"])
    userinfo = linkedin.get("/v2/userinfo", tokens["access_token"]).json()
    assert claims["iss"] == sandbox.url("linkedin", "/oauth")
    assert claims["aud"] == linkedin.client_id
    assert claims["sub"] == userinfo["sub"]
    assert "nonce" not in claims
    assert "id_token" not in linkedin.connect(scope="profile")
    sandbox.settings("linkedin", echo_nonce=True)
    tokens = linkedin.exchange(sandbox.authorize(url)["code"]).json()
    assert claims_of(linkedin, tokens["id_token"])["nonce"] == "nonce-1"


def test_a_refresh_brings_no_id_token(partner):
    tokens = partner.connect()
    assert "id_token" in tokens
    assert "id_token" not in partner.refresh(tokens["refresh_token"]).json()


def test_discovery_names_the_endpoints_and_is_silent_about_client_authentication(linkedin, sandbox):
    document = linkedin.get("/oauth/.well-known/openid-configuration").json()
    assert document["issuer"] == sandbox.url("linkedin", "/oauth")
    assert document["token_endpoint"] == sandbox.url("linkedin", "/oauth/v2/accessToken")
    assert document["jwks_uri"] == sandbox.url("linkedin", "/oauth/openid/jwks")
    assert "token_endpoint_auth_methods_supported" not in document
    assert "code_challenge_methods_supported" not in document


def test_userinfo_gives_what_the_scopes_allow(linkedin, register):
    full = linkedin.get("/v2/userinfo", linkedin.connect()["access_token"]).json()
    assert set(full) == {"sub", "name", "picture", "email", "email_verified", "locale"}
    assert full["locale"] == {"country": "US", "language": "en"}
    assert set(linkedin.get("/v2/userinfo", linkedin.connect(scope="openid")["access_token"]).json()) == {"sub"}
    refused = linkedin.get("/v2/userinfo", linkedin.connect(scope="profile")["access_token"])
    assert (refused.status_code, refused.json()["code"]) == (403, "ACCESS_DENIED")
    other = register("linkedin", client_id="other-app")
    assert other.get("/v2/userinfo", other.connect()["access_token"]).json()["sub"] != full["sub"]  # pairwise


def test_introspection_says_active_expired_or_revoked(partner, sandbox):
    def introspect(token, **how):
        return partner.post("/oauth/v2/introspectToken", {"token": token}, **how)

    sandbox.clock.freeze()
    tokens = partner.connect()
    answer = introspect(tokens["access_token"]).json()
    assert (answer["active"], answer["status"], answer["scope"]) == (True, "active", "openid,profile,email")
    assert answer["expires_at"] == int(sandbox.clock.now_seconds()) + 60 * 86400
    assert introspect(tokens["access_token"], auth="basic").status_code == 401
    assert introspect("unknown").status_code == 400
    sandbox.clock.advance(timedelta(days=60))
    assert introspect(tokens["access_token"]).json()["status"] == "expired"
    sandbox.revoke_grant("linkedin")
    assert introspect(tokens["refresh_token"]).json()["status"] == "revoked"
    assert partner.get("/v2/userinfo", tokens["access_token"]).json()["code"] == "REVOKED_ACCESS_TOKEN"
    assert partner.get("/v2/userinfo", "nonsense").json()["code"] == "INVALID_ACCESS_TOKEN"


def test_revocation_takes_credentials_in_the_body(linkedin, sandbox):
    tokens = linkedin.connect()
    assert linkedin.revoke(tokens["access_token"], auth="basic").status_code == 401
    assert linkedin.revoke(tokens["access_token"], token_type_hint=None).status_code == 200
    assert sandbox.live_tokens("linkedin") == frozenset()


def test_organizations_need_version_scope_and_finder(linkedin):
    token = linkedin.connect(scope=ADMIN)["access_token"]
    acls = "/rest/organizationAcls?q=roleAssignee&role=ADMINISTRATOR&state=APPROVED"
    assert linkedin.get(acls, token).status_code == 400
    assert linkedin.get(acls, token, **{"LinkedIn-Version": "2026"}).status_code == 400
    assert linkedin.get("/rest/organizationAcls", token, **VERSION).status_code == 400
    assert linkedin.get(acls, linkedin.connect()["access_token"], **VERSION).status_code == 403
    elements = linkedin.get(acls, token, **VERSION).json()["elements"]
    assert [row["organization"] for row in elements] == [
        f"urn:li:organization:{organization_id(number)}" for number in (1, 2)
    ]
    assert {(row["role"], row["state"]) for row in elements} == {("ADMINISTRATOR", "APPROVED")}
    assert elements[0]["roleAssignee"].startswith("urn:li:person:")
    none = "/rest/organizationAcls?q=roleAssignee&role=ANALYST"
    assert linkedin.get(none, token, **VERSION).json()["elements"] == []


def test_organizations_come_in_pages(linkedin, sandbox):
    sandbox.settings("linkedin", organizations=23)
    token = linkedin.connect(scope="rw_organization_admin")["access_token"]
    acls = "/rest/organizationAcls?q=roleAssignee"
    first = linkedin.get(acls, token, **VERSION).json()
    assert (len(first["elements"]), first["paging"]["total"]) == (10, 23)
    last = linkedin.get(f"{acls}&start=20&count=10", token, **VERSION).json()
    assert len(last["elements"]) == 3
    assert linkedin.get(f"{acls}&start=x", token, **VERSION).status_code == 400


def test_an_organization_has_a_name(linkedin):
    token = linkedin.connect(scope=ADMIN)["access_token"]
    found = linkedin.get(f"/rest/organizations/{organization_id(2)}", token, **VERSION)
    assert found.json() == {"id": int(organization_id(2)), "localizedName": "Organization 2"}
    assert linkedin.get("/rest/organizations/1", token, **VERSION).status_code == 404
    assert linkedin.get(f"/rest/organizations/{organization_id(2)}", token).status_code == 400


@pytest.mark.parametrize("end", ["revoke_grant", "change_password"])
def test_a_grant_ends_at_the_providers_side(partner, sandbox, end):
    tokens = partner.connect()
    assert getattr(sandbox, end)("linkedin", user="ada") == 1
    assert partner.refresh(tokens["refresh_token"]).json()["error"] == "invalid_grant"
