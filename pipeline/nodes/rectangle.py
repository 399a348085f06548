"""Paint a rectangle on a picture."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from pipeline.imaging.overlay import layered
from pipeline.imaging.picture import Window
from pipeline.imaging.shapes import plain_picture
from pipeline.nodes.base import Colour, ImageNode, Pixel, Place, Share, length_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pipeline.imaging.picture import Picture


class Rectangle(ImageNode):
    """Paints a rectangle of one colour, which may be transparent, over the picture."""

    type: Literal["rectangle"]
    colour: Colour = Field(description="What it is painted with, `#rrggbb[aa]`.")
    width: Pixel | Share = Field(default="100%", description="Pixels or a percentage of the picture's width.")
    height: Pixel | Share = Field(default="100%", description="Pixels or a percentage of the picture's height.")
    place: Place = Field(
        default=Place(x=0, y=0),
        description="Where it lies, `{x: 20, y: 50%}`: pixels from the left and top or percentages of the room that is "
        "left; what hangs over is not seen.",
    )

    def apply(self, image: Picture, beside: Mapping[str, Picture]) -> Picture:
        outline = image.outline
        width = max(1, length_of(self.width, outline.width))
        height = max(1, length_of(self.height, outline.height))
        spot = Window(*self.place.spot(width, height, outline), width, height)
        return layered(image, plain_picture(width, height, self.colour), spot, 1.0, "over")
