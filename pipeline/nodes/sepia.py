"""Tone a picture brown."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from pipeline.imaging.colour import IDENTITY, Matrix, blended, recoloured
from pipeline.nodes.base import Fraction, ImageNode

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pipeline.imaging.picture import Outline, Picture

# sepia(1) of W3C Filter Effects Module Level 1, section 9.6.
BROWN: Matrix = ((0.393, 0.769, 0.189), (0.349, 0.686, 0.168), (0.272, 0.534, 0.131))


class Sepia(ImageNode):
    """Tones the picture like an old brown photograph, with the matrix of the CSS filter `sepia()`."""

    type: Literal["sepia"]
    strength: Fraction = Field(default=1.0, description="0 unchanged, 1 wholly brown.")

    def demand(self, outline: Outline, wanted: float) -> float:
        return wanted

    def apply(self, image: Picture, beside: Mapping[str, Picture]) -> Picture:
        return recoloured(image, blended(IDENTITY, BROWN, self.strength)) if self.strength else image
