"""How connections end: status changes, tombstones with their revocations, deletion, erasure."""

from __future__ import annotations

from dataclasses import astuple
from typing import TYPE_CHECKING

from socialvault.exceptions import StoreError
from socialvault.stores.redis.columns import CONNECTION, REVOCATION, revocation_row, seconds, written
from socialvault.stores.redis.layout import encoded
from socialvault.stores.redis.operations.connections import oldest_first
from socialvault.stores.redis.requests import Asker, Asking, counted, flag
from socialvault.stores.redis.scripts import ENDINGS, READS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from socialvault.model.rows import ConnectionRow, RevocationRow, StatusWrite


class Endings(Asker):
    """What takes away."""

    def write_status(self, write: StatusWrite) -> Asking[bool]:
        """As `TokenStore.write_status`."""
        key = self.layout.connection(write.connection_id)
        done = yield self.call(ENDINGS, "write_status", [key], *_status_change(write))
        return bool(done)

    def tombstone(self, write: StatusWrite, revocation: RevocationRow) -> Asking[Sequence[ConnectionRow] | None]:
        """As `TokenStore.tombstone`; a revocation of the same id is kept as it is."""
        key, queued = self.layout.connection(write.connection_id), written(REVOCATION, astuple(revocation))
        arguments = (*_status_change(write), *counted(CONNECTION), *queued)
        children = yield self.call(ENDINGS, "tombstone", [key], *arguments)
        return None if children is None else oldest_first(children)

    def queue_revocation(self, revocation: RevocationRow) -> Asking[None]:
        """As `TokenStore.queue_revocation`."""
        queued = written(REVOCATION, astuple(revocation))
        yield self.call(ENDINGS, "queue_revocation", [self.layout.revocation(revocation.id)], *queued)

    def list_revocations(self, connection_id: str) -> Asking[Sequence[RevocationRow]]:
        """As `TokenStore.list_revocations`."""
        index = self.layout.index("connection_revocations", connection_id)
        found = yield self.call(READS, "revocations", [index], *counted(REVOCATION))
        return sorted(map(revocation_row, found), key=lambda row: (row.created_at_seconds, row.id))

    def claim_revocation(
        self, revocation_id: str, expected_attempt: int, next_attempt_at_seconds: float
    ) -> Asking[bool]:
        """As `TokenStore.claim_revocation`."""
        key = self.layout.revocation(revocation_id)
        arguments = (b"%d" % expected_attempt, seconds(next_attempt_at_seconds))
        done = yield self.call(ENDINGS, "claim_revocation", [key], *arguments)
        return bool(done)

    def finish_revocation(self, revocation_id: str, outcome: str, now_seconds: float) -> Asking[bool]:
        """As `TokenStore.finish_revocation`."""
        key = self.layout.revocation(revocation_id)
        done = yield self.call(ENDINGS, "finish_revocation", [key], encoded(outcome), seconds(now_seconds))
        return bool(done)

    def delete(self, connection_id: str) -> Asking[int]:
        """As `TokenStore.delete`."""
        count: int = yield self.call(ENDINGS, "delete", [self.layout.connection(connection_id)])
        return count

    def erase_owner(self, tenant: str, owner: str) -> Asking[int]:
        """As `TokenStore.erase_owner`; no owner is a `StoreError`: what has none is the vault's or the tenant's."""
        if not owner:
            raise StoreError("an owner to erase is needed")
        index = self.layout.index_of("owner", tenant, owner)
        count: int = yield self.call(ENDINGS, "erase_owner", [index], encoded(tenant), encoded(owner))
        return count


def _status_change(write: StatusWrite) -> tuple[bytes, ...]:
    return (
        b"%d" % write.expected_generation,
        ",".join(status.value for status in write.expected).encode(),
        flag(write.wipe),
        write.status.value.encode(),
        encoded(write.reason),
        seconds(write.updated_at_seconds),
    )
