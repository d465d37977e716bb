"""The OpenAPI document: every route, every status, no reference that leads nowhere."""

from __future__ import annotations

import json
import re

import pytest

from socialvault.http.openapi import document, inlined, operation, schemas
from socialvault.http.routes import ROUTES

DOCUMENT = document("1.2.3", "/app", ROUTES)
OPERATIONS = {
    (method.upper(), path): described for path, item in DOCUMENT["paths"].items() for method, described in item.items()
}
every_route = pytest.mark.parametrize("route", ROUTES, ids=lambda route: route.name)

#: What any route may answer; what every owner's route may; what happens while the provider is asked.
ANY, OWNERS, ASKING = {500, 503}, {401, 403}, {409, 502, 503}
LIMITED = {429}
#: Each route's statuses, from what its handler and the way to it can end in.
STATUSES = {
    "platforms": {200} | OWNERS,
    "start": {200, 303, 400, 404, 409, 413, 415, 422, 502} | OWNERS,
    "callback": {200, 204, 303, 400, 404, 409, 502} | OWNERS,
    "posted_callback": {200, 400, 404, 413, 415},
    "resumed_callback": {200, 303, 400, 404, 409, 413, 502} | OWNERS,
    "connections": {200} | OWNERS,
    "connection": {200, 404} | OWNERS,
    "disconnect": {200, 404, 413} | OWNERS,
    "refresh": {200, 404, 413} | OWNERS | ASKING,
    "reconnect": {200, 303, 400, 404, 413, 415, 422, 502} | OWNERS,
    "sub_accounts": {200, 404, 422} | OWNERS | ASKING,
    "select_sub_accounts": {200, 400, 404, 413, 415, 422} | OWNERS | ASKING,
    "deauthorize": {204, 400, 404, 409, 413, 415},
    "data_deletion": {200, 400, 404, 409, 413, 415},
    "data_deletion_status": {200, 400, 404},
    "description": {200},
    "live": {200},
    "ready": {200, 503},
}


def references(value):
    if isinstance(value, dict):
        yield from ([value["$ref"]] if "$ref" in value else [])
        for one in value.values():
            yield from references(one)
    elif isinstance(value, list):
        for one in value:
            yield from references(one)


# --- the whole ------------------------------------------------------------------------------------


def test_the_document_says_what_it_is():
    assert DOCUMENT["openapi"].startswith("3.1")
    assert DOCUMENT["info"] == {"title": "socialvault", "version": "1.2.3"}
    assert DOCUMENT["servers"] == [{"url": "/app"}]
    assert document("1.2.3", "", ROUTES)["servers"] == [{"url": "/"}]
    json.dumps(DOCUMENT)


def test_the_document_is_one_that_a_reader_of_openapi_takes():
    models = pytest.importorskip("fastapi.openapi.models")
    models.OpenAPI.model_validate(DOCUMENT)


def test_every_route_is_in_it_and_nothing_else():
    assert set(OPERATIONS) == {(route.method, route.path) for route in ROUTES}


def test_every_reference_leads_somewhere():
    found = set(references(DOCUMENT))
    assert found
    for one in found:
        assert one.startswith("#/components/schemas/")
        assert one.rpartition("/")[2] in DOCUMENT["components"]["schemas"]


def test_every_schema_is_referred_to():
    named = {one.rpartition("/")[2] for one in references(DOCUMENT)}
    assert named == set(DOCUMENT["components"]["schemas"])


def test_operations_have_names_of_their_own():
    names = [described["operationId"] for described in OPERATIONS.values()]
    assert len(set(names)) == len(names)
    assert all(name.startswith("socialvault_") for name in names)


def test_nothing_of_this_machine_is_in_it():
    assert not re.search(r"/(?:home|work|usr|tmp)/|127\.0\.0\.1|localhost", json.dumps(DOCUMENT))


# --- each route -----------------------------------------------------------------------------------


def test_the_table_of_statuses_names_every_route():
    assert STATUSES.keys() == {route.name for route in ROUTES}


@every_route
def test_every_status_that_a_route_can_answer_is_documented(route):
    expected = STATUSES[route.name] | ANY | (LIMITED if route.limited or route.needs_owner else set())
    missing = expected - {int(status) for status in operation(route)["responses"]}
    assert missing == set()


