"""Read the facts of an image from its header; not one pixel is decoded.

Runs inside a sandbox child: the header of a stranger's file is parsed by C code here.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import pyvips
from PIL import ExifTags, Image

from pipeline.errors import ImageFramesTooMany, ImageTooLarge, ImageUnreadable
from pipeline.imaging import heif, jxl, pages, vector
from pipeline.imaging.quality import quality_of
from pipeline.model import ImageFacts, Place
from pipeline.sniff import MEDIA_FORMATS

LOADERS: dict[str, Callable[..., pyvips.Image]] = {
    "jpeg": pyvips.Image.jpegload,
    "png": pyvips.Image.pngload,
    "webp": pyvips.Image.webpload,
    "avif": pyvips.Image.heifload,
    "gif": pyvips.Image.gifload,
    "tiff": pyvips.Image.tiffload,
}
COLOUR_SPACES = {"b-w": "grey", "rgb": "srgb"}
TURNED = frozenset({5, 6, 7, 8})
"""EXIF orientations that swap width and height."""
DOTS_PER_INCH = 25.4
"""libvips counts pixels per millimetre."""
PNG_DEFAULT = 2.834
LIKELY_DPI = (1.0, 100_000.0)


def measure(path: str, mime: str, max_pixels: int, max_frames: int) -> ImageFacts:
    """The facts of the image file at `path` whose sniffed type is `mime`, width and height as shown.

    Of a PDF they are those of its first page at 150 dots per inch.

    Raises `ImageTooLarge` when width x height x frames, or the frames alone, pass the caps, and `ImageUnreadable`
    when the header is not that of the format its first bytes name.
    """
    format = MEDIA_FORMATS.get(mime)
    if format is None:
        raise ImageUnreadable(reason=f"{mime} is not a format that is opened here")
    if format in BESIDE:
        facts = BESIDE[format](Path(path))
        _check_caps(facts.width, facts.height, facts.frames, max_pixels, max_frames)
        return facts
    try:
        # libvips remembers what it opened by path, and a path may hold another file now.
        image = LOADERS[format](path, revalidate=True)
    except pyvips.Error as cause:
        raise ImageUnreadable(reason="its header is damaged") from cause
    if _field(image, "heif-compression", "av1") != "av1":
        raise ImageUnreadable(reason="it is not AVIF inside")
    frames = max(1, int(_field(image, "n-pages", 1)))
    _check_caps(image.width, image.height, frames, max_pixels, max_frames)
    return _facts(image, path, format, frames)


def _check_caps(width: int, height: int, frames: int, max_pixels: int, max_frames: int) -> None:
    if frames > max_frames:
        raise ImageFramesTooMany(frames=frames, limit=max_frames)
    if width * height * frames > max_pixels:
        raise ImageTooLarge(pixels=width * height * frames, limit=max_pixels)


def _facts(image: pyvips.Image, path: str, format: str, frames: int) -> ImageFacts:
    orientation = int(_field(image, "orientation", 1))
    orientation = orientation if 1 <= orientation <= 8 else 1
    width, height = image.width, image.height
    shot, position = _exif(image, path, format)
    return ImageFacts(
        format=format,
        width=height if orientation in TURNED else width,
        height=width if orientation in TURNED else height,
        orientation=orientation,
        frames=frames,
        alpha=bool(image.hasalpha()),
        colour_space=_colour_space(image),
        dpi=_dpi(image, format),
        quality=quality_of(path) if format == "jpeg" else None,
        profile=bool(image.get_typeof("icc-profile-data")),
        taken_at=_taken_at(shot),
        place=_place(position),
    )


# Formats that libvips does not read by itself


def _facts_of_svg(path: Path) -> ImageFacts:
    try:
        width, height = vector.size_of(path)
    except pyvips.Error as cause:
        raise ImageUnreadable(reason="it is no drawing, or one without a size") from cause
    return ImageFacts(format="svg", width=width, height=height, alpha=True)


def _facts_of_pdf(path: Path) -> ImageFacts:
    width, height = pages.size_of(path)
    return ImageFacts(format="pdf", width=width, height=height, pages=pages.count(path), dpi=pages.DPI)


def _facts_of_heic(path: Path) -> ImageFacts:
    header = heif.header(path)
    shot, position = _quietly(lambda: _tags(header.exif))
    space = "grey" if header.grey else "srgb"
    taken_at, place = _taken_at(shot), _place(position)
    return ImageFacts(
        format="heic", width=header.width, height=header.height, alpha=header.alpha, colour_space=space,
        profile=header.profile, taken_at=taken_at, place=place,
    )  # fmt: skip


def _facts_of_jxl(path: Path) -> ImageFacts:
    header = jxl.header(path)
    return ImageFacts(format="jxl", width=header.width, height=header.height, alpha=header.alpha)


BESIDE: dict[str, Callable[[Path], ImageFacts]] = {
    "svg": _facts_of_svg,
    "pdf": _facts_of_pdf,
    "heic": _facts_of_heic,
    "jxl": _facts_of_jxl,
}


def _field(image: pyvips.Image, name: str, default: Any) -> Any:
    return image.get(name) if image.get_typeof(name) else default


def _colour_space(image: pyvips.Image) -> str:
    name = str(image.interpretation)
    return COLOUR_SPACES.get(name, name)


def _dpi(image: pyvips.Image, format: str) -> float | None:
    """Dots per inch, None when the file does not say."""
    # The PNG loader keeps the unit to itself, and gives a default where there is none.
    named = image.xres != PNG_DEFAULT if format == "png" else _field(image, "resolution-unit", "") in ("in", "cm")
    dpi = round(image.xres * DOTS_PER_INCH, 2)
    return dpi if named and LIKELY_DPI[0] <= dpi <= LIKELY_DPI[1] else None


# EXIF

Tags = Mapping[int, Any]


def _exif(image: pyvips.Image, path: str, format: str) -> tuple[Tags, Tags]:
    if format == "tiff":
        return _quietly(lambda: _tags_of_tiff(path))
    return _quietly(lambda: _tags(_field(image, "exif-data", b"")))


def _quietly(read: Callable[[], tuple[Tags, Tags]]) -> tuple[Tags, Tags]:
    """The tags on the shot and on the position; empty ones when there are none that can be read."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return read()
        # EXIF comes from a thousand cameras and editors: whatever is wrong with it must not cost the picture.
        except Exception:
            return {}, {}


