"""Turn a picture, give its frames another size or corners, and lay colour where a mask says."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
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


def fitting(corners: Sequence[tuple[float, float]], width: int, height: int) -> list[tuple[float, float]]:
    """The radii of four corners, from the top left clockwise, made smaller together until none overlap.

    As `border-radius` does it: CSS Backgrounds and Borders Level 3, section 4.5.
    """
    (a, e), (b, f), (c, g), (d, h) = corners
    spans = ((width, a + b), (width, d + c), (height, e + h), (height, f + g))
    factor = min([1.0, *(side / taken for side, taken in spans if taken > 0)])
    return [(across * factor, down * factor) for across, down in corners]


def elliptic(width: int, height: int, corners: Sequence[tuple[float, float]]) -> pyvips.Image:
    """How much of each pixel, 0 to 255, lies in a rectangle whose corners are quarters of ellipses."""
    made = pyvips.Image.black(width, height).new_from_image(255).cast("uchar")
    for number, (across, down) in enumerate(corners):
        if across <= 0 or down <= 0:
            continue
        corner = _quarter(min(width, math.ceil(across)), min(height, math.ceil(down)), across, down)
        right, below = number in (1, 2), number in (2, 3)
        corner = corner.fliphor() if right else corner
        corner = corner.flipver() if below else corner
        made = made.insert(corner, width - corner.width if right else 0, height - corner.height if below else 0)
    return made


def _quarter(width: int, height: int, across: float, down: float) -> pyvips.Image:
    """The top left corner; how far a pixel is from the ellipse is told by the slope there, to the first order."""
    place = pyvips.Image.xyz(width, height)
    x, y = across - 0.5 - place[0], down - 0.5 - place[1]
    x, y = (x > 0).ifthenelse(x, 0), (y > 0).ifthenelse(y, 0)
    level = ((x / across) ** 2 + (y / down) ** 2) ** 0.5
    slope = ((x / across**2) ** 2 + (y / down**2) ** 2) ** 0.5
    # Towards the middle both go to nothing; there a pixel is inside anyway.
    inside = (1 - level) * level / (slope + 1e-9) + 0.5
    inside = (level < 0.5).ifthenelse(1, inside)
    inside = (inside > 0).ifthenelse((inside > 1).ifthenelse(1, inside), 0)
    return (inside * 255).rint().cast("uchar").copy_memory()


def masked(frame: pyvips.Image, mask: pyvips.Image) -> pyvips.Image:
    """The frame with its alpha multiplied by the mask."""
    if not frame.hasalpha():
        return frame.bandjoin(mask)
    return frame.extract_band(0, n=3).bandjoin((frame[3] * mask / 255).rint().cast("uchar"))


def embedded(mask: pyvips.Image, left: int, top: int, width: int, height: int) -> pyvips.Image:
    """The mask on a black canvas of this size, on which it may have no place at all."""
    if left >= width or top >= height or left + mask.width <= 0 or top + mask.height <= 0:
        return pyvips.Image.black(width, height)
    return mask.embed(left, top, width, height)


def plane(mask: pyvips.Image, colour: tuple[int, ...], opacity: float = 1.0) -> pyvips.Image:
    """A plane of one colour that shows as much as the mask and its own alpha say."""
    strength = opacity * (colour[3] if len(colour) == 4 else 255) / 255
    filled = mask.new_from_image(list(colour[:3])).cast("uchar").copy(interpretation="srgb")
    return filled.bandjoin((mask * strength).rint().cast("uchar"))


def plain_picture(width: int, height: int, colour: tuple[int, ...], alpha: bool = True) -> Picture:
    """A picture of one colour."""
    pixels = pyvips.Image.black(width, height).new_from_image([*colour, 255][: 4 if alpha else 3]).cast("uchar")
    return Picture(pixels.copy(interpretation="srgb"), Outline(width, height, alpha=alpha))


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
