from __future__ import annotations

import resource
import sys

import pytest

from socialvault.cli.demo.limits import make_room
from socialvault.exceptions import ConfigurationError

UNLIMITED = resource.RLIM_INFINITY


@pytest.mark.parametrize(
    ("soft", "hard", "raised_to"),
    [
        (256, 4096, (800, 4096)),
        (256, UNLIMITED, (800, UNLIMITED)),
        (256, 800, (800, 800)),
        (800, 4096, None),
        (UNLIMITED, UNLIMITED, None),
    ],
)
def test_the_limit_is_raised_as_far_as_it_must(monkeypatch, soft, hard, raised_to):
    raised = []
    monkeypatch.setattr(resource, "getrlimit", lambda _which: (soft, hard))
    monkeypatch.setattr(resource, "setrlimit", lambda _which, limits: raised.append(limits))
    make_room(200)
    assert raised == ([raised_to] if raised_to else [])


def test_a_system_that_does_not_allow_it_is_told(monkeypatch):
    monkeypatch.setattr(resource, "getrlimit", lambda _which: (256, 799))
    with pytest.raises(ConfigurationError, match="200 callers need 800 open files, and the limit is 799"):
        make_room(200)


def test_a_system_without_limits_is_left_alone(monkeypatch):
    monkeypatch.setitem(sys.modules, "resource", None)
    make_room(200)
