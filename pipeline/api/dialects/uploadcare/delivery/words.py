"""How the parameters of an operation are spelt: sizes, lengths, places, colours and numbers."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

LONGEST = 100_000
"""The most a number of pixels can be, before what an operation allows is looked at."""

_SIDE = re.compile(r"(\d{1,6})?x(\d{1,6})?", re.ASCII)
_LENGTH = re.compile(r"(\d{1,6})(?:px)?", re.ASCII)
_SHARE = re.compile(r"(\d{1,3}(?:\.\d{1,6})?)[p%]", re.ASCII)
_NUMBER = re.compile(r"[+-]?\d{1,6}(?:\.\d{1,6})?", re.ASCII)
_RATIO = re.compile(r"(\d{1,5}(?:\.\d{1,6})?):(\d{1,5}(?:\.\d{1,6})?)", re.ASCII)
_COLOUR = re.compile(r"[0-9a-f]{3}|[0-9a-f]{6}|[0-9a-f]{8}", re.IGNORECASE)

ALIGNMENTS: Mapping[str, tuple[str, str]] = {
    "center": ("50%", "50%"),
    "top": ("50%", "0%"),
    "bottom": ("50%", "100%"),
    "left": ("0%", "50%"),
    "right": ("100%", "50%"),
}
"""Where in the room that is left over each word lies, from the left and from the top."""

Length = int | str
"""Pixels, or a percentage as our nodes write it."""
Place = dict[str, Length]


class Unclear(Exception):
    """A parameter that cannot be read; tells what is wanted instead."""


def size(text: str) -> tuple[int | None, int | None]:
    """`320x240`, `320x`, `x240`: pixels."""
    match = _SIDE.fullmatch(text)
    sides = [int(side) if side else None for side in match.groups()] if match else [None, None]
    if match is None or sides == [None, None] or 0 in sides:
        raise Unclear("a size such as `320x240`, `320x` or `x240`")
    return sides[0], sides[1]


def both(text: str) -> tuple[int, int]:
    """`320x240`, with both sides."""
    width, height = size(text)
    if width is None or height is None:
        raise Unclear("a size with both sides, such as `320x240`")
    return width, height


def lengths(text: str) -> tuple[Length, Length]:
    """`320x240`, `50px50p`, `320x50p`: pixels or percentages for both sides."""
    # The `x` between them is the first behind a digit or a `%`; `px` is a percentage's `p` and that `x`.
    for spot in range(1, len(text) - 1):
        if text[spot] == "x":
            try:
                return length(text[:spot]), length(text[spot + 1 :])
            except Unclear:
                continue
    raise Unclear("two lengths such as `320x240` or `50%x50%`")


def length(text: str) -> Length:
    """`320` or `50%`."""
    if match := _SHARE.fullmatch(text):
        return f"{match.group(1)}%"
    if match := _LENGTH.fullmatch(text):
        return int(match.group(1))
    raise Unclear("a length such as `320` or `50%`")


def share(text: str, most: float = 100) -> float:
    """`50%`, as a number."""
    match = _SHARE.fullmatch(text)
    if match is None or float(match.group(1)) > most:
        raise Unclear(f"a percentage up to `{most:g}%`")
    return float(match.group(1))


def place(text: str) -> Place:
    """An alignment: one word, or `X,Y` of which each is a length or a word."""
    if text in ALIGNMENTS:
        x, y = ALIGNMENTS[text]
        return {"x": x, "y": y}
    across, comma, down = text.partition(",")
    if not comma:
        raise Unclear("`center`, `top`, `bottom`, `left`, `right`, or an offset such as `20,30` or `50%,10%`")
    return {"x": _offset(across, 0), "y": _offset(down, 1)}


def _offset(text: str, axis: int) -> Length:
    return ALIGNMENTS[text][axis] if text in ALIGNMENTS else length(text)


def offset(text: str) -> Place:
    """`X,Y` in pixels or percent."""
    across, comma, down = text.partition(",")
    if not comma:
        raise Unclear("an offset such as `20,30` or `50%,10%`")
    return {"x": length(across), "y": length(down)}


def ratio(text: str) -> str:
    """`16:9`."""
    match = _RATIO.fullmatch(text)
    if match is None or not all(float(side) for side in match.groups()):
        raise Unclear("a ratio such as `16:9`")
    return text


def colour(text: str) -> str:
    """`rgb`, `rrggbb` or `rrggbbaa`."""
    if not _COLOUR.fullmatch(text):
        raise Unclear("a colour such as `f80`, `ff8800` or `ff880080`, without `#`")
    return f"#{text.lower()}"


def number(text: str, least: float, most: float) -> float:
    """A number between two others."""
    if not _NUMBER.fullmatch(text) or not least <= float(text) <= most:
        raise Unclear(f"a number from {least:g} to {most:g}")
    return float(text)


def whole(text: str, least: int, most: int) -> int:
    """A whole number between two others."""
    found = number(text, least, most)
    if found != int(found):
        raise Unclear(f"a whole number from {least} to {most}")
    return int(found)


def choice(text: str, known: Mapping[str, Any]) -> Any:
    """One of some words, as what it stands for."""
    if text not in known:
        raise Unclear(" or ".join(f"`{word}`" for word in known))
    return known[text]


YES_NO: Mapping[str, bool] = {"yes": True, "no": False}
