"""``vault.keys``: key rotation, in both colours."""

from __future__ import annotations

from typing import TYPE_CHECKING

from socialvault.runtimes.threads import run

if TYPE_CHECKING:
    from collections.abc import Sequence

    from socialvault.api.assembly import UseCases
    from socialvault.model.keys import KeyLevel
    from socialvault.model.rotation import KeysStatus, KeyStatus, OnProgress, Rotated


class Keys:
    """Moves a vault's keys on, online. Found on ``Vault.keys``; ``Vault.rotate_keys`` does the usual at once."""

    def __init__(self, cases: UseCases) -> None:
        self._cases = cases

    def status(self) -> KeysStatus:
        """Look at every KEK and vault key: its state, and how many rows need it; count the DEKs."""
        return run(self._cases.key_states.status())

    def data_keys(self, *, tenant: str = "", after_id: str = "", limit: int = 100) -> Sequence[KeyStatus]:
        """Look at a tenant's DEKs, by id.

        Args:
            after_id: the last id of the page before. limit: keys at most.
        """
        return run(self._cases.key_states.data_keys(tenant, after_id, limit))

    def key(self, key_id: str) -> KeyStatus:
        """Look at one key.

        Args:
            key_id: the whole id, or the beginning of a KEK's or vault key's.

        Raises:
            KeyNotFoundError: there is none, or several begin so.
        """
        return run(self._cases.key_states.key(key_id))

    def add(self, level: KeyLevel, *, tenant: str = "", owner: str = "") -> KeyStatus:
        """Make a key known, without using it yet.

        A KEK is this process's primary one, proved to open what it wraps: give it to every process first. A vault key
        or DEK is made, and every process can use it at once.

        Args:
            level: ``kek``, ``vault`` or ``data``.
            tenant, owner: the scope of a vault key (a tenant) or DEK.

        Raises:
            KeyServiceUnavailableError, WrongKeyError: the KEK can't be used.
        """
        return run(self._cases.key_states.add(level, tenant, owner))

    def promote(self, key_id: str) -> KeyStatus:
        """Let what is new come under a key; the one before it goes on opening.

        Raises:
            ConfigurationError: a KEK that is not this process's primary one.
            KeyNotFoundError: there is no such key, or it is retired.
        """
        return run(self._cases.key_states.promote(key_id))

    def rewrap(self, *, rate: int | None = None, on_progress: OnProgress | None = None) -> Rotated:
        """Wrap vault keys under the primary KEK, and DEKs under their primary vault key; no record is touched.

        It can be stopped anywhere and begun again, and run beside everything else.

        Args:
            rate: rows per second at most; None for as fast as it goes.
            on_progress: told after each batch.

        Raises:
            ConfigurationError: this process's primary KEK is not the vault's: add and promote it first.
            KeyServiceUnavailableError, StoreUnavailableError: begin again later.
        """
        return run(self._cases.rotation.rewrap(rate, on_progress))

    def reseal(
        self, *, tenant: str | None = None, rate: int | None = None, on_progress: OnProgress | None = None
    ) -> Rotated:
        """Seal records under their owner's primary DEK, wherever they are under another one.

        A renewal that writes a record meanwhile wins. Other processes go on sealing under a replaced DEK until their
        ``key_cache`` is over; run it again then.

        Args:
            tenant: only this one's. rate, on_progress: as for `rewrap`.

        Raises:
            KeyServiceUnavailableError, StoreUnavailableError: begin again later.
        """
        return run(self._cases.rotation.reseal(tenant, rate, on_progress))

    def retire(self, key_id: str) -> KeyStatus:
        """Retire a key that nothing needs. Nothing can be written under it any more, by no process.

        Raises:
            ConfigurationError: it is primary, or rows need it; nothing was changed.
            KeyNotFoundError: there is no such key.
        """
        return run(self._cases.key_states.retire(key_id))

    def reinstate(self, key_id: str) -> KeyStatus:
        """Let a retired key open again, for what turns up later: an escrow, a backup.

        Raises:
            ConfigurationError: it is not retired.
            KeyNotFoundError: there is no such key.
        """
        return run(self._cases.key_states.reinstate(key_id))


class AsyncKeys:
    """As `Keys`, for event loops; found on ``AsyncVault.keys``."""

    def __init__(self, cases: UseCases) -> None:
        self._cases = cases

    async def status(self) -> KeysStatus:
        """As `Keys.status`."""
        return await self._cases.key_states.status()

    async def data_keys(self, *, tenant: str = "", after_id: str = "", limit: int = 100) -> Sequence[KeyStatus]:
        """As `Keys.data_keys`."""
        return await self._cases.key_states.data_keys(tenant, after_id, limit)

    async def key(self, key_id: str) -> KeyStatus:
        """As `Keys.key`."""
        return await self._cases.key_states.key(key_id)

    async def add(self, level: KeyLevel, *, tenant: str = "", owner: str = "") -> KeyStatus:
        """As `Keys.add`."""
        return await self._cases.key_states.add(level, tenant, owner)

    async def promote(self, key_id: str) -> KeyStatus:
        """As `Keys.promote`."""
        return await self._cases.key_states.promote(key_id)

    async def rewrap(self, *, rate: int | None = None, on_progress: OnProgress | None = None) -> Rotated:
        """As `Keys.rewrap`."""
        return await self._cases.rotation.rewrap(rate, on_progress)

    async def reseal(
        self, *, tenant: str | None = None, rate: int | None = None, on_progress: OnProgress | None = None
    ) -> Rotated:
        """As `Keys.reseal`."""
        return await self._cases.rotation.reseal(tenant, rate, on_progress)

    async def retire(self, key_id: str) -> KeyStatus:
        """As `Keys.retire`."""
        return await self._cases.key_states.retire(key_id)

    async def reinstate(self, key_id: str) -> KeyStatus:
        """As `Keys.reinstate`."""
        return await self._cases.key_states.reinstate(key_id)