@every_route
def test_only_owners_routes_ask_who_is_signed_in(route):
    assert ("401" in operation(route)["responses"]) is route.needs_owner


@every_route
def test_every_answer_is_described_and_every_failure_is_a_problem(route):
    for status, answer in operation(route)["responses"].items():
        assert answer["description"]
        if int(status) >= 400 and (route.name, status) != ("ready", "503"):
            problem = answer["content"]["application/problem+json"]["schema"]
            assert problem == {"$ref": "#/components/schemas/ProblemDocument"}
            assert ("text/html" in answer["content"]) is bool(route.browser)
        if status in ("204", "303"):
            assert "content" not in answer


@every_route
def test_an_answer_that_asks_for_patience_says_for_how_long(route):
    for status, answer in operation(route)["responses"].items():
        asks = status in ("429", "503") and (route.name, status) != ("ready", "503")
        assert ("Retry-After" in answer.get("headers", {})) is asks


@every_route
def test_what_a_program_must_send_is_described(route):
    headers = {one["name"] for one in operation(route)["parameters"] if one["in"] == "header"}
    assert headers == ({"X-Requested-With"} if route.changes else set())


@every_route
def test_the_good_answer_has_its_document(route):
    good = operation(route)["responses"][str(route.status)]
    if route.document is None:
        assert "application/json" not in good.get("content", {})
    else:
        assert good["content"]["application/json"]["schema"]["$ref"].endswith(f"/{route.document.__name__}")


@every_route
def test_the_parameters_of_a_path_are_all_required(route):
    found = {one["name"] for one in operation(route)["parameters"] if one["in"] == "path" and one["required"]}
    assert found == set(re.findall(r"\{(\w+)\}", route.path))


def test_the_callbacks_parameters_are_in_the_query_of_one_and_the_form_of_the_other():
    query = {
        one["name"] for one in OPERATIONS["GET", "/oauth/{platform}/callback"]["parameters"] if one["in"] == "query"
    }
    body = OPERATIONS["POST", "/oauth/{platform}/callback"]["requestBody"]["content"]
    assert query == {"state", "code", "error", "iss"}
    assert set(body) == {"application/x-www-form-urlencoded"}
    assert set(body["application/x-www-form-urlencoded"]["schema"]["properties"]) == query


@pytest.mark.parametrize(("name", "required"), [("start", False), ("reconnect", False), ("select_sub_accounts", True)])
def test_a_body_is_json_or_a_form_and_required_where_a_field_is(name, required):
    [route] = [route for route in ROUTES if route.name == name]
    body = operation(route)["requestBody"]
    assert body["required"] is required
    assert set(body["content"]) == {"application/json", "application/x-www-form-urlencoded"}


@every_route
def test_routes_without_a_body_describe_none(route):
    assert ("requestBody" in operation(route)) is bool(route.body or route.form)


def test_what_a_body_may_say_is_closed():
    for name in ("StartBody", "ReconnectBody", "SelectionBody"):
        assert DOCUMENT["components"]["schemas"][name]["additionalProperties"] is False


# --- inlined --------------------------------------------------------------------------------------


@every_route
def test_nothing_is_referred_to_once_it_is_inlined(route):
    found = inlined(operation(route), schemas(ROUTES))
    assert list(references(found)) == []
    json.dumps(found)


def test_what_is_inlined_is_what_was_referred_to():
    definitions = {"A": {"properties": {"b": {"$ref": "#/x/B"}}}, "B": {"type": "string"}}
    assert inlined([{"$ref": "#/x/A"}, 1], definitions) == [{"properties": {"b": {"type": "string"}}}, 1]


def test_what_refers_to_itself_is_cut_off():
    definitions = {"Tree": {"properties": {"children": {"items": {"$ref": "#/x/Tree"}}}}}
    assert inlined({"$ref": "#/x/Tree"}, definitions) == {"properties": {"children": {"items": {"type": "object"}}}}


def test_the_definitions_are_left_as_they_were():
    definitions = schemas(ROUTES)
    before = json.dumps(definitions)
    for route in ROUTES:
        inlined(operation(route), definitions)
    assert json.dumps(definitions) == before
