"""A line between a worker and a server of its: it carries everything until the moment a test waits for, and stops."""

from __future__ import annotations

import asyncio
import re
from asyncio import StreamReader, StreamWriter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass

PIECE = 64 * 1024
REMEMBERED = 16 * 1024
"""How much of what was said before counts when a moment is looked for, bytes."""

Dial = Callable[[], Awaitable[tuple[StreamReader, StreamWriter]]]


@dataclass(frozen=True)
class Moment:
    """When the worker has said `words`, and `further` bytes behind them, the line stops.

    With `answered` all it says gets through, and the line stops when the server answers it.
    """

    words: re.Pattern[bytes]
    further: int = 0
    answered: bool = False


class Wire:
    """Carries bytes both ways on any number of connections; the first one on which the moment comes is held."""

    def __init__(self, dial: Dial, moment: Moment) -> None:
        self._dial = dial
        self._moment: Moment | None = moment
        self._awaited: Line | None = None
        self._acts: set[asyncio.Task[None]] = set()
        self._held, self._goes_on = asyncio.Event(), asyncio.Event()

    async def until_held(self) -> None:
        """Return once the line has stopped."""
        async with asyncio.timeout(120):
            await self._held.wait()

    def go_on(self) -> None:
        """Let pass what is held, and everything after it."""
        self._goes_on.set()

    async def accept(self, reader: StreamReader, writer: StreamWriter) -> None:
        """Carry for one more connection until it ends."""
        act = asyncio.current_task()
        assert act is not None
        self._acts.add(act)
        line = Line(reader, writer, *await self._dial())
        try:
            with suppress(ConnectionError):
                await asyncio.gather(self._carry_there(line), self._carry_back(line))
        except asyncio.CancelledError:
            pass
        finally:
            line.cut()
            self._acts.discard(act)

    async def close(self) -> None:
        """Cut every connection, as the end of a program does."""
        for act in list(self._acts):
            act.cancel()
        while self._acts:
            await asyncio.wait(self._acts)

    async def _carry_there(self, line: Line) -> None:
        while chunk := await line.reader.read(PIECE):
            stop = line.stop(self._moment, chunk)
            if stop is not None and self._moment is not None:
                if self._moment.answered:
                    self._awaited = line
                else:
                    line.there.write(chunk[:stop])
                    await self._hold()
                    chunk = chunk[stop:]
            line.there.write(chunk)
            await line.there.drain()
        line.there.write_eof()

    async def _carry_back(self, line: Line) -> None:
        while chunk := await line.back.read(PIECE):
            if line is self._awaited:
                self._awaited = None
                if not chunk.startswith(b"-NOSCRIPT"):  # then the worker sends it once more, with the script
                    await self._hold()
            line.writer.write(chunk)
            await line.writer.drain()
        line.writer.write_eof()

    async def _hold(self) -> None:
        self._moment = None
        self._held.set()
        await self._goes_on.wait()


class Line:
    """One connection: `reader` and `writer` lead to the worker, `back` and `there` to the server."""

    def __init__(self, reader: StreamReader, writer: StreamWriter, back: StreamReader, there: StreamWriter) -> None:
        self.reader, self.writer, self.back, self.there = reader, writer, back, there
        self._said = b""
        self._due: int | None = None

    def stop(self, moment: Moment | None, chunk: bytes) -> int | None:
        """How much of the chunk still passes before the moment comes, None when it does not come with this chunk."""
        if moment is None:
            return None
        if self._due is None:
            known = len(self._said)
            said = self._said + chunk
            self._said = said[-REMEMBERED:]
            found = moment.words.search(said)
            if found is None:
                return None
            self._said, self._due = b"", max(0, found.end() - known) + moment.further
        if self._due > len(chunk):
            self._due -= len(chunk)
            return None
        stop, self._due = self._due, None
        return stop

    def cut(self) -> None:
        """End it at both sides at once."""
        for writer in (self.writer, self.there):
            writer.transport.abort()


@asynccontextmanager
async def wire(dial: Dial, moment: Moment) -> AsyncIterator[tuple[Wire, int]]:
    """A line to what `dial` reaches, and the loopback port on which it is to be had; cut behind the block."""
    line = Wire(dial, moment)
    server = await asyncio.start_server(line.accept, "127.0.0.1", 0)
    try:
        yield line, server.sockets[0].getsockname()[1]
    finally:
        server.close()
        await line.close()
