"""The introspection endpoint (RFC 7662)."""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Literal

from socialvault.model.scopes import Scopes, parse_scopes
from socialvault.protocol import errors
from socialvault.protocol.client_auth import ClientCredentials, Form, authenticated_post
from socialvault.protocol.decoding import decode_document
from socialvault.protocol.timestamps import read_timestamp

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from socialvault.model.secret import Secret
    from socialvault.protocol.messages import HttpRequest, HttpResponse

_NO_MAP: Mapping[str, errors.ErrorKind] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Introspection:
    """What a server says about a token.

    Attributes:
        active: whether it would be accepted now; when False nothing else is known.
        scopes: None when the server doesn't say.
        client_id, subject, token_type: "" when the server doesn't say.
        expires_at: aware, UTC; None when the server doesn't say.
    """

    active: bool
    scopes: Scopes | None = None
    client_id: str = ""
    subject: str = ""
    expires_at: datetime | None = None
    token_type: str = ""


def introspection_request(
    url: str,
    token: Secret[str],
    credentials: ClientCredentials,
    *,
    hint: Literal["access_token", "refresh_token"],
    untrusted_host: bool = False,
) -> HttpRequest:
    """Build the question about a token.

    Spec: RFC 7662, section 2.1.

    Args:
        untrusted_host: the URL came from a user or from a document.
    """
    form = Form(token=token.reveal(), token_type_hint=hint)
    return authenticated_post(url, form, credentials, untrusted_host=untrusted_host)


def read_introspection(
    response: HttpResponse, *, provider: str, error_map: Mapping[str, errors.ErrorKind] = _NO_MAP
) -> Introspection:
    """Read the answer.

    Spec: RFC 7662, section 2.2.

    Raises:
        ProviderError: the server refused; which branch, `errors.read_error` says.
        MalformedResponseError: ``active`` is missing or no boolean.
    """
    document = decode_document(response, provider=provider)
    if response.status != 200 or document.has("error"):
        raise errors.read_error(response, document, provider=provider, error_map=error_map)
    if not isinstance(document.value("active"), bool):
        raise errors.malformed("the introspection answer lacks active", provider=provider, status=response.status)
    if not document.value("active"):
        return Introspection(active=False)
    return Introspection(
        active=True,
        scopes=parse_scopes(document.value("scope")),
        client_id=document.text("client_id") or "",
        subject=document.identifier("sub") or "",
        expires_at=read_timestamp(document.value("exp")),
        token_type=document.text("token_type") or "",
    )
