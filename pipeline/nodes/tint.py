"""Mix a colour into a picture."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field, field_validator

from pipeline.imaging.colour import IDENTITY, recoloured, scaled
from pipeline.nodes.base import Colour, Fraction, ImageNode

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pipeline.imaging.picture import Outline, Picture


class Tint(ImageNode):
    """Mixes one colour into all that can be seen; transparency stays as it is."""

    type: Literal["tint"]
    colour: Colour = Field(description="What is mixed in, `#rrggbb`.")
    strength: Fraction = Field(default=0.5, description="0 unchanged, 1 nothing but the colour.")

    @field_validator("colour")
    @classmethod
    def _is_opaque(cls, colour: tuple[int, ...]) -> tuple[int, ...]:
        if len(colour) != 3:
            raise ValueError("`strength` says how much of it is mixed in: write the colour as #rrggbb")
        return colour

    def demand(self, outline: Outline, wanted: float) -> float:
        return wanted

    def apply(self, image: Picture, beside: Mapping[str, Picture]) -> Picture:
        share = self.strength
        return recoloured(image, scaled(IDENTITY, 1 - share), [band * share for band in self.colour])
