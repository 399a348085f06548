"""Replace a colour of a picture."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field, field_validator

from pipeline.imaging.backdrops import main_colours
from pipeline.imaging.colour import replaced
from pipeline.nodes.base import Colour, ImageNode

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pipeline.imaging.picture import Picture


class Recolour(ImageNode):
    """Replaces one colour and its shades by another; shades stay as much lighter, darker or duller as they were."""

    type: Literal["recolour"]
    colour: Colour | None = Field(
        default=None, description="What is replaced, `#rrggbb`; left out, the main colour of the picture."
    )
    to: Colour = Field(description="What takes its place, `#rrggbb`.")
    tolerance: float = Field(
        default=35, ge=0, le=200, description="How far a shade may be from it, as a distance in CIELAB (L* 0 to 100)."
    )

    @field_validator("colour", "to")
    @classmethod
    def _is_opaque(cls, colour: tuple[int, ...] | None) -> tuple[int, ...] | None:
        if colour and len(colour) != 3:
            raise ValueError("transparency stays as it is: write the colour as #rrggbb")
        return colour

    def apply(self, image: Picture, beside: Mapping[str, Picture]) -> Picture:
        # Looking for the main colour reads the pixels once, changing them reads them again.
        ready = image.settled().held()
        old = self.colour or main_colours(ready, 5)[0]
        return ready.each_frame(lambda frame: replaced(frame, old, self.to, self.tolerance))
