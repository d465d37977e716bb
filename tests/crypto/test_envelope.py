"""The byte format: what it looks like, what it refuses, and how it names what is wrong."""

from __future__ import annotations

import pickle
from dataclasses import astuple, dataclass, replace
from itertools import combinations, pairwise
from random import Random
from typing import TYPE_CHECKING, Any, get_args

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from hypothesis import given, settings
from hypothesis import strategies as st
from support.envelopes import Binding, associated_data, key_id, open_bare
from support.frames import shows

from socialvault.crypto import envelope as format_v1
from socialvault.crypto.envelope import Purpose, Sealer, key_id_of, parse_key_id
from socialvault.exceptions import EncryptionError, KeyNotFoundError, MalformedEnvelopeError, TamperedError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

KEY = bytes(range(32))
OTHER_KEY = bytes(range(1, 33))
PLAIN = b"socialvault-canary-" + bytes(237)  # one bucket
PURPOSES: tuple[Purpose, ...] = get_args(Purpose)

#: Any str at all, half characters included.
any_text = st.text(st.characters(exclude_categories=()), max_size=20)


@dataclass(frozen=True)
class Place:
    """Everything a record is bound to."""

    vault_id: bytes = b"v" * 16
    purpose: Any = "token"
    tenant: str = "acme"
    owner: str = "user-42"
    provider: str = "google"
    issuer: str = "https://accounts.google.com"
    item: bytes = b"connection-1"
    generation: int = 7

    def sealer(self, key: bytes = KEY) -> Sealer:
        return Sealer(AESGCM(key), key_id_of(key), self.vault_id, self.purpose, self.tenant, self.owner)

    def seal(self, plain: bytes = PLAIN) -> bytes:
        return self.sealer().seal(plain, self.provider, self.issuer, self.item, self.generation)

    def open(self, sealed: bytes, key: bytes = KEY) -> bytes:
        return self.sealer(key).open(sealed, self.provider, self.issuer, self.item, self.generation)


HERE = Place()


class Idle:
    """A cipher that must not be reached."""

    def __getattr__(self, name: str) -> Callable[..., bytes]:
        def reached(*_: object) -> bytes:
            raise AssertionError("bytes of an unknown format were processed")

        return reached


# --- the layout -----------------------------------------------------------------------------------


def test_the_header_names_version_suite_and_key() -> None:
    sealed = HERE.seal()
    assert sealed[:4] == b"SV\x01\x01"
    assert sealed[4:36] == parse_key_id(sealed) == key_id_of(KEY) == key_id(KEY)
    assert len(sealed) == len(PLAIN) + 64 == len(PLAIN) + format_v1.OVERHEAD_BYTES


@given(
    plain=st.binary(max_size=300),
    vault_id=st.binary(min_size=16, max_size=16),
    purpose=st.sampled_from(PURPOSES),
    texts=st.tuples(any_text, any_text, any_text, any_text),
    item=st.binary(max_size=40),
    generation=st.integers(0, 2**64 - 1),
)
@settings(deadline=None, max_examples=100)
def test_c_09_bare_aes_gcm_opens_it_with_the_documented_associated_data(
    plain: bytes, vault_id: bytes, purpose: Purpose, texts: tuple[str, str, str, str], item: bytes, generation: int
) -> None:
    tenant, owner, provider, issuer = texts
    sealer = Sealer(AESGCM(KEY), key_id_of(KEY), vault_id, purpose, tenant, owner)
    sealed = sealer.seal(plain, provider, issuer, item, generation)
    binding = Binding(vault_id, purpose, tenant, owner, provider, issuer, item, generation)
    assert open_bare(KEY, sealed, binding) == plain == sealer.open(sealed, provider, issuer, item, generation)


@pytest.mark.parametrize("generation", [0, 1, 4095, 4096, 2**31, 2**63 - 1, 2**64 - 1])
def test_a_generation_is_eight_bytes_wherever_it_lies(generation: int) -> None:
    sealed = replace(HERE, generation=generation).seal()
    binding = Binding(*astuple(replace(HERE, generation=generation)))
    assert open_bare(KEY, sealed, binding) == PLAIN


