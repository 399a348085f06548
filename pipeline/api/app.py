"""The web application: one table of endpoints, one gate in front of it, and the process that serves it."""

from __future__ import annotations

import asyncio
import gc
import re
import resource
import signal
import socket
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from functools import cache
from importlib.metadata import version
from itertools import product
from typing import Any
from uuid import uuid4

import structlog
from aiohttp import web

from pipeline.acts import beside, either
from pipeline.api import demo, monitor
from pipeline.api.access import PASS, PREFLIGHT_SECONDS, Access, burning, pass_of
from pipeline.api.bodies import refuse_encoding
from pipeline.api.content import ACCEL
from pipeline.api.dialects import ENDPOINTS as DIALECTS
from pipeline.api.dialects import VOICES
from pipeline.api.endpoint import ID, PROJECT, Call, Endpoint, plain
from pipeline.api.metrics import Metrics, labels_of
from pipeline.api.problems import ProblemDocument, refusal
from pipeline.api.server import HOSTS, LIMITS, Runner
from pipeline.api.shelf import SHELF, Shelf
from pipeline.api.sse import Streams
from pipeline.api.voices import OURS, VOICE, Voice
from pipeline.core import Core, open_core
from pipeline.describe import Raw, page
from pipeline.errors import (
    Internal,
    KeyInvalid,
    KeyRequired,
    MethodNotAllowed,
    RateExceeded,
    RecordsUnavailable,
    RequestInvalid,
    RouteNotFound,
    SafelightError,
    SignatureExpired,
    SignatureInvalid,
    SignatureRequired,
    TokenUsed,
    every_error,
)
from pipeline.model import Grant
from pipeline.settings import Settings

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

REQUEST_ID = re.compile(r"[\w.:-]{1,128}", re.ASCII)
PAGE_POLICY = "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'; base-uri 'none'"
BACKLOG = 1024
USED_EVERY = 60.0
"""Seconds between two notes on which derivatives are asked for."""
NEWEST = 10_000
"""More new containers than were given back, after which they are searched for circles."""
OPEN = 65_536
"""Connections and files that may be open at once, if the system allows it."""
LAST_WORDS = 2.0
"""Seconds for answers that are still going on after the grace."""
SIGNING = (SignatureRequired, SignatureInvalid, SignatureExpired, TokenUsed)

log = structlog.stdlib.get_logger(__name__)


async def openapi(call: Call) -> web.Response:
    return plain(document())


async def docs(call: Call) -> web.Response:
    return web.Response(
        text=page(document(), every_error()),
        content_type="text/html",
        headers={"Content-Security-Policy": PAGE_POLICY},
    )


ENDPOINTS: Sequence[Endpoint] = (
    *DIALECTS,
    *monitor.ENDPOINTS,
    *demo.ENDPOINTS,
    Endpoint(
        "GET",
        "/openapi.json",
        "This API as OpenAPI 3.1.",
        act=openapi,
        tag="docs",
        public=True,
        answers={200: Raw("application/json", {"type": "object"})},
    ),
    Endpoint(
        "GET",
        "/docs",
        "This API as a page.",
        act=docs,
        tag="docs",
        public=True,
        answers={200: Raw("text/html", {"type": "string"})},
    ),
)


@cache
def document() -> dict[str, Any]:
    """Everything that is served, as an OpenAPI 3.1 document."""
    from pipeline.openapi import openapi_document  # as costly to load as a tenth of all the rest, and seldom asked for

    described = [replace(endpoint, errors=(*endpoint.errors, *_common_errors(endpoint))) for endpoint in ENDPOINTS]
    return openapi_document(described, version=version("safelight"), problem=ProblemDocument)


def _common_errors(endpoint: Endpoint) -> tuple[type[SafelightError], ...]:
    if endpoint.tag in ("monitor", "docs"):
        return ()
    keys = () if endpoint.public else (KeyRequired, KeyInvalid, RateExceeded)
    signing = () if endpoint.by_public_key == "no" else SIGNING
    return (RequestInvalid, RecordsUnavailable, *keys, *signing)


def create_app(core: Core) -> web.Application:
    """Everything that is served over HTTP on `core`; it belongs behind `server.Runner`."""
    gate = Gate(core)
    limits = {**LIMITS, "keepalive_timeout": core.settings.header_timeout}
    app = web.Application(middlewares=[gate.middleware()], handler_args=limits)
    for endpoint in ENDPOINTS:
        for method, path in product(_methods(endpoint), (endpoint.path, *endpoint.also)):
            app.router.add_route(method, path, gate.behind(endpoint), expect_handler=_wait_for_body)
    for path, endpoints in _spoken_otherwise().items():
        app.router.add_route("*", path, gate.refusing(endpoints))
    app.on_response_prepare.append(gate.on_prepare)
    app.cleanup_ctx.append(gate.counting)
    app[GATE] = gate
    app[SHELF] = gate.shelf
    app[HOSTS] = dict(core.settings.hosts)
    if core.settings.accel_redirect:
        app[ACCEL] = core.settings.accel_redirect
    return app


