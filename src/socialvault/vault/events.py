"""Telling observers: each of them every transition, in order, and what one of them raises goes no further."""

from __future__ import annotations

from datetime import UTC, datetime
from inspect import isawaitable
from typing import TYPE_CHECKING

from socialvault.model.events import Event

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from socialvault.model.events import EventName
    from socialvault.model.token import AccessToken
    from socialvault.ports.clock import Clock

    #: Told about every transition; may be a coroutine function where the vault is an ``AsyncVault``. One with a true
    #: attribute ``wants_keys`` is told of keys that are made, too, and one with ``wants_reads`` of every token that is
    #: handed out.
    Observer = Callable[[Event], Awaitable[None] | None]


class Events:
    """Tells observers.

    Attributes:
        reads: whether anybody wants to know about reads.
    """

    def __init__(self, observers: Sequence[Observer], clock: Clock) -> None:
        self._observers = observers
        self._clock = clock
        self.reads = bool(self._wanting("wants_reads"))

    def _wanting(self, what: str) -> Sequence[Observer]:
        return [observer for observer in self._observers if getattr(observer, what, False)]

    async def emit(self, event: Event, observers: Sequence[Observer] | None = None) -> None:
        """Tell every observer, or those that are given."""
        for observer in self._observers if observers is None else observers:
            try:
                told = observer(event)
                if isawaitable(told):
                    await told
            except Exception as problem:
                import logging

                logger = logging.getLogger("socialvault")
                logger.error("an observer of %s events raised %s", event.name, type(problem).__name__)

    async def about_key(self, name: EventName, tenant: str, owner: str, key_id: str) -> None:
        """Tell those observers that want to know about a key."""
        await self.emit(Event(name, self._now(), "", tenant, owner, "", 0, key_id=key_id), self._wanting("wants_keys"))

    async def about_read(self, token: AccessToken, tenant: str, owner: str, reason: str) -> None:
        """Tell those observers that want to know about a token that is handed out."""
        event = Event(
            "token_read", self._now(), token.connection_id, tenant, owner, token.provider, token.generation, reason
        )
        await self.emit(event, self._wanting("wants_reads"))

    async def about_client(self, name: EventName, provider: str, reason: str) -> None:
        """Tell every observer where the application stands at a provider."""
        await self.emit(Event(name, self._now(), "", "", "", provider, 0, reason))

    async def about_owner(self, name: EventName, tenant: str, owner: str) -> None:
        """Tell every observer about an owner."""
        await self.emit(Event(name, self._now(), "", tenant, owner, "", 0))

    def _now(self) -> datetime:
        return datetime.fromtimestamp(self._clock.now_seconds(), UTC)
