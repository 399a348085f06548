"""The EXIF of a file as plain values under the names of the standard; read from its header, no pixel is decoded.

Names are those of CIPA DC-008 (Exif 3.0) as Pillow spells them.
"""

from __future__ import annotations

import math
import struct
import warnings
from collections.abc import Mapping
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import Any

from PIL import ExifTags, Image
from PIL.AvifImagePlugin import AvifImageFile
from PIL.ImageFile import ImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.TiffImagePlugin import TiffImageFile
from PIL.WebPImagePlugin import WebPImageFile

from pipeline.imaging import heif

READERS: dict[str, type[ImageFile]] = {
    "jpeg": JpegImageFile,
    "png": PngImageFile,
    "webp": WebPImageFile,
    "avif": AvifImageFile,
    "tiff": TiffImageFile,
}
"""Pillow's own classes: each reads its one format, and counts no pixels, which was done when the file was measured."""

MOST_TAGS = 250
LONGEST_TEXT = 500
"""Characters; longer texts are cut."""
MOST_NUMBERS = 16
"""Longer lists are tables for decoders (strips, curves), not something to read."""
MOST_CHUNKS, LARGEST_CHUNK = 100_000, 1_000_000
POINTERS = frozenset({ExifTags.IFD.Exif, ExifTags.IFD.GPSInfo, ExifTags.IFD.Interop})
BLOBS = frozenset({0x02BC, 0x83BB, 0x8649, 0x8773, 0x927C, 0xC4A5})
"""XMP, IPTC, Photoshop's blocks, the ICC profile, the maker's note and PrintIM: formats of their own."""
XP_TEXTS = frozenset({0x9C9B, 0x9C9C, 0x9C9D, 0x9C9E, 0x9C9F})
"""What Windows writes as UTF-16: XPTitle, XPComment, XPAuthor, XPKeywords, XPSubject."""
ASCII_CODE, UNICODE_CODE = b"ASCII\0\0\0", b"UNICODE\0"
"""With these eight bytes a comment names its character code."""
SIDES = {ExifTags.GPS.GPSLatitude: "S", ExifTags.GPS.GPSLongitude: "W"}
"""The half of the globe in which a coordinate is negative."""

Plain = str | int | float | list[int | float]
Directory = tuple[Mapping[int, Any], Mapping[int, str]]


def read_exif(path: Path, format: str) -> dict[str, Plain]:
    """Tag name -> text, number or list of numbers; GPSLatitude and GPSLongitude in degrees, GPSAltitude in metres.

    Binary values are left out, and so is what cannot be read: broken EXIF gives fewer tags, never an error.
    """
    directories: list[Directory] = []
    with warnings.catch_warnings(), suppress(Exception):
        # EXIF comes from a thousand cameras and editors, and can be broken in every way there is.
        warnings.simplefilter("ignore")
        directories = _directories(path, format)
    named = ((names.get(tag), _plain(tag, value)) for tags, names in directories for tag, value in tags.items())
    return dict(islice(((name, plain) for name, plain in named if name and plain is not None), MOST_TAGS))


def _directories(path: Path, format: str) -> list[Directory]:
    """The tags of the picture, of the shot and of the place, each with their names."""
    if format == "heic":
        exif = Image.Exif()
        exif.load(heif.header(path).exif)
        return _parts(exif)
    if format not in READERS:
        return []
    with READERS[format](path) as opened:
        if format == "png" and "exif" not in opened.info and (late := _exif_behind_pixels(path)):
            opened.info["exif"] = late
        # Not the PNG class's own, which decodes the pixels to get at what lies behind them.
        return _parts(Image.Image.getexif(opened))


def _parts(exif: Image.Exif) -> list[Directory]:
    found: list[Directory] = [(dict(exif), ExifTags.TAGS)]
    with suppress(Exception):
        found.append((exif.get_ifd(ExifTags.IFD.Exif), ExifTags.TAGS))
    with suppress(Exception):
        found.append((_located(exif.get_ifd(ExifTags.IFD.GPSInfo)), ExifTags.GPSTAGS))
    return found


def _exif_behind_pixels(path: Path) -> bytes:
    """The eXIf chunk of a PNG wherever it is, empty when there is none."""
    with path.open("rb") as file:
        file.seek(8)
        for _ in range(MOST_CHUNKS):
            if len(head := file.read(8)) < 8:
                break
            size, name = struct.unpack(">I4s", head)
            if name == b"eXIf" and size <= LARGEST_CHUNK:
                return file.read(size)
            file.seek(size + 4, 1)
    return b""


# Values


def _plain(tag: int, value: Any) -> Plain | None:
    """The value as JSON can hold it, None when it is binary, empty or no number."""
    if tag in POINTERS or tag in BLOBS:
        return None
    if isinstance(value, bytes):
        return _text(_decoded(tag, value))
    if isinstance(value, str):
        return _text(_reread(value))
    if isinstance(value, tuple | list):
        numbers = [_number(part) for part in value]
        whole = [number for number in numbers if number is not None]
        return whole if 0 < len(whole) == len(numbers) <= MOST_NUMBERS else None
    return _number(value)


def _text(value: str) -> str | None:
    text = "".join(letter for letter in value.strip("\0 ") if letter.isprintable() or letter == "\n")
    return text[:LONGEST_TEXT] or None


def _reread(value: str) -> str:
    """Texts are ASCII by the standard and UTF-8 by custom; Pillow reads them as Latin-1."""
    try:
        return value.encode("latin-1").decode("utf-8")
    except UnicodeError:
        return value


def _decoded(tag: int, value: bytes) -> str:
    """The text that the bytes are; empty when they are none."""
    if tag in XP_TEXTS:
        return value.decode("utf-16-le", "ignore")
    code, body = value[:8], value[8:]
    if code == UNICODE_CODE:
        return body.decode("utf-16-be" if body[:1] == b"\0" else "utf-16", "ignore")
    if code == ASCII_CODE:
        return body.decode("utf-8", "ignore")
    text = value.strip(b"\0 ").decode("ascii", "ignore")
    return text if text.isprintable() and len(text) == len(value.strip(b"\0 ")) else ""


def _number(value: Any) -> int | float | None:
    if isinstance(value, int):
        return value
    try:
        number = float(value)
    except (TypeError, ValueError, ZeroDivisionError, OverflowError):
        return None
    if not math.isfinite(number):
        return None
    return int(number) if number.is_integer() else round(number, 8)


# Places


def _located(tags: Mapping[int, Any]) -> dict[int, Any]:
    """The tags with degrees, minutes and seconds as one signed number, and the altitude signed too."""
    located = {tag: value for tag, value in tags.items() if tag not in (*SIDES, *(side - 1 for side in SIDES))}
    for tag, negative in SIDES.items():
        parts = _plain(tag, tags.get(tag))
        if isinstance(parts, list) and len(parts) == 3:
            degrees = parts[0] + parts[1] / 60 + parts[2] / 3600
            below = str(tags.get(tag - 1, "")).strip("\0 ").upper() == negative
            located[tag] = round(-degrees if below else degrees, 7)
    height = _number(tags.get(ExifTags.GPS.GPSAltitude))
    if height is not None and located.pop(ExifTags.GPS.GPSAltitudeRef, b"\0") in (b"\1", 1):
        located[ExifTags.GPS.GPSAltitude] = -height
    return located
