"""The ledger of one emulated provider: grants, codes and tokens, and what became of them."""

from __future__ import annotations

import secrets
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from socialvault.sandbox.accounts import User

TokenKind = Literal["access", "refresh", "page"]
#: ``live``, or why a token is not.
Verdict = Literal["live", "unknown", "revoked", "spent", "expired"]

_SHORT = {"access": "at", "refresh": "rt", "page": "pt"}


@dataclass(frozen=True, slots=True, kw_only=True)
class AuthorizationRequest:
    """What an application asked the person for."""

    client_id: str
    redirect_uri: str
    scopes: tuple[str, ...]
    state: str = ""
    challenge: str = ""
    challenge_method: str = ""
    nonce: str = field(default="", repr=False)
    response_mode: str = "query"


@dataclass(slots=True, kw_only=True, eq=False)
class Grant:
    """One consent of one person to one application.

    Attributes:
        pages: ids of the Pages ticked; None for all.
        ended: why it is over, "" while it is not: ``removed`` by the person, ``revoked`` by the application,
            ``password_changed``, ``reuse_detected``, ``code_reused``.
    """

    id: str
    client_id: str
    user: User
    scopes: tuple[str, ...]
    declined: tuple[str, ...]
    created_at: datetime
    nonce: str = field(default="", repr=False)
    pages: frozenset[str] | None = None
    ended: str = ""


@dataclass(slots=True, kw_only=True, eq=False)
class Code:
    """An authorization code."""

    value: str = field(repr=False)
    grant: Grant
    request: AuthorizationRequest
    expires_at: datetime
    spent: bool = False


@dataclass(slots=True, kw_only=True, eq=False)
class Token:
    """An access, refresh or Page token. `page_id` is "" but for Pages; `expires_at` None is never."""

    value: str = field(repr=False)
    kind: TokenKind
    grant: Grant
    scopes: tuple[str, ...]
    issued_at: datetime
    expires_at: datetime | None
    page_id: str = ""
    long_lived: bool = False
    revoked: bool = False
    spent_at: datetime | None = None


class Ledger:
    """Issues secrets whose text names their grant, and remembers all of them.

    Args:
        slug: the provider; every secret starts with it.
        next_grant_id: unique in the whole sandbox.
    """

    def __init__(self, slug: str, next_grant_id: Callable[[], str]) -> None:
        self.slug = slug
        self.grants: dict[str, Grant] = {}
        self.codes: dict[str, Code] = {}
        self.tokens: dict[str, Token] = {}
        self.id_tokens: list[str] = []
        self._next_grant_id = next_grant_id
        self._issued = 0

    def _secret(self, short: str, grant: Grant) -> str:
        self._issued += 1
        return f"{self.slug}-{short}-{grant.id}-{self._issued}-{secrets.token_hex(16)}"

    def open_grant(
        self,
        request: AuthorizationRequest,
        user: User,
        scopes: tuple[str, ...],
        now: datetime,
        pages: frozenset[str] | None,
    ) -> Grant:
        """Record that `user` consented to `scopes`."""
        grant = Grant(
            id=self._next_grant_id(),
            client_id=request.client_id,
            user=user,
            scopes=scopes,
            declined=tuple(scope for scope in request.scopes if scope not in scopes),
            created_at=now,
            nonce=request.nonce,
            pages=pages,
        )
        self.grants[grant.id] = grant
        return grant

    def issue_code(self, grant: Grant, request: AuthorizationRequest, expires_at: datetime) -> Code:
        """Issue a code for `grant`."""
        code = Code(value=self._secret("code", grant), grant=grant, request=request, expires_at=expires_at)
        self.codes[code.value] = code
        return code

    def issue(
        self,
        kind: TokenKind,
        grant: Grant,
        now: datetime,
        expires_at: datetime | None,
        *,
        scopes: tuple[str, ...],
        page_id: str = "",
        long_lived: bool = False,
    ) -> Token:
        """Issue a token for `grant`."""
        token = Token(
            value=self._secret(_SHORT[kind], grant),
            kind=kind,
            grant=grant,
            scopes=scopes,
            issued_at=now,
            expires_at=expires_at,
            page_id=page_id,
            long_lived=long_lived,
        )
        self.tokens[token.value] = token
        return token

    def verdict(self, token: Token | None, now: datetime, grace: timedelta = timedelta(0)) -> Verdict:
        """Say whether `token` works; a spent refresh token does for `grace` after its use."""
        if token is None:
            return "unknown"
        if token.revoked or token.grant.ended:
            return "revoked"
        if token.expires_at is not None and now >= token.expires_at:
            return "expired"
        if token.spent_at is not None and now >= token.spent_at + grace:
            return "spent"
        return "live"

    def end_grants(self, reason: str, *, user: User, client_id: str | None = None) -> list[Grant]:
        """End every living grant of `user`, to one application or to all, and return them."""
        ended = [
            grant
            for grant in self.grants.values()
            if not grant.ended and grant.user == user and client_id in (None, grant.client_id)
        ]
        for grant in ended:
            grant.ended = reason
        return ended

    def live(self, now: datetime, grace: timedelta, grant_id: str | None) -> Iterator[str]:
        """Yield the tokens that work, of one grant or of all."""
        for token in self.tokens.values():
            if grant_id in (None, token.grant.id) and self.verdict(token, now, grace) == "live":
                yield token.value

    def issued(self) -> Iterator[str]:
        """Yield every secret ever issued."""
        yield from self.codes
        yield from self.tokens
        yield from self.id_tokens
