"""Open an image file as a lazy picture, decoded at the smallest scale that still serves."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyvips

from pipeline.errors import ImageUnreadable, NodeInvalid
from pipeline.imaging import heif, jxl, pages, vector
from pipeline.imaging.picture import Outline, Picture, Wish

Loader = Callable[..., Any]

LOADERS: dict[str, Loader] = {
    "jpeg": pyvips.Image.jpegload,
    "png": pyvips.Image.pngload,
    "webp": pyvips.Image.webpload,
    "gif": pyvips.Image.gifload,
    "tiff": pyvips.Image.tiffload,
    "avif": pyvips.Image.heifload,
}
WHOLE_LOADERS: dict[str, Callable[[Path], pyvips.Image]] = {"heic": heif.decoded, "jxl": jxl.decoded}
"""Decoders beside libvips, which know one scale."""
VECTORS: dict[str, Callable[[Path, int, int, float], pyvips.Image]] = {"svg": vector.drawn, "pdf": pages.first_drawn}
"""What is drawn at the scale that is wanted, above 1 too."""
SAVED_AS = {"svg": "png", "pdf": "png", "heic": "jpeg", "jxl": "jpeg"}
"""What a picture is encoded as that comes in a format which is not written and that nobody wishes another for."""
ANIMATED = frozenset({"gif", "webp"})
RESIDUALS = {8: 2.0, 4: 2.0, 2: 1.5}
"""Each shrink that a JPEG decoder does, and how much reducing must be left after it.

Photographs then keep 48 dB and more against a full decode, and a page of small letters loses no more than encoding it
at quality 82 costs (docs/performance.md).
"""
WEBP_RESIDUAL = 2.0
"""The same for WebP, whose decoder scales by any factor."""


def open_picture(path: Path, outline: Outline, scale: float = 1.0, animated: bool = False) -> Picture:
    """The picture in `path`, whose stored (not yet upright) outline is known, at no less than `scale` of its size.

    Raises `ImageUnreadable` when the file is not what the outline says.
    """
    if outline.format in VECTORS or outline.format in WHOLE_LOADERS:
        return _open_beside(path, outline, scale)
    frames = outline.frames if animated and outline.format in ANIMATED else 1
    options: dict[str, Any] = {"access": "sequential", "fail_on": "truncated"}
    if frames > 1:
        options["n"] = -1
    if outline.format == "jpeg":
        options["shrink"] = decode_shrink(scale)
    elif outline.format == "webp" and frames == 1:
        # One pixel of the shorter side must be left.
        options["scale"] = min(1.0, max(scale * WEBP_RESIDUAL, 1 / min(outline.width, outline.height)))
    if outline.format not in LOADERS:
        raise ImageUnreadable(reason=f"{outline.format} is not a format that is read here")
    with readable("its header does not open as the format its first bytes name"):
        pixels = LOADERS[outline.format](str(path), **options)
    shown = Outline(outline.width, outline.height, frames, bool(pixels.hasalpha()), outline.format, outline.orientation)
    return Picture(pixels, shown, streaming=True, wish=Wish(format=outline.format))


def _open_beside(path: Path, outline: Outline, scale: float) -> Picture:
    """The picture in a file of a format that libvips does not read by itself."""
    with readable("its header does not open as the format its first bytes name"):
        if outline.format in VECTORS:
            pixels = VECTORS[outline.format](path, outline.width, outline.height, scale)
        else:
            pixels = WHOLE_LOADERS[outline.format](path)
    shown = replace(outline, frames=1, alpha=bool(pixels.hasalpha()))
    return Picture(pixels, shown, streaming=True, wish=Wish(format=saved_as(shown)))


def saved_as(outline: Outline) -> str:
    """What a picture with this outline is encoded as when nobody wishes anything."""
    format = SAVED_AS.get(outline.format, outline.format)
    # A photograph with see-through parts would lose them as JPEG.
    return "webp" if outline.alpha and format == "jpeg" != outline.format else format


def decode_shrink(scale: float) -> int:
    """The largest shrink a JPEG decoder may do when `scale` is wanted, 1, 2, 4 or 8."""
    return next((shrink for shrink, left in RESIDUALS.items() if scale * shrink * left <= 1), 1)


def open_shipped(path: Path) -> Picture:
    """The whole picture of a trusted file that a flow brought with it, held in memory.

    Raises `NodeInvalid` when it is no image.
    """
    try:
        if path.suffix.lower() == ".svg":
            pixels = vector.drawn(path, *vector.size_of(path), 1.0)
        else:
            pixels = pyvips.Image.new_from_file(str(path), access="sequential", fail_on="truncated")
        outline = Outline(pixels.width, pixels.height, alpha=bool(pixels.hasalpha()))
        return Picture(pixels, outline, streaming=True).held()
    except (pyvips.Error, ImageUnreadable) as cause:
        raise NodeInvalid(reason=f"image: the asset `{path.name}` does not open as an image") from cause


@contextmanager
def readable(reason: str = "its pixels are damaged or end too early") -> Iterator[None]:
    """Turn whatever libvips cannot read inside into `ImageUnreadable` with this reason."""
    try:
        yield
    except pyvips.Error as cause:
        raise ImageUnreadable(reason=reason) from cause
