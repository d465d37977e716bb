"""``Secret``: equal where it must be, and shut to everything but ``reveal()``."""

from __future__ import annotations

import ast
import functools
import hmac
import inspect
import re
import subprocess
import sys
import textwrap
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from socialvault.model import secret as module
from socialvault.model.secret import Secret, fingerprint

any_text = st.text(st.characters(exclude_categories=()))


@given(any_text | st.binary())
def test_only_reveal_gives_the_value(value: str | bytes) -> None:
    assert Secret(value).reveal() == value
    assert repr(Secret(value)) == str(Secret(value)) == f"Secret(sha256:{fingerprint(value)})"


@given(any_text, any_text)
def test_secrets_are_equal_when_their_values_are(one: str, other: str) -> None:
    assert (Secret(one) == Secret(other)) is (one == other)
    assert (Secret(one) != Secret(other)) is (one != other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (Secret("token"), Secret(b"token")),
        (Secret(b"token"), Secret("token")),
        (Secret("token"), "token"),
        (Secret(b"token"), b"token"),
        (Secret("token"), None),
        (Secret("zoe\u0301"), Secret("zo\u00e9")),
        (Secret("token"), Secret("token\0")),
        (Secret("token"), Secret("toke")),
        (Secret("\ud800"), Secret("?")),
        (Secret(""), Secret(b"")),
    ],
)
def test_equality_is_strict(one: Any, other: Any) -> None:
    assert one != other
    assert not one == other  # noqa: SIM201  (both operators are tried)


def test_c_21_equality_takes_constant_time(monkeypatch: pytest.MonkeyPatch) -> None:
    compared: list[tuple[object, object]] = []
    original = hmac.compare_digest

    def compare(a: bytes, b: bytes) -> bool:
        compared.append((a, b))
        return original(a, b)

    monkeypatch.setattr(module.hmac, "compare_digest", compare)
    assert Secret("one") != Secret("two")
    assert Secret(b"\xff") == Secret(b"\xff")
    assert compared == [(b"one", b"two"), (b"\xff", b"\xff")]
    tree = ast.parse(textwrap.dedent(inspect.getsource(Secret.__eq__)))
    operators = [op for node in ast.walk(tree) if isinstance(node, ast.Compare) for op in node.ops]
    assert not any(isinstance(op, (ast.Eq, ast.NotEq)) for op in operators)


def test_a_secret_is_true_when_it_holds_something() -> None:
    assert Secret("x")
    assert Secret(b"\0")
    assert not Secret("")
    assert not Secret(b"")


def test_l_09_a_secret_is_no_cache_key() -> None:
    @functools.cache
    def remember(value: object) -> object:
        return value

    with pytest.raises(TypeError, match="unhashable"):
        remember(Secret("canary"))
    with pytest.raises(TypeError):
        {Secret("canary")}
    assert remember.cache_info().currsize == 0


def test_fingerprints_tell_values_apart_and_say_nothing_outside_this_process() -> None:
    assert fingerprint("a") == fingerprint("a") == fingerprint(b"a")
    assert fingerprint("a") != fingerprint("b")
    script = "from socialvault.model.secret import Secret; print(Secret('a'))"
    elsewhere = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=30)
    assert re.fullmatch(r"Secret\(sha256:[0-9a-f]{6}\)\n", elsewhere.stdout)
    assert elsewhere.stdout.strip() != str(Secret("a"))


@pytest.mark.parametrize("wrong", [None, 7, ["canary"], {"token": "canary"}])
def test_l_05_a_value_of_a_wrong_type_neither_shows_nor_makes_a_repr_fail(wrong: Any) -> None:
    assert "canary" not in repr(Secret(wrong))
    assert Secret(wrong) == Secret(wrong)


def test_a_secret_cannot_be_given_attributes() -> None:
    with pytest.raises(AttributeError):
        Secret("canary").label = "x"  # type: ignore[attr-defined]
    with pytest.raises(TypeError):
        vars(Secret("canary"))
