"""A vault that was closed can be opened again: an application may start twice in one process, as under tests."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from socialvault import AsyncVault, LocalKeyring, Vault
from socialvault.exceptions import StoreUnavailableError, WrongKeyError

if TYPE_CHECKING:
    from pathlib import Path

    from socialvault.sandbox import Sandbox


def options(sandbox: Sandbox, path: Path) -> dict[str, Any]:
    return {
        "providers": [sandbox.provider("x")],
        "store": f"sqlite:///{path / 'vault.db'}",
        "redirect_uri": "http://127.0.0.1:9/oauth/{provider}/callback",
        "clock": sandbox.clock,
    }


def test_a_blocking_vault_works_again_after_it_was_closed(sandbox: Sandbox, tmp_path: Path) -> None:
    vault = Vault(keys=LocalKeyring([LocalKeyring.generate()]), **options(sandbox, tmp_path))
    with vault:
        login = vault.begin("x", owner="u")
        cookies = {login.cookie.name: login.cookie.value}
        done = vault.complete(sandbox.authorize(login.url), provider="x", owner="u", cookies=cookies)
    with pytest.raises(StoreUnavailableError):
        vault.token(done.connection.id, owner="u")
    with vault:
        assert vault.token(done.connection.id, owner="u").generation == 1
        assert vault.refresh(done.connection.id, owner="u").generation == 2  # the transport is there again, too
        assert vault.admin.counts() == {"active": 1}
    vault.close()  # once more is no harm


async def test_an_asynchronous_vault_works_again_after_it_was_closed(sandbox: Sandbox, tmp_path: Path) -> None:
    vault = AsyncVault(keys=LocalKeyring([LocalKeyring.generate()]), **options(sandbox, tmp_path))
    for _ in range(2):
        async with vault:
            login = await vault.begin("x", owner="u")
            cookies = {login.cookie.name: login.cookie.value}
            done = await vault.complete(sandbox.authorize(login.url), provider="x", owner="u", cookies=cookies)
            assert (await vault.token(done.connection.id, owner="u")).provider == "x"
    assert done.connection.generation == 2
    await vault.aclose()


def test_opening_again_looks_at_the_keys_again(sandbox: Sandbox, tmp_path: Path) -> None:
    with Vault(keys=LocalKeyring([LocalKeyring.generate()]), **options(sandbox, tmp_path)) as vault:
        pass
    for file in tmp_path.glob("vault.db*"):
        file.unlink()
    with Vault(keys=LocalKeyring([LocalKeyring.generate()]), **options(sandbox, tmp_path)):
        pass
    with pytest.raises(WrongKeyError):
        vault.open()
    vault.close()
