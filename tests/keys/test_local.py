"""``LocalKeyring``: where keys come from, which are refused, and that none is ever shown."""

from __future__ import annotations

import base64
import copy
import pickle
import re
import stat
from typing import TYPE_CHECKING, Any
from zlib import crc32

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from support.envelopes import Binding, key_id, open_bare
from support.frames import shows

from socialvault.exceptions import ConfigurationError, KeyNotFoundError, MalformedEnvelopeError, TamperedError
from socialvault.keys.local import LocalKeyring
from socialvault.model.keys import KeyContext
from socialvault.model.secret import Secret

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

RAW = bytes(range(32))
VAULT_KEY = bytes(range(32, 64))
CONTEXT = KeyContext(b"v" * 16, "vault-key", "", key_id(VAULT_KEY).hex())


def text_of(raw: bytes, checksum: int | None = None) -> str:
    """A key as operators write it, built here from the documentation."""
    check = (crc32(raw) if checksum is None else checksum).to_bytes(4, "big")
    return "svk1_" + base64.urlsafe_b64encode(raw + check).decode()


KEY = text_of(RAW)
OTHER = text_of(bytes(range(64, 96)))

#: What is wrong with it -> the text of a bad key, and what the message must say.
BAD: dict[str, tuple[str, str]] = {
    "empty": ("", "malformed"),
    "one character short": (KEY[:-1], "malformed"),
    "one character long": (KEY + "A", "malformed"),
    "31 bytes": (text_of(RAW[:31]), "malformed"),
    "33 bytes": (text_of(bytes(range(33))), "malformed"),
    "a passphrase": ("correct horse battery staple", "malformed"),
    "bare base64": (KEY[5:], "malformed"),
    "another prefix": ("svk2_" + KEY[5:], "malformed"),
    "upper case prefix": (KEY.upper(), "malformed"),
    "padding": (KEY[:-1] + "=", "malformed"),
    "plain base64 alphabet": (KEY[:-2] + "+/", "malformed"),
    "quoted": (f'"{KEY}"', "malformed"),
    "a line feed at the end": (KEY + "\n", "malformed"),
    "a null at the end": (KEY[:-1] + "\0", "malformed"),
    "non-ASCII digits": (KEY[:-2] + "\u0661\u0662", "malformed"),
    "non-ASCII letters": (KEY[:-1] + "\u00e9", "malformed"),
    "half a character": (KEY[:-1] + "\ud800", "malformed"),
    "one character mistyped": (KEY[:20] + ("x" if KEY[20] != "x" else "y") + KEY[21:], "checksum"),
    "two characters swapped": (KEY[:10] + KEY[11] + KEY[10] + KEY[12:], "checksum"),
    "a wrong checksum": (text_of(RAW, checksum=0), "checksum"),
    "all zero": (text_of(bytes(32)), "not random"),
    "15 distinct bytes": (text_of((bytes(range(15)) * 3)[:32]), "not random"),
    "text for bytes": (text_of(b"passwordpasswordpasswordpassword"), "not random"),
}
#: The ones that a line of a file, or a variable, can hold.
BAD_LINES = {name: (bad, says) for name, (bad, says) in BAD.items() if bad.isascii() and bad.isprintable() and bad}
bad_keys = pytest.mark.parametrize(("bad", "says"), BAD.values(), ids=BAD)
bad_lines = pytest.mark.parametrize(("bad", "says"), BAD_LINES.values(), ids=BAD_LINES)


def refused(build: Callable[[], LocalKeyring], *secrets: str) -> ConfigurationError:
    """Return the error of a refused keyring, after looking for the keys in all that it shows."""
    with pytest.raises(ConfigurationError) as caught:
        build()
    problem = caught.value
    assert problem.__context__ is None
    assert problem.__cause__ is None
    for secret in secrets:
        if len(secret) > 12:
            assert secret.strip() not in f"{problem} {problem!r} {problem.args}"
            assert secret[5:25] not in f"{problem} {problem!r} {problem.args}"
            assert not shows(problem, secret.encode("utf-8", "surrogatepass"))
    return problem


# --- keys -----------------------------------------------------------------------------------------


def test_a_key_is_32_bytes_and_their_checksum_named_by_what_commits_to_them() -> None:
    keyring = LocalKeyring([KEY])
    assert keyring.primary_id == key_id(RAW).hex()
    assert keyring.key_ids == (keyring.primary_id,)


def test_generated_keys_are_well_formed_and_differ() -> None:
    keys = {LocalKeyring.generate() for _ in range(50)}
    assert len(keys) == 50
    assert all(re.fullmatch(r"svk1_[A-Za-z0-9_-]{48}", key) for key in keys)
    assert len(LocalKeyring(sorted(keys)).key_ids) == 50


def test_the_first_key_is_the_primary_and_repetitions_count_once() -> None:
    keyring = LocalKeyring([OTHER, KEY, OTHER])
    assert keyring.key_ids == (LocalKeyring([OTHER]).primary_id, LocalKeyring([KEY]).primary_id)
    assert keyring.primary_id == keyring.key_ids[0]


