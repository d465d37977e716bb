"""What is done with a grant that can be imported: it is written, or only looked at."""

from __future__ import annotations

import hashlib
import secrets
import sqlite3
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from socialvault.exceptions import AlreadyConnectedError
from socialvault.importers.report import Reason

if TYPE_CHECKING:
    from socialvault.importers.report import Fate
    from socialvault.model.identity import Identity
    from socialvault.model.token import TokenSet
    from socialvault.vault.connections import Connections

OF_ANOTHER_OWNER = Reason("another owner has connected this account", "report")


@dataclass(frozen=True, slots=True)
class Offer:
    """A grant in the vault's own words."""

    slug: str
    owner: str
    tenant: str
    token: TokenSet
    identity: Identity


class Keeper(Protocol):
    """Keeps grants, or acts as if."""

    async def keep(self, offer: Offer) -> tuple[Fate, Reason | None]:
        """Keep a grant, unless somebody was faster; say what came of it."""
        ...

    def close(self) -> None:
        """Let go of what it holds."""
        ...


class Writer:
    """Writes grants to a vault.

    Args:
        replace: also over what a connection of the same owner holds.
    """

    def __init__(self, connections: Connections, *, replace: bool) -> None:
        self._connections = connections
        self._replace = replace

    async def keep(self, offer: Offer) -> tuple[Fate, Reason | None]:
        """Write it, unless the account is there: the store decides, so that two imports never make two of one."""
        try:
            _, is_new = await self._connections.bring_in(
                offer.slug, offer.owner, offer.tenant, offer.token, offer.identity, replace=self._replace
            )
        except AlreadyConnectedError:
            return "refused", OF_ANOTHER_OWNER
        return "imported" if is_new else _fate(replace=self._replace), None

    def close(self) -> None:
        """Nothing is held."""


class Rehearsal:
    """Says what a `Writer` would do, and writes nothing.

    What it would have written so far is remembered in a temporary file that ends with it, as keyed digests.

    Args:
        shared: whether each owner may have a connection for the same account.
    """

    def __init__(self, connections: Connections, *, replace: bool, shared: bool) -> None:
        self._connections = connections
        self._replace = replace
        self._shared = shared
        self._key = secrets.token_bytes(32)
        self._taken = sqlite3.connect("", isolation_level=None, check_same_thread=False)
        self._taken.execute("CREATE TABLE taken (account BLOB PRIMARY KEY, owner BLOB NOT NULL) WITHOUT ROWID")

    async def keep(self, offer: Offer) -> tuple[Fate, Reason | None]:
        """Say what would become of it."""
        subject = offer.identity.subject
        if await self._connections.standing(offer.slug, offer.owner, offer.tenant, subject) == "connected":
            return _fate(replace=self._replace), None
        owner = self._digest(offer.owner)
        sharer = offer.owner if self._shared else ""
        earlier = self._take(self._digest(offer.slug, offer.tenant, subject, sharer), owner)
        if earlier is None:
            return "imported", None
        return ("refused", OF_ANOTHER_OWNER) if earlier != owner else (_fate(replace=self._replace), None)

    def close(self) -> None:
        """Forget everything."""
        self._taken.close()

    def _take(self, account: bytes, owner: bytes) -> bytes | None:
        """Note who would have an account now; return who had it before."""
        row = self._taken.execute("SELECT owner FROM taken WHERE account = ?", (account,)).fetchone()
        if row is not None:
            found: bytes = row[0]
            return found
        self._taken.execute("INSERT INTO taken VALUES (?, ?)", (account, owner))
        return None

    def _digest(self, *parts: str) -> bytes:
        digest = hashlib.blake2b(key=self._key, digest_size=16)
        for part in parts:
            raw = part.encode()
            digest.update(len(raw).to_bytes(8, "big") + raw)
        return digest.digest()


def _fate(*, replace: bool) -> Fate:
    """Return what becomes of tokens of an account that their owner has connected."""
    return "updated" if replace else "already_there"