def _tags(data: bytes) -> tuple[Tags, Tags]:
    exif = Image.Exif()
    exif.load(data)
    return exif.get_ifd(ExifTags.IFD.Exif), exif.get_ifd(ExifTags.IFD.GPSInfo)


def _tags_of_tiff(path: str) -> tuple[Tags, Tags]:
    """A TIFF is its own EXIF, which libvips does not hand out."""
    with Image.open(path, formats=["TIFF"]) as opened:
        exif = opened.getexif()
        return exif.get_ifd(ExifTags.IFD.Exif), exif.get_ifd(ExifTags.IFD.GPSInfo)


def _taken_at(shot: Tags) -> str | None:
    """ISO 8601, with the camera's offset from UTC where it wrote one."""
    try:
        taken = datetime.strptime(_text(shot.get(ExifTags.Base.DateTimeOriginal)), "%Y:%m:%d %H:%M:%S")
    except ValueError:
        return None
    try:
        offset = datetime.strptime(_text(shot.get(ExifTags.Base.OffsetTimeOriginal)), "%z").tzinfo
    except ValueError:
        offset = None
    return taken.replace(tzinfo=offset).isoformat()


def _text(value: Any) -> str:
    return value.strip(" \0") if isinstance(value, str) else ""


def _place(position: Tags) -> Place | None:
    """WGS 84 degrees; None when they are missing, out of range or the zeros of a receiver without a fix."""
    latitude = _degrees(position.get(ExifTags.GPS.GPSLatitude), position.get(ExifTags.GPS.GPSLatitudeRef), "NS")
    longitude = _degrees(position.get(ExifTags.GPS.GPSLongitude), position.get(ExifTags.GPS.GPSLongitudeRef), "EW")
    if latitude is None or longitude is None or abs(latitude) > 90 or abs(longitude) > 180:
        return None
    return Place(latitude=latitude, longitude=longitude) if latitude or longitude else None


def _degrees(parts: Any, side: Any, sides: str) -> float | None:
    """Degrees, minutes and seconds as one number, negative on the second of `sides`."""
    letter = _text(side).upper()
    if not isinstance(parts, Sequence) or len(parts) != 3 or not letter or letter not in sides:
        return None
    try:
        degrees, minutes, seconds = (float(part) for part in parts)
    except (TypeError, ValueError, ZeroDivisionError):
        return None
    if not all(math.isfinite(part) and part >= 0 for part in (degrees, minutes, seconds)) or max(minutes, seconds) > 60:
        return None
    total = round(degrees + minutes / 60 + seconds / 3600, 7)
    return -total if letter == sides[1] else total
