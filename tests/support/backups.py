"""An application whose vault's database is backed up: three owners in two tenants, and one of everything sealed."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from socialvault import Connection, LocalKeyring, Vault
from socialvault.providers import X
from socialvault.runtimes.threads import run
from socialvault.vault.outbox import Outbox

if TYPE_CHECKING:
    from socialvault.model.rows import ConnectionRow

OWNERS = (("ada", "acme"), ("grace", "acme"), ("linus", ""))
#: What `Service.fill` writes: each kind of sealed thing, and how many.
SEALED = {"canary": 1, "vault_key": 1, "data_key": 3, "token": 3, "candidate": 1, "revocation": 1}


@dataclass
class Service:
    """An application with a vault, and its secrets."""

    url: str
    key: str = field(default_factory=LocalKeyring.generate)
    options: dict[str, Any] = field(default_factory=dict)

    def vault(self, **changes: Any) -> Vault:
        given: dict[str, Any] = {
            "providers": [X("client", "secret")],
            "store": self.url,
            "keys": LocalKeyring([self.key]),
            "redirect_uri": "https://app.example/{provider}/callback",
            **self.options,
            **changes,
        }
        return Vault(**given)

    def fill(self) -> list[Connection]:
        """Write something of everything that is sealed."""
        with self.vault() as vault:
            made = [
                vault.import_tokens(
                    "x", owner=owner, tenant=tenant, access_token=f"access-{owner}-canary",
                    refresh_token=f"refresh-{owner}-canary", scopes=["tweet.read"], subject=f"subject-{owner}",
                )
                for owner, tenant in OWNERS
            ]  # fmt: skip
            put_candidate(vault, made[0])
            queue_revocation(vault, made[1])
        return made


def row_of(vault: Vault, connection: Connection) -> ConnectionRow:
    return run(vault._cases.core.row(connection.id, connection.tenant, connection.owner))


def put_candidate(vault: Vault, connection: Connection) -> None:
    """Keep a late token beside the stored one."""
    core, row = vault._cases.core, row_of(vault, connection)
    sealed = run(core.sealers(row)).seal_kept(run(core.open(row)), row, row.generation)
    assert run(core.store.put_candidate(row.id, row.generation, sealed))


def queue_revocation(vault: Vault, connection: Connection) -> None:
    """Queue a late token's revocation, sealed on its own."""
    core, row = vault._cases.core, row_of(vault, connection)
    sealers = run(core.sealers(row))
    envelope = sealers.seal_kept(run(core.open(row)), row, row.generation)

    async def never(_row: ConnectionRow) -> None: ...

    entry = Outbox(core, never).entry(row, "token", envelope, sealers.kept.key_id.hex())
    run(core.store.queue_revocation(entry))
