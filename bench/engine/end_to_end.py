"""The canonical flows end to end (HTTP, Redis, worker, storage) beside bare pyvips doing the same work."""

from __future__ import annotations

import asyncio
import statistics
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from functools import partial
from pathlib import Path

from bench.contest import run
from bench.peers import vips
from bench.photos import DEMO
from bench.results import Result
from bench.stack import running_stack

JOBS = ("thumbnail", "sizes", "marked", "avif")
SENT = "thumbnail"
NAME = "engine.end_to_end_vs_pyvips"
VERSUS = "two bare pyvips processes"
ROUNDS = 5
IMAGES = 16
IN_FLIGHT = 4

Act = Callable[[], Awaitable[None]]


async def end_to_end_vs_pyvips() -> AsyncIterator[Result]:
    """Seconds an image takes with four runs in flight, against a pyvips process for each core; over 1 is faster.

    The photo is a stored file, as it is a file for the peers; in the row `.sent` it comes with every request.
    """
    ratios: dict[str, list[float]] = {name: [] for name in (*JOBS, "sent")}
    ours: dict[str, list[float]] = {name: [] for name in ratios}
    async with running_stack() as stack:
        file, content = await stack.stored(DEMO), DEMO.read_bytes()
        for number in range(ROUNDS + 1):
            for name in JOBS:
                peer = await _peer(name)
                acts = {name: partial(stack.ran, name, file)}
                if name == SENT:
                    acts["sent"] = partial(stack.sent, name, content)
                for row, act in acts.items():
                    mine = await _saturated(act)
                    if number > 0:
                        ours[row].append(mine)
                        ratios[row].append(peer / mine)
    for name in ratios:
        value, ratio = statistics.median(ours[name]), statistics.median(ratios[name])
        yield Result(f"{NAME}.{name}", value, "s/image", VERSUS, ratio, ROUNDS)
    overall = statistics.geometric_mean([statistics.median(ratios[name]) for name in JOBS])
    total = sum(statistics.median(ours[name]) for name in JOBS)
    yield Result(NAME, total, "s/4 images", VERSUS, overall, ROUNDS)


async def _saturated(act: Act) -> float:
    """Seconds from one end to the next while there are always so many in flight: neither the first nor the last."""
    ends: list[float] = []

    async def keep_going() -> None:
        while len(ends) < IN_FLIGHT + IMAGES:
            await act()
            ends.append(time.perf_counter())

    await asyncio.gather(*(keep_going() for _ in range(IN_FLIGHT)))
    return (ends[IN_FLIGHT + IMAGES - 1] - ends[IN_FLIGHT - 1]) / IMAGES


async def _peer(name: str) -> float:
    """Two processes at once, as there are two cores; each does half of the images."""
    with tempfile.TemporaryDirectory() as one, tempfile.TemporaryDirectory() as other:
        both = [run(vips(name), DEMO, Path(folder), IMAGES // 2) for folder in (one, other)]
        spent = await asyncio.gather(*both)
    return statistics.mean(found.wall for found in spent) / 2
