"""Everything sealed in a store is opened once; what does not open is named, and nothing is changed."""

from __future__ import annotations

import hashlib
import sqlite3
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from support.backups import SEALED, Service

from socialvault import AsyncVault, LocalKeyring
from socialvault.exceptions import ConfigurationError, KeyServiceUnavailableError
from socialvault.providers import X
from socialvault.runtimes.threads import run
from socialvault.stores.memory import AsyncMemoryStore
from socialvault.vault import verification
from socialvault.vault.blocking import BlockingKeyService, BlockingStore
from socialvault.vault.verification import verify_records

if TYPE_CHECKING:
    from pathlib import Path

    from socialvault.model.verification import Verification
    from socialvault.ports.key_service import AsyncKeyService
    from socialvault.ports.store import AsyncStore


class Clock:
    def now_seconds(self) -> float:
        return 1_800_000_000.0


def verified(service: Service, *, keys: LocalKeyring | None = None) -> Verification:
    with service.vault(keys=keys or LocalKeyring([service.key])) as vault:
        return vault.admin.verify()


def digest(database: Path) -> str:
    with sqlite3.connect(database) as opened:
        return hashlib.sha256("\n".join(opened.iterdump()).encode()).hexdigest()


def change(database: Path, sql: str, *values: object) -> None:
    with sqlite3.connect(database) as opened:
        assert opened.execute(sql, values).rowcount == 1


def test_everything_that_is_sealed_is_opened_and_counted_by_key(service: Service, database: Path) -> None:
    before = digest(database)
    found = verified(service)
    assert (found.ok, found.bad, found.bad_total) == (True, (), 0)
    assert found.opened == SEALED
    kek = LocalKeyring([service.key]).primary_id
    by_level = {level: [use for use in found.uses if use.level == level] for level in ("kek", "vault", "data")}
    assert [(use.key_id, use.opened) for use in by_level["kek"]] == [(kek, 1)]
    assert [use.opened for use in by_level["vault"]] == [4]  # three DEKs and the canary
    assert sorted(use.opened for use in by_level["data"]) == [1, 2, 2]
    assert found.keys_needed == found.keys_at_hand == (kek,)
    assert digest(database) == before


#: What to break, and what is then named: kind and error of each.
DAMAGE: dict[str, tuple[str, dict[str, str]]] = {
    "token altered": (
        (
            "UPDATE connections SET envelope ="
            " CAST(substr(envelope, 1, 60) || x'0000000000000000' || substr(envelope, 69) AS BLOB)"
            " WHERE owner = 'linus'"
        ),
        {"token": "TamperedError"},
    ),
    "token cut": (
        "UPDATE connections SET envelope = CAST(substr(envelope, 1, 40) AS BLOB) WHERE owner = 'linus'",
        {"token": "MalformedEnvelopeError"},
    ),
    "token gone": ("UPDATE connections SET envelope = x'' WHERE owner = 'linus'", {"token": "MalformedEnvelopeError"}),
    "token of text": (
        "UPDATE connections SET envelope = 'plain' WHERE owner = 'linus'",
        {"token": "MalformedEnvelopeError"},
    ),
    "another generation": (
        "UPDATE connections SET generation = 9 WHERE owner = 'ada'",
        {"token": "TamperedError", "candidate": "TamperedError"},
    ),
    "another owner's token": (
        (
            "UPDATE connections SET envelope = (SELECT envelope FROM connections WHERE owner = 'ada')"
            " WHERE owner = 'grace'"
        ),
        {"token": "TamperedError"},
    ),
    "candidate altered": (
        "UPDATE connections SET candidate = CAST(candidate || x'00' AS BLOB) WHERE owner = 'ada'",
        {"candidate": "TamperedError"},
    ),
    "revocation altered": (
        "UPDATE revocations SET envelope = CAST(envelope || x'00' AS BLOB) WHERE owner = 'grace'",
        {"revocation": "TamperedError"},
    ),
    "a data key is gone": (
        "DELETE FROM data_keys WHERE owner = 'grace'",
        {"token": "KeyNotFoundError", "revocation": "KeyNotFoundError"},
    ),
    "a data key is another owner's": (
        "UPDATE data_keys SET owner = 'linus ' WHERE owner = 'linus'",
        {"data_key": "TamperedError", "token": "TamperedError"},
    ),
    "a data key is cut": (
        "UPDATE data_keys SET wrapped = x'5356' WHERE owner = 'linus'",
        {"data_key": "MalformedEnvelopeError", "token": "MalformedEnvelopeError"},
    ),
    "the canary is altered": ("UPDATE vault SET canary = CAST(canary || x'00' AS BLOB)", {"canary": "TamperedError"}),
    "the canary is cut": ("UPDATE vault SET canary = x'00'", {"canary": "MalformedEnvelopeError"}),
}


