"""Runs statements: on which connection, in which transaction, and what becomes of them when that fails.

It is blocking code. An event loop runs it in a greenlet, where SQLAlchemy's asynchronous drivers await, so that both
colours run the very same statements. No connection and no transaction outlives a call.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from sqlalchemy import CursorResult

from socialvault.exceptions import StoreUnavailableError
from socialvault.stores.sqlalchemy.errors import DRIVER_ERRORS, LOST_RACE, is_disconnect, refusal, sqlstate
from socialvault.stores.sqlalchemy.fence import refuse_retired
from socialvault.stores.sqlalchemy.liveness import liveness_probe
from socialvault.stores.sqlalchemy.readiness import check_schema, create_schema, keep_log

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence

    from sqlalchemy import Connection, Engine, Executable, Select

    from socialvault.model.keys import KeyLevel
    from socialvault.ports.clock import Clock
    from socialvault.stores.sqlalchemy.rows import Values

    Question = Select[*tuple[Any, ...]]

T = TypeVar("T")

#: How often something is tried that lost a race which the database ended.
_ATTEMPTS = 5
# More than any pool has at rest; each of them may have ended with the server.
_STALE_CONNECTIONS = 100


def _tuples(result: CursorResult[Any]) -> Sequence[Sequence[Any]]:
    """Return the driver's own tuples. PostgreSQL's drivers have received them all by now, so none is missing."""
    cursor: Any = result.cursor
    found: list[tuple[Any, ...]] = cursor.fetchall()
    return found


class _Written(NamedTuple):
    """A statement as the driver takes it; the order of its values, where they have places instead of names."""

    text: str
    order: tuple[str, ...] | None
    constants: Values

    def given(self, values: Values) -> Values | tuple[object, ...]:
        """Return the values as the driver takes them."""
        if self.constants:
            values = self.constants | values
        return values if self.order is None else tuple([values[name] for name in self.order])


class Database:
    """One database, by way of an engine.

    Args:
        engine: one that makes its connections commit each statement saves us to ask for it every time.
        clock: tells the time instead of the database.
    """

    def __init__(self, engine: Engine, clock: Clock | None) -> None:
        self.name = engine.dialect.name
        self._engine = self._reading = engine
        self._single: Engine = engine.execution_options(isolation_level="AUTOCOMMIT")
        # Each statement of a transaction must see what others have committed since it began.
        self._several = (
            self._single if self.name == "sqlite" else engine.execution_options(isolation_level="READ COMMITTED")
        )
        self._is_gone = liveness_probe(engine.dialect.driver)
        self._clock = clock
        self._questions: dict[Question, _Written] = {}
        self._ready = False
        self._closed = False

    def close(self) -> None:
        """Refuse every call from now on. The engine is its owner's to dispose."""
        self._ready, self._closed = False, True

    def time(self) -> Values:
        """Return the value of `NOW`."""
        return {"now": None if self._clock is None else self._clock.now_seconds()}

    def row(self, statement: Question, values: Values) -> Sequence[Any] | None:
        """Return the row that a question finds, with what the driver makes of its columns.

        The way of ``token()``: the question is written out once, instead of looked up among compiled ones each time.
        """
        written = self._questions.get(statement) or self._written(statement)
        return self._read(lambda connection: connection.exec_driver_sql(written.text, written.given(values)).fetchone())

    def many(self, statement: Question, values: Values) -> Sequence[Sequence[Any]]:
        """As `row`, for many of them."""
        written = self._questions.get(statement) or self._written(statement)
        fetch = CursorResult.all if self.name == "sqlite" else _tuples
        return self._read(lambda connection: fetch(connection.exec_driver_sql(written.text, written.given(values))))

    def rows(self, statement: Executable, values: Values) -> Sequence[Sequence[Any]]:
        """Return all rows that a question finds which is put together for the occasion."""
        return self._read(lambda connection: connection.execute(statement, values).all())

    def _read(self, ask: Callable[[Connection], T]) -> T:
        if not self._ready:
            self._prepare()
        try:
            with self._reading.connect() as connection:
                return ask(connection)
        except DRIVER_ERRORS as error:
            if not is_disconnect(error):
                raise refusal(error) from None
        # Once more on another connection: the pool has dropped those that were as old as the broken one.
        try:
            with self._reading.connect() as connection:
                return ask(connection)
        except DRIVER_ERRORS as error:
            raise refusal(error) from None

    def _written(self, statement: Question) -> _Written:
        if not self._ready:
            self._prepare()  # a dialect knows its server once it has been connected
        schemas = self._engine.get_execution_options().get("schema_translate_map")
        compiled: Any = statement.compile(
            dialect=self._engine.dialect, schema_translate_map=schemas, render_schema_translate=bool(schemas)
        )
        constants = {name: bound.value for bound, name in compiled.bind_names.items() if not bound.required}
        order = tuple(compiled.positiontup) if compiled.positional else None
        written = _Written(str(compiled), order, constants)
        return self._questions.setdefault(statement, written)

    def change(self, statement: Executable, values: Values) -> int:
        """Run one statement as its own transaction; return how many rows it changed."""

        def run(connection: Connection) -> int:
            changed: int = connection.execute(statement, values).rowcount
            connection.commit()  # committed it is already, unless the engine's own listeners began a transaction
            return changed

        if not self._ready:
            self._prepare()
        return self._run(self._single, run, LOST_RACE)

    def change_sealed(self, level: KeyLevel, key_id: str, statement: Executable, values: Values) -> int:
        """As `change`, for a statement that is fenced by a key.

        Raises:
            KeyNotFoundError: it changed nothing, and the key is retired.
        """
        changed = self.change(statement, values)
        if not changed:
            self.transaction(lambda connection: refuse_retired(connection, level, (key_id,)))
        return changed

    def transaction(self, work: Callable[[Connection], T], *, lost: Collection[str] = LOST_RACE) -> T:
        """Run `work` as one transaction, and again when it loses a race: with one of the SQLSTATEs `lost`."""
        if not self._ready:
            self._prepare()
        return self._transact(work, lost)

    def create_schema(self) -> None:
        """Make all tables in an empty database; leave one alone that has them."""
        if self._closed:
            raise StoreUnavailableError("the store is closed")
        self._run(self._single, keep_log, LOST_RACE)
        self._transact(create_schema, LOST_RACE)

    def _transact(self, work: Callable[[Connection], T], lost: Collection[str]) -> T:
        def run(connection: Connection) -> T:
            with connection.begin():
                if self.name == "sqlite":
                    connection.exec_driver_sql("BEGIN IMMEDIATE")
                return work(connection)

        return self._run(self._several, run, lost)

    def _run(self, engine: Engine, run: Callable[[Connection], T], lost: Collection[str]) -> T:
        for attempt in range(_ATTEMPTS):
            try:
                with self._connected(engine) as connection:
                    return run(connection)
            except DRIVER_ERRORS as error:
                if attempt + 1 == _ATTEMPTS or sqlstate(error) not in lost:
                    raise refusal(error) from None
        raise AssertionError("not reached")

    def _connected(self, engine: Engine) -> Connection:
        """Return a connection that has not ended since its last use, as far as this side knows.

        A write is never sent twice, so a connection that ended meanwhile must be noticed before.
        """
        connection = engine.connect()
        for _ in range(_STALE_CONNECTIONS):
            if not self._is_gone(connection):
                break
            connection.invalidate()
            connection.close()
            connection = engine.connect()
        return connection

    def _prepare(self) -> None:
        """Make sure, before the first statement, that the tables are there and of this release."""
        if self._closed:
            raise StoreUnavailableError("the store is closed")
        self._run(self._engine, self._look_around, LOST_RACE)
        self._ready = True

    def _look_around(self, connection: Connection) -> None:
        check_schema(connection)
        # To change a connection for one statement takes half as long as a look-up, so it is not done in vain.
        driver: Any = connection.connection.dbapi_connection
        if self._engine.dialect.detect_autocommit_setting(driver):
            self._single = self._engine
        # SQLite has no round trips to spare; there a question begins no transaction.
        self._reading = self._engine if self.name == "sqlite" else self._single
