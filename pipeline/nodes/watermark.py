"""Lay a mark over a picture."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import Field

from pipeline.imaging.overlay import laid, tiled
from pipeline.nodes.base import Compass, Fraction, ImageNode

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pipeline.imaging.picture import Picture


class Watermark(ImageNode):
    """Lays a mark over the picture: an `asset:` image, or what arrives at the port `mark`."""

    type: Literal["watermark"]
    image: str | None = Field(
        default=None, pattern=r"^asset:[^/\\].*$", description="`asset:<file>` in the flows' assets folder."
    )
    position: Compass = Field(default="bottom-right", description="Where the mark sits.")
    margin: int = Field(default=16, ge=0, le=10_000, description="Distance from the edges, pixels.")
    scale: Annotated[float, Field(gt=0, le=1)] | None = Field(
        default=None, description="Width of the mark as a fraction of the picture's; left out, its own size."
    )
    opacity: Fraction = Field(default=1.0, description="0 invisible, 1 as it is.")
    tile: bool = Field(default=False, description="Repeat the mark over the whole picture, `margin` apart.")

    inputs: ClassVar[tuple[str, ...]] = ("image", "mark")
    optional_inputs: ClassVar[tuple[str, ...]] = ("mark",)

    def assets(self) -> Mapping[str, str]:
        return {"mark": self.image.removeprefix("asset:")} if self.image else {}

    def apply(self, image: Picture, beside: Mapping[str, Picture]) -> Picture:
        mark = self._sized(beside["mark"].first_frame(), image)
        if self.tile:
            return tiled(image, mark, self.margin, self.opacity)
        return laid(image, mark, self.position, self.margin, self.opacity)

    def _sized(self, mark: Picture, image: Picture) -> Picture:
        # Never larger than the picture less its margins: a mark that covers everything marks nothing.
        room_x = max(1, image.outline.width - 2 * self.margin)
        room_y = max(1, image.outline.height - 2 * self.margin)
        wanted = self.scale * image.outline.width if self.scale else mark.outline.width
        ratio = min(wanted, room_x, room_y * mark.outline.width / mark.outline.height) / mark.outline.width
        return mark.scaled(max(1, round(mark.outline.width * ratio)), max(1, round(mark.outline.height * ratio)))
