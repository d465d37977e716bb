"""Whether a state-changing request comes from one of our own pages, or from no page at all.

Browsers say where a request comes from (Fetch Metadata, Origin), and no page can make them lie. What says neither must
carry a header that a page of another origin can't set without being allowed to by CORS.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection

    from socialvault.http.messages import Request

PROGRAM_HEADER = "x-requested-with"


def comes_from_here(request: Request, origins: Collection[str]) -> bool:
    """Whether `request` may change something.

    Args:
        origins: the own ones, as browsers write them: scheme, host, and the port where it is not the usual one.
    """
    site, origin = request.headers.get("sec-fetch-site"), request.headers.get("origin")
    if site in ("same-origin", "none"):  # before Origin, which is null for a form on a page that sends no referrer
        return True
    if origin in origins:
        return True
    return site is None and origin is None and PROGRAM_HEADER in request.headers