@pytest.mark.parametrize("size", [0, 1, 2**10, 2**16 + 1, 2**20])
def test_c_09_any_size_round_trips(size: int) -> None:
    plain = Random(size).randbytes(size)
    assert HERE.open(HERE.seal(plain)) == plain


@given(st.integers(0, 2**20), st.integers(0, 2**32))
@settings(deadline=None, max_examples=25)
def test_c_09_any_plaintext_up_to_a_mebibyte_round_trips(size: int, seed: int) -> None:
    plain = Random(seed).randbytes(size)
    sealed = HERE.seal(plain)
    assert len(sealed) == size + 64
    assert HERE.open(sealed) == plain


def test_more_providers_than_are_remembered_seal_and_open_as_well() -> None:
    sealer = HERE.sealer()
    names = [f"provider-{n}" for n in range(format_v1._KEPT_BINDINGS + 20)]
    sealed = [sealer.seal(PLAIN, name, "", b"item", 0) for name in names]
    assert [sealer.open(one, name, "", b"item", 0) for one, name in zip(sealed, names, strict=True)] == [PLAIN] * 84
    assert len(sealer._bound) == format_v1._KEPT_BINDINGS
    with pytest.raises(TamperedError):
        sealer.open(sealed[-1], names[-2], "", b"item", 0)


# --- C-03, C-04: changed bytes --------------------------------------------------------------------


def refusal(attempt: Callable[[], bytes]) -> type[BaseException]:
    try:
        opened = attempt()
    except EncryptionError as problem:
        return type(problem)
    pytest.fail(f"it opened: {opened[:20]!r}")


