"""The routes' own description."""

from __future__ import annotations

from typing import TYPE_CHECKING

from socialvault.http.messages import json_response

if TYPE_CHECKING:
    from socialvault.http.call import Call
    from socialvault.http.messages import Response


async def describe(_call: Call) -> Response:
    """Return the OpenAPI document."""
    from socialvault import __version__
    from socialvault.http.bodies import OpenApiDocument
    from socialvault.http.openapi import document

    return json_response(OpenApiDocument.model_validate(document(__version__)))
