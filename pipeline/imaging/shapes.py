"""Turn a picture, give its frames another size or corners, and lay colour where a mask says."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import pyvips

from pipeline.imaging.picture import QUARTERS, Outline, Picture, tagged

ORIENTATIONS = {quarters: orientation for orientation, quarters in QUARTERS.items()}


def lying(outline: Outline, orientation: int) -> Outline:
    """The outline as this EXIF orientation shows it; 5 to 8 swap the sides."""
    return outline.sized(outline.height, outline.width) if orientation >= 5 else outline


def turned(picture: Picture, orientation: int) -> Picture:
    """The picture as this EXIF orientation shows it, without loss; turned later, on fewer pixels, where that can be."""
    outline = lying(picture.outline, orientation)
    if outline.orientation != 1:
        # An EXIF orientation not applied yet comes after this turn, so it has to stay with the pixels.
        drawn = replace(picture, turn=orientation).upright()
        return replace(drawn, pixels=tagged(drawn.pixels, outline.orientation), outline=outline)
    turn = _after(orientation, picture.turn)
    pixels = tagged(picture.pixels, 1) if turn == 1 else picture.pixels
    return replace(picture, pixels=pixels, turn=turn, outline=outline)


def at_hand(picture: Picture) -> Picture:
    """The picture upright, its outline the pixels there are, so that acts leave their scale alone."""
    upright = picture.upright()
    height = upright.pixels.height // upright.outline.frames
    return replace(upright, outline=upright.outline.sized(upright.pixels.width, height))


def reshaped(picture: Picture, width: int, height: int, act: Callable[[pyvips.Image], pyvips.Image]) -> Picture:
    """The picture with every settled frame replaced by one of this size."""
    drawn = picture.each_frame(act)
    return replace(drawn, outline=drawn.outline.sized(width, height))


def coverage(width: int, height: int, radius: float) -> pyvips.Image:
    """How much of each pixel, 0 to 255, lies in a rectangle with corners of this radius; only corners are computed."""
    plain = pyvips.Image.black(width, height).new_from_image(255).cast("uchar")
    radius = min(radius, width / 2, height / 2)
    if radius <= 0:
        return plain
    side = math.ceil(radius)
    # From the middle of each pixel to the centre of the arc; beyond the centre the edge is straight.
    away = radius - 0.5 - pyvips.Image.xyz(side, side)
    away = (away > 0).ifthenelse(away, 0)
    inside = radius + 0.5 - (away[0] ** 2 + away[1] ** 2) ** 0.5
    inside = (inside > 0).ifthenelse((inside > 1).ifthenelse(1, inside), 0)
    # Computed once and shown four times.
    corner = (inside * 255).rint().cast("uchar").copy_memory()
    top = plain.insert(corner, 0, 0).insert(corner.fliphor(), width - side, 0)
    below = corner.flipver()
    return top.insert(below, 0, height - side).insert(below.fliphor(), width - side, height - side)


def masked(frame: pyvips.Image, mask: pyvips.Image) -> pyvips.Image:
    """The frame with its alpha multiplied by the mask."""
    if not frame.hasalpha():
        return frame.bandjoin(mask)
    return frame.extract_band(0, n=3).bandjoin((frame[3] * mask / 255).rint().cast("uchar"))


def plane(mask: pyvips.Image, colour: tuple[int, ...], opacity: float = 1.0) -> pyvips.Image:
    """A plane of one colour that shows as much as the mask and its own alpha say."""
    strength = opacity * (colour[3] if len(colour) == 4 else 255) / 255
    filled = mask.new_from_image(list(colour[:3])).cast("uchar").copy(interpretation="srgb")
    return filled.bandjoin((mask * strength).rint().cast("uchar"))


def with_alpha(frame: pyvips.Image) -> pyvips.Image:
    """The frame, opaque where it has no alpha of its own."""
    return frame if frame.hasalpha() else frame.addalpha()


def bands(colour: tuple[int, ...], frame: pyvips.Image) -> list[int]:
    """The colour as the bands of this frame."""
    return [*colour, 255][:4] if frame.hasalpha() else [*colour[:3]]


def _after(later: int, earlier: int) -> int:
    """The one orientation that is two, one after the other."""
    (quarters, mirrored), (first, was) = QUARTERS[later], QUARTERS[earlier]
    # A mirroring turns what was turned before it the other way round.
    return ORIENTATIONS[(quarters + (-first if mirrored else first)) % 4, mirrored != was]
