"""Is the file all there: walks the structure of an image file to its end without decoding a pixel.

A file passes when the bytes its own structure promises exist; whether they decode is for the decoder to find out.
Bytes after the end (second images of phones, gain maps, garbage) do no harm. The work is bounded by the length of
the structure and by `MOST_STEPS`. Structures: ITU-T T.81 annex B, PNG 3 section 5, the WebP container, GIF89a,
ISO/IEC 14496-12, 23008-12 and 18181-2, TIFF 6 and BigTIFF.
"""

from __future__ import annotations

import mmap
import re
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from pipeline.errors import ImageUnreadable

MOST_STEPS = 2_000_000
"""How many segments, chunks, blocks, boxes, directories or strips are looked at before the file is called broken."""

ENDS_EARLY = "the file ends before its image is complete"
BROKEN = "its structure is broken"
NO_IMAGE = "it holds no image"


def check_whole(path: str | Path, format: str) -> None:
    """Return when the image file at `path`, whose `format` is one of `WALKS`, is structurally complete.

    Raises `ImageUnreadable` when it is not.
    """
    with Path(path).open("rb") as opened:
        try:
            mapped = mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ)
        except ValueError as cause:
            raise ImageUnreadable(reason="it is empty") from cause
        with mapped:
            WALKS[format](_Bytes(mapped, len(mapped)))


@dataclass
class _Bytes:
    """The bytes of the file, which refuse to be read past their end or to be walked for ever."""

    mapped: mmap.mmap
    size: int
    steps: int = MOST_STEPS

    def take(self, at: int, count: int) -> bytes:
        if at + count > self.size:
            raise ImageUnreadable(reason=ENDS_EARLY)
        return self.mapped[at : at + count]

    def number(self, at: int, count: int) -> int:
        return int.from_bytes(self.take(at, count), "big")

    def spend(self, steps: int) -> None:
        self.steps -= steps
        if self.steps < 0:
            raise ImageUnreadable(reason=BROKEN)

    def walk(self) -> Iterator[None]:
        """One turn for each step, until the steps for this file are spent."""
        while True:
            self.spend(1)
            yield


# JPEG

# In entropy-coded file FF is followed by 00 or a restart marker only; FF FF is padding before a marker.
JPEG_MARKER = re.compile(rb"\xff([\x01-\xcf\xd8-\xfe])")
JPEG_SCAN, JPEG_END = 0xDA, 0xD9
JPEG_BETWEEN_SCANS = frozenset({0xC4, 0xCC, 0xDA, 0xDB, 0xDC, 0xDD, 0xFE, *range(0xE0, 0xF0)})
JPEG_BARE = frozenset({0x01, 0xD8})


def _walk_jpeg(file: _Bytes) -> None:
    at, scans = 2, 0
    for _ in file.walk():
        found = JPEG_MARKER.search(file.mapped, at)
        if found is None:
            raise ImageUnreadable(reason=ENDS_EARLY)
        marker, at = found[1][0], found.end()
        if marker == JPEG_END:
            break
        # A marker that cannot stand between scans is damage, which decoders step over.
        if marker in JPEG_BARE or (scans and marker not in JPEG_BETWEEN_SCANS):
            continue
        scans += marker == JPEG_SCAN
        at += max(2, file.number(at, 2))
    if not scans:
        raise ImageUnreadable(reason=NO_IMAGE)


# PNG


def _walk_png(file: _Bytes) -> None:
    at, pixels = 8, False
    for _ in file.walk():
        size, name = struct.unpack(">I4s", file.take(at, 8))
        at += 12 + size
        if at > file.size:
            raise ImageUnreadable(reason=ENDS_EARLY)
        pixels = pixels or name == b"IDAT"
        if name == b"IEND":
            break
    if not pixels:
        raise ImageUnreadable(reason=NO_IMAGE)


# WebP

WEBP_PICTURES = frozenset({b"VP8 ", b"VP8L", b"ANMF"})


def _walk_webp(file: _Bytes) -> None:
    end = 8 + int.from_bytes(file.take(4, 4), "little")
    at, pictures = 12, 0
    for _ in file.walk():
        if at + 8 > end:
            break
        name, size = struct.unpack("<4sI", file.take(at, 8))
        pictures += name in WEBP_PICTURES
        at += 8 + size
        if at > min(end, file.size):
            raise ImageUnreadable(reason=ENDS_EARLY)
        at += size & 1
    # Some writers count the last padding byte and leave it out.
    if end > file.size + 1:
        raise ImageUnreadable(reason=ENDS_EARLY)
    if not pictures:
        raise ImageUnreadable(reason=NO_IMAGE)


