"""The operations that lay something over a picture: another one, a rectangle, a text."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from pipeline.api.dialects.uploadcare.delivery import words
from pipeline.api.dialects.uploadcare.delivery.draft import Draft, Font
from pipeline.api.dialects.uploadcare.delivery.words import Unclear
from pipeline.api.endpoint import UUID
from pipeline.delivery import SOURCE

WEIGHTS = {"normal": "regular", "regular": "regular", "light": "regular", "semibold": "semibold", "bold": "bold"}
STYLES = frozenset({"normal", "italic"})
TYPEFACES = {
    "sans": "sans",
    "sans-serif": "sans",
    "inter": "sans",
    "serif": "serif",
    "caladea": "serif",
    "mono": "mono",
    "monospace": "mono",
}
BOXES = {"none": "none", "fit": "fit", "fill": "fill"}
SIDES = {"left": "left", "center": "center", "right": "right"}
ENDS = {"top": "top", "center": "center", "bottom": "bottom"}
SMALLEST, LARGEST = 4, 1000
"""Height of letters, pixels."""

Params = Sequence[str]


def overlay(draft: Draft, params: Params) -> None:
    image, *rest = params
    layer: dict[str, Any] = {"image": "layer1", "place": {"x": 0, "y": 0}}
    if rest and "," not in rest[0] and rest[0] not in words.ALIGNMENTS and "x" in rest[0]:
        width, height = words.lengths(rest.pop(0))
        layer |= {"width": width, "height": height}
    else:
        layer |= {"width": "100%", "height": "100%"}
    if rest and not re.fullmatch(r"\d{1,3}(\.\d+)?[p%]", rest[0]):
        layer["place"] = words.place(rest.pop(0))
    if rest:
        layer["opacity"] = words.share(rest.pop(0)) / 100
    if rest:
        raise Unclear("a file, a size, a place and an opacity")
    source = draft.overlay(_file(image)) if image != "self" else SOURCE
    draft.add("overlay", **{"from": {"image": draft.last, "layer1": source}}, layers=[layer])


def rect(draft: Draft, params: Params) -> None:
    colour, size, place = params
    width, height = words.lengths(size)
    draft.add("rectangle", colour=words.colour(colour), width=width, height=height, place=words.place(place))


def font(draft: Draft, params: Params) -> None:
    made, rest = draft.font, list(params)
    if rest and rest[0] == "reset":
        made, rest = Font(), rest[1:]
    if rest and rest[0] in WEIGHTS and rest[0] != "normal":
        made = replace(made, weight=WEIGHTS[rest.pop(0)])
    if rest and rest[0] in STYLES:
        made = replace(made, style=rest.pop(0))
    if rest:
        made = replace(made, size=words.whole(rest.pop(0).removesuffix("px"), SMALLEST, LARGEST))
    if rest:
        made = replace(made, colour=words.colour(rest.pop(0)))
    if rest:
        made = replace(made, typeface=words.choice(rest.pop(0).lower(), TYPEFACES))
    if rest:
        raise Unclear("`reset`, a weight, a style, a size, a colour and a typeface, in this order")
    draft.font = made


def text_align(draft: Draft, params: Params) -> None:
    align = words.choice(params[0], SIDES)
    valign = words.choice(params[1], ENDS) if len(params) > 1 else draft.font.valign
    draft.font = replace(draft.font, align=align, valign=valign)


def text_box(draft: Draft, params: Params) -> None:
    made = replace(draft.font, box=words.choice(params[0], BOXES))
    if len(params) > 1:
        made = replace(made, plate=words.colour(params[1]))
    if len(params) > 2:
        made = replace(made, padding=words.whole(params[2].removesuffix("px"), 0, 1000))
    draft.font = made


def text(draft: Draft, params: Params) -> None:
    size, place, written = params
    width, height = words.lengths(size)
    spot, hand = words.offset(place), draft.font
    said: dict[str, Any] = {
        "box": {"left": spot["x"], "top": spot["y"], "width": width, "height": height},
        "text": _legible(written, italic=hand.style == "italic"),
        "markup": hand.style == "italic",
        "size": hand.size,
        "colour": hand.colour,
        "weight": hand.weight,
        "typeface": hand.typeface,
        "align": hand.align,
        "valign": hand.valign,
    }
    if hand.box != "none":
        plate = "box" if hand.box == "fill" else "text"
        said |= {"background": hand.plate, "padding": hand.padding, "plate": plate}
    draft.add("text", **said)


def _legible(text: str, *, italic: bool) -> str:
    """The text, its escapes undone (`~~` a tilde, `~s` a slash, `~n` a new line), as our nodes take it."""
    plain = re.sub("~[~sn]", lambda found: {"~~": "~", "~s": "/", "~n": "\n"}[found[0]], text)
    if italic:
        plain = f"<i>{plain.replace('&', '&amp;').replace('<', '&lt;').replace('>', '&gt;')}</i>"
    # Braces are places to be filled in a flow.
    return plain.replace("{", "{{").replace("}", "}}")


def _file(text: str) -> str:
    if not UUID.fullmatch(text):
        raise Unclear("the UUID of a file, or `self`")
    return text.lower()
