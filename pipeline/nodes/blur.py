"""Blur a picture."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import pyvips
from pydantic import Field

from pipeline.imaging.blurring import blurred
from pipeline.nodes.base import Fraction, ImageNode

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pipeline.imaging.picture import Picture


class Blur(ImageNode):
    """Blurs the picture with a Gaussian bell curve; transparent edges soften with it."""

    type: Literal["blur"]
    sigma: float = Field(
        ge=0.4, le=250, description="Standard deviation of the bell curve, pixels; about a third of its reach."
    )

    amount: float = Field(
        default=1,
        ge=-10,
        le=1,
        description="How much of the blurred picture is mixed in: 1 all of it; below 0 the opposite, which sharpens.",
    )
    threshold: Fraction = Field(
        default=0,
        description="Values that differ less from the blurred ones stay as they are; 1 is from black to white.",
    )

    def apply(self, image: Picture, beside: Mapping[str, Picture]) -> Picture:
        # What is mixed is read twice.
        whole = image if self._plainly else image.settled(grey=True).held()
        return whole.each_frame(self._mixed, grey=True)

    @property
    def _plainly(self) -> bool:
        return self.amount == 1 and not self.threshold

    def _mixed(self, frame: pyvips.Image) -> pyvips.Image:
        soft = blurred(frame, self.sigma)
        if self._plainly:
            return soft
        apart = soft.cast("float") - frame
        if self.threshold:
            apart = (apart.abs() < self.threshold * 255).ifthenelse(0, apart)
        mixed = apart * self.amount + frame
        return mixed.linear(1, 0.5, uchar=True).copy(interpretation=frame.interpretation)
