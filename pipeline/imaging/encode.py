"""Encode a picture into a file, once, with defaults chosen by bytes, quality and CPU."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import pyvips

from pipeline.errors import ImageUnreadable
from pipeline.imaging.open import ANIMATED, readable
from pipeline.imaging.picture import Picture, Wish

Format = Literal["jpeg", "png", "webp", "avif", "gif", "tiff"]
MEDIA_TYPES = {name: f"image/{name}" for name in ("jpeg", "png", "webp", "avif", "gif", "tiff")}
EXTENSIONS = {"jpeg": "jpg", "png": "png", "webp": "webp", "avif": "avif", "gif": "gif", "tiff": "tiff"}
QUALITIES = {"jpeg": 82, "webp": 80, "avif": 55}
# Effort 2 costs half of libvips' default for WebP and an eighth for AVIF, for a few percent more bytes.
EFFORTS = {"webp": 2, "avif": 2, "gif": 4}
OPAQUE = frozenset({"jpeg"})
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


def encode(picture: Picture, path: Path) -> Encoded:
    """Write `picture` as it wishes into `path`; this is where its pixels are decoded and computed.

    Raises `ImageUnreadable` when the source breaks off on the way or the format cannot hold the picture.
    """
    name = picture.wish.format or "png"
    ready = _prepared(picture, name)
    _check_sides(ready, name)
    keep = pyvips.ForeignKeep.NONE if picture.wish.strip is not False else pyvips.ForeignKeep.ALL
    with readable():
        _saver(ready, name)(str(path), keep=keep, **_options(picture.wish, name))
    outline = ready.outline
    size, digest = path.stat().st_size, _sha256(path)
    shown = (outline.width, outline.height, outline.frames)
    return Encoded(path, name, MEDIA_TYPES[name], size, *shown, bool(ready.pixels.hasalpha()), digest)


def _prepared(picture: Picture, name: str) -> Picture:
    still = picture if name in ANIMATED else picture.first_frame()
    sized = still.scaled(still.outline.width, still.outline.height).upright()
    ready = sized.in_srgb()
    pixels = ready.pixels
    if pixels.hasalpha() and name in OPAQUE:
        pixels = pixels.flatten(background=list(picture.wish.background))
    if ready.outline.frames > 1:
        pixels = pixels.copy()
        pixels.set_type(pyvips.GValue.gint_type, "page-height", ready.outline.height)
    return replace(ready, pixels=pixels)


def _check_sides(picture: Picture, name: str) -> None:
    longest = max(picture.outline.width, picture.outline.height)
    if longest > LONGEST_SIDE.get(name, longest):
        raise ImageUnreadable(reason=f"{name} holds at most {LONGEST_SIDE[name]} pixels a side, not {longest}")


def _saver(picture: Picture, name: str) -> Any:
    return getattr(picture.pixels, "heifsave" if name == "avif" else f"{name}save")


def _options(wish: Wish, name: str) -> dict[str, Any]:
    quality = wish.quality or QUALITIES.get(name)
    effort = wish.effort if wish.effort is not None else EFFORTS.get(name)
    if name == "jpeg":
        return {"Q": quality, "interlace": bool(wish.progressive), "optimize_coding": True}
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
