"""Make a flat picture livelier."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from pipeline.imaging.colour import IDENTITY, blended, recoloured
from pipeline.imaging.levels import reach_of
from pipeline.nodes.adjust import GREY
from pipeline.nodes.base import Fraction, ImageNode

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pipeline.imaging.picture import Outline, Picture


class Enhance(ImageNode):
    """Stretches the tones to the whole range, all bands alike, and makes colours stronger.

    The darkest and the lightest 0.5 percent of the luminance become black and white, as far as `strength` says.
    """

    type: Literal["enhance"]
    strength: Fraction = Field(default=0.5, description="0 leaves the picture as it is, 1 does all of it.")
    colour: Fraction = Field(default=0.2, description="By how much colours get further from grey; 0 by nothing.")

    def demand(self, outline: Outline, wanted: float) -> float:
        return wanted

    def apply(self, image: Picture, beside: Mapping[str, Picture]) -> Picture:
        if not self.strength:
            return image
        # Looking for the darkest reads the pixels once, changing them reads them again.
        ready = image.in_srgb().held()
        low, high = (share / 255 for share in reach_of(ready))
        low, high = low * self.strength, 1 - (1 - high) * self.strength

        def stretched(level: float) -> float:
            return min(1.0, max(0.0, (level - low) / max(high - low, 1 / 255)))

        return recoloured(ready, blended(GREY, IDENTITY, 1 + self.colour * self.strength), curve=stretched)
