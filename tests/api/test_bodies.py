"""Large bodies, read from the socket itself: the same bytes, the same connection afterwards, on either event loop."""

from __future__ import annotations

import asyncio
import hashlib
import os
import threading
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

import pytest
import uvloop
from aiohttp import web
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from pipeline.api.bodies import LARGE, Body, Form, is_form
from pipeline.api.server import LIMITS, READ_SIZE
from pipeline.api.taps import PIECE
from pipeline.errors import BodyTimeout
from pipeline.storage import drafts
from pipeline.storage.drafts import Draft

from .conftest import answering

LOOPS: dict[str, Callable[[], asyncio.AbstractEventLoop]] = {
    "asyncio": asyncio.new_event_loop,
    "uvloop": uvloop.new_event_loop,
}
NOISE = Random(7).randbytes(LARGE + 3 * PIECE)
BOUNDARY = "frontier"
HEAD = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="file"; filename="a.bin"\r\n\r\n'.encode()
TAIL = f"\r\n--{BOUNDARY}--\r\n".encode()
EDGES = [edge + by for edge in (PIECE, LARGE, LARGE + PIECE, READ_SIZE, 2 * READ_SIZE) for by in (-1, 0, 1)]
Act = Callable[[web.Request], Coroutine[Any, Any, web.StreamResponse]]


@dataclass
class Seen:
    """What a handler made of the bodies it got."""

    received: int = 0
    fault: BaseException | None = None
    over: asyncio.Event = field(default_factory=asyncio.Event)


def on(loop: str, act: Callable[[], Coroutine[Any, Any, None]]) -> None:
    async def bounded() -> None:
        async with asyncio.timeout(30):
            await act()

    with asyncio.Runner(loop_factory=LOOPS[loop]) as runner:
        runner.run(bounded())


@asynccontextmanager
async def served(act: Act) -> AsyncIterator[int]:
    """The port of a server that answers everything with `act`."""
    app = web.Application(handler_args=LIMITS)
    app.router.add_route("*", "/", act)
    async with answering(app) as port:
        yield port


async def told(request: web.Request) -> web.Response:
    """How many bytes came, and their digest."""
    body, digest, size = Body(request, 10), hashlib.sha256(), 0
    if is_form(request):
        async for part in Form(request, body):
            async for piece in part:
                digest.update(piece)
                size += len(piece)
    else:
        async for piece in body:
            digest.update(piece)
            size += len(piece)
    return web.Response(text=f"{size} {digest.hexdigest()}")


def head(length: int, *lines: str) -> bytes:
    return "\r\n".join(["POST / HTTP/1.1", "Host: x", f"Content-Length: {length}", *lines, "", ""]).encode()


async def answer(reader: asyncio.StreamReader) -> tuple[bytes, str]:
    top = await reader.readuntil(b"\r\n\r\n")
    length = int(top.lower().partition(b"content-length:")[2].split(b"\r\n")[0])
    return top, (await reader.readexactly(length)).decode()


def sum_of(body: bytes) -> str:
    return f"{len(body)} {hashlib.sha256(body).hexdigest()}"


@pytest.mark.parametrize("loop", LOOPS)
@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    sizes=st.lists(st.sampled_from(EDGES) | st.integers(1, len(NOISE)), min_size=1, max_size=3),
    cuts=st.lists(st.integers(1, 2 * PIECE), max_size=4),
    form=st.booleans(),
)
@example(sizes=EDGES, cuts=[], form=False)
@example(sizes=EDGES, cuts=[1, READ_SIZE], form=True)
def test_bytes_of_every_size_arrive_as_they_were_sent_and_requests_follow_each_other(
    loop: str, sizes: list[int], cuts: list[int], form: bool
) -> None:
    async def sent() -> None:
        async with served(told) as port:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            for size in sizes:
                body = NOISE[:size]
                type = f"Content-Type: multipart/form-data; boundary={BOUNDARY}" if form else "Content-Type: a/b"
                whole = HEAD + body + TAIL if form else body
                stream = head(len(whole), type) + whole
                for cut in cuts:
                    writer.write(stream[:cut])
                    await writer.drain()
                    stream = stream[cut:]
                writer.write(stream)
                top, text = await answer(reader)
                assert text == sum_of(body) and b"connection: close" not in top.lower()
            writer.close()

    on(loop, sent)


@pytest.mark.parametrize("loop", LOOPS)
def test_a_request_sent_right_behind_a_large_body_is_answered_too(loop: str) -> None:
    async def sent() -> None:
        async with served(told) as port:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            for body in (NOISE, b"small", NOISE):
                writer.write(head(len(body)) + body)
            assert [(await answer(reader))[1] for _ in range(3)] == [sum_of(body) for body in (NOISE, b"small", NOISE)]
            writer.close()

    on(loop, sent)


