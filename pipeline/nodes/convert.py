"""Say how a picture is to be encoded."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Literal

from pipeline.nodes.base import Encoding, ImageNode

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pipeline.imaging.picture import Outline, Picture


class Convert(Encoding, ImageNode):
    """Sets format and encoder settings; the picture is encoded once, where it is saved."""

    type: Literal["convert"]

    def apply(self, image: Picture, beside: Mapping[str, Picture]) -> Picture:
        return image.wishing(self.over(image.wish))

    def reach(self, outline: Outline) -> Outline:
        return replace(outline, format=self.format or outline.format)

    def demand(self, outline: Outline, wanted: float) -> float:
        return wanted
