"""Paint a rectangle on a picture."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Literal

from pydantic import Field

from pipeline.imaging.overlay import backed, layered
from pipeline.imaging.picture import Window
from pipeline.imaging.shapes import plain_picture
from pipeline.nodes.base import Colour, ImageNode, Pixel, Place, Share, length_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pipeline.imaging.picture import Outline, Picture


class Rectangle(ImageNode):
    """Paints a rectangle of one colour, which may be transparent, over the picture or behind it."""

    type: Literal["rectangle"]
    colour: Colour = Field(description="What it is painted with, `#rrggbb[aa]`.")
    width: Pixel | Share = Field(default="100%", description="Pixels or a percentage of the picture's width.")
    height: Pixel | Share = Field(default="100%", description="Pixels or a percentage of the picture's height.")
    place: Place = Field(
        default=Place(x=0, y=0),
        description="Where it lies, `{x: 20, y: 50%}`: pixels from the left and top or percentages of the room that is "
        "left; what hangs over is not seen.",
    )
    behind: bool = Field(
        default=False, description="Whether it lies behind the picture and is seen where that is transparent."
    )

    def reach(self, outline: Outline) -> Outline:
        return replace(outline, alpha=outline.alpha and not self._hides(outline))

    def _hides(self, outline: Outline) -> bool:
        """Whether nothing is transparent any more, where it lies behind."""
        solid = len(self.colour) == 3 or self.colour[3] == 255
        spot = self._spot(outline)
        covers = spot.left <= 0 and spot.top <= 0 and spot.left + spot.width >= outline.width
        return self.behind and solid and covers and spot.top + spot.height >= outline.height

    def apply(self, image: Picture, beside: Mapping[str, Picture]) -> Picture:
        if self.behind and not image.outline.alpha:
            return image
        spot = self._spot(image.outline)
        if self._hides(image.outline):
            return image.each_frame(lambda frame: frame.flatten(background=list(self.colour[:3])))
        plain = plain_picture(spot.width, spot.height, self.colour)
        return backed(image, plain, spot) if self.behind else layered(image, plain, spot, 1.0, "over")

    def _spot(self, outline: Outline) -> Window:
        width = max(1, length_of(self.width, outline.width))
        height = max(1, length_of(self.height, outline.height))
        return Window(*self.place.spot(width, height, outline), width, height)
