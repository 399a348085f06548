"""The operations on the size and the shape of a picture."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pipeline.api.dialects.uploadcare.delivery import words
from pipeline.api.dialects.uploadcare.delivery.draft import Draft
from pipeline.api.dialects.uploadcare.delivery.words import Unclear

PREVIEW = (2048, 2048)
STRETCHES = {"on": "on", "off": "off", "fill": "fill"}
SMART = frozenset({"faces", "objects", "points"})
OPAQUE = 7
"""Characters of a colour that says nothing of its alpha."""
MOST_PADDING = 10_000

Params = Sequence[str]


def preview(draft: Draft, params: Params) -> None:
    width, height = words.both(params[0]) if params else PREVIEW
    _check(draft, width, height)
    draft.add("resize", width=width, height=height, fit="inside", enlarge=False)
    draft.is_sized = True


def resize(draft: Draft, params: Params) -> None:
    width, height = words.size(params[0])
    _check(draft, width, height)
    said = {name: side for name, side in (("width", width), ("height", height)) if side}
    fit = "fill" if len(said) == 2 else "inside"
    draft.add("resize", fit=fit, enlarge=draft.stretch == "on", **said)
    _fill_up(draft, width, height)
    draft.is_sized = True


def stretch(draft: Draft, params: Params) -> None:
    draft.stretch = words.choice(params[0], STRETCHES)


def scale_crop(draft: Draft, params: Params) -> None:
    width, height = words.both(params[0])
    _check(draft, width, height)
    said = {"width": width, "height": height, "enlarge": draft.stretch == "on"}
    smart = next((param for param in params[1:] if param.split("_")[0] == "smart"), None)
    if smart is not None:
        draft.add("resize", fit="cover", gravity=_interest(smart), **said)
    else:
        place = words.place(params[1]) if len(params) > 1 else {"x": "0%", "y": "0%"}
        draft.add("resize", fit="outside", **said)
        draft.add("crop", width=width, height=height, place=place)
    _fill_up(draft, width, height)
    draft.is_sized = True


def crop(draft: Draft, params: Params) -> None:
    first, *rest = params
    if first in ("face", "image"):
        _crop_to(draft, first, rest)
    elif ":" in first:
        place = words.place(rest[0]) if rest else words.place("center")
        draft.add("crop", aspect=words.ratio(first), place=place)
    else:
        _crop_part(draft, *words.lengths(first), words.place(rest[0]) if rest else {"x": 0, "y": 0})


def _crop_part(draft: Draft, width: words.Length, height: words.Length, place: words.Place) -> None:
    if 0 in (width, height) or "0%" in (width, height):
        raise Unclear("a size that is not nothing")
    if isinstance(place["x"], int) and isinstance(place["y"], int):
        region = {"left": place["x"], "top": place["y"], "width": width, "height": height}
        draft.add("crop", region=region)
        place = {"x": "0%", "y": "0%"}
    else:
        draft.add("crop", width=width, height=height, place=place)
    if isinstance(width, int) and isinstance(height, int):
        gravity = _compass(place)
        draft.add("pad", width=width, height=height, gravity=gravity, background=draft.fill)


def _crop_to(draft: Draft, tag: str, rest: Sequence[str]) -> None:
    gravity = "face" if tag == "face" else "center"
    said: dict[str, Any]
    if rest and ":" in rest[0]:
        said = {"aspect": words.ratio(rest[0])}
    elif rest:
        width, height = words.lengths(rest[0])
        said = {"width": width, "height": height}
    elif tag == "image":
        return
    else:
        raise Unclear("a ratio or a size behind `face`, such as `face/1:1` or `face/200x200`")
    if len(rest) > 1:
        draft.add("crop", place=words.place(rest[1]), **said)
    else:
        draft.add("crop", gravity=gravity, **said)


def trim(draft: Draft, params: Params) -> None:
    tolerance = words.number(params[0].rstrip("p%"), 0, 100) if params else 10.0
    margin = words.whole(params[1].removesuffix("px"), 0, MOST_PADDING) if len(params) > 1 else 0
    draft.add("trim", threshold=round(tolerance / 100 * 255), margin=margin)


def zoom_objects(draft: Draft, params: Params) -> None:
    draft.add("trim", amount=words.number(params[0].rstrip("p%"), 0, 100) / 100)


def border_radius(draft: Draft, params: Params) -> None:
    across = _corners(params[0])
    said = {"corners": across} if len(params) < 2 else {"corners": across, "vertical": _corners(params[1])}
    # Where the format has no alpha the corners show the colour that was set.
    draft.add("round", background=draft.fill[:OPAQUE], **said)


def setfill(draft: Draft, params: Params) -> None:
    draft.fill = words.colour(params[0])


def rotate(draft: Draft, params: Params) -> None:
    # Counter-clockwise; ours turns the other way.
    draft.add("rotate", angle=-words.number(params[0], -360, 360))


def flip(draft: Draft, params: Params) -> None:
    draft.add("flip", direction="vertical")


def mirror(draft: Draft, params: Params) -> None:
    draft.add("flip", direction="horizontal")


def autorotate(draft: Draft, params: Params) -> None:
    draft.orient = words.choice(params[0], words.YES_NO)
    draft.alters = True


def rasterize(draft: Draft, params: Params) -> None:
    draft.rasterize = True


def _corners(text: str) -> list[words.Length]:
    """One to four radii, as `border-radius` of CSS reads them."""
    radii = [words.length(part) for part in text.split(",")]
    if len(radii) > 4:
        raise Unclear("one to four radii, such as `10` or `10,20p`")
    one, two, three, four = (radii * 4)[:4] if len(radii) in (1, 2, 4) else (*radii, radii[1])
    return [one, two, three, four]


def _interest(smart: str) -> str:
    """What a smart crop keeps: faces where they are asked for, else what catches the eye."""
    parts = smart.split("_")[1:]
    if any(part not in SMART for part in parts) or len(set(parts)) != len(parts):
        raise Unclear("`smart`, or `smart_` and some of `faces`, `objects` and `points`")
    return "face" if "faces" in parts else "attention"


def _fill_up(draft: Draft, width: int | None, height: int | None) -> None:
    """With `stretch/fill` a smaller picture lies in the middle of the size that was asked for."""
    if draft.stretch == "fill":
        said = {name: side for name, side in (("width", width), ("height", height)) if side}
        draft.add("pad", background=draft.fill, **said)


def _compass(place: words.Place) -> str:
    """The side or corner that a place is at, or nearest to."""
    down = _nearest(place["y"], "top", "bottom")
    across = _nearest(place["x"], "left", "right")
    return "-".join(side for side in (down, across) if side) or "center"


def _nearest(length: words.Length, low: str, high: str) -> str:
    share = 0.0 if isinstance(length, int) else float(length.rstrip("%"))
    return low if share < 25 else high if share > 75 else ""


def _check(draft: Draft, *sides: int | None) -> None:
    if any(side is not None and side > draft.most for side in sides):
        raise Unclear(f"sides of at most {draft.most} pixels")
