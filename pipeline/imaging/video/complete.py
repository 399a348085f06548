"""Is a video file all there: walks its outermost structure, which says how long it is, without reading the rest.

ISO/IEC 14496-12 (boxes), RFC 8794 and 9559 (Matroska), and the RIFF of AVI. A file that does not say its length, as one
that was written while it was recorded, passes.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

from pipeline.errors import VideoUnreadable

ENDS_EARLY = "the file ends before the video does"
MOST_BOXES = 100_000
"""Boxes that are looked at; a recording in fragments has two for each of them."""
BEARING = frozenset({b"moov", b"moof", b"mdat"})
SEGMENT = 0x18538067
RIFF_HEAD = 8


def check_complete(path: Path, demuxer: str) -> None:
    """Return when the file has the length it promises; raises `VideoUnreadable`."""
    size = path.stat().st_size
    with path.open("rb") as file:
        if demuxer in WALKS and WALKS[demuxer](file, size) > size:
            raise VideoUnreadable(reason=ENDS_EARLY)


def _end_of_boxes(file: BinaryIO, size: int) -> int:
    at = 0
    for _ in range(MOST_BOXES):
        file.seek(at)
        head = file.read(16)
        length = int.from_bytes(head[:4], "big")
        if length == 1:
            length = int.from_bytes(head[8:16], "big")
        if length < 8 or (at + length > size and head[4:8] not in BEARING):
            break
        at += length
    return at


def _end_of_matroska(file: BinaryIO, size: int) -> int:
    at = 0
    while at < size:
        file.seek(at)
        head = file.read(16)
        id_length, length = _width(head, 0), _width(head, _width(head, 0))
        start = at + id_length + length
        number = int.from_bytes(head[id_length : id_length + length], "big") & ((1 << 7 * length) - 1)
        if not length or number == (1 << 7 * length) - 1:
            break
        if int.from_bytes(head[:id_length], "big") == SEGMENT:
            return start + number
        at = start + number
    return 0


def _width(head: bytes, at: int) -> int:
    """How many bytes the number at `at` has: one more than the zero bits it begins with; 0 for none."""
    first = head[at] if at < len(head) else 0
    return 9 - first.bit_length() if first else 0


def _end_of_riff(file: BinaryIO, size: int) -> int:
    return int.from_bytes(file.read(RIFF_HEAD)[4:8], "little") + RIFF_HEAD


WALKS: dict[str, Callable[[BinaryIO, int], int]] = {
    "mov": _end_of_boxes,
    "matroska": _end_of_matroska,
    "avi": _end_of_riff,
}
"""By ffmpeg's name for the container: where the file at least ends, as it says itself."""
