"""``Endpoints``: from a request to its response, the same for every framework."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, TypeVar

from socialvault.exceptions import ConfigurationError, SocialVaultError
from socialvault.http.addresses import client_address, limited_as, within
from socialvault.http.call import Call
from socialvault.http.csrf import comes_from_here
from socialvault.http.handlers.flows import failure_page
from socialvault.http.messages import Response
from socialvault.http.problems import HttpError, http_error, log_failure, problem_response
from socialvault.http.settings import MOST_BODY_BYTES

if TYPE_CHECKING:
    from collections.abc import Awaitable, Iterable

    from limits import RateLimitItem

    from socialvault.api.assembly import UseCases
    from socialvault.http.call import OnConnected
    from socialvault.http.limits import Counting, Limiter
    from socialvault.http.messages import Headers, Request
    from socialvault.http.route import Route
    from socialvault.http.settings import HttpSettings

T = TypeVar("T")

#: On every answer: nothing of a flow may stay in a cache, or follow the browser to another site (RFC 9700, 4.2).
SAFE_HEADERS: Headers = (
    ("Cache-Control", "no-store"),
    ("Referrer-Policy", "no-referrer"),
    ("X-Content-Type-Options", "nosniff"),
)

_logger = logging.getLogger("socialvault")


class Endpoints:
    """Answers requests. An integration asks `admit` first, then the application who the owner is, then `answer`."""

    def __init__(
        self, cases: UseCases, settings: HttpSettings, counting: Counting | None, on_connected: OnConnected | None
    ) -> None:
        self._cases = cases
        self._settings = settings
        self._counting = counting
        self._on_connected = on_connected

    async def admit(self, route: Route, request: Request) -> Response | None:
        """Return the refusal of a request that must go no further, None for one that may."""
        refused = await self._safely(route, request, self._admitted(route, request))
        return None if refused is None else safe(refused)

    async def answer(self, route: Route, request: Request, owner: object, tenant: object) -> Response:
        """Answer an admitted request.

        Args:
            owner, tenant: what the application said: str, or None for nobody.
        """
        return safe(await self._safely(route, request, self._handled(route, request, owner, tenant)))

    async def _safely(self, route: Route, request: Request, work: Awaitable[T]) -> T | Response:
        """Turn whatever goes wrong into an answer: a framework's own page could show what the request held."""
        try:
            return await work
        except (HttpError, SocialVaultError) as problem:
            failure = problem
        except Exception:
            _logger.exception("%s %s failed", route.method, route.path)
            failure = HttpError(500, "internal_error", "something went wrong here")
        error = failure if isinstance(failure, HttpError) else http_error(failure)
        if isinstance(failure, SocialVaultError):
            log_failure(f"{route.method} {route.path}", failure)
        if route.shows_page and request.wants_page:
            return failure_page(self._call(request), error)
        return problem_response(error)

    async def _admitted(self, route: Route, request: Request) -> Response | None:
        if route.happens_once and (request.method == "HEAD" or request.is_prefetch):
            return Response(204)
        address = client_address(request, self._settings.trusted_proxies)
        allowed = self._settings.allow_ips
        if allowed is not None and route.needs_owner and (address is None or not within(address, allowed)):
            raise HttpError(403, "address_not_allowed", "this address may not use these routes")
        if self._counting and self._counting.per_ip and address is not None and not route.is_health_check:
            await _count(self._counting.limiter, self._counting.per_ip, "ip", limited_as(address))
        if route.changes and not comes_from_here(request, self._settings.origins):
            raise HttpError(403, "cross_site_request", "this request did not come from a page of this application")
        return None

    async def _handled(self, route: Route, request: Request, owner: object, tenant: object) -> Response:
        call = self._call(request, _named(owner), _named(tenant))
        if route.needs_owner:
            if not call.owner:
                raise HttpError(401, "not_signed_in", "sign in to the application first", "reauthorize")
            if self._counting and self._counting.per_owner:
                await _count(self._counting.limiter, self._counting.per_owner, "owner", call.tenant, call.owner)
        return await route.handler(call)

    def _call(self, request: Request, owner: str = "", tenant: str = "") -> Call:
        return Call(request, self._settings, self._cases, owner, tenant, self._on_connected)


def _named(said: object) -> str:
    """Return what the application said of an owner or tenant, "" for nobody.

    Raises:
        ConfigurationError: it is no text: an id of another type may be written in more than one way.
    """
    if said is None or isinstance(said, str):
        return said or ""
    raise ConfigurationError(f"owner and tenant must return a str or None, not {type(said).__name__}")


async def _count(limiter: Limiter, item: RateLimitItem, *whose: str) -> None:
    wait_seconds = await limiter.hit(item, *whose)
    if wait_seconds:
        raise HttpError(
            429,
            "too_many_requests",
            f"too many requests; try again in {wait_seconds} s",
            "retry",
            {"retry_after_seconds": wait_seconds},
            (("Retry-After", str(wait_seconds)),),
        )


def other_method(method: str, known: Iterable[str]) -> Response:
    """Answer a method that a path has no route for: ``OPTIONS`` with those it has, all else with a refusal."""
    allow = (("Allow", ", ".join(sorted(known))),)
    if method == "OPTIONS":
        return safe(Response(204, headers=allow))
    return safe(problem_response(HttpError(405, "method_not_allowed", "this path has no such method", headers=allow)))


def too_large() -> Response:
    """Refuse a body that is longer than any of these routes needs."""
    return safe(problem_response(HttpError(413, "body_too_large", f"a body has at most {MOST_BODY_BYTES} bytes")))


def safe(answer: Response) -> Response:
    """Return an answer with the headers that every answer has."""
    return Response(answer.status, answer.body, answer.content_type, (*answer.headers, *SAFE_HEADERS))
