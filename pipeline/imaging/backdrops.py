"""What may lie behind a picture and is made of it: a blurred copy, its main colours."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import pyvips

from pipeline.imaging.blurring import blurred
from pipeline.imaging.colours import Bands, palette
from pipeline.imaging.glimpse import glimpse, within
from pipeline.imaging.picture import Outline, Picture, Window

SAMPLE = 64
"""Pixels of the longer side that main colours are looked for in."""
UNSEEN: Bands = (128, 128, 128)
"""The main colour of a picture that cannot be seen."""
SHARP = 0.4
"""A blur narrower than this many pixels changes nothing."""

Backdrop = Callable[[pyvips.Image], pyvips.Image]
"""Makes what lies behind a frame."""


def main_colours(picture: Picture, count: int) -> list[Bands]:
    """At most `count` main colours of its first frame, the one that covers most first; reads its pixels."""
    found = palette(glimpse(picture, *within(picture.outline, SAMPLE)), count)
    return [one.rgb for one in found] or [UNSEEN]


def upon(picture: Picture, spot: Window, width: int, height: int, backdrop: Backdrop) -> Picture:
    """The settled picture at `spot` of a canvas of this size, with a backdrop behind each frame."""

    def lay(frame: pyvips.Image) -> pyvips.Image:
        under = backdrop(frame)
        if not frame.hasalpha():
            return under.insert(frame, spot.left, spot.top)
        laid = under.composite2(frame, "over", x=spot.left, y=spot.top).cast("uchar")
        return laid if under.hasalpha() else laid.extract_band(0, n=3)

    drawn = picture.each_frame(lay)
    return replace(drawn, outline=drawn.outline.sized(width, height))


def blurred_copy(frame: pyvips.Image, width: int, height: int, sigma: float, light: float) -> pyvips.Image:
    """The middle of a frame, as large as this size holds it, blurred by `sigma` pixels of that and `light` lighter."""
    scale = max(width / frame.width, height / frame.height)
    soft = blurred(frame, sigma / scale) if sigma / scale >= SHARP else frame
    whole = Picture(soft, Outline(frame.width, frame.height, alpha=bool(frame.hasalpha())))
    across, down = (max(1, round(side / scale)) for side in (width, height))
    part = whole.windowed(min(across, frame.width), min(down, frame.height), "center", None)
    pixels = replace(part, outline=part.outline.sized(width, height)).filled().pixels
    if not light:
        return pixels
    shift = [255 * light] * 3 + [0.0] * (pixels.bands - 3)
    return pixels.linear(1, [one + 0.5 for one in shift], uchar=True).copy(interpretation="srgb")


def meshed(width: int, height: int, corners: Sequence[Bands]) -> pyvips.Image:
    """An opaque plane between the colours of its four corners, from the top left clockwise."""
    place = pyvips.Image.xyz(width, height)
    x, y = place[0] / max(1, width - 1), place[1] / max(1, height - 1)
    left_top, right_top, right_bottom, left_bottom = corners
    upper, lower = _between(x, left_top, right_top), _between(x, left_bottom, right_bottom)
    return (upper + (lower - upper) * y).rint().cast("uchar").copy(interpretation="srgb")


def _between(share: pyvips.Image, one: Bands, other: Bands) -> pyvips.Image:
    return share.linear([b - a for a, b in zip(one, other, strict=True)], list(one))
