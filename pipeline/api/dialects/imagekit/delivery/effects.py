"""What follows `e-`, and `cr`: light, colours, sharpness, shadows, gradients, bends.

What a model would have to do (`bgremove`, `upscale`, ...) is done by a flow where the project's `extensions` name one.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from math import hypot
from typing import Any

from pipeline.api.dialects.imagekit.delivery import expressions, words
from pipeline.api.dialects.imagekit.delivery.draft import Draft
from pipeline.api.dialects.imagekit.delivery.models import by_flow, flow_for, prompt_of
from pipeline.api.dialects.imagekit.delivery.steps import Step, Unclear
from pipeline.errors import NodeInvalid, RequestInvalid
from pipeline.imaging.gradients import heading_at, heading_to

USUAL_SHARPNESS = 1.0
STRONGEST = 10.0
"""Of a sharpening; a stronger one is made like it."""
STEPS = 5.0
"""Of `e-sharpen-<n>` for each difference that is added once."""
USUAL_MASK = (2.0, 2.0, 1.0, 0.02)
NARROWEST, WIDEST = 0.4, 250.0
"""Deviations that can be blurred by, pixels."""
SIDES: Mapping[str, str] = {
    name: name.replace("_", "-")
    for name in ("top", "bottom", "left", "right", "top_left", "top_right", "bottom_left", "bottom_right")
}
USUAL_TOLERANCE = 35.0
FARTHEST = 100_000
LEAST_STOP = 0.001

Rest = str
"""What stands behind the name of an effect and its dash."""


def grayscale(draft: Draft, rest: Rest) -> None:
    draft.add("grayscale")


def contrast(draft: Draft, rest: Rest) -> None:
    draft.add("enhance", strength=1, colour=0)


def sharpen(draft: Draft, rest: Rest) -> None:
    amount = words.number(rest, 0, FARTHEST) / STEPS if rest else USUAL_SHARPNESS
    draft.add("sharpen", amount=min(STRONGEST, amount))


def usm(draft: Draft, rest: Rest) -> None:
    """`radius-sigma-amount-threshold`; the mask reaches as far as its sigma takes it, whatever the radius."""
    given = [words.number(part, 0, FARTHEST) for part in rest.split("-")] if rest else list(USUAL_MASK)
    if len(given) != 4:
        raise Unclear("`usm-<radius>-<sigma>-<amount>-<threshold>`, such as `usm-2-2-0.8-0.024`")
    _, sigma, amount, threshold = given
    if sigma and amount:
        deviation = min(WIDEST, max(NARROWEST, sigma))
        # Half, for twice the difference is what it is measured against.
        draft.add("blur", sigma=deviation, amount=-min(STRONGEST, amount), threshold=min(1.0, threshold / 2))


def shadow(draft: Draft, rest: Rest) -> None:
    said = _said(rest, ("bl", "st", "x", "y"))
    blur, strength = words.number(said.get("bl", "10"), 0, 15), words.number(said.get("st", "30"), 0, 100)
    x, y = (f"{words.number(said.get(axis, '2'), -100, 100):g}%" for axis in ("x", "y"))
    draft.add("shadow", x=x, y=y, blur=blur, opacity=strength / 100, fit="keep")


def gradient(draft: Draft, rest: Rest) -> None:
    said = _said(rest, ("ld", "from", "to", "sp"))
    colours = {"start": words.colour(said.get("from", "FFFFFF")), "end": words.colour(said.get("to", "00000000"))}
    towards = said.get("ld", "bottom")
    to = SIDES[towards] if towards in SIDES else words.number(towards, -360, 360)
    draft.add("gradient", to=to, stop=_stop(draft, to, said.get("sp", "1")), **colours)


def _stop(draft: Draft, to: str | float, text: str) -> float:
    """Up to 1 a share of the way, beyond it pixels."""
    found = expressions.number(text, draft)
    if found <= 0:
        raise Unclear("a stop point above 0: a share of the way such as `sp-0.5`, or pixels")
    if found > 1:
        width, height = draft.outline.width, draft.outline.height
        x, y = heading_to(to, width, height) if isinstance(to, str) else heading_at(to)
        found /= (abs(width * x) + abs(height * y)) / hypot(x, y)
    return min(1.0, max(LEAST_STOP, found))


def colorize(draft: Draft, rest: Rest) -> None:
    said = _said(rest, ("co", "in"))
    colour = words.colour(said.get("co", "gray"))[:7]
    draft.add("tint", colour=colour, strength=words.number(said.get("in", "100"), 0, 100) / 100)


def distort(draft: Draft, rest: Rest) -> None:
    kind, _, value = rest.partition("-")
    if kind == "a":
        degrees = words.number(value, -360, 360)
        if abs(degrees) >= 1:
            draft.add("distort", arc=degrees)
        return
    numbers = [words.whole(part, -FARTHEST, FARTHEST) for part in value.split("_")]
    if kind != "p" or len(numbers) != 8:
        raise Unclear("`distort-p-` with the corners from the top left clockwise, `x1_y1_..._x4_y4`, or `distort-a-30`")
    corners = [{"x": x, "y": y} for x, y in zip(numbers[::2], numbers[1::2], strict=True)]
    try:
        draft.add("distort", corners=corners)
    except NodeInvalid as cause:
        raise Unclear("corners of a convex quadrilateral, from the top left clockwise") from cause


def recolour(draft: Draft, step: Step) -> None:
    """`cr-to[_tolerance[_from]]`."""
    said = step.read("cr", _replacement)
    if said:
        draft.add("recolour", **said)


def _replacement(text: str) -> dict[str, Any]:
    parts = text.split("_")
    if len(parts) > 3:
        raise Unclear("`to`, `to_tolerance` or `to_tolerance_from`, such as `FF0022_35_red`")
    tolerance = words.number(parts[1], 0, 100) if len(parts) > 1 else USUAL_TOLERANCE
    said: dict[str, Any] = {"to": words.colour(parts[0])[:7], "tolerance": tolerance}
    return said | ({"colour": words.colour(parts[2])[:7]} if len(parts) > 2 else {})


def _said(rest: Rest, known: Sequence[str]) -> Mapping[str, str]:
    """`bl-15_st-40` by its keys; a `_` that no key follows belongs to the value."""
    if not rest:
        return {}
    wanted = f"parameters joined by `_`, of {', '.join(f'`{key}-`' for key in known)}"
    found: dict[str, str] = {}
    for part in re.split(rf"_(?=(?:{'|'.join(known)})-)", rest):
        key, dash, value = part.partition("-")
        if key not in known or not dash:
            raise Unclear(wanted)
        found[key] = value
    return found


# What a model does

MODELS: Mapping[str, str] = {
    "bgremove": "take away a background",
    "removedotbg": "take away a background",
    "upscale": "draw what is not there",
    "retouch": "retouch",
    "genvar": "make variations",
    "dropshadow": "cast a shadow as light would",
    "changebg": "make up a background",
    "edit": "edit by a prompt",
}
"""Effects that take a model, and what it would do."""
OTHERWISE: Mapping[str, str] = {"bgremove": "remove-bg", "removedotbg": "remove-bg"}
"""Extensions of uploads that do the same."""


def modelled(draft: Draft, rest: Rest, name: str) -> None:
    """Have a flow do it; raises `RequestInvalid` where the project names none."""
    flow = flow_for(draft, f"e-{name}", OTHERWISE.get(name, ""))
    if flow is None:
        wanted = f"nothing here can {MODELS[name]}, unless the project's `extensions` name a flow for `e-{name}`"
        raise RequestInvalid(reason=f"`e-{name}` is not spoken here: {wanted}.")
    by_flow(draft, flow, prompt=prompt_of(rest))


TABLE: Mapping[str, Callable[[Draft, Rest], None]] = {
    "grayscale": grayscale,
    "contrast": contrast,
    "sharpen": sharpen,
    "usm": usm,
    "shadow": shadow,
    "gradient": gradient,
    "colorize": colorize,
    "distort": distort,
    **{name: partial(modelled, name=name) for name in MODELS},
}
"""What each effect does, by its name."""
WRITTEN: Mapping[str, str] = {
    "grayscale": "",
    "contrast": "",
    "sharpen": "[-strength]",
    "usm": "[-radius-sigma-amount-threshold]",
    "shadow": "[-bl-0..15_st-0..100_x-percent_y-percent]",
    "gradient": "[-ld-side or degrees_from-colour_to-colour_sp-share, pixels or expression]",
    "colorize": "[-co-colour_in-0..100]",
    "distort": "-p-x1_y1_x2_y2_x3_y3_x4_y4 | -a-degrees",
    **dict.fromkeys(MODELS, "[-...], by a flow that `extensions` names"),
}
"""How each is written."""
