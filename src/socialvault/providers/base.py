"""``Provider``: an authorization server and its quirks. Data first, pure hooks second, an exchange last."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from datetime import timedelta
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar, Literal, NoReturn, TypedDict, Unpack, get_args
from urllib.parse import urlencode, urlsplit

from socialvault.exceptions import (
    AccountMismatchError,
    ClientRejectedError,
    ConfigurationError,
    MalformedResponseError,
    ProviderError,
    TransportError,
)
from socialvault.model.identity import Identity
from socialvault.model.scopes import ordered
from socialvault.model.secret import Secret
from socialvault.protocol import errors, metadata, revocation, token
from socialvault.protocol.algorithms import SIGNATURES
from socialvault.protocol.client_auth import ClientAuthMethod, ClientCredentials, authenticated_post, with_credentials
from socialvault.protocol.decoding import Document, decode_document, decode_optional
from socialvault.protocol.messages import Exchange, HttpRequest, HttpResponse

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from socialvault.model.connection import RevocationOutcome, SubAccountGrant
    from socialvault.model.notice import AccountNotice
    from socialvault.model.token import TokenSet
    from socialvault.protocol import id_token

#: How a connection is kept alive. ``rotating``: each refresh brings a new refresh token. ``static``: it stays.
#: ``extend``: the access token itself is prolonged while valid, and may stay the same. ``exchange``: it is exchanged
#: for a longer one while valid. ``none``: only the person can.
Renewal = Literal["rotating", "static", "extend", "exchange", "none"]
RevocationStyle = Literal["rfc7009", "delete", "none"]
#: What a revocation ends: the ``token`` presented, or the person's whole ``grant`` to this application.
RevocationReach = Literal["token", "grant"]
PkceMethod = Literal["S256", "unsupported"]
#: Whether an ID token must repeat the nonce. ``optional``: it may leave it out, but never hold another one.
NoncePolicy = Literal["required", "optional"]

_SLUG = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}")
_URL_FIELDS = (
    "authorize_url", "token_url", "refresh_url", "revoke_url", "introspect_url", "userinfo_url", "jwks_url", "issuer",
)  # fmt: skip
_CHOICES: Mapping[str, tuple[str, ...]] = MappingProxyType({
    "client_auth": get_args(ClientAuthMethod),
    "renewal": get_args(Renewal),
    "revocation_style": get_args(RevocationStyle),
    "revocation_reach": get_args(RevocationReach),
    "pkce": get_args(PkceMethod),
    "nonce_policy": get_args(NoncePolicy),
})  # fmt: skip
_LOOPBACK = frozenset({"127.0.0.1", "::1", "localhost"})
_AMBIGUOUS = re.compile(r"[\x00-\x20\x7f\\]")  # parsers disagree about what these do to a URL
_NOTHING = timedelta(0)
_DEFAULT_PORTS = {"https": 443, "http": 80}
_SEQUENCES = ("default_scopes", "offline_scopes", "identity_scopes", "id_token_algorithms")
#: What the flow itself puts into an authorization request: a second one of these could only weaken it.
_FLOW_PARAMETERS = frozenset({
    "response_type", "client_id", "redirect_uri", "scope", "state", "nonce", "code_challenge", "code_challenge_method",
})  # fmt: skip


class ProviderOptions(TypedDict, total=False):
    """What an instance may override: every fact about a provider can turn out to be wrong or to change."""

    authorize_url: str
    token_url: str
    refresh_url: str
    revoke_url: str
    introspect_url: str
    userinfo_url: str
    jwks_url: str
    issuer: str
    api_hosts: Iterable[str]
    client_auth: ClientAuthMethod
    previous_client_secret: str | Secret[str] | None
    pkce: PkceMethod
    scope_separator: str
    default_scopes: Iterable[str]
    offline_scopes: Iterable[str]
    identity_scopes: Iterable[str]
    renewal: Renewal
    revocation_style: RevocationStyle
    revocation_reach: RevocationReach
    nonce_policy: NoncePolicy
    issuer_in_response: bool
    id_token_algorithms: Iterable[str]
    authorize_extra: Mapping[str, str]
    error_map: Mapping[str, errors.ErrorKind]
    refresh_token_lifetime: timedelta | None
    minimum_age: timedelta
    replay_grace: timedelta
    allow_loopback_http: bool
    untrusted_hosts: bool


@dataclass(frozen=True, slots=True)
class Grant:
    """What a finished browser flow brought: tokens, and whose they are."""

    token: TokenSet
    identity: Identity


class Provider:
    """One application registered at one authorization server. Immutable, holds no token, serves any number of flows.

    Class attributes declare the server and are checked when the class is made; each can be overridden per instance.

    Attributes:
        slug: its name in URLs and in the store. name: for people.
        authorize_url, token_url, refresh_url, revoke_url, introspect_url, userinfo_url, jwks_url: "" where it has none;
            refresh_url only where it differs from token_url.
        issuer: of ID tokens and of RFC 9207 responses, "" where it has none.
        api_hosts: the only hosts that may ever be sent a token (``host`` or ``host:port``).
        previous_client_secret: the one before `client_secret`, for as long as the provider may still want it: a request
            that is rejected with the current one is sent once more with this one.
        identity_scopes: always asked for, because without them the account can't be told.
        issuer_in_response: the server promises ``iss`` in every authorization response (RFC 9207, section 3).
        authorize_extra: constant parameters of the authorization request.
        error_map: error codes of the token endpoint that RFC 6749 does not know.
        refresh_token_lifetime: where the provider documents one and does not send it.
        minimum_age: how old a token must be before it can be extended or exchanged.
        replay_grace: how long after its use a refresh token may be presented again, as the provider documents it;
            zero where it says nothing.
        allow_loopback_http: accept plain http for a loopback host; for the sandbox and for tests.
        untrusted_hosts: the hosts were given by a user, so each connection obeys the address policy.
        sub_account_kind: what its sub-accounts are called, "" where it has none.
        account_notices: it tells in a signed request when a person removes the application or wants data deleted.
        required_urls: the endpoints that must be declared.

    Args:
        client_id: as registered.
        client_secret: as registered; None for a public client.
        scopes: asked for by default; None for the provider's own smallest useful set.

    Raises:
        ConfigurationError: a value is missing, unknown or unsafe.
    """

    slug: str = ""
    name: str = ""
    authorize_url: str = ""
    token_url: str = ""
    refresh_url: str = ""
    revoke_url: str = ""
    introspect_url: str = ""
    userinfo_url: str = ""
    jwks_url: str = ""
    issuer: str = ""
    api_hosts: frozenset[str] = frozenset()
    client_auth: ClientAuthMethod = "client_secret_basic"
    previous_client_secret: Secret[str] | None = None
    pkce: PkceMethod = "S256"
    scope_separator: str = " "
    default_scopes: tuple[str, ...] = ()
    offline_scopes: tuple[str, ...] = ()
    identity_scopes: tuple[str, ...] = ()
    renewal: Renewal = "static"
    revocation_style: RevocationStyle = "none"
    revocation_reach: RevocationReach = "token"
    nonce_policy: NoncePolicy = "required"
    issuer_in_response: bool = False
    id_token_algorithms: tuple[str, ...] = ("RS256",)
    authorize_extra: Mapping[str, str] = MappingProxyType({})
    error_map: Mapping[str, errors.ErrorKind] = MappingProxyType({})
    refresh_token_lifetime: timedelta | None = None
    minimum_age: timedelta = _NOTHING
    replay_grace: timedelta = _NOTHING
    allow_loopback_http: bool = False
    untrusted_hosts: bool = False
    sub_account_kind: ClassVar[str] = ""
    account_notices: ClassVar[bool] = False
    required_urls: ClassVar[tuple[str, ...]] = ("authorize_url", "token_url")

    client_id: str = ""
    scopes: tuple[str, ...]

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if cls.slug:
            check_declaration(cls, f"class {cls.__name__}")

    def __init__(
        self,
        client_id: str,
        client_secret: str | Secret[str] | None = None,
        *,
        scopes: Iterable[str] | None = None,
        **options: Unpack[ProviderOptions],
    ) -> None:
        client_secret = as_secret(client_secret)  # at once: this frame and those behind it may raise
        wrap_secrets(options)
        put = object.__setattr__
        put(self, "client_id", client_id)
        self._override(dict(options))
        if client_secret is None and "client_auth" not in options:
            put(self, "client_auth", "none")
        put(self, "scopes", ordered(self.default_scopes if scopes is None else several(scopes, "scopes")))
        put(self, "_server", metadata.ServerMetadata.of(self))
        check_declaration(self, f"{type(self).__name__}({self.slug!r})")
        self._check_credentials(client_secret)
        put(self, "_credentials", ClientCredentials(client_id, client_secret, self.client_auth))

    def _override(self, options: dict[str, Any]) -> None:
        for field, value in options.items():
            if field not in ProviderOptions.__annotations__:
                raise ConfigurationError(f"{type(self).__name__} has no option {field!r}")
            if field == "api_hosts":
                value = frozenset(several(value, field))
            elif field in _SEQUENCES:
                value = several(value, field)
            elif field == "previous_client_secret":
                value = value or None  # a setting that is empty between two replacements
            elif field in ("authorize_extra", "error_map"):
                value = MappingProxyType(dict(value))
            object.__setattr__(self, field, value)

    def _check_credentials(self, secret: Secret[str] | None) -> None:
        where = f"{type(self).__name__}({self.slug!r})"
        client_id: object = self.client_id  # from a caller who may not check types
        if not isinstance(client_id, str) or not client_id.strip():
            raise ConfigurationError(f"{where}: client_id is missing")
        if self.client_auth != "none" and not secret:
            raise ConfigurationError(f"{where}: client_secret is missing, and {self.client_auth} needs one")
        if self.client_auth == "none" and self.previous_client_secret:
            raise ConfigurationError(f"{where}: previous_client_secret needs a client_secret that replaces it")
        if self.client_auth == "none" and self.pkce == "unsupported":
            raise ConfigurationError(f"{where}: client_secret is missing, and a public client needs PKCE (RFC 9700)")
        if self.userinfo_url and not self.signs(self.userinfo_url):
            raise ConfigurationError(f"{where}: api_hosts must hold userinfo_url's {host_of(self.userinfo_url)!r}")

    def __setattr__(self, name: str, _value: object) -> NoReturn:
        raise AttributeError(f"a provider is immutable: {name} can't be set; give it to the constructor")

    def __delattr__(self, name: str) -> NoReturn:
        raise AttributeError(f"a provider is immutable: {name} can't be deleted")

    def __repr__(self) -> str:
        return f"{type(self).__name__}(slug={self.slug!r}, client_id={self.client_id!r})"

    @property
    def credentials(self) -> ClientCredentials:
        """How this application shows the server who it is."""
        credentials: ClientCredentials = self.__dict__["_credentials"]
        return credentials

    @property
    def account_issuer(self) -> str:
        """The issuer part of an account's key: the declared issuer, or the token endpoint's host."""
        return self.issuer or urlsplit(self.token_url).netloc

    @property
    def uses_openid(self) -> bool:
        """Whether an ID token can be asked for here."""
        return bool(self.issuer) and bool(self.jwks_url)

    def signs(self, url: str) -> bool:
        """Whether a token may be sent to `url`: https and one of `api_hosts`, byte for byte."""
        host = host_of(url)
        if not host or "@" in urlsplit(url).netloc:
            return False
        plain = self.allow_loopback_http and url.startswith("http://") and urlsplit(url).hostname in _LOOPBACK
        return (url.startswith("https://") or plain) and host in self.api_hosts

    # --- the server -----------------------------------------------------------------------------

    def resolve(self) -> Exchange[metadata.ServerMetadata]:
        """Return where the server's endpoints are; only a discovering provider asks it."""
        yield from ()  # an exchange without a request
        return self.static_server

    @property
    def static_server(self) -> metadata.ServerMetadata:
        """The endpoints as declared."""
        server: metadata.ServerMetadata = self.__dict__["_server"]
        return server

    # --- hooks: pure, named for what they read or build -----------------------------------------

    def authorize_params(self, scopes: tuple[str, ...]) -> Mapping[str, str]:
        """Build the provider's own constant parameters of the authorization request."""
        return self.authorize_extra

    def token_form(self, code: Secret[str], redirect_uri: str, verifier: Secret[str] | None) -> dict[str, str]:
        """Build the form that exchanges a code (RFC 6749, section 4.1.3; RFC 7636, section 4.5)."""
        return token.code_form(code, redirect_uri, verifier)

    def refresh_form(self, stored: TokenSet) -> dict[str, str]:
        """Build the form that presents a refresh token (RFC 6749, section 6)."""
        return token.refresh_form(stored)

    def read_token(self, response: HttpResponse) -> TokenSet:
        """Judge and read a token endpoint's answer (RFC 6749, section 5).

        Raises:
            ProviderError: the branch that `read_error` found.
        """
        return token.read_token(response, self.read_document(response), provider=self.slug)

    def read_document(self, response: HttpResponse) -> Document:
        """Decode a successful answer; success is status and body both.

        Raises:
            ProviderError: the branch that `read_error` found.
        """
        if not 200 <= response.status < 300:
            raise self.read_error(response, decode_optional(response, self.slug))
        document = decode_document(response, provider=self.slug)
        if document.has("error"):
            raise self.read_error(response, document)
        return document

    def read_error(self, response: HttpResponse, document: Document | None) -> ProviderError:
        """Say which error an unsuccessful answer is, by status and body."""
        return errors.read_error(response, document, provider=self.slug, error_map=self.error_map)

    def api_params(self, access_token: Secret[str]) -> Mapping[str, str]:
        """Build the query parameters that each API call must carry beside its token; at most providers none."""
        return {}

    def read_identity(self, document: Document) -> Identity:
        """Read the account from the user information answer; the default is OpenID Connect's claims."""
        return Identity(
            subject=document.text("sub") or "",
            name=document.text("name") or "",
            username=document.text("preferred_username") or "",
            email=document.text("email") or "",
            picture_url=document.text("picture") or "",
        )

    def revocation_requests(self, server: metadata.ServerMetadata, stored: TokenSet) -> list[HttpRequest]:
        """Build what revokes `stored`: the refresh token first, then the access token (RFC 7009, section 2.1)."""
        if self.revocation_style != "rfc7009" or not server.revoke_url:
            return []
        return revocation.revocation_requests(
            server.revoke_url, stored, self.credentials, untrusted_host=self.untrusted_hosts
        )

    def read_account_notice(self, signed_request: str) -> AccountNotice | None:
        """Read what the provider posts about an account, unasked; None for what it did not sign."""
        return None

    # --- exchanges ------------------------------------------------------------------------------

    def authorization_prefix(self, server: metadata.ServerMetadata, redirect_uri: str, scopes: tuple[str, ...]) -> str:
        """Build the part of the authorization URL that is the same for every flow (RFC 6749, section 4.1.1)."""
        params = {
            "response_type": "code",
            "client_id": self.client_id,
            "redirect_uri": redirect_uri,
            **self.authorize_params(scopes),
        }
        wanted = ordered((*scopes, *self.offline_scopes))
        if wanted:  # an empty scope is not the same as none (RFC 6749, section 3.3)
            params["scope"] = self.scope_separator.join(wanted)
        joiner = "&" if "?" in server.authorize_url else "?"
        return f"{server.authorize_url}{joiner}{urlencode(params)}"

    def exchange_code(
        self,
        server: metadata.ServerMetadata,
        code: Secret[str],
        redirect_uri: str,
        verifier: Secret[str] | None,
        nonce: Secret[str] | None,
    ) -> Exchange[Grant]:
        """Exchange a code for tokens and find out whose they are."""
        form = self.token_form(code, redirect_uri, verifier)
        response = yield from self.authenticated(self.authenticated_post(server.token_url, form))
        return (yield from self.after_exchange(server, self._dated(self.read_token(response)), nonce))

    def _dated(self, first: TokenSet) -> TokenSet:
        """Give a grant's first refresh token the documented deadline, unless the answer set one."""
        if self.refresh_token_lifetime is None or first.refresh_token is None or first.refresh_expires_at is not None:
            return first
        return replace(first, refresh_expires_at=first.obtained_at + self.refresh_token_lifetime)

    def after_exchange(
        self, server: metadata.ServerMetadata, fresh: TokenSet, nonce: Secret[str] | None
    ) -> Exchange[Grant]:
        """Turn the code's tokens into a grant: validate the ID token, read the account."""
        claims = None
        if fresh.id_token is not None and nonce is not None and server.jwks_url:
            from socialvault.protocol import id_token  # loaded where there are ID tokens

            claims = yield from id_token.validate(
                fresh.id_token,
                self.id_token_rules(server),
                nonce=nonce,
                access_token=fresh.access_token,
                obtained_at=fresh.obtained_at,
            )
        else:
            fresh = replace(fresh, id_token=None)  # nobody asked for it, so nothing vouches for it
        identity = yield from self.fetch_identity(server, fresh, claims)
        return Grant(fresh, identity)

    def id_token_rules(self, server: metadata.ServerMetadata) -> id_token.IdTokenRules:
        """Return what an ID token must show."""
        from socialvault.protocol import id_token

        return id_token.IdTokenRules(
            issuer=server.issuer,
            client_id=self.client_id,
            jwks_url=server.jwks_url,
            algorithms=self.id_token_algorithms,
            nonce_required=self.nonce_policy == "required",
            untrusted_host=self.untrusted_hosts,
            provider=self.slug,
        )

    def fetch_identity(
        self, server: metadata.ServerMetadata, fresh: TokenSet, claims: id_token.IdTokenClaims | None
    ) -> Exchange[Identity]:
        """Read the account from the user information endpoint, and hold it against the ID token's subject (O-31)."""
        if not server.userinfo_url:
            if claims is None:
                raise MalformedResponseError(
                    f"{self.slug}: neither an ID token nor a user information endpoint says whose grant this is",
                    provider=self.slug,
                    status=200,
                )
            return claims.identity
        response = yield self.userinfo_request(server, fresh.access_token)
        identity = self.read_identity(self.read_document(response))
        if not identity.subject:
            raise MalformedResponseError(f"{self.slug}: the account has no id", provider=self.slug, status=200)
        if claims is not None and claims.identity.subject != identity.subject:
            raise AccountMismatchError(f"{self.slug}: the user information is not about the ID token's subject")
        return identity

    def renew(self, server: metadata.ServerMetadata, stored: TokenSet, subject: str) -> Exchange[TokenSet]:
        """Renew `stored` and return the tokens to store; what the answer leaves out is kept.

        Raises:
            AccountMismatchError: the answer is about another account than `subject`.
        """
        rules = self.id_token_rules(server) if stored.id_token is not None and server.jwks_url else None
        from socialvault.protocol import id_token

        if rules is not None:  # before the refresh token is spent: afterwards nothing may stand in its way
            try:
                yield id_token.jwks_request(rules)
            except TransportError:
                rules = None  # the server's keys are out of reach: do without an ID token, not without a token
        request = self.authenticated_post(server.refresh_url or server.token_url, self.refresh_form(stored))
        response = yield from self.authenticated(request)
        fresh = self.read_token(response)
        if rules is None:
            fresh = replace(fresh, id_token=None)
        else:
            fresh = yield from id_token.check_refreshed(fresh, rules, subject=subject)
        return token.merge(stored, fresh)

    def revoke(self, server: metadata.ServerMetadata, stored: TokenSet) -> Exchange[RevocationOutcome]:
        """Revoke `stored` at the provider."""
        outcome: RevocationOutcome = "unsupported"
        for request in self.revocation_requests(server, stored):
            response = yield from self.authenticated(request)
            answer = self.read_revocation(response)
            outcome = answer if outcome != "revoked" else outcome
        return outcome

    def read_revocation(self, response: HttpResponse) -> RevocationOutcome:
        """Judge the answer to a revocation (RFC 7009, section 2.2)."""
        return revocation.read_revocation(response, provider=self.slug)

    def list_sub_accounts(self, server: metadata.ServerMetadata, stored: TokenSet) -> Exchange[list[SubAccountGrant]]:
        """List what this connection can act for; nothing by default."""
        yield from ()  # an exchange without a request
        return []

    def authenticated(self, request: HttpRequest) -> Exchange[HttpResponse]:
        """Send a request that shows the client's secret; once more with the previous one, where the first is rejected.

        That is safe: a server looks at what is presented only after it knows the client, so a client that was rejected
        has spent no code and no token. The second answer is the one that counts. A request that shows no client
        secret, or for which no previous one is configured, is sent once.

        Spec: RFC 6749, sections 3.2.1 and 5.2.
        """
        response = yield request
        previous = self.previous_client_secret
        if previous is None or not self._rejects_client(response):
            return response
        again = with_credentials(request, replace(self.credentials, client_secret=previous))
        return response if again is request else (yield again)

    def _rejects_client(self, response: HttpResponse) -> bool:
        document = decode_optional(response, self.slug)
        if 200 <= response.status < 300 and not (document and document.has("error")):
            return False
        return isinstance(self.read_error(response, document), ClientRejectedError)

    # --- requests -------------------------------------------------------------------------------

    def authenticated_post(self, url: str, form: Mapping[str, str]) -> HttpRequest:
        """Build a form POST that carries the client's credentials."""
        return authenticated_post(url, form, self.credentials, untrusted_host=self.untrusted_hosts)

    def userinfo_request(self, server: metadata.ServerMetadata, access_token: Secret[str]) -> HttpRequest:
        """Build the question whose account this is (OpenID Connect Core 1.0, section 5.3.1)."""
        return self.signed_get(server.userinfo_url, access_token)

    def signed_get(
        self, url: str, access_token: Secret[str], *, headers: tuple[tuple[str, str], ...] = ()
    ) -> HttpRequest:
        """Build a GET that carries a token in its Authorization header.

        Raises:
            ConfigurationError: the URL's host is not one of `api_hosts`.
        """
        self.check_signed_url(url)
        return self.bearer_get(url, access_token, headers=headers)

    def bearer_get(
        self, url: str, access_token: Secret[str], *, headers: tuple[tuple[str, str], ...] = ()
    ) -> HttpRequest:
        """Build a GET with a token for a URL that was judged already; anybody else calls `signed_get`."""
        return HttpRequest(
            "GET",
            url,
            headers=(("Accept", "application/json"), ("Authorization", f"Bearer {access_token.reveal()}"), *headers),
            untrusted_host=self.untrusted_hosts,
        )

    def check_signed_url(self, url: str) -> None:
        """Refuse to let a token leave for another host (a paging link in an answer, say)."""
        if not self.signs(url):
            host = errors.printable(host_of(url))
            known = sorted(self.api_hosts)
            raise ConfigurationError(f"{self.slug}: no token is sent to {host!r}; api_hosts are {known}")


