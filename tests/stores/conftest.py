"""What the tests of the SQLite store share."""

from __future__ import annotations

import json
import os
import sqlite3
import traceback
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import TYPE_CHECKING, Any

import pytest

from socialvault.stores.sqlite import SQLiteStore

if TYPE_CHECKING:
    from pathlib import Path

InChild = Callable[[Callable[[], Any]], Any]
InChildren = Callable[[int, Callable[[int], Any]], list[Any]]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "vault.db"


@pytest.fixture
def store(path: Path) -> Iterator[SQLiteStore]:
    store = SQLiteStore(path)
    yield store
    store.close()


@pytest.fixture
def raw(path: Path, store: SQLiteStore) -> Iterator[sqlite3.Connection]:
    """Somebody else's connection to the store's file."""
    with closing(sqlite3.connect(path, timeout=0, isolation_level=None)) as connection:
        yield connection


@pytest.fixture
def in_children() -> InChildren:
    """Run ``act(0)``, ``act(1)``, … at once, each in a forked child; return what they return, as JSON keeps it."""

    def run(children: int, act: Callable[[int], Any]) -> list[Any]:
        start_reading, start_writing = os.pipe()
        running = []
        for number in range(children):
            reading, writing = os.pipe()
            child = os.fork()
            if child == 0:
                os.close(start_writing)
                os.read(start_reading, 1)  # returns when the last end for writing is closed
                try:
                    answer = json.dumps({"result": act(number)})
                except BaseException:  # noqa: BLE001  (told to the parent)
                    answer = json.dumps({"error": traceback.format_exc()})
                os.write(writing, answer.encode())
                os._exit(0)
            os.close(writing)
            running.append((child, reading))
        os.close(start_writing)
        os.close(start_reading)
        answers = []
        for child, reading in running:
            with os.fdopen(reading) as pipe:
                answers.append(json.loads(pipe.read()))
            os.waitpid(child, 0)
        errors = [answer["error"] for answer in answers if "error" in answer]
        assert not errors, errors[0]
        return [answer["result"] for answer in answers]

    return run


@pytest.fixture
def in_child(in_children: InChildren) -> InChild:
    """Run a function in a forked child; return what it returns, as JSON keeps it."""
    return lambda act: in_children(1, lambda _: act())[0]
