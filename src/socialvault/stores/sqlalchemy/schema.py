"""The tables, for Postgres and SQLite alike; the revisions beside this file bring a database to them.

Text compares byte by byte: "Sub" and "sub" are two accounts. Columns that ``token()`` reads come first in their row,
because SQLite decodes a row from its start.

A column that is younger than its table has a server default, so that the release before can go on inserting.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    Double,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    PrimaryKeyConstraint,
    String,
    Table,
    Text,
    text,
)
from sqlalchemy.dialects.sqlite import INTEGER, REAL

if TYPE_CHECKING:
    from sqlalchemy.types import TypeEngine

#: The revision whose tables these are. Its name is long so that it can stand beside an application's own revisions.
REVISION = "socialvault_0002"
#: What the header of an SQLite file says for it: ``PRAGMA user_version``.
SQLITE_VERSION = 2

#: Which rows their owner still has; in a query it must read like the partial indexes to use them.
LIVE = "status IN ('active', 'reauthorization_required')"
#: The others: tombstones.
DEAD = "status IN ('revocation_pending', 'revoked')"
#: Rows that hold a candidate, a few at any time. SQLite never takes text and bytes for equal, hence two spellings.
HAS_CANDIDATE_POSTGRESQL = r"candidate <> '\x'::bytea"
HAS_CANDIDATE_SQLITE = "candidate <> x''"

#: Room, in percent, that pages of these tables keep for new versions of their rows. A refresh updates a connection four
#: times (lease, intent, token, lease) and three of these touch no index, so they stay in their page: HOT. Re-wrapping
#: and resealing change an indexed key id, so they are never HOT; there the room keeps the new version in the page of
#: the old, whose space is reclaimed when the page is next written to, and the table does not grow.
FILLFACTOR = 70

metadata = MetaData()

_TEXT: TypeEngine[str] = Text().with_variant(Text(collation="C"), "postgresql")
_SECONDS: TypeEngine[float] = Double().with_variant(REAL(), "sqlite")
_COUNT: TypeEngine[int] = BigInteger().with_variant(INTEGER(), "sqlite")


def _column(name: str, kind: TypeEngine[Any], *, nullable: bool = False, default: str | None = None) -> Column[Any]:
    return Column(name, kind, nullable=nullable, server_default=None if default is None else text(default))


def _identity(name: str, kind: TypeEngine[Any]) -> Column[Any]:
    return Column(name, kind, primary_key=True, nullable=False, autoincrement=False)


def _index(name: str, table: Table, *columns: str, where: str, unique: bool = False) -> Index:
    predicate = text(where)
    parts = (table.c[column] for column in columns)
    return Index(name, *parts, unique=unique, postgresql_where=predicate, sqlite_where=predicate)


connections = Table(
    "connections",
    metadata,
    _identity("id", _TEXT),
    _column("tenant", _TEXT),
    _column("owner", _TEXT),
    _column("status", _TEXT),
    _column("reason", _TEXT),
    _column("generation", Integer()),
    _column("provider", _TEXT),
    _column("issuer", _TEXT),
    _column("client_id", _TEXT),
    _column("parent_id", _TEXT),
    _column("envelope", LargeBinary()),
    _column("subject", _TEXT),
    _column("shared_with", _TEXT),
    _column("kind", _TEXT),
    _column("key_id", _TEXT),
    _column("created_at_seconds", _SECONDS),
    _column("updated_at_seconds", _SECONDS),
    _column("due_at_seconds", _SECONDS, nullable=True),
    _column("dies_at_seconds", _SECONDS, nullable=True),
    _column("warn_at_seconds", _SECONDS, nullable=True),
    _column("failing_since_seconds", _SECONDS, nullable=True),
    _column("failing_with", _TEXT),
    _column("failures", Integer()),
    _column("refusals", Integer()),
    _column("candidate", LargeBinary()),
    _column("intent_digest", LargeBinary()),
    _column("intent_sent_at_seconds", _SECONDS, nullable=True),
    _column("intent_deadline_seconds", _SECONDS, nullable=True),
    _column("intent_attempt", Integer()),
    _column("lease_holder", _TEXT, default="''"),
    _column("lease_until_seconds", _SECONDS, nullable=True),
    postgresql_with={"fillfactor": FILLFACTOR},
)
# The arbiter of "one live connection per account". The subject leads, so that it finds the siblings of a grant too.
_index(
    "connections_account", connections,
    "subject", "issuer", "client_id", "provider", "tenant", "parent_id", "shared_with", where=LIVE, unique=True,
)  # fmt: skip
# The other rows of an account. Inserting a connection and writing a token leave it alone.
_index(
    "connections_tombstones", connections, "subject", "issuer", "client_id", "provider", "parent_id", where=DEAD
)  # fmt: skip
Index("connections_owner", connections.c.tenant, connections.c.owner)
_index("connections_children", connections, "parent_id", where="parent_id <> ''")
_index(
    "connections_due", connections, "provider", "client_id", "due_at_seconds", "id", where="status = 'active'"
)  # fmt: skip
_index(
    "connections_warnings", connections, "warn_at_seconds", "id",
    where="status = 'active' AND warn_at_seconds IS NOT NULL",
)  # fmt: skip
Index("connections_status", connections.c.status, connections.c.id)
# For resealing what a key sealed, in the order of the ids.
Index("connections_sealed_under", connections.c.key_id, connections.c.id)
Index(
    "connections_candidates",
    connections.c.id,
    postgresql_where=text(HAS_CANDIDATE_POSTGRESQL),
    sqlite_where=text(HAS_CANDIDATE_SQLITE),
)

# Beginning a flow is this table's one frequent write, so it has no index on the expiry.
states = Table(
    "states",
    metadata,
    _identity("state_hash", LargeBinary()),
    _column("tenant", _TEXT),
    _column("owner", _TEXT),
    _column("provider", _TEXT),
    _column("binding", LargeBinary()),
    _column("sealed", LargeBinary()),
    _column("return_to", _TEXT),
    _column("phase", _TEXT),
    _column("expires_at_seconds", _SECONDS),
    _column("connection_id", _TEXT),
    _column("error", _TEXT),
    _column("missing_scopes", _TEXT),
)

# One row at most: `one` is always 1.
vault = Table(
    "vault",
    metadata,
    _identity("one", Integer()),
    _column("vault_id", LargeBinary()),
    _column("canary", LargeBinary()),
    _column("created_at_seconds", _SECONDS),
    CheckConstraint("one = 1", name="vault_one_check"),
)


def _keys(name: str, *younger: Column[Any], **options: Any) -> Table:
    return Table(
        name,
        metadata,
        _identity("key_id", _TEXT),
        _column("tenant", _TEXT),
        _column("owner", _TEXT),
        _column("wrapped", LargeBinary()),
        _column("wrapped_by", _TEXT),
        _column("state", _TEXT),
        _column("created_at_seconds", _SECONDS),
        *younger,
        **options,
    )


_PRIMARY = "state = 'primary'"

# Ids and states alone: the keys themselves are kept elsewhere.
keks = _keys("keks")
# The state is the same in every row of it, so that there is one row.
_index("keks_primary", keks, "state", where=_PRIMARY, unique=True)

vault_keys = _keys("vault_keys")
_index("vault_keys_primary", vault_keys, "tenant", where=_PRIMARY, unique=True)

# Data keys have a table of their own: deleting an owner's row shreds what was sealed under it.
data_keys = _keys(
    "data_keys", _column("seals", _COUNT, default="0"), postgresql_with={"fillfactor": FILLFACTOR}
)  # fmt: skip
_index("data_keys_primary", data_keys, "tenant", "owner", where=_PRIMARY, unique=True)
# For erasing an owner. The first key of an owner, mostly the only one, costs nothing here.
_index("data_keys_former", data_keys, "tenant", "owner", where="state <> 'primary'")
# For re-wrapping what a key wraps, in the order of the ids.
Index("data_keys_wrapped_under", data_keys.c.wrapped_by, data_keys.c.key_id)

# Revocations that the provider has not confirmed yet.
revocations = Table(
    "revocations",
    metadata,
    _identity("id", _TEXT),
    _column("connection_id", _TEXT),
    _column("tenant", _TEXT),
    _column("owner", _TEXT),
    _column("provider", _TEXT),
    _column("client_id", _TEXT),
    _column("issuer", _TEXT),
    _column("subject", _TEXT),
    _column("reach", _TEXT),
    _column("generation", Integer()),
    _column("envelope", LargeBinary()),
    _column("key_id", _TEXT),
    _column("attempt", Integer()),
    _column("next_attempt_at_seconds", _SECONDS),
    _column("created_at_seconds", _SECONDS),
)
Index("revocations_due", revocations.c.next_attempt_at_seconds, revocations.c.id)
Index("revocations_connection", revocations.c.connection_id)
Index("revocations_owner", revocations.c.tenant, revocations.c.owner)
# Each new connection asks it whose revocation would end the grant that it was just given.
_index("revocations_grant", revocations, "subject", "issuer", "client_id", "provider", where="reach = 'grant'")
Index("revocations_sealed_under", revocations.c.key_id, revocations.c.id)

# One row: the revision that the database has. Whoever runs the revisions keeps it, whatever Alembic's own table is.
socialvault_version = Table(
    "socialvault_version",
    metadata,
    Column("version_num", String(32), nullable=False),
    PrimaryKeyConstraint("version_num", name="socialvault_version_pkc"),
)
