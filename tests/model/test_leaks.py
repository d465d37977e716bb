"""L-01, L-05, L-08, L-09: no channel that Python offers shows what a value object holds."""

from __future__ import annotations

import copy
import dataclasses
import functools
import io
import json
import logging
import marshal
import pickle
import pprint
import reprlib
import string
import sys
import traceback
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest
from pydantic import BaseModel, ConfigDict, RootModel, TypeAdapter, ValidationError
from pydantic_core import PydanticSerializationError
from support.canaries import spellings

from socialvault.crypto.flows import FlowRecord
from socialvault.crypto.records import TokenRecord
from socialvault.model.connection import SubAccount, SubAccountGrant
from socialvault.model.identity import Identity
from socialvault.model.login import Login, LoginCookie
from socialvault.model.secret import Secret
from socialvault.model.token import AccessToken, TokenSet

if TYPE_CHECKING:
    from collections.abc import Callable

CANARY = "canary-7f3a91bc-do-not-show"
NOW = datetime(2026, 3, 4, tzinfo=UTC)
TOKENS = TokenSet(Secret(CANARY), NOW, Secret(CANARY), Secret(CANARY))

#: Everything that holds a secret.
HOLDERS: dict[str, Any] = {
    "secret": Secret(CANARY),
    "secret_of_bytes": Secret(CANARY.encode()),
    "access_token": AccessToken(CANARY.encode(), b"email", 1_800_000_000_000_000, "connection-1", "x", 3),
    "token_set": TOKENS,
    "sub_account_grant": SubAccountGrant(SubAccount("1", "Page", "page"), Secret(CANARY)),
    "token_record": TokenRecord(TOKENS, None, Identity("1")),
    "flow_record": FlowRecord(Secret(CANARY), Secret(CANARY), "", (), "", "", issuer_promised=False),
}
SHUT = {name: holder for name, holder in HOLDERS.items() if isinstance(holder, (Secret, AccessToken))}
RECORDS = {name: holder for name, holder in HOLDERS.items() if dataclasses.is_dataclass(holder)}
every_holder = pytest.mark.parametrize("holder", HOLDERS.values(), ids=HOLDERS)
every_shut_one = pytest.mark.parametrize("holder", SHUT.values(), ids=SHUT)
every_record = pytest.mark.parametrize("holder", RECORDS.values(), ids=RECORDS)


def assert_silent(shown: str | bytes) -> None:
    data = shown if isinstance(shown, bytes) else shown.encode("utf-8", "surrogatepass")
    for spelling in spellings(CANARY):
        assert spelling not in data
    assert repr(list(CANARY.encode()))[1:-1].encode() not in data


class Formatter(string.Formatter):
    """As templates and translations use it."""


#: Ways to make text of an object.
SHOWS: dict[str, Callable[[Any], str]] = {
    "repr": repr,
    "str": str,
    "ascii": ascii,
    "format": format,
    "f_string": lambda x: f"{x}{x!r}{x!s}{x!a}",
    "f_string_with_spec": lambda x: f"{x!s:>80}",
    "str_format": lambda x: "{0} {0!r} {x}".format(x, x=x),  # noqa: UP032
    "formatter": lambda x: Formatter().format("{0} {0!r}", x),
    "percent_s": lambda x: "%s %r" % (x, x),  # noqa: UP031
    "in_a_list": lambda x: f"{[x]} {(x,)} {{'token': {x!r}}}",
    "join": lambda x: " ".join(map(str, [x, x])),
    "pprint": lambda x: pprint.pformat({"token": x, "all": [x]}),
    "pprint_narrow": lambda x: pprint.pformat(x, width=1, depth=9),
    "reprlib": lambda x: reprlib.repr([x]),
    "json_default_str": lambda x: json.dumps({"token": x}, default=str),
    "json_default_repr": lambda x: json.dumps([x], default=repr),
    "dir": lambda x: repr(dir(x)),
    "slots": lambda x: repr(getattr(type(x), "__slots__", ())),
    "exception": lambda x: f"{ValueError(x)} {ValueError(x)!r} {KeyError(x)}",
}


