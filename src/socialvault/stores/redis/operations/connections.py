"""Reading and writing connections."""

from __future__ import annotations

from typing import TYPE_CHECKING

from socialvault.model.status import Status
from socialvault.stores.redis.columns import (
    CONNECTION,
    connection_row,
    connection_values,
    optional_seconds,
    sealing_key_id,
    seconds,
    written,
)
from socialvault.stores.redis.layout import encoded
from socialvault.stores.redis.requests import Asker, Asking, counted, read_fields
from socialvault.stores.redis.scripts import CONNECTIONS, READS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from socialvault.model.rows import ConnectionRow, TokenWrite


class Connections(Asker):
    """What concerns one connection, or those of one owner or account."""

    def get(self, connection_id: str, tenant: str, owner: str) -> Asking[ConnectionRow | None]:
        """As `TokenStore.get`."""
        values = yield read_fields(self.layout.connection(connection_id), CONNECTION)
        if values[0] is None:
            return None
        row = connection_row(values)
        return row if (row.account.tenant, row.owner) == (tenant, owner) else None

    def list_for_owner(self, tenant: str, owner: str) -> Asking[Sequence[ConnectionRow]]:
        """As `TokenStore.list_for_owner`."""
        rows = yield from self._live(self.layout.index_of("owner", tenant, owner))
        return sorted(rows, key=lambda row: row.account.parent_id != "")  # accounts before their sub-accounts

    def list_children(self, parent_id: str, tenant: str, owner: str) -> Asking[Sequence[ConnectionRow]]:
        """As `TokenStore.list_children`."""
        rows = yield from self._live(self.layout.index("children", parent_id))
        return [row for row in rows if (row.account.tenant, row.owner) == (tenant, owner)]

    def _live(self, index: bytes) -> Asking[list[ConnectionRow]]:
        found = yield self.call(READS, "live_connections", [index], *counted(CONNECTION))
        return oldest_first(found)

    def count_grant_siblings(self, row: ConnectionRow) -> Asking[int]:
        """As `TokenStore.count_grant_siblings`."""
        account = row.account
        index = self.layout.index_of("live", account.provider, account.client_id, account.issuer, account.subject)
        count: int = yield self.call(READS, "count_siblings", [index], b"0", encoded(row.id))
        return count

    def list_for_account(
        self, provider: str, client_id: str, issuer: str, subject: str
    ) -> Asking[Sequence[ConnectionRow]]:
        """As `TokenStore.list_for_account`."""
        indexes = [self.layout.index_of(name, provider, client_id, issuer, subject) for name in ("live", "dead")]
        found = yield self.call(READS, "account", indexes, *counted(CONNECTION))
        return oldest_first(found)

    def insert(self, row: ConnectionRow) -> Asking[ConnectionRow | None]:
        """As `TokenStore.insert`; a connection id that exists already is a `StoreError`."""
        pairs = [*written(CONNECTION, connection_values(row)), *candidate_key(row.candidate)]
        key = self.layout.connection(row.id)
        holder = yield self.call(CONNECTIONS, "insert", [key], *counted(CONNECTION), *pairs)
        return None if holder is None else connection_row(holder)

    def write_token(self, write: TokenWrite) -> Asking[Status | None]:
        """As `TokenStore.write_token`."""
        key = self.layout.connection(write.connection_id)
        before = yield self.call(
            CONNECTIONS, "write_token", [key], b"%d" % write.expected_generation,
            b"envelope", write.envelope,
            b"key_id", encoded(write.key_id),
            b"updated_at_seconds", seconds(write.updated_at_seconds),
            b"due_at_seconds", optional_seconds(write.due_at_seconds),
            b"dies_at_seconds", optional_seconds(write.dies_at_seconds),
            b"warn_at_seconds", optional_seconds(write.warn_at_seconds),
        )  # fmt: skip
        return None if before is None else Status(before.decode())

    def put_candidate(self, connection_id: str, expected_generation: int, candidate: bytes) -> Asking[bool]:
        """As `TokenStore.put_candidate`."""
        key, key_id = self.layout.connection(connection_id), encoded(sealing_key_id(candidate))
        done = yield self.call(CONNECTIONS, "put_candidate", [key], b"%d" % expected_generation, candidate, key_id)
        return bool(done)


def oldest_first(found: Sequence[Sequence[bytes | None]]) -> list[ConnectionRow]:
    """Return rows by age."""
    return sorted(map(connection_row, found), key=lambda row: (row.created_at_seconds, row.id))


def candidate_key(candidate: bytes) -> list[bytes]:
    """Return the field that says which key seals a candidate, if one does."""
    key_id = sealing_key_id(candidate)
    return [b"candidate_key_id", key_id.encode()] if key_id else []
