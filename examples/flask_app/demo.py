"""A first look without any credentials: emulated platforms in this process, and files that end with it."""

from __future__ import annotations

import os
from contextlib import ExitStack, contextmanager
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from socialvault import LocalKeyring
from socialvault.sandbox import Sandbox

from .settings import has_credentials

if TYPE_CHECKING:
    from collections.abc import Iterator

USER, PASSWORD = "ada", "analytical engine"


@contextmanager
def first_look(port: int) -> Iterator[bool]:
    """Set in the environment what is not set there; with credentials that is little, and this yields False."""
    os.environ.setdefault("PUBLIC_URL", f"http://127.0.0.1:{port}")
    if has_credentials():
        yield False
        return
    with ExitStack() as stack:
        folder = stack.enter_context(TemporaryDirectory(prefix="socialvault-example-"))
        os.environ.setdefault("DATABASE", f"{folder}/app.db")
        if "VAULT_STORE" not in os.environ:
            os.environ["VAULT_STORE"] = f"sqlite:///{folder}/vault.db"
            os.environ.setdefault("SOCIALVAULT_KEYS", LocalKeyring.generate())
        if "SANDBOX_URL" not in os.environ:
            os.environ["SANDBOX_URL"] = stack.enter_context(Sandbox()).base_url
        yield True
