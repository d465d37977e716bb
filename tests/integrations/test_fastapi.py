"""FastAPI alone: dependencies, the lifespan, the OpenAPI document."""

import subprocess
import sys
from typing import Annotated, Any

import pytest
from fastapi import Body, Depends, FastAPI, Form, Header, HTTPException, Request, Response
from fastapi.openapi.models import OpenAPI
from support.world import OWNER

from socialvault import LocalKeyring
from socialvault.exceptions import ConfigurationError, StoreUnavailableError, WrongKeyError
from socialvault.integrations.fastapi import oauth_router

PREFIX = "/api/v1"
SAFE = {"Cache-Control": "no-store", "Referrer-Policy": "no-referrer", "X-Content-Type-Options": "nosniff"}


@pytest.fixture
async def host(host_of):
    return await host_of("fastapi")


def named(request: Request) -> str | None:
    return request.headers.get("x-owner")


# --- dependencies ---------------------------------------------------------------------------------


async def test_a_refusal_of_a_dependency_keeps_its_headers_and_gets_ours(host):
    await host.mount(owner=host.refusing())
    answer = await host.ask("GET", "/oauth/connections")
    assert (answer.status, answer.json) == (403, {"detail": "not you"})
    assert answer.header("WWW-Authenticate") == "Session"
    assert {name: answer.header(name) for name in SAFE} == SAFE


async def test_a_refusal_without_headers_gets_ours(host):
    def tenant() -> str:
        raise HTTPException(404)

    await host.mount(tenant=tenant)
    answer = await host.ask("GET", "/oauth/connections")
    assert (answer.status, {name: answer.header(name) for name in SAFE}) == (404, SAFE)


async def test_an_owner_may_depend_on_others_and_clean_up(host):
    closed = []

    def session():
        yield "user-42"
        closed.append("session")

    class Signed:
        async def __call__(self, who: Annotated[str, Depends(session)], x_owner: Annotated[str, Header()]) -> str:
            return who if x_owner == OWNER else ""

    await host.mount(owner=Signed())
    mine = await host.world.connect("x")
    answer = await host.ask("GET", "/oauth/connections")
    assert [one["id"] for one in answer.json["connections"]] == [mine.id]
    assert closed == ["session"]
    assert (await host.ask("GET", "/oauth/connections", headers={"x-owner": "user-43"})).status == 401


async def test_owner_and_tenant_share_what_both_depend_on(host):
    asked = []

    def session(request: Request) -> dict[str, Any]:
        asked.append(1)
        return {"owner": "user-42", "tenant": "acme"}

    def owner(found: Annotated[dict[str, Any], Depends(session)]) -> str:
        return found["owner"]

    def tenant(found: Annotated[dict[str, Any], Depends(session)]) -> str:
        return found["tenant"]

    await host.mount(owner=owner, tenant=tenant)
    assert (await host.ask("GET", "/oauth/connections")).status == 200
    assert asked == [1]


async def test_an_owner_may_read_the_body_too(host):
    seen = []

    async def owner(request: Request) -> str:
        seen.append((await request.body(), await request.json()))
        async for chunk in request.stream():
            seen.append(chunk)
        return OWNER

    await host.mount(owner=owner)
    answer = await host.ask("POST", "/oauth/x/start", data={"return_to": "/elsewhere"})
    assert [one["field"] for one in answer.json["errors"]] == ["return_to"]
    assert seen[0] == (b'{"return_to": "/elsewhere"}', {"return_to": "/elsewhere"})


async def test_an_owner_may_declare_the_body_or_a_form_of_it(host):
    def by_json(said: Annotated[dict[str, Any], Body()]) -> str:
        return OWNER if "return_to" in said else ""

    await host.mount(owner=by_json)
    assert (await host.ask("POST", "/oauth/x/start", data={"return_to": "/settings"})).status == 200


async def test_an_owner_may_read_a_form(host):
    def by_form(return_to: Annotated[str, Form()]) -> str:
        return OWNER

    await host.mount(owner=by_form)
    kind = {"content-type": "application/x-www-form-urlencoded"}
    answer = await host.ask("POST", "/oauth/x/start", headers=kind, body=b"return_to=%2Fsettings")
    assert answer.status == 200
    refused = await host.ask("POST", "/oauth/x/start", headers=kind, body=b"return_to=%2Felsewhere")
    assert [one["field"] for one in refused.json["errors"]] == ["return_to"]


async def test_a_plain_hook_may_return_something_to_await(host):
    async def later(done):
        host.heard.append((done,))

    await host.mount(on_connected=lambda request, done: later(done))
    await host.connect()
    assert len(host.heard) == 1


