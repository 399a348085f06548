"""Layers: pictures, plain canvases and texts laid over a picture, with transformations and layers of their own.

`l-image,i-<path>,...,l-end`, `l-image,i-ik_canvas,...` and `l-text,...`; and the flat parameters of before (`oi`, `ot`,
`obg`, ...), which are read as one layer.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from pipeline.api.dialects.imagekit.delivery import expressions, looks, making, operations, text, words
from pipeline.api.dialects.imagekit.delivery.draft import Draft
from pipeline.api.dialects.imagekit.delivery.focus import SIDES
from pipeline.api.dialects.imagekit.delivery.steps import Layer, Param, Part, Step, Unclear, wanted
from pipeline.delivery import SOURCE
from pipeline.errors import RequestInvalid
from pipeline.imaging.picture import Outline

CANVAS = "ik_canvas"
"""The path that stands for a plain picture."""
CLEAR = "#00000000"
PORT = "layer1"
MODES: Mapping[str, str] = {"multiply": "multiply", "cutter": "inside", "cutout": "outside", "displace": "displace"}
UNSPOKEN: Mapping[str, str] = {
    "video": "films are laid over films by flows of yours, not over what is delivered",
    "subtitles": "subtitles are written on films by flows of yours, not on what is delivered",
}
ANCHORS: Mapping[str, tuple[float, float]] = {
    name: (
        0.0 if "left" in name else 1.0 if "right" in name else 0.5,
        0.0 if "top" in name else 1.0 if "bottom" in name else 0.5,
    )
    for name in SIDES
}
"""Where on a picture a word is, as shares of its sides."""
PLACING = frozenset({"lx", "ly", "lxc", "lyc"})
FARTHEST = 65_535
CANVAS_KEYS = frozenset({"i", "ie", "w", "h", "bg", "al", "t"})
"""Parameters that say how a canvas is made; others are done to it."""
PROBE = 1000
"""Pixels by which a layer is thought larger, to learn how its place depends on its size."""


WRITTEN: Mapping[str, str] = {
    "i": "path of a file of the project, `@@` for `/` | ik_canvas | a text of up to 2000 signs",
    "ie": "the same in base64",
    "lx": "pixels | N40, from the right | expression",
    "ly": "pixels | N40, from below | expression",
    "lxc": "where its middle lies: pixels | expression",
    "lyc": "where its middle lies: pixels | expression",
    "lap": "the point of the picture that these count from: top_left | ... | center",
    "lfo": "center | top | left | ... | bottom_right",
    "lm": " | ".join(MODES),
    "x": "with `lm-displace`, pixels",
    "y": "with `lm-displace`, pixels",
    "t": "true | false | 1 - 99: whether the plain edges of a picture are cut; they are",
    "al": "1 - 9, of a text or a canvas",
    "fs": "pixels | expression",
    "ff": "sans, serif or mono, whichever the name is nearest to",
    "co": "colour of a text",
    "bg": "colour behind a text or of a canvas",
    "ia": "left | center | right",
    "pa": "pixels, up to four as CSS orders them | expression",
    "tg": "b, i and strikethrough, joined by `_`",
    "w": "pixels a text is wide in all, wrapped to that | expression",
    "lh": "pixels from line to line | expression",
}
"""What is said of a layer, beside the transformations that are done to it."""


def add(draft: Draft, layer: Layer) -> None:
    """Lay a layer over the picture; raises `RequestInvalid` for one that cannot be laid."""
    if layer.kind in UNSPOKEN:
        raise RequestInvalid(reason=f"`l-{layer.kind}` is not spoken here: {UNSPOKEN[layer.kind]}.")
    top = _written(draft, layer) if layer.kind == "text" else _pictured(draft, layer)
    said: dict[str, Any] = {"image": PORT, **_place(draft, top, layer), "opacity": text.opacity(layer)}
    mode = _read(layer, "lm", lambda given: words.choice(given, MODES))
    said |= {"blend": mode} if mode else {}
    if mode == "displace":
        said["shift"] = {"x": _shift(draft, layer, "x"), "y": _shift(draft, layer, "y")}
    draft.add("overlay", **{"from": {"image": draft.last, PORT: top.last}}, layers=[said])
    if mode == "inside":
        # What a cutter leaves is as large as the cutter.
        draft.add("trim", edges="transparent")
        now = draft.outline
        draft.outline = now.sized(min(now.width, top.outline.width), min(now.height, top.outline.height))


def path_of(layer: Layer) -> str | None:
    """The path of the picture it is, as `Ground.files` has it; None for what is drawn. Raises `RequestInvalid`."""
    if layer.kind != "image":
        return None
    path = _path(layer)
    return None if path == CANVAS else path


# What is laid


def _pictured(draft: Draft, layer: Layer) -> Draft:
    path = path_of(layer)
    if path is None:
        return _canvas(draft, layer)
    file = draft.ground.files.get(path)
    if file is None:
        raise RequestInvalid(reason=f"`l-image`: there is no picture `{path[:80]}`.")
    made = draft.upon(file, making.outline_of(file))
    if made.outline.frames > 1:
        made.add("frames", frame=0)
    looks.trim(made, Step((Param("t", layer.said.get("t", "true")),)))
    operations.perform(made, layer.steps)
    return made


def _canvas(draft: Draft, layer: Layer) -> Draft:
    """A plain picture, as large as what it lies on where nothing is said; without a colour it is clear."""
    first, *others = layer.steps
    width, height = (_side(draft, first, key) for key in ("w", "h"))
    colour = first.read("bg", words.colour) or CLEAR
    said = {"from": SOURCE, "width": width, "height": height, "colour": colour}
    made = draft.drawn(Outline(width, height, alpha=len(colour) > len("#rrggbb")), "canvas", **said)
    operations.perform(made, [_without(first, CANVAS_KEYS), *others])
    return made


def _side(draft: Draft, step: Step, key: str) -> int:
    whole = draft.outline.width if key == "w" else draft.outline.height

    def read(given: str) -> int:
        found = expressions.number(given, replace(draft, base=draft))
        found = found * whole if found <= 1 and not expressions.is_expression(given) else found
        if not 0 < found <= FARTHEST:
            raise Unclear(f"pixels up to {FARTHEST}, a share such as `0.5` or an expression such as `bw_div_2`")
        return max(1, _rounded(found))

    return step.read(key, read) or whole


def _written(draft: Draft, layer: Layer) -> Draft:
    hand, outline = text.written(replace(draft, base=draft), layer)
    made = draft.drawn(outline, "label", **{"from": SOURCE}, **hand)
    operations.perform(made, [_without(step, text.KEYS) for step in layer.steps])
    return made


def _without(step: Step, keys: frozenset[str]) -> Step:
    return Step(tuple(part for part in step.parts if not (isinstance(part, Param) and part.key in keys)))


def _path(layer: Layer) -> str:
    """`folder/name`; `@@` stands for a slash."""
    given = _read(layer, "ie", text.unfolded) or layer.said.get("i", "")
    found = "/".join(part for part in given.replace("@@", "/").split("/") if part)
    if not found:
        raise RequestInvalid(reason="`l-image` needs a picture: the path of a file, `i-` as it is or `ie-` in base64.")
    if "://" in given:
        raise RequestInvalid(reason="`l-image`: only files of the same project are laid over others.")
    return found


# Where it lies


@dataclass(frozen=True)
class Spot:
    """On one axis: where a point of the layer lies, pixels, and which point that is, as a share of its side."""

    at: int
    share: float


def _place(draft: Draft, top: Draft, layer: Layer) -> dict[str, Any]:
    said = layer.said
    for one, other in (("lx", "lxc"), ("ly", "lyc")):
        if one in said and other in said:
            raise RequestInvalid(reason=f"`{one}` and `{other}` cannot be said together.")
    if not PLACING & said.keys():
        return {"position": SIDES[_read(layer, "lfo", _side_word) or "center"]}
    if "lap" not in said and not {"lxc", "lyc"} & said.keys() and not any(_is_worked_out(said, axis) for axis in "xy"):
        return _cornered(layer)
    x, y = _spot(draft, top, layer, "x"), _spot(draft, top, layer, "y")
    return {"anchor": {"x": x.share, "y": y.share}, "x": x.at, "y": y.at}


def _is_worked_out(said: Mapping[str, str], axis: str) -> bool:
    return expressions.is_expression(said.get(f"l{axis}", "0"))


def _cornered(layer: Layer) -> dict[str, Any]:
    """Plain distances: from the left and the top, or, below 0, from the right and the bottom."""
    x, y = (_read(layer, f"l{axis}", _distance) or 0 for axis in "xy")
    across, down = "right" if x < 0 else "left", "bottom" if y < 0 else "top"
    return {"position": f"{down}-{across}", "x": abs(x), "y": abs(y)}


def _spot(draft: Draft, top: Draft, layer: Layer, axis: str) -> Spot:
    place = "xy".index(axis)
    side = (draft.outline.width, draft.outline.height)[place]
    word = _read(layer, "lap", _side_word)
    start = ANCHORS[word or "top_left"][place] * side
    for key, share in ((f"l{axis}c", 0.5), (f"l{axis}", 0.0)):
        if key not in layer.said:
            continue
        given = layer.said[key]
        found, moved = _read(layer, key, partial(_measured, top, axis)) or (0.0, 0.0)
        if found < 0 and word is None and not expressions.is_expression(given):
            return Spot(_within(side + found), 1.0 if key == f"l{axis}" else share)
        return Spot(_within(start + found), min(1.0, max(0.0, share + moved)))
    return Spot(_within(start), 0.0)


def _measured(top: Draft, axis: str, given: str) -> tuple[float, float]:
    """A distance, and which share of the layer's own side is taken off it: its size may be known only when it is made.

    A place that depends on that side in another way is worked out for the size that is expected.
    """
    now = top.outline

    def at(length: int) -> float:
        sized = now.sized(length, now.height) if axis == "x" else now.sized(now.width, length)
        return expressions.number(given, replace(top, outline=sized, first=top.first))

    side = now.width if axis == "x" else now.height
    one, two, three = (at(PROBE * times) for times in (1, 2, 3))
    slope = (two - one) / PROBE
    if abs(three - two - (two - one)) < 1e-6 and -1 <= slope <= 0:
        return one - slope * PROBE, -slope
    return at(side), 0.0


def _distance(given: str) -> int:
    return _within(words.number(given, -FARTHEST, FARTHEST))


def _shift(draft: Draft, layer: Layer, axis: str) -> int:
    return _read(layer, axis, lambda given: _within(expressions.number(given, replace(draft, base=draft)))) or 0


def _side_word(given: str) -> str:
    return words.choice(given, {name: name for name in SIDES})


def _within(found: float) -> int:
    return max(-FARTHEST, min(FARTHEST, _rounded(found)))


def _rounded(found: float) -> int:
    return int(found + 0.5) if found >= 0 else -int(0.5 - found)


def _read(layer: Layer, key: str, reader: Any) -> Any:
    if key not in layer.said:
        return None
    with wanted(key, layer.said[key]):
        return reader(layer.said[key])


# As they were written before

PLACED: Mapping[str, str] = {"ox": "lx", "oy": "ly", "ofo": "lfo", "or": "r"}
IMAGES: Mapping[str, str] = {
    **PLACED,
    "oi": "i", "ow": "w", "oh": "h", "oit": "t", "oiar": "ar", "oibg": "bg", "oib": "b", "oidpr": "dpr", "oic": "c",
    "oicm": "cm", "oifo": "fo", "oixc": "xc", "oiyc": "yc",
}  # fmt: skip
TEXTS: Mapping[str, str] = {
    **PLACED,
    "ot": "i", "ote": "ie", "ots": "fs", "otf": "ff", "otc": "co", "oa": "al", "ott": "tg", "otw": "w", "otbg": "bg",
    "obg": "bg", "otp": "pa", "otia": "ia", "otr": "rt",
}  # fmt: skip
BLOCKS: Mapping[str, str] = {**PLACED, "obg": "bg", "ow": "w", "oh": "h", "oa": "al"}


def flat(step: Step) -> Layer | None:
    """The layer that the flat parameters of a step describe, None without them; raises `RequestInvalid` for two."""
    said = step.said
    is_text = "ot" in said or "ote" in said
    if "oi" in said and is_text:
        raise RequestInvalid(reason="`oi` and `ot` make two layers: write them as `l-image,...,l-end` and `l-text`.")
    if "oi" in said:
        return _told("image", step, IMAGES)
    if is_text:
        return _told("text", step, TEXTS)
    if "obg" in said:
        return _told("image", step, BLOCKS, Param("i", CANVAS))
    return None


def _told(kind: str, step: Step, known: Mapping[str, str], *more: Part) -> Layer:
    parts = [Param(known[param.key], param.value) for param in step.params if param.key in known]
    return Layer(kind, (Step((*more, *parts)),))
