"""Planes whose colour changes from one side to another."""

from __future__ import annotations

from collections.abc import Sequence
from math import cos, hypot, radians, sin

import pyvips

Heading = tuple[float, float]
"""Where a gradient runs, to the right and downwards; its length does not matter."""


def heading_at(degrees: float) -> Heading:
    """The way an angle points, clockwise from the top."""
    return sin(radians(degrees)), -cos(radians(degrees))


def heading_to(corner: str, width: int, height: int) -> Heading:
    """The way to a side or corner; the other two corners then have the colour of the middle."""
    across = ("right" in corner) - ("left" in corner)
    down = ("bottom" in corner) - ("top" in corner)
    return (across * height, down * width) if across and down else (float(across), float(down))


def linear(
    width: int, height: int, heading: Heading, start: Sequence[int], end: Sequence[int], stop: float = 1.0
) -> pyvips.Image:
    """A plane with alpha that goes from `start` to `end`, which it has from `stop` of its way on.

    The way is that of `linear-gradient()`: CSS Images Level 3, section 3.1; colours are mixed weighed by their alpha.
    """
    x, y = (part / hypot(*heading) for part in heading)
    whole = abs(width * x) + abs(height * y)
    place = pyvips.Image.xyz(width, height)
    way = place[0] * (x / whole) + place[1] * (y / whole)
    way = (way + (0.5 - ((width - 1) * x + (height - 1) * y) / 2 / whole)) / stop
    way = (way > 0).ifthenelse((way < 1).ifthenelse(way, 1.0), 0.0)
    first, last = _weighed(start), _weighed(end)
    mixed = way.linear([b - a for a, b in zip(first, last, strict=True)], first)
    return mixed.copy(interpretation="srgb").unpremultiply().rint().cast("uchar")


def _weighed(colour: Sequence[int]) -> list[float]:
    *shade, alpha = [*colour, 255][:4]
    return [band * alpha / 255 for band in shade] + [float(alpha)]
