"""pytest fixtures: ``socialvault_sandbox``, and the server behind it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from socialvault.sandbox import Sandbox


@pytest.fixture(scope="session")
def socialvault_server() -> Iterator[Sandbox]:
    """One sandbox server for all tests; tests use `socialvault_sandbox`, which cleans it up in between."""
    from socialvault.sandbox import Sandbox

    with Sandbox() as sandbox:
        yield sandbox


@pytest.fixture
def socialvault_sandbox(socialvault_server: Sandbox) -> Iterator[Sandbox]:
    """A `Sandbox` without any memory of earlier tests."""
    socialvault_server.reset()
    yield socialvault_server
    socialvault_server.reset()
