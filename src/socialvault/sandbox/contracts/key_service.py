"""The contract of a key service."""

from __future__ import annotations

import asyncio
import time
from contextlib import AbstractContextManager
from dataclasses import replace
from inspect import iscoroutinefunction
from typing import TYPE_CHECKING, Any

import pytest

from socialvault.api.key_service import ThreadedKeyService
from socialvault.crypto.envelope import key_id_of
from socialvault.exceptions import (
    EncryptionError,
    KeyNotFoundError,
    KeyServiceUnavailableError,
    MalformedEnvelopeError,
    TamperedError,
)
from socialvault.model.keys import KeyContext
from socialvault.vault.blocking import BlockingKeyService

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from socialvault.ports.key_service import AsyncKeyService

    Coloured = Callable[[Any], AsyncKeyService]

KEY = bytes(range(100, 132))
CONTEXT = KeyContext(b"V" * 16, "vault-key", "acme", key_id_of(KEY).hex())

#: What a wrapped key could be moved to.
ELSEWHERE = {
    "another vault": replace(CONTEXT, vault_id=b"W" * 16),
    "another purpose": replace(CONTEXT, purpose="data-key"),
    "another tenant": replace(CONTEXT, tenant="globex"),
    "no tenant": replace(CONTEXT, tenant=""),
    "another key id": replace(CONTEXT, key_id=key_id_of(b"another").hex()),
    "a border moved": replace(CONTEXT, tenant="acme" + CONTEXT.key_id[0], key_id=CONTEXT.key_id[1:]),
}
TENANTS = ("", "acme", "Größe & Söhne", "\ud800", " ", "a" * 1000, "sub/path:v1")
NOTHING = (b"", b"\0", b"SV\x01\x01", b"SK\x01\x01", b"text", bytes(64), bytes(range(256)))
CONCURRENT = 8
SAMPLES = 16


class KeyServiceContract:
    """What every key service must do; each test runs in both colours.

    Subclass it in your tests and give three fixtures; a service is of either colour::

        class TestMyService(KeyServiceContract):
            @pytest.fixture
            def open_service(self):
                return lambda: MyService("key-1")      # each call: another object for the same key

            @pytest.fixture
            def other(self):
                return MyService("key-2")              # was not given key-1

            @pytest.fixture
            def successor(self):
                return MyService("key-2", former=["key-1"])

    A service behind a network is a subclass of `RemoteKeyServiceContract`.
    """

    @pytest.fixture
    def open_service(self) -> Callable[[], Any]:
        """Open the service under test; subclasses override it."""
        # Meant for who writes a service: pytest shows it where the fixture of the subclass is missing.
        raise NotImplementedError("give a fixture open_service that returns a function which opens your service")

    @pytest.fixture
    def other(self) -> Any:
        """A service that holds another key alone; subclasses override it."""
        # Meant for who writes a service: pytest shows it where the fixture of the subclass is missing.
        raise NotImplementedError("give a fixture other: a service that was not given the first one's key")

    @pytest.fixture
    def successor(self) -> Any:
        """A service with another primary key that still opens what the first one wrapped; subclasses override it."""
        # Meant for who writes a service: pytest shows it where the fixture of the subclass is missing.
        raise NotImplementedError("give a fixture successor: another key first, the first one's key for opening")

    @pytest.fixture(params=["blocking", "in a thread"])
    def coloured(self, request: pytest.FixtureRequest) -> Coloured:
        """See a service through the asynchronous port: a blocking one called at once, and in another thread."""
        adapter = BlockingKeyService if request.param == "blocking" else ThreadedKeyService

        def see(service: Any) -> AsyncKeyService:
            return service if iscoroutinefunction(service.wrap) else adapter(service)

        return see

    @pytest.fixture
    def service(self, open_service: Callable[[], Any], coloured: Coloured) -> AsyncKeyService:
        """One open service."""
        return coloured(open_service())

    async def test_what_it_wraps_it_unwraps(self, service: AsyncKeyService) -> None:
        wrapped = await service.wrap(KEY, CONTEXT)
        assert KEY not in wrapped
        assert await service.unwrap(wrapped, CONTEXT) == KEY

    async def test_the_same_key_is_never_wrapped_the_same(self, service: AsyncKeyService) -> None:
        assert await service.wrap(KEY, CONTEXT) != await service.wrap(KEY, CONTEXT)

    async def test_another_object_unwraps_it(
        self, service: AsyncKeyService, open_service: Callable[[], Any], coloured: Coloured
    ) -> None:
        assert await coloured(open_service()).unwrap(await service.wrap(KEY, CONTEXT), CONTEXT) == KEY

    async def test_its_primary_id_names_one_key(
        self, service: AsyncKeyService, open_service: Callable[[], Any], coloured: Coloured
    ) -> None:
        first = service.primary_id
        assert first
        await service.wrap(KEY, CONTEXT)
        assert service.primary_id == first
        assert coloured(open_service()).primary_id == first
        assert not service.key_ids or first in service.key_ids

    async def test_any_tenant_has_keys(self, service: AsyncKeyService) -> None:
        for tenant in TENANTS:
            context = replace(CONTEXT, tenant=tenant)
            assert await service.unwrap(await service.wrap(KEY, context), context) == KEY, ascii(tenant)

    async def test_a_key_that_was_moved_does_not_open(self, service: AsyncKeyService) -> None:
        wrapped = await service.wrap(KEY, CONTEXT)
        opened = []
        for where, context in ELSEWHERE.items():
            try:
                await service.unwrap(wrapped, context)
                opened.append(where)
            except TamperedError:
                pass
        assert opened == []

    async def test_a_key_that_was_altered_does_not_open(self, service: AsyncKeyService) -> None:
        wrapped = await service.wrap(KEY, CONTEXT)
        for position in _samples(len(wrapped)):
            altered = bytearray(wrapped)
            altered[position] ^= 0x01
            with pytest.raises(EncryptionError):  # some services answer as if the key were not allowed
                await service.unwrap(bytes(altered), CONTEXT)

    async def test_a_key_of_another_length_does_not_open(self, service: AsyncKeyService) -> None:
        wrapped = await service.wrap(KEY, CONTEXT)
        for length in _samples(len(wrapped)):
            with pytest.raises((MalformedEnvelopeError, TamperedError)):
                await service.unwrap(wrapped[:length], CONTEXT)
        with pytest.raises((MalformedEnvelopeError, TamperedError)):
            await service.unwrap(wrapped + b"\0", CONTEXT)

    async def test_halves_of_two_keys_do_not_open(self, service: AsyncKeyService) -> None:
        one, two = await service.wrap(KEY, CONTEXT), await service.wrap(KEY[::-1], CONTEXT)
        for position in _samples(min(len(one), len(two))):
            mixed = one[:position] + two[position:]
            if mixed not in {one, two}:
                with pytest.raises(EncryptionError):
                    await service.unwrap(mixed, CONTEXT)

    async def test_what_nobody_wrapped_is_malformed(self, service: AsyncKeyService) -> None:
        for nothing in NOTHING:
            with pytest.raises(MalformedEnvelopeError):
                await service.unwrap(nothing, CONTEXT)

    async def test_a_key_that_it_was_not_given_is_not_found(
        self, service: AsyncKeyService, other: Any, coloured: Coloured
    ) -> None:
        wrapped = await service.wrap(KEY, CONTEXT)
        with pytest.raises(KeyNotFoundError):
            await coloured(other).unwrap(wrapped, CONTEXT)

    async def test_a_former_key_opens_and_wraps_nothing(
        self, service: AsyncKeyService, successor: Any, coloured: Coloured
    ) -> None:
        newer = coloured(successor)
        assert await newer.unwrap(await service.wrap(KEY, CONTEXT), CONTEXT) == KEY
        wrapped = await newer.wrap(KEY, CONTEXT)
        assert newer.primary_id != service.primary_id
        assert await newer.unwrap(wrapped, CONTEXT) == KEY
        with pytest.raises(KeyNotFoundError):
            await service.unwrap(wrapped, CONTEXT)

    async def test_concurrent_calls_do_not_mix(self, service: AsyncKeyService) -> None:
        async def there_and_back(number: int) -> bool:
            key = bytes([number]) * 32
            context = replace(CONTEXT, tenant=str(number))
            return await service.unwrap(await service.wrap(key, context), context) == key

        assert all(await asyncio.gather(*map(there_and_back, range(CONCURRENT))))


