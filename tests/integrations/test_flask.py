"""Flask alone: aborts, forms that were read before, chunked bodies."""

from __future__ import annotations

import io
import subprocess
import sys

import pytest
from flask import Flask, Response, abort, redirect, request
from support.world import OWNER

from socialvault import LocalKeyring
from socialvault.exceptions import ConfigurationError, WrongKeyError
from socialvault.integrations.flask import oauth_blueprint

PREFIX = "/api/v1"
SAFE = {"Cache-Control": "no-store", "Referrer-Policy": "no-referrer", "X-Content-Type-Options": "nosniff"}
PROGRAM = {"X-Owner": OWNER, "X-Tenant": "acme", "X-Requested-With": "tests"}


@pytest.fixture
async def host(host_of):
    return await host_of("flask")


def named():
    return request.headers.get("X-Owner")


# --- whom the application names -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("refuse", "status", "location"),
    [
        (lambda: abort(403), 403, ""),
        (lambda: abort(401, "sign in"), 401, ""),
        (lambda: abort(redirect("/login")), 302, "/login"),
        (lambda: abort(Response("no", 418)), 418, ""),
    ],
    ids=["403", "text", "redirect", "response"],
)
async def test_an_abort_is_the_answer_with_our_headers(host, refuse, status, location):
    await host.mount(owner=refuse)
    answer = await host.ask("GET", "/oauth/connections")
    assert (answer.status, answer.header("Location")) == (status, location)
    assert {name: answer.header(name) for name in SAFE} == SAFE


async def test_an_abort_of_a_coroutine_function_is_one_too(host):
    async def owner():
        abort(403)

    await host.mount(owner=owner)
    answer = await host.ask("GET", "/oauth/connections")
    assert (answer.status, answer.header("Cache-Control")) == (403, "no-store")


async def test_an_abort_is_handled_as_the_application_handles_its_others(host):
    await host.mount(owner=host.refusing())
    host.app.register_error_handler(403, lambda problem: ({"error": problem.description}, 403))
    answer = await host.ask("GET", "/oauth/connections")
    assert (answer.status, answer.json) == (403, {"error": "not you"})


async def test_what_nobody_can_await_is_a_mistake_of_the_application(host, caplog):
    async def later():
        """Never run."""

    await host.mount(on_connected=lambda done: later())
    answer = await host.connect()
    assert (answer.status, answer.json["connection"]["status"]) == (200, "active")
    assert "on_connected returns something to await" in caplog.text


async def test_the_hook_runs_within_the_request(host):
    seen = []
    await host.mount(on_connected=lambda done: seen.append((request.path, done.connection.provider)))
    await host.connect()
    assert seen == [(f"{PREFIX}/oauth/x/callback", "x")]


async def test_a_coroutine_function_needs_asgiref_and_says_so(host, monkeypatch):
    async def later(*args):
        return OWNER

    monkeypatch.setitem(sys.modules, "asgiref", None)
    vault = host.build_vault()
    for name in ("owner", "tenant", "on_connected"):
        with pytest.raises(ConfigurationError) as raised:
            oauth_blueprint(vault, **{"owner": named, name: later})
        assert str(raised.value) == f"{name} is a coroutine function: pip install 'flask[async]'"
    oauth_blueprint(vault, owner=named)


# --- bodies ---------------------------------------------------------------------------------------


async def test_a_form_that_the_application_has_read_before_is_read_all_the_same(host):
    await host.mount()
    host.app.before_request(lambda: request.form.get("return_to") and None)
    kind = {"content-type": "application/x-www-form-urlencoded"}
    answer = await host.ask("POST", "/oauth/x/start", headers=kind, body=b"return_to=%2Felsewhere&scopes=a&scopes=b")
    assert [one["field"] for one in answer.json["errors"]] == ["return_to"]


async def test_an_owner_may_read_the_body_too(host):
    seen = []

    def owner():
        seen.append((request.get_data(), request.form.to_dict()))
        return OWNER

    await host.mount(owner=owner)
    kind = {"content-type": "application/x-www-form-urlencoded"}
    answer = await host.ask("POST", "/oauth/x/start", headers=kind, body=b"return_to=%2Felsewhere")
    assert answer.status == 422
    assert seen == [(b"return_to=%2Felsewhere", {"return_to": "/elsewhere"})]


