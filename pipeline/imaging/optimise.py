"""Find the encoding with the fewest bytes, or the best one that stays within a limit, by trying.

Knows no image library: an `Attempt` encodes the same pixels, held in memory, with a format and a quality. The same
attempts are made in the same order for the same sizes, so the result is as deterministic as the encoders are.

Cost, in encodes of the whole picture: one for each format; when none of them is within the limit, then for the most
promising format one at the lowest quality and, if that fits, at most log2(highest - lowest) more to bisect (six between
30 and 82); when it does not fit, one at the lowest quality for each further format, which is bisected in its stead.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

Attempt = Callable[[str, int | None], bytes]
"""The file that a format and a quality give; None for a format that has no quality."""


@dataclass(frozen=True)
class Span:
    """The qualities that may be tried for a format, 1 to 100, both ends included."""

    lowest: int
    highest: int


@dataclass(frozen=True)
class Found:
    """An encoded file, how it was made, and whether it is within the limit."""

    format: str
    quality: int | None
    content: bytes
    fits: bool


def best(spans: Mapping[str, Span | None], limit: int | None, attempt: Attempt) -> Found:
    """The smallest of the formats at their highest qualities or, where none is within `limit` bytes, the one with the
    highest quality that is; when even the lowest qualities are too large, the smallest of all, which does not fit.

    `spans` holds the qualities for each format to try, None for a format that has no quality.
    """
    tops = [_tried(name, span.highest if span else None, limit, attempt) for name, span in spans.items()]
    tops.sort(key=lambda one: len(one.content))
    if tops[0].fits:
        return tops[0]
    smallest = tops[0]
    for top in tops:
        span = spans[top.format]
        if span is None or limit is None or span.lowest >= span.highest:
            continue
        floor = _tried(top.format, span.lowest, limit, attempt)
        if floor.fits:
            return _bisected(floor, span, limit, attempt)
        smallest = min(smallest, floor, key=lambda one: len(one.content))
    return smallest


def _bisected(floor: Found, span: Span, limit: int, attempt: Attempt) -> Found:
    """The highest quality within `limit`, known to lie from `floor`, which fits, to below the span's highest."""
    fitting, low, high = floor, span.lowest, span.highest
    while high - low > 1:
        middle = (low + high) // 2
        tried = _tried(floor.format, middle, limit, attempt)
        if tried.fits:
            fitting, low = tried, middle
        else:
            high = middle
    return fitting


def _tried(name: str, quality: int | None, limit: int | None, attempt: Attempt) -> Found:
    content = attempt(name, quality)
    return Found(name, quality, content, limit is None or len(content) <= limit)
