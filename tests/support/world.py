"""A vault of either colour over any store, with the sandbox as its providers: tests are written once."""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from socialvault import AsyncVault, LocalKeyring, Vault
from socialvault.api.stores import open_async_store, open_store
from socialvault.stores.memory import AsyncMemoryStore, MemoryStore
from socialvault.stores.sqlite import AsyncSQLiteStore, SQLiteStore

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable
    from pathlib import Path

    from socialvault.model.connection import Connection
    from socialvault.model.events import Event
    from socialvault.model.login import Completed, Login
    from socialvault.providers import Provider
    from socialvault.sandbox import Sandbox
    from socialvault.sandbox.browser import Callback

Colour = Literal["sync", "async"]
StoreKind = Literal["memory", "sqlite", "postgres", "valkey"]

OWNER = "user-42"
TENANT = "acme"
SLUGS = ("x", "linkedin", "facebook", "oidc")


class Facade:
    """One awaitable face for both colours; a blocking call runs in a thread."""

    def __init__(self, vault: Vault | AsyncVault) -> None:
        self.vault = vault

    def __getattr__(self, name: str) -> Callable[..., Any]:
        target = getattr(self.vault, name)
        if isinstance(self.vault, AsyncVault):
            return target  # type: ignore[no-any-return]  # whatever it is

        async def call(*args: Any, **kwargs: Any) -> Any:
            return await asyncio.to_thread(target, *args, **kwargs)

        return call


@dataclass
class World:
    """Everything one test needs."""

    sandbox: Sandbox
    colour: Colour
    kind: StoreKind
    directory: Path
    url: str = ""  # of the server's database, where the store is on one
    keys: str = field(default_factory=LocalKeyring.generate)
    events: list[Event] = field(default_factory=list)
    store: Any = None
    vault: Any = None
    providers: dict[str, Provider] = field(default_factory=dict)
    built: list[Facade] = field(default_factory=list)

    @property
    def database(self) -> Path:
        return self.directory / "vault.db"

    def provider(self, slug: str, **options: Any) -> Provider:
        options.setdefault("refresh_tokens", True)
        self.providers[slug] = self.sandbox.provider(slug, **options)
        return self.providers[slug]

    def open_store(self) -> Any:
        if self.kind == "memory":
            return (AsyncMemoryStore if self.colour == "async" else MemoryStore)(clock=self.sandbox.clock)
        if self.url:
            return (open_async_store if self.colour == "async" else open_store)(self.url, self.sandbox.clock)
        build = AsyncSQLiteStore if self.colour == "async" else SQLiteStore
        return build(self.database, clock=self.sandbox.clock)

    def build(self, *, store: Any = None, keys: Any = None, **options: Any) -> Facade:
        """Make a vault over this world's store; the options are the constructor's."""
        make: Any = AsyncVault if self.colour == "async" else Vault
        options.setdefault("providers", list(self.providers.values()))
        options.setdefault("return_to", ["/settings", "/dashboard/*"])
        options.setdefault("redirect_uri", "http://127.0.0.1:9/oauth/{provider}/callback")
        options.setdefault("observers", [self.events.append])
        facade = Facade(
            make(store=store or self.store, keys=keys or LocalKeyring([self.keys]), clock=self.sandbox.clock, **options)
        )
        self.built.append(facade)
        return facade

    async def close(self) -> None:
        """Close every vault that was made, then the store."""
        for facade in self.built:
            await (facade.aclose() if self.colour == "async" else facade.close())
        if self.colour == "async":
            await self.store.aclose()
        else:
            self.store.close()

    async def callback(self, login: Login, **consent: Any) -> Callback:
        return await asyncio.to_thread(lambda: self.sandbox.authorize(login.url, **consent))

    async def complete(
        self, login: Login, params: Any, slug: str, *, owner: str = OWNER, tenant: str = TENANT, vault: Any = None
    ) -> Completed:
        cookies = {login.cookie.name: login.cookie.value}
        done: Completed = await (vault or self.vault).complete(
            params, provider=slug, owner=owner, tenant=tenant, cookies=cookies
        )
        return done

    async def connect(
        self, slug: str = "x", *, owner: str = OWNER, tenant: str = TENANT, user: str = "ada", vault: Any = None,
        scopes: Iterable[str] | None = None, connection_id: str | None = None, **consent: Any,
    ) -> Connection:  # fmt: skip
        """Go through a whole flow and return the connection."""
        begun: Login = await (vault or self.vault).begin(
            slug, owner=owner, tenant=tenant, scopes=scopes, connection_id=connection_id
        )
        params = await self.callback(begun, user=user, **consent)
        done = await self.complete(begun, params, slug, owner=owner, tenant=tenant, vault=vault)
        return done.connection

    def token_requests(self, slug: str, **equals: Any) -> int:
        return self.sandbox.log.count(provider=slug, endpoint="token", **equals)


@contextlib.asynccontextmanager
async def open_world(
    sandbox: Sandbox, colour: Colour, kind: StoreKind, directory: Path, url: str = "", **options: Any
) -> AsyncIterator[World]:
    """A world with all four providers and an open vault."""
    world = World(sandbox, colour, kind, directory, url)
    for slug in SLUGS:
        world.provider(slug)
    world.store = world.open_store()
    world.vault = world.build(**options)
    await world.vault.open()
    try:
        yield world
    finally:
        await world.close()
