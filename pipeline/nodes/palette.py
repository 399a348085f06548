"""Find the colours of a picture."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from pipeline.errors import ImageUnreadable
from pipeline.imaging.colours import palette
from pipeline.imaging.glimpse import demand_for, glimpse, within
from pipeline.nodes.base import FactNode, Facts

if TYPE_CHECKING:
    from pipeline.artifacts import Artifact
    from pipeline.imaging.picture import Outline, Picture

SAMPLE = 64
"""Pixels of the longer side that are looked at."""


class Palette(FactNode):
    """Finds the dominant colour and the main colours of the picture, each with its share of what can be seen."""

    type: Literal["palette"]
    count: int = Field(
        default=5, ge=1, le=16, description="Most colours; a picture with fewer distinct ones has fewer."
    )

    def demand_of(self, outline: Outline) -> float:
        return demand_for(outline, *within(outline, SAMPLE))

    def observe(self, file: Artifact, image: Picture | None) -> Facts:
        if image is None:
            raise ImageUnreadable(reason=f"`{file.name}` is {file.mime}, which has no colours")
        found = palette(glimpse(image, *within(image.outline, SAMPLE)), self.count)
        return {
            "dominant": found[0].hex if found else None,
            "colours": [{"hex": one.hex, "share": round(one.share, 4)} for one in found],
        }
