"""A setting that is missing or wrong stops the start, with a message that names it."""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import django
import pytest
from django.conf import settings
from django.test import override_settings
from flask import Flask
from support.servers import HOSTS

from socialvault import AsyncVault, LocalKeyring, Vault
from socialvault.exceptions import ConfigurationError
from socialvault.http.limits import RateLimits
from socialvault.integrations.fastapi import oauth_router
from socialvault.integrations.flask import oauth_blueprint
from socialvault.providers import OpenIDConnect, X

if TYPE_CHECKING:
    from pathlib import Path

FRAMEWORKS = ("fastapi", "flask", "django")
REDIRECT_URI = "https://app.example/api/v1/oauth/{provider}/callback"
MISSING = object()

#: id: (setting, value, what the message names)
WRONG: dict[str, tuple[str, Any, str]] = {
    "vault-missing": ("vault", MISSING, "vault"),
    "vault-none": ("vault", None, "vault"),
    "vault-no-vault": ("vault", object(), "vault"),
    "owner-missing": ("owner", MISSING, "owner"),
    "owner-none": ("owner", None, "owner"),
    "owner-no-function": ("owner", 42, "owner"),
    "tenant-no-function": ("tenant", 42, "tenant"),
    "on-connected-no-function": ("on_connected", 42, "on_connected"),
    "origins-a-string": ("origins", "https://spa.example", "origins"),
    "origins-none": ("origins", None, "origins"),
    "origins-http": ("origins", ["http://spa.example"], "origins"),
    "origins-path": ("origins", ["https://spa.example/"], "origins"),
    "origins-star": ("origins", ["*"], "origins"),
    "origins-null": ("origins", ["null"], "origins"),
    "origins-userinfo": ("origins", ["https://a@spa.example"], "origins"),
    "origins-no-text": ("origins", [7], "origins"),
    "origins-port": ("origins", ["https://spa.example:99999"], "origins"),
    "allow-ips-a-string": ("allow_ips", "10.0.0.0/8", "allow_ips"),
    "allow-ips-nonsense": ("allow_ips", ["nonsense"], "allow_ips"),
    "allow-ips-host-bits": ("allow_ips", ["10.0.0.1/8"], "allow_ips"),
    "allow-ips-no-text": ("allow_ips", [None], "allow_ips"),
    "proxies-a-string": ("trusted_proxies", "10.0.0.0/8", "trusted_proxies"),
    "proxies-nonsense": ("trusted_proxies", ["nonsense"], "trusted_proxies"),
    "proxies-star": ("trusted_proxies", ["*"], "trusted_proxies"),
    "proxies-none": ("trusted_proxies", None, "trusted_proxies"),
    "limits-a-string": ("rate_limits", "120/minute", "rate_limits"),
    "limits-per-ip": ("rate_limits", RateLimits(per_ip="often"), "per_ip"),
    "limits-per-ip-no-text": ("rate_limits", RateLimits(per_ip=600), "per_ip"),  # type: ignore[arg-type]
    "limits-per-owner": ("rate_limits", RateLimits(per_owner="120"), "per_owner"),
    "limits-storage": ("rate_limits", RateLimits(storage="nowhere://"), "storage"),
    "limits-storage-none": ("rate_limits", RateLimits(storage=""), "storage"),
    "unknown-option": ("orgins", ["https://spa.example"], "orgins"),
}


def provider(**changes: Any) -> Any:
    return X("client", "secret", **changes)


def vault_for(framework: str, **changes: Any) -> Vault | AsyncVault:
    build: Any = AsyncVault if framework == "fastapi" else Vault
    arguments: dict[str, Any] = {
        "providers": [provider()], "store": ":memory:", "keys": LocalKeyring([LocalKeyring.generate()]),
        "redirect_uri": REDIRECT_URI, "return_to": ["/home"],
    }  # fmt: skip
    vault: Vault | AsyncVault = build(**{**arguments, **changes})
    return vault


def mount(framework: str, given: dict[str, Any]) -> None:
    """Mount the routes as each framework's documentation says."""
    if framework == "fastapi":
        oauth_router(given.pop("vault"), **given)
    elif framework == "flask":
        Flask("host").register_blueprint(oauth_blueprint(given.pop("vault"), **given), url_prefix="/api/v1")
    else:
        from socialvault.integrations.django.apps import SocialVaultConfig

        module = importlib.import_module("socialvault.integrations.django")
        with override_settings(SOCIALVAULT=given):
            SocialVaultConfig("socialvault.integrations.django", module).ready()


@pytest.fixture(scope="module", autouse=True)
def configured() -> None:
    if not settings.configured:
        settings.configure()
        django.setup()


def right(framework: str) -> dict[str, Any]:
    return {"vault": vault_for(framework), "owner": lambda *_request: "somebody"}


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_what_is_right_starts(framework: str) -> None:
    mount(framework, right(framework))
    everything = {
        "tenant": lambda *_request: "", "on_connected": lambda *_what: None, "origins": ["https://spa.example:8443"],
        "allow_ips": ["10.0.0.0/8", "::1"], "trusted_proxies": {"10.0.0.1"},
        "rate_limits": RateLimits(per_ip=None, per_owner="1/second"),
    }  # fmt: skip
    mount(framework, right(framework) | everything)
    mount(framework, right(framework) | {"rate_limits": None, "allow_ips": None})


