"""Servers that tests of several packages share, real and emulated; each starts when the first test asks for it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from support.openbao import OpenBao
    from support.postgres import Postgres
    from support.valkey import Valkey

    from socialvault.sandbox import Sandbox


@pytest.fixture(scope="session")
def running_sandbox() -> Iterator[Sandbox]:
    """Emulated providers; a test takes `sandbox`, which remembers none of the tests before."""
    from socialvault.sandbox import Sandbox

    with Sandbox() as sandbox:
        yield sandbox


@pytest.fixture
def sandbox(running_sandbox: Sandbox) -> Sandbox:
    running_sandbox.reset()
    return running_sandbox


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """A Postgres that is fast and does not survive a crash; make a database of your own in it."""
    from support.postgres import running_postgres

    with running_postgres() as server:
        yield server


@pytest.fixture(scope="session")
def valkey() -> Iterator[Valkey]:
    """A Valkey without persistence; whoever uses it first calls ``flush`` or takes keys of their own."""
    from support.valkey import running_valkey

    with running_valkey(maxmemory_policy="noeviction") as server:
        yield server


@pytest.fixture(scope="session")
def valkey_cluster() -> Iterator[Valkey]:
    """A Valkey cluster of one node: a command over keys of several slots fails."""
    from support.valkey import running_valkey

    with running_valkey(cluster_enabled="yes", maxmemory_policy="noeviction") as server:
        yield server


@pytest.fixture(scope="session")
def openbao() -> Iterator[OpenBao]:
    """An OpenBao with the transit engine mounted."""
    from support.openbao import running_openbao

    with running_openbao() as server:
        yield server
