"""Where a server's endpoints are: declared, or discovered (OpenID Connect Discovery 1.0, RFC 8414)."""

from __future__ import annotations

import re
from dataclasses import dataclass, fields
from urllib.parse import urlsplit

from socialvault.exceptions import ConfigurationError, IssuerMismatchError
from socialvault.protocol import errors
from socialvault.protocol.decoding import Document, decode_document, decode_optional
from socialvault.protocol.messages import METADATA_RESPONSE_BYTES, Exchange, HttpRequest, HttpResponse

_URL_CHARACTERS = re.compile(r"[A-Za-z0-9\-._~:/?\[\]@!$&'()*+,;=%]{1,2048}")
_LOOPBACK = frozenset({"127.0.0.1", "::1", "localhost"})
_ENDPOINTS = {
    "authorize_url": "authorization_endpoint",
    "token_url": "token_endpoint",
    "revoke_url": "revocation_endpoint",
    "introspect_url": "introspection_endpoint",
    "userinfo_url": "userinfo_endpoint",
    "jwks_url": "jwks_uri",
}
_REQUIRED = ("authorize_url", "token_url")


@dataclass(frozen=True, slots=True)
class ServerMetadata:
    """A server's endpoints, "" where it has none.

    Attributes:
        refresh_url: only where it differs from `token_url`.
        issuer_in_response: the server promises ``iss`` in every authorization response (RFC 9207, section 3).
    """

    issuer: str = ""
    authorize_url: str = ""
    token_url: str = ""
    refresh_url: str = ""
    revoke_url: str = ""
    introspect_url: str = ""
    userinfo_url: str = ""
    jwks_url: str = ""
    issuer_in_response: bool = False

    @classmethod
    def of(cls, provider: object) -> ServerMetadata:
        """Copy the attributes of the same names from whatever declares them."""
        return cls(**{field.name: getattr(provider, field.name) for field in fields(cls)})


def metadata_requests(issuer: str, *, untrusted_host: bool) -> tuple[HttpRequest, HttpRequest]:
    """Build the two questions for a server's metadata, in the order to ask them.

    Spec: OpenID Connect Discovery 1.0, section 4; RFC 8414, section 3.1.
    """
    parts = urlsplit(issuer)
    inserted = f"{parts.scheme}://{parts.netloc}/.well-known/oauth-authorization-server{parts.path.rstrip('/')}"
    return (
        _metadata_request(f"{issuer.rstrip('/')}/.well-known/openid-configuration", untrusted_host=untrusted_host),
        _metadata_request(inserted, untrusted_host=untrusted_host),
    )


def discover(issuer: str, *, provider: str, untrusted_host: bool, loopback: bool) -> Exchange[ServerMetadata]:
    """Find a server's endpoints: by OpenID Connect's path, and by RFC 8414's where that one is not found.

    Args:
        untrusted_host: the issuer was given by a user.
        loopback: accept plain http for a loopback host.

    Raises:
        ConfigurationError: `issuer` is no plain https URL, or the server lacks S256.
        IssuerMismatchError, ProviderError: see `read_metadata`.
    """
    problem = _url_problem(issuer, loopback=loopback) or ("may have no query" if "?" in issuer else "")
    if problem:
        raise ConfigurationError(f"{provider}: the issuer {problem}")
    first, second = metadata_requests(issuer, untrusted_host=untrusted_host)
    response = yield first
    if response.status == 404:
        response = yield second
    return read_metadata(response, issuer=issuer, provider=provider, loopback=loopback)


def read_metadata(response: HttpResponse, *, issuer: str, provider: str, loopback: bool) -> ServerMetadata:
    """Read a metadata document, trusting it about nothing that can be checked.

    Spec: RFC 8414, sections 2 and 3.3; OpenID Connect Discovery 1.0, section 4.3; RFC 9207, section 3.

    Raises:
        IssuerMismatchError: it is about another issuer than the one asked for, be it by one character.
        ConfigurationError: it lists PKCE methods and S256 is not among them.
        MalformedResponseError: an endpoint is missing or no plain https URL.
        ProviderError: the server refused; which branch, `errors.read_error` says.
    """
    if response.status != 200:
        raise errors.read_error(response, decode_optional(response, provider), provider=provider)
    document = decode_document(response, provider=provider)
    if document.text("issuer") != issuer:
        raise IssuerMismatchError(f"{provider}: the metadata is about another issuer")
    if not _allows_s256(document.value("code_challenge_methods_supported")):
        raise ConfigurationError(f"{provider}: the server does not support PKCE with S256")
    problem = _endpoints_problem(document, loopback=loopback)
    if problem:
        raise errors.malformed(f"metadata: {problem}", provider=provider, status=response.status)
    return ServerMetadata(
        issuer=issuer,
        issuer_in_response=document.value("authorization_response_iss_parameter_supported") is True,
        **{field: document.text(name) or "" for field, name in _ENDPOINTS.items()},
    )


def _metadata_request(url: str, *, untrusted_host: bool) -> HttpRequest:
    return HttpRequest(
        "GET",
        url,
        headers=(("Accept", "application/json"),),
        max_response_bytes=METADATA_RESPONSE_BYTES,
        caching="use",
        untrusted_host=untrusted_host,
    )


def _allows_s256(methods: object) -> bool:
    return methods is None or (isinstance(methods, list) and "S256" in methods)


def _endpoints_problem(document: Document, *, loopback: bool) -> str:
    for field, name in _ENDPOINTS.items():
        if not document.has(name):
            if field in _REQUIRED:
                return f"{name} is missing"
            continue
        problem = _url_problem(document.text(name) or "", loopback=loopback)
        if problem:
            return f"{name} {problem}"
    return ""


def _url_problem(url: str, *, loopback: bool) -> str:
    if not _URL_CHARACTERS.fullmatch(url):
        return "is no URL"
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError:
        return "is no URL"
    if not parts.hostname or "@" in parts.netloc:
        return "must have a host and no user"
    plain = loopback and url.startswith("http://") and parts.hostname in _LOOPBACK
    return "" if plain or url.startswith("https://") else "must be https"
