"""Make parts of a picture unrecognisable."""

from __future__ import annotations

from math import ceil, floor
from typing import TYPE_CHECKING, Literal

import pyvips
from pydantic import Field, field_validator, model_validator

from pipeline.errors import NodeInvalid
from pipeline.imaging.blurring import blurred
from pipeline.imaging.credits import only_credits
from pipeline.imaging.faces import finder
from pipeline.imaging.picture import Outline, Picture, Window
from pipeline.nodes.base import Colour, FaceNode, ImageNode
from pipeline.nodes.crop import Region

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Self

    from pipeline.imaging.faces import Finder

LOOK = 1280
"""Pixels of the longer side that faces are looked for in: who is to be hidden may be small."""
MARGIN = 0.25
"""What is hidden around a face on every side, in its widths and heights: hair and ears tell much."""


class Redact(FaceNode, ImageNode):
    """Hides regions or faces and drops metadata that may hold a small copy; only `fill` leaves no trace."""

    type: Literal["redact"]
    regions: tuple[Region, ...] = Field(
        default=(),
        max_length=64,
        description="Rectangles to hide, in pixels or percentages of the picture as shown, such as "
        '`{left: 10%, top: 40, width: 200, height: "25%"}`; fractions of a pixel are hidden whole.',
    )
    faces: bool = Field(
        default=False,
        description="Hide the faces too that are found with the setting `face_model`, in every frame; one that is not "
        "found stays visible.",
    )
    mode: Literal["pixelate", "blur", "fill"] = Field(
        default="fill",
        description="`fill` with a colour, or `pixelate` or `blur`, of which short known texts such as a number "
        "plate can be guessed back.",
    )
    cell: int = Field(default=24, ge=2, le=1000, description="Side of the squares of `pixelate`, pixels.")
    sigma: float = Field(default=24, ge=1, le=250, description="Standard deviation of `blur`, pixels.")
    colour: Colour = Field(default=(0, 0, 0), description="What `fill` paints, `#rrggbb`.")

    @field_validator("colour")
    @classmethod
    def _is_opaque(cls, colour: tuple[int, ...]) -> tuple[int, ...]:
        if len(colour) != 3:
            raise ValueError("nothing may shine through what is redacted: write the colour as #rrggbb")
        return colour

    @model_validator(mode="after")
    def _hides_something(self) -> Self:
        if not self.regions and not self.faces:
            raise ValueError("redact needs regions, or faces: true")
        return self

    def reach(self, outline: Outline) -> Outline:
        self._windows(outline)
        return outline

    def apply(self, image: Picture, beside: Mapping[str, Picture]) -> Picture:
        windows, find = self._windows(image.outline), finder(self._face_model) if self.faces else None
        whole = image.settled()
        # What is hidden with the help of its own pixels is read twice.
        whole = whole if self.mode == "fill" and not find else whole.held()
        bare = whole.with_pixels(only_credits(whole.pixels))
        return bare.each_frame(lambda frame: self._hidden(frame, [*windows, *(_on_faces(frame, find) if find else ())]))

    def _windows(self, outline: Outline) -> list[Window]:
        return [_window(region, number, outline) for number, region in enumerate(self.regions, 1)]

    def _hidden(self, frame: pyvips.Image, windows: list[Window]) -> pyvips.Image:
        for window in windows:
            frame = frame.insert(self._cover(frame, window), window.left, window.top)
        return frame

    def _cover(self, frame: pyvips.Image, window: Window) -> pyvips.Image:
        if self.mode == "fill":
            bands = [*self.colour, *[255] * (frame.bands - 3)]
            plain = pyvips.Image.black(window.width, window.height).new_from_image(bands)
            return plain.cast("uchar").copy(interpretation="srgb")
        part = frame.crop(window.left, window.top, window.width, window.height)
        return blurred(part, self.sigma) if self.mode == "blur" else _pixelated(part, self.cell)


def _window(region: Region, number: int, outline: Outline) -> Window:
    left, top = _exact(region.left, outline.width), _exact(region.top, outline.height)
    if left >= outline.width or top >= outline.height:
        size = f"{outline.width} x {outline.height}"
        raise NodeInvalid(reason=f"regions: number {number} lies outside the {size} picture")
    right = min(outline.width, ceil(left + _exact(region.width, outline.width)))
    bottom = min(outline.height, ceil(top + _exact(region.height, outline.height)))
    return Window(floor(left), floor(top), right - floor(left), bottom - floor(top))


def _on_faces(frame: pyvips.Image, find: Finder) -> list[Window]:
    outline = Outline(frame.width, frame.height)
    return [face.window(outline, MARGIN) for face in find.faces(Picture(frame, outline), LOOK)]


def _exact(length: int | str, side: int) -> float:
    return length if isinstance(length, int) else float(length.rstrip("%")) / 100 * side


def _pixelated(part: pyvips.Image, cell: int) -> pyvips.Image:
    weighted = part.premultiply() if part.hasalpha() else part
    width, height = -(-part.width // cell) * cell, -(-part.height // cell) * cell
    means = weighted.embed(0, 0, width, height, extend="copy").shrink(cell, cell)
    squares = means.zoom(cell, cell).crop(0, 0, part.width, part.height)
    return squares.unpremultiply().linear(1, 0.5, uchar=True) if part.hasalpha() else squares
