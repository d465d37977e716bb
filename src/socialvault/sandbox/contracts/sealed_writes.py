"""Every write that needs a key, as contracts try them: each leaves one use of the key that it is given."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

from socialvault.model.keys import Resealed, Rewrapped
from socialvault.model.status import Status
from socialvault.sandbox.contracts.rows import (
    TENANT,
    connection,
    flow,
    kek,
    revocation,
    sealed_by,
    status_write,
    token_write,
    vault,
    vault_key,
    wrapped_key,
)

if TYPE_CHECKING:
    from socialvault.model.keys import KeyLevel, WrappedKey
    from socialvault.model.rows import ConnectionRow, RevocationRow
    from socialvault.ports.store import AsyncStore

# Keys of one scope per level; nothing that a test writes belongs to it.
MAKE: dict[KeyLevel, Callable[..., WrappedKey]] = {
    "kek": kek,
    "vault": lambda name="v", **changes: vault_key(name, **{"tenant": TENANT, **changes}),
    "data": lambda name="k", **changes: wrapped_key(name, **{"owner": "", **changes}),
}


class Write(NamedTuple):
    """A write that leaves exactly one use of the key it is given, by its id; there are as many as there are numbers."""

    level: KeyLevel
    act: Callable[[AsyncStore, int, str], Awaitable[object]]


def row(number: int) -> ConnectionRow:
    """Return a connection that `prepare` stores."""
    return replace(connection(f"con-{number}", subject=str(number)), candidate=b"candidate %d" % number)


def child(number: int) -> ConnectionRow:
    """Return a child of it."""
    return connection(f"child-{number}", subject=f"child {number}", parent_id=f"con-{number}")


def waiting(number: int) -> RevocationRow:
    """Return a revocation that `prepare` stores."""
    return revocation(row(number), reach="token", envelope=b"late %d" % number, key_id="ab" * 32)


def late(number: int, key_id: str) -> RevocationRow:
    """Return a new revocation of a token that `key_id` seals."""
    return revocation(row(number), "-late", reach="token", envelope=sealed_by(key_id), key_id=key_id)


def dek(number: int, **changes: str) -> WrappedKey:
    """Return a DEK that `prepare` stores."""
    return wrapped_key(f"dek {number}", owner=f"user-{number}", **changes)


def own_vault_key(number: int, **changes: str) -> WrappedKey:
    """Return a tenant's vault key that `prepare` stores."""
    return vault_key(f"vault key {number}", tenant=f"tenant-{number}", **changes)


async def prepare(store: AsyncStore, level: KeyLevel, number: int) -> None:
    """Store what the writes under a key of `level` change."""
    if level == "data":
        await store.insert(row(number))
        await store.insert(child(number))
        await store.queue_revocation(waiting(number))
    elif level == "vault":
        await store.create_vault(vault(), vault_key("vault's"))
        await store.add_key("data", dek(number))
    else:
        await store.add_key("vault", own_vault_key(number))


async def reseal_canary(store: AsyncStore, _number: int, key_id: str) -> bool:
    """Seal the canary, of which there is one, under a key."""
    stored = await store.load_vault()
    assert stored is not None
    return await store.reseal_canary(stored.canary, sealed_by(key_id))


def _rewrapped(key: WrappedKey, key_id: str) -> Rewrapped:
    return Rewrapped(key.key_id, key.wrapped, b"again", key_id)


#: Every write that a retired key must refuse.
WRITES = {
    "insert": Write(
        "data",
        lambda store, number, key_id: store.insert(
            replace(connection(f"new-{number}", subject=f"new {number}"), key_id=key_id)
        ),
    ),
    "write_token": Write(
        "data", lambda store, number, key_id: store.write_token(token_write(row(number), key_id=key_id))
    ),
    "put_candidate": Write(
        "data", lambda store, number, key_id: store.put_candidate(row(number).id, 1, sealed_by(key_id))
    ),
    "queue_revocation": Write("data", lambda store, number, key_id: store.queue_revocation(late(number, key_id))),
    "tombstone": Write(
        "data",
        lambda store, number, key_id: store.tombstone(
            status_write(row(number), Status.REVOCATION_PENDING), late(number, key_id)
        ),
    ),
    "put_state": Write(
        "data",
        lambda store, number, key_id: store.put_state(replace(flow(str(number)), sealed=sealed_by(key_id)), 600.0),
    ),
    "reseal_token": Write(
        "data",
        lambda store, number, key_id: store.reseal(
            "token", [Resealed(row(number).id, row(number).envelope, b"again", key_id)]
        ),
    ),
    "reseal_candidate": Write(
        "data",
        lambda store, number, key_id: store.reseal(
            "candidate", [Resealed(row(number).id, row(number).candidate, sealed_by(key_id), key_id)]
        ),
    ),
    "reseal_revocation": Write(
        "data",
        lambda store, number, key_id: store.reseal(
            "revocation", [Resealed(waiting(number).id, waiting(number).envelope, b"again", key_id)]
        ),
    ),
    "add_data_key": Write(
        "vault",
        lambda store, number, key_id: store.add_key(
            "data", wrapped_key(f"added {number}", owner=f"new-{number}", wrapped_by=key_id)
        ),
    ),
    "replace_data_key": Write(
        "vault",
        lambda store, number, key_id: store.replace_key(
            "data",
            dek(number, wrapped_by=key_id)._replace(key_id=wrapped_key(f"next {number}").key_id),
            dek(number).key_id,
        ),
    ),
    "rewrap_data_key": Write(
        "vault", lambda store, number, key_id: store.rewrap("data", [_rewrapped(dek(number), key_id)])
    ),
    "reseal_canary": Write("vault", reseal_canary),
    "add_vault_key": Write(
        "kek",
        lambda store, number, key_id: store.add_key(
            "vault", vault_key(f"added {number}", tenant=f"new-{number}", wrapped_by=key_id)
        ),
    ),
    "replace_vault_key": Write(
        "kek",
        lambda store, number, key_id: store.replace_key(
            "vault",
            own_vault_key(number, wrapped_by=key_id)._replace(key_id=wrapped_key(f"next {number}").key_id),
            own_vault_key(number).key_id,
        ),
    ),
    "rewrap_vault_key": Write(
        "kek", lambda store, number, key_id: store.rewrap("vault", [_rewrapped(own_vault_key(number), key_id)])
    ),
}
