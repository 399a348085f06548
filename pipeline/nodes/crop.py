"""Cut a part out of a picture."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from pipeline.errors import NodeInvalid
from pipeline.imaging.faces import cut_to, finder, look_scale
from pipeline.imaging.picture import Window
from pipeline.nodes.base import FaceGravity, FaceNode, Focus, ImageNode, Pixel, Place, Share, length_of

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Self

    from pipeline.imaging.picture import Outline, Picture

ROUNDING = 1e-6
"""Percent by which fractions of a percent may come to more than a hundred."""
Length = Annotated[int, Field(ge=0, le=65_535)] | Annotated[str, Field(pattern=r"^\d{1,3}(\.\d+)?%$")]


class Region(BaseModel):
    """A rectangle of the picture, in pixels or percentages of its sides such as `25%`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    left: Length = 0
    top: Length = 0
    width: Length
    height: Length

    @model_validator(mode="after")
    def _can_lie_in_a_picture(self) -> Self:
        for start, side in (("left", "width"), ("top", "height")):
            begins, extent = getattr(self, start), getattr(self, side)
            if float(str(extent).rstrip("%")) == 0:
                raise ValueError(f"a region with {side} {extent} holds nothing")
            if _percent(begins) >= 100:
                raise ValueError(f"{start} {begins} is outside of every picture")
            if _percent(begins) + _percent(extent) > 100 + ROUNDING:
                raise ValueError(f"{start} {begins} and {side} {extent} come to more than 100%")
        return self


class Crop(FaceNode, ImageNode):
    """Cuts out a region, a size or an aspect ratio."""

    type: Literal["crop"]
    region: Region | None = Field(default=None, description="The exact rectangle to keep.")
    aspect: str | None = Field(
        default=None, pattern=r"^\d+(\.\d+)?:\d+(\.\d+)?$", description="The largest part of this ratio, `16:9`."
    )
    width: Pixel | Share | None = Field(
        default=None, description="Pixels or a percentage to keep; left out, the whole width."
    )
    height: Pixel | Share | None = Field(
        default=None, description="Pixels or a percentage to keep; left out, the whole height."
    )
    gravity: FaceGravity = Field(
        default="center",
        description="Which part stays: a side or corner, where `attention` or `entropy` is highest, or every `face` "
        "that fits, the largest first (needs the setting `face_model`; without a face, `attention`).",
    )
    focus: Focus | None = Field(default=None, description="The point to keep in view, instead of `gravity`.")
    place: Place | None = Field(
        default=None,
        description="Where the part lies, instead of `gravity`: `{x: 20, y: 50%}`, pixels from the left and top or "
        "percentages of the room that is left; moved inwards where it would hang over.",
    )

    @model_validator(mode="after")
    def _has_one_way(self) -> Self:
        ways = [self.region is not None, self.aspect is not None, self.width is not None or self.height is not None]
        if sum(ways) != 1:
            raise ValueError("crop needs exactly one of region, aspect, or width and height")
        if self.aspect and float(min(self.aspect.split(":"), key=float)) == 0:
            raise ValueError("an aspect ratio has no zero side")
        if self.place and (self.region or self.focus):
            raise ValueError("a part has one place: leave out either `place`, or region and focus")
        return self

    def reach(self, outline: Outline) -> Outline:
        return outline.sized(*self._size(outline))

    def demand(self, outline: Outline, wanted: float) -> float:
        cuts = self._seeks_faces and self._size(outline) != (outline.width, outline.height)
        return max(wanted, look_scale(outline)) if cuts else wanted

    def apply(self, image: Picture, beside: Mapping[str, Picture]) -> Picture:
        if self.region:
            return image.cropped(rectangle_of(self.region, image.outline))
        size = self._size(image.outline)
        if self.place:
            return image.cropped(self._placed(image.outline, self.place, *size))
        if self._seeks_faces:
            return self._cut_to_faces(image, *size)
        return image.windowed(*size, self.gravity, self.focus.point if self.focus else None)

    @property
    def _seeks_faces(self) -> bool:
        return self.gravity == "face" and not self.focus and not self.region and not self.place

    def _placed(self, outline: Outline, place: Place, width: int, height: int) -> Window:
        left, top = place.spot(width, height, outline)
        most = outline.width - width, outline.height - height
        return Window(min(max(0, left), most[0]), min(max(0, top), most[1]), width, height)

    def _cut_to_faces(self, image: Picture, width: int, height: int) -> Picture:
        find = finder(self._face_model)
        if (width, height) == (image.outline.width, image.outline.height):
            return image
        held = image.held()
        return cut_to(held, width, height, find.faces(held))

    def _size(self, outline: Outline) -> tuple[int, int]:
        if self.region:
            found = rectangle_of(self.region, outline)
            return found.width, found.height
        if self.aspect:
            across, down = (float(side) for side in self.aspect.split(":"))
            ratio = across / down
            width = min(outline.width, max(1, round(outline.height * ratio)))
            return width, min(outline.height, max(1, round(width / ratio)))
        width, height = (
            side if length is None else max(1, min(side, length_of(length, side)))
            for length, side in ((self.width, outline.width), (self.height, outline.height))
        )
        return width, height


def rectangle_of(region: Region, outline: Outline, name: str = "region") -> Window:
    """The rectangle in pixels, cut at the edges; raises `NodeInvalid` when it lies outside of the picture."""
    left, top = length_of(region.left, outline.width), length_of(region.top, outline.height)
    if left >= outline.width or top >= outline.height:
        size = f"{outline.width} x {outline.height}"
        raise NodeInvalid(reason=f"{name}: it begins at {left}, {top}, outside the {size} picture")
    width = min(length_of(region.width, outline.width), outline.width - left)
    height = min(length_of(region.height, outline.height), outline.height - top)
    return Window(left, top, max(1, width), max(1, height))


def _percent(length: int | str) -> float:
    """The percentage that is written, 0 where pixels are."""
    return 0.0 if isinstance(length, int) else float(length.rstrip("%"))
