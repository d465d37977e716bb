"""Driving an exchange over the transport, with a small memory for public documents."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from socialvault.exceptions import TransportError

if TYPE_CHECKING:
    from socialvault.ports.clock import Clock
    from socialvault.ports.transport import AsyncTransport
    from socialvault.protocol.messages import Exchange, HttpRequest, HttpResponse

T = TypeVar("T")

_DOCUMENT_LIFETIME_SECONDS = 3600.0
_LEAST_RENEWAL_SECONDS = 60.0
_MOST_DOCUMENTS = 256


class Conversations:
    """Runs exchanges. Metadata and keys are asked for once an hour, and again at most once a minute."""

    def __init__(self, transport: AsyncTransport, clock: Clock) -> None:
        self._transport = transport
        self._clock = clock
        self._documents: dict[str, tuple[HttpResponse, float]] = {}

    async def run(self, exchange: Exchange[T], *, until_seconds: float | None = None) -> T:
        """Drive `exchange` to its end.

        A `TransportError` is thrown into it where it waits, so that it may do without that answer.

        Args:
            until_seconds: after this time nothing more is sent, as others may think that this process is gone.

        Raises:
            ProviderError: what the exchange made of an answer.
            TransportError: an answer it needs did not come.
        """
        try:
            request = next(exchange)
            while True:
                try:
                    response = await self._answer(request, until_seconds)
                except TransportError as problem:
                    failure = problem
                else:
                    request = exchange.send(response)
                    continue
                request = exchange.throw(failure)
        except StopIteration as end:
            result: T = end.value
        return result

    async def _answer(self, request: HttpRequest, until_seconds: float | None) -> HttpResponse:
        if until_seconds is not None and self._clock.now_seconds() >= until_seconds:
            raise TransportError("the time for this conversation is over", request_sent=False)
        if request.caching == "never":
            return await self._transport.send(request)
        kept = self._documents.get(request.url)
        lifetime = _DOCUMENT_LIFETIME_SECONDS if request.caching == "use" else _LEAST_RENEWAL_SECONDS
        if kept is not None and self._clock.now_seconds() - kept[1] < lifetime:
            return kept[0]
        response = await self._transport.send(request)
        if response.status == 200:
            while len(self._documents) >= _MOST_DOCUMENTS:
                self._documents.pop(next(iter(self._documents)), None)
            self._documents[request.url] = (response, self._clock.now_seconds())
        return response
