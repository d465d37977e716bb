"""FastAPI: the routes as an ``APIRouter``. Needs ``pip install 'socialvault[fastapi]'``."""

from __future__ import annotations

from contextlib import asynccontextmanager
from inspect import iscoroutinefunction
from typing import TYPE_CHECKING, Annotated, Any, Unpack

from socialvault.api.async_vault import AsyncVault
from socialvault.exceptions import ConfigurationError
from socialvault.http import endpoints, openapi
from socialvault.http.access_log import hide_callback_queries
from socialvault.http.limits import async_counting
from socialvault.http.messages import Request, Response, joined
from socialvault.http.routes import ROUTES, by_path
from socialvault.http.settings import MOST_BODY_BYTES, check_callable, settings_of

try:
    from fastapi import APIRouter, Depends
    from fastapi.routing import APIRoute
    from starlette.concurrency import run_in_threadpool
    from starlette.exceptions import HTTPException
    from starlette.requests import Request as NativeRequest
    from starlette.responses import Response as NativeResponse
except ImportError:
    raise ConfigurationError("FastAPI is missing: pip install 'socialvault[fastapi]'") from None

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Mapping

    from starlette.types import Message

    from socialvault.http.call import OnConnected
    from socialvault.http.endpoints import Endpoints
    from socialvault.http.route import Route
    from socialvault.http.settings import Options
    from socialvault.model.login import Completed

    Handler = Callable[[NativeRequest], Coroutine[Any, Any, NativeResponse]]

_METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE")


def oauth_router(
    vault: AsyncVault,
    *,
    owner: Callable[..., Any],
    tenant: Callable[..., Any] | None = None,
    on_connected: Callable[[NativeRequest, Completed], Any] | None = None,
    **options: Unpack[Options],
) -> APIRouter:
    """Return the routes; mount them with ``app.include_router(…, prefix="/api/v1")``.

    The prefix is what stands before ``/oauth/{provider}/callback`` in the vault's ``redirect_uri``, or what a proxy
    leaves of it. The router opens the vault when the application starts, so that wrong keys stop it, and closes it
    when it ends. Access logs lose the query of callbacks.

    Args:
        owner: a dependency that returns the id of who is signed in, or None for nobody. It may depend on others, be
            a coroutine function or not, and raise as it likes.
        tenant: a dependency that returns your customer or workspace; without it there is none.
        on_connected: called with the request and the outcome when a callback has connected an account.
        options: see `Options`.

    Raises:
        ConfigurationError: an argument or option can't be used; the message names it.
    """
    if not isinstance(vault, AsyncVault):
        raise ConfigurationError(f"vault: FastAPI needs an AsyncVault, not {type(vault).__name__}")
    check_callable(owner, "owner")
    settings = settings_of(vault, options)
    served = endpoints.Endpoints(vault._cases, settings, async_counting(settings.rate_limits), _awaited(on_connected))
    who = (owner, check_callable(tenant or _no_tenant, "tenant"))
    hide_callback_queries()
    router, schemas = APIRouter(lifespan=_lifespan(vault)), openapi.schemas(ROUTES)
    for path, by_method in by_path().items():
        for route in by_method.values():
            _mount(router, served, route, who, openapi.inlined(openapi.operation(route), schemas))
        router.add_route(
            path, _others(served, by_method), list(set(_METHODS) - set(by_method)), include_in_schema=False
        )
    return router


def _lifespan(vault: AsyncVault) -> Callable[[Any], Any]:
    @asynccontextmanager
    async def while_serving(_app: object) -> AsyncIterator[None]:
        async with vault:
            yield

    return while_serving


def _no_tenant() -> str:
    return ""


def _awaited(hook: Callable[[NativeRequest, Completed], Any] | None) -> OnConnected | None:
    """Return the application's hook as something to await; a plain function must not hold up the loop."""
    if hook is None:
        return None
    check_callable(hook, "on_connected")

    async def told(native: Any, done: Completed) -> object:
        if iscoroutinefunction(hook):
            return await hook(native, done)
        return await run_in_threadpool(hook, native, done)

    return told


