"""Several sizes of one picture, as every gallery wants them."""

from __future__ import annotations

from collections.abc import AsyncIterator

from bench.contest import contest
from bench.peers import ours, pillow, sharp, thumbor, vips
from bench.photos import large
from bench.results import Result


async def fanout_vs_three_thumbnails() -> AsyncIterator[Result]:
    """CPU of 1600, 800 and 320 px WebP from 24 MP JPEG against three calls of bare pyvips `thumbnail`."""
    field = [vips("sizes"), ours("sizes"), vips("chained"), pillow("chained")]
    field += [*sharp("clone", "chained"), *thumbor("sizes")]
    outcome = await contest(field, large())
    for result in outcome.results("engine.fanout_vs_three_thumbnails", "pyvips_sizes"):
        yield result
