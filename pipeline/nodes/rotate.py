"""Turn a picture by any angle."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING, Literal

import pyvips
from pydantic import Field

from pipeline.imaging.picture import Window
from pipeline.imaging.shapes import at_hand, bands, lying, reshaped, turned, with_alpha
from pipeline.nodes.base import Colour, ImageNode

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pipeline.imaging.picture import Outline, Picture

# The EXIF orientation that shows a picture turned so far.
ORIENTATIONS = {0.0: 1, 90.0: 6, 180.0: 3, 270.0: 8}
HAIR = 1e-6
"""A side is not made a pixel longer for less than this."""


class Rotate(ImageNode):
    """Turns the picture about its middle; multiples of 90 degrees are exact and without loss."""

    type: Literal["rotate"]
    angle: float = Field(ge=-360, le=360, description="Degrees clockwise; negative ones turn the other way.")
    fit: Literal["expand", "keep"] = Field(
        default="expand",
        description="`expand` makes room for the whole turned picture, `keep` keeps the size and cuts what hangs over.",
    )
    background: Colour = Field(
        default=(255, 255, 255, 0),
        description="What shows beside the turned picture, `#rrggbb[aa]`; transparent when left out.",
    )

    def reach(self, outline: Outline) -> Outline:
        turn = ORIENTATIONS.get(self.angle % 360)
        if turn and (self.fit == "expand" or lying(outline, turn) == outline):
            return lying(outline, turn)
        canvas = outline if self.fit == "keep" else outline.sized(*self._expanded(outline))
        return replace(canvas, alpha=outline.alpha or len(self.background) == 4)

    def demand(self, outline: Outline, wanted: float) -> float:
        return wanted

    def apply(self, image: Picture, beside: Mapping[str, Picture]) -> Picture:
        turn = ORIENTATIONS.get(self.angle % 360)
        canvas = self.reach(image.outline)
        if turn:
            return reframed(turned(image, turn), canvas, self.background)
        return rotated(image, self.angle, canvas, self.background)

    def _expanded(self, outline: Outline) -> tuple[int, int]:
        cos, sin = abs(math.cos(math.radians(self.angle))), abs(math.sin(math.radians(self.angle)))
        across = outline.width * cos + outline.height * sin
        down = outline.width * sin + outline.height * cos
        return math.ceil(across - HAIR), math.ceil(down - HAIR)


def rotated(picture: Picture, degrees: float, canvas: Outline, background: tuple[int, ...]) -> Picture:
    """The picture turned clockwise about its middle onto a canvas with this outline, at the scale it has."""
    outline, small = picture.outline, at_hand(picture).held()
    into = small.outline.width / outline.width, small.outline.height / outline.height
    size = max(1, round(canvas.width * max(into))), max(1, round(canvas.height * max(into)))
    onto = size[0] / canvas.width, size[1] / canvas.height
    matrix = _matrix(degrees, into, onto)
    # About the middle of either; libvips counts from the middle of the first pixel.
    x, y = (small.outline.width - 1) / 2, (small.outline.height - 1) / 2
    odx = (size[0] - 1) / 2 - matrix[0] * x - matrix[1] * y
    ody = (size[1] - 1) / 2 - matrix[2] * x - matrix[3] * y

    def rotate(frame: pyvips.Image) -> pyvips.Image:
        ready = with_alpha(frame) if canvas.alpha else frame
        return ready.affine(
            matrix, oarea=[0, 0, *size], odx=odx, ody=ody, interpolate=pyvips.Interpolate.new("bicubic"),
            extend="background", background=bands(background, ready),
        )  # fmt: skip

    drawn = reshaped(small, *size, rotate)
    return replace(drawn, outline=drawn.outline.sized(canvas.width, canvas.height))


def _matrix(degrees: float, into: tuple[float, float], onto: tuple[float, float]) -> list[float]:
    """From pixels at hand to the outline, turned, and to the canvas at hand, so that rounded sizes move nothing."""
    cos, sin = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    return [cos * onto[0] / into[0], -sin * onto[0] / into[1], sin * onto[1] / into[0], cos * onto[1] / into[1]]


def reframed(picture: Picture, canvas: Outline, background: tuple[int, ...]) -> Picture:
    """The middle of the picture on a canvas with this outline, cut and padded as needed, at the scale it has."""
    outline = picture.outline
    if (outline.width, outline.height) == (canvas.width, canvas.height):
        return picture
    width, height = min(outline.width, canvas.width), min(outline.height, canvas.height)
    cut = picture.cropped(Window((outline.width - width) // 2, (outline.height - height) // 2, width, height))
    small = at_hand(cut)
    across = round(canvas.width * small.outline.width / width)
    down = round(canvas.height * small.outline.height / height)
    left, top = (across - small.outline.width) // 2, (down - small.outline.height) // 2
    padded = small.padded(Window(left, top, width, height), across, down, background)
    return replace(padded, outline=padded.outline.sized(canvas.width, canvas.height))