# GIF

GIF_EXTENSION, GIF_PICTURE, GIF_END, GIF_FILLER = 0x21, 0x2C, 0x3B, 0x00


def _walk_gif(file: _Bytes) -> None:
    at = 13 + _gif_table(file.take(10, 1)[0])
    pictures = 0
    for _ in file.walk():
        kind = file.take(at, 1)[0]
        if kind == GIF_EXTENSION:
            at = _gif_blocks(file, at + 2)
        elif kind == GIF_PICTURE:
            at = _gif_blocks(file, at + 11 + _gif_table(file.take(at + 9, 1)[0]))
            pictures += 1
        elif kind == GIF_FILLER:
            at += 1
        # Decoders stop at anything else as they do at the end.
        else:
            break
    if not pictures:
        raise ImageUnreadable(reason=NO_IMAGE)


def _gif_table(flags: int) -> int:
    """How many bytes of colour table follow a descriptor with these flags."""
    return 3 << ((flags & 7) + 1) if flags & 0x80 else 0


def _gif_blocks(file: _Bytes, at: int) -> int:
    """Where a chain of sub-blocks that begins at `at` ends."""
    for _ in file.walk():
        size = file.take(at, 1)[0]
        at += 1 + size
        if not size:
            break
    return at


# AVIF and HEIC


def _walk_avif(file: _Bytes) -> None:
    found = False
    for name, start, end in _boxes(file, 0, file.size):
        if name == b"meta":
            found = True
            _check_meta(file, start + 4, end)
        found = found or name == b"moov"
    if not found:
        raise ImageUnreadable(reason=NO_IMAGE)


def _boxes(file: _Bytes, at: int, end: int) -> Iterator[tuple[bytes, int, int]]:
    """Name, start of payload and end of each box between `at` and `end`."""
    for _ in file.walk():
        if at + 8 > end:
            return
        size, name = struct.unpack(">I4s", file.take(at, 8))
        header = 8
        if size == 1:
            size, header = file.number(at + 8, 8), 16
        size = size or end - at
        if size < header:
            raise ImageUnreadable(reason=BROKEN)
        if at + size > end:
            raise ImageUnreadable(reason=ENDS_EARLY)
        yield name, at + header, at + size
        at += size


def _check_meta(file: _Bytes, at: int, end: int) -> None:
    children = {name: (start, stop) for name, start, stop in _boxes(file, at, end)}
    inside = children.get(b"idat", (0, 0))
    if b"iloc" not in children:
        raise ImageUnreadable(reason=NO_IMAGE)
    for method, last in _extents(file, *children[b"iloc"]):
        file.spend(1)
        room = file.size if method == 0 else inside[1] - inside[0] if method == 1 else last
        if last > room:
            raise ImageUnreadable(reason=ENDS_EARLY)


def _extents(file: _Bytes, at: int, end: int) -> Iterator[tuple[int, int]]:
    """Construction method and end of every extent of an `iloc` box (ISO/IEC 14496-12, 8.11.3)."""
    fields = _Fields(file, at, end)
    version = fields.read(4) >> 24
    sizes = fields.read(2)
    widths = [sizes >> 12, sizes >> 8 & 15, sizes >> 4 & 15, sizes & 15 if version else 0]
    wide = 4 if version == 2 else 2
    for _ in range(fields.read(wide)):
        fields.read(wide)
        method = fields.read(2) & 15 if version else 0
        fields.read(2)
        base = fields.read(widths[2])
        for _ in range(fields.read(2)):
            fields.read(widths[3])
            offset, length = fields.read(widths[0]), fields.read(widths[1])
            yield method, base + offset + length


@dataclass
class _Fields:
    """Reads big-endian numbers one after the other, never past `end`."""

    file: _Bytes
    at: int
    end: int

    def read(self, width: int) -> int:
        self.at += width
        if self.at > self.end:
            raise ImageUnreadable(reason=BROKEN)
        return self.file.number(self.at - width, width)


# JPEG XL

JXL_NAKED = b"\xff\x0a"


