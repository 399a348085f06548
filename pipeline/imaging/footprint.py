"""What decoding and encoding take in memory, told from headers and sizes; not one pixel is decoded.

The numbers are those of the libraries behind libvips 8.18, measured by `python -m bench engine.memory_vs_estimate` on
photographs, in a sandbox child: what its resident set grows by. docs/performance.md tells how well they do.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil
from pathlib import Path
from typing import BinaryIO, Literal

import pyvips

from pipeline.errors import ImageUnreadable
from pipeline.imaging.encode import LARGEST_OPTIMISED, QUALITIES
from pipeline.imaging.open import VECTORS, WEBP_RESIDUAL, decode_shrink
from pipeline.imaging.picture import Outline, Wish
from pipeline.imaging.vector import bounded, size_of

MIB = 2**20

# Bytes for each pixel of a stored frame while a decoder that cannot stream works, and what stays until the picture is
# let go. AVIF (libaom, then libheif to RGB): 15.5 at 4:2:0, 18.8 at 4:4:4, 20.4 in 10 bits. HEIC (libde265): 5.7 to 7.
# JPEG XL: 13.3.
WHOLE = {"avif": 17.0, "heic": 6.5, "jxl": 13.5}
LEFT = {"avif": 4.0, "heic": 6.5, "jxl": 3.0}
DEEP_AVIF = 4.0
"""More of either with more than 8 bits."""
AT_OPENING = frozenset({"heic", "jxl", "pdf"})
"""Decoded as soon as they are opened, not when their first row is asked for."""
WEBP_SCALED, WEBP_LOSSLESS, WEBP_STRIP = 8.0, 4.0, 4.4
"""Of each pixel that is delivered, of each stored one beside when lossless, of each of all frames when animated."""
GIF_FRAME, GIF_FILE = 4.0, 1.4
"""Of each pixel of a frame, and times the size of the file."""
SVG_TILE, SVG_TEXT, DOCUMENT = 2000, 34, 5 * MIB
"""libvips draws in squares of this side and keeps two rows of them; the tree takes so many times the text (30 000
circles); fonts and tables of a PDF."""
COEFFICIENT = 2
"""Bytes of a JPEG coefficient, of which there is one for each sample."""


@dataclass(frozen=True)
class Decoding:
    """The pixels a decoder delivers for one frame, and bytes beside the rows that flow through."""

    width: int
    height: int
    bands: int
    depth: int = 1
    """Bytes of a band."""
    burst: int = 0
    """What the decoder needs while it works."""
    left: int = 0
    """What of it stays until the picture is let go."""


def decoding(path: Path, outline: Outline, scale: float, animated: bool) -> Decoding:
    """What `open_picture` of the same makes, `outline` being the stored one."""
    colours = 4 if outline.alpha else 3
    if outline.format == "jpeg":
        return _jpeg(path, outline, decode_shrink(scale))
    if outline.format == "png":
        return _png(path, outline, colours)
    if outline.format == "tiff":
        return _tiff(path, outline, colours)
    if outline.format == "webp":
        return _webp(path, outline, scale, animated, colours)
    if outline.format in VECTORS:
        return _drawing(path, outline, scale)
    stored = outline.width * outline.height
    if outline.format == "gif":
        canvas, bands = ceil(GIF_FRAME * stored + GIF_FILE * path.stat().st_size), 4 if outline.frames > 1 else colours
        return Decoding(outline.width, outline.height, bands, burst=canvas, left=canvas)
    if outline.format == "avif":
        return _avif(path, outline, colours)
    burst, left = ceil(WHOLE.get(outline.format, 0) * stored), ceil(LEFT.get(outline.format, 0) * stored)
    return Decoding(outline.width, outline.height, colours, burst=burst, left=left)


def shipped(path: Path) -> tuple[int, int]:
    """Width and height of a file that a flow brought with it; 1 x 1 for one that does not open, which drawing tells."""
    try:
        if path.suffix.lower() == ".svg":
            return size_of(path)
        opened = pyvips.Image.new_from_file(str(path), access="sequential")
    except (pyvips.Error, ImageUnreadable):
        return 1, 1
    return opened.width, opened.height


def _jpeg(path: Path, outline: Outline, shrink: int) -> Decoding:
    with path.open("rb") as file:
        frame = _scan_header(file)
    # libjpeg keeps every coefficient of a file with several scans, however small it is to be shown.
    whole = ceil(outline.width * outline.height * frame.samples * COEFFICIENT) if frame.scans else 0
    width, height = -(-outline.width // shrink), -(-outline.height // shrink)
    return Decoding(width, height, frame.components, burst=whole, left=whole)


@dataclass(frozen=True)
class _Frame:
    """What a JPEG says before its first scan; when it is silent, the most that may be."""

    components: int = 3
    samples: float = 3.0
    """Of all components for each pixel."""
    scans: bool = True
    """Whether there are several."""


FRAMES = frozenset({*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC})
PROGRESSIVE = frozenset({0xC2, 0xC6, 0xCA, 0xCE})
START_OF_SCAN = 0xDA
MOST_SEGMENTS = 1000


def _scan_header(file: BinaryIO) -> _Frame:
    """ITU-T T.81, B.2.2 and B.2.3."""
    found = _Frame()
    file.seek(2)
    for _ in range(MOST_SEGMENTS):
        head = file.read(4)
        if len(head) < 4:
            break
        kind, length = head[1], int.from_bytes(head[2:], "big")
        body = file.read(length - 2) if kind in FRAMES or kind == START_OF_SCAN else b""
        if kind == START_OF_SCAN and body:
            return _Frame(found.components, found.samples, found.scans or body[0] < found.components)
        if kind in FRAMES and len(body) >= 9:
            factors = [(byte >> 4) * (byte & 15) for byte in body[7::3]]
            found = _Frame(body[5], sum(factors) / max(1, *factors), kind in PROGRESSIVE)
        file.seek(0 if body else length - 2, 1)
    return _Frame()


PNG_BANDS = {0: 1, 2: 3, 4: 2, 6: 4}


def _png(path: Path, outline: Outline, colours: int) -> Decoding:
    with path.open("rb") as file:
        header = file.read(29)
    depth, kind, interlaced = header[24], header[25], header[28]
    # A palette comes as colours, and a transparent colour as an alpha band.
    bands = max(PNG_BANDS.get(kind, 3), colours if kind == 3 or (outline.alpha and kind == 2) else 1)
    width = 2 if depth == 16 else 1
    whole = outline.width * outline.height * bands * width if interlaced else 0
    return Decoding(outline.width, outline.height, bands, width, whole, whole)


BITS, BANDS, ROWS_PER_STRIP, TILE_WIDTH = 258, 277, 278, 322
SHORT, CLASSIC = 3, 42


def _tiff(path: Path, outline: Outline, colours: int) -> Decoding:
    with path.open("rb") as file:
        tags = _first_directory(file)
    # A strip is read as one piece, as it lies in the file.
    rows = 0 if TILE_WIDTH in tags else tags.get(ROWS_PER_STRIP, outline.height)
    strip = ceil(min(1.0, rows / outline.height) * path.stat().st_size)
    depth = max(1, tags.get(BITS, 8) // 8)
    return Decoding(outline.width, outline.height, max(1, tags.get(BANDS, colours)), depth, strip, strip)


def _first_directory(file: BinaryIO) -> dict[int, int]:
    """The first value of every tag (TIFF 6.0, section 2); of a BigTIFF nothing, so that the usual stands for it."""
    order: Literal["little", "big"] = "little" if file.read(2) == b"II" else "big"
    if int.from_bytes(file.read(2), order) != CLASSIC:
        return {}
    file.seek(int.from_bytes(file.read(4), order))
    entries = file.read(12 * int.from_bytes(file.read(2), order))
    tags: dict[int, int] = {}
    for at in range(0, len(entries), 12):
        tag, kind = (int.from_bytes(entries[at + skip : at + skip + 2], order) for skip in (0, 2))
        count, value = int.from_bytes(entries[at + 4 : at + 8], order), entries[at + 8 : at + 12]
        if kind == SHORT and count > 2:
            file.seek(int.from_bytes(value, order))
            value = file.read(2)
        tags[tag] = int.from_bytes(value[: 2 if kind == SHORT else 4], order)
    return tags


PIXEL_BITS, BITS_AT = b"pixi", 9
"""ISO/IEC 23008-12, 6.5.6: version and flags, the number of channels, the bits of the first."""
MOST_BOXES = 4096


def _avif(path: Path, outline: Outline, colours: int) -> Decoding:
    with path.open("rb") as file:
        boxes = file.read(MOST_BOXES)
    at = boxes.find(PIXEL_BITS)
    deep = 0 <= at < len(boxes) - BITS_AT and boxes[at + BITS_AT] > 8
    stored, more = outline.width * outline.height, DEEP_AVIF if deep else 0.0
    burst, left = ceil((WHOLE["avif"] + more) * stored), ceil((LEFT["avif"] + more) * stored)
    return Decoding(outline.width, outline.height, colours, 2 if deep else 1, burst, left)


def _webp(path: Path, outline: Outline, scale: float, animated: bool, colours: int) -> Decoding:
    stored = outline.width * outline.height
    if animated and outline.frames > 1:
        strip = ceil(WEBP_STRIP * stored * outline.frames)
        return Decoding(outline.width, outline.height, 4, burst=strip + ceil(WEBP_SCALED * stored), left=strip)
    shrunk = min(1.0, max(scale * WEBP_RESIDUAL, 1 / min(outline.width, outline.height)))
    width, height = max(1, round(outline.width * shrunk)), max(1, round(outline.height * shrunk))
    delivered = ceil(WEBP_SCALED * width * height)
    with path.open("rb") as file:
        lossless = file.read(64).find(b"VP8L") > 0
    burst = delivered + (ceil(WEBP_LOSSLESS * stored) if lossless else 0)
    return Decoding(width, height, colours, burst=burst, left=delivered)


def _drawing(path: Path, outline: Outline, scale: float) -> Decoding:
    scale = bounded(outline.width, outline.height, scale)
    width, height = max(1, round(outline.width * scale)), max(1, round(outline.height * scale))
    if outline.format == "pdf":
        return Decoding(width, height, 3, burst=3 * width * height + DOCUMENT, left=3 * width * height + DOCUMENT)
    across, down = width // SVG_TILE + 1, height // SVG_TILE + 1
    tiles = min(across * down, 2 * across) * min(SVG_TILE, width) * min(SVG_TILE, height) * 4
    needed = tiles + SVG_TEXT * path.stat().st_size
    return Decoding(width, height, 4, burst=needed, left=needed)


# Encoders

JPEG_STREAMED = 0.4
"""Without either, of each pixel."""
JPEG_COPIES = 2
"""Optimised tables and progressive scans keep every coefficient, and mozjpeg a second copy for its trellis."""
FINE_JPEG, FINE_AVIF = 90, 90
"""The quality from which libvips does not subsample colours."""
WEBP_LOSSY, WEBP_ALPHA, WEBP_EXACT = 5.3, 24.0, 36.0
"""Alpha is packed without loss: 6.2 where it is opaque, 20 for a cut-out, 32 for noise."""
AVIF_START, AVIF, AVIF_ALPHA = 6 * MIB, {False: 22.0, True: 37.0}, 15.0
GIF_SMALL, GIF_START, GIF = 36.0, 45 * MIB, 9.0
"""Colours are counted in a table that grows with the picture up to a bound."""
INTERLACED = 3.6


def encoding(name: str, wish: Wish, width: int, height: int, frames: int, bands: int) -> int:
    """Bytes the encoder of a format keeps beside the rows that flow through, for frames of this size."""
    frame = width * height
    if name == "jpeg":
        fine = (wish.quality or QUALITIES["jpeg"]) >= FINE_JPEG
        samples = 1.0 if bands < 3 else bands if fine or bands > 3 else 1.5
        if not wish.progressive and frame * frames > LARGEST_OPTIMISED:
            return ceil(JPEG_STREAMED * frame) + MIB
        return ceil(frame * samples * COEFFICIENT * JPEG_COPIES)
    if name == "webp":
        alpha = bands in (2, 4)
        return ceil(frame * (WEBP_EXACT if wish.lossless else WEBP_ALPHA if alpha else WEBP_LOSSY)) + MIB
    if name == "avif":
        fine = bool(wish.lossless) or (wish.quality or QUALITIES["avif"]) >= FINE_AVIF
        return ceil(frame * (AVIF[fine] + (AVIF_ALPHA if bands in (2, 4) else 0))) + AVIF_START
    if name == "gif":
        return ceil(min(GIF_SMALL * frame, GIF_START + GIF * frame))
    if name == "png" and wish.progressive:
        return ceil(INTERLACED / 3 * bands * frame) + MIB
    return MIB
