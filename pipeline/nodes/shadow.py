"""Cast a shadow."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING, Literal

import pyvips
from pydantic import Field

from pipeline.imaging.blurring import blurred
from pipeline.imaging.picture import Window
from pipeline.imaging.shapes import plane, reshaped, with_alpha
from pipeline.nodes.base import Colour, Fraction, ImageNode

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pipeline.imaging.picture import Outline, Picture

REACH = 3.0
"""How many sigmas a blur reaches: beyond three, less than half a step of 255 is left."""
SHARP = 0.2
"""A blur narrower than this many pixels changes nothing."""


class Shadow(ImageNode):
    """Lays the picture over the shadow of its shape; the canvas grows so that nothing of either is cut."""

    type: Literal["shadow"]
    x: int = Field(default=0, ge=-10_000, le=10_000, description="How far it falls to the right, pixels.")
    y: int = Field(default=8, ge=-10_000, le=10_000, description="How far it falls down, pixels.")
    blur: float = Field(
        default=12.0, ge=0, le=1000, description="How soft it is: the sigma of a Gaussian blur, pixels."
    )
    colour: Colour = Field(default=(0, 0, 0), description="`#rrggbb` or `#rrggbbaa`.")
    opacity: Fraction = Field(default=0.5, description="0 invisible, 1 as strong as its colour.")

    def reach(self, outline: Outline) -> Outline:
        canvas = self._canvas(outline)
        return replace(outline.sized(canvas.width, canvas.height), alpha=True)

    def apply(self, image: Picture, beside: Mapping[str, Picture]) -> Picture:
        canvas = self._canvas(image.outline)
        whole = image.settled()
        # The shadow of a shape is read rows ahead of the shape; that of a rectangle is known without reading.
        ready = whole.held() if whole.pixels.hasalpha() else whole

        def draw(frame: pyvips.Image) -> pyvips.Image:
            under = self._cast(frame, canvas)
            if frame.hasalpha():
                return under.composite2(frame, "over", x=canvas.left, y=canvas.top)
            return under.insert(with_alpha(frame), canvas.left, canvas.top)

        return reshaped(ready, canvas.width, canvas.height, draw)

    def _canvas(self, outline: Outline) -> Window:
        """The size that holds picture and shadow, and where in it the picture sits."""
        spread = math.ceil(REACH * self.blur)
        left, right = max(0, spread - self.x), max(0, spread + self.x)
        top, bottom = max(0, spread - self.y), max(0, spread + self.y)
        return Window(left, top, outline.width + left + right, outline.height + top + bottom)

    def _cast(self, frame: pyvips.Image, canvas: Window) -> pyvips.Image:
        shape = frame[3] if frame.hasalpha() else pyvips.Image.black(frame.width, frame.height).new_from_image(255)
        placed = shape.embed(canvas.left + self.x, canvas.top + self.y, canvas.width, canvas.height)
        return plane(blurred(placed, self.blur) if self.blur > SHARP else placed, self.colour, self.opacity)
