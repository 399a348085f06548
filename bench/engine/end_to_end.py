"""The canonical flows end to end (HTTP, Redis, worker, storage) beside bare pyvips doing the same work."""

from __future__ import annotations

import asyncio
import statistics
import tempfile
import time
from collections.abc import AsyncIterator
from pathlib import Path

from bench.contest import run
from bench.peers import vips
from bench.photos import DEMO
from bench.results import Result
from bench.stack import Stack, running_stack

JOBS = ("thumbnail", "sizes", "marked", "avif")
NAME = "engine.end_to_end_vs_pyvips"
VERSUS = "two bare pyvips processes"
ROUNDS = 5
IMAGES = 12
IN_FLIGHT = 4


async def end_to_end_vs_pyvips() -> AsyncIterator[Result]:
    """Seconds an image takes with four runs in flight, against a pyvips process for each core; over 1 is faster."""
    ratios: dict[str, list[float]] = {name: [] for name in JOBS}
    ours: dict[str, list[float]] = {name: [] for name in JOBS}
    async with running_stack() as stack:
        for number in range(ROUNDS + 1):
            for name in JOBS:
                mine, peer = await _ours(stack, name), await _peer(name)
                if number > 0:
                    ours[name].append(mine)
                    ratios[name].append(peer / mine)
    for name in JOBS:
        value, ratio = statistics.median(ours[name]), statistics.median(ratios[name])
        yield Result(f"{NAME}.{name}", value, "s/image", VERSUS, ratio, ROUNDS)
    overall = statistics.geometric_mean([statistics.median(found) for found in ratios.values()])
    total = sum(statistics.median(found) for found in ours.values())
    yield Result(NAME, total, "s/4 images", VERSUS, overall, ROUNDS)


async def _ours(stack: Stack, flow: str) -> float:
    content = DEMO.read_bytes()
    gate = asyncio.Semaphore(IN_FLIGHT)

    async def one() -> None:
        async with gate:
            await stack.sent(flow, content)

    started = time.perf_counter()
    await asyncio.gather(*(one() for _ in range(IMAGES)))
    return (time.perf_counter() - started) / IMAGES


async def _peer(name: str) -> float:
    """Two processes at once, as there are two cores; each does half of the images."""
    with tempfile.TemporaryDirectory() as one, tempfile.TemporaryDirectory() as other:
        both = [run(vips(name), DEMO, Path(folder), IMAGES // 2) for folder in (one, other)]
        spent = await asyncio.gather(*both)
    return statistics.mean(found.wall for found in spent) / 2