@pytest.mark.parametrize("framework", FRAMEWORKS)
@pytest.mark.parametrize("case", WRONG)
def test_a_wrong_setting_is_named(framework: str, case: str) -> None:
    name, value, named = WRONG[case]
    given = right(framework) | {name: value}
    if value is MISSING:
        del given[name]
        # where the setting is an argument, leaving it out is Python's own error, or the pop's in `mount`
        with pytest.raises((ConfigurationError, TypeError, KeyError), match=named):
            mount(framework, given)
        return
    with pytest.raises(ConfigurationError, match=named):
        mount(framework, given)


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_a_vault_of_the_wrong_colour(framework: str) -> None:
    if framework == "django":  # takes both
        mount(framework, right(framework) | {"vault": vault_for("fastapi")})
        return
    other = vault_for("flask" if framework == "fastapi" else "fastapi")
    with pytest.raises(ConfigurationError, match="vault"):
        mount(framework, right(framework) | {"vault": other})


@pytest.mark.parametrize("framework", FRAMEWORKS)
@pytest.mark.parametrize(
    "redirect_uri",
    [
        "https://app.example/callback",
        "https://app.example/oauth/callback",
        "https://app.example/oauth/{provider}/callback/",
        "https://app.example/oauth/x/callback",
        "https://app.example/{provider}/oauth/callback",
    ],
)
def test_a_redirect_uri_that_leads_past_the_routes(framework: str, redirect_uri: str) -> None:
    with pytest.raises(ConfigurationError, match="redirect_uri"):
        mount(framework, right(framework) | {"vault": vault_for(framework, redirect_uri=redirect_uri)})


@pytest.mark.parametrize("framework", FRAMEWORKS)
@pytest.mark.parametrize("slug", ["connections", "platforms"])
def test_a_platform_named_as_a_route(framework: str, slug: str) -> None:
    taken = OpenIDConnect("client", "secret", slug=slug, issuer="https://id.example")
    with pytest.raises(ConfigurationError, match="providers"):
        mount(framework, right(framework) | {"vault": vault_for(framework, providers=[taken])})


@pytest.mark.parametrize("framework", FRAMEWORKS)
@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("redirect_uri", "http://app.example/oauth/{provider}/callback"),
        ("redirect_uri", ""),
        ("return_to", ["//evil.example"]),
        ("return_to", "/home"),
        ("store", "nowhere"),
        ("store", object()),
        ("keys", object()),
        ("providers", ["x"]),
    ],
    ids=str,
)
def test_a_wrong_setting_of_the_vault_is_named(framework: str, name: str, value: Any) -> None:
    with pytest.raises(ConfigurationError, match=name):
        vault_for(framework, **{name: value})


@pytest.mark.parametrize("value", [None, [], "shop.accounts.vault"], ids=str)
def test_django_needs_its_dictionary(value: Any) -> None:
    module = importlib.import_module("socialvault.integrations.django")
    from socialvault.integrations.django.apps import SocialVaultConfig

    with override_settings(SOCIALVAULT=value), pytest.raises(ConfigurationError, match="SOCIALVAULT"):
        SocialVaultConfig("socialvault.integrations.django", module).ready()


@pytest.mark.parametrize("name", ["vault", "owner", "tenant", "on_connected"])
@pytest.mark.parametrize("path", ["no.such.module", "socialvault.no_such_thing", "nodots", ""])
def test_django_names_a_dotted_path_that_leads_nowhere(name: str, path: str) -> None:
    with pytest.raises(ConfigurationError, match=name):
        mount("django", right("django") | {name: path})


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_an_application_over_a_database_of_other_keys_does_not_start(framework: str, tmp_path: Path) -> None:
    """In a process of its own, as a server would start it."""
    store = f"sqlite:///{tmp_path}/vault.db"
    with vault_for("flask", store=store) as vault:
        vault.open()
    run = f"import {framework}_host as host"
    if framework == "fastapi":
        run += (
            "\nimport asyncio\nasync def start():\n"
            "    async with host.app.router.lifespan_context(host.app): pass\nasyncio.run(start())"
        )
    environment = {
        **os.environ, "WEB_STORE": store, "WEB_KEYS": LocalKeyring.generate(), "WEB_SANDBOX": "http://127.0.0.1:9",
        "WEB_PUBLIC": "http://127.0.0.1:9/api/v1", "WEB_SESSIONS": str(tmp_path), "WEB_OPTIONS": "{}",
    }  # fmt: skip
    command = [sys.executable, "-c", run]
    ended = subprocess.run(command, cwd=HOSTS, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert ended.returncode != 0
    assert "KeyNotFoundError" in ended.stderr or "WrongKeyError" in ended.stderr, ended.stderr
