"""C-02, C-23: what was once sealed opens forever, with this library and with forty lines of another language.

``golden/v1.json`` was made once by ``golden/make.py`` and is never made again; a later byte format adds ``v2.json``
beside it. ``golden/read.mjs`` reads the same file with Node's own crypto.
"""

from __future__ import annotations

import hashlib
import json
import runpy
import shutil
import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from socialvault.crypto.flows import FlowRecord, open_flow
from socialvault.crypto.keyring import Keyring
from socialvault.crypto.records import open_access, open_record
from socialvault.keys.local import LocalKeyring
from socialvault.model.keys import VaultRow, WrappedKey
from socialvault.model.secret import Secret
from socialvault.stores.memory import AsyncMemoryStore
from socialvault.vault.blocking import BlockingKeyService

GOLDEN = Path(__file__).parent / "golden"
V1 = GOLDEN / "v1.json"
#: Nobody may quietly make it again.
V1_SHA256 = "96bde236e418270219bde1ca65116439d014ab563bc515a1235948da416bbe6b"

Golden = dict[str, Any]


class MadeThen:
    """The clock of the day on which the file was made, so that no key is due for replacement."""

    def now_seconds(self) -> float:
        return 1_772_600_000.0


@pytest.fixture(scope="module", params=["v1", "made-now"])
def golden(request: pytest.FixtureRequest) -> Golden:
    """The committed file, and what its generator would write today."""
    if request.param == "v1":
        committed: Golden = json.loads(V1.read_text("utf-8"))
        return committed
    made: Golden = runpy.run_path(str(GOLDEN / "make.py"))["golden"]()
    return made


def row_of(golden_key: Golden) -> WrappedKey:
    return WrappedKey(**{**golden_key, "wrapped": bytes.fromhex(golden_key["wrapped"])})


async def keyring_of(golden: Golden) -> Keyring:
    """A keyring opened over a store that holds the golden rows, from the key that an operator would give it."""
    store = AsyncMemoryStore(clock=MadeThen())
    vault = VaultRow(bytes.fromhex(golden["vault_id"]), bytes.fromhex(golden["canary"]), 0.0)
    assert await store.create_vault(vault, row_of(golden["vault_key"]))
    for row in map(row_of, golden["data_keys"]):
        assert await store.add_key("data", row)
    text_of = runpy.run_path(str(GOLDEN / "make.py"))["text_of"]
    local = LocalKeyring([text_of(bytes.fromhex(golden["kek"]))])
    keyring = Keyring(store, BlockingKeyService(local), MadeThen())
    await keyring.open()
    return keyring


def moment(text: str | None) -> datetime | None:
    return None if text is None else datetime.fromisoformat(text)


def test_c_02_the_golden_file_is_the_one_that_was_released() -> None:
    assert hashlib.sha256(V1.read_bytes()).hexdigest() == V1_SHA256


async def test_c_02_golden_keys_open_from_the_operators_key_down(golden: Golden) -> None:
    keyring = await keyring_of(golden)
    assert keyring.vault_id.hex() == golden["vault_id"]
    for row in golden["data_keys"]:
        if row["state"] == "primary":
            sealer = await keyring.for_sealing(row["tenant"], row["owner"])
            assert sealer.key_id.hex() == row["key_id"]


async def test_c_02_golden_tokens_open(golden: Golden) -> None:
    keyring = await keyring_of(golden)
    for row in golden["tokens"]:
        envelope, holds = bytes.fromhex(row["envelope"]), row["holds"]
        place = (row["provider"], row["issuer"], row["connection_id"], row["generation"])
        sealer = await keyring.for_opening(envelope, row["tenant"], row["owner"])
        record = open_record(sealer, envelope, *place)
        assert record.token.access_token.reveal() == holds["access_token"]
        assert (record.token.refresh_token or Secret("")).reveal() == holds["refresh_token"]
        assert (record.token.id_token or Secret("")).reveal() == holds["id_token"]
        assert record.token.scopes == frozenset(holds["scopes"])
        for name in ("obtained_at", "expires_at", "refresh_expires_at", "data_access_expires_at"):
            assert getattr(record.token, name) == moment(holds[name])
        identity = record.identity
        shown = [identity.subject, identity.name, identity.username, identity.email, identity.picture_url]
        assert shown == holds["identity"]
        assert (record.due_at, list(record.requested)) == (moment(holds["due_at"]), holds["requested"])
        assert dict(record.token.extra) == holds["extra"]
        token, _ = open_access(sealer, envelope, *place)
        assert token.reveal() == holds["access_token"]


