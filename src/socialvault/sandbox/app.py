"""The ASGI application: routes requests to the emulated providers, and lets faults strike."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Mount, Route

from socialvault.sandbox import pages
from socialvault.sandbox.faults import Fault
from socialvault.sandbox.log import LogEntry
from socialvault.sandbox.messages import Answer, Call, Params, Refusal, overridden

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from starlette.types import Receive, Scope, Send

    from socialvault.sandbox.emulators.base import Emulator, Endpoint
    from socialvault.sandbox.world import World

_FORM = "application/x-www-form-urlencoded"
_HTML = b"<!doctype html><html><head><title>502 Bad Gateway</title></head><body><h1>502 Bad Gateway</h1></body></html>"
_BODIES = {"html": (_HTML, "text/html"), "malformed": (b'{"access_token": "', "application/json"), "empty": (b"", "")}
_ERRORS = {429: "rate_limited", 503: "temporarily_unavailable"}


def build_app(world: World, emulators: Iterable[Emulator]) -> Starlette:
    """Return the application that serves `emulators`, each below its slug."""
    served = tuple(emulators)

    async def index(_request: Request) -> Response:
        return _response(pages.index_page(world.base_url, [(one.slug, one.title) for one in served]), Fault())

    mounts = [
        Mount(
            f"/{one.slug}",
            routes=[
                Route(endpoint.path, _Handler(world, one, endpoint), methods=[endpoint.method])
                for endpoint in one.endpoints
            ],
        )
        for one in served
    ]
    return Starlette(routes=[Route("/", index), *mounts])


class _Handler:
    """One endpoint as an ASGI application."""

    def __init__(self, world: World, emulator: Emulator, endpoint: Endpoint) -> None:
        self._world = world
        self._emulator = emulator
        self._endpoint = endpoint

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        try:
            body = await request.body()
        except ClientDisconnect:
            return
        fault = self._world.faults.take(self._emulator.slug, self._endpoint.name) or Fault()
        if fault.moment == "before_commit":
            await asyncio.sleep(fault.latency.total_seconds())
        answer = self._work(request, body, fault)
        if fault.moment == "after_commit":
            await asyncio.sleep(fault.latency.total_seconds())
        if fault.drop:
            await _drop(scope, receive)
        elif fault.hang:
            await receive()  # the body was read, so what comes next is the disconnect
        else:
            await _response(answer, fault)(scope, receive, send)

    def _work(self, request: Request, body: bytes, fault: Fault) -> Answer:
        """Do the work and log it as one step, unless the fault comes first; return what to answer."""
        emulator, endpoint = self._emulator, self._endpoint
        form = body.decode("utf-8", "replace") if request.headers.get("content-type", "").startswith(_FORM) else ""
        with self._world.lock:
            call = Call(
                method=request.method,
                now=self._world.clock.now(),
                path=request.path_params,
                query=Params.parse(request.url.query),
                form=Params.parse(form),
                headers={name.lower(): value for name, value in request.headers.items()},
                fault=fault,
            )
            redirects = endpoint.handler == "decide"  # the consent works `error` into its callback itself
            commits = fault.commits or (redirects and fault.error != "" and fault.status is None)
            worked = emulator.answer(endpoint, call) if commits else Answer(status=0, outcome="not_run")
            self._log(call, worked, fault)
            instead = fault.status is not None or (fault.error != "" and not redirects)
            return self._fault_answer(call, fault) if instead else worked

    def _log(self, call: Call, worked: Answer, fault: Fault) -> None:
        note = call.note
        self._world.log.add(
            LogEntry(
                at=call.now,
                provider=self._emulator.slug,
                endpoint=self._endpoint.name,
                outcome=note.outcome if note.outcome and worked.status < 400 else worked.outcome,
                status=worked.status,
                grant_type=note.grant_type,
                client_id=note.client_id,
                user=note.user,
                grant_id=note.grant_id,
                presented=note.presented,
                issued=note.issued,
                fault="" if fault == Fault() else str(fault),
            )
        )

    def _fault_answer(self, call: Call, fault: Fault) -> Answer:
        """Say the fault's status and error in the endpoint's dialect."""
        status = fault.status or (401 if fault.error == "invalid_client" else 400)
        if status < 400 and not fault.error:
            return Answer(status=status)
        refusal = Refusal(fault.error or _ERRORS.get(status, "server_error"), "a fault of the sandbox", status=status)
        answer = self._emulator.render(self._endpoint, refusal, call)
        answer.status = status
        return answer


def _response(answer: Answer, fault: Fault) -> Response:
    """Turn an answer into bytes, with what the fault does to them."""
    document = answer.document
    if isinstance(document, Mapping) and fault.replace:
        document = overridden(document, fault.replace)
    body = answer.text.encode() if document is None else json.dumps(document).encode()
    content_type = answer.content_type
    if fault.body == "truncated":
        body = body[: len(body) // 2]
    elif isinstance(fault.body, bytes):
        body = fault.body
    elif fault.body is not None:
        body, content_type = _BODIES[fault.body]
    headers = {"Content-Type": content_type, **answer.headers, **fault.headers}
    if fault.retry_after is not None:
        headers["Retry-After"] = str(fault.retry_after)
    status = answer.status or 200
    if fault.drip:
        return StreamingResponse(_drip(body, fault.drip.total_seconds()), status, headers)
    return Response(body, status, headers)


async def _drip(body: bytes, every_seconds: float) -> AsyncIterator[bytes]:
    for position in range(len(body)):
        yield body[position : position + 1]
        await asyncio.sleep(every_seconds)


async def _drop(scope: Scope, receive: Receive) -> None:
    """Close the connection; in an application without a server that is an exception."""
    state: dict[str, Any] = scope.get("state", {})
    transport: asyncio.Transport | None = state.get("transport")
    if transport is None:
        raise ConnectionResetError("the emulated provider dropped the connection")
    transport.abort()
    await receive()  # the disconnect
