"""The most frequent job: a small WebP of a large JPEG."""

from __future__ import annotations

from collections.abc import AsyncIterator

from bench.contest import contest
from bench.peers import ours, pillow, sharp, thumbor, vips
from bench.photos import large
from bench.results import Result

ROUNDS, TIMES = 9, 12
"""More than elsewhere: everybody is near the wall, and small differences are to be told apart."""


async def thumbnail_vs_pyvips() -> AsyncIterator[Result]:
    """CPU of 300 px WebP from 24 MP JPEG against bare pyvips `thumbnail`; `decode` is the wall."""
    field = [vips("thumbnail"), ours("thumbnail"), vips("decode", compared=False), pillow("thumbnail")]
    field += [*sharp("thumbnail"), *thumbor("thumbnail")]
    outcome = await contest(field, large(), ROUNDS, TIMES)
    for result in outcome.results("engine.thumbnail_vs_pyvips", "pyvips_thumbnail"):
        yield result