def _methods(endpoint: Endpoint) -> Sequence[str]:
    return ("GET", "HEAD") if endpoint.method == "GET" else (endpoint.method,)


def _spoken_otherwise() -> Mapping[str, Sequence[Endpoint]]:
    """By path, the endpoints of dialects that tell of errors in their own words."""
    spoken: dict[str, list[Endpoint]] = {}
    for endpoint in ENDPOINTS:
        for path in (endpoint.path, *endpoint.also) if endpoint.voice is not OURS else ():
            spoken.setdefault(path, []).append(endpoint)
    return spoken


async def _wait_for_body(request: web.Request) -> None:
    """Say nothing to `Expect: 100-continue` yet; `Body` does, once it is sure that the bytes are wanted."""


class Gate:
    """What every request passes: its id, its key, and one shape for everything that goes wrong."""

    def __init__(self, core: Core) -> None:
        self._core = core
        self._access = Access(core.settings.projects, core.settings.admin_keys)
        self._metrics = Metrics()
        self.shelf = Shelf(core.settings.delivery_cache, self._access.cors_headers)
        self._streams = Streams()
        self._answering = 0
        self._idle = asyncio.Event()
        self._idle.set()
        self._draining = False
        self._log = log.bind()  # once, for it is asked with every request

    def behind(self, endpoint: Endpoint) -> Handler:
        """The handler that lets a request through to `endpoint`."""

        async def let_in(request: web.Request) -> web.StreamResponse:
            request[VOICE] = endpoint.voice
            call = Call(self._core, self._access, self._metrics, self._streams, request, request[ID])
            call.visitor = await self._visitor(endpoint, request)
            if endpoint.by_public_key != "no":
                call.pass_ = PASS
            if call.visitor is not None:
                request[PROJECT] = call.visitor.project
                await self._core.records.rates.check(call.visitor.project)
            refuse_encoding(request)
            return await endpoint.act(call)

        return let_in

    def refusing(self, endpoints: Sequence[Endpoint]) -> Handler:
        """The handler of what none of the endpoints of a path answers, in the words of their dialect."""
        allowed = ", ".join(sorted({method for endpoint in endpoints for method in _methods(endpoint)}))

        async def refuse(request: web.Request) -> web.StreamResponse:
            request[VOICE] = endpoints[0].voice
            raise MethodNotAllowed(allowed=allowed)

        return refuse

    async def _visitor(self, endpoint: Endpoint, request: web.Request) -> Grant | None:
        """Whom the request speaks for; raises `KeyRequired`, `KeyInvalid` or what is wrong with a signature."""
        authorization = request.headers.get("Authorization")
        if endpoint.by_public_key != "no" and authorization is None and (shown := pass_of(request)):
            grant = self._access.of_pass(shown, continues=endpoint.by_public_key == "known")
            if shown.token and not await self._core.records.tokens.burn(*burning(grant.project, shown)):
                raise TokenUsed
            return grant
        try:
            return self._access.grant(authorization)
        except (KeyRequired, KeyInvalid):
            if endpoint.public:
                return None
            raise

    def middleware(self) -> Any:
        """What stands around every handler, and around requests that no handler takes."""

        @web.middleware
        async def pass_through(request: web.Request, handler: Handler) -> web.StreamResponse:
            given = request.headers.get("X-Request-Id", "")
            request[ID] = given if REQUEST_ID.fullmatch(given) else str(uuid4())
            with self._busy(), structlog.contextvars.bound_contextvars(request=request[ID]):
                return await self._timed(request, handler)

        return pass_through

    @contextmanager
    def _busy(self) -> Iterator[None]:
        self._answering += 1
        self._idle.clear()
        try:
            yield
        finally:
            self._answering -= 1
            if not self._answering:
                self._idle.set()

    async def on_prepare(self, request: web.Request, response: web.StreamResponse) -> None:
        """The headers that every answer has; a body left unread must not be parsed as the next request."""
        response.headers["X-Request-Id"] = request.get(ID, "")
        response.headers.setdefault("X-Content-Type-Options", "nosniff")
        voice = request.get(VOICE) or _voice_of(request.path)
        response.headers.update(voice.headers(request))
        origin, project = request.headers.get("Origin"), request.get(PROJECT)
        response.headers.extend(self._access.cors_headers(origin, project, credentials=voice.credentials))
        if self._draining or not request.content.at_eof():
            response.headers["Connection"] = "close"
            response.force_close()

    async def counting(self, app: web.Application) -> AsyncIterator[None]:
        """Tell what is counted here while the application runs, and the rest at its end."""
        records = self._core.records
        changes = records.changes.follow(self.shelf.changed, self.shelf.stands)
        async with beside(self._metrics.keep_telling(records)), beside(changes), beside(self._keep_telling_used()):
            yield
        with suppress(RecordsUnavailable):
            await self._metrics.tell(records)
            await self._core.delivering.tell_used()

    async def _keep_telling_used(self) -> None:
        while True:
            await asyncio.sleep(USED_EVERY)
            with suppress(RecordsUnavailable):
                await self._core.delivering.tell_used()

    async def drain(self, seconds: float) -> None:
        """End event streams and wait for every other answer; connections close after what they carry now."""
        self._draining = True
        self.shelf.close()
        await self._streams.close()
        try:
            async with asyncio.timeout(seconds):
                await self._idle.wait()
        except TimeoutError:
            log.warning("answers_cut", count=self._answering)

    async def _timed(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        started = time.perf_counter()
        (method, path), status = labels_of(request), 499
        try:
            response = await self._answered(request, handler)
            status = response.status
            return response
        finally:
            seconds = time.perf_counter() - started
            self._metrics.answered(method, path, status, seconds)
            self._log.info(
                "request", method=request.method, path=request.path, status=status, ms=round(seconds * 1000, 1)
            )

    async def _answered(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        if request.method == "OPTIONS" and "Access-Control-Request-Method" in request.headers:
            return _preflight(request)
        try:
            return await handler(request)
        except ConnectionError:
            raise
        except Exception as error:
            if request.writer.output_size > 0:
                _cut(request, error)
            return _told(request, error)


GATE = web.AppKey("gate", Gate)


def _told(request: web.Request, error: Exception) -> web.Response:
    """`error` as an answer; what is our own fault is logged with its cause."""
    request_id = request[ID]
    voice = request[VOICE] = request.get(VOICE) or _voice_of(request.path)
    if isinstance(error, web.HTTPNotFound) and voice is not OURS:
        return voice.told(request, RouteNotFound(), request_id)
    if isinstance(error, web.HTTPException):
        return refusal(error, request_id)
    if isinstance(error, SafelightError):
        if error.status >= 500:
            log.warning("refused", code=error.code, exc_info=error)
        return voice.told(request, error, request_id)
    log.error("unexpected", exc_info=error)
    return voice.told(request, Internal(), request_id)


def _voice_of(path: str) -> Voice:
    """In whose words it is told that nothing is served at an address."""
    return next((voice for start, voice in VOICES.items() if path.startswith(start)), OURS)


def _cut(request: web.Request, error: Exception) -> None:
    """End the connection: an answer that breaks off must not look whole."""
    log.warning("answer_cut", exc_info=error)
    if request.transport is not None:
        request.transport.close()
    raise ConnectionResetError from error


def _preflight(request: web.Request) -> web.Response:
    """The answer to a browser that asks before it asks; whether the origin may is told by its headers."""
    return web.Response(
        status=204,
        headers={
            "Access-Control-Allow-Methods": "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS",
            "Access-Control-Allow-Headers": request.headers.get("Access-Control-Request-Headers", "*"),
            "Access-Control-Max-Age": str(PREFLIGHT_SECONDS),
        },
    )


async def serve(settings: Settings, *, door: socket.socket | None = None) -> None:
    """Serve until SIGTERM or SIGINT, then finish what is being answered; `door` is a socket that listens already.

    Without one it binds the host and port of `settings`, which several processes may do at once.
    """
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    async with open_core(settings) as core, beside(_follow_flows(core)):
        with suppress(RecordsUnavailable):
            await _load_flows(core)  # so that the first request finds them
        await either(core.headers.start(), stop.wait())
        app = create_app(core)
        runner = Runner(app, shutdown_timeout=LAST_WORDS)
        await runner.setup()
        try:
            site = _site(runner, settings, door)
            await site.start()
            _settle_memory()
            _open_more()
            await stop.wait()
            await site.stop()
            # Before the runner's own end, which reads no more bytes of an upload that is under way.
            await app[GATE].drain(settings.grace)
        finally:
            await runner.cleanup()


def _settle_memory() -> None:
    """Keep what was loaded out of every later collection: a full one of it all holds up answers for 60 ms.

    And collect less often than after every request or two, which is an eighth of what a small upload costs.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(NEWEST)


def _open_more() -> None:
    """Let more connections be open than the usual 1,024, which sockets that wait have soon used up."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = OPEN if hard == resource.RLIM_INFINITY else min(OPEN, hard)
    if soft != resource.RLIM_INFINITY and soft < most:
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))


async def _follow_flows(core: Core) -> None:
    """Keep the registry as the flows folder is; records that are away are waited for."""
    folder = core.settings.flows_dir
    while folder.is_dir():
        try:
            await _load_flows(core)
            await core.flows.watch(folder)
        except RecordsUnavailable:
            await asyncio.sleep(1)
        except Exception:
            log.exception("flows_not_followed")
            return


async def _load_flows(core: Core) -> None:
    for complaint in await core.flows.sync(core.settings.flows_dir):
        log.error("flow_broken", complaint=str(complaint))


def _site(runner: Runner, settings: Settings, door: socket.socket | None) -> web.BaseSite:
    if door is not None:
        return web.SockSite(runner, door, backlog=BACKLOG)
    return web.TCPSite(runner, settings.host, settings.port, backlog=BACKLOG, reuse_port=True)
