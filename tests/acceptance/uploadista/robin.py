"""A balancer before several servers that knows nothing of HTTP: each new connection goes to the next one."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager

PIECE = 64 * 1024


@asynccontextmanager
async def round_robin(ports: Sequence[int]) -> AsyncIterator[str]:
    """The address behind which they are."""
    turn = itertools.cycle(ports)
    going: set[asyncio.Task[None]] = set()

    async def meet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        this = asyncio.current_task()
        assert this is not None
        going.add(this)
        this.add_done_callback(going.discard)
        try:
            await _connected(reader, writer, *await _far(turn, len(ports)))
        except (asyncio.CancelledError, OSError):
            writer.transport.abort()

    door = await asyncio.start_server(meet, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{door.sockets[0].getsockname()[1]}"
    finally:
        door.close()
        for one in tuple(going):
            one.cancel()
        await asyncio.gather(*going, return_exceptions=True)


async def _far(turn: Iterator[int], tries: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """The next that is there."""
    for left in reversed(range(tries)):
        try:
            return await asyncio.open_connection("127.0.0.1", next(turn))
        except OSError:
            if not left:
                raise
    raise AssertionError("there is none")


async def _connected(
    reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
    far_reader: asyncio.StreamReader,
    far_writer: asyncio.StreamWriter,
) -> None:
    ways = [asyncio.create_task(_carry(reader, far_writer)), asyncio.create_task(_carry(far_reader, writer))]
    try:
        await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
    finally:
        far_writer.transport.abort()  # first, as the wait below may be cancelled too
        writer.transport.abort()
        for way in ways:
            way.cancel()
        await asyncio.gather(*ways, return_exceptions=True)


async def _carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while piece := await reader.read(PIECE):
        writer.write(piece)
        await writer.drain()
