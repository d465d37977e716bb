"""Whether the process answers, and whether the vault can do its work."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from socialvault.http.bodies import LivenessDocument, ReadinessDocument
from socialvault.http.messages import json_response

if TYPE_CHECKING:
    from socialvault.http.call import Call
    from socialvault.http.messages import Response

_logger = logging.getLogger("socialvault")


async def live(_call: Call) -> Response:
    """Answer."""
    return json_response(LivenessDocument())


async def ready(call: Call) -> Response:
    """Look at the store, the keys, the providers and the clock; what is wrong goes to the log, not to the caller."""
    health = await call.cases.health()
    for check in health.checks:
        if check.problem:
            _logger.error("not ready: %s: %s", check.name, check.problem)
    return json_response(ReadinessDocument.of(health), status=200 if health.ok else 503)
