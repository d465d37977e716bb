"""What an emulated provider does by the book, as data; each value can be changed per sandbox."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Literal

ClientAuth = Literal["client_secret_basic", "client_secret_post"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """The rules of an authorization server.

    Attributes:
        refresh_token_lifetime: from the consent on, never extended; None: without end.
        rotation: whether a refresh brings a new refresh token and spends the old one.
        refresh_scope: only a grant with this scope gets refresh tokens; "" for every grant.
        reuse_grace: how long after its use a spent refresh token still works.
        pkce: ``unsupported``: a code_verifier is refused.
        client_auth: accepted from confidential clients; a public one sends its client_id only.
        grant_error: the token endpoint's word for a dead code or refresh token.
        scope_joiner: between scopes in a token answer.
        denial: the error that a callback brings when the person declines.
        echo_nonce: whether an ID token repeats the nonce.
        issuer_in_response: whether a callback carries ``iss`` (RFC 9207).
        revocation_reach: what revoking a token ends: ``token`` (a refresh token takes its grant along),
            or ``account``: every grant of this person to this application.
        max_state: the longest state in characters.
    """

    code_lifetime: timedelta = timedelta(minutes=10)
    access_token_lifetime: timedelta = timedelta(hours=1)
    refresh_token_lifetime: timedelta | None = None
    rotation: Literal["rotating", "static", "none"] = "rotating"
    refresh_scope: str = ""
    reuse_grace: timedelta = timedelta(0)
    pkce: Literal["required", "supported", "unsupported"] = "supported"
    pkce_methods: tuple[str, ...] = ("S256",)
    client_auth: tuple[ClientAuth, ...] = ("client_secret_basic", "client_secret_post")
    grant_error: str = "invalid_grant"
    scope_joiner: str = " "
    denial: str = "access_denied"
    echo_nonce: bool = True
    issuer_in_response: bool = False
    revocation_reach: Literal["token", "account"] = "token"
    max_state: int = 4096


@dataclass(frozen=True, slots=True, kw_only=True)
class LinkedInSettings(Settings):
    """LinkedIn's rules.

    Attributes:
        organizations: how many each person administers.
    """

    organizations: int = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class FacebookSettings(Settings):
    """Facebook's rules.

    Attributes:
        access_token_lifetime: of the short-lived token that a code brings.
        long_lifetime: of the token that ``fb_exchange_token`` brings.
        data_access: how long after the consent the data may be read.
        pages: how many each person has a role on. page_size: the most that one answer lists.
        business_pages: how many more belong to a business and are missing from ``/me/accounts``.
        appsecret_proof: ``required``: calls without one are refused; ``checked``: only a wrong one is.
        expires_in: how a token answer states the lifetime of a token, which is the same in all three cases.
        debug_app_id: what ``debug_token`` says whose token it is; "" for the truth.
    """

    long_lifetime: timedelta = timedelta(days=60)
    data_access: timedelta = timedelta(days=90)
    pages: int = 12
    page_size: int = 5
    business_pages: int = 0
    appsecret_proof: Literal["required", "checked"] = "required"
    expires_in: Literal["present", "absent", "zero"] = "present"
    debug_app_id: str = ""


X = Settings(
    grant_error="invalid_request",
    code_lifetime=timedelta(seconds=30),
    access_token_lifetime=timedelta(seconds=7200),
    refresh_scope="offline.access",
    pkce="required",
    pkce_methods=("S256", "plain"),
    client_auth=("client_secret_basic",),
    max_state=500,
)
LINKEDIN = LinkedInSettings(
    access_token_lifetime=timedelta(days=60),
    refresh_token_lifetime=timedelta(days=365),
    rotation="static",
    pkce="unsupported",
    client_auth=("client_secret_post",),
    scope_joiner=",",
    denial="user_cancelled_login",
    echo_nonce=False,
)
FACEBOOK = FacebookSettings(
    access_token_lifetime=timedelta(minutes=90), rotation="none", client_auth=("client_secret_post",)
)
OPENID = Settings(issuer_in_response=True, pkce="required")
