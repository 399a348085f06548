"""The HTTP server around an application: its limits, and problem documents even for requests that are not HTTP."""

from __future__ import annotations

import asyncio
from typing import Any
from uuid import uuid4

from aiohttp import web

from pipeline.api.problems import broken_request

READ_SIZE = 512 * 1024
"""Bytes kept ready per connection before its reading pauses at twice as much."""
KEEP_ALIVE = 75.0
"""Seconds a connection may idle, or take to send a whole header."""

LIMITS: dict[str, Any] = {
    "auto_decompress": False,
    "handler_cancellation": True,
    "keepalive_timeout": KEEP_ALIVE,
    "read_bufsize": READ_SIZE,
    "access_log": None,
}


class Connection(web.RequestHandler):
    """One connection; answers broken framing with a problem document."""

    __slots__ = ()

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

    def __call__(self) -> web.RequestHandler:
        return Connection(self, loop=asyncio.get_running_loop(), **self._kwargs)


class Runner(web.AppRunner):
    """Runs an application behind our `Server`."""

    __slots__ = ()

    async def _make_server(self) -> web.Server:
        made = await super()._make_server()
        return Server(
            made.request_handler,
            request_factory=made.request_factory,
            handler_cancellation=made.handler_cancellation,
            **made._kwargs,
        )