def _mount(
    router: APIRouter,
    served: Endpoints,
    route: Route,
    who: tuple[Callable[..., Any], Callable[..., Any]],
    described: dict[str, Any],
) -> None:
    router.add_api_route(
        route.path,
        _for_owner(served, route, *who) if route.needs_owner else _for_anybody(served, route),
        methods=[route.method],
        operation_id=described.pop("operationId"),
        summary=route.summary,
        status_code=route.status,
        response_class=NativeResponse,
        response_model=None,
        openapi_extra=described,
        route_class_override=_admitting(served, route),
    )


def _for_owner(
    served: Endpoints, route: Route, owner_dependency: Callable[..., Any], tenant_dependency: Callable[..., Any]
) -> Callable[..., Awaitable[NativeResponse]]:
    async def endpoint(request: NativeRequest, owner: Any, tenant: Any) -> NativeResponse:
        return _native(await served.answer(route, await _read(request), owner, tenant))

    # FastAPI reads annotations at run time, and can't look into the function that these were made in.
    endpoint.__annotations__ = {
        "request": NativeRequest,
        "owner": Annotated[Any, Depends(owner_dependency)],
        "tenant": Annotated[Any, Depends(tenant_dependency)],
    }
    return endpoint


def _for_anybody(served: Endpoints, route: Route) -> Callable[..., Awaitable[NativeResponse]]:
    async def endpoint(request: NativeRequest) -> NativeResponse:
        return _native(await served.answer(route, await _read(request), None, None))

    endpoint.__annotations__ = {"request": NativeRequest}
    return endpoint


def _admitting(served: Endpoints, route: Route) -> type[APIRoute]:
    """Return a class of routes that asks `Endpoints.admit` before any of the application's dependencies runs."""

    class Admitting(APIRoute):
        def get_route_handler(self) -> Handler:
            handle = super().get_route_handler()

            async def guarded(native: NativeRequest) -> NativeResponse:
                body = await _body(native)
                if body is None:
                    return _native(endpoints.too_large())
                native = NativeRequest(native.scope, _replaying(body))
                refused = await served.admit(route, await _read(native))
                if refused is not None:
                    return _native(refused)
                try:
                    return await handle(native)
                except HTTPException as problem:  # of a dependency: the application answers it, with our headers
                    problem.headers = {**dict(endpoints.SAFE_HEADERS), **(problem.headers or {})}
                    raise

            return guarded

    return Admitting


async def _body(native: NativeRequest) -> bytes | None:
    """Return the body, or None where it is too long."""
    found = bytearray()
    async for chunk in native.stream():
        found += chunk
        if len(found) > MOST_BODY_BYTES:
            return None
    return bytes(found)


def _replaying(body: bytes) -> Callable[[], Awaitable[Message]]:
    """Return a channel that gives the body once more, to dependencies and to us."""

    async def receive() -> Message:
        return {"type": "http.request", "body": body, "more_body": False}

    return receive


async def _read(native: NativeRequest) -> Request:
    return Request(
        method=native.method,
        params=native.path_params,
        query=native.scope["query_string"].decode("latin-1"),
        headers=joined((name.decode("latin-1"), value.decode("latin-1")) for name, value in native.headers.raw),
        body=await native.body(),
        peer=native.client.host if native.client else "",
        native=native,
    )


def _native(answer: Response) -> NativeResponse:
    native = NativeResponse(answer.body, answer.status)
    for name, value in answer.headers:
        native.headers.append(name, value)
    if answer.content_type:
        native.headers["Content-Type"] = answer.content_type
    return native


def _others(served: Endpoints, by_method: Mapping[str, Route]) -> Callable[[NativeRequest], Awaitable[NativeResponse]]:
    """Return what answers the methods of a path that have no route; a look ahead at a callback is one of them."""

    async def answer(native: NativeRequest) -> NativeResponse:
        looked_at = by_method.get("GET") if native.method == "HEAD" else None
        if looked_at is not None and looked_at.happens_once:
            ahead = await served.admit(looked_at, await _read(NativeRequest(native.scope, _replaying(b""))))
            if ahead is not None:
                return _native(ahead)
        return _native(endpoints.other_method(native.method, by_method))

    return answer
