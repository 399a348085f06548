"""What the web process needs while a large file streams in."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from bench.ingest.servers import MEMORY
from bench.measured import peak_mib, resident_mib
from bench.results import Result
from bench.stack import Stack, running_stack

SIZES = {"": 2**30, ".64_mib": 2**26}
LIMIT_MIB = 64
ROUNDS = 3


async def rss_mib() -> AsyncIterator[Result]:
    """MiB that the web process grows beyond its idle size while a file arrives; a ratio under 1 is within the limit."""
    for suffix, size in SIZES.items():
        grown = []
        for _ in range(ROUNDS):
            async with running_stack(MEMORY) as stack:
                await _send(stack, 1000)  # what is loaded with the first file is no cost of a large one
                idle = resident_mib(_web_pid(stack))
                await _send(stack, size)
                grown.append(peak_mib(_web_pid(stack)) - idle)
        value = sorted(grown)[ROUNDS // 2]
        yield Result(f"ingest.rss_mib{suffix}", value, "MiB", f"limit of {LIMIT_MIB} MiB", value / LIMIT_MIB, ROUNDS)


async def _send(stack: Stack, size: int) -> None:
    piece = bytes(range(256)) * 4096

    async def body() -> AsyncIterator[bytes]:
        for start in range(0, size, len(piece)):
            yield piece[: size - start]
            await asyncio.sleep(0)

    headers = {"Content-Length": str(size), "Content-Type": "application/octet-stream"}
    async with stack.session.post("/v1/files?name=large.bin", data=body(), headers=headers) as answer:
        stored = await answer.json()
        assert answer.status == 201 and stored["size"] == size, stored


def _web_pid(stack: Stack) -> int:
    return next(int(pid) for name, pid in stack.pids.items() if name.startswith("web"))