def printed(x: object) -> str:
    sink = io.StringIO()
    print(x, [x], file=sink)
    return sink.getvalue()


def noted(x: object) -> str:
    problem = ValueError("failed")
    problem.add_note(f"while holding {x}")
    return "".join(traceback.format_exception(problem))


SHOWS |= {"print": printed, "exception_note": noted}


@every_holder
@pytest.mark.parametrize("show", SHOWS.values(), ids=SHOWS)
def test_l_01_no_text_of_it_shows_the_value(holder: Any, show: Callable[[Any], str]) -> None:
    assert_silent(show(holder))


def test_l_01_the_search_finds_what_is_shown() -> None:
    @dataclasses.dataclass
    class Careless:
        token: str = CANARY

    for show in SHOWS.values():
        if show not in (SHOWS["dir"], SHOWS["slots"], SHOWS["reprlib"]):
            with pytest.raises(AssertionError):
                assert_silent(show(Careless()))


@every_shut_one
@pytest.mark.parametrize("spec", ["", "s", ">40", "x", "%Y", "!r", "anything at all"])
def test_l_01_no_format_spec_opens_it(holder: Any, spec: str) -> None:
    assert format(holder, spec) == repr(holder)


@every_shut_one
def test_l_01_it_has_no_dict_to_read(holder: Any) -> None:
    with pytest.raises(TypeError):
        vars(holder)
    assert not hasattr(holder, "__dict__")
    shown = [getattr(holder, name, None) for name in dir(holder) if not name.startswith("_")]
    assert_silent(repr(shown))


@every_record
def test_l_01_asdict_refuses_and_shows_nothing(holder: Any) -> None:
    with pytest.raises(TypeError) as caught:
        dataclasses.asdict(holder)
    assert_silent(story(caught.value))
    with pytest.raises(TypeError):
        dataclasses.astuple(holder)
    assert_silent(repr(dataclasses.fields(holder)))


def test_l_01_what_the_browser_is_sent_stays_out_of_reprs() -> None:
    login = Login(f"https://x.example/?state={CANARY}", NOW, LoginCookie("sv", CANARY, "/", 600, secure=True))
    for show in (repr, str, format, pprint.pformat):
        assert_silent(show(login))
        assert_silent(show(login.cookie))


# --- logs and tracebacks --------------------------------------------------------------------------


