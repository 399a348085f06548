"""Mirror a picture."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from pipeline.imaging.shapes import turned
from pipeline.nodes.base import ImageNode

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pipeline.imaging.picture import Outline, Picture

# The EXIF orientation that shows a picture so.
ORIENTATIONS = {"horizontal": 2, "both": 3, "vertical": 4}


class Flip(ImageNode):
    """Mirrors the picture left to right, top to bottom or both, without loss."""

    type: Literal["flip"]
    direction: Literal["horizontal", "vertical", "both"] = Field(
        default="horizontal",
        description="`horizontal` swaps left and right, `vertical` top and bottom, `both` is half a turn.",
    )

    def apply(self, image: Picture, beside: Mapping[str, Picture]) -> Picture:
        return turned(image, ORIENTATIONS[self.direction])

    def demand(self, outline: Outline, wanted: float) -> float:
        return wanted
