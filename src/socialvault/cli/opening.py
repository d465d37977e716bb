"""Getting at a vault: the application's own, or one over a store URL and keys from the environment."""

import asyncio
import re
import sys
import traceback
from collections.abc import Coroutine, Iterator, Sequence
from contextlib import closing, contextmanager
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Annotated, Any, TypeVar

import typer

from socialvault.api.async_vault import AsyncVault
from socialvault.api.keys import AsyncKeys, Keys
from socialvault.api.stores import is_redis, is_sqlalchemy, open_store, sqlite_path
from socialvault.api.vault import Vault
from socialvault.crypto.keyring import KeyScope, VaultKeyScope
from socialvault.exceptions import ConfigurationError, SocialVaultError
from socialvault.importers import AsyncImportJob, ImportJob, ImportMapping, ImportReport, Source
from socialvault.keys.local import LocalKeyring
from socialvault.model.connection import Connection, Receipt
from socialvault.model.sweep import Sweep
from socialvault.ports.store import Store
from socialvault.vault.core import Core

T = TypeVar("T")

StoreOption = Annotated[
    str | None,
    typer.Option(
        "--store", envvar="SOCIALVAULT_STORE", help="The store's URL: sqlite:///FILE, postgresql://…, redis://…."
    ),
]
KeysOption = Annotated[
    str, typer.Option("--keys-env", metavar="NAME", help="The environment variable that holds the keys.")
]
VaultOption = Annotated[
    str | None,
    typer.Option(
        "--vault",
        envvar="SOCIALVAULT_VAULT",
        metavar="MODULE:ATTRIBUTE",
        help="Your application's vault, or a function that returns it; counts before --store.",
    ),
]
KEYS_ENV = "SOCIALVAULT_KEYS"
_SAMPLE = 200
_BLOCKING_SCHEMES = {"postgresql+asyncpg": "postgresql+psycopg", "sqlite+aiosqlite": "sqlite+pysqlite"}

# Nothing registers it and no flow is begun: a vault without providers only reads.
_NO_REDIRECT_URI = "https://cli.invalid/{provider}"


