"""Adjust the light and the colours of a picture."""

from __future__ import annotations

from math import cos, radians, sin
from typing import TYPE_CHECKING, Literal

from pydantic import Field

from pipeline.imaging.colour import IDENTITY, Matrix, bent, blended, chained, recoloured, scaled, summed
from pipeline.nodes.base import ImageNode

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pipeline.imaging.picture import Outline, Picture

# The matrices of saturate() and hue-rotate() are those of W3C Filter Effects Module Level 1, section 9.6.
GREY: Matrix = ((0.213, 0.715, 0.072),) * 3
COSINE: Matrix = ((0.787, -0.715, -0.072), (-0.213, 0.285, -0.072), (-0.213, -0.715, 0.928))
SINE: Matrix = ((-0.213, -0.715, 0.928), (0.143, 0.140, -0.283), (-0.787, 0.715, 0.072))


class Adjust(ImageNode):
    """Changes brightness, contrast, gamma, saturation and hue, in this order, as CSS filters do.

    On sRGB values from 0 to 1, each band becomes v x brightness, then (v - 0.5) x contrast + 0.5, clipped, then
    v to the power 1 / gamma; then the CSS matrices `saturate()` and `hue-rotate()` mix the bands.
    """

    type: Literal["adjust"]
    brightness: float = Field(default=1, ge=0, le=10, description="Factor on every value: 0 is black, 1 unchanged.")
    contrast: float = Field(default=1, ge=0, le=10, description="Distance from middle grey: 0 is grey, 1 unchanged.")
    saturation: float = Field(default=1, ge=0, le=10, description="Distance from grey: 0 has no colour, 1 unchanged.")
    gamma: float = Field(
        default=1, ge=0.1, le=10, description="Above 1 lightens the middle tones, below darkens; 1 unchanged."
    )
    hue: float = Field(default=0, ge=-360, le=360, description="Degrees every colour is turned round the colour wheel.")

    def demand(self, outline: Outline, wanted: float) -> float:
        return wanted

    def apply(self, image: Picture, beside: Mapping[str, Picture]) -> Picture:
        bends = (self.brightness, self.contrast, self.gamma) != (1, 1, 1)
        matrix = self._matrix()
        if matrix == IDENTITY:
            return bent(image, self._curve) if bends else image
        return recoloured(image, matrix, curve=self._curve if bends else None)

    def _curve(self, level: float) -> float:
        spread = (level * self.brightness - 0.5) * self.contrast + 0.5
        return float(min(1.0, max(0.0, spread)) ** (1 / self.gamma))

    def _matrix(self) -> Matrix:
        matrix = IDENTITY if self.saturation == 1 else blended(GREY, IDENTITY, self.saturation)
        return matrix if self.hue % 360 == 0 else chained(matrix, _turned(self.hue))


def _turned(degrees: float) -> Matrix:
    angle = radians(degrees)
    return summed(GREY, scaled(COSINE, cos(angle)), scaled(SINE, sin(angle)))
