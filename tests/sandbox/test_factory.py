"""The library's own provider classes, driven over HTTP against the sandbox."""

import base64
import hashlib
from datetime import timedelta
from urllib.parse import urlencode

import pytest

from socialvault.exceptions import AccountMismatchError, ConfigurationError, ProviderError, ReauthorizationRequiredError
from socialvault.model.secret import Secret
from socialvault.protocol.messages import HttpResponse
from socialvault.sandbox import organization_id, page_id

VERIFIER, NONCE = Secret("v" * 43), Secret("n" * 43)
CHALLENGE = base64.urlsafe_b64encode(hashlib.sha256(b"v" * 43).digest()).rstrip(b"=").decode()
REDIRECT_URI = "https://app.example/callback"


@pytest.fixture
def run(http, sandbox):
    """Drive an exchange: send what it yields, return what it returns."""

    def drive(exchange):
        try:
            request = next(exchange)
            while True:
                now = sandbox.clock.now()
                answer = http.request(
                    request.method, request.url, headers=list(request.headers), content=request.body or None
                )
                headers = {name.lower(): value for name, value in answer.headers.items()}
                request = exchange.send(HttpResponse(answer.status_code, now, headers=headers, body=answer.content))
        except StopIteration as done:
            return done.value

    return drive


@pytest.fixture
def connect(run, sandbox):
    """Take a provider through a whole flow; return its server, tokens and identity."""

    def connected(provider, **decision):
        server = run(provider.resolve())
        params = {"state": "s"}
        if provider.pkce == "S256":
            params |= {"code_challenge": CHALLENGE, "code_challenge_method": "S256"}
        if provider.uses_openid:
            params |= {"nonce": NONCE.reveal()}
        prefix = provider.authorization_prefix(server, REDIRECT_URI, provider.scopes)
        callback = sandbox.authorize(f"{prefix}&{urlencode(params)}", **decision)
        verifier = VERIFIER if provider.pkce == "S256" else None
        nonce = NONCE if provider.uses_openid else None
        grant = run(provider.exchange_code(server, Secret(callback["code"]), REDIRECT_URI, verifier, nonce))
        return server, grant.token, grant.identity

    return connected


@pytest.mark.parametrize("slug", ["x", "linkedin", "facebook", "instagram", "oidc"])
def test_every_provider_connects_and_never_leaves_the_sandbox(sandbox, connect, slug):
    provider = sandbox.provider(slug)
    assert provider.slug == slug
    assert repr(vars(provider)).count("https://") == 0
    _, token, identity = connect(provider)
    assert token.access_token.reveal() in sandbox.live_tokens(slug)
    assert identity.subject
    assert identity.name == "Ada Lovelace" or slug == "oidc"


@pytest.mark.parametrize(("slug", "options"), [("x", {}), ("oidc", {}), ("linkedin", {"refresh_tokens": True})])
def test_refreshing_and_revoking_work(sandbox, connect, run, slug, options):
    provider = sandbox.provider(slug, **options)
    server, token, identity = connect(provider)
    sandbox.clock.advance(timedelta(minutes=5))
    fresh = run(provider.renew(server, token, identity.subject))
    assert fresh.access_token != token.access_token
    assert sandbox.log.count(outcome="refreshed") == 1
    assert run(provider.revoke(server, fresh)) == "revoked"
    assert fresh.access_token.reveal() not in sandbox.live_tokens(slug)


def test_a_public_client_needs_no_secret(sandbox, connect, run):
    provider = sandbox.provider("x", public=True)
    server, token, identity = connect(provider)
    assert run(provider.renew(server, token, identity.subject)).refresh_token != token.refresh_token
    assert sandbox.log[-1].client_id == "sandbox-x-public"


def test_facebook_exchanges_renews_and_lists_pages(sandbox, connect, run):
    sandbox.settings("facebook", business_pages=2)
    provider = sandbox.provider("facebook", scopes=["public_profile", "pages_show_list", "business_management"])
    server, token, identity = connect(provider, pages=[page_id(1), page_id(12), page_id(2, "business-page")])
    assert sandbox.log.count(outcome="exchanged") == 1
    fresh = run(provider.renew(server, token, identity.subject))
    found = run(provider.list_sub_accounts(server, fresh))
    assert len(found) == 14
    assert {one.account.id for one in found if one.access_token} == {
        page_id(1),
        page_id(12),
        page_id(2, "business-page"),
    }
    assert run(provider.revoke(server, fresh)) == "revoked"
    assert sandbox.live_tokens("facebook") == frozenset()


@pytest.mark.parametrize("extension", ["same", "new"])
def test_instagram_exchanges_and_extends(sandbox, connect, run, extension):
    sandbox.clock.freeze()
    sandbox.settings("instagram", extension=extension)
    provider = sandbox.provider("instagram")
    server, token, identity = connect(provider)
    assert token.expires_at == sandbox.clock.now() + timedelta(days=60)
    assert token.scopes == {"instagram_business_basic"}
    assert identity.username == "ada"
    assert identity.subject == token.extra["user_id"] != token.extra["id"]
    with pytest.raises(ProviderError) as young:
        run(provider.renew(server, token, identity.subject))
    assert type(young.value) is ProviderError
    sandbox.clock.advance(provider.minimum_age)
    fresh = run(provider.renew(server, token, identity.subject))
    assert (fresh.access_token == token.access_token) is (extension == "same")
    assert fresh.expires_at == sandbox.clock.now() + timedelta(days=60)
    sandbox.clock.advance(timedelta(days=60))
    with pytest.raises(ReauthorizationRequiredError) as dead:
        run(provider.renew(server, fresh, identity.subject))
    assert dead.value.reason == "expired"


def test_r_15_facebook_notices_a_token_of_another_application(sandbox, connect):
    sandbox.settings("facebook", debug_app_id="999")
    with pytest.raises(AccountMismatchError):
        connect(sandbox.provider("facebook"))


def test_linkedin_lists_organizations(sandbox, connect, run):
    sandbox.settings("linkedin", organizations=3)
    provider = sandbox.provider("linkedin", scopes=["openid", "profile", "r_organization_admin"])
    server, token, _ = connect(provider)
    found = run(provider.list_sub_accounts(server, token))
    assert [one.account.id for one in found] == [f"urn:li:organization:{organization_id(n)}" for n in (1, 2, 3)]
    assert found[0].account.name == "Organization 1"


def test_a_removed_grant_asks_for_the_person(sandbox, connect, run):
    provider = sandbox.provider("x")
    server, token, identity = connect(provider)
    sandbox.revoke_grant("x", user="ada")
    with pytest.raises(ReauthorizationRequiredError):
        run(provider.renew(server, token, identity.subject))


def test_options_reach_the_class_and_unknown_providers_are_refused(sandbox):
    assert sandbox.provider("x", scopes=["users.read"]).scopes == ("users.read",)
    assert sandbox.provider("x", client_id="mine").client_id == "mine"
    assert sandbox.provider("oidc", slug="corp").slug == "corp"
    assert sandbox.provider("x", revocation_style="none").revocation_style == "none"
    with pytest.raises(ConfigurationError, match="myspace"):
        sandbox.provider("myspace")
