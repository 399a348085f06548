"""What uploads cost that nobody sends to."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from bench.ingest.servers import KEY, TUS, Server, serving
from bench.measured import resident_mib
from bench.results import Result

UPLOADS = 1000
LIMIT_MIB = 20
ROUNDS = 3


async def idle_mib() -> AsyncIterator[Result]:
    """MiB for 1,000 tus uploads that stopped in the middle of a body, connections open; under 1 is within the limit."""
    grown = [await _round() for _ in range(ROUNDS)]
    value = sorted(grown)[ROUNDS // 2]
    yield Result("ingest.idle_uploads_mib", value, "MiB", f"limit of {LIMIT_MIB} MiB", value / LIMIT_MIB, ROUNDS)


async def _round() -> float:
    async with serving("ours") as (server,):
        first = await _stalled(server)
        before = resident_mib(server.pid)
        lines = [first, *await asyncio.gather(*(_stalled(server) for _ in range(UPLOADS)))]
        grown = resident_mib(server.pid) - before
        for line in lines:
            line.close()
        return grown


async def _stalled(server: Server) -> asyncio.StreamWriter:
    """A connection whose upload got half of its bytes."""
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    writer.write(_request("POST", "/tus", {"Upload-Length": "2000", "Content-Length": "0"}))
    head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
    assert head.startswith("http/1.1 201"), head
    path = "/tus/" + head.split("location:")[1].split("\r\n")[0].rpartition("/")[2]
    patch = {"Upload-Offset": "0", "Content-Type": "application/offset+octet-stream", "Content-Length": "2000"}
    writer.write(_request("PATCH", path, patch) + b"x" * 1000)
    await writer.drain()
    return writer


def _request(verb: str, path: str, headers: dict[str, str]) -> bytes:
    lines = "".join(f"{name}: {value}\r\n" for name, value in ({"Host": "127.0.0.1"} | KEY | TUS | headers).items())
    return f"{verb} {path} HTTP/1.1\r\n{lines}\r\n".encode()
