"""A derivative nobody has made yet, from the request to its last byte, beside bare pyvips making the same."""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pyvips

from bench.photos import DEMO
from bench.results import Result
from bench.stack import Stack, running_stack
from pipeline.imaging.encode import EFFORTS, QUALITIES

SIZES = {"thumbnail": 320, "preview": 1600}
ROUNDS = 40
WARM_UP = 5
ALLOWED = 5.0
"""Milliseconds that going over HTTP, the queue and storage may take."""


async def miss_vs_pyvips() -> AsyncIterator[Result]:
    """Milliseconds of one request at a time; the ratio leaves 5 of ours out and is to be 1.15 at most."""
    pyvips.vips_lib.vips_concurrency_set(1)
    pyvips.cache_set_max(0)
    async with running_stack() as stack:
        file = await stack.stored(DEMO)
        for name, width in SIZES.items():
            ours, bare = [], []
            with tempfile.TemporaryDirectory() as folder:
                for turn in range(ROUNDS + WARM_UP):
                    ours.append(await _asked(stack, file, width + turn))
                    bare.append(_drawn(Path(folder), width + turn))
            ours, bare = ours[WARM_UP:], bare[WARM_UP:]
            ratio = statistics.median((one - ALLOWED) / other for one, other in zip(ours, bare, strict=True))
            told = f"bare pyvips, {ALLOWED:g} ms of ours left out"
            yield Result(f"delivery.miss_vs_pyvips.{name}", statistics.median(ours), "ms", told, ratio, ROUNDS)


async def _asked(stack: Stack, file: str, width: int) -> float:
    began = time.perf_counter()
    async with stack.session.get(f"/{file}/-/format/webp/-/resize/{width}x/") as answer:
        body = await answer.read()
        assert answer.status == 200, body
    return (time.perf_counter() - began) * 1000


def _drawn(folder: Path, width: int) -> float:
    began = time.perf_counter()
    picture = pyvips.Image.thumbnail(str(DEMO), width, height=100_000)
    picture.webpsave(str(folder / "made.webp"), Q=QUALITIES["webp"], effort=EFFORTS["webp"], keep="none")
    return (time.perf_counter() - began) * 1000
