"""Cut a part out of a picture."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from pipeline.errors import NodeInvalid
from pipeline.imaging.picture import Gravity, Window
from pipeline.nodes.base import Focus, ImageNode, Pixel

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Self

    from pipeline.imaging.picture import Outline, Picture

Length = Annotated[int, Field(ge=0, le=65_535)] | Annotated[str, Field(pattern=r"^\d{1,3}(\.\d+)?%$")]


class Region(BaseModel):
    """A rectangle of the picture, in pixels or percentages of its sides such as `25%`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    left: Length = 0
    top: Length = 0
    width: Length
    height: Length


class Crop(ImageNode):
    """Cuts out a region, a size or an aspect ratio."""

    type: Literal["crop"]
    region: Region | None = Field(default=None, description="The exact rectangle to keep.")
    aspect: str | None = Field(
        default=None, pattern=r"^\d+(\.\d+)?:\d+(\.\d+)?$", description="The largest part of this ratio, `16:9`."
    )
    width: Pixel | None = Field(default=None, description="Pixels to keep; left out, the whole width.")
    height: Pixel | None = Field(default=None, description="Pixels to keep; left out, the whole height.")
    gravity: Gravity = Field(
        default="center",
        description="Which part stays: a side or corner, or where `attention` or `entropy` is highest.",
    )
    focus: Focus | None = Field(default=None, description="The point to keep in view, instead of `gravity`.")

    @model_validator(mode="after")
    def _has_one_way(self) -> Self:
        ways = [self.region is not None, self.aspect is not None, self.width is not None or self.height is not None]
        if sum(ways) != 1:
            raise ValueError("crop needs exactly one of region, aspect, or width and height")
        if self.aspect and float(min(self.aspect.split(":"), key=float)) == 0:
            raise ValueError("an aspect ratio has no zero side")
        return self

    def reach(self, outline: Outline) -> Outline:
        return outline.sized(*self._size(outline))

    def demand(self, outline: Outline, wanted: float) -> float:
        return wanted

    def apply(self, image: Picture, beside: Mapping[str, Picture]) -> Picture:
        if self.region:
            return image.cropped(self._rectangle(image.outline, self.region))
        size = self._size(image.outline)
        return image.windowed(*size, self.gravity, self.focus.point if self.focus else None)

    def _size(self, outline: Outline) -> tuple[int, int]:
        if self.region:
            found = self._rectangle(outline, self.region)
            return found.width, found.height
        if self.aspect:
            across, down = (float(side) for side in self.aspect.split(":"))
            ratio = across / down
            width = min(outline.width, max(1, round(outline.height * ratio)))
            return width, min(outline.height, max(1, round(width / ratio)))
        return min(self.width or outline.width, outline.width), min(self.height or outline.height, outline.height)

    def _rectangle(self, outline: Outline, region: Region) -> Window:
        left, top = _pixels(region.left, outline.width), _pixels(region.top, outline.height)
        if left >= outline.width or top >= outline.height:
            raise NodeInvalid(
                reason=f"region: it begins at {left}, {top}, outside the {outline.width} x {outline.height} picture"
            )
        width = min(_pixels(region.width, outline.width), outline.width - left)
        height = min(_pixels(region.height, outline.height), outline.height - top)
        return Window(left, top, max(1, width), max(1, height))


def _pixels(length: int | str, side: int) -> int:
    return length if isinstance(length, int) else round(float(length.rstrip("%")) / 100 * side)