def offline(service: Service, database: Path, **changes: Any) -> Verification:
    """Verify without a vault, which a damaged canary would not let start."""
    from contextlib import closing

    from socialvault.stores.sqlite import SQLiteStore

    keys = changes.get("keys") or LocalKeyring([service.key])
    with closing(SQLiteStore(database)) as store:
        return run(verify_records(BlockingStore(store), BlockingKeyService(keys), Clock()))


@pytest.mark.parametrize("what", DAMAGE)
def test_f_33_what_does_not_open_is_named_and_the_rest_is_opened_all_the_same(
    service: Service, database: Path, what: str
) -> None:
    sql, named = DAMAGE[what]
    change(database, sql)
    before = digest(database)
    found = offline(service, database)
    assert {bad.kind: bad.error for bad in found.bad} == named
    assert found.bad_total == len(found.bad) == len(named)
    gone = {"data_key": 1} if what == "a data key is gone" else {}
    assert {kind: found.opened.get(kind, 0) + (kind in named) + gone.get(kind, 0) for kind in SEALED} == SEALED
    assert not found.ok
    assert digest(database) == before


def test_a_bad_record_is_named_by_its_place_and_never_by_its_contents(service: Service, database: Path) -> None:
    change(database, "UPDATE connections SET envelope = CAST(envelope || x'00' AS BLOB) WHERE owner = 'ada'")
    [bad] = verified(service).bad
    assert (bad.kind, bad.tenant, bad.owner, bad.provider) == ("token", "acme", "ada", "x")
    assert bad.id
    assert len(bad.key_id) == 64
    assert "canary" not in repr(bad)


def test_a_wrong_keyring_says_which_key_is_needed_and_which_is_at_hand(service: Service, database: Path) -> None:
    other = LocalKeyring([LocalKeyring.generate()])
    found = offline(service, database, keys=other)
    assert found.keys_missing == (LocalKeyring([service.key]).primary_id,)
    assert found.keys_at_hand == (other.primary_id,)
    assert found.opened == {}
    assert found.refused == SEALED
    assert {bad.error for bad in found.bad if bad.kind == "vault_key"} == {"WrongKeyError"}


def test_f_31_c_20_a_lost_key_takes_its_own_tenants_records_and_no_others(tmp_path: Path) -> None:
    service = Service(f"sqlite:///{tmp_path}/vault.db", options={"vault_key_scope": "tenant"})
    service.fill()
    database = tmp_path / "vault.db"
    change(database, "UPDATE vault_keys SET wrapped_by = ? WHERE tenant = 'acme'", "ab" * 32)  # that KEK is lost
    found = verified(service)
    assert found.keys_missing == ("ab" * 32,)
    assert {(bad.kind, bad.tenant) for bad in found.bad} == {
        (kind, "acme") for kind in ("vault_key", "data_key", "token", "candidate", "revocation")
    }
    assert found.opened == {"vault_key": 1, "canary": 1, "data_key": 1, "token": 1}
    with service.vault() as vault:
        [linus] = vault.connections(owner="linus")
        assert vault.token(linus.id, owner="linus").reveal() == "access-linus-canary"


