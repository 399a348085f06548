"""What a draft makes of a picture: the recipe, and the format that suits file and browser."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pipeline.api.dialects.imagekit.delivery.backgrounds import BLACK
from pipeline.api.dialects.imagekit.delivery.draft import MOST_PIXELS, Draft
from pipeline.delivery import Recipe, accepted
from pipeline.errors import ImageTooLarge, RequestInvalid
from pipeline.imaging.picture import Outline
from pipeline.model import File

QUALITIES: Mapping[str, int] = {"jpeg": 80, "webp": 80, "avif": 55}
"""Where none is said; AVIF looks the same at less."""
WRITTEN = frozenset({"jpeg", "png", "webp", "avif", "gif"})
DRAWN = frozenset({"svg", "pdf"})
"""What has no pixels of its own."""


@dataclass(frozen=True)
class Making:
    """What is made, and whether `Accept` had a say in it."""

    recipe: Recipe
    varies: bool = False


def outline_of(file: File) -> Outline:
    """What is known of a picture before its pixels are; raises `RequestInvalid` for what is none, `ImageTooLarge`."""
    image = file.image
    if image is None:
        raise RequestInvalid(reason=f"`{file.name[:80]}` is no picture.")
    if image.width * image.height > MOST_PIXELS:
        raise ImageTooLarge(pixels=image.width * image.height, limit=MOST_PIXELS)
    vector = image.format in DRAWN
    return Outline(
        image.width, image.height, image.frames, image.alpha or image.format == "svg", image.format, 1, vector
    )


def picture(draft: Draft, file: File, accept: str) -> Making:
    """The picture that a draft makes of a file, written as the draft and `accept` say; raises `RequestInvalid`."""
    format, varies = _format(draft, file, accept)
    said = _said(draft, format)
    if draft.writing.keep_profile:
        draft.add("icc", to="source")
    nodes = {**draft.ground.nodes, "out": {"type": "save", "from": draft.last, "path": "picture", **said}}
    return Making(Recipe(file, nodes, draft.ground.beside), varies)


def _said(draft: Draft, format: str) -> dict[str, Any]:
    told = draft.writing
    said: dict[str, Any] = {"format": format, "background": told.background or BLACK}
    if format in QUALITIES:
        said["quality"] = told.quality or QUALITIES[format]
    if told.lossless and format in ("webp", "avif"):
        said["lossless"] = True
    if told.progressive and format in ("jpeg", "png"):
        said["progressive"] = True
    if told.keep_metadata:
        said["strip"] = False
    if told.dpi:
        said["dpi"] = told.dpi
    return said


# The format


def _format(draft: Draft, file: File, accept: str) -> tuple[str, bool]:
    """What it is written in, and whether `accept` had a say."""
    wish, end = draft.writing.format or "auto", draft.outline
    own = file.image.format if file.image else ""
    if wish == "gif" and own != "gif":
        raise RequestInvalid(reason="`f-gif` is for GIF files.")
    if wish == "svg":
        raise RequestInvalid(reason="`f-svg` is for SVG files, and for nothing that makes pixels of them.")
    if wish not in ("auto", "orig"):
        return wish, False
    if wish == "orig" or (end.frames > 1 and own in ("gif", "webp")):
        return _kept(own, end), False
    return _best(end, own, accept), True


def _kept(own: str, end: Outline) -> str:
    """The format of the file, where it can be written and holds what there is by now."""
    if own in WRITTEN and not (own == "jpeg" and end.alpha):
        return own
    return "png" if end.alpha or own in DRAWN else "jpeg"


def _best(end: Outline, own: str, accept: str) -> str:
    sharp = end.alpha or own in DRAWN or own in ("png", "gif")
    return accepted(end, accept) or ("png" if sharp else "jpeg")
