"""Round the corners of a picture."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field, model_validator

from pipeline.imaging.shapes import at_hand, coverage, elliptic, fitting, masked
from pipeline.nodes.base import Colour, ImageNode
from pipeline.nodes.crop import Length

Corners = Annotated[tuple[Length, ...], Field(min_length=4, max_length=4)]

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
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
    corners: Corners | None = Field(
        default=None,
        description="Instead of one radius, one for each corner from the top left clockwise: pixels, or percent of the "
        "width across and of the height down.",
    )
    vertical: Corners | None = Field(
        default=None, description="With `corners`, how far each goes down where that is not as far as across."
    )
    background: Colour | None = Field(
        default=None, description="What shows in the corners where the format has no alpha, `#rrggbb`."
    )

    @model_validator(mode="after")
    def _has_one_shape(self) -> Self:
        if (self.radius is not None) + self.circle + (self.corners is not None) != 1:
            raise ValueError("round needs either a radius, corners or `circle: true`")
        if self.vertical and not self.corners:
            raise ValueError("`vertical` is said of `corners`")
        return self

    def reach(self, outline: Outline) -> Outline:
        side = min(outline.width, outline.height)
        return replace(outline.sized(side, side) if self.circle else outline, alpha=True)

    def demand(self, outline: Outline, wanted: float) -> float:
        return wanted

    def apply(self, image: Picture, beside: Mapping[str, Picture]) -> Picture:
        done = self._cornered(image, self.corners) if self.corners else self._rounded(image)
        return done.wishing(replace(done.wish, background=self.background[:3])) if self.background else done

    def _cornered(self, image: Picture, corners: Sequence[int | str]) -> Picture:
        outline = image.outline
        across = [exact_length(radius, outline.width) for radius in corners]
        down = [exact_length(radius, outline.height) for radius in self.vertical or corners]
        return cut(image, list(zip(across, down, strict=True)))

    def _rounded(self, image: Picture) -> Picture:
        side = min(image.outline.width, image.outline.height)
        whole = image.windowed(side, side, "center", None) if self.circle else image
        radius = side / 2 if self.radius is None else radius_of(self.radius, side)
        return rounded(whole, radius)


def exact_length(length: int | str, side: int) -> float:
    """Pixels, or a percentage of a side, in pixels."""
    return length if isinstance(length, int) else float(length.rstrip("%")) / 100 * side


def radius_of(radius: int | str, side: int) -> float:
    """The radius in pixels; a percentage is of the shorter side."""
    return exact_length(radius, side)


def cut(picture: Picture, corners: Sequence[tuple[float, float]]) -> Picture:
    """The picture with each corner cut along an ellipse of these radii, which shrink together where they would meet."""
    outline, small = picture.outline, at_hand(picture)
    into = small.outline.width / outline.width, small.outline.height / outline.height
    scaled = [(across * into[0], down * into[1]) for across, down in fitting(corners, outline.width, outline.height)]
    mask = elliptic(small.outline.width, small.outline.height, scaled)
    drawn = small.each_frame(lambda frame: masked(frame, mask))
    return replace(drawn, outline=replace(outline, alpha=True))


def rounded(picture: Picture, radius: float) -> Picture:
    """The picture with its corners cut away along arcs of this radius (pixels of its outline), at the scale it has."""
    outline, small = picture.outline, at_hand(picture)
    # An arc is as right on fewer pixels: no need to ask for all of them.
    scale = min(small.outline.width / outline.width, small.outline.height / outline.height)
    mask = coverage(small.outline.width, small.outline.height, radius * scale)
    drawn = small.each_frame(lambda frame: masked(frame, mask))
    return replace(drawn, outline=replace(outline, alpha=True))
