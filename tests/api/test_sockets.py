"""Sockets tell no faster than they are read, answer in between, and end as both sides can tell why."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import aiohttp
import pytest
from aiohttp import WSMsgType, web

from pipeline.api import sockets
from pipeline.api.sockets import Farewell, Socket, Told
from pipeline.api.sse import Streams
from pipeline.errors import UpgradeRequired

from .conftest import answering

BIG = "x" * 10_000
HELLO = (
    b"GET / HTTP/1.1\r\nHost: here\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)


@dataclass
class Desk:
    """A server of sockets that tell what lies in `words`, and whose memory of one is what it has told."""

    words: list[str | Farewell] = field(default_factory=list)
    told: int = 0
    over: asyncio.Event = field(default_factory=asyncio.Event)
    streams: Streams = field(default_factory=Streams)
    port: int = 0

    async def tell(self) -> Told:
        for word in self.words:
            self.told += 1
            yield word
        await asyncio.Event().wait()

    async def answer(self, request: web.Request) -> web.StreamResponse:
        one = Socket(request)
        try:
            await one.open()
        except UpgradeRequired as error:
            return web.Response(status=error.status)
        try:
            if await self.streams.wait(one.spoken(self.tell(), lambda text: f"heard {text}")) is None:
                await one.close(1001)
        finally:
            self.over.set()
        return one.line

    @asynccontextmanager
    async def connected(self) -> AsyncIterator[aiohttp.ClientWebSocketResponse]:
        url = f"http://127.0.0.1:{self.port}/"
        async with aiohttp.ClientSession() as session, session.ws_connect(url) as line, asyncio.timeout(30):
            yield line


@pytest.fixture
async def desk() -> AsyncIterator[Desk]:
    desk = Desk()
    app = web.Application()
    app.router.add_get("/", desk.answer)
    async with answering(app) as desk.port:
        yield desk


async def test_everything_is_told_in_order_and_questions_are_answered_in_between(desk: Desk) -> None:
    desk.words = [str(number) for number in range(500)]
    async with desk.connected() as line:
        await line.send_str("me")
        await line.send_bytes(b"me")
        said = [await line.receive_str() for _ in range(502)]
    assert [word for word in said if not word.startswith("heard")] == desk.words
    assert [word for word in said if word.startswith("heard")] == ["heard me", "heard None"]
    async with asyncio.timeout(10):
        await desk.over.wait()


async def test_a_farewell_closes_with_its_code(desk: Desk) -> None:
    desk.words = ["no", Farewell(4001)]
    async with desk.connected() as line:
        assert await line.receive_str() == "no"
        assert (await line.receive()).type is WSMsgType.CLOSE and line.close_code == 4001
    async with asyncio.timeout(10):
        await desk.over.wait()


async def test_a_server_that_stops_says_so(desk: Desk) -> None:
    desk.words = ["here"]
    async with desk.connected() as line, desk.connected() as other:
        assert [await line.receive_str(), await other.receive_str()] == ["here", "here"]
        closing = asyncio.create_task(desk.streams.close())
        for one in (line, other):
            assert (await one.receive()).type is WSMsgType.CLOSE and one.close_code == 1001
        await closing


async def test_what_is_too_long_is_not_taken(desk: Desk) -> None:
    async with desk.connected() as line:
        await line.send_str("y" * 5000)
        assert (await line.receive()).type is WSMsgType.CLOSE and line.close_code == 1009


async def test_who_asks_for_no_socket_is_told_so(desk: Desk) -> None:
    async with aiohttp.ClientSession() as session, session.get(f"http://127.0.0.1:{desk.port}/") as answer:
        assert answer.status == 426


async def test_who_does_not_read_costs_little_and_is_cut_off(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sockets, "WRITE_PATIENCE", 0.5)
    desk.words = [BIG] * 10_000
    with socket.create_connection(("127.0.0.1", desk.port)) as line:
        line.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        line.sendall(HELLO)
        async with asyncio.timeout(20):
            await desk.over.wait()
    # What the system takes into its own buffers is no memory of ours.
    assert desk.told * len(BIG) < 8_000_000


async def test_who_is_not_there_any_more_is_found_out(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sockets, "HEARTBEAT", 0.3)
    async with desk.connected() as line:
        hearing = asyncio.create_task(line.receive())  # which answers when it is asked
        with socket.create_connection(("127.0.0.1", desk.port)) as silent:
            silent.sendall(HELLO)
            async with asyncio.timeout(10):
                await desk.over.wait()
        assert not hearing.done() and not line.closed
        await line.send_str("still here")
        assert (await hearing).data == "heard still here"
