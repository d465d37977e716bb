"""``socialvault demo --serve``: the page on a loopback port, until Ctrl-C."""

from __future__ import annotations

import socket
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING

import typer
import uvicorn

from socialvault.api.async_vault import AsyncVault
from socialvault.cli.demo.page import build_page

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from starlette.applications import Starlette

    from socialvault.cli.demo.stage import Stage

_STOP_SECONDS = 2


def serve_page(stage: Stage) -> None:
    """Serve the page over the stage's vault file; its address goes to stderr."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        url = f"http://127.0.0.1:{listening.getsockname()[1]}"
        vault = AsyncVault(**stage.vault_options(redirect_uri=f"{url}/callback/{{provider}}"))

        @asynccontextmanager
        async def while_serving(_app: Starlette) -> AsyncIterator[None]:
            async with vault:
                yield

        app = build_page(vault, stage.sandbox.base_url, while_serving)
        # No access log: a callback's query has a code in it.
        server = uvicorn.Server(
            uvicorn.Config(app, log_config=None, access_log=False, timeout_graceful_shutdown=_STOP_SECONDS)
        )
        typer.echo(f"click through it at {url} ; Ctrl-C ends it", err=True)
        with suppress(KeyboardInterrupt):
            server.run(sockets=[listening])
