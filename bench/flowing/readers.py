"""What readers of event streams cost to whom nothing is told."""

from __future__ import annotations

import asyncio
import resource
from collections.abc import AsyncIterator

from redis.asyncio import Redis

from bench.flowing.idle import AT_ONCE, served, waiting_jobs
from bench.measured import cpu_seconds, resident_mib
from bench.results import Result
from bench.stack import Stack

READERS = 2000
"""One half follows the whole project, the other each a run of its own."""
LIMIT_KIB = 64
LIMIT_LINES = 4
WATCHED = 30.0
"""Seconds for which they are watched: in that time each is told twice that the line is alive."""
FILES = READERS + 1000


async def idle_readers() -> AsyncIterator[Result]:
    """KiB that a web process needs for each of 2,000 readers, the share of a core, and the connections to Valkey."""
    resource.setrlimit(resource.RLIMIT_NOFILE, (FILES, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
    async with served() as stack, Redis.from_url(stack.note["redis_url"]) as redis:
        runs = await waiting_jobs(stack, READERS // 2)
        paths = [path for run in runs for path in ("/v1/events", f"/v1/runs/{run}/events")]
        pid = next(int(pid) for name, pid in stack.pids.items() if name.startswith("web"))
        readers = [await _reading(stack, path) for path in paths[:2]]
        before, lines = resident_mib(pid), len(await redis.client_list())
        for start in range(2, READERS, AT_ONCE):
            readers += await asyncio.gather(*(_reading(stack, path) for path in paths[start : start + AT_ONCE]))
        kib = (resident_mib(pid) - before) * 1024 / READERS
        lines = len(await redis.client_list()) - lines
        listening = [asyncio.create_task(_listen(reader)) for reader, _ in readers]
        spent = cpu_seconds(pid)
        await asyncio.sleep(WATCHED)
        share = (cpu_seconds(pid) - spent) / WATCHED
        assert not any(one.done() for one in listening), "a stream was ended"
        for one in listening:
            one.cancel()
        await asyncio.gather(*listening, return_exceptions=True)
    yield Result("flowing.idle_reader_kib", kib, "KiB", f"limit of {LIMIT_KIB} KiB", kib / LIMIT_KIB, 1)
    yield Result("flowing.idle_readers_cpu", share, "of a core", "a core", share, 1)
    yield Result("flowing.idle_readers_lines", lines, "more", f"limit of {LIMIT_LINES}", lines / LIMIT_LINES, 1)


async def _reading(stack: Stack, path: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """A stream that has told everything there is."""
    reader, writer = await asyncio.open_connection("127.0.0.1", int(stack.address.rpartition(":")[2]))
    writer.write(
        f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {stack.note['api_key']}\r\n\r\n".encode()
    )
    head = await reader.readuntil(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200"), head
    await reader.readuntil(b"event: run.waiting" if "/runs/" in path else b"retry: 2000")
    return reader, writer


async def _listen(reader: asyncio.StreamReader) -> None:
    while await reader.read(4096):
        pass