@every_holder
def test_l_02_no_log_record_shows_it(holder: Any, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    logger = logging.getLogger("application")
    logger.debug("token %s, %r, %a", holder, holder, holder)
    logger.info("token %(token)s", {"token": holder})
    logger.warning(holder)
    logger.error("extra", extra={"token": holder})
    logger.error("failed with %s", holder, exc_info=ValueError(holder))
    assert len(caplog.records) == 5
    assert_silent(caplog.text)
    for record in caplog.records:
        assert_silent(repr(vars(record)))
        assert_silent(record.getMessage())


def story(problem: BaseException) -> str:
    return "".join(traceback.TracebackException.from_exception(problem, capture_locals=True).format())


@every_holder
def test_l_05_a_traceback_with_locals_does_not_show_it(holder: Any) -> None:
    def fail(token: object) -> None:
        kept = {"token": token, "all": [token]}
        raise RuntimeError(f"failed with {kept}")

    with pytest.raises(RuntimeError) as caught:
        fail(holder)
    shown = story(caught.value)
    assert "kept = " in shown
    assert_silent(shown)
    stack = traceback.StackSummary.extract(traceback.walk_stack(sys._getframe()), capture_locals=True, limit=1)
    assert_silent("".join(stack.format()))


def test_l_05_a_token_that_no_header_can_carry_is_given_out_and_no_error_carries_it() -> None:
    value = f"{CANARY}é"
    assert AccessToken(value.encode(), b"", None, "connection-1", "x", 1).reveal() == value


# --- serialisers ----------------------------------------------------------------------------------


@every_holder
@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_l_09_pickle_refuses(holder: Any, protocol: int) -> None:
    for pickled in (holder, [holder], {"token": holder}, functools.partial(print, holder)):
        sink = io.BytesIO()
        with pytest.raises(TypeError, match="holds a secret") as caught:
            pickle.Pickler(sink, protocol).dump(pickled)
        assert_silent(sink.getvalue())
        assert_silent(str(caught.value))


@every_holder
def test_l_09_deep_copies_refuse(holder: Any) -> None:
    with pytest.raises(TypeError, match="holds a secret"):
        copy.deepcopy(holder)


@every_shut_one
def test_l_09_copies_refuse(holder: Any) -> None:
    with pytest.raises(TypeError, match="holds a secret"):
        copy.copy(holder)
    for method in ("__reduce__", "__copy__", "__getstate__"):
        with pytest.raises(TypeError, match="holds a secret"):
            getattr(holder, method)()
    with pytest.raises(TypeError, match="holds a secret"):
        holder.__reduce_ex__(4)
    with pytest.raises(TypeError, match="holds a secret"):
        holder.__deepcopy__({})


@every_holder
def test_l_09_json_and_marshal_refuse(holder: Any) -> None:
    with pytest.raises(TypeError) as caught:
        json.dumps({"token": holder})
    assert_silent(str(caught.value))
    with pytest.raises(ValueError, match="unmarshallable"):
        marshal.dumps(holder)


def test_l_09_a_cache_keyed_by_an_access_token_does_not_compare_values() -> None:
    calls: list[AccessToken] = []
    one, other = [AccessToken(CANARY.encode(), b"", None, "connection-1", "x", 1) for _ in range(2)]

    @functools.cache
    def call(token: AccessToken) -> int:
        calls.append(token)
        return len(calls)

    assert (call(one), call(one), call(other)) == (1, 1, 2)
    assert one != other
    assert_silent(repr(call.cache_info()) + repr(call))


def test_l_09_a_token_set_is_no_cache_key() -> None:
    with pytest.raises(TypeError, match="unhashable"):
        hash(TOKENS)


# --- pydantic -------------------------------------------------------------------------------------


class Holder(BaseModel):
    model_config = ConfigDict(arbitrary_types_allowed=True)

    token: Any
    secret: Secret[str]
    access: AccessToken | None = None


@every_holder
def test_l_08_a_model_that_holds_it_stays_silent(holder: Any) -> None:
    model = Holder(token=holder, secret=Secret(CANARY), access=HOLDERS["access_token"])
    assert_silent(f"{model} {model!r} {model!s} {vars(model)}")
    assert_silent(pprint.pformat(dict(model)))
    with pytest.raises(PydanticSerializationError) as caught:
        model.model_dump_json()
    assert_silent(str(caught.value))
    with pytest.raises(PydanticSerializationError):
        model.model_dump(mode="json")
    with pytest.raises(TypeError):
        model.model_copy(deep=True)
    with pytest.raises(TypeError):
        pickle.dumps(model)


@every_shut_one
def test_l_08_a_dump_holds_the_same_shut_object_and_never_its_value(holder: Any) -> None:
    dumped = Holder(token=holder, secret=Secret(CANARY)).model_dump()
    assert dumped["token"] is holder
    assert_silent(repr(dumped))
    fallen = Holder(token=holder, secret=Secret(CANARY)).model_dump_json(fallback=str)
    assert_silent(fallen)


@every_holder
def test_l_08_a_validation_error_about_it_stays_silent(holder: Any) -> None:
    class Strict(BaseModel):
        token: str

    with pytest.raises(ValidationError) as caught:
        Strict(token=holder)
    problem = caught.value
    assert_silent(f"{problem} {problem!r} {problem.errors()} {story(problem)}")
    assert_silent(problem.json())


def test_l_08_a_secret_is_not_made_from_what_a_request_holds() -> None:
    with pytest.raises(ValidationError):
        Holder(token=None, secret="from a request body")  # type: ignore[arg-type]


@every_shut_one
def test_l_08_adapters_refuse_it_too(holder: Any) -> None:
    with pytest.raises(PydanticSerializationError):
        TypeAdapter(Any).dump_json(holder)
    with pytest.raises(PydanticSerializationError):
        RootModel[Any](holder).model_dump_json()
