"""Where the demo plays: emulated providers, a fresh key, a SQLite vault in a temporary directory."""

from __future__ import annotations

import tempfile
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from socialvault.api.vault import Vault
from socialvault.keys.local import LocalKeyring
from socialvault.model.secret import Secret
from socialvault.sandbox import Callback, LogEntry, Sandbox

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from socialvault.providers.base import Provider

PROVIDERS = ("linkedin", "x", "facebook")
OWNER, TENANT = "user-42", "acme"
RETURN_TO = "/settings"
# Nothing listens there: the browser without a screen reads where it is sent, and does not go.
REDIRECT_URI = "http://127.0.0.1/callback/{provider}"


@dataclass(frozen=True, slots=True)
class Delivery:
    """A callback in the hands of a browser: what `complete` needs."""

    provider: str
    params: Callback
    cookies: Mapping[str, str] = field(repr=False)


@dataclass(frozen=True, slots=True)
class Stage:
    """Everything that the steps of the story share.

    Attributes:
        key: the only key. callers: how many ask at once.
        connections: by provider, filled by the story's first step.
    """

    sandbox: Sandbox
    folder: Path
    key: Secret[str]
    providers: tuple[Provider, ...]
    vault: Vault
    callers: int
    connections: dict[str, str] = field(default_factory=dict[str, str])

    def vault_options(self, *, redirect_uri: str = REDIRECT_URI) -> dict[str, Any]:
        """Return the arguments of another vault, of either colour, over the same file."""
        return _options(self.sandbox, self.folder, self.key, self.providers, redirect_uri)

    def files(self) -> tuple[Path, ...]:
        """Return the database's files: the main one, the write-ahead log, the log's index.

        Whoever reads them drops the locks that SQLite holds for this process. No other process uses these.
        """
        return tuple(sorted(self.folder.iterdir()))

    def contents(self) -> dict[str, bytes]:
        """Return what the database and its log hold; the index changes with every reader."""
        return {file.name: file.read_bytes() for file in self.files() if not file.name.endswith("-shm")}

    def log_since(self, mark: int) -> list[LogEntry]:
        """Return what reached the providers after the first `mark` requests."""
        return self.sandbox.log[mark:]

    def sign_in(self, provider: str, *, owner: str = OWNER, user: str = "ada") -> Delivery:
        """Begin a flow and give consent at the provider, over HTTP; return the callback that comes of it."""
        login = self.vault.begin(provider, owner=owner, tenant=TENANT, return_to=RETURN_TO)
        return Delivery(provider, self.sandbox.authorize(login.url, user=user), {login.cookie.name: login.cookie.value})


@contextmanager
def set_stage(callers: int) -> Iterator[Stage]:
    """Build a stage, and leave nothing behind."""
    with Sandbox() as sandbox, tempfile.TemporaryDirectory(prefix="socialvault-demo-") as folder:
        key = Secret(LocalKeyring.generate())
        providers = (
            sandbox.provider("linkedin", refresh_tokens=True),
            sandbox.provider("x"),
            sandbox.provider("facebook", scopes=("public_profile", "email", "pages_show_list")),
        )
        options = _options(sandbox, Path(folder), key, providers, REDIRECT_URI)
        with Vault(**options) as vault:
            yield Stage(sandbox, Path(folder), key, providers, vault, callers)


def _options(
    sandbox: Sandbox, folder: Path, key: Secret[str], providers: tuple[Provider, ...], redirect_uri: str
) -> dict[str, Any]:
    return {
        "providers": providers,
        "store": f"sqlite:///{folder / 'vault.db'}",
        "keys": LocalKeyring([key]),
        "redirect_uri": redirect_uri,
        "return_to": [RETURN_TO, "/"],
        "clock": sandbox.clock,
    }
