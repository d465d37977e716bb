"""Keys and their states: adding, promoting, retiring, and what still needs them."""

from __future__ import annotations

from os import urandom
from typing import TYPE_CHECKING

from socialvault.exceptions import ConfigurationError, KeyNotFoundError, WrongKeyError
from socialvault.model.keys import KeyContext, WrappedKey, key_name
from socialvault.model.rotation import KeysStatus, KeyStatus
from socialvault.vault.core import moment

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from socialvault.model.events import EventName
    from socialvault.model.keys import KeyLevel, KeyState
    from socialvault.vault.core import Core

LEVELS: tuple[KeyLevel, ...] = ("kek", "vault", "data")
_PAGE = 500
_ID_BYTES = 16


class KeyStates:
    """Moves keys through their states."""

    def __init__(self, core: Core) -> None:
        self._core = core

    async def status(self) -> KeysStatus:
        """Look at every KEK and vault key, and count the DEKs."""
        await self._core.ready()
        return KeysStatus(
            keks=tuple([await self._status("kek", row) async for row in self.all("kek")]),
            vault_keys=tuple([await self._status("vault", row) async for row in self.all("vault")]),
            data_keys=await self._core.store.count_keys("data"),
            stale=tuple(sorted(self._core.keyring.vault_keys.stale)),
        )

    async def data_keys(self, tenant: str, after_id: str, limit: int) -> Sequence[KeyStatus]:
        """Look at a tenant's DEKs, by id."""
        await self._core.ready()
        rows = await self._core.store.keys("data", tenant=tenant, state=None, after_id=after_id, limit=limit)
        return tuple([await self._status("data", row) for row in rows])

    async def key(self, key_id: str) -> KeyStatus:
        """Look at one key.

        Args:
            key_id: the whole id; a KEK's or vault key's beginning is enough where no other begins so.

        Raises:
            KeyNotFoundError: there is none, or several begin so.
        """
        await self._core.ready()
        return await self._status(*await self._found(key_id))

    # --- changing states ------------------------------------------------------------------------

    async def add(self, level: KeyLevel, tenant: str, owner: str) -> KeyStatus:
        """Make a key known as pre-active: a new vault key or DEK, or the primary KEK of this process."""
        await self._core.ready()
        keyring = self._core.keyring
        if level == "kek":
            row = await self._add_kek()
        elif level == "vault":
            row = await keyring.vault_keys.add(tenant, "pre_active")
        else:
            row = await keyring.add(tenant, owner, "pre_active")
        await self._tell("key_added", row)
        return await self._status(level, row)

    async def _add_kek(self) -> WrappedKey:
        """A KEK is believed once it has opened what it wrapped."""
        service, probe = self._core.keyring.vault_keys.service, urandom(_ID_BYTES).hex()
        kek_id = service.primary_id
        context = KeyContext(self._core.keyring.vault_id, "vault-key", "", probe)
        if await service.unwrap(await service.wrap(probe.encode(), context), context) != probe.encode():
            raise WrongKeyError(f"key {kek_id} does not open what it wrapped")
        row = WrappedKey(kek_id, "", "", b"", "", "pre_active", self._core.clock.now_seconds())
        await self._core.store.add_key("kek", row)
        return await self._core.store.key("kek", kek_id) or row

    async def promote(self, key_id: str) -> KeyStatus:
        """Make a key its scope's primary.

        Raises:
            KeyNotFoundError: there is no such key, or it is retired.
            ConfigurationError: a KEK that is not this process's primary one: it could not be used here.
        """
        await self._core.ready()
        level, row = await self._found(key_id)
        primary_id = self._core.keyring.vault_keys.service.primary_id
        if level == "kek" and row.key_id != primary_id:
            raise ConfigurationError(
                f"this process wraps under key {key_name(primary_id)}: put {key_name(row.key_id)} first in its keys, "
                "then promote it"
            )
        if not await self._core.store.promote_key(level, row.key_id):
            raise KeyNotFoundError(f"key {key_name(row.key_id)} is retired: reinstate it first")
        self._core.keyring.forget(row.tenant, row.owner)
        if row.state != "primary":
            await self._tell("key_promoted", row)
        return await self._status(level, row)

    async def retire(self, key_id: str) -> KeyStatus:
        """Retire a key that nothing needs; nothing can be written under it from then on.

        Raises:
            ConfigurationError: it is primary, or rows need it: promote another, then re-wrap or reseal.
            KeyNotFoundError: there is no such key.
        """
        await self._core.ready()
        level, row = await self._found(key_id)
        if not await self._core.store.retire_key(level, row.key_id):
            now = await self._status(level, row)
            needed = f"{now.uses} rows need it: {'reseal' if level == 'data' else 'rewrap'} first"
            why = "it is primary: promote another one first" if now.state == "primary" else needed
            raise ConfigurationError(f"key {key_name(row.key_id)} can't be retired: {why}")
        if row.state != "retired":
            await self._tell("key_retired", row)
        return await self._status(level, row)

    async def reinstate(self, key_id: str) -> KeyStatus:
        """Let a retired key open again.

        Raises:
            KeyNotFoundError: there is no such key. ConfigurationError: it is not retired.
        """
        await self._core.ready()
        level, row = await self._found(key_id)
        if not await self._core.store.reinstate_key(level, row.key_id):
            raise ConfigurationError(f"key {key_name(row.key_id)} is not retired")
        await self._tell("key_reinstated", row)
        return await self._status(level, row)

    # --- reading --------------------------------------------------------------------------------

    async def all(
        self, level: KeyLevel, *, tenant: str | None = None, state: KeyState | None = None
    ) -> AsyncIterator[WrappedKey]:
        """Yield the keys of a level by id, however many there are."""
        after_id = ""
        while True:
            rows = await self._core.store.keys(level, tenant=tenant, state=state, after_id=after_id, limit=_PAGE)
            for row in rows:
                yield row
            if len(rows) < _PAGE:
                return
            after_id = rows[-1].key_id

    async def _found(self, key_id: str) -> tuple[KeyLevel, WrappedKey]:
        for level in LEVELS:
            row = await self._core.store.key(level, key_id)
            if row is not None:
                return level, row
        begun: list[tuple[KeyLevel, WrappedKey]] = []
        for level in LEVELS[:2]:
            async for row in self.all(level):
                if row.key_id.startswith(key_id):
                    begun.append((level, row))
        if len(begun) != 1 or not key_id:
            told = "several keys begin" if begun else "no key has this id, and no KEK or vault key begins"
            raise KeyNotFoundError(f"{told} with {key_id[:24]!r}")
        return begun[0]

    async def _status(self, level: KeyLevel, row: WrappedKey) -> KeyStatus:
        current = await self._core.store.key(level, row.key_id) or row
        held = self._core.keyring.vault_keys.service.key_ids
        return KeyStatus(
            level=level,
            key_id=row.key_id,
            tenant=row.tenant,
            owner=row.owner,
            state=current.state,
            created_at=moment(row.created_at_seconds) or self._core.now(),
            uses=await self._core.store.count_uses(level, row.key_id),
            at_hand=level != "kek" or not held or row.key_id in held,
        )

    async def _tell(self, name: EventName, row: WrappedKey) -> None:
        await self._core.events.about_key(name, row.tenant, row.owner, row.key_id)
