"""Connected accounts: the vault, and what the routes ask about a request."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from django.conf import settings

from socialvault import LocalKeyring, Vault
from socialvault.providers import LinkedIn, X
from socialvault.sandbox import Sandbox

if TYPE_CHECKING:
    from django.http import HttpRequest

    from socialvault import Completed
    from socialvault.providers import Provider


# --8<-- [start:accounts]
def platforms() -> list[Provider]:
    """Return the platforms: emulated ones where ``SANDBOX_URL`` says so, else those with credentials."""
    if "SANDBOX_URL" in os.environ:
        sandbox = Sandbox(base_url=os.environ["SANDBOX_URL"])
        return [sandbox.provider("x"), sandbox.provider("linkedin")]
    return [
        X(os.environ["X_CLIENT_ID"], os.environ["X_CLIENT_SECRET"]),
        LinkedIn(os.environ["LINKEDIN_CLIENT_ID"], os.environ["LINKEDIN_CLIENT_SECRET"]),
    ]


vault = Vault(
    providers=platforms(),
    store=os.environ.get("VAULT_STORE", "sqlite:///vault.db"),
    keys=LocalKeyring.from_env("SOCIALVAULT_KEYS"),
    redirect_uri=f"{settings.PUBLIC_URL}/api/v1/oauth/{{provider}}/callback",
    return_to=["/"],
)


def owner(request: HttpRequest) -> str | None:
    """Tell the vault whose connections a request is about."""
    return str(request.user.pk) if request.user.is_authenticated else None


def renew_session(request: HttpRequest, _done: Completed) -> None:
    """Change the session's id after an account was connected."""
    request.session.cycle_key()


# --8<-- [end:accounts]
