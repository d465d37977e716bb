"""``Endpoints``: from a request to its response, the same for every framework."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, TypeVar

from socialvault.exceptions import ConfigurationError, SocialVaultError
from socialvault.http.addresses import INSIDE, client_address, limited_as, within
from socialvault.http.call import Call
from socialvault.http.csrf import comes_from_here
from socialvault.http.handlers.flows import failure_page
from socialvault.http.messages import Response
from socialvault.http.mounting import known_methods
from socialvault.http.problems import HttpError, http_error, log_failure, problem_response
from socialvault.http.settings import MOST_BODY_BYTES

if TYPE_CHECKING:
    from collections.abc import Awaitable, Iterable

    from limits import RateLimitItem

    from socialvault.api.async_vault import AsyncVault
    from socialvault.api.vault import Vault
    from socialvault.http.addresses import Address
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
        self,
        vault: Vault | AsyncVault,
        settings: HttpSettings,
        counting: Counting | None,
        on_connected: OnConnected | None,
    ) -> None:
        self._vault = vault
        self._settings = settings
        self._counting = counting
        self._on_connected = on_connected
        self._warned: set[str] = set()

    async def admit(self, route: Route, request: Request) -> Response | None:
        """Return the refusal of a request that must go no further, None for one that may."""
        self._compare(route, request)
        refused = await self._safely(route, request, self._admitted(route, request))
        return None if refused is None else safe(refused)

    async def answer(self, route: Route, request: Request, owner: object, tenant: object) -> Response:
        """Answer an admitted request.

        Args:
            owner: what the application said: a str, or None for nobody.
            tenant: likewise; "" where the application has none, None for one that it could not tell.
        """
        return safe(await self._safely(route, request, self._handled(route, request, owner, tenant)))

    async def _safely(self, route: Route, request: Request, work: Awaitable[T]) -> T | Response:
        """Turn whatever goes wrong into an answer: a framework's own page could show what the request held."""
        try:
            return await work
        except (HttpError, SocialVaultError) as problem:
            failure = problem
        except Exception as problem:
            _logger.error("%s %s failed", route.method, route.path, exc_info=problem)
            failure = HttpError(500, "internal_error", "something went wrong here")
        error = failure if isinstance(failure, HttpError) else http_error(failure)
        if isinstance(failure, SocialVaultError):
            log_failure(f"{route.method} {route.path}", failure)
        if route.browser and request.wants_page:
            return failure_page(self._call(request), error, route.failure_title)
        return problem_response(error)

    async def _admitted(self, route: Route, request: Request) -> Response | None:
        if route.happens_once and (request.method == "HEAD" or request.is_prefetch):
            return Response(204)
        address = client_address(request, self._settings.trusted_proxies)
        allowed = self._settings.allow_ips
        if allowed is not None and route.needs_owner and (address is None or not within(address, allowed)):
            raise HttpError(403, "address_not_allowed", "this address may not use these routes")
        if self._counting and self._counting.per_ip and route.limited:
            client = self._one_client(request, address)
            if client is not None:
                await _count(self._counting.limiter, self._counting.per_ip, "ip", limited_as(client))
        if route.changes and not comes_from_here(request, self._settings.origins):
            raise HttpError(403, "cross_site_request", "this request did not come from a page of this application")
        return None

    def _compare(self, route: Route, request: Request) -> None:
        """Notice a prefix that callbacks will not come to; a proxy may take away its beginning."""
        prefix = request.path.rsplit("/", route.path.count("/"))[0]
        if not self._settings.path("").endswith(prefix):
            self._warn_once(
                f"the routes are mounted at {prefix!r}, but redirect_uri leads to {self._settings.path('')!r}"
            )

    def _one_client(self, request: Request, address: Address | None) -> Address | None:
        """Return an address if it is one client's: behind a proxy that nobody named it would be everybody's."""
        behind_one = "x-forwarded-for" in request.headers and not self._settings.trusted_proxies
        if address is not None and not (behind_one and within(address, INSIDE)):
            return address
        self._warn_once("a proxy forwards requests: name it in trusted_proxies, or addresses are not limited")
        return None

    def _warn_once(self, text: str) -> None:
        if text not in self._warned:
            self._warned.add(text)
            _logger.warning(text)

    async def _handled(self, route: Route, request: Request, owner: object, tenant: object) -> Response:
        call = self._call(request, _named(owner), _named(tenant))
        if route.needs_owner:
            if not call.owner.strip():
                raise HttpError(401, "not_signed_in", "sign in to the application first", "reauthorize")
            if tenant is None:
                raise HttpError(403, "no_tenant", "the application did not say for which workspace this is")
            if self._counting and self._counting.per_owner:
                await _count(self._counting.limiter, self._counting.per_owner, "owner", call.tenant, call.owner)
        return await route.handler(call)

    def _call(self, request: Request, owner: str = "", tenant: str = "") -> Call:
        return Call(request, self._settings, self._vault._cases, owner, tenant, self._on_connected)


def _named(said: object) -> str:
    """Return what the application said of an owner or tenant, "" for nobody.

    Raises:
        ConfigurationError: it is no text: an id of another type may be written in more than one way.
    """
    if said is None or isinstance(said, str):
        return str(said or "")  # Django's lazy objects pass for str, and are none
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
    allow = (("Allow", ", ".join(known_methods(known))),)
    if method == "OPTIONS":
        return safe(Response(204, headers=allow))
    return safe(problem_response(HttpError(405, "method_not_allowed", "this path has no such method", headers=allow)))


def not_found() -> Response:
    """Refuse a path that is none of ours."""
    return safe(problem_response(HttpError(404, "not_found", "there is no such path")))


def forbidden() -> Response:
    """Refuse what the application refused in its framework's own way."""
    return safe(problem_response(HttpError(403, "forbidden", "the application does not allow this")))


def refused_fields(fields: list[dict[str, str]]) -> Response:
    """Refuse fields that the application found wrong."""
    error = HttpError(422, "invalid_fields", "the request is not as it must be", extras={"errors": fields})
    return safe(problem_response(error))


def too_large() -> Response:
    """Refuse a body that is longer than any of these routes needs."""
    return safe(problem_response(HttpError(413, "body_too_large", f"a body has at most {MOST_BODY_BYTES} bytes")))


def safe(answer: Response) -> Response:
    """Return an answer with the headers that every answer has."""
    return Response(answer.status, answer.body, answer.content_type, (*answer.headers, *SAFE_HEADERS))
