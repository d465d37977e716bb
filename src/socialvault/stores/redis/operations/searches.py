"""Searches across owners. Each script looks at a bounded number of records, because everybody else waits for it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from socialvault.model.status import Status
from socialvault.stores.redis.columns import (
    CONNECTION,
    DUE,
    REVOCATION,
    connection_row,
    due_row,
    revocation_row,
    seconds,
)
from socialvault.stores.redis.layout import encoded
from socialvault.stores.redis.requests import Asker, Asking, counted
from socialvault.stores.redis.scripts import READS

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from socialvault.model.rows import ConnectionRow, DueRow, RevocationRow
    from socialvault.stores.redis.columns import Columns, Values

#: How many records one script looks at: about a millisecond.
PORTION = 500


class Searches(Asker):
    """What is due, and what matches."""

    def find_due(self, provider: str, client_id: str, now_seconds: float, limit: int) -> Asking[Sequence[DueRow]]:
        """As `TokenStore.find_due`."""
        index = self.layout.index_of("due", provider, client_id)
        found = yield self._due("due_connections", index, DUE, now_seconds, limit)
        return [due_row(values) for values in found]

    def find_warnings(self, now_seconds: float, limit: int) -> Asking[Sequence[ConnectionRow]]:
        """As `TokenStore.find_warnings`."""
        found = yield self._due("due_connections", self.layout.index("warnings"), CONNECTION, now_seconds, limit)
        return [connection_row(values) for values in found]

    def find_revocations(self, now_seconds: float, limit: int) -> Asking[Sequence[RevocationRow]]:
        """As `TokenStore.find_revocations`."""
        found = yield self._due("due_revocations", self.layout.index("revocations"), REVOCATION, now_seconds, limit)
        return [revocation_row(values) for values in found]

    def _due(self, operation: str, index: bytes, columns: Columns, now_seconds: float, limit: int) -> Any:
        return self.call(READS, operation, [index], *counted(columns), seconds(now_seconds), b"%d" % limit)

    def find(
        self,
        *,
        tenant: str | None,
        owner: str | None,
        provider: str | None,
        status: str | None,
        after_id: str,
        limit: int,
    ) -> Asking[Sequence[ConnectionRow]]:
        """As `TokenStore.find`."""
        filters = {"tenant": tenant, "owner": owner, "provider": provider, "status": status}
        index = self.layout.index("connections")
        if tenant is not None and owner is not None:
            index = self.layout.index_of("owner", tenant, owner)
        elif status is not None:
            index = self.layout.index("status", status)
        found = yield from self.pages("connection", index, CONNECTION, filters, after_id, limit)
        return [connection_row(values) for values in found]

    def pages(
        self, kind: str, index: bytes, columns: Columns, filters: Mapping[str, str | None], after_id: str, limit: int
    ) -> Asking[list[Values]]:
        """Walk an index of ids until `limit` records matched, or it ends; return their columns.

        Each portion is of one moment. What is written between two of them may be seen or not, as between two calls.
        """
        given = [encoded(part) for item in filters.items() if item[1] is not None for part in item if part is not None]
        found: list[Values] = []
        last = encoded(after_id)
        while len(found) < limit:
            last, page = yield self.call(
                READS, "page", [index], *counted(columns), kind.encode(), last, b"%d" % (limit - len(found)),
                b"%d" % PORTION, *given,
            )  # fmt: skip
            found += page
            if not last:
                break
        return found

    def count_by_status(self) -> Asking[Mapping[str, int]]:
        """As `TokenStore.count_by_status`."""
        statuses = [status.value for status in Status]
        sizes = yield self.sizes(f"status:{status}" for status in statuses)
        return {status: size for status, size in zip(statuses, sizes, strict=True) if size}

    def sizes(self, indexes: Any) -> Any:
        """Return a request for how many members each of some indexes has."""
        return self.call(READS, "sizes", [self.layout.schema], b"0", *(index.encode() for index in indexes))