def _walk_jxl(file: _Bytes) -> None:
    # A codestream without boxes does not say how long it is.
    if file.take(0, 2) == JXL_NAKED:
        return
    if not any(name in (b"jxlc", b"jxlp") for name, _, _ in _boxes(file, 0, file.size)):
        raise ImageUnreadable(reason=NO_IMAGE)


# TIFF

TIFF_WIDTHS = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8, 17: 8, 18: 8}
TIFF_NUMBERS = {1: "B", 3: "H", 4: "I", 13: "I", 16: "Q", 18: "Q"}
TIFF_OFFSETS, TIFF_COUNTS = (273, 324, 513), (279, 325, 514)


@dataclass(frozen=True)
class _Layout:
    """How a TIFF writes its numbers: byte order, and the widths of classic or Big TIFF."""

    order: str
    count: str
    entry: str
    offset: str
    first: int

    def read(self, file: _Bytes, at: int, form: str) -> tuple[int, ...]:
        form = self.order + form
        return struct.unpack(form, file.take(at, struct.calcsize(form)))

    def size(self, form: str) -> int:
        return struct.calcsize(self.order + form)


def _walk_tiff(file: _Bytes) -> None:
    order = "<" if file.take(0, 2) == b"II" else ">"
    big = struct.unpack(order + "H", file.take(2, 2))[0] == 43
    layout = _Layout(order, "Q", "HHQ", "Q", 8) if big else _Layout(order, "H", "HHI", "I", 4)
    (at,) = layout.read(file, layout.first, layout.offset)
    seen: set[int] = set()
    for _ in file.walk():
        if not at or at in seen:
            break
        seen.add(at)
        at = _check_directory(file, layout, at)
    if not seen:
        raise ImageUnreadable(reason=NO_IMAGE)


def _check_directory(file: _Bytes, layout: _Layout, at: int) -> int:
    """Check that the pixels of the directory at `at` lie in the file; returns where the next directory is."""
    (count,) = layout.read(file, at, layout.count)
    at += layout.size(layout.count)
    width = layout.size(layout.entry) + layout.size(layout.offset)
    if at + count * width > file.size:
        raise ImageUnreadable(reason=ENDS_EARLY)
    file.spend(count)
    tables: dict[int, tuple[int, ...]] = {}
    for entry in range(at, at + count * width, width):
        tag, kind, length = layout.read(file, entry, layout.entry)
        place = _tiff_values(file, layout, entry + layout.size(layout.entry), TIFF_WIDTHS.get(kind, 0) * length)
        if tag in TIFF_OFFSETS or tag in TIFF_COUNTS:
            tables[tag] = _tiff_numbers(file, layout, place, kind, length)
    for offsets, counts in zip(TIFF_OFFSETS, TIFF_COUNTS, strict=True):
        _check_pieces(tables.get(offsets, ()), tables.get(counts, ()), file.size)
    return layout.read(file, at + count * width, layout.offset)[0]


def _tiff_values(file: _Bytes, layout: _Layout, at: int, size: int) -> int:
    """Where the `size` bytes of a tag's values are: beside the tag or, when they do not fit, where it points."""
    if size <= layout.size(layout.offset):
        return at
    (at,) = layout.read(file, at, layout.offset)
    if at + size > file.size:
        raise ImageUnreadable(reason=ENDS_EARLY)
    return at


def _tiff_numbers(file: _Bytes, layout: _Layout, at: int, kind: int, length: int) -> tuple[int, ...]:
    if kind not in TIFF_NUMBERS:
        raise ImageUnreadable(reason=BROKEN)
    file.spend(length)
    return layout.read(file, at, f"{length}{TIFF_NUMBERS[kind]}")


def _check_pieces(offsets: tuple[int, ...], counts: tuple[int, ...], size: int) -> None:
    ends = map(sum, zip(offsets, counts, strict=False)) if counts else offsets
    if max(ends, default=0) > size:
        raise ImageUnreadable(reason=ENDS_EARLY)


WALKS: dict[str, Callable[[_Bytes], None]] = {
    "jpeg": _walk_jpeg,
    "png": _walk_png,
    "webp": _walk_webp,
    "gif": _walk_gif,
    "avif": _walk_avif,
    "heic": _walk_avif,
    "jxl": _walk_jxl,
    "tiff": _walk_tiff,
}
