"""Django alone: settings, both colours of views, both colours of vaults."""

from __future__ import annotations

import asyncio
import io
import threading
from typing import TYPE_CHECKING

import pytest
from django.http import HttpResponse
from django.test import AsyncClient, Client, override_settings
from django.utils.functional import SimpleLazyObject
from support.world import OWNER

from socialvault import LocalKeyring
from socialvault.exceptions import ConfigurationError, WrongKeyError

if TYPE_CHECKING:
    from socialvault.integrations.django.apps import SocialVaultConfig

PREFIX = "/api/v1"
PROGRAM = {"x-owner": OWNER, "x-tenant": "acme", "x-requested-with": "tests"}

BOTH = pytest.mark.parametrize("name", ["django", "django-async"])

#: What dotted paths lead to; `vault` is put there by the test that needs it.
vault = None


def owner(request):
    return request.headers.get("x-owner")


def connected(request, completed):
    """Do nothing."""


not_callable = "user-42"


def ready(**settings) -> SocialVaultConfig:
    """Make the app config as Django does, without installing it."""
    import socialvault.integrations.django as module
    from socialvault.integrations.django.apps import SocialVaultConfig

    config = SocialVaultConfig("socialvault.integrations.django", module)
    with override_settings(**settings):
        config.ready()
    return config


# --- settings -------------------------------------------------------------------------------------


@pytest.mark.parametrize("settings", [{}, {"SOCIALVAULT": None}, {"SOCIALVAULT": "shop.vault"}, {"SOCIALVAULT": []}])
def test_settings_that_are_no_dict_are_refused(settings):
    with pytest.raises(ConfigurationError, match="must be a dict with at least vault and owner"):
        ready(**settings)


@BOTH
@pytest.mark.parametrize(
    ("name_of", "value", "says"),
    [
        ("vault", None, "SOCIALVAULT: vault must be a Vault or an AsyncVault, not NoneType"),
        ("vault", 42, "SOCIALVAULT: vault must be a Vault or an AsyncVault, not int"),
        ("vault", "nowhere.vault", "SOCIALVAULT: vault is 'nowhere.vault', which can't be imported: No module"),
        ("vault", "vault", "SOCIALVAULT: vault is 'vault', which can't be imported"),
        ("vault", f"{__name__}.owner", "SOCIALVAULT: vault must be a Vault or an AsyncVault, not function"),
        ("owner", None, "SOCIALVAULT: owner must be a function, not NoneType"),
        ("owner", f"{__name__}.missing", "SOCIALVAULT: owner is .*, which can't be imported"),
        ("owner", f"{__name__}.not_callable", "SOCIALVAULT: owner must be a function, not str"),
        ("tenant", 42, "SOCIALVAULT: tenant must be a function, not int"),
        ("tenant", "nowhere.tenant", "SOCIALVAULT: tenant is 'nowhere.tenant', which can't be imported"),
        ("on_connected", 42, "SOCIALVAULT: on_connected must be a function, not int"),
        ("origins", "https://spa.example", "origins must be a list, not str"),
        ("allow_ips", ["somewhere"], "allow_ips: 'somewhere' is no address"),
        ("trusted_proxies", ["*"], "trusted_proxies: "),
        ("rate_limits", "600/minute", "rate_limits must be a RateLimits or None, not str"),
        ("orgins", [], "orgins"),
    ],
)
async def test_each_setting_that_cannot_be_used_is_named(host_of, name, name_of, value, says):
    host = await host_of(name)
    with pytest.raises(ConfigurationError, match=says):
        ready(SOCIALVAULT={"vault": host.build_vault(), "owner": owner, name_of: value})


@BOTH
@pytest.mark.parametrize("missing", ["vault", "owner"])
async def test_each_setting_that_is_missing_is_named(host_of, name, missing):
    host = await host_of(name)
    settings = {"vault": host.build_vault(), "owner": owner}
    del settings[missing]
    with pytest.raises(ConfigurationError, match=f"SOCIALVAULT: {missing} is missing"):
        ready(SOCIALVAULT=settings)


