"""Every error says who must act, crosses a process boundary whole, and shows nothing."""

from __future__ import annotations

import copy
import inspect
import multiprocessing
import pickle
import re
import typing
import warnings
from concurrent.futures import ProcessPoolExecutor
from datetime import timedelta
from typing import Any

import pytest

from socialvault import exceptions
from socialvault.exceptions import (
    AuthorizationDeniedError,
    AuthorizationError,
    ConfigurationError,
    MissingScopesError,
    ProviderError,
    RateLimitedError,
    ReauthorizationRequiredError,
    RefreshBusyError,
    SocialVaultError,
    TransportError,
)

CLASSES: list[type[SocialVaultError]] = [
    value for value in vars(exceptions).values() if isinstance(value, type) and issubclass(value, SocialVaultError)
]
every_class = pytest.mark.parametrize("kind", CLASSES, ids=lambda kind: kind.__name__)

#: Values for keyword arguments, by name.
VALUES: dict[str, Any] = {
    "argument": "scopes",
    "return_to": "/settings",
    "error": "access_denied",
    "provider": "x",
    "status": 429,
    "retry_after": timedelta(seconds=30),
    "reason": "expired",
    "missing": ["email"],
    "required": ("email", "openid"),
    "request_sent": True,
}


def arguments(kind: type[SocialVaultError]) -> dict[str, Any]:
    parameters = inspect.signature(kind.__init__).parameters.values()
    return {p.name: VALUES[p.name] for p in parameters if p.kind is p.KEYWORD_ONLY}


def build(kind: type[SocialVaultError]) -> SocialVaultError:
    return kind("something failed", **arguments(kind))


# --- the tree -------------------------------------------------------------------------------------


def drawn() -> dict[str, tuple[str, str, set[str]]]:
    """Read the tree in the docstring: name -> parent, action, attributes."""
    tree: dict[str, tuple[str, str, set[str]]] = {}
    path: list[str] = []
    for line in (exceptions.__doc__ or "").splitlines():
        match = re.match(r"^ {4}([│├└─ ]*)(\w+Error)\s+(\w+)(.*)$", line)
        if match:
            depth = len(match[1]) // 4
            path[depth:] = [match[2]]
            tree[match[2]] = (
                path[depth - 1] if depth else "Exception",
                match[3],
                set(re.findall(r"\.(\w+)", match[4])),
            )
    return tree


def test_the_drawn_tree_is_the_real_one() -> None:
    tree = drawn()
    assert tree.keys() == {kind.__name__ for kind in CLASSES}
    for kind in CLASSES:
        parent, action, _ = tree[kind.__name__]
        assert [base.__name__ for base in kind.__bases__] == [parent]
        assert kind.action == action, kind.__name__


@every_class
def test_every_error_says_who_must_act(kind: type[SocialVaultError]) -> None:
    assert kind.action in typing.get_args(exceptions.Action)
    assert build(kind).action == kind.action
    assert kind.__name__.endswith("Error")
    assert kind.__doc__


@every_class
def test_the_drawn_attributes_are_there(kind: type[SocialVaultError]) -> None:
    tree, problem = drawn(), build(kind)
    for ancestor in kind.__mro__:
        for name in tree.get(ancestor.__name__, ("", "", set()))[2]:
            assert hasattr(problem, name), name


@every_class
def test_attributes_hold_what_was_given(kind: type[SocialVaultError]) -> None:
    problem = build(kind)
    assert str(problem) == "something failed"
    assert problem.args == ("something failed",)
    for name, value in arguments(kind).items():
        assert getattr(problem, name) == (frozenset(value) if name in ("missing", "required") else value)


def test_what_was_not_given_has_a_plain_default() -> None:
    assert ConfigurationError("x").argument == ""
    assert AuthorizationError("x").return_to is None
    assert (AuthorizationDeniedError("x").error, AuthorizationDeniedError("x").return_to) == ("", None)
    bare = ProviderError("x")
    assert (bare.provider, bare.status, bare.error, bare.retry_after) == ("", None, None, None)
    assert ReauthorizationRequiredError("x").reason == "invalid_grant"


def test_a_caller_can_catch_a_branch() -> None:
    with pytest.raises(ProviderError) as caught:
        raise RateLimitedError("slow down", provider="x", status=429, retry_after=timedelta(seconds=7))
    assert caught.value.retry_after == timedelta(seconds=7)


# --- across processes -----------------------------------------------------------------------------


def assert_whole(twin: SocialVaultError, problem: SocialVaultError) -> None:
    assert type(twin) is type(problem)
    assert (twin.args, str(twin), repr(twin)) == (problem.args, str(problem), repr(problem))
    assert vars(twin) == vars(problem)
    assert twin.action == problem.action
    assert (twin.__cause__, twin.__context__) == (None, None)


@every_class
@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_l_09_an_error_survives_pickling_whole(kind: type[SocialVaultError], protocol: int) -> None:
    problem = build(kind)
    problem.add_note("seen in worker 3")
    assert_whole(pickle.loads(pickle.dumps(problem, protocol)), problem)


@every_class
def test_an_error_can_be_copied(kind: type[SocialVaultError]) -> None:
    problem = build(kind)
    assert_whole(copy.copy(problem), problem)
    assert_whole(copy.deepcopy(problem), problem)
    assert copy.copy(problem) is not problem


class OwnError(RefreshBusyError):
    """A subclass of somebody else's, with an argument of its own."""

    def __init__(self, message: str, *, worker: int) -> None:
        super().__init__(message, retry_after=timedelta(seconds=1))
        self.worker = worker


def test_a_subclass_with_other_arguments_survives_as_well() -> None:
    problem = OwnError("busy", worker=3)
    assert_whole(copy.copy(problem), problem)


def fail(kind: type[SocialVaultError]) -> None:
    raise build(kind) from ValueError("canary-of-the-cause")


def test_l_09_errors_come_back_from_another_process() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # newer Pythons warn of forks beside threads
        with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("fork")) as pool:
            for kind in (RefreshBusyError, MissingScopesError, TransportError, ReauthorizationRequiredError):
                problem = pool.submit(fail, kind).exception(timeout=30)
                assert type(problem) is kind
                assert vars(problem).items() >= vars(build(kind)).items()


def test_l_09_a_pickled_error_leaves_its_cause_behind() -> None:
    with pytest.raises(TransportError) as caught:
        fail(TransportError)
    assert caught.value.__cause__ is not None
    assert b"canary" not in pickle.dumps(caught.value)


# --- silence --------------------------------------------------------------------------------------


@every_class
def test_l_04_an_error_shows_its_message_alone(kind: type[SocialVaultError]) -> None:
    problem = build(kind)
    assert repr(problem) == f"{kind.__name__}('something failed')"
    assert vars(problem).keys() == arguments(kind).keys()


@every_class
def test_l_04_an_error_has_no_room_for_a_body_or_a_token(kind: type[SocialVaultError]) -> None:
    assert not {"body", "response", "request", "token", "code", "state", "url", "headers"} & vars(build(kind)).keys()
    with pytest.raises(TypeError):
        kind("something failed", body=b"canary")  # type: ignore[call-arg]
