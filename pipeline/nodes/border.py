"""Draw a border."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Literal

import pyvips
from pydantic import Field

from pipeline.imaging.picture import Window
from pipeline.imaging.shapes import bands, coverage, masked, plane, reshaped
from pipeline.nodes.base import Colour, ImageNode
from pipeline.nodes.crop import Length
from pipeline.nodes.round import radius_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pipeline.imaging.picture import Outline, Picture


class Border(ImageNode):
    """Draws a border around the picture or onto its edges."""

    type: Literal["border"]
    width: int = Field(ge=1, le=10_000, description="How thick it is, pixels.")
    colour: Colour = Field(default=(0, 0, 0), description="`#rrggbb` or `#rrggbbaa`.")
    place: Literal["outside", "inside"] = Field(
        default="outside", description="`outside` makes the picture larger by it, `inside` covers its edges."
    )
    radius: Length = Field(
        default=0,
        description="Of its outer corners, beyond which nothing is left: pixels, or of the shorter side with the "
        "border, `10%`.",
    )

    def reach(self, outline: Outline) -> Outline:
        sized = outline.sized(*self._size(outline))
        seen = self.place == "outside" and len(self.colour) == 4
        return replace(sized, alpha=outline.alpha or seen or self._radius(*self._size(outline)) > 0)

    def apply(self, image: Picture, beside: Mapping[str, Picture]) -> Picture:
        width, height = self._size(image.outline)
        if self._radius(width, height) > 0:
            return self._arched(image, width, height)
        if self.place == "outside":
            spot = Window(self.width, self.width, image.outline.width, image.outline.height)
            return image.padded(spot, width, height, self.colour)
        return reshaped(image, width, height, self._hemmed)

    def _size(self, outline: Outline) -> tuple[int, int]:
        grown = 2 * self.width if self.place == "outside" else 0
        return outline.width + grown, outline.height + grown

    def _radius(self, width: int, height: int) -> float:
        return min(radius_of(self.radius, min(width, height)), width / 2, height / 2)

    def _hemmed(self, frame: pyvips.Image) -> pyvips.Image:
        """The frame with a square border on its edges."""
        edge, across, down = self.width, frame.width - 2 * self.width, frame.height - 2 * self.width
        if min(across, down) > 0 and (len(self.colour) == 3 or self.colour[3] == 255):
            within = frame.crop(edge, edge, across, down)
            colour = bands(self.colour, frame)
            return within.embed(edge, edge, frame.width, frame.height, extend="background", background=colour)
        mixed = frame.composite2(self._ring(frame.width, frame.height, 0), "over")
        return mixed if frame.hasalpha() else mixed.extract_band(0, n=3)

    def _arched(self, image: Picture, width: int, height: int) -> Picture:
        radius = self._radius(width, height)
        outer, ring = coverage(width, height, radius), self._ring(width, height, radius)
        inner = self._within(width, height, radius)

        def draw(frame: pyvips.Image) -> pyvips.Image:
            if self.place == "inside":
                return masked(frame.composite2(ring, "over"), outer)
            # Border and picture share the pixels of the seam without overlapping, so their coverages add up.
            placed = frame.embed(self.width, self.width, width, height)
            return masked(masked(placed, inner).composite2(ring, "add"), outer)

        return reshaped(image, width, height, draw)

    def _ring(self, width: int, height: int, radius: float) -> pyvips.Image:
        """The border as far as the corners of its canvas; its outer arcs are cut once picture and border are one."""
        return plane(255 - self._within(width, height, radius), self.colour)

    def _within(self, width: int, height: int, radius: float) -> pyvips.Image:
        across, down = width - 2 * self.width, height - 2 * self.width
        if min(across, down) <= 0:
            return pyvips.Image.black(width, height)
        within = coverage(across, down, max(0.0, radius - self.width))
        return within.embed(self.width, self.width, width, height)
