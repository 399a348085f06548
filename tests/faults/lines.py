"""A line between a worker and its Valkey that is cut at a chosen word, before the server gets it or after."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Literal

Words = Sequence[bytes]
Side = Literal["before", "after"]
SIDES: tuple[Side, ...] = ("before", "after")
Wanted = Callable[[Words, bytes], Awaitable[bool]]
"""Given a command and its answer, empty when there is none yet: whether the line is cut here."""


@dataclass
class Line:
    """Where the server is reached through it, and where it is to be cut."""

    url: str = ""
    side: Side = "before"
    wanted: Wanted | None = None
    cut: asyncio.Event = field(default_factory=asyncio.Event)
    words: Words = ()
    """The command at which it was cut."""

    def cut_at(self, side: Side, wanted: Wanted) -> None:
        """Cut the connection once, before the server gets a wanted command or before the worker gets its answer."""
        self.side, self.wanted = side, wanted

    async def breaks(self, side: Side, words: Words, answer: bytes = b"") -> bool:
        if self.wanted is None or side != self.side or not await self.wanted(words, answer) or self.cut.is_set():
            return False
        self.words, self.wanted = words, None
        self.cut.set()
        return True


@asynccontextmanager
async def line_to(socket: str) -> AsyncIterator[Line]:
    """A line from a port of loopback to the server's socket."""
    line = Line()
    open_lines: set[asyncio.Task[None]] = set()

    async def meet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        going = asyncio.current_task()
        assert going is not None
        open_lines.add(going)
        going.add_done_callback(open_lines.discard)
        try:
            await _connected(line, socket, reader, writer)
        except (asyncio.CancelledError, OSError):  # an OSError says that the server is away
            writer.transport.abort()

    door = await asyncio.start_server(meet, "127.0.0.1", 0)
    line.url = f"redis://127.0.0.1:{door.sockets[0].getsockname()[1]}/0"
    try:
        yield line
    finally:
        door.close()
        for going in tuple(open_lines):
            going.cancel()
        await asyncio.gather(*open_lines, return_exceptions=True)


async def _connected(line: Line, socket: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    far_reader, far_writer = await asyncio.open_unix_connection(socket)
    asked: asyncio.Queue[Words] = asyncio.Queue()
    ways = [
        asyncio.create_task(_there(line, reader, far_writer, asked)),
        asyncio.create_task(_back(line, far_reader, writer, asked)),
    ]
    try:
        await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for way in ways:
            way.cancel()
        writer.transport.abort()  # first: we may be cancelled ourselves while we wait
        far_writer.transport.abort()
        await asyncio.gather(*ways, return_exceptions=True)


async def _there(
    line: Line, reader: asyncio.StreamReader, far: asyncio.StreamWriter, asked: asyncio.Queue[Words]
) -> None:
    while True:
        piece, words = await _command(reader)
        if await line.breaks("before", words):
            return
        asked.put_nowait(words)
        far.write(piece)
        await far.drain()


async def _back(
    line: Line, far: asyncio.StreamReader, writer: asyncio.StreamWriter, asked: asyncio.Queue[Words]
) -> None:
    words: Words = ()
    while True:
        piece = await _answer(far)
        if words[:1] != (b"SUBSCRIBE",):  # from then on the server speaks unasked
            words = await asked.get()
        if await line.breaks("after", words, piece):
            return
        writer.write(piece)
        await writer.drain()


async def _command(reader: asyncio.StreamReader) -> tuple[bytes, Words]:
    head = await reader.readuntil(b"\r\n")
    piece, words = [head], []
    for _ in range(int(head[1:])):
        size = await reader.readuntil(b"\r\n")
        body = await reader.readexactly(int(size[1:]) + 2)
        piece += [size, body]
        words.append(body[:-2])
    return b"".join(piece), tuple(words)


async def _answer(reader: asyncio.StreamReader) -> bytes:
    """One answer as RESP2 has it, whole."""
    head = await reader.readuntil(b"\r\n")
    kind, number = head[:1], head[1:-2]
    if kind == b"$" and int(number) >= 0:
        return head + await reader.readexactly(int(number) + 2)
    if kind == b"*":
        return head + b"".join([await _answer(reader) for _ in range(int(number))])
    return head
