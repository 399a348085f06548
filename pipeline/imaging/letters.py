"""Write: set a text in a shipped typeface as a picture with alpha, stroke it, put it on a plate, turn it.

The typefaces are Inter, Caladea and JetBrains Mono (assets/fonts, SIL Open Font License).
"""

from __future__ import annotations

import math
import re
import unicodedata
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any, Literal

import pyvips

from pipeline.errors import NodeInvalid
from pipeline.imaging.markup import UNITS, inked
from pipeline.imaging.picture import Outline, Picture

Typeface = Literal["sans", "serif", "mono"]
Weight = Literal["regular", "semibold", "bold"]
Align = Literal["left", "center", "right"]

FONTS = Path(__file__).parent / "assets" / "fonts"
FAMILIES: dict[Typeface, str] = {"sans": "Inter", "serif": "Caladea", "mono": "JetBrains Mono"}
WEIGHTS: dict[Weight, str] = {"regular": "", "semibold": "Semi-Bold", "bold": "Bold"}
ALIGNS: dict[Align, str] = {"left": "low", "center": "centre", "right": "high"}
LINE = 1.25
"""Height of a line, in letter sizes, where nothing else is known."""
LARGEST = 100_000_000
"""Most pixels a text may take."""
FINE = 4
"""How many times finer than a pixel a stroke is drawn, so that its edge comes out smooth."""
FINE_PIXELS = 64_000_000
STEP = 8
"""Largest radius of one dilation; more is done in several, which costs far less."""


@dataclass(frozen=True)
class Hand:
    """How letters are written; lengths in pixels."""

    size: int
    typeface: Typeface = "sans"
    weight: Weight = "semibold"
    colour: tuple[int, ...] = (255, 255, 255)
    align: Align = "left"
    line_spacing: int = 0
    letter_spacing: float = 0
    stroke: float = 0
    stroke_colour: tuple[int, ...] = (0, 0, 0)


def written(markup: str, hand: Hand, width: int) -> Picture | None:
    """The Pango markup as a picture with alpha, wrapped to `width` pixels; None when nothing of it shows.

    The markup is trusted: it has been escaped or checked. Raises `NodeInvalid` when it would take too many pixels.
    """
    _check_area(markup, hand, width)
    mask = _set(markup, hand, width)
    if mask is None:
        return None
    # Spans in colours of their own need four bands; otherwise one is enough and quicker.
    coloured = _set(markup, hand, width, rgba=True) if " foreground=" in markup else None
    letters = _tinted(mask, hand.colour) if coloured is None else coloured
    if hand.stroke:
        letters = _stroked(letters, mask, hand)
    return Picture(letters, Outline(letters.width, letters.height, alpha=True)).held()


