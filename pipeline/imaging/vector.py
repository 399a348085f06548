"""Draw SVG files at the size that is needed, by librsvg in libvips."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pyvips

from pipeline.imaging.svg import MOST_BYTES, checked

MOST_DRAWN = 100_000_000
"""Pixels a drawing is made of at most; what is larger is enlarged from these."""
LOADER = "VipsForeignLoadSvgBuffer"


def size_of(path: Path) -> tuple[int, int]:
    """Width and height an SVG gives itself, in CSS pixels; raises `ImageUnreadable` or `pyvips.Error`."""
    image = _loaded(_read(path), 1.0)
    return image.width, image.height


def drawn(path: Path, width: int, height: int, scale: float) -> pyvips.Image:
    """The SVG, which gives itself `width` x `height`, drawn `scale` times as large; lazy, RGBA in sRGB.

    Raises `ImageUnreadable` for what `svg.checked` refuses, `pyvips.Error` for what librsvg cannot draw.
    """
    text = _read(path)
    scale = bounded(width, height, scale)
    wanted = max(1, round(width * scale))
    image = _loaded(text, scale)
    # A width that is no whole number of pixels was rounded when it was measured, and that grows with the scale.
    return image if image.width == wanted else _loaded(text, scale * wanted / image.width)


def bounded(width: int, height: int, scale: float) -> float:
    """The scale, or the largest at which a drawing of this size stays within `MOST_DRAWN` pixels."""
    return min(scale, math.sqrt(MOST_DRAWN / (width * height)))


def _read(path: Path) -> bytes:
    with path.open("rb") as file:
        return checked(file.read(MOST_BYTES + 1))


def _loaded(text: bytes, scale: float) -> pyvips.Image:
    # From memory: a document without an address has nothing that a relative link could be relative to.
    with _let_in():
        return pyvips.Image.svgload_buffer(text, scale=scale)


@contextmanager
def _let_in() -> Iterator[None]:
    """Lift the block on untrusted loaders for this one while a checked document is opened.

    The block is one for the process, and a sandbox child does one call at a time.
    """
    pyvips.operation_block_set(LOADER, False)
    try:
        yield
    finally:
        pyvips.operation_block_set(LOADER, True)
