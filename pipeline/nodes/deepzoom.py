"""Cut a picture into tiles for a viewer that zooms."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field, model_validator

from pipeline.imaging.tiles import LAYOUTS, Pyramid, write_pyramid
from pipeline.nodes.base import Piece, SpreadNode

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path
    from typing import Self

    from pipeline.imaging.picture import Picture

OUTSIDE_NAMES = re.compile(r"[^A-Za-z0-9._-]+")


class Deepzoom(SpreadNode):
    """Writes a pyramid of tiles for a zooming viewer (OpenSeadragon, Zoomify, IIIF level 0) into one zip or szi file.

    Of an animation the first frame. Names inside the archive are the picture's own, with anything but letters, digits,
    dots and dashes replaced, as viewers put them into addresses.
    """

    type: Literal["deepzoom"]
    layout: Literal["dzi", "zoomify", "iiif", "iiif3"] = Field(
        default="dzi", description="Deep Zoom, Zoomify, or IIIF Image API level 0 version 2 or 3."
    )
    tile_size: Annotated[int, Field(ge=64, le=4096)] | None = Field(
        default=None, description="Pixels a side; left out, 254 for dzi, 256 for zoomify and 512 for IIIF."
    )
    overlap: Annotated[int, Field(ge=0, le=64)] | None = Field(
        default=None, description="Pixels that neighbouring tiles share, for dzi only; left out, 1."
    )
    format: Literal["jpeg", "webp", "png"] = Field(default="jpeg", description="What the tiles are encoded as.")
    quality: Annotated[int, Field(ge=1, le=100)] | None = Field(
        default=None, description="For jpeg and webp; left out, the picture's own wish, then the format's default."
    )
    container: Literal["zip", "szi"] = Field(
        default="zip", description="`szi` is a zip that viewers read tiles from without unpacking it; for dzi only."
    )
    base_url: str = Field(
        default="https://example.com/iiif",
        max_length=500,
        pattern=r"^https?://[^\s\"\\<>]+$",
        description="For IIIF: the address the unpacked archive will be served under, told in its info.json.",
    )

    @model_validator(mode="after")
    def _suits_the_layout(self) -> Self:
        if self.layout != "dzi" and (self.overlap or self.container == "szi"):
            raise ValueError(f"overlap and szi belong to the layout dzi, not to {self.layout}")
        return self

    def spread(self, image: Picture, folder: Path, stem: str) -> Sequence[Piece]:
        path = folder / f"pyramid.{self.container}"
        layout = LAYOUTS[self.layout]
        pyramid = Pyramid(
            layout=layout,
            tile_size=self.tile_size or layout.tile_size,
            overlap=layout.overlap if self.overlap is None else self.overlap,
            format=self.format,
            quality=self.quality or image.wish.quality,
            base_url=self.base_url,
        )
        write_pyramid(image, pyramid, path, OUTSIDE_NAMES.sub("-", stem).strip("-.") or "image")
        return [Piece(path, f"{stem}.{self.container}", "application/zip")]