def test_bad_records_are_listed_up_to_a_limit_and_counted_beyond(
    service: Service, database: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(verification, "_MOST_BAD", 2)
    monkeypatch.setattr(verification, "_MOST_LISTED_KEYS", 3)
    monkeypatch.setattr(verification, "_KEPT_KEYS", 1)
    with sqlite3.connect(database) as opened:
        opened.execute("UPDATE connections SET envelope = CAST(envelope || x'00' AS BLOB)")
    found = verified(service)
    assert (len(found.bad), found.bad_total) == (2, 3)
    assert [use.key_id for use in found.uses if use.level == "data"][-1] == "…"
    assert sum(use.opened + use.refused for use in found.uses) == sum(SEALED.values())


def test_more_revocations_than_can_be_looked_at_are_no_proof(
    service: Service, database: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(verification, "_MOST_REVOCATIONS", 1)
    found = verified(service)
    assert found.bad_total == 0
    assert "more than 1 revocations" in found.unseen
    assert not found.ok


def test_progress_is_told_after_each_page(service: Service, database: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(verification, "_PAGE", 1)
    told: list[int] = []
    with service.vault() as vault:
        found = vault.admin.verify(on_progress=lambda seen: told.append(sum(seen.values())))
    assert found.ok
    assert len(told) > 6
    assert told == sorted(told)
    assert told[-1] == sum(SEALED.values())


def test_an_unused_store_is_an_error_and_is_left_unused() -> None:
    store, keys = AsyncMemoryStore(), LocalKeyring([LocalKeyring.generate()])
    with pytest.raises(ConfigurationError, match="no vault has used this store"):
        run(verify_records(store, BlockingKeyService(keys), Clock()))
    assert run(store.load_vault()) is None


def test_a_key_service_that_is_away_says_nothing_about_records(service: Service, database: Path) -> None:
    class Away(LocalKeyring):
        def unwrap(self, *_: Any) -> bytes:
            raise KeyServiceUnavailableError("not now")

    with pytest.raises(KeyServiceUnavailableError):
        offline(service, database, keys=Away([service.key]))


# --- beside a vault that is at work ---------------------------------------------------------------


class Behind:
    """A store whose pages are older than its rows."""

    def __init__(self, store: AsyncStore, changes: dict[str, Any]) -> None:
        self._store = store
        self._changes = changes

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    async def find(self, **filters: Any) -> list[Any]:
        return [replace(row, **self._changes) for row in await self._store.find(**filters)]


async def filled_memory() -> tuple[AsyncMemoryStore, AsyncKeyService, str]:
    store, key = AsyncMemoryStore(), LocalKeyring.generate()
    vault = AsyncVault(
        providers=[X("client", "secret")], store=store, keys=LocalKeyring([key]),
        redirect_uri="https://app.example/{provider}/callback",
    )  # fmt: skip
    made = await vault.import_tokens("x", owner="ada", access_token="at", subject="s")
    return store, BlockingKeyService(LocalKeyring([key])), made.id


async def test_a_record_that_was_written_since_it_was_read_is_read_again() -> None:
    store, service, _ = await filled_memory()
    behind: Any = Behind(store, {"generation": 7})
    found = await verify_records(behind, service, Clock())
    assert found.ok
    assert found.opened["token"] == 1


async def test_a_record_that_was_erased_since_it_was_read_is_no_bad_one() -> None:
    store, service, _ = await filled_memory()
    behind: Any = Behind(store, {"id": "gone"})
    found = await verify_records(behind, service, Clock())
    assert found.ok
    assert "token" not in found.opened


async def test_both_colours_verify() -> None:
    store, key = AsyncMemoryStore(), LocalKeyring.generate()
    vault = AsyncVault(
        providers=[X("client", "secret")], store=store, keys=LocalKeyring([key]),
        redirect_uri="https://app.example/{provider}/callback",
    )  # fmt: skip
    await vault.import_tokens("x", owner="ada", access_token="at", subject="s")
    found = await vault.admin.verify()
    assert found.opened == {"vault_key": 1, "canary": 1, "data_key": 1, "token": 1}
