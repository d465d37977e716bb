"""Emulated providers for tests and development: real HTTP, an honest log, a clock to push, faults on demand.

Nothing here is a real provider, and no request leaves the machine. Needs ``pip install 'socialvault[demo]'``;
the pytest fixture ``socialvault_sandbox`` comes with it. A token expires, is refreshed, is revoked::

    def test_expires_is_refreshed_is_revoked(socialvault_sandbox):
        sandbox, hours = socialvault_sandbox, timedelta(hours=3)
        vault = Vault(
            providers=[sandbox.provider("x")], store=":memory:", keys=LocalKeyring([LocalKeyring.generate()]),
            clock=sandbox.clock, redirect_uri="https://app.example/{provider}/callback", return_to=["/"],
        )
        login = vault.begin("x", owner="u", return_to="/")
        cookies = {login.cookie.name: login.cookie.value}
        done = vault.complete(sandbox.authorize(login.url), provider="x", owner="u", cookies=cookies)
        first = vault.token(done.connection.id, owner="u")
        sandbox.clock.advance(hours)
        assert vault.token(done.connection.id, owner="u").reveal() != first.reveal()
        sandbox.revoke_grant("x", user="ada")
        sandbox.clock.advance(hours)
        with pytest.raises(ReauthorizationRequiredError), vault:
            vault.token(done.connection.id, owner="u")
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from socialvault.sandbox.accounts import Client
    from socialvault.sandbox.browser import Callback
    from socialvault.sandbox.clock import ManualClock
    from socialvault.sandbox.emulators.facebook import page_id
    from socialvault.sandbox.emulators.linkedin import organization_id
    from socialvault.sandbox.faults import Fault
    from socialvault.sandbox.issuing import IssuedTokens
    from socialvault.sandbox.log import Log, LogEntry, token_fingerprint
    from socialvault.sandbox.remote import RemoteSandbox
    from socialvault.sandbox.sandbox import Sandbox
    from socialvault.sandbox.settings import FacebookSettings, InstagramSettings, LinkedInSettings, Settings

__all__ = [
    "Callback",
    "Client",
    "FacebookSettings",
    "Fault",
    "InstagramSettings",
    "IssuedTokens",
    "LinkedInSettings",
    "Log",
    "LogEntry",
    "ManualClock",
    "RemoteSandbox",
    "Sandbox",
    "Settings",
    "organization_id",
    "page_id",
    "token_fingerprint",
]

if not TYPE_CHECKING:
    _HOMES = {
        "Callback": "browser",
        "Client": "accounts",
        "FacebookSettings": "settings",
        "Fault": "faults",
        "InstagramSettings": "settings",
        "IssuedTokens": "issuing",
        "LinkedInSettings": "settings",
        "Log": "log",
        "LogEntry": "log",
        "ManualClock": "clock",
        "RemoteSandbox": "remote",
        "Sandbox": "sandbox",
        "Settings": "settings",
        "organization_id": "emulators.linkedin",
        "page_id": "emulators.facebook",
        "token_fingerprint": "log",
    }

    def __getattr__(name):
        if name not in _HOMES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        from importlib import import_module

        return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)

    def __dir__():
        return sorted(__all__)
