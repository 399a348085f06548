"""Bend a picture: where each pixel of the bent one comes from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil, cos, degrees, floor, pi, radians, sin

import pyvips

from pipeline.errors import NodeInvalid
from pipeline.imaging.shapes import with_alpha

HAIR = 1e-6
"""A side is not made a pixel longer for less than this."""
NOWHERE = -1000.0
"""An index outside of every picture."""

Point = tuple[float, float]
Row = tuple[float, float, float]


@dataclass(frozen=True)
class Perspective:
    """A picture of this size seen so that its corners, from the top left clockwise, come to lie at these points."""

    width: int
    height: int
    corners: Sequence[Point]

    def __post_init__(self) -> None:
        turns = [_turn(*(self.corners[(at + step) % 4] for step in range(3))) for at in range(4)]
        if not (all(turn > HAIR for turn in turns) or all(turn < -HAIR for turn in turns)):
            raise NodeInvalid(reason="corners: no picture can be seen so; they are those of a convex quadrilateral")

    @property
    def origin(self) -> tuple[int, int]:
        return floor(min(x for x, _ in self.corners) + HAIR), floor(min(y for _, y in self.corners) + HAIR)

    @property
    def size(self) -> tuple[int, int]:
        left, top = self.origin
        right, bottom = max(x for x, _ in self.corners), max(y for _, y in self.corners)
        return max(1, ceil(right - HAIR) - left), max(1, ceil(bottom - HAIR) - top)

    def index(self) -> pyvips.Image:
        """For each pixel of the result where it comes from."""
        left, top = self.origin
        place = pyvips.Image.xyz(*self.size).linear(1, [left + 0.5, top + 0.5])
        x, y = place[0], place[1]
        across, down, depth = (x * row[0] + y * row[1] + row[2] for row in _inverse(_onto(self.corners)))
        # What lies behind the eye is not seen.
        seen = depth > 0
        across = seen.ifthenelse(across / depth * self.width - 0.5, NOWHERE)
        down = seen.ifthenelse(down / depth * self.height - 0.5, NOWHERE)
        return across.bandjoin(down)


@dataclass(frozen=True)
class Arc:
    """A picture of this size bent so that its middle line is an arc of so many degrees, as long as it was.

    Above 0 it rises in the middle, below it hangs through.
    """

    width: int
    height: int
    angle: float

    @property
    def _span(self) -> float:
        return abs(radians(self.angle))

    @property
    def _radius(self) -> float:
        """Of the middle line; no line is bent inside out."""
        return max(self.width / self._span, self.height / 2)

    @property
    def size(self) -> tuple[int, int]:
        outer, inner, half = self._radius + self.height / 2, self._radius - self.height / 2, self._span / 2
        across = 2 * outer * (sin(half) if half < pi / 2 else 1.0)
        lowest = inner * cos(half) if half < pi / 2 else outer * cos(half)
        return max(1, ceil(across - HAIR)), max(1, ceil(outer - lowest - HAIR))

    def index(self) -> pyvips.Image:
        """For each pixel of the result where it comes from."""
        width, height = self.size
        outer = self._radius + self.height / 2
        place = pyvips.Image.xyz(width, height) + 0.5
        row = place[1] if self.angle > 0 else height - place[1]
        # From the centre of the circle: its distance, and its angle from straight up.
        x, y = place[0] - width / 2, outer - row
        away, angle = (x**2 + y**2) ** 0.5, x.atan2(y)
        angle = (angle > 180).ifthenelse(angle - 360, angle)
        across = (angle / degrees(self._span) + 0.5) * self.width - 0.5
        down = outer - away
        down = down - 0.5 if self.angle > 0 else self.height - down - 0.5
        return across.bandjoin(down)


def warped(frame: pyvips.Image, index: pyvips.Image) -> pyvips.Image:
    """The frame with its pixels where an index says; what comes from nowhere is transparent."""
    made = with_alpha(frame).mapim(
        index, interpolate=pyvips.Interpolate.new("bicubic"), extend="background", background=[0, 0, 0, 0]
    )
    return made.cast("uchar").copy(interpretation="srgb")


def _turn(one: Point, two: Point, three: Point) -> float:
    return (two[0] - one[0]) * (three[1] - two[1]) - (two[1] - one[1]) * (three[0] - two[0])


def _onto(corners: Sequence[Point]) -> tuple[Row, Row, Row]:
    """The projection of the unit square onto four corners (P. Heckbert, Fundamentals of Texture Mapping, 2.2.3)."""
    (x0, y0), (x1, y1), (x2, y2), (x3, y3) = corners
    dx1, dx2, dx3 = x1 - x2, x3 - x2, x0 - x1 + x2 - x3
    dy1, dy2, dy3 = y1 - y2, y3 - y2, y0 - y1 + y2 - y3
    area = dx1 * dy2 - dx2 * dy1
    g, h = (dx3 * dy2 - dx2 * dy3) / area, (dx1 * dy3 - dx3 * dy1) / area
    return (x1 - x0 + g * x1, x3 - x0 + h * x3, x0), (y1 - y0 + g * y1, y3 - y0 + h * y3, y0), (g, h, 1.0)


def _inverse(matrix: tuple[Row, Row, Row]) -> tuple[Row, Row, Row]:
    """The projection back, up to a factor above 0, so that the sign of its last row tells front from back."""
    (a, b, c), (d, e, f), (g, h, i) = matrix
    back = ((e * i - f * h, c * h - b * i, b * f - c * e), (f * g - d * i, a * i - c * g, c * d - a * f),
            (d * h - e * g, b * g - a * h, a * e - b * d))  # fmt: skip
    sign = 1.0 if a * back[0][0] + b * back[1][0] + c * back[2][0] > 0 else -1.0
    first, second, third = ((row[0] * sign, row[1] * sign, row[2] * sign) for row in back)
    return first, second, third
