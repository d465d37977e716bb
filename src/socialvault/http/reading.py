"""Reading request bodies: JSON or a form, judged by one schema."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, TypeVar

from pydantic import ValidationError

from socialvault.exceptions import StateMismatchError
from socialvault.http.problems import HttpError
from socialvault.protocol.authorization import parse_parameters

if TYPE_CHECKING:
    from collections.abc import Iterable

    from socialvault.http.bodies import RequestBody
    from socialvault.http.messages import Request

B = TypeVar("B", bound="RequestBody")

FORM = "application/x-www-form-urlencoded"
JSON = "application/json"


def read_body(request: Request, schema: type[B]) -> B:
    """Read what a request says; no body says nothing.

    Raises:
        HttpError: 415, 400 or 422; the message names fields and no values.
    """
    kind = media_type(request)
    if kind not in (JSON, FORM) and request.body:
        raise HttpError(415, "unsupported_media_type", f"send {JSON} or {FORM}")
    values = _json(request.body) if kind == JSON and request.body else _form(request.body, schema)
    try:
        return schema.model_validate(values)
    except ValidationError as problem:
        found = problem.errors(include_input=False, include_url=False, include_context=False)
    fields = [{"field": ".".join(map(str, one["loc"])) or "body", "message": one["msg"]} for one in found]
    raise HttpError(422, "invalid_fields", "the body is not as it must be", extras={"errors": fields})


def form_fields(request: Request) -> list[tuple[str, str]]:
    """Return the fields of a form.

    Raises:
        HttpError: 415 for a body that is none, 400 for one that can't be read.
    """
    if media_type(request) != FORM:
        raise HttpError(415, "unsupported_media_type", f"send {FORM}")
    return pairs_of(request.body)


def only_value(pairs: Iterable[tuple[str, str]], name: str) -> str:
    """Return what a query or form must hold exactly once.

    Raises:
        HttpError: 400.
    """
    found = [value for key, value in pairs if key == name]
    if len(found) != 1 or not found[0]:
        raise HttpError(400, "invalid_request", f"{name} must be given once")
    return found[0]


def media_type(request: Request) -> str:
    """Return the body's media type, without parameters."""
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()


def _json(body: bytes) -> Any:
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        pass
    raise HttpError(400, "invalid_request", "the body is no JSON")


def _form(body: bytes, schema: type[RequestBody]) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for name, value in pairs_of(body):
        if name in schema.lists:
            values.setdefault(name, []).extend(value.split())
        elif name in values:
            raise HttpError(400, "invalid_request", f"the form repeats {name[:64]!r}")
        elif value:  # an empty input of a form says nothing
            values[name] = value
    return values


def pairs_of(encoded: str | bytes) -> list[tuple[str, str]]:
    """Return the pairs of a query or form.

    Raises:
        HttpError: 400, it can't be read.
    """
    try:
        return parse_parameters(encoded)
    except StateMismatchError:
        pass
    raise HttpError(400, "invalid_request", "the parameters can't be read")
