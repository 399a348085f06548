"""Make a picture larger around what it shows."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field, model_validator

from pipeline.imaging.backdrops import Backdrop, blurred_copy, main_colours, meshed, upon
from pipeline.imaging.picture import Window, window_at
from pipeline.imaging.shapes import reshaped
from pipeline.nodes.base import Colour, Compass, ImageNode, Pixel

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Self

    from pipeline.imaging.picture import Outline, Picture

BACKDROPS = frozenset({"blur", "dominant", "gradient"})
Edge = Annotated[int, Field(ge=0, le=65_535)]


class Pad(ImageNode):
    """Extends the picture by pixels at its edges, to an aspect ratio or to a box."""

    type: Literal["pad"]
    top: Edge = Field(default=0, description="Pixels to add above.")
    right: Edge = Field(default=0, description="Pixels to add at the right.")
    bottom: Edge = Field(default=0, description="Pixels to add below.")
    left: Edge = Field(default=0, description="Pixels to add at the left.")
    aspect: str | None = Field(
        default=None,
        pattern=r"^\d{1,5}(\.\d+)?:\d{1,5}(\.\d+)?$",
        description="The smallest canvas of this ratio, `16:9`.",
    )
    width: Pixel | None = Field(default=None, description="Pixels across in all; a wider picture stays as wide.")
    height: Pixel | None = Field(default=None, description="Pixels down in all; a taller picture stays as tall.")
    gravity: Compass = Field(default="center", description="Where in an aspect ratio or box the picture sits.")
    extend: Literal["background", "mirror", "copy", "blur", "dominant", "gradient"] = Field(
        default="background",
        description="Fill with the `background`, with the picture `mirror`ed at its edges, or with a `copy` of its "
        "outermost pixels. Or lay it upon itself, filling the canvas and `blur`red, upon its `dominant` colour or "
        "upon a `gradient` of its main colours.",
    )
    background: Colour = Field(default=(255, 255, 255), description="What is added, `#rrggbb[aa]`.")
    sigma: float = Field(
        default=24, ge=0.4, le=250, description="With `extend: blur`, the standard deviation of the blur, pixels."
    )
    light: float = Field(
        default=0, ge=-1, le=1, description="With `extend: blur`, how much lighter that is; below 0 darker, 1 is white."
    )
    colours: Literal[2, 4] = Field(
        default=2, description="With `extend: gradient`, from the left to the right, or one in each corner."
    )

    @model_validator(mode="after")
    def _has_one_way(self) -> Self:
        edges = bool(self.top or self.right or self.bottom or self.left)
        box = self.width is not None or self.height is not None
        if sum((edges, self.aspect is not None, box)) != 1:
            raise ValueError("pad needs exactly one of edges (top, right, bottom, left), aspect, or width and height")
        if self.aspect and min(float(side) for side in self.aspect.split(":")) == 0:
            raise ValueError("an aspect ratio has no zero side")
        return self

    def reach(self, outline: Outline) -> Outline:
        width, height = self._canvas(outline)
        if (width, height) == (outline.width, outline.height):
            return outline
        alpha = outline.alpha or (self.extend == "background" and len(self.background) == 4)
        alpha = alpha and self.extend not in ("dominant", "gradient")
        return replace(outline.sized(width, height), alpha=alpha)

    def demand(self, outline: Outline, wanted: float) -> float:
        return wanted if self._canvas(outline) == (outline.width, outline.height) else 1.0

    def apply(self, image: Picture, beside: Mapping[str, Picture]) -> Picture:
        width, height = self._canvas(image.outline)
        if (width, height) == (image.outline.width, image.outline.height):
            return image
        spot = self._spot(image.outline, width, height)
        if self.extend == "background":
            return image.padded(spot, width, height, self.background)
        # What is added above repeats rows from further down.
        ready = image.settled().held()
        if self.extend in BACKDROPS:
            return upon(ready, spot, width, height, self._backdrop(ready, width, height))
        return reshaped(
            ready, width, height, lambda frame: frame.embed(spot.left, spot.top, width, height, extend=self.extend)
        )

    def _backdrop(self, image: Picture, width: int, height: int) -> Backdrop:
        """What lies behind each frame."""
        if self.extend == "blur":
            return lambda frame: blurred_copy(frame, width, height, self.sigma, self.light)
        plain = self.extend == "dominant" or self.colours == 2
        found = main_colours(image, 2 if plain else 4)
        if self.extend == "dominant":
            plane = meshed(width, height, [found[0]] * 4)
        elif self.colours == 2:
            plane = meshed(width, height, [found[0], found[-1], found[-1], found[0]])
        else:
            plane = meshed(width, height, [found[at % len(found)] for at in range(4)])
        return lambda frame: plane

    def _canvas(self, outline: Outline) -> tuple[int, int]:
        if self.aspect:
            across, down = (float(side) for side in self.aspect.split(":"))
            wide, tall = round(outline.height * across / down), round(outline.width * down / across)
            return max(outline.width, wide), max(outline.height, tall)
        if self.width or self.height:
            return max(outline.width, self.width or 0), max(outline.height, self.height or 0)
        return outline.width + self.left + self.right, outline.height + self.top + self.bottom

    def _spot(self, outline: Outline, width: int, height: int) -> Window:
        if self.aspect or self.width or self.height:
            return window_at(outline.sized(width, height), outline.width, outline.height, self.gravity)
        return Window(self.left, self.top, outline.width, outline.height)