def as_secret(value: object, what: str = "client_secret") -> Secret[str] | None:
    """Wrap a client secret as it came from a caller.

    Raises:
        ConfigurationError: it is neither text nor a `Secret`.
    """
    wrapped = Secret(value) if isinstance(value, str) else value
    kind = type(value).__name__
    del value  # this frame may raise
    if wrapped is not None and not isinstance(wrapped, Secret):
        del wrapped
        raise ConfigurationError(f"{what} must be text, not {kind}")
    return wrapped


def wrap_secrets(options: ProviderOptions) -> None:
    """Wrap the secret among a constructor's options where it lies, before the frame that holds them may raise.

    Raises:
        ConfigurationError: it is neither text nor a `Secret`.
    """
    if "previous_client_secret" in options:
        secret = as_secret(options.pop("previous_client_secret"), "previous_client_secret")
        options["previous_client_secret"] = secret


def several(values: Iterable[str], what: str) -> tuple[str, ...]:
    """Return `values` as a tuple.

    Raises:
        ConfigurationError: they are one text, whose letters nobody meant.
    """
    if isinstance(values, str):
        raise ConfigurationError(f"{what} must be a list of texts, not the text {values!r}")
    return tuple(values)


def host_of(url: str) -> str:
    """Return a URL's host as `api_hosts` names it: lower case, with the port where it is not the scheme's own.

    "" for what is no URL, or one that another parser could read differently.
    """
    if _AMBIGUOUS.search(url):
        return ""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        return ""
    host = parts.hostname or ""
    return host if not host or port in (None, _DEFAULT_PORTS.get(parts.scheme)) else f"{host}:{port}"