@BOTH
async def test_settings_may_be_dotted_paths_or_the_objects_themselves(host_of, name, monkeypatch):
    host = await host_of(name)
    import importlib

    here = importlib.import_module(__name__)
    monkeypatch.setattr(here, "vault", host.build_vault())
    paths = {
        "vault": f"{__name__}.vault",
        "owner": f"{__name__}.owner",
        "tenant": f"{__name__}.owner",
        "on_connected": f"{__name__}.connected",
    }
    config = await asyncio.to_thread(ready, SOCIALVAULT=paths)
    assert (config.vault, config.owner, config.tenant) == (host.vault, owner, owner)


async def test_settings_may_be_left_out_or_turned_off(host_of):
    host = await host_of("django")
    config = ready(SOCIALVAULT={"vault": host.build_vault(), "owner": owner, "on_connected": None, "rate_limits": None})
    assert config.tenant(object()) == ""
    assert (config.label, config.name) == ("socialvault", "socialvault.integrations.django")


@BOTH
async def test_wrong_keys_stop_the_start(host_of, name):
    host = await host_of(name)
    await host.world.connect("x")
    wrong = host.build_vault(keys=LocalKeyring([LocalKeyring.generate()]))
    with pytest.raises(WrongKeyError):
        ready(SOCIALVAULT={"vault": wrong, "owner": owner})


@BOTH
async def test_the_vault_is_opened_at_the_start_within_a_running_loop_or_without(host_of, name):
    host = await host_of(name)
    settings = {"vault": host.build_vault(), "owner": owner}
    ready(SOCIALVAULT=settings)  # here a loop is running, as in an ASGI server
    assert host.vault._cases.core.keyring.opened
    await asyncio.to_thread(ready, SOCIALVAULT={**settings, "vault": host.build_vault()})
    assert host.vault._cases.core.keyring.opened


# --- views ----------------------------------------------------------------------------------------


@BOTH
async def test_the_routes_have_names_to_reverse(host_of, name):
    from django.urls import reverse

    host = await host_of(name)
    await host.mount()
    assert reverse("socialvault:start", kwargs={"platform": "x"}) == f"{PREFIX}/oauth/x/start"
    assert (
        reverse("socialvault:connection_disconnect", kwargs={"connection_id": "c"}) == f"{PREFIX}/oauth/connections/c"
    )
    assert reverse("socialvault:live") == f"{PREFIX}/health"


@BOTH
async def test_views_of_either_colour_answer_servers_of_either_colour(host_of, name):
    host = await host_of(name)
    await host.mount()
    mine = await host.world.connect("x")

    for _ in range(3):  # under WSGI each request of an asynchronous view has a loop of its own
        listed = await asyncio.to_thread(lambda: Client().get(f"{PREFIX}/oauth/connections", headers=PROGRAM))
        assert [one["id"] for one in listed.json()["connections"]] == [mine.id]
    waiting = await AsyncClient().get(f"{PREFIX}/oauth/connections", headers=PROGRAM)
    assert [one["id"] for one in waiting.json()["connections"]] == [mine.id]
    assert waiting["Cache-Control"] == "no-store"


@BOTH
async def test_the_hook_gets_the_request_that_the_owner_got(host_of, name):
    host = await host_of(name)

    def seen(request):
        request.seen = "by the owner"
        return OWNER

    await host.mount(owner=seen)
    await host.connect()
    [(request, done)] = host.heard
    assert (request.seen, done.connection.provider) == ("by the owner", "x")


@BOTH
async def test_a_session_that_the_hook_renews_reaches_the_browser(host_of, name):
    host = await host_of(name)

    def renew(request, completed):
        request.session["connected"] = completed.connection.id

    await host.mount(on_connected=renew)
    answer = await host.connect(browser=True)
    [cookie] = answer.all("Set-Cookie")
    assert cookie.startswith("sessionid=")
    assert answer.status == 303


