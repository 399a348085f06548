"""Read JPEG XL files: the header here, the pixels by pillow-jxl-plugin where the extra `jxl` is installed.

The plugin decodes everything as soon as it opens a file, so the header, which decides whether that may happen, is
read here: ISO/IEC 18181-1 annex D (SizeHeader, ImageMetadata) and 18181-2 clause 9 (boxes). Bits count from the
lowest of each byte.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import pyvips
from PIL import Image

from pipeline.errors import ImageUnreadable

MISSING = "reading JPEG XL needs the extra `jxl`: install `safelight[jxl]`"
DAMAGED = "its header is damaged"
NAKED = b"\xff\x0a"
BOXED = b"\0\0\0\x0cJXL \r\n\x87\n"
MOST_BOXES = 1000
HEADER_SIZE = 256
"""Bytes in which size, orientation and channels always lie."""

RATIOS = {1: (1, 1), 2: (12, 10), 3: (4, 3), 4: (3, 2), 5: (16, 9), 6: (5, 4), 7: (2, 1)}
Choice = tuple[int, int]
"""An offset, and how many bits are added to it."""
SIDE: Sequence[Choice] = ((1, 9), (1, 13), (1, 18), (1, 30))
PREVIEW_SIDE: Sequence[Choice] = ((1, 6), (65, 8), (321, 10), (1345, 12))
PREVIEW_EIGHTHS: Sequence[Choice] = ((16, 0), (32, 0), (1, 5), (33, 9))
ENUM: Sequence[Choice] = ((0, 0), (1, 0), (2, 4), (18, 6))
ALPHA = 0


@dataclass(frozen=True)
class Header:
    """Width and height as shown, and whether there is an alpha channel."""

    width: int
    height: int
    alpha: bool


def header(path: Path) -> Header:
    """The header of the file; raises `ImageUnreadable`."""
    with path.open("rb") as file:
        stream = _codestream(file)
    if not stream.startswith(NAKED):
        raise ImageUnreadable(reason=DAMAGED)
    bits = _Bits(stream[len(NAKED) :])
    width, height = _size(bits)
    orientation, alpha = _metadata(bits)
    return Header(height, width, alpha) if orientation >= 5 else Header(width, height, alpha)


def decoded(path: Path) -> pyvips.Image:
    """The picture, upright, in memory; raises `ImageUnreadable`, also when the extra is not installed."""
    try:
        from pillow_jxl import JpegXLImagePlugin
    except ImportError as cause:
        raise ImageUnreadable(reason=MISSING) from cause
    # No threads: parallelism comes from runs.
    JpegXLImagePlugin.DECODE_THREADS = 0
    try:
        with Image.open(path, formats=["JXL"]) as opened:
            shown = opened if opened.mode in ("L", "LA", "RGB", "RGBA", "I;16") else opened.convert("RGB")
            data, profile, exif = shown.tobytes(), opened.info.get("icc_profile"), opened.info.get("exif")
    # What the plugin raises for a damaged file is of no one class.
    except Exception as cause:
        raise ImageUnreadable(reason="its pixels are damaged or end too early") from cause
    wide = shown.mode == "I;16"
    bands = 1 if wide else len(shown.mode)
    pixels = pyvips.Image.new_from_memory(data, *shown.size, bands, "ushort" if wide else "uchar")
    pixels = pixels.copy(interpretation="srgb" if bands > 2 else "grey16" if wide else "b-w")
    for name, value in {"icc-profile-data": profile, "exif-data": exif}.items():
        if value:
            pixels.set_type(pyvips.GValue.blob_type, name, bytes(value))
    # The decoder turned it; what the EXIF says of that is not to be done again (ISO/IEC 18181-2, 9.6).
    pixels.set_type(pyvips.GValue.gint_type, "orientation", 1)
    return pixels


def _codestream(file: BinaryIO) -> bytes:
    """The first bytes of the codestream, which may lie in a box or begin in the first of several."""
    start = file.read(HEADER_SIZE)
    if not start.startswith(BOXED):
        return start
    at = len(BOXED)
    for _ in range(MOST_BOXES):
        file.seek(at)
        head = file.read(16)
        if len(head) < 8:
            break
        size, name, skip = int.from_bytes(head[:4], "big"), head[4:8], 8
        if size == 1:
            size, skip = int.from_bytes(head[8:16], "big"), 16
        if name in (b"jxlc", b"jxlp"):
            # A part begins with its number, four bytes.
            file.seek(at + skip + (4 if name == b"jxlp" else 0))
            return file.read(HEADER_SIZE)
        if size < skip:
            break
        at += size
    raise ImageUnreadable(reason=DAMAGED)


class _Bits:
    def __init__(self, data: bytes) -> None:
        self.value, self.left = int.from_bytes(data, "little"), 8 * len(data)

    def take(self, count: int) -> int:
        self.left -= count
        if self.left < 0:
            raise ImageUnreadable(reason=DAMAGED)
        found = self.value & ((1 << count) - 1)
        self.value >>= count
        return found

    def choose(self, choices: Sequence[Choice]) -> int:
        offset, count = choices[self.take(2)]
        return offset + self.take(count)


def _size(bits: _Bits) -> tuple[int, int]:
    eighths = bits.take(1)
    height = _side(bits, eighths)
    ratio = bits.take(3)
    if not ratio:
        return _side(bits, eighths), height
    across, down = RATIOS[ratio]
    return max(1, height * across // down), height


def _side(bits: _Bits, eighths: int) -> int:
    return 8 * (1 + bits.take(5)) if eighths else bits.choose(SIDE)


def _metadata(bits: _Bits) -> tuple[int, bool]:
    """Orientation as EXIF counts it, and whether the first extra channel is alpha."""
    orientation = 1
    if bits.take(1):
        return orientation, False
    if bits.take(1):
        orientation = 1 + bits.take(3)
        if bits.take(1):
            _size(bits)
        if bits.take(1):
            _skip_preview(bits)
        if bits.take(1):
            _skip_animation(bits)
    _skip_depth(bits)
    bits.take(1)
    extra = bits.choose(((0, 0), (1, 0), (2, 4), (1, 12)))
    return orientation, bool(extra) and (bool(bits.take(1)) or bits.choose(ENUM) == ALPHA)


def _skip_preview(bits: _Bits) -> None:
    choices = PREVIEW_EIGHTHS if bits.take(1) else PREVIEW_SIDE
    bits.choose(choices)
    if not bits.take(3):
        bits.choose(choices)


def _skip_animation(bits: _Bits) -> None:
    bits.choose(((100, 0), (1000, 0), (1, 10), (1, 30)))
    bits.choose(((1, 0), (1001, 0), (1, 8), (1, 10)))
    bits.choose(((0, 0), (0, 3), (0, 16), (0, 32)))
    bits.take(1)


def _skip_depth(bits: _Bits) -> None:
    if bits.take(1):
        bits.choose(((32, 0), (16, 0), (24, 0), (1, 6)))
        bits.take(4)
    else:
        bits.choose(((8, 0), (10, 0), (12, 0), (1, 6)))
