"""What it costs to work in a sandbox child instead of in the process that wants the result."""

from __future__ import annotations

import os
import statistics
import tempfile
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path

import pyvips

from bench.contest import CPU
from bench.measured import cpu_seconds
from bench.ours import FLOWS, Draw, caught, tamed
from bench.photos import large, small
from bench.results import Result
from pipeline.imaging.sandbox import Sandbox
from workers.warm import warm

NAME = "engine.sandbox_vs_in_process"
JOB = "thumbnail"
MEMORY = 2 * 2**30
PHOTOS: dict[str, tuple[Callable[[], Path], int]] = {"": (large, 15), ".small": (small, 60)}
"""Each row's photo, and how often it is drawn both ways; what a call costs shows most in the quick one."""


@dataclass(frozen=True)
class Turn:
    """Seconds of one call both ways, on the clock and of all processors."""

    here: float
    here_cpu: float
    apart: float
    apart_cpu: float


async def sandbox_vs_in_process() -> AsyncIterator[Result]:
    """Images a second by `Sandbox.call` for each in process, one at a time; `.cpu` the same by CPU of both sides."""
    pyvips.vips_lib.vips_concurrency_set(1)
    tamed()
    async with AsyncExitStack() as stack:
        sandbox = Sandbox(1, MEMORY, warm)
        stack.push_async_callback(sandbox.close)
        for row, (photo, times) in PHOTOS.items():
            folder = stack.enter_context(tempfile.TemporaryDirectory())
            draw, _ = await caught((FLOWS / f"{JOB}.yaml").read_text(), photo(), Path(folder))
            turns = [await _turn(sandbox, draw) for _ in range(times + 2)][2:]
            rate = statistics.median(1 / turn.apart for turn in turns)
            ratio = statistics.median(turn.here / turn.apart for turn in turns)
            yield Result(NAME + row, rate, "images/s", "the same in process", ratio, times)
            cpu = statistics.median(turn.apart_cpu for turn in turns)
            ratio = statistics.median(turn.here_cpu / turn.apart_cpu for turn in turns)
            yield Result(f"{NAME}{row}.cpu", 1000 * cpu, CPU, "the same in process", ratio, times)


async def _turn(sandbox: Sandbox, draw: Draw) -> Turn:
    child = await sandbox.call(os.getpid, timeout=60)
    wall, cpu = time.perf_counter(), time.process_time()
    draw()
    here, here_cpu = time.perf_counter() - wall, time.process_time() - cpu
    wall, cpu, apart_cpu = time.perf_counter(), time.process_time(), cpu_seconds(child)
    await sandbox.call(draw, timeout=60)
    apart = time.perf_counter() - wall
    apart_cpu = time.process_time() - cpu + cpu_seconds(child) - apart_cpu
    return Turn(here, here_cpu, apart, apart_cpu)
