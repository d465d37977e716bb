"""Requests and answers inside the sandbox: what handlers read and return, free of any web framework."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, urlencode

from socialvault.sandbox.faults import Fault
from socialvault.sandbox.log import Note, token_fingerprint

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from datetime import datetime


class Params(dict[str, str]):
    """Query or form parameters; `repeated` names those that came more than once."""

    def __init__(self, pairs: Iterable[tuple[str, str]] = ()) -> None:
        super().__init__()
        self.repeated: set[str] = set()
        self.lists: dict[str, list[str]] = {}
        for name, value in pairs:
            if name in self:
                self.repeated.add(name)
            self.setdefault(name, value)
            self.lists.setdefault(name, []).append(value)

    @classmethod
    def parse(cls, encoded: str) -> Params:
        """Read ``a=1&b=2``."""
        return cls(parse_qsl(encoded, keep_blank_values=True))

    def all(self, name: str) -> list[str]:
        """Return every value of `name`."""
        return self.lists.get(name, [])


@dataclass(slots=True, kw_only=True)
class Call:
    """One request to an emulated provider.

    Attributes:
        path: the variables of the route. headers: names in lower case.
        note: what the log will say; handlers fill it in.
    """

    method: str
    now: datetime
    path: Mapping[str, str] = field(default_factory=dict[str, str])
    query: Params = field(default_factory=Params)
    form: Params = field(default_factory=Params)
    headers: Mapping[str, str] = field(default_factory=dict[str, str])
    fault: Fault = field(default_factory=Fault)
    note: Note = field(default_factory=Note)

    def presents(self, secret: str) -> str:
        """Note that the request carries `secret`, and return it."""
        self.note.presented = token_fingerprint(secret)
        return secret

    def issues(self, *secrets: str) -> None:
        """Note that the answer carries `secrets`."""
        self.note.issued += tuple(token_fingerprint(secret) for secret in secrets)

    @property
    def bearer(self) -> str:
        """The token in the Authorization header, "" for none."""
        scheme, _, token = self.headers.get("authorization", "").partition(" ")
        return token.strip() if scheme.lower() == "bearer" else ""


@dataclass(slots=True, kw_only=True)
class Answer:
    """What a handler answers: a JSON document, or else a text.

    Attributes:
        outcome: for the log, unless the handler has noted one itself.
    """

    status: int = 200
    document: Any = None
    text: str = ""
    content_type: str = "application/json"
    headers: dict[str, str] = field(default_factory=dict[str, str])
    outcome: str = "answered"


class Refusal(Exception):
    """A handler refuses a request.

    Attributes:
        error: a code in the provider's own dialect. outcome: for the log, the code itself by default.
    """

    def __init__(self, error: str, description: str = "", *, status: int = 400, outcome: str = "") -> None:
        super().__init__(error)
        self.error = error
        self.description = description or error.replace("_", " ")
        self.status = status
        self.outcome = outcome or error


def overridden(fields: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Return `fields` with `changes` applied; a change to None leaves the field out."""
    merged = {**fields, **changes}
    return {name: value for name, value in merged.items() if name not in changes or value is not None}


def with_query(url: str, params: Mapping[str, str], fragment: str = "") -> str:
    """Return `url` with `params` added to its query."""
    joiner = "&" if "?" in url else "?"
    return f"{url}{joiner}{urlencode(params)}{fragment}"
