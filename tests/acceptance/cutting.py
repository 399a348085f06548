"""A line between a client and the server that breaks again and again."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

PIECE = 16 * 1024


@dataclass
class Line:
    """Where the server is reached through it, at most `rate` bytes a second; cut after each `every` of a connection."""

    address: str
    every: int | None = None
    cuts: int = 0
    """How often it is still to be cut."""
    rate: float | None = None
    carried: int = 0
    """Bytes towards the server."""
    ways: set[asyncio.Task[None]] = field(default_factory=set)

    async def carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, there: bool) -> None:
        """Carry one way until it ends or the line is cut."""
        mine = 0
        while piece := await reader.read(PIECE):
            if there:
                self.carried += len(piece)
                mine += len(piece)
                if self.rate:
                    await asyncio.sleep(len(piece) / self.rate)
                if self.cuts and self.every and mine >= self.every:
                    self.cuts -= 1
                    return
            writer.write(piece)
            await writer.drain()


@asynccontextmanager
async def line_to(port: int) -> AsyncIterator[Line]:
    """A line from a port of loopback to another."""

    async def meet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        far_reader, far_writer = await asyncio.open_connection("127.0.0.1", port)
        ways = [
            asyncio.create_task(line.carry(reader, far_writer, there=True)),
            asyncio.create_task(line.carry(far_reader, writer, there=False)),
        ]
        line.ways.update(ways)
        try:
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for way in ways:
                way.cancel()
            await asyncio.gather(*ways, return_exceptions=True)
            writer.transport.abort()
            far_writer.transport.abort()

    door = await asyncio.start_server(meet, "127.0.0.1", 0)
    line = Line(f"http://127.0.0.1:{door.sockets[0].getsockname()[1]}")
    try:
        yield line
    finally:
        door.close()
        for way in line.ways:
            way.cancel()
        await asyncio.gather(*line.ways, return_exceptions=True)