def line(markup: str, hand: Hand, width: int, height: int) -> Picture | None:
    """The markup on a canvas of this size, centred, its base line where that of any other such line is."""
    mask = _set(markup, hand, width)
    if mask is None:
        return None
    letters = _tinted(mask, hand.colour)
    # The text begins `yoffset` below the top of its line, which is as high for every text.
    top = (height - round(hand.size * LINE)) // 2 + mask.get("yoffset")
    canvas = letters.embed((width - letters.width) // 2, top, width, height).copy(interpretation="srgb")
    return Picture(canvas, Outline(width, height, alpha=True))


def wide(markup: str, hand: Hand) -> int:
    """How many pixels across the markup takes on one line."""
    mask = _set(markup, hand, 0)
    return mask.width if mask else 0


def plated(letters: Picture, padding: int, colour: tuple[int, ...]) -> Picture:
    """The letters on a plate of one colour that reaches `padding` pixels beyond them."""
    width, height = letters.outline.width + 2 * padding, letters.outline.height + 2 * padding
    plate = letters.pixels.embed(0, 0, width, height).new_from_image(_rgba(colour)).copy(interpretation="srgb")
    pixels = plate.composite2(letters.pixels, "over", x=padding, y=padding).cast("uchar")
    return replace(letters, pixels=pixels, outline=letters.outline.sized(width, height))


def turned(mark: Picture, degrees: float) -> Picture:
    """The mark turned clockwise about its middle; its canvas grows to hold it."""
    if degrees % 360 == 0:
        return mark
    pixels = mark.settled().pixels
    if degrees % 90 == 0:
        pixels = pixels.rot(f"d{round(degrees % 360)}")
    else:
        smooth = pyvips.Interpolate.new("bicubic")
        turning = pixels.premultiply().similarity(angle=degrees, interpolate=smooth, background=[0, 0, 0, 0])
        pixels = turning.unpremultiply().cast("uchar").copy(interpretation="srgb")
    return replace(mark, pixels=pixels, outline=mark.outline.sized(pixels.width, pixels.height)).held()


def legible(text: str) -> str:
    """The text without control characters, which no typeface has; lines and tabs stay."""
    return "".join(sign for sign in text if sign in "\n\t" or unicodedata.category(sign) not in ("Cc", "Cs"))


def _check_area(markup: str, hand: Hand, width: int) -> None:
    """Refuse what would take too many pixels, judged by letters of the largest size, 0.6 of it wide."""
    size = max(hand.size, *(int(found) / UNITS for found in re.findall(r' size="(\d+)"', markup)), 1)
    across = [len(row) * max(1.0, size * 0.6 + hand.letter_spacing) for row in markup.split("\n")]
    rows = sum(math.ceil(length / width) or 1 for length in across)
    area = min(width, max(across)) * rows * max(1.0, size * LINE + hand.line_spacing)
    if area > LARGEST:
        raise NodeInvalid(reason=f"size: this text would take {area / 1e6:.0f} megapixels; {LARGEST // 10**6} the most")


def _set(markup: str, hand: Hand, width: int, rgba: bool = False) -> pyvips.Image | None:
    options: dict[str, Any] = {"spacing": hand.line_spacing, "rgba": rgba, "align": ALIGNS[hand.align]}
    if width:
        options |= {"width": width, "wrap": "word-char"}
    _load(hand.typeface)
    font = f"{FAMILIES[hand.typeface]} {WEIGHTS[hand.weight]} {hand.size}"
    try:
        # At 72 dots an inch a point is a pixel.
        return pyvips.Image.text(_dressed(markup, hand), font=font, dpi=72, **options)
    except pyvips.Error as error:
        if "no text to render" in str(error):
            return None
        raise


def _dressed(markup: str, hand: Hand) -> str:
    return f'<span{inked(hand.colour)} letter_spacing="{round(hand.letter_spacing * UNITS)}">{markup}</span>'


@cache
def _load(typeface: Typeface) -> None:
    """Make every face of the typeface known to this process, so that bold and italic need not be faked."""
    files = sorted(FONTS.glob(f"{FAMILIES[typeface].replace(' ', '')}-*"))
    if not files:
        # Pango would silently take whatever typeface there is.
        raise NodeInvalid(reason=f"typeface: {FAMILIES[typeface]} is missing from this installation")
    for file in files:
        pyvips.Image.text(".", fontfile=str(file))


def _tinted(mask: pyvips.Image, colour: tuple[int, ...]) -> pyvips.Image:
    *shade, alpha = _rgba(colour)
    strength = (mask * (alpha / 255)).cast("uchar")
    return mask.new_from_image(shade).copy(interpretation="srgb").bandjoin(strength)


def _stroked(letters: pyvips.Image, mask: pyvips.Image, hand: Hand) -> pyvips.Image:
    """The letters over the same letters made fatter by the width of the stroke."""
    pad = math.ceil(hand.stroke) + 1
    width, height = mask.width + 2 * pad, mask.height + 2 * pad
    fine = next((fine for fine in (FINE, 2) if width * height * fine**2 <= FINE_PIXELS), 1)
    body = mask.embed(pad, pad, width, height).resize(fine, kernel="linear") > 127
    for radius in _steps(hand.stroke * fine):
        # Each step in memory: a lazy chain would compute the surroundings of every tile again and again.
        body = body.morph(_disc(radius), "dilate").copy_memory()
    under = _tinted(body.shrink(fine, fine).cast("uchar"), hand.stroke_colour)
    return under.composite2(letters, "over", x=pad, y=pad).cast("uchar")


def _steps(radius: float) -> list[float]:
    """Radii of small discs that, dilated with one after the other, are one disc of this radius."""
    count = max(1, math.ceil(radius / STEP))
    return [radius / count] * count


def _disc(radius: float) -> pyvips.Image:
    # 255 belongs to the disc, 128 does not matter (libvips morph).
    reach = math.ceil(radius)
    span = range(-reach, reach + 1)
    return pyvips.Image.new_from_array([[255 if x * x + y * y <= radius**2 else 128 for x in span] for y in span])


def _rgba(colour: tuple[int, ...]) -> list[int]:
    return [*colour, 255][:4]
