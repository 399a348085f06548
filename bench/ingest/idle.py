"""What uploads cost that nobody sends to."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable

from bench.ingest.servers import KEY, TUS, Server, serving
from bench.measured import resident_mib
from bench.results import Result

UPLOADS = 1000
AT_ONCE = 20
"""How many of them begin at the same time; what all of them at once would need is no cost of idling."""
LIMIT_MIB = 20
ROUNDS = 3


async def idle_mib() -> AsyncIterator[Result]:
    """MiB for 1,000 tus uploads with half of their bytes, connections open; a ratio under 1 is within the limit.

    Those at rest have had their answer; the stalled stopped in the middle of a body that the server still waits for.
    """
    for name, began in (("ingest.idle_uploads_mib", _resting), ("ingest.stalled_uploads_mib", _stalled)):
        grown = [await _round(began) for _ in range(ROUNDS)]
        value = sorted(grown)[ROUNDS // 2]
        yield Result(name, value, "MiB", f"limit of {LIMIT_MIB} MiB", value / LIMIT_MIB, ROUNDS)


async def _round(began: Callable[[Server], Awaitable[asyncio.StreamWriter]]) -> float:
    async with serving("ours") as (server,):
        first = await began(server)
        before = resident_mib(server.pid)
        lines = [first]
        for _ in range(0, UPLOADS, AT_ONCE):
            lines += await asyncio.gather(*(began(server) for _ in range(AT_ONCE)))
        grown = resident_mib(server.pid) - before
        for line in lines:
            line.close()
        return grown


async def _resting(server: Server) -> asyncio.StreamWriter:
    """A connection over which an upload got half of its bytes."""
    reader, writer = await _begun(server, 1000)
    head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
    assert head.startswith("http/1.1 204") and "upload-offset: 1000" in head, head
    return writer


async def _stalled(server: Server) -> asyncio.StreamWriter:
    """A connection over which half of the bytes of a body came, and no more do."""
    _, writer = await _begun(server, 2000)
    return writer


async def _begun(server: Server, length: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """A new upload of 2,000 bytes, and of a body of `length` bytes the first 1,000."""
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    writer.write(_request("POST", "/tus", {"Upload-Length": "2000", "Content-Length": "0"}))
    head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
    assert head.startswith("http/1.1 201"), head
    path = "/tus/" + head.split("location:")[1].split("\r\n")[0].rpartition("/")[2]
    patch = {"Upload-Offset": "0", "Content-Type": "application/offset+octet-stream", "Content-Length": str(length)}
    writer.write(_request("PATCH", path, patch) + b"x" * 1000)
    await writer.drain()
    return reader, writer


def _request(verb: str, path: str, headers: dict[str, str]) -> bytes:
    lines = "".join(f"{name}: {value}\r\n" for name, value in ({"Host": "127.0.0.1"} | KEY | TUS | headers).items())
    return f"{verb} {path} HTTP/1.1\r\n{lines}\r\n".encode()