async def test_the_hook_gets_the_request_that_the_dependencies_got(host):
    def owner(request: Request) -> str:
        request.state.seen = "by the owner"
        return OWNER

    await host.mount(owner=owner)
    await host.connect()
    [(request, done)] = host.heard
    assert (request.state.seen, done.connection.provider) == ("by the owner", "x")
    assert request.url.path == f"{PREFIX}/oauth/x/callback"


# --- bodies ---------------------------------------------------------------------------------------


async def test_a_body_in_chunks_has_its_bounds_too(host):
    read = []

    async def chunks():
        for number in range(200):
            read.append(number)
            yield b" " * 1024

    await host.mount()
    answer = await host.send("POST", f"{PREFIX}/oauth/x/start", {"content-type": "application/json"}, chunks())
    assert (answer.status, answer.json["code"]) == (413, "body_too_large")


async def test_a_body_in_chunks_is_read_whole(host):
    async def chunks():
        for part in (b'{"return_to"', b': "/els', b'ewhere"}'):
            yield part

    await host.mount()
    headers = {"content-type": "application/json", "x-owner": OWNER, "x-tenant": "acme", "x-requested-with": "x"}
    answer = await host.send("POST", f"{PREFIX}/oauth/x/start", headers, chunks())
    assert [one["field"] for one in answer.json["errors"]] == ["return_to"]


async def test_what_a_dependency_sets_goes_along_with_the_answer(host):
    def owner(response: Response) -> str:
        response.set_cookie("session", "renewed")
        response.headers["X-Own"] = "1"
        return OWNER

    await host.mount(owner=owner)
    answer = await host.ask("GET", "/oauth/connections")
    assert (answer.status, answer.header("x-own")) == (200, "1")
    assert answer.header("set-cookie").startswith("session=renewed;")
    assert {name: answer.header(name) for name in SAFE} == SAFE


async def test_what_a_dependency_found_wrong_is_a_problem_that_repeats_nothing(host):
    def owner(x_owner: Annotated[int, Header()]) -> str:
        return str(x_owner)

    await host.mount(owner=owner)
    answer = await host.ask("GET", "/oauth/connections", headers={"x-owner": "canary"})
    assert (answer.status, answer.json["code"]) == (422, "invalid_fields")
    assert [one["field"] for one in answer.json["errors"]] == ["header.x-owner"]
    assert "canary" not in answer.text
    assert {name: answer.header(name) for name in SAFE} == SAFE


async def test_a_client_that_goes_away_is_answered_nothing_that_it_did_not_send(host):
    await host.mount()
    sent = []
    scope = {
        "type": "http", "method": "POST", "path": f"{PREFIX}/oauth/x/start", "query_string": b"", "headers": [],
        "http_version": "1.1", "scheme": "http", "server": ("127.0.0.1", 9), "client": ("127.0.0.1", 1),
    }  # fmt: skip

    async def receive():
        return {"type": "http.disconnect"}

    async def send(message):
        sent.append(message)

    await host.app(scope, receive, send)
    assert [one["status"] for one in sent if one["type"] == "http.response.start"] == [413]


# --- start and end --------------------------------------------------------------------------------


async def test_the_vault_is_opened_at_the_start_and_closed_at_the_end(host, monkeypatch):
    vault, calls = host.build_vault(), []
    opened, closed = vault.open, vault.aclose

    async def open_():
        calls.append("open")
        await opened()

    async def aclose():
        calls.append("close")
        await closed()

    monkeypatch.setattr(vault, "open", open_)
    monkeypatch.setattr(vault, "aclose", aclose)
    app = FastAPI()
    app.include_router(oauth_router(vault, owner=named), prefix=PREFIX)
    assert calls == []
    async with app.router.lifespan_context(app):
        assert calls == ["open"]
    assert calls == ["open", "close"]


async def test_an_application_can_be_started_again(host):
    app = host.app = FastAPI()
    app.include_router(oauth_router(host.build_vault(), owner=named), prefix=PREFIX)
    for _ in range(2):
        async with app.router.lifespan_context(app):
            assert (await host.ask("GET", "/health/ready")).json["status"] == "ready"


async def test_wrong_keys_stop_the_start(host):
    await host.world.connect("x")
    vault = host.build_vault(keys=LocalKeyring([LocalKeyring.generate()]))
    app = FastAPI()
    app.include_router(oauth_router(vault, owner=named), prefix=PREFIX)
    with pytest.raises(WrongKeyError):
        async with app.router.lifespan_context(app):
            pytest.fail("it started")


