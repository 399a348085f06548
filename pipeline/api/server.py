"""The HTTP server around an application: its limits, and problem documents even for requests that are not HTTP."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any
from uuid import uuid4

from aiohttp import StreamReader, web
from aiohttp.http import HttpRequestParser

from pipeline.api.brisk import Brisk
from pipeline.api.hosts import bound
from pipeline.api.problems import broken_request
from pipeline.api.shelf import SHELF, Shelf
from pipeline.api.taps import Tap

READ_SIZE = 512 * 1024
"""Bytes kept ready per connection before its reading pauses at twice as much."""

LIMITS: dict[str, Any] = {
    "auto_decompress": False,
    "handler_cancellation": True,
    "read_bufsize": READ_SIZE,
    "access_log": None,
}


class Connection(Brisk):
    """One connection; answers broken framing with a problem document, and lends its socket to who reads a large body.

    The parser, which does not see those bytes, would wait for them: a new one takes its place behind the body.
    """

    __slots__ = ("_tap", "_unread")

    def __init__(self, manager: web.Server, **settings: Any) -> None:
        super().__init__(manager, **settings)
        self._tap: tuple[Tap, StreamReader] | None = None
        self._unread: tuple[int, StreamReader] | None = None

    def tapped(self, request: web.Request, received: int) -> Tap | None:
        """The rest of the body of `request`, once its `received` bytes are all that have come; None if it cannot be."""
        transport, length = self.transport, request.content_length
        if length is None or transport is None or self._is_bound(request, received):
            return None
        try:
            transport.pause_reading()
            tap = Tap(transport.get_extra_info("socket").fileno(), length - received)
        except (OSError, RuntimeError):
            self._resume_transport_reading()
            return None
        self._tap = tap, request.content
        return tap

    def _is_bound(self, request: web.Request, received: int) -> bool:
        """Whether some of its bytes lie between the socket and the reader, or would not come as they are."""
        waiting = request.content.total_bytes != received or self._reading_paused or self._buffer_paused
        return waiting or self.ssl_context is not None or "Upgrade" in request.headers or self._tap is not None

    def untap(self) -> None:
        """Read the connection as before; of a body that was not read to its end the rest is thrown away."""
        if self._tap is None:
            return
        (tap, body), self._tap = self._tap, None
        tap.close()
        if tap.rest:
            self._unread = tap.rest, body
        else:
            self._parser = self._new_parser()
            body.feed_eof()
        self._resume_transport_reading()

    def data_received(self, data: bytes) -> None:
        if self._unread is None:
            super().data_received(data)
            return
        rest, body = self._unread
        self._unread = max(0, rest - len(data)), body
        if rest <= len(data):
            body.feed_eof()

    async def finish_response(
        self, request: web.BaseRequest, resp: web.StreamResponse, start_time: float | None
    ) -> tuple[web.StreamResponse, bool]:
        self.untap()
        return await super().finish_response(request, resp, start_time)

    def connection_lost(self, exc: BaseException | None) -> None:
        if self._tap is not None:
            self._tap[0].close()  # while it is open, the client is not told that the connection ended
        super().connection_lost(exc)

    def _new_parser(self) -> HttpRequestParser:
        return HttpRequestParser(
            self,
            self._loop,
            READ_SIZE,
            max_line_size=self.max_line_size,
            max_field_size=self.max_field_size,
            max_headers=self.max_headers,
            payload_exception=web.RequestPayloadError,
            auto_decompress=False,
            max_msg_queue_size=self._max_msg_queue_size,
        )

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        if isinstance(exc, ConnectionError):
            raise exc  # the client is gone, or must learn that its answer broke off
        if status >= 500 or request.writer.output_size > 0:
            return super().handle_error(request, status, exc, message)
        reason = (message or "The request is not sound HTTP.").splitlines()[0]
        answer = broken_request(status, reason, str(uuid4()))
        answer.force_close()
        return answer


class Server(web.Server):
    """Makes a `Connection` of every accepted socket."""

    shelf: Shelf | None = None
    """The answers that lie ready."""

    def __call__(self) -> web.RequestHandler:
        return Connection(self, loop=asyncio.get_running_loop(), **self._kwargs)


HOSTS: web.AppKey[Mapping[str, str]] = web.AppKey("hosts")
"""Which dialect is at the root of which host name."""


class Runner(web.AppRunner):
    """Runs an application behind our `Server`."""

    __slots__ = ()

    async def _make_server(self) -> web.Server:
        made = await super()._make_server()
        server = Server(
            made.request_handler,
            request_factory=bound(self.app.get(HOSTS, {}), made.request_factory),
            handler_cancellation=made.handler_cancellation,
            **made._kwargs,
        )
        server.shelf = self.app.get(SHELF)
        return server
