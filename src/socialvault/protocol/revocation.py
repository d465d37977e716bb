"""The revocation endpoint (RFC 7009)."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING

from socialvault.protocol import errors
from socialvault.protocol.client_auth import ClientCredentials, Form, authenticated_post
from socialvault.protocol.decoding import decode_optional

if TYPE_CHECKING:
    from collections.abc import Mapping

    from socialvault.model.connection import RevocationOutcome
    from socialvault.model.token import TokenSet
    from socialvault.protocol.messages import HttpRequest, HttpResponse

_NO_MAP: Mapping[str, errors.ErrorKind] = MappingProxyType({})
_OUTCOMES: Mapping[str, RevocationOutcome] = MappingProxyType(
    {"invalid_token": "already_gone", "invalid_grant": "already_gone", "unsupported_token_type": "unsupported"}
)


def revocation_requests(
    url: str, stored: TokenSet, credentials: ClientCredentials, *, untrusted_host: bool = False
) -> list[HttpRequest]:
    """Build what revokes `stored`: the refresh token first, because it could bring a new access token, then the other.

    Spec: RFC 7009, section 2.1; the hint is always sent, since servers exist that insist on it.

    Args:
        untrusted_host: the URL came from a user or from a document.
    """
    tokens = (("refresh_token", stored.refresh_token), ("access_token", stored.access_token))
    return [
        authenticated_post(
            url, Form(token=token.reveal(), token_type_hint=hint), credentials, untrusted_host=untrusted_host
        )
        for hint, token in tokens
        if token
    ]


def read_revocation(
    response: HttpResponse, *, provider: str, error_map: Mapping[str, errors.ErrorKind] = _NO_MAP
) -> RevocationOutcome:
    """Judge the answer to a revocation. A token that the server doesn't know (any more) is already gone.

    Spec: RFC 7009, sections 2.2 and 2.2.1.

    Raises:
        ProviderError: anything else; which branch, `errors.read_error` says.
    """
    document = decode_optional(response, provider)
    failed = document is not None and document.has("error")
    if response.status in (200, 204) and not failed:
        return "revoked"
    outcome = _OUTCOMES.get((document.text("error") or "") if document else "")
    if outcome is not None and response.status in (200, 400):
        return outcome
    raise errors.read_error(response, document, provider=provider, error_map=error_map)
