"""socialvault: connect a social account once, then ask for a valid token for months.

The public face. Everything is loaded at its first use, so that importing the package stays cheap.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

__version__ = "0.1.0"

__all__ = [
    "AccessToken",
    "AsyncVault",
    "AuthorizationError",
    "AwsKms",
    "AzureKeyVault",
    "Completed",
    "ConfigurationError",
    "Connection",
    "Erasure",
    "Event",
    "GcpKms",
    "HashicorpTransit",
    "Health",
    "KeyChain",
    "LocalKeyring",
    "Login",
    "MissingScopesError",
    "OwnerExport",
    "ProviderError",
    "ReauthorizationRequiredError",
    "Receipt",
    "Secret",
    "SocialVaultError",
    "Status",
    "SubAccount",
    "Sweep",
    "Vault",
]

if TYPE_CHECKING:
    from socialvault.api.async_vault import AsyncVault
    from socialvault.api.vault import Vault
    from socialvault.exceptions import (
        AuthorizationError,
        ConfigurationError,
        MissingScopesError,
        ProviderError,
        ReauthorizationRequiredError,
        SocialVaultError,
    )
    from socialvault.keys.aws_kms import AwsKms
    from socialvault.keys.azure_key_vault import AzureKeyVault
    from socialvault.keys.chain import KeyChain
    from socialvault.keys.gcp_kms import GcpKms
    from socialvault.keys.hashicorp_transit import HashicorpTransit
    from socialvault.keys.local import LocalKeyring
    from socialvault.model.connection import Connection, Erasure, Receipt, SubAccount
    from socialvault.model.events import Event
    from socialvault.model.export import OwnerExport
    from socialvault.model.login import Completed, Login
    from socialvault.model.secret import Secret
    from socialvault.model.status import Status
    from socialvault.model.sweep import Sweep
    from socialvault.model.token import AccessToken
    from socialvault.vault.health import Health
else:
    _HOMES = {
        "AccessToken": "model.token",
        "AsyncVault": "api.async_vault",
        "AuthorizationError": "exceptions",
        "AwsKms": "keys.aws_kms",
        "AzureKeyVault": "keys.azure_key_vault",
        "Completed": "model.login",
        "ConfigurationError": "exceptions",
        "Connection": "model.connection",
        "Erasure": "model.connection",
        "Event": "model.events",
        "GcpKms": "keys.gcp_kms",
        "HashicorpTransit": "keys.hashicorp_transit",
        "Health": "vault.health",
        "KeyChain": "keys.chain",
        "LocalKeyring": "keys.local",
        "Login": "model.login",
        "MissingScopesError": "exceptions",
        "OwnerExport": "model.export",
        "ProviderError": "exceptions",
        "ReauthorizationRequiredError": "exceptions",
        "Receipt": "model.connection",
        "Secret": "model.secret",
        "SocialVaultError": "exceptions",
        "Status": "model.status",
        "SubAccount": "model.connection",
        "Sweep": "model.sweep",
        "Vault": "api.vault",
    }

    def __getattr__(name):
        from importlib import import_module

        home = _HOMES.get(name)
        if home is None:
            raise AttributeError(f"module 'socialvault' has no attribute {name!r}")
        value = getattr(import_module(f"socialvault.{home}"), name)
        globals()[name] = value
        return value

    def __dir__():
        return sorted({*globals(), *__all__})
