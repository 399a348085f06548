"""Turn a photograph upright."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pipeline.nodes.base import ImageNode

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pipeline.imaging.picture import Outline, Picture


class Orient(ImageNode):
    """Turns the picture the way its EXIF orientation says; only needed after an input with `orient: false`."""

    type: Literal["orient"]

    def apply(self, image: Picture, beside: Mapping[str, Picture]) -> Picture:
        return image.oriented()

    def reach(self, outline: Outline) -> Outline:
        return outline.upright()

    def demand(self, outline: Outline, wanted: float) -> float:
        return wanted
