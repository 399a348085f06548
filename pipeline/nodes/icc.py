"""Choose the colour profile of what is written."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Literal

from pydantic import Field

from pipeline.imaging.profile import DISPLAY_P3, carried
from pipeline.nodes.base import ImageNode
from pipeline.units import Bytes

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pipeline.imaging.picture import Outline, Picture


class Icc(ImageNode):
    """Chooses the colours the picture is written in; the conversion is made once, where it is encoded."""

    type: Literal["icc"]
    to: Literal["srgb", "p3", "source"] = Field(
        description="`srgb`, which needs no profile in the file (the default without this node); `p3`, the wide gamut "
        "of newer screens, its profile embedded; or `source`, the profile the picture came with. Where the format "
        "holds no such profile (gif; cmyk outside jpeg and tiff) it is sRGB. Other effects work in sRGB and end a "
        "wider gamut.",
    )

    max_size: Bytes | None = Field(
        default=None, ge=0, description="A larger profile of the source is not kept; its colours become sRGB."
    )

    def demand(self, outline: Outline, wanted: float) -> float:
        return wanted

    def apply(self, image: Picture, beside: Mapping[str, Picture]) -> Picture:
        return image.wishing(replace(image.wish, profile=self._profile(image)))

    def _profile(self, image: Picture) -> bytes | None:
        if self.to == "srgb":
            return None
        if self.to == "p3":
            return DISPLAY_P3
        found = carried(image.pixels)
        return None if found and self.max_size is not None and len(found) > self.max_size else found
