"""Turn a picture into its negative."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pipeline.imaging.colour import bent
from pipeline.nodes.base import ImageNode

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pipeline.imaging.picture import Outline, Picture


class Invert(ImageNode):
    """Makes the negative: every colour value v becomes 255 - v."""

    type: Literal["invert"]

    def demand(self, outline: Outline, wanted: float) -> float:
        return wanted

    def apply(self, image: Picture, beside: Mapping[str, Picture]) -> Picture:
        return bent(image, lambda level: 1 - level)
