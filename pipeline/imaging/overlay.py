"""Lay one picture over another, and make the letters and plates that are laid."""

from __future__ import annotations

import html
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyvips

from pipeline.imaging.picture import Outline, Picture, Window, window_at

FONTS = Path(__file__).parent / "assets" / "fonts"
WEIGHTS = {
    "regular": ("Inter", FONTS / "Inter-Regular.otf"),
    "semibold": ("Inter Semi-Bold", FONTS / "Inter-SemiBold.otf"),
}
ALIGNS = {"left": "low", "center": "centre", "right": "high"}


def laid(base: Picture, mark: Picture, position: str, margin: int, opacity: float) -> Picture:
    """The base with the mark at a compass position, `margin` pixels from the edges it is near.

    Only the rectangle under the mark is mixed; the rest of the base is passed on untouched.
    """
    top = _translucent(mark, opacity)
    spot = _spot(base.outline, mark.outline, position, margin)
    return base.each_frame(lambda frame: _composed(frame, top, spot))


def tiled(base: Picture, mark: Picture, gap: int, opacity: float) -> Picture:
    """The base covered with copies of the mark, `gap` pixels apart."""
    one = _translucent(mark, opacity)
    cell = one.embed(0, 0, one.width + gap, one.height + gap)
    across = -(-base.outline.width // cell.width)
    down = -(-base.outline.height // cell.height)
    sheet = cell.replicate(across, down).crop(0, 0, base.outline.width, base.outline.height)
    return base.each_frame(lambda frame: _mixed(frame, sheet))


def written(text: str, size: int, weight: str, colour: tuple[int, ...], width: int, align: str) -> Picture:
    """The text as a picture with alpha, wrapped to `width` pixels, letters `size` pixels high."""
    family, file = WEIGHTS[weight]
    options: dict[str, Any] = {"fontfile": str(file), "width": width, "wrap": "word-char", "align": ALIGNS[align]}
    # At 72 dots an inch a point is a pixel.
    mask = pyvips.Image.text(html.escape(text, quote=False), font=f"{family} {size}", dpi=72, **options)
    strength = (colour[3] if len(colour) == 4 else 255) / 255
    letters = (mask * strength).cast("uchar")
    plane = letters.new_from_image(list(colour[:3])).copy(interpretation="srgb").bandjoin(letters)
    return Picture(plane, Outline(plane.width, plane.height, alpha=True)).held()


def plated(letters: Picture, padding: int, colour: tuple[int, ...]) -> Picture:
    """The letters on a plate of one colour that reaches `padding` pixels beyond them."""
    width, height = letters.outline.width + 2 * padding, letters.outline.height + 2 * padding
    fill = [*colour[:3], colour[3] if len(colour) == 4 else 255]
    plate = letters.pixels.embed(0, 0, width, height).new_from_image(fill).copy(interpretation="srgb")
    pixels = plate.composite2(letters.pixels, "over", x=padding, y=padding).cast("uchar")
    return replace(letters, pixels=pixels, outline=letters.outline.sized(width, height))


def _spot(base: Outline, mark: Outline, position: str, margin: int) -> Window:
    # The margin keeps its distance only from the edges the mark is near; it gives way when there is no room for it.
    inset_x = min(margin, max(0, (base.width - mark.width) // 2))
    inset_y = min(margin, max(0, (base.height - mark.height) // 2))
    room = base.sized(base.width - 2 * inset_x, base.height - 2 * inset_y)
    found = window_at(room, mark.width, mark.height, position)
    return Window(found.left + inset_x, found.top + inset_y, mark.width, mark.height)


def _translucent(mark: Picture, opacity: float) -> pyvips.Image:
    pixels = mark.settled().pixels
    pixels = pixels if pixels.hasalpha() else pixels.addalpha()
    if opacity < 1:
        colour, alpha = pixels.extract_band(0, n=3), pixels.extract_band(3)
        pixels = colour.bandjoin((alpha * opacity).cast("uchar"))
    return pixels.copy_memory()


def _composed(frame: pyvips.Image, mark: pyvips.Image, spot: Window) -> pyvips.Image:
    left, top = max(0, spot.left), max(0, spot.top)
    right, bottom = min(frame.width, spot.left + spot.width), min(frame.height, spot.top + spot.height)
    if left >= right or top >= bottom:
        return frame
    box = (right - left, bottom - top)
    part = mark.crop(left - spot.left, top - spot.top, *box)
    return frame.insert(_mixed(frame.crop(left, top, *box), part), left, top)


def _mixed(base: pyvips.Image, mark: pyvips.Image) -> pyvips.Image:
    mixed = base.composite2(mark, "over").cast("uchar")
    return mixed if base.hasalpha() else mixed.extract_band(0, n=3)
