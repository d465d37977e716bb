"""One attempt to renew: record the intent, present the token, judge the answer, save what came."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from socialvault.exceptions import (
    AuthorizationError,
    ClientRejectedError,
    MalformedResponseError,
    ProviderError,
    ReauthorizationRequiredError,
    SocialVaultError,
    StoreError,
    TransportError,
)
from socialvault.model.rows import FailureWrite, IntentWrite
from socialvault.protocol.errors import may_have_committed
from socialvault.vault.circuit import counts
from socialvault.vault.saving import Arrived
from socialvault.vault.schedule import pause_after
from socialvault.vault.verdict import mark_dead

if TYPE_CHECKING:
    from datetime import datetime

    from socialvault.crypto.records import TokenRecord
    from socialvault.model.rows import ConnectionRow
    from socialvault.model.token import TokenSet
    from socialvault.protocol.metadata import ServerMetadata
    from socialvault.providers.base import Provider
    from socialvault.vault.circuit import Circuits
    from socialvault.vault.core import Core, Sealers
    from socialvault.vault.custody import Custody
    from socialvault.vault.grants import Grants
    from socialvault.vault.saving import Saving

#: How often an answer that nobody can interpret is asked for again before the connection's owner is.
_MOST_REFUSALS = 5
#: Before a grant is called dead: somebody who knows no intents may have renewed it, and be about to write that down.
_SECOND_LOOKS_SECONDS = (0.1, 0.3, 0.6)


@dataclass(frozen=True, slots=True)
class Presentation:
    """A token that is about to be presented.

    Attributes:
        row: as it was read under the lease. number: which attempt of its generation this is.
        began: just before its intent was recorded, so that it can't outlast that.
        uncertain: an earlier attempt may have spent the token.
    """

    row: ConnectionRow
    record: TokenRecord
    provider: Provider
    sealers: Sealers
    server: ServerMetadata
    number: int
    began: datetime
    uncertain: bool


class Attempts:
    """Renews at the provider."""

    def __init__(self, core: Core, circuits: Circuits, grants: Grants, saving: Saving, custody: Custody) -> None:
        self._core = core
        self._circuits = circuits
        self._grants = grants
        self._saving = saving
        self._custody = custody

    def refusal(self, provider: str) -> SocialVaultError | None:
        """Return why `renew` would not even send now, or None."""
        return self._circuits.waiting(provider)

    async def renew(self, row: ConnectionRow, record: TokenRecord, provider: Provider) -> ConnectionRow | None:
        """Renew once; return the row that holds the newest token, or None when another presents this one now.

        Raises:
            ReauthorizationRequiredError: the grant is dead, which is recorded.
            ProviderError, TransportError: it did not work this time, which is recorded.
            AuthorizationError: the answer was about another account, or another's; it was not stored.
        """
        if await self._custody.replay_connection(row.id):
            return await self._current(row)
        sealers = await self._core.sealers(row)
        refusal = self._circuits.refusal(provider.slug)
        if refusal is not None:
            raise refusal
        server = await self._resolved(provider)
        presentation = Presentation(
            row, record, provider, sealers, server, row.intent_attempt, self._core.now(), bool(row.intent_digest)
        )
        claimed = await self._claim(presentation, replay=False)
        if claimed is None:
            self._circuits.unused(provider.slug)
            return None
        return await self._present(claimed)

    async def _resolved(self, provider: Provider) -> ServerMetadata:
        try:
            return await self._core.conversations.run(provider.resolve())
        except SocialVaultError as problem:
            await self._count(provider, problem)
            raise

    async def _claim(self, presentation: Presentation, *, replay: bool) -> Presentation | None:
        """Record the intent to present the token; None when somebody else has one open, or wrote the row."""
        row, began, lifetime = presentation.row, self._core.now(), self._core.settings.exchange_deadline
        digest = _digest(presentation.record.token)
        intent = IntentWrite(row.id, row.generation, presentation.number, digest, lifetime.total_seconds(), replay)
        if not await self._core.store.open_intent(intent):
            return None
        return replace(
            presentation, number=presentation.number + 1, began=began, uncertain=presentation.uncertain or replay
        )

    async def _present(self, presentation: Presentation) -> ConnectionRow:
        """Send and judge. Where the provider's grace allows it, an unanswered token is presented again, once."""
        provider = presentation.provider
        until = presentation.began + self._core.settings.exchange_deadline
        try:
            fresh = await self._core.conversations.run(
                provider.renew(presentation.server, presentation.record.token, presentation.row.account.subject),
                until_seconds=until.timestamp(),
            )
        except ReauthorizationRequiredError as verdict:
            return await self._after_refusal(presentation, verdict)
        except (ProviderError, TransportError, AuthorizationError) as problem:
            failure = problem
        else:
            return await self._save(presentation, fresh)
        if (
            _is_lost(failure)
            and not presentation.uncertain
            and self._core.now() - presentation.began < provider.replay_grace
        ):
            again = await self._claim(presentation, replay=True)
            if again is not None:
                return await self._present(again)
        await self._record_failure(presentation, failure)
        raise failure

    async def _save(self, presentation: Presentation, fresh: TokenSet) -> ConnectionRow:
        row, provider = presentation.row, presentation.provider
        record = self._grants.renewed(provider, row.id, presentation.record, fresh)
        if await self._was_doubted(presentation):
            record = replace(record, due_at=self._core.now())  # the other attempt may have ended the grant: find out
        try:
            return await self._saving.save(Arrived(row, record, provider, presentation.sealers))
        finally:
            await self._count(provider, None)  # observers are told of it only now: they may take their time

    async def _was_doubted(self, presentation: Presentation) -> bool:
        """Whether the answer came so late that another has presented the same token meanwhile."""
        row, lifetime = presentation.row, self._core.settings.exchange_deadline
        if self._core.now() < presentation.began + lifetime:
            return False
        try:
            current = await self._core.store.get(row.id, row.account.tenant, row.owner)
        except StoreError:  # nothing may stand between an answer and its save
            return True
        return current is not None and current.intent_attempt > presentation.number

    # --- what no token came of --------------------------------------------------------------------

    async def _after_refusal(self, presentation: Presentation, verdict: ReauthorizationRequiredError) -> ConnectionRow:
        """The grant is dead, unless somebody renewed it meanwhile, or a late token is left to try."""
        row = presentation.row
        await self._count(presentation.provider, None)
        current = await self._after_second_looks(row)
        if current.generation > row.generation:
            return current
        adopted = await self._custody.adopt_candidate(current, presentation.provider)
        if adopted is not None:
            return adopted
        reason = "refresh_interrupted" if presentation.uncertain else verdict.reason
        if not await mark_dead(self._core, current, reason):
            return await self._current(row)
        verdict.reason = reason
        raise verdict

    async def _after_second_looks(self, row: ConnectionRow) -> ConnectionRow:
        """Return the row once it has been written, or has not been for a while."""
        current = await self._current(row)
        for pause_seconds in _SECOND_LOOKS_SECONDS:
            if current.generation > row.generation:
                break
            await self._core.runtime.sleep(pause_seconds)
            current = await self._current(row)
        return current

    async def _current(self, row: ConnectionRow) -> ConnectionRow:
        return await self._core.row(row.id, row.account.tenant, row.owner)

    async def _record_failure(self, presentation: Presentation, problem: SocialVaultError) -> None:
        """Leave in the row what the next attempt must know; after too many refusals there is none."""
        row = presentation.row
        await self._count(presentation.provider, problem)
        refused = type(problem) is ProviderError or isinstance(problem, AuthorizationError)
        refusals = row.refusals + refused
        if refusals >= _MOST_REFUSALS:
            await mark_dead(self._core, row, "unclassified")
            return
        unanswered = isinstance(problem, TransportError) and problem.request_sent
        now = self._core.clock.now_seconds()
        write = FailureWrite(
            connection_id=row.id,
            expected_generation=row.generation,
            expected_attempt=presentation.number,
            uncertain=presentation.uncertain or may_have_committed(problem),
            open=unanswered,
            failing_with="OutcomeUnknownError" if unanswered else type(problem).__name__,
            refusals=refusals,
            retry_at_seconds=now + self._pause_seconds(row, problem, unanswered=unanswered, refused=refused),
            at_seconds=now,
        )
        if await self._core.store.write_failure(write) and row.failing_since_seconds is None:
            await self._core.emit("renewal_failing", row, write.failing_with)

    def _pause_seconds(
        self, row: ConnectionRow, problem: SocialVaultError, *, unanswered: bool, refused: bool
    ) -> float:
        if isinstance(problem, ClientRejectedError):
            return 0.0  # the application is to blame: as soon as that is mended, everything goes on
        pause = pause_after(row.refusals if refused else row.failures, row.id, refused=refused)
        if isinstance(problem, ProviderError) and problem.retry_after is not None:
            pause = max(pause, problem.retry_after)
        if unanswered:
            pause += self._core.settings.exchange_deadline
        return pause.total_seconds()

    async def _count(self, provider: Provider, problem: SocialVaultError | None) -> None:
        """Tell the circuit how a call went; tell observers when the application is rejected, or accepted again."""
        if problem is None:
            if self._circuits.succeeded(provider.slug):
                await self._core.events.about_client("client_accepted", provider.slug, "")
        elif not counts(problem):
            self._circuits.unused(provider.slug)  # it says nothing about the provider: another may find out
        elif self._circuits.failed(provider.slug, problem):
            error = problem.error if isinstance(problem, ProviderError) else None
            await self._core.events.about_client("client_rejected", provider.slug, error or "")


def _digest(token: TokenSet) -> bytes:
    presented = token.refresh_token or token.access_token
    return hashlib.sha256(presented.reveal().encode()).digest()


def _is_lost(problem: SocialVaultError) -> bool:
    """Whether the provider may have answered with a token that did not arrive whole."""
    lost = isinstance(problem, (TransportError, MalformedResponseError))
    return lost and may_have_committed(problem)
