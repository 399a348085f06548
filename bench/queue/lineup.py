"""The queue engines that take part, and what their worker processes are asked to do."""

from __future__ import annotations

import asyncio
import json
import statistics
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Any

from bench.installed import node_with_bullmq, python_with_queues
from bench.valkey import Server, running_valkey

BEGIN_SECONDS, DONE_SECONDS = 30.0, 60.0
MOST_WAITS = 1 << 22
"""Bytes of the longest line that a worker tells."""


@dataclass(frozen=True)
class Engine:
    """A program that sends jobs or works on them, and how many jobs it does in one or two seconds."""

    name: str
    program: tuple[str, ...]
    jobs: int


@dataclass(frozen=True)
class Spent:
    """What a worker took from its first job to its last: seconds on the clock and of CPU, and how long jobs waited."""

    wall: float
    cpu: float
    waits: Sequence[float]


@dataclass(frozen=True)
class Seat:
    """An engine with a server of its own."""

    engine: Engine
    server: Server

    async def filled(self, jobs: int) -> None:
        """Start anew, with so many jobs queued."""
        await self.server.emptied()
        await self.sent(jobs)

    async def sent(self, jobs: int, pause: float = 0.0) -> None:
        program = await self._started("send", str(jobs), str(pause))
        async with asyncio.timeout(DONE_SECONDS):
            assert await program.wait() == 0, f"{self.engine.name} did not send"

    async def drained(self, jobs: int) -> Spent:
        """What a new worker takes for the first so many jobs of those that are queued."""
        async with self.working(jobs) as worker:
            return await worker.spent()

    @asynccontextmanager
    async def working(self, jobs: int) -> AsyncIterator[Worker]:
        """A worker that has begun its first job, killed afterwards."""
        program = await self._started("work", str(jobs), stdout=asyncio.subprocess.PIPE, limit=MOST_WAITS)
        assert program.stdout is not None
        try:
            worker = Worker(program.stdout, self.engine.name)
            await worker.told(BEGIN_SECONDS)
            yield worker
        finally:
            program.kill()
            await program.wait()

    async def _started(self, verb: str, jobs: str, *rest: str, **options: Any) -> asyncio.subprocess.Process:
        command = (*self.engine.program, verb, self.server.socket, jobs, *rest)
        return await asyncio.create_subprocess_exec(*command, stdin=asyncio.subprocess.DEVNULL, **options)


@dataclass(frozen=True)
class Worker:
    """A running worker as the one who waits for its words sees it."""

    words: asyncio.StreamReader
    name: str

    async def spent(self) -> Spent:
        return Spent(**await self.told(DONE_SECONDS))

    async def told(self, seconds: float) -> dict[str, Any]:
        async with asyncio.timeout(seconds):
            line = await self.words.readline()
        assert line, f"{self.name} ended early"
        found: dict[str, Any] = json.loads(line)
        return found


def lineup(*names: str) -> list[Engine]:
    """The engines of these names, without those that do not install here."""
    engines = {engine.name: engine for engine in _engines()}
    return [engines[name] for name in names if name in engines]


def _engines() -> list[Engine]:
    own, peers, node = sys.executable, python_with_queues(), node_with_bullmq()
    found = [
        Engine("ours", _module(own, "ours"), 20_000),
        Engine("arq", _module(own, "arq"), 1_500),
        Engine("arq_tuned", (*_module(own, "arq"), "tuned"), 1_500),
        Engine("blpop", _module(own, "blpop"), 20_000),
    ]
    slow = {"saq": 1_500, "taskiq": 2_000, "dramatiq": 3_000, "celery": 1_500}
    found += [Engine(name, _module(peers, name), jobs) for name, jobs in slow.items() if peers]
    return [*found, Engine("bullmq", (node, "bench/workers/bullmq.mjs"), 20_000)] if node else found


def _module(python: str, name: str) -> tuple[str, ...]:
    return (python, "-W", "ignore", "-m", f"bench.workers.{name}")


@asynccontextmanager
async def seated(engines: Sequence[Engine]) -> AsyncIterator[list[Seat]]:
    """A server for each engine, all there from the start; one that nobody talks to takes no CPU."""
    async with AsyncExitStack() as stack:
        yield [Seat(engine, await stack.enter_async_context(running_valkey())) for engine in engines]


def in_turn(seats: Sequence[Seat], turn: int) -> list[Seat]:
    """All of them, another one first in every round, as what ran before leaves caches and clock rates behind."""
    return [seats[(turn + place) % len(seats)] for place in range(len(seats))]


def ratio(ours: Sequence[float], theirs: Sequence[float]) -> float:
    """Ours for each of theirs, the median of the ratios within the rounds."""
    return statistics.median(mine / other for mine, other in zip(ours, theirs, strict=True))