async def test_the_lifespan_of_the_application_is_its_own(host, monkeypatch):
    from contextlib import asynccontextmanager

    said = []

    @asynccontextmanager
    async def lifespan(app):
        said.append("start")
        yield {"database": "of the application"}
        said.append("end")

    app = FastAPI(lifespan=lifespan)
    app.include_router(oauth_router(host.build_vault(), owner=named), prefix=PREFIX)
    async with app.router.lifespan_context(app) as state:
        assert state == {"database": "of the application"}
    assert said == ["start", "end"]


# --- the description ------------------------------------------------------------------------------


async def test_the_applications_document_describes_the_routes_as_ours_does(host):
    await host.mount()
    theirs, ours = host.app.openapi(), (await host.ask("GET", "/oauth/openapi.json")).json
    OpenAPI.model_validate(theirs)
    OpenAPI.model_validate(ours)

    def methods(document, prefix=""):
        return {path.removeprefix(prefix): set(item) for path, item in document["paths"].items()}

    assert methods(theirs, PREFIX) == methods(ours)
    for path, item in ours["paths"].items():
        for method, operation in item.items():
            found = theirs["paths"][PREFIX + path][method]
            assert found["operationId"] == operation["operationId"]
            assert set(found["responses"]) == set(operation["responses"])
            assert [one["name"] for one in found.get("parameters", [])] == [
                one["name"] for one in operation["parameters"]
            ]
            assert ("requestBody" in found) is ("requestBody" in operation)


async def test_the_applications_document_has_no_reference_that_leads_nowhere(host):
    await host.mount()
    document = host.app.openapi()
    found = []

    def walk(value):
        if isinstance(value, dict):
            found.extend([value["$ref"]] if "$ref" in value else [])
            for one in value.values():
                walk(one)
        elif isinstance(value, list):
            for one in value:
                walk(one)

    walk(document)
    known = document.get("components", {}).get("schemas", {})
    assert [one for one in found if one.rpartition("/")[2] not in known] == []


async def test_operations_keep_their_names_beside_those_of_the_application(host):
    await host.mount()

    @host.app.get("/own")
    def own() -> None:
        """A route of the application."""

    operations = [one for item in host.app.openapi()["paths"].values() for one in item.values()]
    names = [one["operationId"] for one in operations]
    assert len(set(names)) == len(names)


async def test_what_an_owner_needs_is_described_too(host):
    def owner(x_owner: Annotated[str, Header()]) -> str:
        return x_owner

    await host.mount(owner=owner)
    described = host.app.openapi()["paths"][f"{PREFIX}/oauth/connections/{{connection_id}}"]["get"]
    assert {one["name"] for one in described["parameters"]} == {"connection_id", "x-owner"}


# --- what is refused ------------------------------------------------------------------------------


async def test_a_vault_of_the_other_colour_is_refused_by_name(host_of):
    flask = await host_of("flask")
    with pytest.raises(ConfigurationError, match="vault: FastAPI needs an AsyncVault, not Vault"):
        oauth_router(flask.build_vault(), owner=named)


@pytest.mark.parametrize(
    ("name", "value"),
    [("owner", "user-42"), ("owner", None), ("tenant", "acme"), ("on_connected", "hook"), ("orgins", [])],
)
async def test_arguments_that_cannot_be_used_are_named(host, name, value):
    with pytest.raises(ConfigurationError, match=name):
        oauth_router(host.build_vault(), **{"owner": named, name: value})


async def test_a_redirect_uri_that_no_route_answers_is_refused(host):
    with pytest.raises(ConfigurationError, match="redirect_uri"):
        oauth_router(host.build_vault(redirect_uri="http://127.0.0.1:9/callback/{provider}"), owner=named)


async def test_a_vault_error_of_a_dependency_is_its_own(host):
    def owner() -> str:
        raise StoreUnavailableError("canary of the application")

    await host.mount(owner=owner)
    answer = await host.ask("GET", "/oauth/connections")
    assert answer.status == 500
    assert "canary" not in answer.text


@pytest.mark.parametrize("blocked", ["fastapi", "starlette"])
def test_a_missing_framework_is_named_with_its_extra(blocked):
    probe = (
        f"import sys; sys.modules[{blocked!r}] = None\n"
        "from socialvault.exceptions import ConfigurationError\n"
        "try:\n    import socialvault.integrations.fastapi\n"
        "except ConfigurationError as problem:\n    print(problem, problem.__cause__)"
    )
    done = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=True)
    assert done.stdout == "FastAPI is missing: pip install 'socialvault[fastapi]' None\n"
