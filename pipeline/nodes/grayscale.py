"""Take the colour out of a picture."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pipeline.imaging.colour import greyed
from pipeline.nodes.base import ImageNode

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pipeline.imaging.picture import Outline, Picture


class Grayscale(ImageNode):
    """Makes the picture grey, as bright as its colours were: 0.2126 R + 0.7152 G + 0.0722 B of the sRGB values."""

    type: Literal["grayscale"]

    def demand(self, outline: Outline, wanted: float) -> float:
        return wanted

    def apply(self, image: Picture, beside: Mapping[str, Picture]) -> Picture:
        return greyed(image)
