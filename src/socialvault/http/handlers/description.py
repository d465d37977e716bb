"""The routes' own description."""

from __future__ import annotations

from typing import TYPE_CHECKING

from socialvault import __version__
from socialvault.http.bodies import OpenApiDocument
from socialvault.http.messages import json_response
from socialvault.http.openapi import document

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from socialvault.http.call import Call
    from socialvault.http.messages import Response
    from socialvault.http.route import Handler, Route


def describing(routes: Callable[[], Sequence[Route]]) -> Handler:
    """Return the handler that describes `routes`, itself included."""

    async def describe(call: Call) -> Response:
        return json_response(OpenApiDocument.model_validate(document(__version__, call.settings.path(""), routes())))

    return describe
