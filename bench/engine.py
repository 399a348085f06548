"""The canonical flows end to end (HTTP, Redis, worker, storage) beside bare pyvips doing the same work."""

from __future__ import annotations

import asyncio
import io
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp

from bench.peers import JOBS
from bench.results import Result
from bench.stack import Stack, running_stack

PHOTO = Path("docs/demo/photo.jpg")
ROUNDS = 5
IMAGES = 8
IN_FLIGHT = 4


async def end_to_end_vs_pyvips() -> AsyncIterator[Result]:
    """Seconds an image takes with four runs in flight, against one pyvips process; a ratio over 1 is faster than it."""
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
        label = f"engine.end_to_end_vs_pyvips.{name}"
        yield Result(label, value, "s/image", "bare pyvips, one process", ratio, ROUNDS)
    overall = statistics.geometric_mean([statistics.median(found) for found in ratios.values()])
    total = sum(statistics.median(found) for found in ours.values())
    yield Result("engine.end_to_end_vs_pyvips", total, "s/4 images", "bare pyvips, one process", overall, ROUNDS)


async def _ours(stack: Stack, flow: str) -> float:
    content = PHOTO.read_bytes()
    gate = asyncio.Semaphore(IN_FLIGHT)

    async def one() -> None:
        form = aiohttp.FormData()
        form.add_field("photo", io.BytesIO(content), filename="photo.jpg", content_type="image/jpeg")
        async with gate, stack.session.post(f"/v1/flows/{flow}/runs?wait=60", data=form) as answer:
            run = await answer.json()
            assert answer.status == 200 and run["status"] == "completed", run

    started = time.perf_counter()
    await asyncio.gather(*(one() for _ in range(IMAGES)))
    return (time.perf_counter() - started) / IMAGES


async def _peer(name: str) -> float:
    with tempfile.TemporaryDirectory() as out:
        program = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "bench.peers", name, str(PHOTO), out, str(IMAGES), stdout=asyncio.subprocess.PIPE
        )
        told, _ = await program.communicate()
        assert program.returncode == 0
        return float(told)