@pytest.mark.parametrize("loop", LOOPS)
def test_who_stops_reading_is_heard_and_the_rest_is_thrown_away(loop: str) -> None:
    async def few(request: web.Request) -> web.Response:
        body = Body(request, 10)
        while body.received < PIECE:
            await body.read()
        response = web.Response(text="enough")
        response.force_close()
        return response

    async def sent() -> None:
        async with served(few) as port:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(head(len(NOISE)) + NOISE)
            assert (await answer(reader))[1] == "enough"
            async with asyncio.timeout(5):  # aiohttp would wait for bytes that never come for 10 seconds
                assert await reader.read() == b""
            writer.close()

    on(loop, sent)


@pytest.mark.parametrize("loop", LOOPS)
def test_a_cut_ends_the_reader_with_all_that_came_and_leaves_no_descriptor(loop: str) -> None:
    async def sent() -> None:
        seen = Seen()

        async def keep(request: web.Request) -> web.Response:
            try:
                async for piece in Body(request, 10):
                    seen.received += len(piece)
            except BaseException as fault:
                seen.fault = fault
                raise
            finally:
                seen.over.set()
            return web.Response()

        async with served(keep) as port:
            _, writer = await asyncio.open_connection("127.0.0.1", port)
            before = len(os.listdir("/proc/self/fd"))
            writer.write(head(2 * len(NOISE)) + NOISE)
            await writer.drain()
            writer.close()
            await seen.over.wait()
            assert isinstance(seen.fault, asyncio.CancelledError) and seen.received == len(NOISE)
            await writer.wait_closed()
            while len(os.listdir("/proc/self/fd")) >= before:
                await asyncio.sleep(0)

    on(loop, sent)


@pytest.mark.parametrize("loop", LOOPS)
def test_a_server_that_ends_lets_go_of_a_client_whose_body_waits(loop: str) -> None:
    async def sent() -> None:
        kept: list[web.Request] = []
        busy = asyncio.Event()

        async def keep(request: web.Request) -> web.Response:
            body = Body(request, 10)
            while body.received < PIECE:
                await body.read()
            kept.append(request)  # what refers to the socket must not have to be collected first
            busy.set()
            await asyncio.Event().wait()
            return web.Response()

        async with served(keep) as port:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(head(len(NOISE)) + NOISE)
            await busy.wait()
        async with asyncio.timeout(5):
            with suppress(ConnectionError):
                assert await reader.read() == b""
        writer.close()

    on(loop, sent)


@pytest.mark.parametrize("loop", LOOPS)
def test_a_client_that_falls_silent_is_told_and_what_came_is_kept(loop: str) -> None:
    async def sent() -> None:
        seen = Seen()

        async def keep(request: web.Request) -> web.Response:
            try:
                async for piece in Body(request, 0.3):
                    seen.received += len(piece)
            except BodyTimeout as fault:
                seen.fault = fault
            response = web.Response(text="late")
            response.force_close()
            return response

        async with served(keep) as port:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(head(2 * len(NOISE)) + NOISE)
            assert (await answer(reader))[1] == "late"
            assert isinstance(seen.fault, BodyTimeout) and seen.received == len(NOISE)
            writer.close()

    on(loop, sent)


@pytest.mark.parametrize("loop", LOOPS)
def test_a_slow_disk_holds_the_client_back_and_nothing_piles_up(
    loop: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written, goes_on = os.pwritev, threading.Event()

    def halting(*call: Any) -> int:
        if threading.current_thread() is not threading.main_thread():
            goes_on.wait(20)
        return written(*call)

    monkeypatch.setattr(os, "pwritev", halting)
    monkeypatch.setattr(drafts, "SLOW", -1.0)
    size = 48 * PIECE

    async def sent() -> None:
        body: list[Body] = []

        async def keep(request: web.Request) -> web.Response:
            body.append(Body(request, 10))
            draft = Draft.create(tmp_path / "draft")
            async for piece in body[0]:
                await draft.take(piece)
            draft.flush()
            draft.close()
            return web.Response(text=str(body[0].received))

        async with served(keep) as port:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.transport.set_write_buffer_limits(0)
            writer.write(head(size))
            for _ in range(size // PIECE):
                writer.write(NOISE[:PIECE])
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(writer.drain(), 1)
            assert body[0].received <= 4 * PIECE
            goes_on.set()
            assert (await answer(reader))[1] == str(size)
            assert (tmp_path / "draft").read_bytes() == NOISE[:PIECE] * (size // PIECE)
            writer.close()

    on(loop, sent)