def check_declaration(declared: Any, where: str) -> None:
    """Check what a class or an instance declares.

    Raises:
        ConfigurationError: a value is missing, unknown or unsafe; the message names it.
    """
    if not _SLUG.fullmatch(declared.slug):
        raise ConfigurationError(f"{where}: slug {declared.slug!r} must match {_SLUG.pattern}")
    for field in declared.required_urls:
        if not getattr(declared, field):
            raise ConfigurationError(f"{where}: {field} is missing")
    for field in _URL_FIELDS:
        check_endpoint(getattr(declared, field), f"{where}: {field}", loopback=declared.allow_loopback_http)
    for field, choices in _CHOICES.items():
        if getattr(declared, field) not in choices:
            raise ConfigurationError(f"{where}: {field} is {getattr(declared, field)!r}, not one of {choices}")
    if isinstance(declared.api_hosts, str) or not all(
        host and "/" not in host and "@" not in host and host == host.lower() for host in declared.api_hosts
    ):
        raise ConfigurationError(f"{where}: api_hosts must be lower-case host names, not {declared.api_hosts!r}")
    _check_durations(declared, where)
    if not set(declared.id_token_algorithms) <= set(SIGNATURES):
        raise ConfigurationError(f"{where}: id_token_algorithms may hold {sorted(SIGNATURES)} only")
    taken = _FLOW_PARAMETERS & set(declared.authorize_extra)
    if taken:
        raise ConfigurationError(f"{where}: authorize_extra may not hold {sorted(taken)}: the flow sets them itself")


def _check_durations(declared: Any, where: str) -> None:
    for field in ("minimum_age", "replay_grace"):
        duration: object = getattr(declared, field)  # from a caller who may not check types
        if not isinstance(duration, timedelta) or duration < _NOTHING:
            raise ConfigurationError(f"{where}: {field} must be a timedelta of zero or more, not {duration!r}")


def check_endpoint(url: str, what: str, *, loopback: bool) -> None:
    """Check that a URL is https without user information or fragment; plain http on loopback where allowed.

    Raises:
        ConfigurationError: it is not.
    """
    if not url:
        return
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError:
        raise ConfigurationError(f"{what} is no URL") from None
    plain = parts.scheme == "http" and loopback and parts.hostname in _LOOPBACK
    if not (parts.scheme == "https" or plain):
        raise ConfigurationError(f"{what} must be https")
    if not parts.hostname or parts.username is not None or parts.fragment or any(c.isspace() for c in url):
        raise ConfigurationError(f"{what} must be a plain https URL with a host")