def test_c_03_no_single_bit_can_be_flipped() -> None:
    sealed, sealer = HERE.seal(), HERE.sealer()
    for position in range(len(sealed) * 8):
        changed = bytearray(sealed)
        changed[position // 8] ^= 1 << position % 8
        seen = refusal(lambda: sealer.open(bytes(changed), HERE.provider, HERE.issuer, HERE.item, 7))  # noqa: B023
        expected = (
            MalformedEnvelopeError if position < 4 * 8 else KeyNotFoundError if position < 36 * 8 else TamperedError
        )
        assert seen is expected, f"bit {position}"


def variations_of(sealed: bytes) -> Iterator[bytes]:
    """Cut off, left out, put in and doubled at every offset."""
    for offset in range(len(sealed)):
        yield sealed[:offset]
        yield sealed[offset + 1 :]
        yield sealed[:offset] + sealed[offset + 1 :]
        yield sealed[:offset] + b"\0" + sealed[offset:]
        yield sealed[:offset] + sealed[offset:] * 2
    yield from (sealed + bytes(n) for n in (1, 15, 16, 256))


def test_c_04_no_offset_can_be_cut_or_extended() -> None:
    sealed, sealer = HERE.seal(), HERE.sealer()
    whole = []
    for changed in variations_of(sealed):
        if changed == sealed:
            whole.append(changed)
            continue
        seen = refusal(lambda: sealer.open(changed, HERE.provider, HERE.issuer, HERE.item, 7))  # noqa: B023
        assert seen in (MalformedEnvelopeError, KeyNotFoundError, TamperedError)
        if len(changed) < 64:
            assert seen is MalformedEnvelopeError
    assert whole == []


# --- C-05: moved records --------------------------------------------------------------------------

STRANGE: dict[str, object] = {
    "vault_id": b"w" * 16,
    "purpose": "escrow",
    "tenant": "rival",
    "owner": "user-43",
    "provider": "x",
    "issuer": "https://accounts.google.co",
    "item": b"connection-2",
    "generation": 8,
}
TEXTS = ("tenant", "owner", "provider", "issuer")


@pytest.mark.parametrize("field", STRANGE)
def test_c_05_every_bound_field_counts(field: str) -> None:
    with pytest.raises(TamperedError):
        replace(HERE, **{field: STRANGE[field]}).open(HERE.seal())


@pytest.mark.parametrize(("one", "other"), list(combinations(STRANGE, 2)), ids="-".join)
def test_c_05_two_fields_cannot_be_exchanged_against_another_place(one: str, other: str) -> None:
    there = replace(HERE, **{one: STRANGE[one], other: STRANGE[other]})
    assert there.open(there.seal()) == PLAIN
    with pytest.raises(TamperedError):
        there.open(HERE.seal())
    with pytest.raises(TamperedError):
        replace(there, **{one: getattr(HERE, one)}).open(HERE.seal())


@pytest.mark.parametrize(("one", "other"), list(combinations(TEXTS, 2)), ids="-".join)
def test_c_05_the_values_of_two_fields_cannot_change_places(one: str, other: str) -> None:
    swapped = replace(HERE, **{one: getattr(HERE, other), other: getattr(HERE, one)})
    with pytest.raises(TamperedError):
        swapped.open(HERE.seal())


@pytest.mark.parametrize(("one", "other"), list(combinations(PURPOSES, 2)), ids="-as-".join)
def test_c_05_a_blob_of_one_purpose_never_passes_for_another(one: Purpose, other: Purpose) -> None:
    with pytest.raises(TamperedError):
        replace(HERE, purpose=other).open(replace(HERE, purpose=one).seal())


AMBIGUOUS: list[tuple[dict[str, str], dict[str, str]]] = [
    ({"owner": "t1", "provider": "google"}, {"owner": "t1g", "provider": "oogle"}),
    ({"tenant": "t1", "owner": "google"}, {"tenant": "t1g", "owner": "oogle"}),
    ({"tenant": "ab", "owner": ""}, {"tenant": "", "owner": "ab"}),
    ({"tenant": "a", "owner": "b"}, {"tenant": "", "owner": "ab"}),
    ({"tenant": "a\0b", "owner": ""}, {"tenant": "a", "owner": "b"}),
    ({"tenant": "a|b", "owner": "c"}, {"tenant": "a", "owner": "b|c"}),
    ({"tenant": "", "owner": "\0\0\0\1a"}, {"tenant": "\0\0\0\1a", "owner": ""}),
    ({"owner": "zoe\u0301"}, {"owner": "zo\u00e9"}),  # two spellings of one name are two owners
    ({"owner": "Ada"}, {"owner": "ada"}),
    ({"owner": "ada"}, {"owner": "ada "}),
    ({"owner": "\ud83d"}, {"owner": "\udc4d"}),
    ({"owner": "\ud800"}, {"owner": "\ufffd"}),
    ({"owner": "\ud800"}, {"owner": "?"}),
]


@pytest.mark.parametrize(("one", "other"), AMBIGUOUS)
def test_c_05_nothing_is_ambiguous_at_the_boundaries(one: dict[str, Any], other: dict[str, Any]) -> None:
    here, there = replace(HERE, **one), replace(HERE, **other)
    assert here.open(here.seal()) == there.open(there.seal()) == PLAIN
    with pytest.raises(TamperedError):
        there.open(here.seal())
    with pytest.raises(TamperedError):
        here.open(there.seal())


@pytest.mark.parametrize(("left", "right"), list(pairwise(TEXTS)), ids="-".join)
def test_c_05_a_boundary_cannot_move_to_any_other_character(left: str, right: str) -> None:
    joined = getattr(HERE, left) + getattr(HERE, right)
    sealed = HERE.seal()
    for cut in range(len(joined) + 1):
        moved = replace(HERE, **{left: joined[:cut], right: joined[cut:]})
        if moved != HERE:
            with pytest.raises(TamperedError):
                moved.open(sealed)


def test_c_05_the_boundary_between_issuer_and_item_cannot_move_either() -> None:
    with pytest.raises(TamperedError):
        replace(HERE, issuer=HERE.issuer + "c", item=HERE.item[1:]).open(HERE.seal())


@given(any_text, any_text, any_text, any_text)
@settings(deadline=None, max_examples=100)
def test_c_05_any_two_owners_of_any_two_tenants_are_told_apart(
    tenant: str, owner: str, other_tenant: str, other_owner: str
) -> None:
    here, there = replace(HERE, tenant=tenant, owner=owner), replace(HERE, tenant=other_tenant, owner=other_owner)
    sealed = here.seal()
    assert here.open(sealed) == PLAIN
    if here != there:
        with pytest.raises(TamperedError):
            there.open(sealed)


@pytest.mark.parametrize("damaged", [-1, -(2**63), 2**64 + 7])
def test_c_05_a_damaged_generation_is_refused_like_any_other_wrong_one(damaged: int) -> None:
    top = replace(HERE, generation=4095)
    with pytest.raises(TamperedError):
        replace(HERE, generation=damaged).open(top.seal())


# --- C-07, C-08: named, not guessed ---------------------------------------------------------------


def test_c_07_another_key_is_named_as_such() -> None:
    with pytest.raises(KeyNotFoundError) as caught:
        HERE.open(HERE.seal(), OTHER_KEY)
    assert caught.value.action == "fix_configuration"


@pytest.mark.parametrize(
    "sealed",
    [
        b"",
        b"S",
        b"SV",
        b"SV\x01\x01",
        b"SV\x00\x01" + bytes(200),
        b"SV\x02\x01" + bytes(200),
        b"SV\x01\x00" + bytes(200),
        b"SV\x01\x02" + bytes(200),
        b"sv\x01\x01" + bytes(200),
        b"gAAAAABm" + bytes(200),
        b'{"access_token": "x"}' + b" " * 200,
        b"\x00" * 200,
    ],
)
def test_c_08_an_unknown_version_or_suite_is_refused_before_any_byte_is_processed(sealed: bytes) -> None:
    cipher: Any = Idle()
    sealer = Sealer(cipher, key_id_of(KEY), HERE.vault_id, "token", HERE.tenant, HERE.owner)
    with pytest.raises(MalformedEnvelopeError):
        sealer.open(sealed, HERE.provider, HERE.issuer, HERE.item, 7)
    with pytest.raises(MalformedEnvelopeError):
        parse_key_id(sealed)


def test_c_08_a_right_header_on_too_few_bytes_is_no_envelope() -> None:
    cipher: Any = Idle()
    sealer = Sealer(cipher, key_id_of(KEY), HERE.vault_id, "token", HERE.tenant, HERE.owner)
    for size in range(36, 64):
        with pytest.raises(MalformedEnvelopeError):
            sealer.open(HERE.seal()[:size], HERE.provider, HERE.issuer, HERE.item, 7)


# --- C-11 and silence -----------------------------------------------------------------------------


def test_c_11_the_same_plaintext_twice_gives_unrelated_bytes() -> None:
    one, other = HERE.seal()[36:], HERE.seal()[36:]
    differing = (int.from_bytes(one, "big") ^ int.from_bytes(other, "big")).bit_count()
    assert 0.4 < differing / (len(one) * 8) < 0.6


def test_a_sealer_shows_its_key_id_and_nothing_else() -> None:
    sealer = HERE.sealer()
    assert repr(sealer) == f"Sealer(key_id={key_id(KEY).hex()[:12]})"
    with pytest.raises(TypeError):
        pickle.dumps(sealer)


def test_l_05_a_refused_record_tells_an_error_tracker_no_key_and_no_plaintext() -> None:
    with pytest.raises(TamperedError) as caught:
        replace(HERE, owner="thief").open(HERE.seal())
    problem = caught.value
    assert problem.__context__ is None
    assert problem.__cause__ is None
    assert shows(problem, b"v" * 16)  # the vault id is in the associated data: this way of looking does see locals
    assert not shows(problem, KEY)
    assert not shows(problem, PLAIN[:19])


def test_the_independent_reading_is_not_the_library_in_disguise() -> None:
    binding = Binding(*astuple(HERE))
    header = b"SV\x01\x01" + key_id(KEY)
    ours = HERE.sealer()._bind(HERE.provider, HERE.issuer, HERE.item, 7)
    assert associated_data(header, binding) == ours
