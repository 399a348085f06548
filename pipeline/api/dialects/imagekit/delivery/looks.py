"""What is done to a picture of its size: `t`, `fl`, `rt`, `bl`, `b` with `r`, and `o`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import floor

from pipeline.api.dialects.imagekit.delivery import backgrounds, expressions, words
from pipeline.api.dialects.imagekit.delivery.draft import Draft
from pipeline.api.dialects.imagekit.delivery.steps import Step, Unclear

USUAL_TRIM = 10
"""How far colours may lie apart that `t-true` takes for one, of 255."""
CLEAR = "#00000000"
WIDEST = 2000
"""Pixels of a border."""
LARGEST = 10_000
"""Pixels of a radius."""
FLIPS = {
    "h": ("horizontal",),
    "v": ("vertical",),
    "h_v": ("horizontal", "vertical"),
    "v_h": ("vertical", "horizontal"),
}


@dataclass(frozen=True)
class Border:
    width: int
    colour: str


def trim(draft: Draft, step: Step) -> None:
    apart = step.read("t", threshold)
    if apart is not None:
        draft.add("trim", threshold=apart)


def threshold(text: str) -> int | None:
    """`true`, or 1 to 99: how far colours may lie apart; None for `false`."""
    if text in words.FLAGS:
        return USUAL_TRIM if text == "true" else None
    return words.whole(text, 1, 99)


def flip(draft: Draft, step: Step) -> None:
    for direction in step.read("fl", lambda text: words.choice(text, FLIPS)) or ():
        draft.add("flip", direction=direction)


def rotate(draft: Draft, step: Step) -> None:
    """Degrees clockwise; `auto` turns as EXIF says, which every picture is already."""
    angle = step.read("rt", lambda text: 0.0 if text == "auto" else words.number(text, -3600, 3600))
    if angle and angle % 360:
        background = backgrounds.colour_of(draft, step) or CLEAR
        draft.add("rotate", angle=angle % 360, background=background)


def blur(draft: Draft, step: Step) -> None:
    strength = step.read("bl", lambda text: words.whole(text, 1, 100))
    if strength is not None:
        draft.add("blur", sigma=1 + strength / 2)


def edge(draft: Draft, step: Step) -> None:
    """A border, round corners, or one that is round itself."""
    border, radii = step.read("b", lambda text: _border(text, draft)), step.read("r", _radii)
    if border and radii and len(radii) == 1:
        draft.add("border", width=border.width, colour=border.colour, radius=radii[0])
        return
    if border:
        draft.add("border", width=border.width, colour=border.colour)
    if radii:
        draft.add("round", corners=[*radii] if len(radii) == 4 else [radii[0]] * 4)


def _border(text: str, draft: Draft) -> Border:
    """`5_FF0000`; the width may be an expression."""
    width, _, colour = text.rpartition("_")
    if not width:
        raise Unclear("a width and a colour, such as `5_FF0000`")
    pixels = floor(expressions.number(width, draft) + 0.5)
    if not 1 <= pixels <= WIDEST:
        raise Unclear(f"a width from 1 to {WIDEST} pixels, and a colour")
    return Border(pixels, words.colour(colour))


def _radii(text: str) -> Sequence[int | str] | None:
    """One radius or `max`, or four of them from the top left clockwise; None for corners that stay as they are."""
    parts = text.split("_")
    if len(parts) not in (1, 4):
        raise Unclear("`20`, `max`, or four such as `10_20_30_40`")
    radii = ["50%" if part == "max" else words.whole(part, 0, LARGEST) for part in parts]
    return radii if any(radii) else None


def fade(draft: Draft, step: Step) -> None:
    opacity = step.read("o", lambda text: words.number(text, 0, 100))
    if opacity is not None and opacity < 100:
        draft.add("adjust", opacity=opacity / 100)
