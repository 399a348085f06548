"""What our AVIF effort saves, and what it costs in bytes and likeness."""

from __future__ import annotations

import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

import pyvips

from bench.contest import Contestant, contest, run
from bench.fidelity import read, ssim
from bench.peers import ours, vips
from bench.photos import large
from bench.results import Result

NAME = "engine.avif_vs_default"


async def avif_vs_default() -> AsyncIterator[Result]:
    """CPU of 800 px AVIF from 24 MP JPEG at our defaults against libvips' default effort, both at our quality."""
    default = vips("avif_default")
    outcome = await contest([default, ours("avif")], large(), rounds=5, times=4)
    for result in outcome.results(NAME, default.name):
        yield result
    mine, theirs = await _made(ours("avif")), await _made(default)
    yield Result(f"{NAME}.ssim", mine[0], "SSIM", "libvips' default effort", mine[0] / theirs[0], 1)
    yield Result(f"{NAME}.bytes", mine[1], "bytes", "libvips' default effort", mine[1] / theirs[1], 1)


async def _made(contestant: Contestant) -> tuple[float, int]:
    """Likeness to the picture resized with every care, and bytes."""
    with tempfile.TemporaryDirectory() as folder:
        await run(contestant, large(), Path(folder), 1)
        path = Path(folder) / "800.avif"
        made = read(path)
        source = pyvips.Image.new_from_file(str(large()))
        ideal = source.resize(made.width / source.width, vscale=made.height / source.height, gap=0)
        return ssim(made, ideal.copy_memory()), path.stat().st_size