class RemoteKeyServiceContract(KeyServiceContract):
    """What key services behind a network must do besides.

    It needs one more fixture: `outage`, a function that returns a context manager; within it the service that
    `open_service` gives can't be reached.
    """

    #: How long a call may take that meets no service.
    patience_seconds = 15.0

    @pytest.fixture
    def outage(self) -> Callable[[], AbstractContextManager[object]]:
        """Make the service unreachable for the length of a block; subclasses override it."""
        # Meant for who writes a service: pytest shows it where the fixture of the subclass is missing.
        raise NotImplementedError("give a fixture outage that returns a function which cuts the service off")

    async def test_an_outage_is_told_soon_and_leaves_nothing_behind(
        self, service: AsyncKeyService, outage: Callable[[], AbstractContextManager[object]]
    ) -> None:
        wrapped, named = await service.wrap(KEY, CONTEXT), service.primary_id
        calls: list[Callable[[], Awaitable[bytes]]] = [
            lambda: service.wrap(KEY, CONTEXT),
            lambda: service.unwrap(wrapped, CONTEXT),
        ]
        with outage():
            for call in calls:
                began = time.monotonic()
                with pytest.raises(KeyServiceUnavailableError) as caught:
                    await call()
                assert time.monotonic() - began < self.patience_seconds
                assert caught.value.action == "retry"
        assert await service.unwrap(wrapped, CONTEXT) == KEY
        assert await service.unwrap(await service.wrap(KEY, CONTEXT), CONTEXT) == KEY
        assert service.primary_id == named

    async def test_a_service_that_was_away_at_the_start_is_used_once_it_is_back(
        self, open_service: Callable[[], Any], coloured: Coloured, outage: Callable[[], AbstractContextManager[object]]
    ) -> None:
        with outage():
            service = coloured(open_service())
            with pytest.raises(KeyServiceUnavailableError):
                await service.wrap(KEY, CONTEXT)
        assert await service.unwrap(await service.wrap(KEY, CONTEXT), CONTEXT) == KEY


def _samples(length: int) -> list[int]:
    """Return the first and last positions and some between."""
    return sorted({0, 3, 4, length - 1, *range(0, length, max(1, length // SAMPLES))})
