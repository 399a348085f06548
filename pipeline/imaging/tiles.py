"""Write a picture as a pyramid of tiles into one archive, with the source read once, top to bottom."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pyvips

from pipeline.imaging.encode import EFFORTS, EXTENSIONS, OPAQUE, QUALITIES
from pipeline.imaging.open import readable
from pipeline.imaging.picture import Picture


@dataclass(frozen=True)
class Layout:
    """A way to lay out tiles: libvips' name for it, and the usual tile size and overlap, pixels."""

    name: str
    tile_size: int
    overlap: int = 0


LAYOUTS = {
    "dzi": Layout("dz", 254, 1),
    "zoomify": Layout("zoomify", 256),
    "iiif": Layout("iiif", 512),
    "iiif3": Layout("iiif3", 512),
}


@dataclass(frozen=True)
class Pyramid:
    """How the tiles are cut and encoded; `base_url` is told in a IIIF info.json."""

    layout: Layout
    tile_size: int
    overlap: int
    format: str
    quality: int | None
    base_url: str


def write_pyramid(picture: Picture, pyramid: Pyramid, path: Path, name: str) -> None:
    """Write the first frame of `picture` into the archive `path`, whose suffix says zip or szi, under `name` inside.

    Tiles are sRGB and carry no metadata. Raises `ImageUnreadable` when the source breaks off on the way.
    """
    pixels = picture.first_frame().settled().pixels
    if pixels.hasalpha() and pyramid.format in OPAQUE:
        pixels = pixels.flatten(background=list(picture.wish.background))
    with readable():
        _bare(pixels).dzsave(
            str(path),
            imagename=name,
            layout=pyramid.layout.name,
            container=path.suffix.removeprefix("."),
            suffix=_suffix(pyramid),
            tile_size=pyramid.tile_size,
            overlap=pyramid.overlap,
            id=pyramid.base_url.rstrip("/"),
            keep=pyvips.ForeignKeep.NONE,
        )


def _bare(pixels: pyvips.Image) -> pyvips.Image:
    """The pixels without metadata: libvips would tell it all in the archive's vips-properties.xml."""
    bare = pixels.copy()
    for field in bare.get_fields():
        if field != "vips-sequential":
            bare.remove(field)
    return bare


def _suffix(pyramid: Pyramid) -> str:
    """The extension of the tiles with the encoder settings in it, as libvips reads them."""
    extension = EXTENSIONS[pyramid.format]
    if pyramid.format not in QUALITIES:
        return f".{extension}"
    effort = f",effort={EFFORTS[pyramid.format]}" if pyramid.format in EFFORTS else ""
    return f".{extension}[Q={pyramid.quality or QUALITIES[pyramid.format]}{effort}]"
