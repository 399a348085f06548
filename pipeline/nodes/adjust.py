"""Adjust the light and the colours of a picture."""

from __future__ import annotations

from dataclasses import replace
from math import cos, radians, sin
from typing import TYPE_CHECKING, Literal

from pydantic import Field

from pipeline.imaging.colour import (
    IDENTITY,
    Matrix,
    bent,
    blended,
    chained,
    faded,
    recoloured,
    scaled,
    summed,
    vibrant,
)
from pipeline.nodes.base import Fraction, ImageNode

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pipeline.imaging.picture import Outline, Picture

# The matrices of saturate() and hue-rotate() are those of W3C Filter Effects Module Level 1, section 9.6.
GREY: Matrix = ((0.213, 0.715, 0.072),) * 3
COSINE: Matrix = ((0.787, -0.715, -0.072), (-0.213, 0.285, -0.072), (-0.213, -0.715, 0.928))
SINE: Matrix = ((-0.213, -0.715, 0.928), (0.143, 0.140, -0.283), (-0.787, 0.715, 0.072))

GAMMA = 2.2
WARM = 0.25


class Adjust(ImageNode):
    """Changes exposure, brightness, contrast, gamma, saturation and hue, in this order, as CSS filters do, and more.

    On sRGB values from 0 to 1, each band becomes v x 2^(exposure / 2.2) x brightness, then (v - 0.5) x contrast + 0.5,
    clipped, then v to the power 1 / gamma; then the CSS matrices `saturate()` and `hue-rotate()` mix the bands, warmth
    makes red stronger and blue weaker, and vibrance takes what has little colour further from its luminance.
    """

    type: Literal["adjust"]
    brightness: float = Field(default=1, ge=0, le=10, description="Factor on every value: 0 is black, 1 unchanged.")
    contrast: float = Field(default=1, ge=0, le=10, description="Distance from middle grey: 0 is grey, 1 unchanged.")
    saturation: float = Field(default=1, ge=0, le=10, description="Distance from grey: 0 has no colour, 1 unchanged.")
    gamma: float = Field(
        default=1, ge=0.1, le=10, description="Above 1 lightens the middle tones, below darkens; 1 unchanged."
    )
    hue: float = Field(default=0, ge=-360, le=360, description="Degrees every colour is turned round the colour wheel.")
    exposure: float = Field(
        default=0, ge=-5, le=5, description="Stops of light more or less; each doubles it at a screen's gamma of 2.2."
    )
    warmth: float = Field(
        default=0, ge=-1, le=1, description="Red times 1 + 0.25 x warmth, blue times 1 - 0.25 x warmth; below 0 colder."
    )
    vibrance: float = Field(
        default=0,
        ge=-1,
        le=5,
        description="Distance from grey times 1 + vibrance x (1 - saturation), saturation the span between the bands.",
    )
    opacity: Fraction = Field(default=1, description="How much of it is to be seen: 0 nothing, 1 unchanged.")

    def reach(self, outline: Outline) -> Outline:
        return outline if self.opacity == 1 else replace(outline, alpha=True)

    def demand(self, outline: Outline, wanted: float) -> float:
        return wanted

    def apply(self, image: Picture, beside: Mapping[str, Picture]) -> Picture:
        done = self._mixed(image)
        done = vibrant(done, self.vibrance) if self.vibrance else done
        return done if self.opacity == 1 else faded(done, self.opacity)

    def _mixed(self, image: Picture) -> Picture:
        bends = (self.brightness, self.contrast, self.gamma, self.exposure) != (1, 1, 1, 0)
        matrix = self._matrix()
        if matrix == IDENTITY:
            return bent(image, self._curve) if bends else image
        return recoloured(image, matrix, curve=self._curve if bends else None)

    def _curve(self, level: float) -> float:
        light = 2 ** (self.exposure / GAMMA) * self.brightness
        spread = (level * light - 0.5) * self.contrast + 0.5
        return float(min(1.0, max(0.0, spread)) ** (1 / self.gamma))

    def _matrix(self) -> Matrix:
        matrix = IDENTITY if self.saturation == 1 else blended(GREY, IDENTITY, self.saturation)
        matrix = matrix if self.hue % 360 == 0 else chained(matrix, _turned(self.hue))
        return chained(matrix, _warmer(self.warmth)) if self.warmth else matrix


def _warmer(warmth: float) -> Matrix:
    return (1 + WARM * warmth, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1 - WARM * warmth)


def _turned(degrees: float) -> Matrix:
    angle = radians(degrees)
    return summed(GREY, scaled(COSINE, cos(angle)), scaled(SINE, sin(angle)))
