"""``socialvault sandbox``: the emulated providers, in the foreground."""

import threading
from contextlib import suppress
from typing import Annotated

import typer

from socialvault.sandbox import Sandbox

_SLUGS = ("x", "linkedin", "facebook", "instagram", "oidc")
_URLS = ("issuer", "authorize_url", "token_url", "revoke_url", "userinfo_url")


def sandbox(
    *, port: Annotated[int, typer.Option(min=0, max=65535, help="On 127.0.0.1; 0 takes any free one.")] = 0
) -> None:
    """Run the emulated providers until Ctrl-C. Nothing in them is real, their client secrets included."""
    with Sandbox(port=port) as running:
        typer.echo(f"emulated providers at {running.base_url}; Ctrl-C ends them")
        for slug in _SLUGS:
            typer.echo(f"\n{slug}")
            for name, value in _settings(running, slug).items():
                typer.echo(f"  {name:15}{value}")
        typer.echo(
            "\nin an application of yours:\n  from socialvault.sandbox import Sandbox\n"
            f'  providers=[Sandbox(base_url="{running.base_url}").provider("x")]'
        )
        until_interrupted()


def until_interrupted() -> None:
    """Wait for Ctrl-C."""
    with suppress(KeyboardInterrupt):
        threading.Event().wait()


def _settings(running: Sandbox, slug: str) -> dict[str, str]:
    """Return what an application is configured with; the secret is the emulator's own and opens nothing else."""
    provider, secret = running.provider(slug), running.register(slug).secret
    settings = {"client_id": provider.client_id, "client_secret": secret.reveal() if secret else ""}
    return {**settings, **{name: value for name in _URLS if (value := getattr(provider, name))}}