@pytest.mark.parametrize(("length", "status"), [(65_536, 200), (65_537, 413), (1_000_000, 413)])
async def test_a_body_without_a_length_has_its_bounds_too(host, length, status):
    await host.mount()
    body = b'{"return_to": "/settings"}'.ljust(length)
    client = host.app.test_client()
    answer = client.post(
        f"{PREFIX}/oauth/x/start", input_stream=io.BytesIO(body), content_type="application/json", headers=PROGRAM,
        environ_overrides={"wsgi.input_terminated": True, "HTTP_TRANSFER_ENCODING": "chunked"},
    )  # fmt: skip
    assert answer.status_code == status
    assert answer.headers["Cache-Control"] == "no-store"


async def test_the_applications_own_bound_for_other_routes_stays(host):
    await host.mount()
    host.app.config["MAX_CONTENT_LENGTH"] = 10
    host.app.add_url_rule("/own", "own", lambda: str(len(request.get_data())), methods=["POST"])
    assert (await host.ask("POST", "/oauth/x/start", data={"return_to": "/settings"})).status == 200
    client = host.app.test_client()
    assert client.post("/own", data=b"x" * 11).status_code == 413


async def test_no_redirect_repeats_the_query_of_a_callback(host):
    await host.mount()
    for path in ("/oauth/x//callback", "//oauth/x/callback", "/oauth/x/callback/"):
        answer = host.app.test_client().get(f"{PREFIX}{path}?code=canary&state=s")
        assert (answer.status_code, answer.headers.get("Location")) == (404, None)


# --- start and end --------------------------------------------------------------------------------


async def test_registering_opens_the_vault(host, monkeypatch):
    vault, opened = host.build_vault(), []
    monkeypatch.setattr(vault, "open", lambda: opened.append(1))
    blueprint = oauth_blueprint(vault, owner=named)
    assert opened == []
    app = Flask("an_application", root_path="/")
    app.register_blueprint(blueprint, url_prefix=PREFIX)
    assert opened == [1]


async def test_wrong_keys_stop_the_start(host):
    await host.world.connect("x")
    blueprint = oauth_blueprint(host.build_vault(keys=LocalKeyring([LocalKeyring.generate()])), owner=named)
    app = Flask("an_application", root_path="/")
    with pytest.raises(WrongKeyError):
        app.register_blueprint(blueprint, url_prefix=PREFIX)


async def test_two_vaults_are_two_blueprints_of_their_own_names(host):
    app = Flask("an_application", root_path="/")
    for name in ("one", "two"):
        app.register_blueprint(oauth_blueprint(host.build_vault(), owner=named, name=name), url_prefix=f"/{name}")
    client = app.test_client()
    assert [client.get(f"/{name}/health").status_code for name in ("one", "two")] == [200, 200]
    assert "one.live" in {rule.endpoint for rule in app.url_map.iter_rules()}


# --- what is refused ------------------------------------------------------------------------------


async def test_a_vault_of_the_other_colour_is_refused_by_name(host_of):
    fastapi = await host_of("fastapi")
    with pytest.raises(ConfigurationError, match="vault: Flask needs a Vault, not AsyncVault"):
        oauth_blueprint(fastapi.build_vault(), owner=named)


@pytest.mark.parametrize(
    ("name", "value"),
    [("owner", "user-42"), ("owner", None), ("tenant", "acme"), ("on_connected", "hook"), ("orgins", [])],
)
async def test_arguments_that_cannot_be_used_are_named(host, name, value):
    with pytest.raises(ConfigurationError, match=name):
        oauth_blueprint(host.build_vault(), **{"owner": named, name: value})


@pytest.mark.parametrize("blocked", ["flask", "werkzeug"])
def test_a_missing_framework_is_named_with_its_extra(blocked):
    probe = (
        f"import sys; sys.modules[{blocked!r}] = None\n"
        "from socialvault.exceptions import ConfigurationError\n"
        "try:\n    import socialvault.integrations.flask\n"
        "except ConfigurationError as problem:\n    print(problem, problem.__cause__)"
    )
    done = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=True)
    assert done.stdout == "Flask is missing: pip install 'socialvault[flask]' None\n"
