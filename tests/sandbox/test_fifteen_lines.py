"""The test that the module's docstring shows, run as it stands there."""

import inspect
import textwrap
import time
from datetime import timedelta

import pytest

import socialvault.sandbox
from socialvault import LocalKeyring, Vault
from socialvault.exceptions import ReauthorizationRequiredError


def shown():
    lines = inspect.cleandoc(socialvault.sandbox.__doc__).splitlines()
    start = next(number for number, line in enumerate(lines) if "def test_" in line)
    return textwrap.dedent("\n".join(line for line in lines[start:] if line.startswith("    ")))


def test_the_test_in_the_docstring_passes_offline_in_under_two_seconds(socialvault_sandbox):
    names = {
        "LocalKeyring": LocalKeyring,
        "ReauthorizationRequiredError": ReauthorizationRequiredError,
        "Vault": Vault,
        "pytest": pytest,
        "timedelta": timedelta,
    }
    exec(shown(), names)
    started = time.perf_counter()
    names["test_expires_is_refreshed_is_revoked"](socialvault_sandbox)
    assert time.perf_counter() - started < 2
    assert [entry.outcome for entry in socialvault_sandbox.log.entries(endpoint="token")] == [
        "issued",
        "refreshed",
        "invalid_grant",
    ]


def test_the_test_in_the_docstring_has_fifteen_lines():
    body = shown().splitlines()[1:]
    assert len(body) <= 15
