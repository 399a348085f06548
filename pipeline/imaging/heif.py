"""Read HEIC and HEIF files by libheif in pillow-heif: the primary picture, upright, with its colour profile."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyvips

from pipeline.errors import ImageUnreadable

if TYPE_CHECKING:
    from pillow_heif import HeifImage

DISPLAY_P3 = 12
"""Colour primaries of SMPTE EG 432-1 as ITU-T H.273 numbers them."""


@dataclass(frozen=True)
class Header:
    """What a HEIF file says of its primary picture; the size is as shown, and `exif` may be empty."""

    width: int
    height: int
    alpha: bool
    grey: bool
    profile: bool
    exif: bytes


def header(path: Path) -> Header:
    """The header of the file, not one pixel decoded; raises `ImageUnreadable`."""
    found = _primary(path)
    exif, grey, profile = found.info.get("exif"), found.mode.startswith("L"), bool(found.info.get("icc_profile"))
    return Header(*found.size, found.has_alpha, grey, profile, exif if isinstance(exif, bytes) else b"")


def decoded(path: Path) -> pyvips.Image:
    """The primary picture in 8 bits, in memory; raises `ImageUnreadable`."""
    found = _primary(path)
    try:
        data, stride = found.data, found.stride
    except (ValueError, EOFError, SyntaxError, RuntimeError, OSError) as cause:
        raise ImageUnreadable(reason="its pixels are damaged or end too early") from cause
    width, height = found.size
    bands = len(found.mode)
    rows = pyvips.Image.new_from_memory(data, stride, height, 1, "uchar")
    pixels = rows.crop(0, 0, width * bands, height).bandfold(factor=bands)
    pixels = pixels.copy(interpretation="srgb" if bands > 2 else "b-w")
    if found.premultiplied_alpha:
        pixels = pixels.unpremultiply().cast("uchar")
    return _with_metadata(pixels, found.info)


def _primary(path: Path) -> HeifImage:
    # Loaded by the child that meets the first such file: most never do.
    import pillow_heif

    # One thread: parallelism comes from runs.
    pillow_heif.options.DECODE_THREADS = 1
    pillow_heif.options.THUMBNAILS = pillow_heif.options.DEPTH_IMAGES = pillow_heif.options.AUX_IMAGES = False
    try:
        opened = pillow_heif.open_heif(path, convert_hdr_to_8bit=True)
        found = opened[opened.primary_index]
    except (ValueError, EOFError, SyntaxError, RuntimeError, OSError, IndexError) as cause:
        raise ImageUnreadable(reason="its header is damaged") from cause
    # libheif turns the pixels as the container says; an orientation in the EXIF beside it is not to be applied
    # again (ISO/IEC 23008-12, annex A.2.1).
    pillow_heif.set_orientation(found.info)
    return found


def _with_metadata(pixels: pyvips.Image, info: dict[str, Any]) -> pyvips.Image:
    pixels = pixels.copy()
    fields = {"icc-profile-data": _profile(info), "exif-data": info.get("exif"), "xmp-data": info.get("xmp")}
    for name, value in fields.items():
        if value:
            pixels.set_type(pyvips.GValue.blob_type, name, value)
    return pixels


def _profile(info: dict[str, Any]) -> bytes | None:
    """The embedded profile, or the one that a code for Display P3 stands for; None for sRGB and what is unknown."""
    if info.get("icc_profile"):
        return bytes(info["icc_profile"])
    coded = info.get("nclx_profile") or {}
    return bytes(pyvips.Image.profile_load("p3")) if coded.get("color_primaries") == DISPLAY_P3 else None
