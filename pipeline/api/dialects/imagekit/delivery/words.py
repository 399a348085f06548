"""How the values of parameters are spelt: numbers, choices, flags, colours."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TypeVar

from pipeline.api.dialects.imagekit.delivery.steps import Unclear
from pipeline.imaging.colours import named

NUMBER = re.compile(r"[N-]?(\d{1,7}(\.\d{1,9})?|\.\d{1,9})", re.ASCII)
FLAGS: Mapping[str, bool] = {"true": True, "false": False}

_HEX = re.compile(r"[0-9a-f]{6}", re.IGNORECASE)
_CLEAR = re.compile(r"([0-9a-f]{6})(\d\d)", re.IGNORECASE)

T = TypeVar("T")


def number(text: str, least: float, most: float) -> float:
    """A number between two others; `N5` is the one below nothing."""
    if not NUMBER.fullmatch(text) or not least <= (found := plain(text)) <= most:
        raise Unclear(f"a number from {least:g} to {most:g}")
    return found


def plain(text: str) -> float:
    """What a number that `NUMBER` matches is."""
    return -float(text[1:]) if text[0] in "N-" else float(text)


def whole(text: str, least: int, most: int) -> int:
    """A whole number between two others."""
    found = number(text, least, most)
    if found != int(found):
        raise Unclear(f"a whole number from {least} to {most}")
    return int(found)


def choice(text: str, known: Mapping[str, T]) -> T:
    """One of some words, as what it stands for."""
    if text not in known:
        raise Unclear(" or ".join(f"`{word}`" for word in known))
    return known[text]


def flag(text: str) -> bool:
    return choice(text, FLAGS)


def colour(text: str) -> str:
    """`RRGGBB`, `RRGGBBAA` or a name, as `#rrggbb[aa]`; AA is decimal, from 00 for nothing to 99 for all but all."""
    if match := _CLEAR.fullmatch(text):
        return f"#{match.group(1).lower()}{round(int(match.group(2)) / 100 * 255):02x}"
    if _HEX.fullmatch(text):
        return f"#{text.lower()}"
    known = named(text.lower())
    if known is None:
        raise Unclear("a colour such as `FF8800`, `FF880050` (its last two digits a decimal opacity) or `lightgreen`")
    return known
