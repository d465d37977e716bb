"""The example applications, each started by its one command, with platforms that the tests can look into."""

from __future__ import annotations

from typing import TYPE_CHECKING

import httpx
import pytest
from support.examples import COMMANDS, Example, Visitor, launch_example

from socialvault.sandbox import Sandbox

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping


@pytest.fixture(scope="session")
def sandbox() -> Iterator[Sandbox]:
    with Sandbox() as sandbox:
        yield sandbox


@pytest.fixture(scope="session")
def examples(sandbox: Sandbox, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mapping[str, Example]]:
    """All of them, since they start side by side."""
    folder = tmp_path_factory.mktemp("examples")
    running = {
        name: launch_example(name, folder / name, SANDBOX_URL=sandbox.base_url, DATABASE=str(folder / f"{name}.db"))
        for name in COMMANDS
    }
    try:
        yield running
    finally:
        for example in running.values():
            example.server.stop()


@pytest.fixture(params=COMMANDS)
def example(request: pytest.FixtureRequest, examples: Mapping[str, Example]) -> Example:
    """Each in turn, or those that a test is parametrized with."""
    found = examples[request.param]
    found.server.wait()
    return found


@pytest.fixture(scope="session")
def sessions() -> dict[str, httpx.Cookies]:
    """The session of each example, kept from test to test: checking a password takes its time."""
    return {}


@pytest.fixture
def visitor(example: Example, sandbox: Sandbox, sessions: dict[str, httpx.Cookies]) -> Iterator[Visitor]:
    """Somebody who is signed in; at the end nothing is connected any more."""
    with Visitor(example) as visitor:
        visitor.http.cookies.update(sessions.get(example.name, {}))
        sign_in_again(visitor)
        yield visitor
        sign_in_again(visitor)
        while forms := [form for form in visitor.accounts().forms if form.button.startswith("Disconnect")]:
            visitor.submit(forms[0])
        sessions[example.name] = visitor.http.cookies


def sign_in_again(visitor: Visitor) -> None:
    if visitor.see(visitor.example.home).answer.url.path == "/sign-in":
        visitor.sign_in()
