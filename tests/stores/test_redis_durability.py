"""With an append-only file that is written at once, what was acknowledged survives the server's death."""

from __future__ import annotations

from contextlib import closing

from support.valkey import running_valkey

from socialvault.sandbox.contracts.rows import OWNER, TENANT, connection, token_write
from socialvault.stores.redis import RedisStore

ROUNDS = 20


def test_what_was_acknowledged_survives_a_kill() -> None:
    with running_valkey(appendonly="yes", appendfsync="always") as server, closing(RedisStore(server.url)) as store:
        store.insert(connection())
        for turn in range(1, ROUNDS + 1):
            write = token_write(connection(), expected_generation=turn, envelope=b"token %d" % turn)
            assert store.write_token(write) is not None
            server.kill()
            server.daemon.start()
            read = store.read_token("con-1", TENANT, OWNER)
            assert read is not None
            assert (read.generation, read.envelope) == (turn + 1, b"token %d" % turn)
