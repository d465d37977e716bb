"""A confirmation code shows that a deletion was done and when, and nothing of whose."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from socialvault.providers import Facebook, X
from socialvault.webhooks.confirmation import confirmation_code, deleted_at

AT = datetime(2026, 11, 22, 12, 0, 0, 999_999, tzinfo=UTC)
APP = Facebook("client", "s3cret")


def test_a_code_is_known_again_with_its_time() -> None:
    code = confirmation_code(APP, AT)
    assert code.isalnum()
    assert code.isascii()
    assert deleted_at(APP, code) == AT.replace(microsecond=0)
    assert deleted_at(Facebook("client", "s3cret"), code) == AT.replace(microsecond=0)


def test_no_two_codes_are_alike() -> None:
    assert len({confirmation_code(APP, AT) for _ in range(100)}) == 100


@pytest.mark.parametrize(
    "other", [Facebook("client", "another"), Facebook("another", "s3cret"), X("client", "s3cret"), X("client")]
)
def test_a_code_of_another_application_is_unknown(other: Facebook | X) -> None:
    assert deleted_at(other, confirmation_code(APP, AT)) is None


def test_a_code_that_was_changed_anywhere_is_unknown() -> None:
    code = confirmation_code(APP, AT)
    for place, letter in enumerate(code):
        changed = code[:place] + ("0" if letter != "0" else "1") + code[place + 1 :]
        assert deleted_at(APP, changed) is None


@pytest.mark.parametrize(
    "code",
    ["", "0" * 58, "g" * 58, "\u0661" * 58, "a" * 100_000, confirmation_code(APP, AT)[:-1],
     confirmation_code(APP, AT) + "0", confirmation_code(APP, AT) + "\n", confirmation_code(APP, AT).upper()],
    ids=["empty", "zeros", "letters", "other_digits", "huge", "shorter", "longer", "newline", "upper_case"],
)  # fmt: skip
def test_what_is_no_code_is_unknown(code: str) -> None:
    assert deleted_at(APP, code) is None
