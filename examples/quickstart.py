"""The quick start, against emulated providers: `pip install 'socialvault[demo]'`, then `python examples/quickstart.py`.

In production `providers=[X(client_id=…, client_secret=…)]` stands where the sandbox's providers stand here, a browser
goes to `login.url`, and `params` and `cookies` come with the request to your callback.
"""
# ruff: noqa: T201  # an example speaks by printing

from __future__ import annotations

import asyncio
from datetime import timedelta
from pathlib import Path
from tempfile import TemporaryDirectory

from socialvault import AsyncVault, Completed, LocalKeyring
from socialvault.sandbox import Sandbox


async def connect(vault: AsyncVault, sandbox: Sandbox, provider: str) -> Completed:
    """Two requests of your application, with a person at the provider between them."""
    login = await vault.begin(provider, owner="user-42", tenant="acme", return_to="/settings")
    params, cookies = sandbox.authorize(login.url), {login.cookie.name: login.cookie.value}
    return await vault.complete(params, provider=provider, owner="user-42", tenant="acme", cookies=cookies)


async def main(sandbox: Sandbox, folder: Path) -> None:
    """Connect accounts, use one, let two months pass, use it again, select a Page, disconnect."""
    vault = AsyncVault(
        providers=[sandbox.provider("x"), sandbox.provider("facebook", scopes=["public_profile", "pages_show_list"])],
        store=f"sqlite:///{folder / 'vault.db'}",
        keys=LocalKeyring([LocalKeyring.generate()]),
        redirect_uri="https://app.example/oauth/{provider}/callback",  # configured, never taken from a request
        return_to=["/settings", "/dashboard/*"],
        observers=[lambda event: print(f"  event: {event.name} at {event.provider}")],
        clock=sandbox.clock,
    )
    async with vault:
        done = await connect(vault, sandbox, "x")
        print(f"connected {done.connection.name}; the browser goes to {done.return_to}")
        token = await vault.token(done.connection.id, owner="user-42", tenant="acme")
        print(f"a valid token, shown without its value: {token}")

        sandbox.clock.advance(timedelta(days=60))
        async with vault.client(done.connection.id, owner="user-42", tenant="acme") as http:
            answer = await http.get(sandbox.url("x", "/2/users/me"))
        print(f"60 days later X answers {answer.status_code} for {answer.json()['data']['username']}")

        manager = (await connect(vault, sandbox, "facebook")).connection.id
        pages = await vault.sub_accounts(manager, owner="user-42", tenant="acme")
        [page] = await vault.select_sub_accounts(manager, [pages[0].id], owner="user-42", tenant="acme")
        print(f"selected {page.name}, one of {len(pages)} Pages")

        for connection_id in (done.connection.id, manager):
            receipt = await vault.disconnect(connection_id, owner="user-42", tenant="acme")
            print(f"disconnected {receipt.provider}: {receipt.outcome}")


if __name__ == "__main__":
    with Sandbox() as running, TemporaryDirectory() as temporary:
        asyncio.run(main(running, Path(temporary)))