class OpenVault:
    """A vault of either colour, asked as if it were blocking."""

    def __init__(self, vault: Vault | AsyncVault) -> None:
        self._vault = vault
        self._runner = asyncio.Runner()

    @property
    def core(self) -> Core:
        """Its collaborators, for `doctor`."""
        return self._vault._cases.core

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine to its end."""
        return self._runner.run(work)

    @property
    def keys(self) -> Keys | AsyncKeys:
        """As ``Vault.keys``; hand what it returns to `settled`."""
        return self._vault.keys

    def settled(self, outcome: T | Coroutine[Any, Any, T]) -> T:
        """Return an outcome, awaited where the vault is asynchronous."""
        if not isinstance(outcome, Coroutine):
            return outcome
        awaited: T = self._runner.run(outcome)
        return awaited

    def find(
        self,
        *,
        tenant: str | None,
        owner: str | None,
        provider: str | None,
        status: str | None,
        after_id: str,
        limit: int,
    ) -> Sequence[Connection]:
        """As ``Vault.admin.find``."""
        found: Sequence[Connection] = self.settled(
            self._vault.admin.find(
                tenant=tenant, owner=owner, provider=provider, status=status, after_id=after_id, limit=limit
            )
        )
        return found

    def connection(self, connection_id: str, owner: str, tenant: str) -> Connection:
        """As ``Vault.connection``."""
        found: Connection = self.settled(self._vault.connection(connection_id, owner=owner, tenant=tenant))
        return found

    def refresh(self, connection_id: str, owner: str, tenant: str) -> None:
        """As ``Vault.admin.refresh``."""
        self.settled(self._vault.admin.refresh(connection_id, owner=owner, tenant=tenant))

    def revoke(self, connection_id: str, owner: str, tenant: str) -> Receipt:
        """As ``Vault.admin.revoke``."""
        receipt: Receipt = self.settled(self._vault.admin.revoke(connection_id, owner=owner, tenant=tenant))
        return receipt

    def renew_due(self, limit: int, budget: int | None) -> Sweep:
        """As ``Vault.renew_due``."""
        swept: Sweep = self.settled(self._vault.renew_due(limit=limit, budget=budget))
        return swept

    def import_job(self, source: Source, mapping: ImportMapping, **options: Any) -> ImportJob | AsyncImportJob:
        """Make an import into it; the options are those of `ImportJob`."""
        make: Any = ImportJob if isinstance(self._vault, Vault) else AsyncImportJob
        job: ImportJob | AsyncImportJob = make(self._vault, source, mapping, **options)
        return job

    def run_import(self, job: ImportJob | AsyncImportJob) -> ImportReport:
        """Run one to its end."""
        report: ImportReport = self.settled(job.run())
        return report

    def close(self) -> None:
        """Close it."""
        if isinstance(self._vault, Vault):
            self._vault.close()
        else:
            self.run(self._vault.aclose())
        self._runner.close()


@contextmanager
def opened(vault: str | None, store: str | None, keys_env: str) -> Iterator[OpenVault]:
    """Open the vault that the options name, for as long as the block lasts.

    Raises:
        ConfigurationError: they name none, or what they name is not there.
    """
    if vault is None and store is None:
        raise ConfigurationError("which vault? give --vault MODULE:ATTRIBUTE, or --store URL")
    with application_vault(vault) if vault is not None else stored_vault(store or "", keys_env) as found:
        yield found


@contextmanager
def application_vault(name: str) -> Iterator[OpenVault]:
    """Open the vault that `name` stands for, as ``module:attribute``."""
    with closing(OpenVault(_load(name))) as found:
        yield found


@contextmanager
def stored_vault(url: str, keys_env: str) -> Iterator[OpenVault]:
    """Open a vault without providers over an existing store: it reads, and rotates keys."""
    keys = LocalKeyring.from_env(keys_env)
    with closing(existing_store(url)) as store:
        vault = Vault(
            providers=(), store=store, keys=keys, redirect_uri=_NO_REDIRECT_URI,
            dek_scope=_dek_scope(store), vault_key_scope=_vault_key_scope(store),
        )  # fmt: skip
        with closing(OpenVault(vault)) as found:
            yield found


def _dek_scope(store: Store) -> KeyScope:
    """Say whose records one DEK seals in a store, from records picked at random: their ids are.

    Its primary DEKs don't tell: those of a scope that was given up stay primary in it, and seal nothing.

    Raises:
        ConfigurationError: there are both kinds, and only the application knows which one it wants.
    """
    rows = store.find(tenant=None, owner=None, provider=None, status=None, after_id="", limit=_SAMPLE)
    keys = [store.key("data", key_id) for key_id in {row.key_id for row in rows if row.key_id}]
    of_owners = {bool(key.owner) for key in keys if key is not None}
    if len(of_owners) > 1:
        raise ConfigurationError("data keys of owners and of whole tenants are in use: give --vault MODULE:ATTRIBUTE")
    return "tenant" if of_owners == {False} else "owner"


def _vault_key_scope(store: Store) -> VaultKeyScope:
    """Say the same of vault keys, from the DEKs that they wrap."""
    rows = store.keys("data", tenant=None, state="primary", after_id="", limit=_SAMPLE)
    keys = [store.key("vault", key_id) for key_id in {row.wrapped_by for row in rows}]
    return "tenant" if any(key.tenant for key in keys if key is not None) else "vault"


def existing_store(url: str) -> Store:
    """Open a store that a vault has used before: looking must not create one.

    Raises:
        ConfigurationError: there is none.
    """
    file = _file(url)
    if file is not None and not file.exists():
        raise ConfigurationError(f"there is no database at {file}")
    store = open_store(_blocking(url), None)
    if store.load_vault() is not None:
        return store
    store.close()
    raise ConfigurationError("no vault has used this store yet: start the application, or give --vault")


def _file(url: str) -> Path | None:
    """Return the SQLite file that a URL names; None when it names a server, or memory."""
    if url.startswith("sqlite+"):
        name = url.partition(":///")[2].partition("?")[0]
        return Path(name) if name not in ("", ":memory:") else None
    if url == ":memory:" or is_redis(url) or is_sqlalchemy(url):
        return None
    return Path(sqlite_path(url))


def _blocking(url: str) -> str:
    """Return a URL that the application may have for event loops as one for commands, which block."""
    scheme, separator, rest = url.partition(":")
    if scheme == "postgresql+asyncpg":
        rest = re.sub(r"(?<=[?&])ssl=", "sslmode=", rest)
    return _BLOCKING_SCHEMES.get(scheme, scheme) + separator + rest


def _load(name: str) -> Vault | AsyncVault:
    """Return the vault that ``module:attribute`` names, or that the function of that name returns.

    Raises:
        ConfigurationError: there is none.
    """
    module_name, _, attribute = name.partition(":")
    if not module_name or not attribute:
        raise ConfigurationError(f"--vault must be of the form module:attribute, not {name!r}")
    found: Any = _import(module_name)
    for part in attribute.split("."):
        if not hasattr(found, part):
            raise ConfigurationError(f"{module_name} has no {attribute}")
        found = getattr(found, part)
    if callable(found):
        found = found()
    if not isinstance(found, Vault | AsyncVault):
        raise ConfigurationError(f"{name} is no Vault and no AsyncVault, but {type(found).__name__}")
    return found


def _import(name: str) -> ModuleType:
    """Import a module of the application, from the working directory too.

    Raises:
        ConfigurationError: it can't be imported. What it raised may hold a secret, so only its kind and place are told.
    """
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)
    try:
        return import_module(name)
    except SocialVaultError:
        raise
    except Exception as problem:  # noqa: BLE001  # a module may raise anything
        kind = type(problem).__name__
        last = traceback.extract_tb(problem.__traceback__)[-1]
    raise ConfigurationError(f"{name} can't be imported: {kind} at {last.filename}:{last.lineno}")