async def test_c_02_golden_flows_open(golden: Golden) -> None:
    keyring = await keyring_of(golden)
    for row in golden["flows"]:
        sealed = bytes.fromhex(row["sealed"])
        sealer = await keyring.for_flow(sealed, row["tenant"], row["owner"])
        flow = open_flow(sealer, sealed, row["provider"], hashlib.sha256(row["state"].encode()).digest())
        verifier, nonce, redirect_uri, scopes, connection_id, issuer, promised = row["holds"]
        assert flow == FlowRecord(
            Secret(verifier) if verifier else None,
            Secret(nonce) if nonce else None,
            redirect_uri,
            tuple(scopes),
            connection_id,
            issuer,
            issuer_promised=promised,
        )


# --- C-23 -----------------------------------------------------------------------------------------


def read_with_node(file: Path) -> subprocess.CompletedProcess[str]:
    node = shutil.which("node")
    if node is None:
        pytest.fail("node is not installed: the reader in another language (golden/read.mjs) could not be tried")
    return subprocess.run(
        [node, str(GOLDEN / "read.mjs"), str(file)],
        capture_output=True,
        text=True,
        encoding="utf-8",
        timeout=30,
        check=False,
    )


def microseconds(text: str | None) -> str | None:
    at = moment(text)
    return None if at is None else str((at - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1))


def test_c_23_a_reader_in_another_language_opens_the_golden_file(golden: Golden, tmp_path: Path) -> None:
    file = tmp_path / "golden.json"
    file.write_text(json.dumps(golden), "utf-8")
    done = read_with_node(file)
    assert done.returncode == 0, done.stderr
    read = json.loads(done.stdout)
    assert read["canary"] == "socialvault canary"
    for seen, row in zip(read["tokens"], golden["tokens"], strict=True):
        holds = row["holds"]
        assert seen["schema"] == 1
        assert [seen[name] for name in ("access_token", "refresh_token", "id_token")] == [
            holds["access_token"],
            holds["refresh_token"],
            holds["id_token"],
        ]
        assert seen["scopes"].split() == holds["scopes"]
        times = ("obtained_at", "due_at", "expires_at", "refresh_expires_at", "data_access_expires_at")
        assert seen["times"] == [microseconds(holds[name]) for name in times]
        names = ("sub", "name", "username", "email", "picture")
        assert [seen["rest"].get(name, "") for name in names] == holds["identity"]
        assert seen["rest"].get("requested", []) == holds["requested"]
        assert seen["rest"].get("extra", {}) == holds["extra"]
    assert read["flows"] == [row["holds"] for row in golden["flows"]]


@pytest.mark.parametrize("field", ["owner", "tenant", "provider", "connection_id", "generation", "envelope"])
def test_c_23_the_other_reader_refuses_what_was_moved_or_changed(field: str, tmp_path: Path) -> None:
    golden = json.loads(V1.read_text("utf-8"))
    row = golden["tokens"][0]
    row[field] = row[field] + (1 if field == "generation" else "00")
    file = tmp_path / "golden.json"
    file.write_text(json.dumps(golden), "utf-8")
    done = read_with_node(file)
    assert done.returncode != 0
    assert done.stdout == ""


def test_c_23_the_other_reader_stays_small() -> None:
    assert len((GOLDEN / "read.mjs").read_text("utf-8").splitlines()) <= 60
