"""Connections: how they are read, inserted, renewed and found."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import (
    Boolean,
    Integer,
    and_,
    bindparam,
    case,
    func,
    literal_column,
    or_,
    select,
    text,
    union_all,
    update,
)

from socialvault.exceptions import StoreUnavailableError
from socialvault.model.keys import sealing_key_id
from socialvault.model.rows import DueRow, TokenRow
from socialvault.model.status import Status
from socialvault.stores.sqlalchemy.dialects import NOW, for_each
from socialvault.stores.sqlalchemy.endings import CLOSED_INTENT, Endings
from socialvault.stores.sqlalchemy.fence import not_retired, refuse_retired
from socialvault.stores.sqlalchemy.rows import CONNECTION_COLUMNS, at, connection_row, connection_values, new
from socialvault.stores.sqlalchemy.schema import DEAD, LIVE
from socialvault.stores.sqlalchemy.schema import connections as table

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from sqlalchemy import Connection, Executable

    from socialvault.model.rows import ConnectionRow, FailureWrite, IntentWrite, TokenWrite
    from socialvault.stores.sqlalchemy.rows import Values

_ATTEMPTS = 5

c = table.c
# In a query these must read like the partial indexes, with no parameter in them.
_LIVE, _DEAD = text(LIVE), text(DEAD)
_ACTIVE = c.status == literal_column("'active'")
_NO_PARENT = c.parent_id == literal_column("''")
_A_PARENT = c.parent_id != literal_column("''")
_LIMIT = bindparam("limit", type_=Integer())
_AT_MOMENT = bindparam("moment", type_=c.due_at_seconds.type)

_ROW = select(*CONNECTION_COLUMNS)
_OF_OWNER = and_(at(c.tenant), at(c.owner))
_OF_GRANT = and_(at(c.subject), at(c.issuer), at(c.client_id), at(c.provider))

_TOKEN = select(c.status, c.generation, c.provider, c.issuer, c.parent_id, c.envelope).where(at(c.id), _OF_OWNER)
_GET = _ROW.where(at(c.id), _OF_OWNER)
# Accounts before their sub-accounts, whatever the clock said when they were made.
_LIST = _ROW.where(_OF_OWNER, _LIVE).order_by(_A_PARENT, c.created_at_seconds, c.id)
_CHILDREN = _ROW.where(at(c.parent_id), _A_PARENT, _OF_OWNER, _LIVE).order_by(c.created_at_seconds, c.id)
_SIBLINGS = (
    select(func.count())
    .select_from(table)
    .where(_OF_GRANT, _LIVE, c.id != bindparam("at_id"), c.parent_id != bindparam("at_id"))
)
# Live rows and tombstones, each by their own index.
_ACCOUNTS = union_all(_ROW.where(_OF_GRANT, _NO_PARENT, _LIVE), _ROW.where(_OF_GRANT, _NO_PARENT, _DEAD))
_OF_ACCOUNT = _ACCOUNTS.order_by(_ACCOUNTS.selected_columns.created_at_seconds, _ACCOUNTS.selected_columns.id)
_DUE = (
    select(*(c[name] for name in DueRow._fields))
    .where(_ACTIVE, at(c.provider), at(c.client_id), c.due_at_seconds <= _AT_MOMENT)
    .order_by(c.due_at_seconds, c.id)
    .limit(_LIMIT)
)
_WARNINGS = _ROW.where(_ACTIVE, c.warn_at_seconds <= _AT_MOMENT).order_by(c.warn_at_seconds, c.id).limit(_LIMIT)
_FIND = _ROW.where(c.id > bindparam("after_id", type_=c.id.type)).order_by(c.id).limit(_LIMIT)
_COUNTS = select(c.status, func.count()).group_by(c.status)

_ACCOUNT_INDEX = ("subject", "issuer", "client_id", "provider", "tenant", "parent_id", "shared_with")
_INSERT = for_each(
    lambda insert: (
        insert(table)
        .from_select(
            [column.name for column in CONNECTION_COLUMNS],
            select(*(new(column) for column in CONNECTION_COLUMNS)).where(not_retired("data", "new_key_id")),
        )
        .on_conflict_do_nothing(index_elements=_ACCOUNT_INDEX, index_where=_LIVE)
        .execution_options(preserve_rowcount=True)
    )
)
_LIVE_ACCOUNT = _ROW.where(*(c[name] == bindparam(f"new_{name}", type_=c[name].type) for name in _ACCOUNT_INDEX), _LIVE)

_STAYED = (at(c.id), at(c.generation))
_WRITE_TOKEN = (
    update(table)
    .where(*_STAYED, at(c.status), not_retired("data", "new_key_id"))
    .values(
        {name: new(c[name]) for name in (
            "envelope", "key_id", "updated_at_seconds", "due_at_seconds", "dies_at_seconds", "warn_at_seconds"
        )}
        | CLOSED_INTENT
        | {
            "generation": c.generation + 1,
            "status": "active",
            "reason": "",
            "candidate": b"",
            "failing_since_seconds": None,
            "failing_with": "",
            "failures": 0,
            "refusals": 0,
        }
    )
)  # fmt: skip
_STATUS = select(c.status).where(*_STAYED, _LIVE)
_PUT_CANDIDATE = (
    update(table)
    .where(*_STAYED, _LIVE, not_retired("data", "sealed_by"))
    .values(candidate=new(c.candidate))
)  # fmt: skip

_HOLDER = bindparam("holder", type_=c.lease_holder.type)
_SECONDS = bindparam("seconds", type_=c.due_at_seconds.type)
_ACQUIRE_LEASE = (
    update(table)
    .where(at(c.id), or_(c.lease_until_seconds.is_(None), c.lease_until_seconds <= NOW, c.lease_holder == _HOLDER))
    .values(lease_holder=_HOLDER, lease_until_seconds=NOW + _SECONDS)
)
_RELEASE_LEASE = (
    update(table)
    .where(at(c.id), c.lease_holder == _HOLDER, c.lease_until_seconds.is_not(None))
    .values(lease_holder="", lease_until_seconds=None)
)
_OPEN_INTENT = (
    update(table)
    .where(
        *_STAYED,
        at(c.intent_attempt),
        _LIVE,
        or_(
            c.intent_deadline_seconds.is_(None), c.intent_deadline_seconds <= NOW, bindparam("replay", type_=Boolean())
        ),
    )
    .values(
        intent_digest=new(c.intent_digest),
        intent_sent_at_seconds=NOW,
        intent_deadline_seconds=NOW + _SECONDS,
        intent_attempt=c.intent_attempt + 1,
    )
)
_UNCERTAIN, _OPEN = bindparam("uncertain", type_=Boolean()), bindparam("open", type_=Boolean())
_WRITE_FAILURE = (
    update(table)
    .where(*_STAYED, at(c.intent_attempt), _LIVE)
    .values(
        due_at_seconds=new(c.due_at_seconds),
        failing_since_seconds=func.coalesce(c.failing_since_seconds, new(c.failing_since_seconds)),
        failing_with=new(c.failing_with),
        failures=c.failures + 1,
        refusals=new(c.refusals),
        intent_digest=case((_UNCERTAIN, c.intent_digest), else_=bindparam("nothing", b"", c.intent_digest.type)),
        intent_sent_at_seconds=case((_UNCERTAIN, c.intent_sent_at_seconds)),
        intent_deadline_seconds=case((_OPEN, c.intent_deadline_seconds)),
    )
)
_WRITE_WARNING = (
    update(table)
    .where(at(c.id), _ACTIVE, at(c.warn_at_seconds))
    .values(warn_at_seconds=new(c.warn_at_seconds))
)  # fmt: skip


class Connections(Endings):
    """The half of a token store that keeps connections alive."""

    def read_token(self, connection_id: str, tenant: str, owner: str) -> TokenRow | None:
        """As `TokenStore.read_token`."""
        row = self.database.row(_TOKEN, {"at_id": connection_id, "at_tenant": tenant, "at_owner": owner})
        return None if row is None else TokenRow._make(row)

    def get(self, connection_id: str, tenant: str, owner: str) -> ConnectionRow | None:
        """As `TokenStore.get`."""
        row = self.database.row(_GET, {"at_id": connection_id, "at_tenant": tenant, "at_owner": owner})
        return None if row is None else connection_row(row)

    def list_for_owner(self, tenant: str, owner: str) -> Sequence[ConnectionRow]:
        """As `TokenStore.list_for_owner`."""
        return self._connections(_LIST, {"at_tenant": tenant, "at_owner": owner})

    def list_children(self, parent_id: str, tenant: str, owner: str) -> Sequence[ConnectionRow]:
        """As `TokenStore.list_children`."""
        return self._connections(_CHILDREN, {"at_parent_id": parent_id, "at_tenant": tenant, "at_owner": owner})

    def insert(self, row: ConnectionRow) -> ConnectionRow | None:
        """As `TokenStore.insert`; a connection id that exists already is a `StoreError`."""
        statement, values = _INSERT[self.database.name], connection_values(row)

        def work(connection: Connection) -> ConnectionRow | None:
            for _ in range(_ATTEMPTS):
                if connection.execute(statement, values).rowcount:
                    if row.status.live and not row.account.parent_id:
                        self.keep_grant(connection, row)
                    return None
                refuse_retired(connection, "data", (row.key_id,))
                holder = connection.execute(_LIVE_ACCOUNT, values).first()
                if holder is not None:  # None: it was disconnected in the meantime
                    return connection_row(holder)
            raise StoreUnavailableError("the account is being connected and disconnected all the time")

        return self.database.transaction(work)

    def write_token(self, write: TokenWrite) -> Status | None:
        """As `TokenStore.write_token`."""
        values: Values = {
            "at_id": write.connection_id,
            "at_generation": write.expected_generation,
            "new_envelope": write.envelope,
            "new_key_id": write.key_id,
            "new_updated_at_seconds": write.updated_at_seconds,
            "new_due_at_seconds": write.due_at_seconds,
            "new_dies_at_seconds": write.dies_at_seconds,
            "new_warn_at_seconds": write.warn_at_seconds,
        }
        status = Status.ACTIVE  # nearly always
        for _ in range(_ATTEMPTS):
            if self.database.change(_WRITE_TOKEN, values | {"at_status": status.value}):
                return status
            self.database.transaction(lambda connection: refuse_retired(connection, "data", (write.key_id,)))
            row = self.database.row(_STATUS, {"at_id": write.connection_id, "at_generation": write.expected_generation})
            if row is None:
                return None
            status = Status(row[0])
        raise StoreUnavailableError("the connection changes its status all the time")

    def count_grant_siblings(self, row: ConnectionRow) -> int:
        """As `TokenStore.count_grant_siblings`."""
        count: int = self.database.rows(_SIBLINGS, _grant(*row.account[1:5]) | {"at_id": row.id})[0][0]
        return count

    def list_for_account(self, provider: str, client_id: str, issuer: str, subject: str) -> Sequence[ConnectionRow]:
        """As `TokenStore.list_for_account`."""
        return self._connections(_OF_ACCOUNT, _grant(provider, client_id, issuer, subject))

    # renewal

    def acquire_lease(self, connection_id: str, holder: str, ttl_seconds: float) -> bool:
        """As `TokenStore.acquire_lease`."""
        values = {"at_id": connection_id, "holder": holder, "seconds": ttl_seconds}
        return self.database.change(_ACQUIRE_LEASE, values | self.database.time()) == 1

    def release_lease(self, connection_id: str, holder: str) -> bool:
        """As `TokenStore.release_lease`."""
        return self.database.change(_RELEASE_LEASE, {"at_id": connection_id, "holder": holder}) == 1

    def open_intent(self, intent: IntentWrite) -> bool:
        """As `TokenStore.open_intent`."""
        values: Values = {
            "at_id": intent.connection_id,
            "at_generation": intent.expected_generation,
            "at_intent_attempt": intent.expected_attempt,
            "replay": intent.replay,
            "seconds": intent.lifetime_seconds,
            "new_intent_digest": intent.digest,
        }
        return self.database.change(_OPEN_INTENT, values | self.database.time()) == 1

    def write_failure(self, write: FailureWrite) -> bool:
        """As `TokenStore.write_failure`."""
        values: Values = {
            "at_id": write.connection_id,
            "at_generation": write.expected_generation,
            "at_intent_attempt": write.expected_attempt,
            "uncertain": write.uncertain,
            "open": write.open,
            "new_due_at_seconds": write.retry_at_seconds,
            "new_failing_since_seconds": write.at_seconds,
            "new_failing_with": write.failing_with,
            "new_refusals": write.refusals,
        }
        return self.database.change(_WRITE_FAILURE, values) == 1

    def put_candidate(self, connection_id: str, expected_generation: int, candidate: bytes) -> bool:
        """As `TokenStore.put_candidate`."""
        key_id = sealing_key_id(candidate)
        values = {
            "at_id": connection_id,
            "at_generation": expected_generation,
            "new_candidate": candidate,
            "sealed_by": key_id,
        }
        return self.database.change_sealed("data", key_id, _PUT_CANDIDATE, values) == 1

    def write_warning(self, connection_id: str, warned_at_seconds: float, warn_at_seconds: float | None) -> bool:
        """As `TokenStore.write_warning`."""
        values = {
            "at_id": connection_id,
            "at_warn_at_seconds": warned_at_seconds,
            "new_warn_at_seconds": warn_at_seconds,
        }
        return self.database.change(_WRITE_WARNING, values) == 1

    # searches

    def find_due(self, provider: str, client_id: str, now_seconds: float, limit: int) -> Sequence[DueRow]:
        """As `TokenStore.find_due`."""
        values = {"at_provider": provider, "at_client_id": client_id, "moment": now_seconds, "limit": limit}
        return list(map(DueRow._make, self.database.many(_DUE, values)))

    def find_warnings(self, now_seconds: float, limit: int) -> Sequence[ConnectionRow]:
        """As `TokenStore.find_warnings`."""
        return self._connections(_WARNINGS, {"moment": now_seconds, "limit": limit})

    def find(
        self,
        *,
        tenant: str | None,
        owner: str | None,
        provider: str | None,
        status: str | None,
        after_id: str,
        limit: int,
    ) -> Sequence[ConnectionRow]:
        """As `TokenStore.find`."""
        filters = {"tenant": tenant, "owner": owner, "provider": provider, "status": status}
        given = {name: value for name, value in filters.items() if value is not None}
        statement = _FIND.where(*(at(c[name]) for name in given))
        values = {f"at_{name}": value for name, value in given.items()}
        return self._connections(statement, {**values, "after_id": after_id, "limit": limit})

    def count_by_status(self) -> Mapping[str, int]:
        """As `TokenStore.count_by_status`."""
        return {row[0]: row[1] for row in self.database.rows(_COUNTS, {})}

    def _connections(self, statement: Executable, values: Mapping[str, Any]) -> list[ConnectionRow]:
        return [connection_row(columns) for columns in self.database.rows(statement, dict(values))]


def _grant(provider: str, client_id: str, issuer: str, subject: str) -> Values:
    return {"at_subject": subject, "at_issuer": issuer, "at_client_id": client_id, "at_provider": provider}
