"""Lay several pictures over one."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING, ClassVar, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from pipeline.imaging.overlay import Blend, cut_by, displaced, layered
from pipeline.imaging.picture import Window, window_at
from pipeline.nodes.base import Compass, Focus, Fraction, ImageNode, Offset, Pixel, Place, Share, length_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from pipeline.imaging.picture import Outline, Picture

PORTS = ("layer1", "layer2", "layer3", "layer4", "layer5", "layer6", "layer7", "layer8")
ASSET = "asset:"
CUTTING = frozenset({"inside", "outside"})
"""How a layer takes away from the picture."""


class Layer(BaseModel):
    """One picture and how it is laid."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    image: str = Field(
        pattern=r"^(asset:[^/\\].*|layer[1-8])$",
        description="`asset:<file>` in the flows' assets folder, or the input port, `layer1` to `layer8`.",
    )
    position: Compass = Field(default="center", description="Where the layer sits.")
    x: Offset = Field(
        default=0,
        description="Distance from the side that `position` names, or else from the middle to the right: pixels or a "
        "percentage of the picture's width. A negative one hangs over the edge.",
    )
    y: Offset = Field(
        default=0,
        description="Distance from the top or bottom that `position` names, or else from the middle downwards: pixels "
        "or a percentage of the picture's height.",
    )
    width: Pixel | Share | None = Field(
        default=None, description="Pixels or a percentage of the picture's width; left out, the layer's own size."
    )
    height: Pixel | Share | None = Field(
        default=None,
        description="Pixels or a percentage of the picture's height; with a width, the layer goes inside that box.",
    )
    place: Place | None = Field(
        default=None,
        description="Where it lies, instead of `position`, `x` and `y`: `{x: 20, y: 50%}`, pixels from the left and "
        "top or percentages of the room that is left.",
    )
    anchor: Focus | None = Field(
        default=None,
        description="The point of the layer that lies at `x` and `y`, which then count from the left and the top: "
        "`{x: 0.5, y: 0.5}` is its middle.",
    )
    opacity: Fraction = Field(default=1.0, description="0 invisible, 1 as it is.")
    blend: Blend = Field(
        default="over",
        description="How its colours mix with those under it. Or what its shape leaves of the picture: what is "
        "`inside`, or what is `outside`. Or `displace`: its red and green say where pixels are taken from.",
    )
    shift: Place | None = Field(
        default=None,
        description="With `displace`, from how far to the right and from how far below, where red and green are full; "
        "pixels or percentages of the sides.",
    )

    @field_validator("width", "height")
    @classmethod
    def _can_be_seen(cls, side: int | str | None) -> int | str | None:
        if isinstance(side, str) and float(side.rstrip("%")) == 0:
            raise ValueError("a layer without width shows nothing")
        return side

    @model_validator(mode="after")
    def _lies_somewhere(self) -> Self:
        if self.place and (self.position != "center" or self.x or self.y):
            raise ValueError("a layer has one place: leave out either `place`, or position, x and y")
        if self.anchor and (self.place or self.position != "center"):
            raise ValueError("a layer has one place: an `anchor` goes with x and y alone")
        if (self.shift is not None) != (self.blend == "displace"):
            raise ValueError("`shift` is said of a layer that displaces, and has to be")
        return self

    def size(self, layer: Outline, base: Outline) -> tuple[int, int]:
        across = None if self.width is None else max(1, length_of(self.width, base.width)) / layer.width
        down = None if self.height is None else max(1, length_of(self.height, base.height)) / layer.height
        ratio = min((one for one in (across, down) if one is not None), default=1.0)
        return max(1, round(layer.width * ratio)), max(1, round(layer.height * ratio))

    def spot(self, width: int, height: int, base: Outline) -> Window:
        """Where a layer of this size lies on the base."""
        if self.place:
            return Window(*self.place.spot(width, height, base), width, height)
        if self.anchor:
            left = length_of(self.x, base.width) - round(self.anchor.x * width)
            return Window(left, length_of(self.y, base.height) - round(self.anchor.y * height), width, height)
        place = window_at(base, width, height, self.position)
        # Distances lead inwards from the side that is named.
        across = -1 if "right" in self.position else 1
        down = -1 if "bottom" in self.position else 1
        left = place.left + across * length_of(self.x, base.width)
        top = place.top + down * length_of(self.y, base.height)
        return Window(left, top, width, height)


class Overlay(ImageNode):
    """Lays pictures over the picture, one after the other: `asset:` images, or what arrives at its ports."""

    type: Literal["overlay"]
    layers: tuple[Layer, ...] = Field(min_length=1, max_length=16, description="From the lowest to the topmost.")

    inputs: ClassVar[tuple[str, ...]] = ("image", *PORTS)
    optional_inputs: ClassVar[tuple[str, ...]] = PORTS

    def reach(self, outline: Outline) -> Outline:
        return replace(outline, alpha=outline.alpha or any(layer.blend in CUTTING for layer in self.layers))

    def needs_ports(self) -> Sequence[str]:
        used = {layer.image for layer in self.layers}
        return ("image", *(port for port in PORTS if port in used))

    def assets(self) -> Mapping[str, str]:
        return {one.image: one.image.removeprefix(ASSET) for one in self.layers if one.image.startswith(ASSET)}

    def apply(self, image: Picture, beside: Mapping[str, Picture]) -> Picture:
        uses = Counter(layer.image for layer in self.layers)
        stills = {name: beside[name].first_frame() for name in uses}
        stills = {name: still.held() if uses[name] > 1 else still for name, still in stills.items()}
        for layer in self.layers:
            image = self._laid(image, stills[layer.image], layer)
        return image

    def _laid(self, image: Picture, picture: Picture, layer: Layer) -> Picture:
        size = layer.size(picture.outline, image.outline)
        spot, sized = layer.spot(*size, image.outline), picture.scaled(*size)
        if layer.blend == "inside" or layer.blend == "outside":
            return cut_by(image, sized, spot, layer.opacity, keeps=layer.blend == "inside")
        if layer.blend == "displace":
            assert layer.shift is not None
            shift = length_of(layer.shift.x, image.outline.width), length_of(layer.shift.y, image.outline.height)
            return displaced(image, sized, spot, layer.opacity, shift)
        return layered(image, sized, spot, layer.opacity, layer.blend)
