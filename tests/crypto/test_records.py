"""What a sealed record holds comes back whole, pads its length and shows nothing."""

from __future__ import annotations

import struct
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from hypothesis import given, settings
from hypothesis import strategies as st
from support.envelopes import Binding, open_bare
from support.frames import shows

from socialvault.crypto.envelope import Sealer, key_id_of
from socialvault.crypto.flows import FlowRecord, open_flow, seal_flow
from socialvault.crypto.records import (
    TokenRecord,
    from_us,
    open_access,
    open_record,
    pack_token,
    pad,
    seal_record,
    to_us,
)
from socialvault.exceptions import EncryptionError, MalformedEnvelopeError, TamperedError
from socialvault.model.identity import Identity
from socialvault.model.secret import Secret
from socialvault.model.token import TokenSet

if TYPE_CHECKING:
    from collections.abc import Callable

KEY = bytes(range(32))
VAULT_ID = b"v" * 16
OBTAINED = datetime(2026, 3, 4, 5, 6, 7, 891011, UTC)
BARE = TokenRecord(TokenSet(Secret("access-1"), OBTAINED, scopes=frozenset()), None, Identity(""))
FULL = TokenRecord(
    TokenSet(
        access_token=Secret("canary-access-7f3a"),
        obtained_at=OBTAINED,
        refresh_token=Secret("canary-refresh-91bc"),
        id_token=Secret("canary-id-token-55de"),
        scopes=frozenset({"tweet.read", "users.read"}),
        expires_at=OBTAINED + timedelta(hours=2),
        refresh_expires_at=OBTAINED + timedelta(days=180),
        data_access_expires_at=OBTAINED + timedelta(days=90),
        extra={"app_scoped_id": "17841400000000000", "note": "zoë 🦊"},
    ),
    due_at=OBTAINED + timedelta(minutes=110),
    identity=Identity("1234", "Zoë \ud800", "zoe", "zoe@example.org", "https://example.org/zoe.png"),
    requested=("tweet.read", "users.read", "offline.access"),
)

any_text = st.text(st.characters(exclude_categories=()), max_size=30)
tokens = st.text(min_size=1, max_size=400)
scopes = st.frozensets(st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), min_size=1, max_size=20))
moments = st.datetimes(datetime(1, 1, 1), datetime(9999, 12, 31), timezones=st.just(UTC))  # noqa: DTZ001


@st.composite
def token_records(draw: st.DrawFn) -> TokenRecord:
    maybe = st.none() | moments
    return TokenRecord(
        token=TokenSet(
            access_token=Secret(draw(tokens)),
            obtained_at=draw(moments),
            refresh_token=draw(st.none() | tokens.map(Secret)),
            id_token=draw(st.none() | tokens.map(Secret)),
            scopes=draw(scopes),
            expires_at=draw(maybe),
            refresh_expires_at=draw(maybe),
            data_access_expires_at=draw(maybe),
            extra=draw(st.dictionaries(any_text, any_text, max_size=4)),
        ),
        due_at=draw(maybe),
        identity=Identity(*draw(st.tuples(any_text, any_text, any_text, any_text, any_text))),
        requested=tuple(draw(st.lists(any_text, max_size=4))),
    )


def sealer(tenant: str = "acme", owner: str = "user-42", purpose: Any = "token") -> Sealer:
    return Sealer(AESGCM(KEY), key_id_of(KEY), VAULT_ID, purpose, tenant, owner)


def seal(record: TokenRecord, generation: int = 3) -> bytes:
    return seal_record(sealer(), record, "x", "https://x.com", "connection-1", generation)


def reopen(sealed: bytes) -> TokenRecord:
    return open_record(sealer(), sealed, "x", "https://x.com", "connection-1", 3)


# --- round trips ----------------------------------------------------------------------------------


@pytest.mark.parametrize("record", [BARE, FULL], ids=["bare", "full"])
def test_c_09_a_record_comes_back_as_it_was(record: TokenRecord) -> None:
    assert reopen(seal(record)) == record


