"""Blur a picture."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from pipeline.imaging.blurring import blurred
from pipeline.nodes.base import ImageNode

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pipeline.imaging.picture import Picture


class Blur(ImageNode):
    """Blurs the picture with a Gaussian bell curve; transparent edges soften with it."""

    type: Literal["blur"]
    sigma: float = Field(
        ge=0.4, le=250, description="Standard deviation of the bell curve, pixels; about a third of its reach."
    )

    def apply(self, image: Picture, beside: Mapping[str, Picture]) -> Picture:
        return image.each_frame(lambda frame: blurred(frame, self.sigma), grey=True)
