"""What a handler has at hand: the request, for whom it is, and the vault's use cases."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from inspect import isawaitable
from typing import TYPE_CHECKING

from socialvault.http.problems import HttpError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from socialvault.api.assembly import UseCases
    from socialvault.http.messages import Request
    from socialvault.http.settings import HttpSettings
    from socialvault.model.login import Completed
    from socialvault.providers.base import Provider

    #: Told, with the framework's own request, about a callback that connected an account.
    OnConnected = Callable[[object, Completed], Awaitable[object] | object]

_logger = logging.getLogger("socialvault")


@dataclass(frozen=True, slots=True)
class Call:
    """One request on its way through a handler.

    Attributes:
        owner, tenant: from the application; "" on routes that need no owner.
    """

    request: Request
    settings: HttpSettings
    cases: UseCases
    owner: str = ""
    tenant: str = ""
    on_connected: OnConnected | None = None

    @property
    def platform(self) -> Provider:
        """The provider that the path names.

        Raises:
            HttpError: 404, this vault has none of that name.
        """
        found = self.cases.core.providers.by_slug.get(self.request.params["platform"])
        if found is None:
            raise HttpError(404, "unknown_platform", "there is no such platform")
        return found

    @property
    def connection_id(self) -> str:
        """The connection that the path names."""
        return self.request.params["connection_id"]

    async def tell_connected(self, done: Completed) -> None:
        """Tell the application, once for each flow; what it raises is logged: the account is connected all the same."""
        if self.on_connected is None or done.duplicate:
            return
        try:
            told = self.on_connected(self.request.native, done)
            if isawaitable(told):
                await told
        except Exception as problem:
            _logger.error("on_connected failed", exc_info=problem)
