"""What the emulated products of Meta share: the Graph API's errors, its dead tokens, its field lists."""

from __future__ import annotations

import re
import secrets
from typing import TYPE_CHECKING, Any

from socialvault.sandbox.emulators.base import Emulator
from socialvault.sandbox.messages import Answer, Call, Refusal

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime, timedelta

    from socialvault.sandbox.accounts import Client
    from socialvault.sandbox.ledger import Grant, Token

_INVALID = {"unknown": "190.467", "expired": "190.463", "spent": "190.467"}
_ENDED = {"password_changed": "190.460", "removed": "190.458", "revoked": "190.458"}
#: Graph's numbers for what other providers say in words.
_WORDS = {
    "invalid_request": "100",
    "invalid_client": "101",
    "insufficient_scope": "200",
    "rate_limited": "4",
    "temporarily_unavailable": "2",
    "server_error": "1",
}
_FIELD = re.compile(r"[^,({]+(?:\([^)]*\))?(?:\{[^}]*\})?")


class GraphEmulator(Emulator):
    """No refresh tokens: a code brings a short-lived token, and applications keep a long-lived one."""

    def long_lifetime(self) -> timedelta:
        """Return how long a long-lived token lives."""
        raise NotImplementedError  # the rules are each product's own: its emulator says

    def lasting_tokens(self, client: Client, grant: Grant, now: datetime) -> tuple[Token, Token | None]:
        """Issue the long-lived token."""
        return self.issue_long_lived(grant, now), None

    def issue_long_lived(self, grant: Grant, now: datetime) -> Token:
        """Issue a long-lived token for `grant`."""
        ends = now + self.long_lifetime()
        return self.ledger.issue("access", grant, now, ends, scopes=grant.scopes, long_lived=True)

    def living(self, token: Token | None, call: Call) -> Token:
        """Return `token` if it works; refuse it with 190 and the subcode that says why not."""
        verdict = self.ledger.verdict(token, call.now)
        if token is not None:
            self.note_grant(call, token.grant)
            if verdict == "live":
                return token
        raise Refusal(
            self.why_invalid(token, verdict),
            f"Error validating access token: it is {verdict}",
            outcome=f"{verdict}_token",
        )

    def why_invalid(self, token: Token | None, verdict: str) -> str:
        """Return Graph's code and subcode for a token that does not work."""
        return _INVALID.get(verdict) or _ENDED.get(token.grant.ended if token else "", "190.467")

    def render_api(self, refusal: Refusal) -> Answer:
        """Say a refusal in Graph's form."""
        code, _, subcode = _WORDS.get(refusal.error, refusal.error).partition(".")
        error: dict[str, Any] = {
            "message": refusal.description,
            "type": "OAuthException",
            "code": int(code) if code.isdecimal() else 100,
            "fbtrace_id": secrets.token_hex(6),
        }
        if subcode:
            error["error_subcode"] = int(subcode)
        status = 400 if refusal.status == 401 else refusal.status
        return Answer(status=status, document={"error": error})


def selected(call: Call, record: Mapping[str, Any], default: Sequence[str] = ()) -> dict[str, Any]:
    """Return the fields that ``fields`` asks for; ``id`` always comes."""
    asked = [field.split("(")[0].split("{")[0].strip() for field in _FIELD.findall(call.query.get("fields", ""))]
    wanted = set(asked or default or record) | {"id"}
    return {name: value for name, value in record.items() if name in wanted}