@given(token_records(), any_text, any_text, any_text, any_text, st.integers(0, 2**63 - 1))
@settings(deadline=None, max_examples=100)
def test_c_09_any_record_of_any_owner_round_trips(
    record: TokenRecord, tenant: str, owner: str, provider: str, issuer: str, generation: int
) -> None:
    one = sealer(tenant, owner)
    sealed = seal_record(one, record, provider, issuer, "connection", generation)
    assert open_record(sealer(tenant, owner), sealed, provider, issuer, "connection", generation) == record
    token, due_us = open_access(one, sealed, provider, issuer, "connection", generation)
    assert token.reveal() == record.token.access_token.reveal()
    assert (token.scopes, token.expires_at) == (record.token.scopes, record.token.expires_at)
    assert due_us == (2**63 - 1 if record.due_at is None else to_us(record.due_at))


def test_the_quick_reading_says_what_a_caller_of_token_needs() -> None:
    token, due_us = open_access(sealer(), seal(FULL), "x", "https://x.com", "connection-1", 3)
    assert token.reveal() == "canary-access-7f3a"
    assert token.scopes == {"tweet.read", "users.read"}
    assert token.expires_at == FULL.token.expires_at
    assert (token.connection_id, token.provider, token.generation) == ("connection-1", "x", 3)
    assert from_us(due_us) == FULL.due_at


def test_the_quick_reading_of_a_token_without_deadlines() -> None:
    token, due_us = open_access(sealer(), seal(BARE), "x", "https://x.com", "connection-1", 3)
    assert token.expires_at is None
    assert due_us == 2**63 - 1
    assert token.scopes == frozenset()


def test_unknown_scopes_come_back_as_none_granted() -> None:
    record = TokenRecord(TokenSet(Secret("a"), OBTAINED, scopes=None), None, Identity(""))
    assert reopen(seal(record)).token.scopes == frozenset()


@given(moments)
def test_times_are_kept_to_the_microsecond(moment: datetime) -> None:
    assert from_us(to_us(moment)) == moment


def test_an_unknown_time_stays_unknown() -> None:
    assert from_us(to_us(None)) is None


def test_a_record_is_laid_out_as_documented() -> None:
    plain = open_bare(
        KEY, seal(FULL), Binding(VAULT_ID, "token", "acme", "user-42", "x", "https://x.com", b"connection-1", 3)
    )
    schema, obtained, due, expires, refresh_expires, data_access = struct.unpack_from(">Bxxxqqqqq", plain)
    lengths = struct.unpack_from(">IIIII", plain, 44)
    assert schema == 1
    assert obtained == int(OBTAINED.timestamp()) * 1_000_000 + 891011
    assert [due - obtained, expires - obtained] == [6600 * 1_000_000, 7200 * 1_000_000]
    assert [refresh_expires - obtained, data_access - obtained] == [180 * 86400 * 10**6, 90 * 86400 * 10**6]
    parts, start = [], 64
    for length in lengths:
        parts.append(plain[start : start + length])
        start += length
    assert parts[:4] == [
        b"canary-access-7f3a",
        b"tweet.read users.read",
        b"canary-refresh-91bc",
        b"canary-id-token-55de",
    ]
    assert parts[4].startswith(b'{"sub":"1234"')
    assert not plain[start:].strip(b"\0")
    assert len(plain) % 256 == 0


# --- padding --------------------------------------------------------------------------------------


def test_c_12_tokens_of_100_and_200_bytes_are_sealed_to_the_same_length() -> None:
    def record(access_bytes: int) -> TokenRecord:
        scopes = frozenset({"tweet.read", "users.read", "offline.access"})
        token = TokenSet(Secret("a" * access_bytes), OBTAINED, Secret("r" * 91), scopes=scopes)
        return TokenRecord(token, OBTAINED, Identity("2244994945", "Ada Lovelace", "ada"), tuple(scopes))

    assert len(seal(record(100))) == len(seal(record(200)))


@given(st.binary(max_size=1100))
def test_c_12_lengths_are_multiples_of_a_bucket_and_never_a_whole_bucket_too_long(packed: bytes) -> None:
    padded = pad(packed)
    assert len(padded) % 256 == 0
    assert len(padded) - len(packed) < 256
    assert padded[: len(packed)] == packed
    assert not padded[len(packed) :].strip(b"\0")


def test_c_12_a_record_that_fills_its_bucket_is_not_padded() -> None:
    assert len(pack_token(b"a" * 192, b"", b"", b"", b"", 0, 0, 0, 0, 0)) == 256
    assert len(pack_token(b"a" * 193, b"", b"", b"", b"", 0, 0, 0, 0, 0)) == 512


