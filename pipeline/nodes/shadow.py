"""Cast a shadow."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING, Literal

import pyvips
from pydantic import Field

from pipeline.imaging.blurring import blurred
from pipeline.imaging.picture import Window
from pipeline.imaging.shapes import embedded, plane, reshaped, with_alpha
from pipeline.nodes.base import Colour, Fraction, ImageNode, Offset, length_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pipeline.imaging.picture import Outline, Picture

REACH = 3.0
"""How many sigmas a blur reaches: beyond three, less than half a step of 255 is left."""
SHARP = 0.2
"""A blur narrower than this many pixels changes nothing."""


class Shadow(ImageNode):
    """Lays the picture over the shadow of its shape."""

    type: Literal["shadow"]
    x: Offset = Field(default=0, description="How far it falls to the right, pixels or a percentage of the width.")
    y: Offset = Field(default=8, description="How far it falls down, pixels or a percentage of the height.")
    blur: float = Field(
        default=12.0, ge=0, le=1000, description="How soft it is: the sigma of a Gaussian blur, pixels."
    )
    colour: Colour = Field(default=(0, 0, 0), description="`#rrggbb` or `#rrggbbaa`.")
    opacity: Fraction = Field(default=0.5, description="0 invisible, 1 as strong as its colour.")
    fit: Literal["expand", "keep"] = Field(
        default="expand",
        description="`expand` makes the canvas so large that nothing is cut, `keep` keeps its size: the shadow falls "
        "where the picture is transparent.",
    )

    def reach(self, outline: Outline) -> Outline:
        if self._is_hidden(outline):
            return outline
        canvas = self._canvas(outline)
        return replace(outline.sized(canvas.width, canvas.height), alpha=True)

    def apply(self, image: Picture, beside: Mapping[str, Picture]) -> Picture:
        if self._is_hidden(image.outline):
            return image
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

    def _is_hidden(self, outline: Outline) -> bool:
        """Whether all of it lies under the picture."""
        return self.fit == "keep" and not outline.alpha

    def _canvas(self, outline: Outline) -> Window:
        """The size that holds picture and shadow, and where in it the picture sits."""
        if self.fit == "keep":
            return Window(0, 0, outline.width, outline.height)
        spread, x, y = math.ceil(REACH * self.blur), *self._fall(outline.width, outline.height)
        left, right = max(0, spread - x), max(0, spread + x)
        top, bottom = max(0, spread - y), max(0, spread + y)
        return Window(left, top, outline.width + left + right, outline.height + top + bottom)

    def _fall(self, width: int, height: int) -> tuple[int, int]:
        return length_of(self.x, width), length_of(self.y, height)

    def _cast(self, frame: pyvips.Image, canvas: Window) -> pyvips.Image:
        shape = frame[3] if frame.hasalpha() else pyvips.Image.black(frame.width, frame.height).new_from_image(255)
        x, y = self._fall(frame.width, frame.height)
        placed = embedded(shape, canvas.left + x, canvas.top + y, canvas.width, canvas.height)
        return plane(blurred(placed, self.blur) if self.blur > SHARP else placed, self.colour, self.opacity)
