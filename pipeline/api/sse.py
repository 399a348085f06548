"""Server-sent events (WHATWG HTML, section 9.2) from the event log: resumable, and no faster than they are read."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Coroutine
from contextlib import aclosing, suppress
from typing import Any, TypeVar

import structlog
from aiohttp import web
from pydantic import BaseModel

from pipeline.acts import ended

HEADERS = {
    "Content-Type": "text/event-stream",
    "Cache-Control": "no-store",
    "X-Accel-Buffering": "no",
}
SILENCE = 15.0
"""Seconds without an event after which a comment shows that the line is alive."""
WRITE_PATIENCE = 60.0
"""Seconds a reader may take to make room for the next event."""
COMMENT = b": still here\n\n"
RECONNECT = b"retry: 2000\n\n"

T = TypeVar("T")

log = structlog.stdlib.get_logger(__name__)


class Streams:
    """The event streams being sent and other long answers, so that a stopping server can end them."""

    def __init__(self) -> None:
        self._going: set[asyncio.Task[Any]] = set()

    async def send(self, request: web.Request, frames: AsyncGenerator[bytes, None]) -> web.StreamResponse:
        """Answer with `frames` until they end, the reader goes or the server stops."""
        if request.method == "HEAD":
            return web.Response(headers=HEADERS)
        response = web.StreamResponse(headers=HEADERS)
        await response.prepare(request)
        sending = asyncio.create_task(_write(response, frames))
        await self._end(sending)
        if not sending.cancelled() and (fault := sending.exception()):
            log.info("stream_broken", reason=str(fault))
            response.force_close()
        with suppress(ConnectionError):
            await response.write_eof()
        return response

    async def wait(self, act: Coroutine[Any, Any, T]) -> T | None:
        """What `act` comes to, None when the server stops first."""
        going = asyncio.create_task(act)
        await self._end(going)
        return None if going.cancelled() else going.result()

    async def _end(self, going: asyncio.Task[Any]) -> None:
        self._going.add(going)
        try:
            await asyncio.wait([going])
        finally:
            going.cancel()
            self._going.discard(going)

    async def close(self) -> None:
        """End every stream; its reader will come back with the last id it saw."""
        await ended(self._going)


async def _write(response: web.StreamResponse, frames: AsyncGenerator[bytes, None]) -> None:
    async with aclosing(frames):
        await response.write(RECONNECT)
        async for frame in frames:
            async with asyncio.timeout(WRITE_PATIENCE):
                await response.write(frame)


def frame(id: str, type: str, shape: BaseModel) -> bytes:
    """One event on the wire; without an `id` it does not change from where a reader goes on."""
    place = f"id: {id}\n" if id else ""
    return f"{place}event: {type}\ndata: {shape.model_dump_json(by_alias=True)}\n\n".encode()
