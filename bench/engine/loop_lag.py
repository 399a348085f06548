"""Whether a worker still listens while its children work."""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import signal
import statistics
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from bench.lagging import watch
from bench.photos import DEMO
from bench.results import Result
from bench.stack import Stack, running_stack

NAME = "engine.loop_lag_p99_ms"
LIMIT_MS = 10.0
ROUNDS = 5
SECONDS = 8.0
IN_FLIGHT = 6
FLOWS = ("thumbnail", "sizes", "marked", "avif")
Delays = list[tuple[float, float]]


async def loop_lag_p99_ms() -> AsyncIterator[Result]:
    """Milliseconds by which a timer of a worker's loop is late, 99th percentile, while every core is busy.

    A ratio under 1 is within the limit. `.machine` is the same of a loop that has nothing to do: the kernel's share.
    """
    found: list[tuple[float, float]] = []
    async with running_stack(workers=0) as stack:
        file = await stack.stored(DEMO)
        for _ in range(ROUNDS):
            async with _worker(stack) as delays:
                await _load(stack, file, 2 * IN_FLIGHT)
                idle: Delays = []
                watching = asyncio.create_task(watch(idle))
                began = time.monotonic()
                await _load_for(stack, file, SECONDS)
                ended = time.monotonic()
                watching.cancel()
            found.append((_p99(delays, began, ended), _p99(idle, began, ended)))
    ours, machine = (statistics.median(values) for values in zip(*found, strict=True))
    yield Result(NAME, ours, "ms", f"limit of {LIMIT_MS:g} ms", ours / LIMIT_MS, ROUNDS)
    yield Result(f"{NAME}.machine", machine, "ms", "ours for each of an idle loop's", ours / machine, ROUNDS)


@asynccontextmanager
async def _worker(stack: Stack) -> AsyncIterator[Delays]:
    """A worker beside the stack; its delays are in the list once it has ended."""
    environ = os.environ | {
        "SAFELIGHT_CONFIG": str(Path(stack.note["data"]) / "safelight.yaml"),
        "SAFELIGHT_REDIS_URL": stack.note["redis_url"],
        "SAFELIGHT_DATA_DIR": stack.note["data"],
        "SAFELIGHT_FLOWS_DIR": stack.note["flows"],
    }
    program = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "bench.lagging", stdout=asyncio.subprocess.PIPE, env=environ
    )
    delays: Delays = []
    try:
        yield delays
    finally:
        program.send_signal(signal.SIGTERM)
        told, _ = await program.communicate()
        delays += [(when, late) for when, late in json.loads(told)]


async def _load(stack: Stack, file: str, runs: int) -> None:
    await asyncio.gather(*(stack.ran(FLOWS[number % len(FLOWS)], file) for number in range(runs)))


async def _load_for(stack: Stack, file: str, seconds: float) -> None:
    """Keep some runs in flight, every flow in turn."""
    until = time.monotonic() + seconds
    turn = itertools.cycle(FLOWS)

    async def one_after_the_other() -> None:
        while time.monotonic() < until:
            await stack.ran(next(turn), file)

    await asyncio.gather(*(one_after_the_other() for _ in range(IN_FLIGHT)))


def _p99(delays: Delays, began: float, ended: float) -> float:
    late = [delay for when, delay in delays if began <= when <= ended]
    return 1000 * statistics.quantiles(late, n=100)[98]
