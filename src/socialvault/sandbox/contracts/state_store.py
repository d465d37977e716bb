"""The contract of a state store."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from socialvault.exceptions import StoreError, StoreUnavailableError
from socialvault.sandbox.contracts.base import RACERS, Advance, Contract, OpenStore, opened
from socialvault.sandbox.contracts.rows import OWNER, TENANT, flow

if TYPE_CHECKING:
    from socialvault.model.state import StateRow
    from socialvault.ports.store import AsyncStore

FOREIGN = {
    "tenant": "globex",
    "no_tenant": "",
    "owner": "user-43",
    "no_owner": "",
    "provider": "google",
    "binding": b"\x00" * 32,
    "short_binding": b"",
}


def fitting(row: StateRow) -> dict[str, Any]:
    """Return what a callback presents that belongs to `row`."""
    return {"tenant": row.tenant, "owner": row.owner, "provider": row.provider, "binding": row.binding}


async def claim(store: AsyncStore, row: StateRow, **changes: Any) -> StateRow | None:
    """Claim `row` with what fits it, but for `changes`."""
    return await store.claim_state(row.state_hash, **(fitting(row) | changes))


@pytest.mark.asyncio
class StateStoreContract(Contract):
    """What every `StateStore` must do."""

    async def test_a_flow_is_read_back_as_it_was_kept(self, store: AsyncStore) -> None:
        row = flow()
        await store.put_state(row, self.ttl_seconds)
        read = await store.get_state(row.state_hash)
        assert read is not None
        assert read.expires_at_seconds > 0
        assert replace(read, expires_at_seconds=0.0) == row

    async def test_the_store_sets_phase_and_expiry(self, store: AsyncStore, advance: Advance) -> None:
        row = replace(flow(), phase="done", expires_at_seconds=1e12)
        await store.put_state(row, self.ttl_seconds)
        read = await store.get_state(row.state_hash)
        assert read is not None
        assert read.phase == "pending"
        advance(self.ttl_seconds)
        late = await store.get_state(row.state_hash)
        assert late is not None
        assert late.phase == "expired"

    async def test_r_03_an_unknown_state_is_nobodys(self, store: AsyncStore) -> None:
        await store.put_state(flow(), self.ttl_seconds)
        stranger = flow("state-2")
        assert await store.get_state(stranger.state_hash) is None
        assert await claim(store, stranger) is None

    async def test_f_02_a_flow_begun_here_is_claimed_elsewhere(self, store: AsyncStore, open_store: OpenStore) -> None:
        row = flow()
        await store.put_state(row, self.ttl_seconds)
        elsewhere = await opened(open_store)
        claimed = await claim(elsewhere, row)
        assert claimed is not None
        assert claimed.sealed == row.sealed
        assert await claim(store, row) is None
        if elsewhere is not store:
            await elsewhere.aclose()

    async def test_a_claim_takes_the_sealed_part_out_of_the_store(self, store: AsyncStore) -> None:
        row = flow()
        await store.put_state(row, self.ttl_seconds)
        claimed = await claim(store, row)
        assert claimed is not None
        assert replace(claimed, expires_at_seconds=0.0) == replace(row, phase="claimed")
        read = await store.get_state(row.state_hash)
        assert read is not None
        assert (read.phase, read.sealed) == ("claimed", b"")

    @pytest.mark.parametrize("what", FOREIGN)
    async def test_r_03_a_foreign_callback_claims_and_changes_nothing(self, store: AsyncStore, what: str) -> None:
        row = flow()
        await store.put_state(row, self.ttl_seconds)
        before = await store.get_state(row.state_hash)
        assert await claim(store, row, **{what.rpartition("_")[2]: FOREIGN[what]}) is None
        assert await store.get_state(row.state_hash) == before
        assert await claim(store, row) is not None

    async def test_r_24_a_flow_without_an_owner_is_not_claimed_by_none(self, store: AsyncStore) -> None:
        row = replace(flow(), owner="")
        await store.put_state(row, self.ttl_seconds)
        assert await claim(store, row, owner=None) is None

    async def test_a_state_is_claimed_once(self, store: AsyncStore) -> None:
        row = flow()
        await store.put_state(row, self.ttl_seconds)
        assert await claim(store, row) is not None
        assert await claim(store, row) is None

    async def test_f_08_of_racing_callbacks_one_claims(self, store: AsyncStore) -> None:
        row = flow()
        await store.put_state(row, self.ttl_seconds)

        async def call_back(_number: int) -> StateRow | None:
            return await claim(store, row)

        claimed = [each for each in await self.race(RACERS, call_back) if each is not None]
        assert [each.sealed for each in claimed] == [row.sealed]

    async def test_f_08_racing_callbacks_of_strangers_do_not_stop_the_rightful_one(self, store: AsyncStore) -> None:
        row = flow()
        await store.put_state(row, self.ttl_seconds)

        async def call_back(number: int) -> StateRow | None:
            return await claim(store, row, owner=OWNER if number == 0 else f"stranger-{number}")

        first, *others = await self.race(RACERS, call_back)
        assert first is not None
        assert others == [None] * (RACERS - 1)

    async def test_a_state_ends_by_the_stores_clock(self, store: AsyncStore, advance: Advance) -> None:
        row, longer = flow(), flow("state-2")
        await store.put_state(row, self.ttl_seconds)
        await store.put_state(longer, self.ttl_seconds * 4)
        advance(self.ttl_seconds)
        late = await store.get_state(row.state_hash)
        assert late is not None
        assert (late.phase, late.sealed, late.owner) == ("expired", b"", row.owner)
        assert await claim(store, row) is None
        assert await claim(store, longer) is not None

    async def test_f_15_a_lost_state_claims_nothing_and_a_known_one_is_not_begun_again(self, store: AsyncStore) -> None:
        row = flow()
        assert await claim(store, row) is None
        await store.put_state(row, self.ttl_seconds)
        assert await claim(store, row) is not None
        with pytest.raises(StoreError):
            await store.put_state(row, self.ttl_seconds)
        assert await claim(store, row) is None

    async def test_an_outcome_is_kept_for_the_rest_of_the_flows_time(self, store: AsyncStore, advance: Advance) -> None:
        row = flow()
        await store.put_state(row, self.ttl_seconds)
        await claim(store, row)
        await store.finish_state(row.state_hash, connection_id="con-1", error="", missing_scopes="email profile")
        read = await store.get_state(row.state_hash)
        assert read is not None
        assert replace(read, expires_at_seconds=0.0) == replace(
            row, phase="done", sealed=b"", connection_id="con-1", missing_scopes="email profile"
        )
        advance(self.ttl_seconds)
        late = await store.get_state(row.state_hash)
        assert late is not None
        assert late.phase == "expired"

    async def test_only_a_claimed_flow_is_finished_and_only_once(self, store: AsyncStore) -> None:
        row = flow()
        outcome = {"connection_id": "con-1", "error": "", "missing_scopes": ""}
        await store.finish_state(row.state_hash, **outcome)
        assert await store.get_state(row.state_hash) is None
        await store.put_state(row, self.ttl_seconds)
        await store.finish_state(row.state_hash, **outcome)
        pending = await store.get_state(row.state_hash)
        assert pending is not None
        assert (pending.phase, pending.sealed) == ("pending", row.sealed)
        await claim(store, row)
        await store.finish_state(row.state_hash, connection_id="", error="StateExpiredError", missing_scopes="")
        await store.finish_state(row.state_hash, **outcome)
        done = await store.get_state(row.state_hash)
        assert done is not None
        assert (done.phase, done.connection_id, done.error) == ("done", "", "StateExpiredError")

    async def test_a_finished_flow_is_not_claimed_again(self, store: AsyncStore) -> None:
        row = flow()
        await store.put_state(row, self.ttl_seconds)
        await claim(store, row)
        await store.finish_state(row.state_hash, connection_id="con-1", error="", missing_scopes="")
        assert await claim(store, row) is None

    async def test_what_is_over_is_purged_in_portions(self, store: AsyncStore, advance: Advance) -> None:
        for number in range(5):
            await store.put_state(flow(f"short-{number}"), self.ttl_seconds)
        await store.put_state(flow("long"), self.ttl_seconds * 10)
        assert await store.purge_states(10) == 0
        advance(self.ttl_seconds)
        assert [await store.purge_states(3) for _ in range(3)] == [3, 2, 0]
        assert await store.get_state(flow("long").state_hash) is not None

    async def test_many_tabs_of_one_owner_keep_apart(self, store: AsyncStore) -> None:
        rows = [flow(f"tab-{number}") for number in range(8)]
        for row in rows:
            await store.put_state(row, self.ttl_seconds)
        for row in reversed(rows):
            claimed = await claim(store, row)
            assert claimed is not None
            assert claimed.sealed == row.sealed

    async def test_a_closed_store_takes_no_states(self, open_store: OpenStore) -> None:
        store = await opened(open_store)
        await store.aclose()
        with pytest.raises(StoreUnavailableError):
            await store.put_state(flow(), self.ttl_seconds)
        with pytest.raises(StoreUnavailableError):
            await store.get_state(flow().state_hash)
        with pytest.raises(StoreUnavailableError):
            await claim(store, replace(flow(), tenant=TENANT))
