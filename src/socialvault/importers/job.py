"""The import itself: row by row, and again as often as you like."""

from __future__ import annotations

import asyncio
import re
from typing import TYPE_CHECKING, TypeVar

from socialvault.exceptions import ConfigurationError, ProviderError, TransportError
from socialvault.importers.keeping import OF_ANOTHER_OWNER, Offer, Rehearsal, Writer
from socialvault.importers.mapping import ImportMapping
from socialvault.importers.record import Unreadable
from socialvault.importers.report import ImportReport, Outcome, Reason
from socialvault.model.identity import Identity
from socialvault.runtimes.threads import run
from socialvault.vault.settings import check_owner

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from socialvault.api.assembly import UseCases
    from socialvault.api.async_vault import AsyncVault
    from socialvault.api.vault import Vault
    from socialvault.importers.cursor import CursorFile
    from socialvault.importers.keeping import Keeper
    from socialvault.importers.record import ImportRecord, Row
    from socialvault.importers.report import Fate
    from socialvault.importers.source import Source
    from socialvault.model.token import TokenSet
    from socialvault.providers.base import Provider

    Reader = Callable[[Callable[[], "T"]], Awaitable["T"]]

T = TypeVar("T")

NO_SUBJECT = Reason("no subject: name its column, or let the providers be asked", "fix_configuration")
NO_OWNER = Reason("no owner: name its column", "fix_configuration")
OTHER_CLIENT = Reason("issued to another application than this vault's: its client id differs", "fix_configuration")
DEAD = Reason("expired, and without a refresh token: the account's owner must connect again", "reauthorize")
ENDED = Reason("its owner has disconnected the account in this vault", "reauthorize")
NOT_ACCEPTED = Reason("the provider does not accept the token, so nobody knows whose it is", "reauthorize")
UNANSWERED = Reason("the provider did not say whose token it is", "retry")

NO_PROVIDER = Reason("this vault has no provider of that name", "fix_configuration")

#: From then on providers that are not there are counted without their names.
_MOST_REASONS = 50
_SHOWABLE_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_. -]{0,31}")


class _Import:
    """What both colours do, written once."""

    def __init__(self, cases: UseCases, source: Source, mapping: ImportMapping | None, *, replace: bool, dry_run: bool,
                 ask_providers: bool, after: str, cursor: CursorFile | None,
                 on_outcome: Callable[[Outcome], None] | None) -> None:  # fmt: skip
        if after and cursor is not None:
            raise ConfigurationError("give a cursor or an id to go on after, not both")
        self._core, self._connections = cases.core, cases.connections_for_imports()
        self._source, self._mapping = source, mapping or ImportMapping()
        self._replace, self._ask_providers = replace, ask_providers
        self._cursor = cursor
        self._on_outcome = on_outcome
        self._stuck = False
        self.report = ImportReport(dry_run=dry_run, after=cursor.load(source) if cursor is not None else after)

    def _keeper(self) -> Keeper:
        if not self.report.dry_run:
            return Writer(self._connections, replace=self._replace)
        shared = self._core.settings.on_shared_account == "separate"
        return Rehearsal(self._connections, replace=self._replace, shared=shared)

    def count(self) -> int:
        """Count the rows that are to be looked at; blocks while it counts."""
        return self._source.count(self.report.after)

    async def _run(self, read: Reader[Sequence[Row] | None]) -> ImportReport:
        keeper = self._keeper()
        pages = iter(self._source.pages(self.report.after))
        try:
            while page := await read(lambda: next(pages, None)):
                await self._take(page, keeper)
        finally:
            keeper.close()
        return self.report

    async def _take(self, page: Sequence[Row], keeper: Keeper) -> None:
        before = self.report.after
        try:
            for row in page:
                self._note(await self._outcome(row, keeper))
        finally:  # whatever ends it: what is done is done
            if self._cursor is not None and not self.report.dry_run and self.report.after != before:
                self._cursor.save(self._source, self.report.after)

    def _note(self, outcome: Outcome) -> None:
        self.report.add(outcome)
        self._stuck = self._stuck or outcome.again  # the next run begins with it
        if not self._stuck:
            self.report.after = outcome.source_id
        if self._on_outcome is not None:
            self._on_outcome(outcome)

    async def _outcome(self, row: Row, keeper: Keeper) -> Outcome:
        try:
            offer = await self._offer(self._source.read(row))
        except Unreadable as problem:
            offer = Reason(str(problem), "report")
        if isinstance(offer, Reason):
            return Outcome(row.id, "skipped", offer, again=offer.action == "retry")
        fate, reason = await self._settled(offer) or await keeper.keep(offer)
        return Outcome(row.id, fate, reason)

    async def _settled(self, offer: Offer) -> tuple[Fate, Reason | None] | None:
        """Say what becomes of a grant that nothing is done with, None for one to keep."""
        standing = await self._connections.standing(offer.slug, offer.owner, offer.tenant, offer.identity.subject)
        if standing == "of_another_owner":
            return "refused", OF_ANOTHER_OWNER
        if standing == "connected" and not self._replace:
            return "already_there", None
        if standing == "ended" and not self._replace:  # it would come back to life
            return "skipped", ENDED
        return ("skipped", DEAD) if _is_dead(offer.token) else None

    async def _offer(self, record: ImportRecord) -> Offer | Reason:
        """Put a record into the vault's words, or say why that can't be."""
        slug = self._mapping.slug(record.provider)
        provider = self._core.providers.by_slug.get(slug)
        if provider is None:
            return self._unknown(slug, record)
        if record.client_id and record.client_id != provider.client_id:
            return OTHER_CLIENT
        owner, tenant = self._mapping.owner(record.owner) if record.owner else "", record.tenant or self._mapping.tenant
        if not owner:
            return NO_OWNER
        check_owner(owner, tenant)
        token = self._granted(record, slug)
        if isinstance(token, Reason):
            return token
        identity = Identity(record.subject) if record.subject else await self._identity(provider, token)
        return identity if isinstance(identity, Reason) else Offer(slug, owner, tenant, token, identity)

    def _unknown(self, slug: str, record: ImportRecord) -> Reason:
        """Name a provider only where it looks like one: somebody may have confused two columns."""
        held = {secret.reveal() for secret in (record.access_token, record.refresh_token) if secret is not None}
        showable = _SHOWABLE_NAME.fullmatch(slug) and not {slug, record.provider} & held
        named = Reason(f"this vault has no provider {slug!r}", "fix_configuration")
        if showable and (named in self.report.reasons or len(self.report.reasons) < _MOST_REASONS):
            return named
        return NO_PROVIDER

    def _granted(self, record: ImportRecord, slug: str) -> TokenSet | Reason:
        try:
            return self._connections.granted(
                record.access_token, record.refresh_token, record.expires_at, record.refresh_expires_at,
                record.scopes or self._mapping.scopes.get(slug, ()),
            )  # fmt: skip
        except ConfigurationError as problem:
            return Reason(str(problem), "report")

    async def _identity(self, provider: Provider, token: TokenSet) -> Identity | Reason:
        if not self._ask_providers:
            return NO_SUBJECT
        try:
            return await self._connections.identify(provider.slug, token)
        except (ProviderError, TransportError) as problem:
            return UNANSWERED if problem.action == "retry" else NOT_ACCEPTED


