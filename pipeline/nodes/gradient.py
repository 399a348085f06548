"""Lay a gradient over a picture."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

import pyvips
from pydantic import Field

from pipeline.imaging.gradients import heading_at, heading_to, linear
from pipeline.imaging.overlay import washed
from pipeline.nodes.base import Colour, ImageNode

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pipeline.imaging.picture import Picture

Side = Literal["top", "bottom", "left", "right", "top-left", "top-right", "bottom-left", "bottom-right"]
Angle = Annotated[float, Field(ge=-360, le=360)]


class Gradient(ImageNode):
    """Lays a linear gradient of two colours over the picture, as `linear-gradient()` of CSS does."""

    type: Literal["gradient"]
    start: Colour = Field(default=(255, 255, 255), description="The colour it begins with, `#rrggbb[aa]`.")
    end: Colour = Field(default=(0, 0, 0, 0), description="The colour it ends with, `#rrggbb[aa]`.")
    to: Side | Angle = Field(
        default="bottom", description="The side or corner it runs to, or degrees clockwise from the top."
    )
    stop: float = Field(
        default=1.0, ge=0.001, le=1, description="Where on its way it has the colour of the end: 1 at the end."
    )

    def apply(self, image: Picture, beside: Mapping[str, Picture]) -> Picture:
        return image.each_frame(lambda frame: washed(frame, self._plane(frame.width, frame.height)))

    def _plane(self, width: int, height: int) -> pyvips.Image:
        to = self.to
        heading = heading_to(to, width, height) if isinstance(to, str) else heading_at(to)
        return linear(width, height, heading, self.start, self.end, self.stop)
