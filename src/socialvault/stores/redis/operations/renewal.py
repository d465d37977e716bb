"""Renewing tokens from several processes: leases, intents, failures, warnings."""

from __future__ import annotations

from typing import TYPE_CHECKING

from socialvault.stores.redis.columns import optional_seconds, seconds
from socialvault.stores.redis.layout import encoded
from socialvault.stores.redis.requests import Asker, Asking, flag
from socialvault.stores.redis.scripts import RENEWAL

if TYPE_CHECKING:
    from socialvault.model.rows import FailureWrite, IntentWrite


class Renewal(Asker):
    """Who may renew, and what came of it."""

    def acquire_lease(self, connection_id: str, holder: str, ttl_seconds: float) -> Asking[bool]:
        """As `TokenStore.acquire_lease`."""
        key = self.layout.connection(connection_id)
        done = yield self.call(RENEWAL, "acquire_lease", [key], encoded(holder), seconds(ttl_seconds))
        return bool(done)

    def release_lease(self, connection_id: str, holder: str) -> Asking[bool]:
        """As `TokenStore.release_lease`."""
        done = yield self.call(RENEWAL, "release_lease", [self.layout.connection(connection_id)], encoded(holder))
        return bool(done)

    def open_intent(self, intent: IntentWrite) -> Asking[bool]:
        """As `TokenStore.open_intent`."""
        done = yield self.call(
            RENEWAL, "open_intent", [self.layout.connection(intent.connection_id)],
            b"%d" % intent.expected_generation, b"%d" % intent.expected_attempt,
            intent.digest, seconds(intent.lifetime_seconds), flag(intent.replay),
        )  # fmt: skip
        return bool(done)

    def write_failure(self, write: FailureWrite) -> Asking[bool]:
        """As `TokenStore.write_failure`."""
        done = yield self.call(
            RENEWAL, "write_failure", [self.layout.connection(write.connection_id)],
            b"%d" % write.expected_generation, b"%d" % write.expected_attempt,
            flag(write.uncertain), flag(write.open), seconds(write.at_seconds),
            b"due_at_seconds", seconds(write.retry_at_seconds),
            b"failing_with", encoded(write.failing_with),
            b"refusals", b"%d" % write.refusals,
        )  # fmt: skip
        return bool(done)

    def write_warning(
        self, connection_id: str, warned_at_seconds: float, warn_at_seconds: float | None
    ) -> Asking[bool]:
        """As `TokenStore.write_warning`."""
        key = self.layout.connection(connection_id)
        done = yield self.call(
            RENEWAL, "write_warning", [key], seconds(warned_at_seconds), optional_seconds(warn_at_seconds)
        )
        return bool(done)