# --- refusals -------------------------------------------------------------------------------------

OPENERS: list[Callable[..., object]] = [open_record, open_access]


@pytest.mark.parametrize("opener", OPENERS)
@pytest.mark.parametrize(
    "place",
    [
        ("google", "https://x.com", "connection-1", 3),
        ("x", "", "connection-1", 3),
        ("x", "https://x.com", "connection-2", 3),
        ("x", "https://x.com", "connection-1", 4),
        ("x", "https://x.com", "connection-1", 2),
    ],
    ids=["provider", "issuer", "connection", "newer", "older"],
)
def test_c_05_a_record_opens_only_at_its_place(opener: Callable[..., object], place: tuple[Any, ...]) -> None:
    with pytest.raises(TamperedError):
        opener(sealer(), seal(FULL), *place)


@pytest.mark.parametrize("opener", OPENERS)
def test_a_newer_schema_fails_closed_and_shows_nothing(opener: Callable[..., object]) -> None:
    packed = bytearray(pack_token(b"canary-access-7f3a", b"", b"canary-refresh-91bc", b"", b"", 0, 0, 0, 0, 0))
    packed[0] = 2
    sealed = sealer().seal(bytes(packed), "x", "", b"connection-1", 0)
    with pytest.raises(MalformedEnvelopeError, match="newer") as caught:
        opener(sealer(), sealed, "x", "", "connection-1", 0)
    assert not shows(caught.value, b"canary-access-7f3a")
    assert not shows(caught.value, b"canary-refresh-91bc")


# --- pending flows --------------------------------------------------------------------------------

FLOW = FlowRecord(
    verifier=Secret("canary-verifier-1234"),
    nonce=Secret("canary-nonce-5678"),
    redirect_uri="https://app.example/cb",
    scopes=("openid", "email"),
    connection_id="connection-1",
    issuer="https://accounts.google.com",
    issuer_promised=True,
)
EMPTY_FLOW = FlowRecord(None, None, "", (), "", "", issuer_promised=False)


@pytest.mark.parametrize("flow", [FLOW, EMPTY_FLOW], ids=["full", "empty"])
def test_c_09_a_flow_comes_back_as_it_was(flow: FlowRecord) -> None:
    one = sealer(purpose="state")
    assert open_flow(one, seal_flow(one, flow, "google", b"h" * 32), "google", b"h" * 32) == flow


@given(
    st.builds(
        FlowRecord,
        verifier=st.none() | tokens.map(Secret),
        nonce=st.none() | tokens.map(Secret),
        redirect_uri=any_text,
        scopes=st.lists(any_text, max_size=4).map(tuple),
        connection_id=any_text,
        issuer=any_text,
        issuer_promised=st.booleans(),
    )
)
@settings(deadline=None, max_examples=50)
def test_c_09_any_flow_round_trips(flow: FlowRecord) -> None:
    one = sealer(purpose="state")
    sealed = seal_flow(one, flow, "google", b"h" * 32)
    assert (len(sealed) - 64) % 256 == 0
    assert open_flow(one, sealed, "google", b"h" * 32) == flow


def test_c_05_a_flow_opens_under_its_own_state_and_provider_only() -> None:
    one = sealer(purpose="state")
    sealed = seal_flow(one, FLOW, "google", b"h" * 32)
    for provider, state_hash in (("x", b"h" * 32), ("google", b"i" * 32)):
        with pytest.raises(TamperedError):
            open_flow(one, sealed, provider, state_hash)
    for other in (sealer("acme", "user-43", "state"), sealer("rival", "user-42", "state"), sealer()):
        with pytest.raises(TamperedError):
            open_flow(other, sealed, "google", b"h" * 32)


def test_l_01_records_show_no_secret() -> None:
    for record in (FULL, FLOW):
        assert "canary" not in f"{record!r}{record!s}{record}"


@pytest.mark.parametrize("sealed", [b"", b"x" * 400, seal(FULL)[:-1]])
def test_whatever_is_wrong_is_an_encryption_error(sealed: bytes) -> None:
    for opener in OPENERS:
        with pytest.raises(EncryptionError):
            opener(sealer(), sealed, "x", "https://x.com", "connection-1", 3)
