"""The providers. Each is loaded when it is first asked for, so importing this package costs nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from socialvault.providers.base import Provider
    from socialvault.providers.facebook import Facebook
    from socialvault.providers.instagram import Instagram
    from socialvault.providers.linkedin import LinkedIn
    from socialvault.providers.oauth2 import OAuth2
    from socialvault.providers.openid_connect import OpenIDConnect
    from socialvault.providers.x import X

__all__ = ["Facebook", "Instagram", "LinkedIn", "OAuth2", "OpenIDConnect", "Provider", "X"]

_MODULES = {
    "Facebook": "facebook",
    "Instagram": "instagram",
    "LinkedIn": "linkedin",
    "OAuth2": "oauth2",
    "OpenIDConnect": "openid_connect",
    "Provider": "base",
    "X": "x",
}

if not TYPE_CHECKING:  # hidden, so that a type checker still knows which names exist

    def __getattr__(name: str) -> object:
        from importlib import import_module

        module = _MODULES.get(name)
        if module is None:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        found = globals()[name] = getattr(import_module(f"{__name__}.{module}"), name)
        return found


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
