"""Bend a picture."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field, model_validator

from pipeline.imaging.shapes import reshaped
from pipeline.imaging.warps import Arc, Perspective, warped
from pipeline.nodes.base import ImageNode, Place, length_of

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Self

    from pipeline.imaging.picture import Outline, Picture

LEAST_ARC = 0.5
"""Degrees below which an arc is a straight line."""


class Distort(ImageNode):
    """Moves the corners of the picture as a perspective does, or bends it to an arc; what is beside it is transparent.

    The canvas is as large as what comes of it.
    """

    type: Literal["distort"]
    corners: Annotated[tuple[Place, ...], Field(min_length=4, max_length=4)] | None = Field(
        default=None,
        description="Where its corners come to lie, from the top left clockwise, each `{x: 20, y: 5%}`: pixels from "
        "the left and top or percentages of the sides.",
    )
    arc: float | None = Field(
        default=None, ge=-360, le=360, description="Degrees of the arc, which rises in the middle; below 0 it sinks."
    )

    @model_validator(mode="after")
    def _has_one_way(self) -> Self:
        if (self.corners is None) == (self.arc is None):
            raise ValueError("distort needs either corners or an arc")
        if self.arc is not None and abs(self.arc) < LEAST_ARC:
            raise ValueError(f"an arc has at least {LEAST_ARC} degrees")
        return self

    def reach(self, outline: Outline) -> Outline:
        return replace(outline.sized(*self._warp(outline).size), alpha=True)

    def apply(self, image: Picture, beside: Mapping[str, Picture]) -> Picture:
        warp = self._warp(image.outline)
        index = warp.index()
        return reshaped(image.settled().held(), *warp.size, lambda frame: warped(frame, index))

    def _warp(self, outline: Outline) -> Perspective | Arc:
        width, height = outline.width, outline.height
        if self.arc is not None:
            return Arc(width, height, self.arc)
        corners = [(float(length_of(one.x, width)), float(length_of(one.y, height))) for one in self.corners or ()]
        return Perspective(width, height, corners)