@BOTH
async def test_a_form_that_a_middleware_has_read_before_is_read_all_the_same(host_of, name):
    host = await host_of(name)
    await host.mount()
    kind = {"content-type": "application/x-www-form-urlencoded"}
    with override_settings(MIDDLEWARE=[f"{__name__}.reading_forms"]):
        answer = await host.ask("POST", "/oauth/x/start", headers=kind, body=b"return_to=%2Felsewhere")
        assert [one["field"] for one in answer.json["errors"]] == ["return_to"]
        kind = {"content-type": "multipart/form-data; boundary=b"}
        body = b'--b\r\nContent-Disposition: form-data; name="return_to"\r\n\r\n/x\r\n--b--\r\n'
        assert (await host.ask("POST", "/oauth/x/callback", headers=kind, body=body)).status == 415


def reading_forms(get_response):
    """Read each form before the view does."""

    def middleware(request) -> HttpResponse:
        _ = request.POST.get("return_to")
        return get_response(request)

    return middleware


@BOTH
async def test_the_lazy_objects_of_django_are_taken_for_what_they_stand_for(host_of, name):
    host = await host_of(name)
    await host.mount(owner=lambda request: SimpleLazyObject(lambda: OWNER))
    mine = await host.world.connect("x")
    answer = await host.ask("GET", "/oauth/connections")
    assert [one["id"] for one in answer.json["connections"]] == [mine.id]


@BOTH
async def test_a_permission_that_is_denied_is_a_problem(host_of, name):
    host = await host_of(name)
    await host.mount(owner=host.refusing())
    answer = await host.ask("GET", "/oauth/connections")
    assert (answer.status, answer.json["code"]) == (403, "forbidden")
    assert "not you" not in answer.text


@BOTH
async def test_a_bound_of_the_application_that_is_lower_than_ours_counts(host_of, name):
    host = await host_of(name)
    await host.mount()
    with override_settings(DATA_UPLOAD_MAX_MEMORY_SIZE=10):
        answer = await host.ask("POST", "/oauth/x/start", data={"return_to": "/settings"})
    assert (answer.status, answer.json["code"]) == (413, "body_too_large")


async def test_a_client_that_goes_away_before_its_body_ends_is_refused():
    from django.test import RequestFactory

    from socialvault.integrations.django.views import _read

    class Gone(io.RawIOBase):
        def read(self, *args):
            raise OSError("gone")

    native = RequestFactory().post("/", b"x", content_type="application/json")
    native._stream = Gone()
    assert _read(native, {}) is None


@pytest.mark.parametrize("said", ["", "many", "-1", "²"])
async def test_a_length_that_is_no_number_is_no_length(host_of, said):
    from django.test import RequestFactory

    from socialvault.integrations.django.views import _read

    native = RequestFactory().get("/")
    native.META["CONTENT_LENGTH"] = said
    native._body = b"x"
    assert _read(native, {}).body == b"x"


async def test_a_body_in_chunks_has_its_bounds_too(host_of):
    host = await host_of("django-async")
    await host.mount()
    headers = {**PROGRAM, "content-type": "application/json"}

    async def chunks(count):
        yield b'{"return_to": "/settings"}'
        for _ in range(count):
            yield b" " * 1024

    for count, status in ((10, 200), (64, 413)):
        answer = await host.send("POST", f"{PREFIX}/oauth/x/start", headers, chunks(count))
        assert answer.status == status
        assert answer.header("Cache-Control") == "no-store"


# --- colours --------------------------------------------------------------------------------------


async def test_functions_are_called_in_the_colour_of_the_view():
    from socialvault.integrations.django.colours import apart, asynchronous, blocking

    async def later(value):
        await asyncio.sleep(0)
        return value

    assert await asynchronous(later)(1) == 1
    assert await asynchronous(lambda value: value)(2) == 2
    assert blocking(lambda value: value)(3) == 3
    assert await asyncio.to_thread(blocking(later), 4) == 4
    assert await apart(threading.get_ident) != threading.get_ident()
    with pytest.raises(ConfigurationError, match="returns something to await"):
        blocking(lambda *_values: later(5))(5)