def _is_dead(token: TokenSet) -> bool:
    """Whether only the account's owner can help any more."""
    ends = [token.expires_at, token.expires_at if token.refresh_token is None else token.refresh_expires_at]
    return all(end is not None and end <= token.obtained_at for end in ends)


class ImportJob(_Import):
    """Imports what a source holds.

    It asks no provider anything, and never writes to the source. An account that its owner has connected in the vault
    is left alone, so it may run again, be stopped anywhere, and run beside the application.

    Args:
        vault: it must have the providers whose tokens are imported, with the same client ids.
        source: what to read.
        mapping: from the source's names to the vault's.
        replace: write over what connections of the same owner hold. For a vault that has not renewed anything yet: a
            provider that replaces refresh tokens takes none of those that the source still holds afterwards.
        dry_run: write nothing, and count what would become of each row.
        ask_providers: ask a provider whose account it is, where the source does not say.
        after: the id of a row to go on after. cursor: a file that remembers it.
        on_outcome: told of every row.

    Attributes:
        report: what became of the rows so far, also after an error.

    Raises:
        ConfigurationError: the cursor belongs to another source.
    """

    def __init__(
        self, vault: Vault, source: Source, mapping: ImportMapping | None = None, *, replace: bool = False,
        dry_run: bool = False, ask_providers: bool = False, after: str = "", cursor: CursorFile | None = None,
        on_outcome: Callable[[Outcome], None] | None = None,
    ) -> None:  # fmt: skip
        super().__init__(
            vault._cases, source, mapping, replace=replace, dry_run=dry_run, ask_providers=ask_providers, after=after,
            cursor=cursor, on_outcome=on_outcome,
        )  # fmt: skip

    def run(self) -> ImportReport:
        """Import everything, and return the counts.

        Raises:
            ConfigurationError: the source has not the tables or columns that were named.
            StoreError, EncryptionError: the source or the vault can't be used; `report` says how far it came.
        """
        return run(self._run(_here))


class AsyncImportJob(_Import):
    """As `ImportJob`; the source is read in a thread."""

    def __init__(
        self, vault: AsyncVault, source: Source, mapping: ImportMapping | None = None, *, replace: bool = False,
        dry_run: bool = False, ask_providers: bool = False, after: str = "", cursor: CursorFile | None = None,
        on_outcome: Callable[[Outcome], None] | None = None,
    ) -> None:  # fmt: skip
        super().__init__(
            vault._cases, source, mapping, replace=replace, dry_run=dry_run, ask_providers=ask_providers, after=after,
            cursor=cursor, on_outcome=on_outcome,
        )  # fmt: skip

    async def run(self) -> ImportReport:
        """As `ImportJob.run`."""
        return await self._run(asyncio.to_thread)


async def _here(work: Callable[[], T]) -> T:
    return work()
