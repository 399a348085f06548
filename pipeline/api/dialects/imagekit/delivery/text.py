"""`l-text`: how a text is read, and how it is to be written."""

from __future__ import annotations

import binascii
from base64 import b64decode, urlsafe_b64decode
from collections.abc import Mapping, Sequence
from functools import partial
from math import floor
from typing import Any

from pipeline.api.dialects.imagekit.delivery import expressions, words
from pipeline.api.dialects.imagekit.delivery.draft import Draft
from pipeline.api.dialects.imagekit.delivery.steps import Layer, Unclear, wanted
from pipeline.errors import RequestInvalid
from pipeline.imaging.letters import LINE
from pipeline.imaging.picture import Outline

LONGEST = 2000
"""Signs of a text."""
USUAL_SIZE = 45
SMALLEST, LARGEST = 4, 1000
"""Height of letters, pixels."""
WIDEST = 20_000
MOST_PADDING = 1000
LOOSEST = 1000
"""Pixels that lines are moved apart or together at most."""
LETTER = 0.6
"""Width of a letter in its heights, as far as can be told without setting it."""
ALIGNMENTS = {side: side for side in ("left", "center", "right")}
STYLES: Mapping[str, str] = {"b": "b", "i": "i", "strikethrough": "s"}
SERIFS = ("serif", "times", "georgia", "playfair", "merriweather", "lora", "garamond", "baskerville", "slab", "caladea")
MONOS = ("mono", "courier", "code", "consol")
"""Parts of the names of typefaces, by which the nearest of ours is taken."""
KEYS = frozenset({"i", "ie", "fs", "ff", "co", "ia", "pa", "al", "tg", "bg", "w", "lh", "h"})
"""Parameters of a layer that say how a text is written; others are done to what has been written."""


def written(draft: Draft, layer: Layer) -> tuple[dict[str, Any], Outline]:
    """What a `label` is told, and about how large it is going to be, on this draft."""
    said = layer.said
    text, size = _text(said), _pixels(draft, said, "fs", USUAL_SIZE, LARGEST)
    size = max(SMALLEST, size)
    hand: dict[str, Any] = {
        "size": size,
        "typeface": _typeface(said.get("ff", "")),
        "colour": _colour(said, "co", "#000000"),
        "align": _read(said, "ia", lambda given: words.choice(given, ALIGNMENTS), "center"),
        "padding": _read(said, "pa", partial(_padding, draft), [0]),
    }
    styles: set[str] = _read(said, "tg", _styles, set())
    hand["weight"] = "bold" if "b" in styles else "regular"
    marks = [mark for mark in ("i", "s") if mark in styles]
    hand |= {"text": _marked(text, marks), "markup": bool(marks)}
    if "bg" in said:
        hand["background"] = _colour(said, "bg", "")
    if "w" in said:
        hand["width"] = _pixels(draft, said, "w", 0, WIDEST, whole=draft.outline.width)
    if "lh" in said:
        spacing = _pixels(draft, said, "lh", 0, LARGEST) - round(size * LINE)
        hand["line_spacing"] = max(-LOOSEST, min(LOOSEST, spacing))
    return hand, _outline(text, hand)


def opacity(layer: Layer) -> float:
    """`al`: 1, hardly to be seen, to 9."""
    return float(_read(layer.said, "al", lambda given: words.whole(given, 1, 9), 10)) / 10


def legible(text: str) -> str:
    """The text as our nodes take it: braces are places to be filled in a flow."""
    return text.replace("{", "{{").replace("}", "}}")


def unfolded(given: str) -> str:
    """What base64 holds, of either alphabet and with or without its `=`; raises `Unclear`."""
    whole = given.strip().rstrip("=")
    try:
        decode = urlsafe_b64decode if {"-", "_"} & set(whole) else partial(b64decode, validate=True)
        return decode(whole + "=" * (-len(whole) % 4)).decode()
    except (binascii.Error, ValueError) as cause:
        raise Unclear("UTF-8 text in base64") from cause


def _text(said: Mapping[str, str]) -> str:
    text: str = _read(said, "ie", unfolded, "") or said.get("i", "")
    if not text:
        raise RequestInvalid(reason="`l-text` needs a text: `i-` as it is, or `ie-` in base64.")
    if len(text) > LONGEST:
        raise RequestInvalid(reason=f"A text has at most {LONGEST} signs.")
    return text


def _marked(text: str, marks: Sequence[str]) -> str:
    if marks:
        text = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    for mark in marks:
        text = f"<{mark}>{text}</{mark}>"
    return legible(text)


def _styles(given: str) -> set[str]:
    return {words.choice(style, STYLES) for style in given.split("_")}


def _typeface(name: str) -> str:
    name = name.lower()
    if any(part in name for part in MONOS):
        return "mono"
    return "serif" if "sans" not in name and any(part in name for part in SERIFS) else "sans"


def _colour(said: Mapping[str, str], key: str, otherwise: str) -> str:
    return str(_read(said, key, words.colour, otherwise))


def _padding(draft: Draft, given: str) -> list[int]:
    """`10`, up to four as CSS orders them, or one expression."""
    parts = given.split("_")
    whole = [given] if expressions.is_expression(given) and not all(part.isdigit() for part in parts) else parts
    found = [floor(expressions.number(part, draft) + 0.5) for part in whole]
    if len(found) > 4 or not all(0 <= side <= MOST_PADDING for side in found):
        raise Unclear(f"one to four paddings from 0 to {MOST_PADDING} pixels, or an expression")
    return found


def _pixels(
    draft: Draft, said: Mapping[str, str], key: str, otherwise: int, most: int, whole: int | None = None
) -> int:
    """Pixels, also as an expression; where there is a `whole`, up to 1 a share of it."""

    def read(given: str) -> int:
        found = expressions.number(given, draft)
        found = found * whole if whole and found <= 1 and not expressions.is_expression(given) else found
        if not 1 <= found <= most:
            raise Unclear(f"pixels from 1 to {most}, or an expression that comes to that")
        return floor(found + 0.5)

    return int(_read(said, key, read, otherwise))


def _read(said: Mapping[str, str], key: str, reader: Any, otherwise: Any) -> Any:
    if key not in said:
        return otherwise
    with wanted(key, said[key]):
        return reader(said[key])


def _outline(text: str, hand: Mapping[str, Any]) -> Outline:
    top, *others = hand["padding"]
    right = others[0] if others else top
    lines = text.split("\n")
    width = hand.get("width") or round(max(map(len, lines)) * hand["size"] * LETTER) + 2 * right
    return Outline(max(1, width), max(1, round(len(lines) * hand["size"] * LINE) + 2 * top), alpha=True)
