"""A large size with a mark on it."""

from __future__ import annotations

from collections.abc import AsyncIterator

from bench.contest import contest
from bench.peers import ours, pillow, sharp, vips
from bench.photos import large
from bench.results import Result

CLOSE = 1.0
"""Mean difference of a channel, 0 to 255: nobody may win by a worse picture."""


async def watermark_vs_full() -> AsyncIterator[Result]:
    """CPU of 1600 px JPEG with a mark from 24 MP JPEG against pyvips decoding and weighing every pixel."""
    field = [vips("marked_full"), ours("marked"), vips("marked"), pillow("marked"), *sharp("marked")]
    outcome = await contest(field, large(), close=CLOSE)
    for result in outcome.results("engine.watermark_vs_full", "pyvips_marked_full"):
        yield result
