"""Encode a picture into a file, once, with defaults chosen by bytes, quality and CPU."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import pyvips

from pipeline.errors import NodeInvalid
from pipeline.imaging.credits import bare, credited
from pipeline.imaging.open import ANIMATED, readable
from pipeline.imaging.optimise import Span, best
from pipeline.imaging.picture import Picture, Wish, is_neutral
from pipeline.imaging.profile import carried, fits, in_profile

Format = Literal["jpeg", "png", "webp", "avif", "gif", "tiff"]
MEDIA_TYPES = {name: f"image/{name}" for name in ("jpeg", "png", "webp", "avif", "gif", "tiff")}
EXTENSIONS = {"jpeg": "jpg", "png": "png", "webp": "webp", "avif": "avif", "gif": "gif", "tiff": "tiff"}
QUALITIES = {"jpeg": 82, "webp": 80, "avif": 55}
# Against libvips' defaults: WebP takes half of the CPU for 3 % more bytes, AVIF a seventh for 13 %, GIF nine tenths for
# the same bytes and likeness, which effort 5 loses (docs/performance.md).
EFFORTS = {"webp": 2, "avif": 2, "gif": 6}
OPAQUE = frozenset({"jpeg"})
INCH = 25.4
"""Millimetres."""
LARGEST_OPTIMISED = 40_000_000
"""Pixels up to which a JPEG gets tables of its own; for them mozjpeg keeps 6 bytes of a pixel, 12 from quality 90."""
LONGEST_SIDE = {"jpeg": 65_500, "webp": 16_383, "avif": 16_384, "gif": 65_535}


@dataclass(frozen=True)
class Encoded:
    """A finished file: where it lies, what it is, bytes, pixels as shown, and its hash."""

    path: Path
    format: str
    mime: str
    size: int
    width: int
    height: int
    frames: int
    alpha: bool
    sha256: str
    profile: bool
    """Whether a colour profile is in it."""
    quality: int | None = None
    """The quality that was found by trying; None where nothing had to be tried or the format has none."""
    fits: bool = True
    """Whether the file is within the wished `max_bytes`."""


def encode(picture: Picture, path: Path) -> Encoded:
    """Write `picture` as it wishes into `path`; this is where its pixels are decoded and computed.

    Raises `ImageUnreadable` when the source breaks off on the way, `NodeInvalid` when the format cannot hold it.
    """
    if picture.wish.optimises:
        return _encode_best(picture, path)
    name = picture.wish.format or "png"
    ready = _prepared(picture, name)
    _check_sides(ready, name)
    with readable():
        _saver(ready, name)(str(path), **_arguments(ready, name))
    return _encoded(ready, name, path)


def _encode_best(picture: Picture, path: Path) -> Encoded:
    """Try encodings as `optimise.best` does; the pixels are computed once and stay in memory meanwhile."""
    names = picture.wish.formats if picture.wish.format is None else ()
    names = names or (picture.wish.format or "png",)
    held = _held(picture, not ANIMATED.isdisjoint(names))
    ready = {name: _prepared(held, name) for name in _able(held, names)}

    def attempt(name: str, quality: int | None) -> bytes:
        save = _saver(ready[name], name, "_buffer")
        with readable():
            return bytes(save(**_arguments(ready[name].wishing(replace(ready[name].wish, quality=quality)), name)))

    found = best({name: _span(held.wish, name) for name in ready}, held.wish.max_bytes, attempt)
    path.write_bytes(found.content)
    return replace(_encoded(ready[found.format], found.format, path), quality=found.quality, fits=found.fits)


def _held(picture: Picture, moving: bool) -> Picture:
    """The picture as it will be seen, in memory, without an alpha channel that hides nothing."""
    shown = picture if moving else picture.first_frame()
    whole = shown.filled().upright()
    # A wished profile is converted to from the colours there are: by way of sRGB the wider ones would be lost.
    sized = whole if whole.wish.profile else whole.in_srgb()
    with readable():
        pixels = sized.pixels.copy_memory()
        if pixels.hasalpha() and pixels.format == "uchar" and pixels[pixels.bands - 1].min() == 255:
            pixels = pixels.extract_band(0, n=pixels.bands - 1).copy_memory()
    return replace(sized, pixels=pixels, streaming=False)


def _able(picture: Picture, names: Sequence[str]) -> list[str]:
    """The formats that can keep size, animation and transparency, each as far as one of them can."""
    longest = max(picture.outline.width, picture.outline.height)
    found = [name for name in names if longest <= LONGEST_SIDE.get(name, longest)]
    if not found:
        _check_sides(picture, names[0])
    if picture.outline.frames > 1:
        found = [name for name in found if name in ANIMATED] or found
    if picture.pixels.hasalpha():
        found = [name for name in found if name not in OPAQUE] or found
    return found


def _span(wish: Wish, name: str) -> Span | None:
    """The qualities to try for a format, None when it has none or is lossless."""
    if name not in QUALITIES or (wish.lossless and name != "jpeg"):
        return None
    lowest = wish.min_quality or 1
    highest = wish.quality or max(lowest, QUALITIES[name])
    return Span(min(lowest, highest), highest)


def _encoded(ready: Picture, name: str, path: Path) -> Encoded:
    outline = ready.outline
    size, digest = path.stat().st_size, _sha256(path)
    shown = (outline.width, outline.height, outline.frames)
    alpha, profile = bool(ready.pixels.hasalpha()), _brings_profile(ready, name)
    return Encoded(path, name, MEDIA_TYPES[name], size, *shown, alpha, digest, profile)


def _brings_profile(ready: Picture, name: str) -> bool:
    profile = carried(ready.pixels) if _kept(ready.wish) & int(pyvips.ForeignKeep.ICC) else None
    return profile is not None and fits(profile, ready.pixels, name)


def _prepared(picture: Picture, name: str) -> Picture:
    still = picture if name in ANIMATED else picture.first_frame()
    sized = still.filled().upright()
    ready = _coloured(sized, name)
    pixels = ready.pixels
    if pixels.hasalpha() and name in OPAQUE:
        pixels = _flattened(pixels, _background(ready.wish))
    if ready.wish.credits is not None:
        pixels = credited(pixels, ready.wish.credits)
    if ready.wish.dpi is not None:
        pixels = _dense(pixels, ready.wish)
    if ready.outline.frames > 1:
        pixels = pixels.copy()
        pixels.set_type(pyvips.GValue.gint_type, "page-height", ready.outline.height)
    return replace(ready, pixels=pixels)


def _dense(pixels: pyvips.Image, wish: Wish) -> pyvips.Image:
    """The pixels with the density that is wished; a jpeg tells it in EXIF, where nothing else is told then."""
    assert wish.dpi is not None
    ready = pixels if wish.strip is False or wish.credits else bare(pixels)
    return ready.copy(xres=wish.dpi / INCH, yres=wish.dpi / INCH)


def _coloured(picture: Picture, name: str) -> Picture:
    """The picture in the colours it wishes, or in sRGB and no longer wishing others where they cannot be held."""
    profile = picture.wish.profile
    if profile is not None and fits(profile, picture.pixels, name):
        return picture.in_profile(profile)
    return picture.in_srgb().wishing(replace(picture.wish, profile=None))


def _flattened(pixels: pyvips.Image, background: Sequence[float]) -> pyvips.Image:
    """The pixels on the background; grey ones stay so on a grey one."""
    if pixels.bands > 2:
        return pixels.flatten(background=list(background))
    if is_neutral(background):
        return pixels.flatten(background=background[0])
    return pixels.colourspace("srgb").flatten(background=list(background))


def _background(wish: Wish) -> list[float]:
    """The background as the profile of the file writes it."""
    if wish.profile is None:
        return list(wish.background)
    spot = (pyvips.Image.black(1, 1) + list(wish.background)).cast("uchar").copy(interpretation="srgb")
    return list(in_profile(spot, wish.profile)(0, 0))


def _kept(wish: Wish) -> int:
    """Which metadata of the pixels go into the file; what was wished goes in, what was only brought does not."""
    keep = pyvips.ForeignKeep
    if wish.strip is False:
        return int(keep.ALL)
    told = keep.EXIF | keep.XMP | keep.OTHER if wish.credits else keep.EXIF if wish.dpi else keep.NONE
    return int(told | (keep.ICC if wish.profile else keep.NONE))


def _check_sides(picture: Picture, name: str) -> None:
    longest = max(picture.outline.width, picture.outline.height)
    if longest > LONGEST_SIDE.get(name, longest):
        raise NodeInvalid(reason=f"format: {name} holds at most {LONGEST_SIDE[name]} pixels a side, not {longest}")


def _saver(picture: Picture, name: str, target: Literal["", "_buffer"] = "") -> Any:
    return getattr(picture.pixels, ("heifsave" if name == "avif" else f"{name}save") + target)


def _arguments(picture: Picture, name: str) -> dict[str, Any]:
    pixels = picture.pixels.width * picture.pixels.height
    return {"keep": _kept(picture.wish), **_options(picture.wish, name, pixels)}


def _options(wish: Wish, name: str, pixels: int) -> dict[str, Any]:
    quality = wish.quality or QUALITIES.get(name)
    effort = wish.effort if wish.effort is not None else EFFORTS.get(name)
    if name == "jpeg":
        return {"Q": quality, "interlace": bool(wish.progressive), "optimize_coding": pixels <= LARGEST_OPTIMISED}
    if name == "png":
        return {"interlace": bool(wish.progressive), "compression": 6 if effort is None else effort}
    if name == "webp":
        return {"Q": quality, "lossless": bool(wish.lossless), "effort": min(effort or 0, 6)}
    if name == "avif":
        return {"Q": quality, "lossless": bool(wish.lossless), "effort": effort, "compression": "av1"}
    if name == "gif":
        return {"effort": max(1, effort or 1), "interlace": bool(wish.progressive)}
    return {"compression": "deflate", "predictor": "horizontal"}


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
