"""A server outside, as a run meets one: it keeps what it was sent, and answers as a test wants it to."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web
from multidict import CIMultiDictProxy


@dataclass(frozen=True)
class Heard:
    """One request as it arrived."""

    method: str
    path: str
    query: str
    headers: CIMultiDictProxy[str]
    body: bytes


Answer = Callable[[web.Request, bytes], Awaitable[web.StreamResponse]]


@dataclass
class Outside:
    """What was heard, and the answers by path; any other path is answered with the body that was sent."""

    url: str = ""
    port: int = 0
    heard: list[Heard] = field(default_factory=list)
    answers: dict[str, Answer] = field(default_factory=dict)
    answering: set[asyncio.Task[Any]] = field(default_factory=set)

    async def answer(self, request: web.Request) -> web.StreamResponse:
        if task := asyncio.current_task():
            self.answering.add(task)
            task.add_done_callback(self.answering.discard)
        body = b"".join([chunk async for chunk in request.content.iter_any()])
        self.heard.append(Heard(request.method, request.path, request.query_string, request.headers, body))
        answer = self.answers.get(request.path)
        return await answer(request, body) if answer else web.Response(body=body)


@asynccontextmanager
async def listening(host: str = "127.0.0.1", port: int = 0) -> AsyncIterator[Outside]:
    """A server on this address; `port` 0 is a free one. No answer outlasts the block."""
    outside = Outside()
    runner = web.ServerRunner(web.Server(outside.answer), shutdown_timeout=0.1)
    await runner.setup()
    try:
        site = web.TCPSite(runner, host, port)
        await site.start()
        outside.port = runner.addresses[0][1]
        outside.url = f"http://{host}:{outside.port}"
        yield outside
    finally:
        await runner.cleanup()
        for task in outside.answering:  # also of those that nobody hears any more, which aiohttp has forgotten
            task.cancel()
        await asyncio.gather(*outside.answering, return_exceptions=True)


Speech = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def speaking(speech: Speech) -> AsyncIterator[str]:
    """The URL of a server that reads the head of a request and then says exactly what `speech` writes."""

    async def converse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await reader.readuntil(b"\r\n\r\n")
            await speech(reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass  # who called has heard enough
        finally:
            writer.close()

    server = await asyncio.start_server(converse, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()
        await server.wait_closed()


def fixed(status: int = 200, body: bytes = b"", **headers: str) -> Answer:
    """The same answer to everybody."""

    async def answer(request: web.Request, sent: bytes) -> web.StreamResponse:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return web.Response(status=status, body=body, headers=named)

    return answer
