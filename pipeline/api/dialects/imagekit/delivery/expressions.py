"""Arithmetic in the place of a number (`iw_div_2_sub_10`), and the conditions of `if-`.

`mul` and `div` bind before `add` and `sub`, these before `mod`, and that before `pow`; equals go from left to right.
`and` binds before `or`.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping, Sequence

from pipeline.api.dialects.imagekit.delivery.draft import Draft
from pipeline.api.dialects.imagekit.delivery.steps import Unclear
from pipeline.api.dialects.imagekit.delivery.words import NUMBER, plain
from pipeline.errors import RequestInvalid

LONGEST = 41
"""Words of one expression."""
LARGEST = 1e9

Operation = Callable[[float, float], float]
LEVELS: Sequence[Mapping[str, Operation]] = (
    {"mul": operator.mul, "div": operator.truediv},
    {"add": operator.add, "sub": operator.sub},
    {"mod": operator.mod},
    {"pow": operator.pow},
)
"""What is worked out first stands first."""
OPERATIONS = frozenset(name for level in LEVELS for name in level)
COMPARISONS: Mapping[str, Callable[[float, float], bool]] = {
    "eq": operator.eq,
    "ne": operator.ne,
    "gt": operator.gt,
    "gte": operator.ge,
    "lt": operator.lt,
    "lte": operator.le,
}
WANTED = "a number, or an expression such as `iw_div_2`"


def number(text: str, draft: Draft) -> float:
    """What a number or an expression comes to for this picture; raises `Unclear`."""
    words = text.split("_")
    if len(words) % 2 == 0 or len(words) > LONGEST or any(word not in OPERATIONS for word in words[1::2]):
        raise Unclear(WANTED)
    values = [_value(word, draft) for word in words[::2]]
    return _worked_out(values, words[1::2])


def is_expression(text: str) -> bool:
    """Whether it has to be worked out for a picture, and is no plain number."""
    return not NUMBER.fullmatch(text)


def _worked_out(values: list[float], signs: list[str]) -> float:
    try:
        for level in LEVELS:
            values, signs = _level(values, signs, level)
    except ZeroDivisionError as cause:
        raise Unclear("an expression that does not divide by nothing") from cause
    except OverflowError as cause:
        raise Unclear("an expression that stays within bounds") from cause
    return values[0]


def _level(
    values: Sequence[float], signs: Sequence[str], level: Mapping[str, Operation]
) -> tuple[list[float], list[str]]:
    left, kept = [values[0]], []
    for sign, value in zip(signs, values[1:], strict=True):
        if sign not in level:
            kept.append(sign)
            left.append(value)
            continue
        found = level[sign](left[-1], value)
        if isinstance(found, complex) or abs(found) > LARGEST:
            raise OverflowError
        left[-1] = found
    return left, kept


def _value(word: str, draft: Draft) -> float:
    if NUMBER.fullmatch(word):
        return plain(word)
    return _variable(word, draft)


def _variable(word: str, draft: Draft) -> float:
    """A side or a ratio: `i` of what the picture began as, `c` of what it is now, `b` of what it is laid on."""
    if word == "idu" and draft.ground.duration is not None:
        return draft.ground.duration
    if word == "idn" and draft.file and draft.file.image and draft.file.image.dpi:
        return draft.file.image.dpi
    outlines = {"i": draft.initial, "c": draft.outline, "b": draft.base.outline if draft.base else None}
    whose, what = word[:1], word[1:]
    if what not in ("w", "h", "ar") or whose not in outlines:
        raise Unclear(
            f"{WANTED} of `iw`, `ih`, `iar`, `cw`, `ch`, `car`, and inside a layer `bw`, `bh`, `bar`; `idu` of videos"
        )
    outline = outlines[whose]
    if outline is None:
        raise Unclear(f"no `{word}` outside of a layer")
    return {"w": outline.width, "h": outline.height, "ar": outline.width / outline.height}[what]


def ratio(text: str, draft: Draft) -> float:
    """`4-3`, `4_3`, `1.5` or an expression, as width for each height; raises `Unclear`."""
    sides = text.replace("-", "_", 1).split("_")
    if len(sides) == 2 and all(NUMBER.fullmatch(side) for side in sides):
        across, down = (plain(side) for side in sides)
        found = across / down if down else 0.0
    else:
        found = number(text, draft)
    if not 1e-4 <= found <= 1e4:
        raise Unclear("a ratio such as `4-3`")
    return found


def holds(condition: str, draft: Draft) -> bool:
    """Whether a condition is met by the picture as it is now; raises `RequestInvalid` for what is none."""
    words = condition.split("_")
    if len(words) % 4 != 3 or len(words) > LONGEST or any(word not in ("and", "or") for word in words[3::4]):
        raise RequestInvalid(
            reason=f"`if-{condition[:60]}`: a condition is written `w_gt_300`, several `.._and_.._or_..`."
        )
    met, every = False, True
    for start in range(0, len(words), 4):
        every = every and _compared(*words[start : start + 3], condition=condition, draft=draft)
        if words[start + 3 : start + 4] != ["and"]:
            met, every = met or every, True
    return met


def _compared(word: str, sign: str, value: str, *, condition: str, draft: Draft) -> bool:
    try:
        if sign not in COMPARISONS:
            raise Unclear(" or ".join(f"`{name}`" for name in COMPARISONS))
        side = _variable(f"c{word}" if word in ("w", "h", "ar") else word, draft)
        return COMPARISONS[sign](side, ratio(value, draft) if "-" in value else number(value, draft))
    except Unclear as unclear:
        raise RequestInvalid(reason=f"`if-{condition[:60]}`: it takes {unclear}.") from unclear
