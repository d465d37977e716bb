"""The app config: reads ``settings.SOCIALVAULT`` when Django starts."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, cast

from django.apps import AppConfig
from django.conf import settings
from django.utils.module_loading import import_string

from socialvault.api.async_vault import AsyncVault
from socialvault.api.vault import Vault
from socialvault.exceptions import ConfigurationError
from socialvault.http.access_log import hide_callback_queries
from socialvault.http.endpoints import Endpoints
from socialvault.http.limits import counting, in_place
from socialvault.http.mounting import no_tenant
from socialvault.http.settings import Options, check_callable, settings_of
from socialvault.integrations.django.colours import apart, asynchronous, blocking

if TYPE_CHECKING:
    from collections.abc import Callable

    from socialvault.http.call import OnConnected

_NAMES = ("vault", "owner", "tenant", "on_connected")


class SocialVaultConfig(AppConfig):
    """Mounts one vault.

    ``settings.SOCIALVAULT`` has ``vault`` (a ``Vault`` or an ``AsyncVault``), ``owner`` (called with the request; the
    id of who is signed in, or None), and may have ``tenant`` (likewise), ``on_connected`` (called with the request and
    the outcome) and the `Options`. Each of these four may be the object itself or its dotted path; each function may be
    a coroutine function. Under WSGI give it a ``Vault``: every request of an asynchronous view has an event loop of its
    own there, and an ``AsyncVault`` keeps connections for each.

    Raises:
        ConfigurationError: a setting is missing or can't be used; the message names it.
    """

    name = "socialvault.integrations.django"
    label = "socialvault"
    verbose_name = "socialvault"

    vault: Vault | AsyncVault
    owner: Callable[..., Any]
    tenant: Callable[..., Any]
    endpoints: Endpoints

    def ready(self) -> None:
        """Check every setting now, and the keys; see the class."""
        given = getattr(settings, "SOCIALVAULT", None)
        if not isinstance(given, dict):
            raise ConfigurationError("settings.SOCIALVAULT must be a dict with at least vault and owner")
        self.vault = _vault(given)
        self.owner = check_callable(_found(given, "owner"), "SOCIALVAULT: owner")
        self.tenant = check_callable(_found(given, "tenant", no_tenant), "SOCIALVAULT: tenant")
        hook = _found(given, "on_connected", None)
        on_connected = None if hook is None else check_callable(hook, "SOCIALVAULT: on_connected")
        options = cast("Options", {name: value for name, value in given.items() if name not in _NAMES})
        chosen = settings_of(self.vault, options)
        limits = counting(chosen.rate_limits, in_place if isinstance(self.vault, Vault) else apart)
        self.endpoints = Endpoints(self.vault, chosen, limits, self._told(on_connected))
        hide_callback_queries()
        self._open()

    def _open(self) -> None:
        """Open the vault, so that wrong keys stop the start; a loop may be running here, as in an ASGI server."""
        if isinstance(self.vault, Vault):
            self.vault.open()
            return
        with ThreadPoolExecutor(1) as apart:
            apart.submit(asyncio.run, self.vault.open()).result()

    def _told(self, hook: Callable[..., Any] | None) -> OnConnected | None:
        if hook is None:
            return None
        return blocking(hook) if isinstance(self.vault, Vault) else asynchronous(hook)


def _vault(given: dict[str, Any]) -> Vault | AsyncVault:
    found = _found(given, "vault")
    if not isinstance(found, (Vault, AsyncVault)):
        raise ConfigurationError(f"SOCIALVAULT: vault must be a Vault or an AsyncVault, not {type(found).__name__}")
    return found


_REQUIRED = object()


def _found(given: dict[str, Any], name: str, default: Any = _REQUIRED) -> Any:
    """Return a setting, imported where it is a dotted path."""
    value = given.get(name, default)
    if value is _REQUIRED:
        raise ConfigurationError(f"SOCIALVAULT: {name} is missing")
    if not isinstance(value, str):
        return value
    try:
        return import_string(value)
    except ImportError as problem:
        reason = str(problem)
    raise ConfigurationError(f"SOCIALVAULT: {name} is {value!r}, which can't be imported: {reason}")
