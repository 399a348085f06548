"""Sharpen a picture."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import pyvips
from pydantic import Field

from pipeline.imaging.blurring import blurred
from pipeline.nodes.base import ImageNode

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pipeline.imaging.picture import Picture


class Sharpen(ImageNode):
    """Sharpens edges in lightness only (libvips' unsharp mask on L* of CIELAB), so that no colour fringes appear."""

    type: Literal["sharpen"]
    sigma: float = Field(default=1.0, ge=0.4, le=10, description="Standard deviation of the mask's blur, pixels.")
    amount: float = Field(
        default=1.5,
        ge=0,
        le=10,
        description="How much of an edge's difference to its surroundings is added to it; differences below 2 of 100 "
        "L* (grain, skin) are left alone, and none grows by more than 10 brighter or 20 darker.",
    )

    def apply(self, image: Picture, beside: Mapping[str, Picture]) -> Picture:
        if not self.amount:
            return image
        # Beside an alpha channel the pixels are read three times.
        whole = image.settled().held() if image.pixels.hasalpha() else image
        return whole.each_frame(self._sharpened)

    def _sharpened(self, frame: pyvips.Image) -> pyvips.Image:
        if not frame.hasalpha():
            return self._masked(frame)
        alpha = frame.extract_band(3, n=frame.bands - 3)
        return self._masked(_filled(frame, self.sigma)).bandjoin(alpha)

    def _masked(self, colour: pyvips.Image) -> pyvips.Image:
        return colour.sharpen(sigma=self.sigma, x1=2, y2=10, y3=20, m1=0, m2=self.amount)


def _filled(frame: pyvips.Image, sigma: float) -> pyvips.Image:
    # A cut-out's invisible pixels are mostly black: they would draw a bright line along its edge. They take on the
    # colour of their visible neighbours instead.
    around = blurred(frame, sigma).extract_band(0, n=3)
    return (frame.extract_band(3) == 0).ifthenelse(around, frame.extract_band(0, n=3))
