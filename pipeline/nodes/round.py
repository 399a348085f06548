"""Round the corners of a picture."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Literal

from pydantic import Field, model_validator

from pipeline.imaging.shapes import at_hand, coverage, masked
from pipeline.nodes.base import Colour, ImageNode
from pipeline.nodes.crop import Length

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Self

    from pipeline.imaging.picture import Outline, Picture


class Round(ImageNode):
    """Rounds the corners of the picture, or cuts the largest circle out of its middle."""

    type: Literal["round"]
    radius: Length | None = Field(
        default=None, description="Of the corners: pixels, or of the shorter side, `10%`; `50%` makes its ends round."
    )
    circle: bool = Field(
        default=False, description="Instead of a radius: the largest centred circle, the picture cut to its square."
    )
    background: Colour | None = Field(
        default=None, description="What shows in the corners where the format has no alpha, `#rrggbb`."
    )

    @model_validator(mode="after")
    def _has_one_shape(self) -> Self:
        if (self.radius is not None) == self.circle:
            raise ValueError("round needs either a radius or `circle: true`")
        return self

    def reach(self, outline: Outline) -> Outline:
        side = min(outline.width, outline.height)
        return replace(outline.sized(side, side) if self.circle else outline, alpha=True)

    def demand(self, outline: Outline, wanted: float) -> float:
        return wanted

    def apply(self, image: Picture, beside: Mapping[str, Picture]) -> Picture:
        side = min(image.outline.width, image.outline.height)
        whole = image.windowed(side, side, "center", None) if self.circle else image
        radius = side / 2 if self.radius is None else radius_of(self.radius, side)
        done = rounded(whole, radius)
        return done.wishing(replace(done.wish, background=self.background[:3])) if self.background else done


def radius_of(radius: int | str, side: int) -> float:
    """The radius in pixels; a percentage is of the shorter side."""
    return radius if isinstance(radius, int) else float(radius.rstrip("%")) / 100 * side


def rounded(picture: Picture, radius: float) -> Picture:
    """The picture with its corners cut away along arcs of this radius (pixels of its outline), at the scale it has."""
    outline, small = picture.outline, at_hand(picture)
    # An arc is as right on fewer pixels: no need to ask for all of them.
    scale = min(small.outline.width / outline.width, small.outline.height / outline.height)
    mask = coverage(small.outline.width, small.outline.height, radius * scale)
    drawn = small.each_frame(lambda frame: masked(frame, mask))
    return replace(drawn, outline=replace(outline, alpha=True))
