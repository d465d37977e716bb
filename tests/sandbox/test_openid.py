"""The emulated OpenID Connect provider, which does everything by the book."""

from datetime import timedelta

import pytest
from joserfc import jwt
from joserfc.jwk import KeySet

from socialvault.sandbox.signing import half_hash


def decoded(app, token):
    return jwt.decode(token, KeySet.import_key_set(app.get("/jwks").json()), algorithms=["RS256"])


def test_discovery_promises_what_the_server_does(oidc, sandbox):
    document = oidc.get("/.well-known/openid-configuration").json()
    root = sandbox.url("oidc", "")
    assert document["issuer"] == root
    assert document["authorization_response_iss_parameter_supported"] is True
    assert document["code_challenge_methods_supported"] == ["S256"]
    assert set(document["token_endpoint_auth_methods_supported"]) == {
        "client_secret_basic",
        "client_secret_post",
        "none",
    }
    assert document["response_modes_supported"] == ["query", "form_post"]
    for name in ("authorization", "token", "revocation", "introspection", "userinfo"):
        assert document[f"{name}_endpoint"].startswith(root + "/")
    assert document["jwks_uri"] == f"{root}/jwks"


@pytest.mark.parametrize("approve", [True, False])
def test_o_05_the_issuer_comes_with_every_authorization_response(oidc, sandbox, approve):
    assert oidc.consent(approve=approve)["iss"] == sandbox.url("oidc", "")
    assert sandbox.authorize(oidc.login_url(response_type="token"))["iss"] == sandbox.url("oidc", "")
    sandbox.settings("oidc", issuer_in_response=False)
    assert "iss" not in oidc.consent(approve=approve)


def test_an_id_token_is_complete(oidc, sandbox):
    sandbox.clock.freeze()
    code = sandbox.authorize(oidc.login_url(nonce="nonce-1"))["code"]
    tokens = oidc.exchange(code).json()
    token = decoded(oidc, tokens["id_token"])
    now = int(sandbox.clock.now_seconds())
    assert token.header == {"alg": "RS256", "typ": "JWT", "kid": "oidc-key-1"}
    userinfo = oidc.get("/userinfo", tokens["access_token"]).json()
    assert token.claims == {
        "iss": sandbox.url("oidc", ""),
        "aud": oidc.client_id,
        "iat": now,
        "exp": now + 3600,
        "nonce": "nonce-1",
        "at_hash": half_hash(tokens["access_token"]),
        **userinfo,
    }
    assert userinfo["email"] == "ada@example.com"
    assert userinfo["preferred_username"] == "ada"


def test_at_hash_is_the_left_half_of_the_digest():
    # the example of OpenID Connect Core, appendix A.3
    assert half_hash("jHkWEdUXMU1BwAsC4vtUsZwnNvTIxEl0z9K3vx5KF0Y") == "77QmUPtjPfzWtF2AnpK9RQ"


def test_no_openid_scope_no_id_token(oidc):
    tokens = oidc.connect(scope="profile")
    assert "id_token" not in tokens
    assert oidc.get("/userinfo", tokens["access_token"]).status_code == 403


def test_claims_of_an_id_token_can_be_forged_and_left_out(oidc, sandbox):
    sandbox.fault("oidc", "token", claims={"aud": "somebody-else", "nonce": None, "azp": "evil"})
    code = sandbox.authorize(oidc.login_url(nonce="nonce-1"))["code"]
    claims = decoded(oidc, oidc.exchange(code).json()["id_token"]).claims
    assert (claims["aud"], claims["azp"]) == ("somebody-else", "evil")
    assert "nonce" not in claims


def test_o_27_keys_change_on_demand_and_the_old_ones_stay_published(oidc, sandbox):
    old = oidc.connect()["id_token"]
    kid = sandbox.change_signing_key("oidc")
    new = oidc.connect()["id_token"]
    assert decoded(oidc, new).header["kid"] == kid != decoded(oidc, old).header["kid"]
    for key in oidc.get("/jwks").json()["keys"]:
        assert (key["kty"], key["use"], key["alg"]) == ("RSA", "sig", "RS256")
        assert "d" not in key


def test_refresh_tokens_rotate_and_reuse_kills_the_grant(oidc, sandbox):
    first = oidc.connect()
    second = oidc.refresh(first["refresh_token"]).json()
    assert decoded(oidc, second["id_token"]).claims["sub"] == decoded(oidc, first["id_token"]).claims["sub"]
    assert "nonce" not in decoded(oidc, second["id_token"]).claims
    assert oidc.refresh(first["refresh_token"]).json()["error"] == "invalid_grant"
    assert sandbox.log[-1].outcome == "reuse_detected"
    assert oidc.refresh(second["refresh_token"]).status_code == 400


@pytest.mark.parametrize("auth", ["basic", "body"])
def test_both_ways_to_send_a_secret_work_everywhere(oidc, auth):
    tokens = oidc.exchange(oidc.consent()["code"], auth=auth).json()
    tokens = oidc.refresh(tokens["refresh_token"], auth=auth).json()
    assert oidc.post("/introspect", {"token": tokens["access_token"]}, auth=auth).json()["active"] is True
    assert oidc.revoke(tokens["refresh_token"], auth=auth, token_type_hint=None).status_code == 200
    assert oidc.post("/introspect", {"token": tokens["access_token"]}, auth=auth).json() == {"active": False}


def test_introspection_tells_a_living_token_and_no_other(oidc, register, sandbox):
    sandbox.clock.freeze()
    tokens = oidc.connect()
    answer = oidc.post("/introspect", {"token": tokens["access_token"]}).json()
    assert (answer["client_id"], answer["scope"]) == (oidc.client_id, "openid profile email")
    assert answer["exp"] == int(sandbox.clock.now_seconds()) + 3600
    assert "exp" not in oidc.post("/introspect", {"token": tokens["refresh_token"]}).json()
    assert oidc.post("/introspect", {"token": "unknown"}).json() == {"active": False}
    stranger = register("oidc", client_id="other-app")
    assert stranger.post("/introspect", {"token": tokens["access_token"]}).json() == {"active": False}
    assert oidc.post("/introspect", {}).status_code == 400
    sandbox.clock.advance(timedelta(hours=1))
    assert oidc.post("/introspect", {"token": tokens["access_token"]}).json() == {"active": False}


def test_userinfo_refuses_as_rfc_6750_says(oidc):
    refused = oidc.get("/userinfo", "nonsense")
    assert refused.status_code == 401
    assert refused.headers["www-authenticate"] == 'Bearer error="invalid_token"'


def test_an_answer_with_tokens_is_not_stored(oidc):
    response = oidc.exchange(oidc.consent()["code"])
    assert response.headers["cache-control"] == "no-store"


@pytest.mark.parametrize("approve", [True, False])
def test_form_post_comes_as_a_page_that_posts_itself(oidc, sandbox, approve):
    callback = sandbox.authorize(oidc.login_url(response_mode="form_post"), approve=approve)
    assert (callback.method, callback.url) == ("POST", "https://app.example/callback")
    assert callback["state"] == "state-1"
    assert callback["iss"] == sandbox.url("oidc", "")
    assert sandbox.log[-1].outcome == ("granted" if approve else "denied")
    assert ("code" in callback) is approve
    if approve:
        assert oidc.exchange(callback["code"]).status_code == 200


def test_an_unknown_response_mode_is_an_error(oidc, x, sandbox):
    assert sandbox.authorize(oidc.login_url(response_mode="fragment"))["error"] == "invalid_request"
    assert sandbox.authorize(x.login_url(response_mode="form_post"))["error"] == "invalid_request"
