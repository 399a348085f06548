"""What the web process needs while a large file streams in."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

from bench.measured import peak_mib
from bench.results import Result
from bench.stack import Stack, running_stack

SIZE = 2**30
LIMIT_MIB = 150
ROUNDS = 3


async def rss_mib() -> AsyncIterator[Result]:
    """Peak resident memory of the web process, MiB, while 1 GiB arrives; a ratio under 1 is within the limit."""
    peaks = []
    for _ in range(ROUNDS):
        async with running_stack(Path.cwd()) as stack:
            await _send(stack)
            peaks.append(peak_mib(_web_pid(stack)))
    peaks.sort()
    value = peaks[len(peaks) // 2]
    yield Result("ingest.rss_mib", value, "MiB", f"limit of {LIMIT_MIB} MiB", value / LIMIT_MIB, ROUNDS)


async def _send(stack: Stack) -> None:
    piece = bytes(range(256)) * 4096

    async def body() -> AsyncIterator[bytes]:
        for _ in range(SIZE // len(piece)):
            yield piece
            await asyncio.sleep(0)

    headers = {"Content-Length": str(SIZE), "Content-Type": "application/octet-stream"}
    async with stack.session.post("/v1/files?name=large.bin", data=body(), headers=headers) as answer:
        stored = await answer.json()
        assert answer.status == 201 and stored["size"] == SIZE, stored


def _web_pid(stack: Stack) -> int:
    return next(int(pid) for name, pid in stack.pids.items() if name.startswith("web"))
