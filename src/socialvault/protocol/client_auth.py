"""How a client shows a server who it is: exactly one method per request."""

from __future__ import annotations

from base64 import b64encode
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal
from urllib.parse import quote_plus, urlencode

from socialvault.exceptions import ConfigurationError
from socialvault.protocol.messages import HttpRequest

if TYPE_CHECKING:
    from collections.abc import Mapping

    from socialvault.model.secret import Secret

_SECRET_FIELD = b"client_secret="

ClientAuthMethod = Literal["client_secret_basic", "client_secret_post", "none"]


class Form(dict[str, str]):
    """The fields of a form, whose repr shows names only: values are codes, verifiers and tokens."""

    def __repr__(self) -> str:
        return f"Form({', '.join(self)})"


@dataclass(frozen=True, slots=True)
class ClientCredentials:
    """An application's registration at a server.

    Attributes:
        client_secret: None for a public client.

    Raises:
        ConfigurationError: `method` needs a secret and there is none.
    """

    client_id: str
    client_secret: Secret[str] | None
    method: ClientAuthMethod

    def __post_init__(self) -> None:
        if self.client_secret is None and self.method in ("client_secret_basic", "client_secret_post"):
            raise ConfigurationError(f"client_secret is missing, and {self.method} needs one")


def authenticated_post(
    url: str, form: Mapping[str, str], credentials: ClientCredentials, *, untrusted_host: bool = False
) -> HttpRequest:
    """Build a form POST that carries the client's credentials by its one method.

    Spec: RFC 6749, section 2.3.1 and appendix B; RFC 6749, section 3.2.1 for public clients.

    Args:
        untrusted_host: the URL came from a user or from a document.
    """
    fields = dict(form)
    headers = [("Accept", "application/json"), ("Content-Type", "application/x-www-form-urlencoded")]
    secret = credentials.client_secret
    if credentials.method == "client_secret_basic" and secret is not None:
        headers.append(("Authorization", _basic(credentials.client_id, secret)))
    else:
        fields["client_id"] = credentials.client_id
    if credentials.method == "client_secret_post" and secret is not None:
        fields["client_secret"] = secret.reveal()
    return HttpRequest(
        "POST", url, headers=tuple(headers), body=urlencode(fields).encode("ascii"), untrusted_host=untrusted_host
    )


def with_credentials(request: HttpRequest, credentials: ClientCredentials) -> HttpRequest:
    """Return `request` as it would have been built with `credentials`, which differ in their secret alone.

    What carries no client secret by their method comes back as it is, the very same object.
    """
    secret = credentials.client_secret
    if secret is None or credentials.method == "none":
        return request
    if credentials.method == "client_secret_basic":
        header = ("Authorization", _basic(credentials.client_id, secret))
        headers = tuple(header if _is_basic(*given) else given for given in request.headers)
        return request if headers == request.headers else replace(request, headers=headers)
    field = urlencode({"client_secret": secret.reveal()}).encode("ascii")
    fields = [field if given.startswith(_SECRET_FIELD) else given for given in request.body.split(b"&")]
    body = b"&".join(fields)
    return request if body == request.body else replace(request, body=body)


def _is_basic(name: str, value: str) -> bool:
    return name.lower() == "authorization" and value.startswith("Basic ")


def _basic(client_id: str, secret: Secret[str]) -> str:
    # Each half is form-encoded on its own before the colon joins them, so a colon in the id can't shift it.
    pair = f"{quote_plus(client_id)}:{quote_plus(secret.reveal())}"
    return "Basic " + b64encode(pair.encode("ascii")).decode("ascii")
