"""Aim at few bytes."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field, model_validator

from pipeline.imaging.open import ANIMATED
from pipeline.nodes.base import ImageNode
from pipeline.units import Bytes

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Self

    from pipeline.imaging.picture import Outline, Picture

# GIF would win by its 256 colours, not by its merits; TIFF never wins.
Candidate = Literal["webp", "avif", "jpeg", "png"]
Quality = Annotated[int, Field(ge=1, le=100)]


class Optimize(ImageNode):
    """Takes the format with the fewest bytes, the best quality within a number of bytes, or both; size and look stay.

    The picture is still encoded where it is saved, from memory: once for each format and, where `max_bytes` is not
    met at once, about six times more to bisect the quality. A format said later, by a save or its path, ends the choice
    of formats and keeps the rest.
    """

    type: Literal["optimize"]
    max_bytes: Bytes | None = Field(
        default=None,
        description="Lower the quality until the file has at most this many bytes, such as `100KB`. What is too large "
        "even at `min_quality` stays at that quality, larger than wished; it is not made smaller in pixels. "
        "Of no use for png, gif and lossless files alone.",
    )
    formats: tuple[Candidate, ...] | None = Field(
        default=None,
        min_length=1,
        description="Try these and take the smallest file, `[webp, avif, jpeg]`; those that would lose transparency or "
        "animation are passed over while another would not. Left out, the format the picture has.",
    )
    min_quality: Quality = Field(default=30, description="The lowest quality `max_bytes` may lead to.")
    max_quality: Quality | None = Field(
        default=None, description="The quality to begin with; left out, the default of each format, which look alike."
    )

    @model_validator(mode="after")
    def _aims(self) -> Self:
        if self.max_bytes is None and self.formats is None:
            raise ValueError("optimize needs max_bytes, formats or both")
        if self.max_bytes == 0:
            raise ValueError("max_bytes is at least 1")
        if self.max_quality is not None and self.max_quality < self.min_quality:
            raise ValueError(f"max_quality {self.max_quality} is below min_quality {self.min_quality}")
        return self

    def apply(self, image: Picture, beside: Mapping[str, Picture]) -> Picture:
        wish = replace(image.wish, min_quality=self.min_quality)
        if self.max_bytes is not None:
            wish = replace(wish, max_bytes=self.max_bytes)
        if self.max_quality is not None:
            wish = replace(wish, quality=self.max_quality)
        if self.formats:
            wish = replace(wish, format=None, formats=tuple(dict.fromkeys(self.formats)))
        return image.wishing(wish)

    def reach(self, outline: Outline) -> Outline:
        # Which format wins is known when it is encoded; until then the first that could stands for it.
        formats = self.formats or (outline.format,)
        moving = [name for name in formats if name in ANIMATED and outline.frames > 1]
        return replace(outline, format=(moving or formats)[0])

    def demand(self, outline: Outline, wanted: float) -> float:
        return wanted
