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
        reuse: what presenting a spent refresh token does: ``ends_grant`` (logged as ``reuse_detected``, RFC 9700,
            section 4.14.2), or ``refused``: nothing but the refusal (logged as ``spent``).
        pkce: ``unsupported``: a code_verifier is refused.
        client_auth: accepted from confidential clients; a public one sends its client_id only.
        grant_error: the token endpoint's word for a dead code or refresh token.
        scope_joiner: between scopes in a token answer.
        denial: the error that a callback brings when the person declines.
        echo_nonce: whether an ID token repeats the nonce.
        issuer_in_response: whether a callback carries ``iss`` (RFC 9207).
        revocation_reach: what revoking a token ends: ``token`` (a refresh token takes its grant along), ``account``:
            every grant of this person to this application, or ``single``: that token alone, whatever its kind.
        max_state: the longest state in characters.
    """

    code_lifetime: timedelta = timedelta(minutes=10)
    access_token_lifetime: timedelta = timedelta(hours=1)
    refresh_token_lifetime: timedelta | None = None
    rotation: Literal["rotating", "static", "none"] = "rotating"
    refresh_scope: str = ""
    reuse_grace: timedelta = timedelta(0)
    reuse: Literal["ends_grant", "refused"] = "ends_grant"
    pkce: Literal["required", "supported", "unsupported"] = "supported"
    pkce_methods: tuple[str, ...] = ("S256",)
    client_auth: tuple[ClientAuth, ...] = ("client_secret_basic", "client_secret_post")
    grant_error: str = "invalid_grant"
    scope_joiner: str = " "
    denial: str = "access_denied"
    echo_nonce: bool = True
    issuer_in_response: bool = False
    revocation_reach: Literal["token", "account", "single"] = "token"
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


@dataclass(frozen=True, slots=True, kw_only=True)
class InstagramSettings(Settings):
    """Instagram's rules.

    Attributes:
        access_token_lifetime: of the short-lived token that a code brings.
        long_lifetime: of a long-lived token, from its exchange or its latest extension on.
        minimum_age: how old a token must be before it is extended, counted from its latest extension.
        extension: whether an extension answers with the ``same`` token or a ``new`` one; the old one then lives on.
        answer: whether a code's answer comes in ``data`` (as documented) or ``flat`` (as met in the field).
        permissions: how the scopes are said in it.
        expires_in: whether a long-lived token's answer says its lifetime.
    """

    long_lifetime: timedelta = timedelta(days=60)
    minimum_age: timedelta = timedelta(hours=24)
    extension: Literal["same", "new"] = "same"
    answer: Literal["data", "flat"] = "data"
    permissions: Literal["list", "text"] = "text"
    expires_in: Literal["present", "absent"] = "present"


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
INSTAGRAM = InstagramSettings(
    access_token_lifetime=timedelta(hours=1),
    rotation="none",
    pkce="unsupported",
    client_auth=("client_secret_post",),
    scope_joiner=",",
)
OPENID = Settings(issuer_in_response=True, pkce="required")
