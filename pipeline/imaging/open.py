"""Open an image file as a lazy picture, decoded at the smallest scale that still serves."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyvips

from pipeline.errors import ImageUnreadable
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
ANIMATED = frozenset({"gif", "webp"})
SHRINKS = (8, 4, 2)
RESIDUAL = 2.0
"""How much reducing must be left after a shrunken decode to be indistinguishable from a full one."""


def open_picture(path: Path, outline: Outline, scale: float = 1.0, animated: bool = False) -> Picture:
    """The picture in `path`, whose stored (not yet upright) outline is known, at no less than `scale` of its size.

    Raises `ImageUnreadable` when the file is not what the outline says.
    """
    frames = outline.frames if animated and outline.format in ANIMATED else 1
    options: dict[str, Any] = {"access": "sequential", "fail_on": "truncated"}
    if frames > 1:
        options["n"] = -1
    if outline.format == "jpeg":
        options["shrink"] = decode_shrink(scale)
    elif outline.format == "webp" and frames == 1:
        options["scale"] = 1 / decode_shrink(scale)
    if outline.format not in LOADERS:
        raise ImageUnreadable(reason=f"{outline.format} is not a format that is read here")
    with readable("its header does not open as the format its first bytes name"):
        pixels = LOADERS[outline.format](str(path), **options)
    shown = Outline(outline.width, outline.height, frames, bool(pixels.hasalpha()), outline.format, outline.orientation)
    return Picture(pixels, shown, streaming=True, wish=Wish(format=outline.format))


def decode_shrink(scale: float) -> int:
    """The largest whole shrink a decoder may do when `scale` is wanted, 1, 2, 4 or 8."""
    return next((shrink for shrink in SHRINKS if scale * shrink * RESIDUAL <= 1), 1)


def open_shipped(path: Path) -> Picture:
    """The whole picture of a trusted file that a flow brought with it, held in memory.

    Raises `ImageUnreadable` when it is no image.
    """
    with readable(f"the asset `{path.name}` does not open as an image"):
        pixels = pyvips.Image.new_from_file(str(path), access="sequential")
        outline = Outline(pixels.width, pixels.height, alpha=bool(pixels.hasalpha()))
        return Picture(pixels, outline, streaming=True).held()


@contextmanager
def readable(reason: str = "its pixels are damaged or end too early") -> Iterator[None]:
    """Turn whatever libvips cannot read inside into `ImageUnreadable` with this reason."""
    try:
        yield
    except pyvips.Error as cause:
        raise ImageUnreadable(reason=reason) from cause
