"""Say what a picture tells about itself."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Literal

from pydantic import Field

from pipeline.imaging.credits import LONGEST, Credits, bare, credits_of
from pipeline.nodes.base import ImageNode

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pipeline.imaging.picture import Outline, Picture


class Metadata(ImageNode):
    """Drops what the picture tells about itself (place, camera, times) and writes who made it, as EXIF and XMP.

    EXIF texts are ASCII, other letters are transcribed; XMP holds them as written. GIF can hold neither, TIFF holds
    the XMP.
    """

    type: Literal["metadata"]
    keep_credits: bool = Field(default=False, description="Keep the copyright and the artist the source names.")
    title: str | None = Field(default=None, max_length=LONGEST, description="Written as dc:title and XPTitle.")
    description: str | None = Field(
        default=None, max_length=LONGEST, description="Written as dc:description and ImageDescription."
    )
    copyright: str | None = Field(
        default=None, max_length=LONGEST, description="Written as dc:rights and Copyright, over a kept one."
    )
    artist: str | None = Field(
        default=None, max_length=LONGEST, description="Written as dc:creator and Artist, over a kept one."
    )

    def demand(self, outline: Outline, wanted: float) -> float:
        return wanted

    def apply(self, image: Picture, beside: Mapping[str, Picture]) -> Picture:
        kept = Credits()
        if self.keep_credits:
            found = image.wish.credits or credits_of(image.pixels)
            kept = Credits(copyright=found.copyright, artist=found.artist)
        said = {name: getattr(self, name) for name in ("title", "description", "copyright", "artist")}
        credits = replace(kept, **{name: text for name, text in said.items() if text is not None})
        return image.with_pixels(bare(image.pixels)).wishing(replace(image.wish, credits=credits))
