"""Reads on socket stores, each against the same look-up with the plain client over the same pool.

    PYTHONPATH=tests python benchmarks/reads.py            # five launches, their median
    PYTHONPATH=tests python benchmarks/reads.py --once
    PYTHONPATH=tests python benchmarks/reads.py --report docs/performance

``read_token`` is the store's own part; ``token()`` is all of it: the look-up, opening the record, the checks. The
limits: the same SQLAlchemy Core row on the same engine, redis-py's HMGET on the same client; the raw asyncpg row, for
what SQLAlchemy costs, by itself.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from socialvault import AsyncVault, LocalKeyring, Vault
from socialvault.providers import X

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

TENANT, OWNER = "acme", "user-42"
ROUNDS, CALLS = 31, 60


async def compare(contenders: dict[str, Callable[[], Awaitable[object]]]) -> dict[str, float]:
    """Let them take turns; return the median of the seconds that a call takes."""
    taken: dict[str, list[float]] = {name: [] for name in contenders}
    for _ in range(ROUNDS):
        for name, call in contenders.items():
            begun = time.perf_counter()
            for _ in range(CALLS):
                await call()
            taken[name].append((time.perf_counter() - begun) / CALLS)
    limit = next(iter(contenders))
    ratios = {name: statistics.median(a / b for a, b in zip(taken[name], taken[limit], strict=True)) for name in taken}
    return {f"{name} / {limit}": ratio for name, ratio in ratios.items() if name != limit}


def blocking(call: Callable[[], object]) -> Callable[[], Awaitable[object]]:
    """Let a blocking call stand among awaited ones."""

    async def called() -> object:
        return call()

    return called


def options(store: Any, key: str) -> dict[str, Any]:
    return {
        "providers": [X("client", "secret")], "store": store, "keys": LocalKeyring([key]),
        "redirect_uri": "https://app.example/{provider}",
    }  # fmt: skip


async def on_postgres(made: Any) -> dict[str, float]:
    key = LocalKeyring.generate()
    found, connection_id = await on_psycopg(made, key)
    return found | await on_asyncpg(made, key, connection_id)


def core_select(connection_id: str) -> Any:
    """The look-up of ``read_token`` in SQLAlchemy Core."""
    from sqlalchemy import select

    from socialvault.stores.sqlalchemy.schema import connections

    c = connections.c
    return select(c.status, c.generation, c.provider, c.issuer, c.parent_id, c.envelope).where(
        c.id == connection_id, c.tenant == TENANT, c.owner == OWNER
    )


async def on_psycopg(made: Any, key: str) -> tuple[dict[str, float], str]:
    """Make the tables and a connection, and read it; return its id, too."""
    from sqlalchemy import create_engine

    from socialvault.stores.sqlalchemy import SQLAlchemyStore

    engine = create_engine(made.url, hide_parameters=True)
    store = SQLAlchemyStore(engine)
    store.create_schema()
    vault = Vault(**options(store, key))
    done = vault.import_tokens("x", owner=OWNER, tenant=TENANT, access_token="t" * 200, subject="1")
    row, plain = core_select(done.id), engine.execution_options(isolation_level="AUTOCOMMIT")

    def core_row() -> object:
        with plain.connect() as connection:
            return connection.execute(row).fetchone()

    found = await compare({
        "SQLAlchemy Core row, psycopg": blocking(core_row),
        "read_token, psycopg": blocking(lambda: store.read_token(done.id, TENANT, OWNER)),
        "token(), psycopg": blocking(lambda: vault.token(done.id, owner=OWNER, tenant=TENANT)),
    })  # fmt: skip
    vault.close()
    engine.dispose()
    return found, done.id


async def on_asyncpg(made: Any, key: str, connection_id: str) -> dict[str, float]:
    """Read it on an event loop."""
    import asyncpg
    from sqlalchemy.ext.asyncio import create_async_engine

    from socialvault.stores.sqlalchemy import AsyncSQLAlchemyStore

    engine = create_async_engine(made.async_url, hide_parameters=True)
    row, plain = core_select(connection_id), engine.execution_options(isolation_level="AUTOCOMMIT")
    store = AsyncSQLAlchemyStore(engine)
    vault = AsyncVault(**options(store, key))
    await vault.open()

    async def core_row() -> object:
        async with plain.connect() as connection:
            return (await connection.execute(row)).fetchone()

    raw = await asyncpg.connect(made.dsn)
    prepared = await raw.prepare(
        "SELECT status, generation, provider, issuer, parent_id, envelope FROM connections"
        " WHERE id = $1 AND tenant = $2 AND owner = $3"
    )
    found = await compare({
        "SQLAlchemy Core row, asyncpg": core_row,
        "read_token, asyncpg": lambda: store.read_token(connection_id, TENANT, OWNER),
        "token(), asyncpg": lambda: vault.token(connection_id, owner=OWNER, tenant=TENANT),
    })  # fmt: skip
    found |= await compare({
        "raw asyncpg row": lambda: prepared.fetchrow(connection_id, TENANT, OWNER),
        "SQLAlchemy Core row, asyncpg": core_row,
        "token(), asyncpg": lambda: vault.token(connection_id, owner=OWNER, tenant=TENANT),
    })  # fmt: skip
    await raw.close()
    await vault.aclose()
    await engine.dispose()
    return found


async def on_valkey(url: str) -> dict[str, float]:
    import redis
    import redis.asyncio

    from socialvault.stores.redis import AsyncRedisStore, RedisStore

    key = LocalKeyring.generate()
    client, async_client = redis.Redis.from_url(url), redis.asyncio.Redis.from_url(url)
    store, async_store = RedisStore(client), AsyncRedisStore(async_client)
    vault = Vault(**options(store, key))
    done = vault.import_tokens("x", owner=OWNER, tenant=TENANT, access_token="t" * 200, subject="1")
    async_vault = AsyncVault(**options(async_store, key))
    await async_vault.open()
    [name] = [name for name in client.scan_iter(match=f"*{done.id}*") if client.type(name) == b"hash"]
    fields = ["status", "generation", "provider", "issuer", "parent_id", "envelope", "tenant", "owner"]
    found = await compare({
        "redis-py HMGET": blocking(lambda: client.hmget(name, fields)),
        "read_token, redis-py": blocking(lambda: store.read_token(done.id, TENANT, OWNER)),
        "token(), redis-py": blocking(lambda: vault.token(done.id, owner=OWNER, tenant=TENANT)),
    })  # fmt: skip
    found |= await compare({
        "redis.asyncio HMGET": lambda: async_client.hmget(name, fields),
        "read_token, redis.asyncio": lambda: async_store.read_token(done.id, TENANT, OWNER),
        "token(), redis.asyncio": lambda: async_vault.token(done.id, owner=OWNER, tenant=TENANT),
    })  # fmt: skip
    await async_vault.aclose()
    await async_client.aclose()
    vault.close()
    client.close()
    return found


async def launch() -> dict[str, float]:
    from support.postgres import running_postgres
    from support.valkey import running_valkey

    with running_postgres() as server:
        found = await on_postgres(server.create_database("reads"))
    with running_valkey() as valkey:
        found |= await on_valkey(valkey.url)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--once", action="store_true")
    parser.add_argument("--report", type=Path, metavar="FOLDER", help="write the figures there as JSON")
    given = parser.parse_args()
    if given.once:
        print(json.dumps(asyncio.run(launch())))
        return
    launches = [json.loads(subprocess.check_output([sys.executable, __file__, "--once"])) for _ in range(5)]
    for name in launches[0]:
        each = sorted(launched[name] for launched in launches)
        print(f"{statistics.median(each):5.2f}x  {name}   ({', '.join(f'{ratio:.2f}' for ratio in each)})")
    if given.report is not None:
        given.report.mkdir(parents=True, exist_ok=True)
        medians = {name: statistics.median(launched[name] for launched in launches) for name in launches[0]}
        figures = {name: round(median, 2) for name, median in medians.items()}
        (given.report / "reads.json").write_text(json.dumps(figures, indent=1) + "\n")


if __name__ == "__main__":
    main()
