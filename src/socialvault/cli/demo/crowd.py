"""Many callers at once, of both colours."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, TypeVar

from socialvault.api.async_vault import AsyncVault
from socialvault.cli.demo.judging import Answers
from socialvault.cli.demo.stage import OWNER, TENANT, Stage
from socialvault.exceptions import SocialVaultError
from socialvault.model.token import AccessToken
from socialvault.sandbox import token_fingerprint

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

T = TypeVar("T")


def at_once(callers: int, call: Callable[[], T]) -> list[T | SocialVaultError]:
    """Let `callers` threads make the same call at the same moment; return what each got, or its error."""
    barrier = threading.Barrier(callers)

    def one() -> T | SocialVaultError:
        barrier.wait()
        try:
            return call()
        except SocialVaultError as problem:
            return problem

    with ThreadPoolExecutor(callers) as pool:
        return [future.result() for future in [pool.submit(one) for _ in range(callers)]]


def ask_in_threads(stage: Stage) -> Mapping[str, Answers]:
    """Ask for each connection's token from many threads of one `Vault`."""

    def ask(connection_id: str) -> Answers:
        return _answers(at_once(stage.callers, lambda: stage.vault.token(connection_id, owner=OWNER, tenant=TENANT)))

    return {provider: ask(connection_id) for provider, connection_id in stage.connections.items()}


def ask_in_tasks(stage: Stage) -> Mapping[str, Answers]:
    """Ask from many tasks of one `AsyncVault` over the same file."""

    async def ask(vault: AsyncVault, connection_id: str) -> Answers:
        calls = [vault.token(connection_id, owner=OWNER, tenant=TENANT) for _ in range(stage.callers)]
        return _answers(await asyncio.gather(*calls, return_exceptions=True))

    async def ask_for_all() -> Mapping[str, Answers]:
        async with AsyncVault(**stage.vault_options()) as vault:
            return {provider: await ask(vault, one) for provider, one in stage.connections.items()}

    return asyncio.run(ask_for_all())


def _answers(got: Sequence[AccessToken | BaseException]) -> Answers:
    """Keep fingerprints and names of errors, no token."""
    return Answers(
        tuple(token_fingerprint(one.reveal()) for one in got if isinstance(one, AccessToken)),
        tuple(type(one).__name__ for one in got if not isinstance(one, AccessToken)),
    )
