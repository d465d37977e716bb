"""``Sandbox``: emulated providers on a local server, with the strings in a test's hands."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Self, Unpack

from socialvault.exceptions import ConfigurationError
from socialvault.model.secret import Secret
from socialvault.sandbox.accounts import Client, person
from socialvault.sandbox.browser import Callback, Decision, consent
from socialvault.sandbox.emulators.facebook import FacebookEmulator
from socialvault.sandbox.emulators.instagram import InstagramEmulator
from socialvault.sandbox.emulators.linkedin import LinkedInEmulator
from socialvault.sandbox.emulators.openid import OpenIDEmulator
from socialvault.sandbox.emulators.x import XEmulator
from socialvault.sandbox.factory import build_provider, usual_scopes
from socialvault.sandbox.faults import Fault, FaultOptions
from socialvault.sandbox.issuing import IssuedTokens
from socialvault.sandbox.world import World

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from datetime import datetime
    from types import TracebackType

    from starlette.types import ASGIApp

    from socialvault.providers.base import Provider
    from socialvault.sandbox.clock import ManualClock
    from socialvault.sandbox.emulators.base import Emulator
    from socialvault.sandbox.log import Log
    from socialvault.sandbox.server import LocalServer
    from socialvault.sandbox.settings import Settings

_EMULATORS: tuple[type[Emulator], ...] = (
    XEmulator,
    LinkedInEmulator,
    FacebookEmulator,
    InstagramEmulator,
    OpenIDEmulator,
)
_MISSING = "the sandbox needs starlette and uvicorn: pip install 'socialvault[demo]'"


class Sandbox:
    """Emulated X, LinkedIn, Facebook, Instagram and OpenID Connect providers on a real local HTTP server.

    Everything is emulated: no request leaves this machine, no account is real. Providers are named ``x``,
    ``linkedin``, ``facebook``, ``instagram`` and ``oidc``.

    Args:
        host: the loopback address to serve on. port: 0 for any free one.
        base_url: what browsers and clients reach the server by, where that differs from host and port;
            also the address that an application without a server (`app`) gives itself.
    """

    def __init__(self, *, host: str = "127.0.0.1", port: int = 0, base_url: str | None = None) -> None:
        self._host, self._port, self._public_url = host, port, base_url
        self._world = World((base_url or f"http://{host}:{port}").rstrip("/"))
        self._emulators = {build.slug: build(self._world) for build in _EMULATORS}
        self._register_everybody()
        self._app: ASGIApp | None = None
        self._server: LocalServer | None = None

    # --- the server -----------------------------------------------------------------------------

    def start(self) -> Self:
        """Start the server.

        Raises:
            ConfigurationError: an extra is missing, or the port is taken.
        """
        if self._server is None:
            app = self.app
            try:
                from socialvault.sandbox.server import LocalServer
            except ImportError:
                raise ConfigurationError(_MISSING) from None
            try:
                self._server = LocalServer(app, self._host, self._port)
            except OSError as error:
                raise ConfigurationError(f"the sandbox can't serve on {self._host}:{self._port}: {error}") from None
            if self._public_url is None:
                self._world.base_url = f"http://{self._host}:{self._server.port}"
        return self

    def stop(self) -> None:
        """Stop the server; requests in flight are cut off."""
        server, self._server = self._server, None
        if server is not None:
            server.stop()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def app(self) -> ASGIApp:
        """The same as a plain ASGI application.

        Raises:
            ConfigurationError: an extra is missing.
        """
        if self._app is None:
            try:
                from socialvault.sandbox.app import build_app
            except ImportError:
                raise ConfigurationError(_MISSING) from None
            self._app = build_app(self._world, self._emulators.values())
        return self._app

    @property
    def base_url(self) -> str:
        """Where the server is, without a slash at the end."""
        return self._world.base_url

    def url(self, provider: str, path: str) -> str:
        """Return the address of one of a provider's paths: ``url("x", "/2/users/me")``."""
        return self._emulator(provider).root + path

    def reset(self) -> None:
        """Forget grants, applications, settings, faults and the log, and go back to real time."""
        with self._world.lock:
            for emulator in self._emulators.values():
                emulator.reset()
            self._register_everybody()
            self._world.faults.clear()
            self._world.log.clear()
            self._world.clock.reset()

    # --- an application and its users -----------------------------------------------------------

    def register(
        self,
        provider: str,
        *,
        client_id: str | None = None,
        public: bool = False,
        refresh_tokens: bool | None = None,
        redirect_uris: Iterable[str] = (),
        previous_secret: str | Secret[str] | None = None,
    ) -> Client:
        """Register an application and return its credentials, which are the same in every run.

        One that is registered already keeps its secrets, see `change_secret`.

        Args:
            public: it has no secret.
            refresh_tokens: whether it gets any; None: as everybody does there (at LinkedIn partners only).
            redirect_uris: compared exactly; none accepts any.
            previous_secret: accepted beside its secret.
        """
        emulator = self._emulator(provider)
        previous = Secret(previous_secret) if isinstance(previous_secret, str) else previous_secret
        del previous_secret  # this frame may raise
        refreshes = provider != "linkedin" if refresh_tokens is None else refresh_tokens
        kind = "-public" if public else ("-partner" if provider == "linkedin" and refreshes else "")
        name = client_id or f"sandbox-{provider}{kind}"
        with self._world.lock:
            known = emulator.clients.get(name)
            secret = known.secret if known and known.secret else Secret(f"{name}-client-secret")
            client = Client(
                id=name,
                secret=None if public else secret,
                previous_secret=None if public else previous or (known.previous_secret if known else None),
                redirect_uris=frozenset(redirect_uris),
                refresh_tokens=refreshes,
            )
            emulator.clients[name] = client
        return client

    def change_secret(self, provider: str, *, overlap: bool, client_id: str | None = None) -> Client:
        """Give an application a new secret, as its developer does at the provider, and return what it is now.

        Args:
            overlap: whether the old secret is accepted too, until the next change; else it is dead at once.
            client_id: of a registered application; None for the usual one.

        Raises:
            ConfigurationError: there is no such application with a secret.
        """
        emulator = self._emulator(provider)
        with self._world.lock:
            client = self._registered(provider, client_id)
            if client.secret is None:
                raise ConfigurationError(f"{client.id} has no secret to change")
            changed = replace(
                client,
                secret=_next_secret(client.id, client.secret),
                previous_secret=client.secret if overlap else None,
            )
            emulator.clients[client.id] = changed
        return changed

    def _registered(self, provider: str, client_id: str | None) -> Client:
        client = self._emulator(provider).clients.get(client_id or f"sandbox-{provider}")
        if client is None:
            raise ConfigurationError(f"{provider} has no application {client_id!r}: register it first")
        return client

    def _register_everybody(self) -> None:
        """Register the usual applications, so that another process can serve what this one talks to."""
        for slug in self._emulators:
            self.register(slug)
            self.register(slug, public=True)
        self.register("linkedin", refresh_tokens=True)

    def provider(
        self,
        provider: str,
        *,
        scopes: Iterable[str] | None = None,
        client_id: str | None = None,
        public: bool = False,
        refresh_tokens: bool | None = None,
        redirect_uris: Iterable[str] = (),
        **overrides: Any,
    ) -> Provider:
        """Register an application and return the library's provider for it, pointed at this sandbox.

        Args:
            scopes: to ask for by default.
            client_id, public, refresh_tokens, redirect_uris: as for `register`.
            overrides: handed to the provider class.
        """
        client = self.register(
            provider, client_id=client_id, public=public, refresh_tokens=refresh_tokens, redirect_uris=redirect_uris
        )
        return build_provider(provider, client, self._emulator(provider).root, scopes=scopes, overrides=overrides)

    def authorize(
        self,
        login_url: str,
        *,
        user: str = "ada",
        approve: bool = True,
        scopes: Sequence[str] | None = None,
        pages: Sequence[str] | None = None,
    ) -> Callback:
        """Sign in and decide as the person would in a browser; return the callback's parameters.

        Args:
            user: anybody; a new name is a new person.
            scopes, pages: the boxes left ticked; None for all. Pages are named by their ids.

        Raises:
            ConfigurationError: the provider showed an error page, or has no such box.
        """
        if self._server is None:
            raise ConfigurationError("authorize() needs the server: use `with Sandbox() as sandbox`")
        return consent(login_url, Decision(user=user, approve=approve, scopes=scopes, pages=pages))

    def issue(
        self, provider: str, *, user: str = "ada", scopes: Iterable[str] | None = None, client_id: str | None = None
    ) -> IssuedTokens:
        """Open a grant as if `user` had consented and the code been exchanged, and return its tokens.

        For tests that need many connections (`import_tokens`) rather than flows. No request is made, so the log shows
        nothing before the tokens are used; `issued_tokens` and `live_tokens` know them.

        Args:
            user: anybody; a new name is a new person, hence another subject.
            scopes: granted; None for what the library's provider asks for by default, offline access included.
            client_id: of a registered application; None for the usual one.

        Raises:
            ConfigurationError: there is no such provider or application.
        """
        return self.issue_many(provider, [user], scopes=scopes, client_id=client_id)[0]

    def issue_many(
        self, provider: str, users: Iterable[str], *, scopes: Iterable[str] | None = None, client_id: str | None = None
    ) -> list[IssuedTokens]:
        """Do what `issue` does for each of `users`, and return their tokens in order."""
        emulator = self._emulator(provider)
        granted = tuple(scopes) if scopes is not None else usual_scopes(provider)
        with self._world.lock:
            client, now = self._registered(provider, client_id), self.clock.now()
            return [emulator.issue_unasked(client, person(user), granted, now) for user in users]

    def revoke_grant(self, provider: str, *, user: str = "ada") -> int:
        """Remove every application from `user`'s account, as the person can; return how many grants ended."""
        return self._end_grants(provider, "removed", user)

    def change_password(self, provider: str, *, user: str = "ada") -> int:
        """Change `user`'s password, which ends all grants; return how many."""
        return self._end_grants(provider, "password_changed", user)

    def _end_grants(self, provider: str, reason: str, user: str) -> int:
        with self._world.lock:
            return len(self._emulator(provider).ledger.end_grants(reason, user=person(user)))

    def signed_request(
        self, provider: str, *, user: str = "ada", client_id: str | None = None, issued_at: datetime | None = None
    ) -> str:
        """Return what the provider posts when `user` removes the application or asks it to delete their data.

        That is the form field ``signed_request``. The grant itself is not touched: see `revoke_grant`.

        Args:
            client_id: of a registered application; None for the usual one.
            issued_at: when it was signed (aware); None for now.

        Raises:
            ConfigurationError: the provider sends none, or has no such application with a secret.
        """
        emulator = self._emulator(provider)
        with self._world.lock:
            client = self._registered(provider, client_id)
        return emulator.signed_request(client, person(user), issued_at or self.clock.now())

    # --- what the provider does -----------------------------------------------------------------

    @property
    def clock(self) -> ManualClock:
        """The providers' clock; give it to the vault too."""
        return self._world.clock

    def settings(self, provider: str, **changes: Any) -> Settings:
        """Change a provider's rules (see `Settings`) and return those in force.

        Raises:
            ConfigurationError: there is no such rule.
        """
        with self._world.lock:
            return self._emulator(provider).configure(**changes)

    def fault(self, provider: str, endpoint: str, *, times: int | None = 1, **how: Unpack[FaultOptions]) -> None:
        """Let the next requests to an endpoint go wrong; see `Fault` for the ways.

        Args:
            endpoint: ``consent_page authorize token revoke introspect userinfo jwks discovery accounts api …``.
            times: how many requests; None: all, until `clear_faults`.

        Raises:
            ConfigurationError: there is no such endpoint.
        """
        known = {known.name for known in self._emulator(provider).endpoints}
        if endpoint not in known:
            raise ConfigurationError(f"{provider} has no endpoint {endpoint!r}; it has {sorted(known)}")
        self._world.faults.add(provider, endpoint, Fault(**how), times)

    def clear_faults(self) -> None:
        """Let everything go well again."""
        self._world.faults.clear()

    def change_signing_key(self, provider: str) -> str:
        """Sign ID tokens with a new key from now on; the old ones stay published. Return the new key's id."""
        with self._world.lock:
            return self._emulator(provider).keys.change()

    # --- the truth ------------------------------------------------------------------------------

    @property
    def log(self) -> Log:
        """What reached the providers and what they did, in order."""
        return self._world.log

    def issued_tokens(self) -> frozenset[str]:
        """Return every secret ever issued: codes, access, refresh, ID and Page tokens."""
        with self._world.lock:
            return frozenset(secret for one in self._emulators.values() for secret in one.ledger.issued())

    def live_tokens(self, provider: str, grant_id: str | None = None) -> frozenset[str]:
        """Return the access, refresh and Page tokens that work now, of one grant or of all."""
        emulator, now = self._emulator(provider), self.clock.now()
        with self._world.lock:
            return frozenset(emulator.ledger.live(now, emulator.settings.reuse_grace, grant_id))

    def _emulator(self, provider: str) -> Emulator:
        if provider not in self._emulators:
            raise ConfigurationError(f"the sandbox has no provider {provider!r}; it has {sorted(self._emulators)}")
        return self._emulators[provider]


def _next_secret(client_id: str, current: Secret[str]) -> Secret[str]:
    """Return a secret that no earlier change brought; the same one in every run."""
    _, _, number = current.reveal().rpartition("-client-secret-")
    return Secret(f"{client_id}-client-secret-{int(number) + 1 if number.isdecimal() else 2}")