def test_keys_may_come_as_secrets_and_from_any_iterable() -> None:
    assert LocalKeyring(Secret(key) for key in (KEY, OTHER)).key_ids == LocalKeyring((KEY, OTHER)).key_ids


def test_16_distinct_bytes_are_enough() -> None:
    assert LocalKeyring([text_of(bytes(range(16)) * 2)]).key_ids


@bad_keys
def test_a_bad_key_is_refused_by_its_position_and_not_by_its_value(bad: str, says: str) -> None:
    problem = refused(lambda: LocalKeyring([KEY, bad]), KEY, bad)
    assert "key 2" in str(problem)
    assert says in str(problem)
    refused(lambda: LocalKeyring([Secret(bad)]), bad)


@pytest.mark.parametrize("keys", [[], (), "", iter(())])
def test_no_key_is_refused(keys: Any) -> None:
    assert "socialvault keygen" in str(refused(lambda: LocalKeyring(keys)))


@pytest.mark.parametrize("key", [None, 7, KEY.encode(), Secret(KEY.encode())])
def test_what_is_no_text_is_refused(key: Any) -> None:
    assert "key 1 is malformed" in str(refused(lambda: LocalKeyring([key]), KEY))


# --- the environment ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [f"{KEY} {OTHER}", f"{KEY},{OTHER}", f"  {KEY} ,\t{OTHER}\n", f"{KEY}\r\n{OTHER}\r\n"],
    ids=["space", "comma", "padded", "lines"],
)
def test_several_keys_come_from_one_variable(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setenv("SOCIALVAULT_KEYS", text)
    assert LocalKeyring.from_env().key_ids == LocalKeyring([KEY, OTHER]).key_ids


def test_the_variable_may_have_another_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_KEYS", KEY)
    assert LocalKeyring.from_env("MY_KEYS").primary_id == key_id(RAW).hex()


@pytest.mark.parametrize("text", [None, "", "   ", "\n"])
def test_a_missing_or_empty_variable_is_named(monkeypatch: pytest.MonkeyPatch, text: str | None) -> None:
    monkeypatch.delenv("MY_KEYS", raising=False)
    if text is not None:
        monkeypatch.setenv("MY_KEYS", text)
    assert "MY_KEYS" in str(refused(lambda: LocalKeyring.from_env("MY_KEYS")))


@bad_lines
def test_a_bad_key_in_a_variable_is_refused_and_not_shown(monkeypatch: pytest.MonkeyPatch, bad: str, says: str) -> None:
    monkeypatch.setenv("MY_KEYS", f"{KEY},{bad}")
    problem = refused(lambda: LocalKeyring.from_env("MY_KEYS"), KEY, bad)
    assert "MY_KEYS" in str(problem)
    assert "key 2" in str(problem)
    assert says in str(problem)


# --- files ----------------------------------------------------------------------------------------


@pytest.fixture
def key_file(tmp_path: Path) -> Callable[..., Path]:
    def write(content: str | bytes, mode: int = 0o600) -> Path:
        file = tmp_path / "keys"
        file.write_bytes(content.encode() if isinstance(content, str) else content)
        file.chmod(mode)
        return file

    return write


def test_keys_come_from_a_file_one_a_line_with_comments(key_file: Callable[..., Path]) -> None:
    file = key_file(f"# made in March\n{OTHER}\n\n   # older:\n  {KEY}  \r\n#{KEY}\n")
    keyring = LocalKeyring.from_file(file)
    assert keyring.key_ids == LocalKeyring([OTHER, KEY]).key_ids
    assert LocalKeyring.from_file(str(file)).key_ids == keyring.key_ids


@pytest.mark.parametrize("mode", [0o600, 0o400, 0o700])
def test_a_file_that_is_the_owners_alone_is_read(key_file: Callable[..., Path], mode: int) -> None:
    assert LocalKeyring.from_file(key_file(KEY, mode)).key_ids


@pytest.mark.parametrize("mode", [0o601, 0o602, 0o604, 0o610, 0o620, 0o640, 0o644, 0o660, 0o666, 0o777])
def test_l_14_a_file_that_is_open_to_others_is_refused(key_file: Callable[..., Path], mode: int) -> None:
    file = key_file(KEY, mode)
    assert stat.S_IMODE(file.stat().st_mode) == mode
    problem = refused(lambda: LocalKeyring.from_file(file), KEY)
    assert f"chmod 600 {file}" in str(problem)


@pytest.mark.parametrize("content", ["", "\n\n", "# nothing here\n"])
def test_a_file_without_keys_is_refused(key_file: Callable[..., Path], content: str) -> None:
    file = key_file(content)
    problem = refused(lambda: LocalKeyring.from_file(file))
    assert str(file) in str(problem)
    assert "holds no key" in str(problem)


@pytest.mark.parametrize("content", [KEY.encode() + b"\n\xff\xfe", KEY.encode("utf-16"), f"{KEY}\n# é\n".encode()])
def test_a_file_that_is_not_ascii_is_refused_and_not_shown(key_file: Callable[..., Path], content: bytes) -> None:
    file = key_file(content)
    assert "can't be read as text" in str(refused(lambda: LocalKeyring.from_file(file), KEY))


def test_a_missing_file_and_a_directory_are_named(tmp_path: Path) -> None:
    for path in (tmp_path / "missing", tmp_path):
        assert str(path) in str(refused(lambda: LocalKeyring.from_file(path)))  # noqa: B023


@bad_lines
def test_a_bad_key_in_a_file_is_refused_and_not_shown(key_file: Callable[..., Path], bad: str, says: str) -> None:
    file = key_file(f"{KEY}\n{bad}\n")
    problem = refused(lambda: LocalKeyring.from_file(file), KEY, bad)
    assert str(file) in str(problem)
    assert "key 2" in str(problem)
    assert says in str(problem)


# --- wrapping -------------------------------------------------------------------------------------


def test_what_it_wraps_is_an_envelope_under_the_primary() -> None:
    wrapped = LocalKeyring([KEY, OTHER]).wrap(VAULT_KEY, CONTEXT)
    binding = Binding(CONTEXT.vault_id, "vault-key", "", item=CONTEXT.key_id.encode())
    assert open_bare(RAW, wrapped, binding) == VAULT_KEY


def test_an_older_key_only_opens() -> None:
    before = LocalKeyring([OTHER])
    after = LocalKeyring([KEY, OTHER])
    assert after.unwrap(before.wrap(VAULT_KEY, CONTEXT), CONTEXT) == VAULT_KEY
    with pytest.raises(KeyNotFoundError):
        before.unwrap(after.wrap(VAULT_KEY, CONTEXT), CONTEXT)


def test_c_07_an_unknown_key_is_named() -> None:
    with pytest.raises(KeyNotFoundError, match=key_id(RAW).hex()[:12]):
        LocalKeyring([OTHER]).unwrap(LocalKeyring([KEY]).wrap(VAULT_KEY, CONTEXT), CONTEXT)


@pytest.mark.parametrize(
    "context",
    [
        KeyContext(b"w" * 16, "vault-key", "", CONTEXT.key_id),
        KeyContext(CONTEXT.vault_id, "data-key", "", CONTEXT.key_id),
        KeyContext(CONTEXT.vault_id, "vault-key", "acme", CONTEXT.key_id),
        KeyContext(CONTEXT.vault_id, "vault-key", "", "00" * 32),
    ],
    ids=["vault", "purpose", "tenant", "key"],
)
def test_c_05_a_wrapped_key_opens_in_its_own_context_only(context: KeyContext) -> None:
    keyring = LocalKeyring([KEY])
    assert keyring.unwrap(keyring.wrap(VAULT_KEY, context), context) == VAULT_KEY
    with pytest.raises(TamperedError):
        keyring.unwrap(keyring.wrap(VAULT_KEY, CONTEXT), context)
    with pytest.raises(TamperedError):
        keyring.unwrap(keyring.wrap(VAULT_KEY, context), CONTEXT)


@pytest.mark.parametrize("wrapped", [b"", b"SV\x01\x01" + bytes(40), VAULT_KEY * 4])
def test_c_08_what_is_no_envelope_is_named(wrapped: bytes) -> None:
    with pytest.raises(MalformedEnvelopeError):
        LocalKeyring([KEY]).unwrap(wrapped, CONTEXT)


def test_l_05_a_refused_key_shows_nothing() -> None:
    keyring = LocalKeyring([KEY])
    wrapped = bytearray(keyring.wrap(VAULT_KEY, CONTEXT))
    wrapped[-1] ^= 1
    with pytest.raises(TamperedError) as caught:
        keyring.unwrap(bytes(wrapped), CONTEXT)
    assert shows(caught.value, CONTEXT.vault_id)
    assert not shows(caught.value, RAW)
    assert not shows(caught.value, VAULT_KEY)


# --- silence --------------------------------------------------------------------------------------


def test_l_01_a_keyring_shows_the_ids_of_its_keys_and_nothing_else() -> None:
    keyring = LocalKeyring([KEY, OTHER])
    assert repr(keyring) == f"LocalKeyring({keyring.key_ids[0][:12]}, {keyring.key_ids[1][:12]})"
    shown = f"{keyring} {keyring!r} {keyring!s} {vars(keyring)} {keyring.__dict__!r}"
    for raw in (RAW, bytes(range(64, 96))):
        for spelling in (text_of(raw)[5:], raw.hex(), repr(raw)[2:-1], base64.b64encode(raw).decode()):
            assert spelling not in shown


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_l_09_a_keyring_cannot_be_pickled(protocol: int) -> None:
    with pytest.raises(TypeError):
        pickle.dumps(LocalKeyring([KEY]), protocol)


def test_l_09_a_keyring_cannot_be_copied_deeply() -> None:
    with pytest.raises(TypeError):
        copy.deepcopy(LocalKeyring([KEY]))


def test_l_13_no_attribute_holds_the_bytes_of_a_key() -> None:
    keyring = LocalKeyring([KEY])
    held = list(vars(keyring).values())
    ciphers = held[0]
    assert all(isinstance(cipher, AESGCM) for cipher in ciphers.values())
    assert RAW not in [*ciphers, *held]
