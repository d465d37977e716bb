"""FastAPI: the routes as an ``APIRouter``. Needs ``pip install 'socialvault[fastapi]'``."""

from __future__ import annotations

from contextlib import asynccontextmanager
from inspect import isawaitable, iscoroutinefunction
from typing import TYPE_CHECKING, Annotated, Any, Unpack

from socialvault.api.async_vault import AsyncVault
from socialvault.exceptions import ConfigurationError
from socialvault.http import endpoints, openapi
from socialvault.http.access_log import hide_callback_queries
from socialvault.http.limits import counting
from socialvault.http.messages import Request, Response, joined
from socialvault.http.mounting import METHODS
from socialvault.http.routes import ROUTES, by_path
from socialvault.http.settings import MOST_BODY_BYTES, check_callable, settings_of

try:
    from fastapi import APIRouter, Depends
    from fastapi.exceptions import RequestValidationError
    from fastapi.routing import APIRoute
    from starlette.concurrency import run_in_threadpool
    from starlette.exceptions import HTTPException
    from starlette.requests import ClientDisconnect
    from starlette.requests import Request as NativeRequest
    from starlette.responses import Response as NativeResponse
except ImportError:
    raise ConfigurationError("FastAPI is missing: pip install 'socialvault[fastapi]'") from None

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterable, Mapping

    from starlette.types import Message

    from socialvault.http.call import OnConnected
    from socialvault.http.endpoints import Endpoints
    from socialvault.http.route import Route
    from socialvault.http.settings import Options
    from socialvault.model.login import Completed

    Handler = Callable[[NativeRequest], Coroutine[Any, Any, NativeResponse]]

#: Where a request keeps what was read of it, so that it is read once.
_READ = "socialvault.request"


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
    limits = counting(settings.rate_limits, run_in_threadpool)
    served = endpoints.Endpoints(vault, settings, limits, _awaited(on_connected))
    who = (owner, check_callable(tenant or _no_tenant, "tenant"))
    hide_callback_queries()
    router, schemas = APIRouter(lifespan=_lifespan(vault)), openapi.schemas(ROUTES)
    for path, by_method in by_path().items():
        for route in by_method.values():
            _mount(router, served, route, who, openapi.inlined(openapi.operation(route), schemas))
        others = [method for method in METHODS if method not in {*by_method, *_looks(by_method)}]
        router.add_route(path, _other_method(by_method), others, include_in_schema=False)
        # Starlette would redirect to the path without the slash, under whatever host the request names.
        router.add_route(f"{path}/", _not_found, list(METHODS), include_in_schema=False)
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
        answer = await run_in_threadpool(hook, native, done)
        return await answer if isawaitable(answer) else answer

    return told


def _mount(
    router: APIRouter,
    served: Endpoints,
    route: Route,
    who: tuple[Callable[..., Any], Callable[..., Any]],
    described: dict[str, Any],
) -> None:
    operation_id = described.pop("operationId")
    endpoint = _for_owner(served, route, *who) if route.needs_owner else _for_anybody(served, route)
    for method in (route.method, *_looks({route.method})):
        router.add_api_route(
            route.path,
            endpoint,
            methods=[method],
            operation_id=operation_id,
            summary=route.summary,
            status_code=route.status,
            response_class=NativeResponse,
            response_model=None,
            openapi_extra=described,
            include_in_schema=method == route.method,
            route_class_override=_admitting(served, route),
        )


def _looks(methods: Iterable[str]) -> tuple[str, ...]:
    """HEAD is asked where GET is."""
    return ("HEAD",) if "GET" in set(methods) else ()


def _for_owner(
    served: Endpoints, route: Route, owner_dependency: Callable[..., Any], tenant_dependency: Callable[..., Any]
) -> Callable[..., Awaitable[NativeResponse]]:
    async def endpoint(request: NativeRequest, response: NativeResponse, owner: Any, tenant: Any) -> NativeResponse:
        native = _native(await served.answer(route, _read(request), owner, tenant))
        native.raw_headers.extend(response.raw_headers)  # what dependencies set: a session's cookie
        return native

    # FastAPI reads annotations at run time, and can't look into the function that these were made in.
    endpoint.__annotations__ = {
        "request": NativeRequest,
        "response": NativeResponse,
        "owner": Annotated[Any, Depends(owner_dependency)],
        "tenant": Annotated[Any, Depends(tenant_dependency)],
    }
    return endpoint


def _for_anybody(served: Endpoints, route: Route) -> Callable[..., Awaitable[NativeResponse]]:
    async def endpoint(request: NativeRequest) -> NativeResponse:
        return _native(await served.answer(route, _read(request), None, None))

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
                native.scope[_READ] = read = _request(native, body)
                refused = await served.admit(route, read)
                if refused is not None:
                    return _native(refused)
                try:
                    return await handle(native)
                except HTTPException as problem:  # of a dependency: the application answers it, with our headers
                    problem.headers = {**dict(endpoints.SAFE_HEADERS), **(problem.headers or {})}
                    raise
                except RequestValidationError as problem:  # likewise; the framework's own answer repeats the input
                    wrong = problem.errors()
                fields = [{"field": ".".join(map(str, one["loc"])), "message": str(one["msg"])} for one in wrong]
                return _native(endpoints.refused_fields(fields))

            return guarded

    return Admitting


async def _body(native: NativeRequest) -> bytes | None:
    """Return the body, or None where it is too long, or the client is gone before its end."""
    found = bytearray()
    try:
        async for chunk in native.stream():
            found += chunk
            if len(found) > MOST_BODY_BYTES:
                return None
    except ClientDisconnect:
        return None
    return bytes(found)


def _replaying(body: bytes) -> Callable[[], Awaitable[Message]]:
    """Return a channel that gives the body once more, to dependencies and to us."""

    async def receive() -> Message:
        return {"type": "http.request", "body": body, "more_body": False}

    return receive


def _read(native: NativeRequest) -> Request:
    read: Request = native.scope[_READ]
    return read


def _request(native: NativeRequest, body: bytes) -> Request:
    return Request(
        method=native.method,
        path=native.scope["path"],
        params=native.path_params,
        query=native.scope["query_string"].decode("latin-1"),
        headers=joined((name.decode("latin-1"), value.decode("latin-1")) for name, value in native.headers.raw),
        body=body,
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


def _other_method(by_method: Mapping[str, Route]) -> Callable[[NativeRequest], Awaitable[NativeResponse]]:
    async def answer(native: NativeRequest) -> NativeResponse:
        return _native(endpoints.other_method(native.method, by_method))

    return answer


async def _not_found(_native_request: NativeRequest) -> NativeResponse:
    return _native(endpoints.not_found())
