"""Write on a picture."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from pipeline.imaging.overlay import laid, plated, written
from pipeline.nodes.base import Colour, Compass, Fraction, ImageNode

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pipeline.imaging.picture import Picture


class Text(ImageNode):
    """Writes a text on the picture, wrapped to its width."""

    type: Literal["text"]
    text: str = Field(min_length=1, max_length=2000, description="What to write; placeholders are filled in.")
    size: int = Field(default=48, ge=4, le=1000, description="Height of the letters, pixels.")
    weight: Literal["regular", "semibold"] = "semibold"
    colour: Colour = Field(default=(255, 255, 255), description="`#rrggbb` or `#rrggbbaa`.")
    background: Colour | None = Field(default=None, description="A plate behind the text, `#rrggbb[aa]`.")
    padding: int = Field(default=16, ge=0, le=1000, description="How far the plate reaches beyond the text, pixels.")
    position: Compass = Field(default="bottom-left", description="Where the text sits.")
    margin: int = Field(default=32, ge=0, le=10_000, description="Distance from the edges, pixels.")
    width: Fraction = Field(default=1.0, gt=0, description="Widest a line may be, as a fraction of the room there is.")
    align: Literal["left", "center", "right"] = "left"
    opacity: Fraction = Field(default=1.0, description="0 invisible, 1 as it is.")

    def apply(self, image: Picture, beside: Mapping[str, Picture]) -> Picture:
        inset = self.padding if self.background else 0
        room = max(16, round((image.outline.width - 2 * (self.margin + inset)) * self.width))
        letters = written(self.text, self.size, self.weight, self.colour, room, self.align)
        mark = plated(letters, inset, self.background) if self.background else letters
        return laid(image, mark, self.position, self.margin, self.opacity)
