"""The OpenAPI document, built from the table of routes."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from pydantic.json_schema import models_json_schema

from socialvault.http.bodies import ProblemDocument
from socialvault.http.reading import FORM, JSON

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from pydantic import BaseModel

    from socialvault.http.route import Route

_PARAMETER = re.compile(r"\{(\w+)\}")
_PROBLEM = "application/problem+json"
_REF = "#/components/schemas/{model}"
_WHY = {
    400: "The request can't be read, or the flow can't be finished.",
    401: "Nobody is signed in.",
    403: "Not from here, not from this address, or not for this owner.",
    404: "There is no such platform, connection or request.",
    409: "The account is connected elsewhere, or must be authorised again.",
    413: "The body is too large.",
    415: "The body is neither of the kinds that are read.",
    422: "A field is not as it must be.",
    429: "Too many requests; see Retry-After.",
    500: "Something is wrong here.",
    502: "The provider answered nonsense, or not at all.",
    503: "Not now; see Retry-After.",
}


def document(version: str, server: str, routes: Iterable[Route]) -> dict[str, Any]:
    """Return the whole document (OpenAPI 3.1). `server`: the path of the prefix, as browsers see it."""
    described, paths = tuple(routes), dict[str, dict[str, Any]]()
    for route in described:
        paths.setdefault(route.path, {})[route.method.lower()] = operation(route)
    return {
        "openapi": "3.1.0",
        "info": {"title": "socialvault", "version": version},
        "servers": [{"url": server or "/"}],
        "paths": paths,
        "components": {"schemas": schemas(described)},
    }


def schemas(routes: Sequence[Route]) -> dict[str, Any]:
    """Return the schemas of everything that goes in or out, by name."""
    inward = {route.body for route in routes if route.body}
    outward = {route.document for route in routes if route.document} | {ProblemDocument}
    modes = [*((one, "validation") for one in inward), *((one, "serialization") for one in outward)]
    _, definitions = models_json_schema(
        sorted(modes, key=lambda one: one[0].__name__),  # type: ignore[arg-type]  # the modes are literals above
        ref_template=_REF,
    )
    found: dict[str, Any] = definitions["$defs"]
    return found


def operation(route: Route) -> dict[str, Any]:
    """Describe one route."""
    described: dict[str, Any] = {
        "operationId": f"socialvault_{route.name}",
        "summary": route.summary,
        "tags": ["oauth" if route.path.startswith("/oauth/") else "health"],
        "parameters": [*_path_parameters(route), *_query_parameters(route), *_header_parameters(route)],
        "responses": _answers(route),
    }
    if body := _request_body(route):
        described["requestBody"] = body
    return described


def _path_parameters(route: Route) -> list[dict[str, Any]]:
    return [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
        for name in _PARAMETER.findall(route.path)
    ]


def _query_parameters(route: Route) -> list[dict[str, Any]]:
    return [
        {"name": name, "in": "query", "required": False, "description": text, "schema": {"type": "string"}}
        for name, text in route.query
    ]


def _header_parameters(route: Route) -> list[dict[str, Any]]:
    if not route.changes:
        return []
    text = "Any value: what a program that is no browser sends, to say that no page of another site made it ask."
    schema = {"type": "string"}
    return [{"name": "X-Requested-With", "in": "header", "required": False, "description": text, "schema": schema}]


def _request_body(route: Route) -> dict[str, Any] | None:
    if route.body:
        schema = _reference(route.body)
        required = any(field.is_required() for field in route.body.model_fields.values())
        return {"required": required, "content": {JSON: {"schema": schema}, FORM: {"schema": schema}}}
    if route.form:
        fields = {name: {"type": "string", "description": text} for name, text in route.form}
        return {"required": True, "content": {FORM: {"schema": {"type": "object", "properties": fields}}}}
    return None


def _answers(route: Route) -> dict[str, Any]:
    page: dict[str, Any] = {"text/html": {"schema": {"type": "string"}}} if route.browser else {}
    good = {JSON: {"schema": _reference(route.document)}} if route.document else {}
    answers: dict[str, Any] = {
        str(route.status): _answer("Done.", {**good, **page} if route.browser == "page" else good)
    }
    if route.browser == "redirect":
        answers["303"] = _answer("The browser is sent on.", {})
    if route.happens_once:
        answers["204"] = _answer("A look ahead; nothing happened.", {})
    problem = {_PROBLEM: {"schema": _reference(ProblemDocument)}, **page}
    for status in _failures(route):
        answers[str(status)] = _refusal(status, problem)
    if route.name == "ready":
        answers["503"] = _answer("Something that the vault needs is not well.", good)
    return answers


def _failures(route: Route) -> list[int]:
    """Return the statuses with which a route may fail."""
    found = {500, 503}
    if route.limited or route.needs_owner:
        found |= {429}
    if route.needs_owner:
        found |= {401, 403}
    if "{" in route.path:
        found |= {400, 404, 409}
    if route.body or route.form:
        found |= {400, 415, 422}
    if route.method in ("POST", "PUT", "DELETE"):
        found |= {413}
    if route.asks_provider:
        found |= {409, 422, 502}
    return sorted(found)


def _answer(description: str, content: Mapping[str, Any]) -> dict[str, Any]:
    return {"description": description, **({"content": dict(content)} if content else {})}


def _refusal(status: int, content: Mapping[str, Any]) -> dict[str, Any]:
    header = {"description": "In how many seconds to ask again.", "schema": {"type": "integer"}}
    return {**_answer(_WHY[status], content), **({"headers": {"Retry-After": header}} if status in (429, 503) else {})}


def _reference(model: type[BaseModel]) -> dict[str, str]:
    return {"$ref": _REF.replace("{model}", model.__name__)}


def inlined(described: Any, definitions: Mapping[str, Any]) -> Any:
    """Return a description with each reference replaced by what it names, for a document with other components.

    A schema that refers to itself is cut off at its second mention.
    """
    return _inlined(described, definitions, ())


def _inlined(value: Any, definitions: Mapping[str, Any], above: tuple[str, ...]) -> Any:
    if isinstance(value, list):
        return [_inlined(one, definitions, above) for one in value]
    if not isinstance(value, dict):
        return value
    name = str(value.get("$ref", "")).rpartition("/")[2]
    if not name:
        return {key: _inlined(one, definitions, above) for key, one in value.items()}
    return {"type": "object"} if name in above else _inlined(definitions[name], definitions, (*above, name))
