"""What sockets cost on which nothing is told."""

from __future__ import annotations

import asyncio
import base64
import os
import resource
import tempfile
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from bench.measured import cpu_seconds, resident_mib
from bench.results import Result
from bench.stack import Stack, running_stack

SOCKETS = 5000
AT_ONCE = 50
"""How many of them are opened at the same time; what all of them at once would need is no cost of idling."""
LIMIT_KIB = 64
WATCHED = 30.0
"""Seconds for which they are watched: in that time each is asked once whether it is still there, and answers."""
FILES = SOCKETS + 1000
CONFIG = """
projects: {demo: {api_keys: [benchmark-key], limits: {requests_per_minute: 1000000000}}}
"""
WAITING = """
nodes:
  photo: {type: input}
  out: {type: save, path: "{run.id}"}
"""


async def idle_sockets() -> AsyncIterator[Result]:
    """KiB that a web process needs for each of 5,000 flow sockets, and the share of a core that they take."""
    resource.setrlimit(resource.RLIMIT_NOFILE, (FILES, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
    async with served() as stack:
        jobs = await waiting_jobs(stack, SOCKETS)
        pid = next(int(pid) for name, pid in stack.pids.items() if name.startswith("web"))
        sockets = [await _opened(stack, jobs[0])]
        before = resident_mib(pid)
        for start in range(0, SOCKETS, AT_ONCE):
            sockets += await asyncio.gather(*(_opened(stack, job) for job in jobs[start : start + AT_ONCE]))
        answering = [asyncio.create_task(_answer(*socket)) for socket in sockets]
        kib = (resident_mib(pid) - before) * 1024 / SOCKETS
        spent = cpu_seconds(pid)
        await asyncio.sleep(WATCHED)
        share = (cpu_seconds(pid) - spent) / WATCHED
        assert not any(one.done() for one in answering), "a socket was closed"
        for one in answering:
            one.cancel()
        await asyncio.gather(*answering, return_exceptions=True)
    yield Result("flowing.idle_socket_kib", kib, "KiB", f"limit of {LIMIT_KIB} KiB", kib / LIMIT_KIB, 1)
    yield Result("flowing.idle_sockets_cpu", share, "of a core", "a core", share, 1)


@asynccontextmanager
async def served() -> AsyncIterator[Stack]:
    """A server that counts nobody's requests."""
    with tempfile.TemporaryDirectory() as folder:
        config = Path(folder) / "safelight.yaml"
        config.write_text(CONFIG)
        async with running_stack(environ={"SAFELIGHT_CONFIG": str(config)}) as stack:
            yield stack


async def waiting_jobs(stack: Stack, count: int) -> Sequence[str]:
    """So many jobs that wait for their input."""
    headers = {"Content-Type": "application/yaml"}
    async with stack.session.put("/v1/flows/waiting", data=WAITING, headers=headers) as answer:
        assert answer.status == 201, await answer.text()
    jobs: list[str] = []
    for _ in range(0, count, AT_ONCE):
        jobs += await asyncio.gather(*(_job(stack) for _ in range(AT_ONCE)))
    return jobs


async def _job(stack: Stack) -> str:
    async with stack.session.post("/uploadista/api/flow/waiting/default", json={"inputs": {}}) as answer:
        job = await answer.json()
        assert answer.status == 200, job
        return str(job["id"])


async def _opened(stack: Stack, job: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """A socket that has told everything there is."""
    port = int(stack.address.rpartition(":")[2])
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    key = base64.b64encode(os.urandom(16)).decode()
    writer.write(
        f"GET /uploadista/ws/flow/{job}?token={stack.note['api_key']} HTTP/1.1\r\nHost: 127.0.0.1\r\n"
        f"Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\n"
        "\r\n".encode()
    )
    head = await reader.readuntil(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 101"), head
    await reader.readuntil(b'"flow-start"')
    return reader, writer


async def _answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answer each ping (RFC 6455, section 5.5.3), whose mask may be of zeros."""
    while piece := await reader.read(4096):
        if b"\x89\x00" in piece:
            writer.write(b"\x8a\x80\x00\x00\x00\x00")
