"""Make what stands in for a picture until it has come."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Literal

from pydantic import Field

from pipeline.errors import ImageUnreadable
from pipeline.imaging.glimpse import demand_for, flattened, glimpse, within
from pipeline.imaging.placeholders import blurhash, data_uri, thumbhash
from pipeline.nodes.base import Colour, FactNode, Facts

if TYPE_CHECKING:
    from PIL import Image

    from pipeline.artifacts import Artifact
    from pipeline.imaging.picture import Outline, Picture

SAMPLE = 64
"""Pixels of the longer side that a hash is made of; it holds far less than they show."""


class Placeholder(FactNode):
    """Finds what to show until the picture has loaded: a BlurHash, a ThumbHash or a tiny picture as data URI."""

    type: Literal["placeholder"]
    kind: Literal["blurhash", "thumbhash", "lqip"] = Field(
        default="blurhash",
        description="`blurhash` as text, `thumbhash` (keeps alpha and aspect ratio) as base64, or `lqip`, a tiny "
        "picture as `data:` URI.",
    )
    x: int = Field(default=4, ge=1, le=9, description="BlurHash components across; more show more and are longer.")
    y: int = Field(default=3, ge=1, le=9, description="BlurHash components down.")
    size: int = Field(default=24, ge=4, le=64, description="Longer side of the tiny picture, pixels.")
    format: Literal["webp", "jpeg"] = Field(default="webp", description="Format of the tiny picture.")
    quality: int = Field(default=40, ge=1, le=100, description="Quality of the tiny picture.")
    background: Colour = Field(
        default=(255, 255, 255), description="What shows through transparent parts in a BlurHash or a JPEG."
    )

    def demand_of(self, outline: Outline) -> float:
        return demand_for(outline, *self._sample(outline))

    def observe(self, file: Artifact, image: Picture | None) -> Facts:
        if image is None:
            raise ImageUnreadable(reason=f"`{file.name}` is {file.mime}, nothing a placeholder can be made of")
        pixels = glimpse(image, *self._sample(image.outline))
        return {
            "kind": self.kind,
            "value": self._value(pixels),
            "width": image.outline.width,
            "height": image.outline.height,
        }

    def _sample(self, outline: Outline) -> tuple[int, int]:
        return within(outline, self.size if self.kind == "lqip" else SAMPLE)

    def _value(self, pixels: Image.Image) -> str:
        if self.kind == "thumbhash":
            return base64.b64encode(thumbhash(pixels)).decode()
        if self.kind == "blurhash":
            return blurhash(flattened(pixels, self.background), self.x, self.y)
        shown = flattened(pixels, self.background) if self.format == "jpeg" else pixels
        return data_uri(shown, self.format, self.quality)
