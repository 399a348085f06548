"""Size and crop: `w`, `h`, `ar`, `dpr`, the modes of `c` and `cm`, `fo` with `z`, and `x`, `y`, `xc`, `yc`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from math import floor

from pipeline.api.dialects.imagekit.delivery import expressions, words
from pipeline.api.dialects.imagekit.delivery.backgrounds import padded
from pipeline.api.dialects.imagekit.delivery.draft import Draft
from pipeline.api.dialects.imagekit.delivery.focus import Focus, Spot, focus_of, zoom_of
from pipeline.api.dialects.imagekit.delivery.models import by_flow
from pipeline.api.dialects.imagekit.delivery.steps import Step, Unclear
from pipeline.errors import RequestInvalid

LARGEST = 20_000
"""Pixels of a side that may be asked for."""
LARGEST_SCALED = 5000
"""Pixels of a side beyond which `dpr` is not heeded."""
LEAST_RATIO, MOST_RATIO = 0.1, 5.0
"""Of `dpr`."""


@dataclass(frozen=True)
class Frame:
    """The size that is wished and what is to be seen in it; a side that is None follows from the other."""

    width: int | None
    height: int | None
    focus: Focus
    step: Step

    @property
    def sides(self) -> dict[str, int]:
        return {name: side for name, side in (("width", self.width), ("height", self.height)) if side is not None}

    @property
    def box(self) -> tuple[int, int] | None:
        """Both sides, None where one is open."""
        return (self.width, self.height) if self.width is not None and self.height is not None else None


def shape(draft: Draft, step: Step) -> None:
    """Give the picture the size and the part of it that a step asks for; raises `RequestInvalid`."""
    mode, frame = mode_of(step), frame_of(draft, step)
    if mode in CUTTING and (frame.sides or {"x", "y", "xc", "yc"} & step.said.keys()):
        CUTTING[mode](draft, frame)
    elif frame.box is not None:
        MODES[mode](draft, frame, *frame.box)
    elif frame.sides:
        draft.add("resize", fit="inside", enlarge=mode not in SMALLER, **frame.sides)


def frame_of(draft: Draft, step: Step) -> Frame:
    """The size that a step wishes for a picture, and what it wants to be seen in it."""
    step.read("z", zoom_of)
    width, height = _sides(draft, step)
    return Frame(width, height, step.read("fo", lambda text: focus_of(text, draft)) or Focus(), step)


def mode_of(step: Step) -> str:
    """One of `MODES` or of `CUTTING`."""
    known = {name: name for name in (*MODES, *CUTTING)}
    crop = step.read("c", partial(words.choice, known=known))
    return step.read("cm", partial(words.choice, known=known)) or crop or "maintain_ratio"


# The size


def _sides(draft: Draft, step: Step) -> tuple[int | None, int | None]:
    now = draft.outline
    width = step.read("w", lambda text: _side(text, draft, now.width, "width"))
    height = step.read("h", lambda text: _side(text, draft, now.height, None))
    ratio = step.read("ar", lambda text: expressions.ratio(text, draft))
    if ratio and width and not height:
        height = _pixels(width / ratio)
    elif ratio and height and not width:
        width = _pixels(height * ratio)
    scale = step.read("dpr", lambda text: _scale(text, draft)) or 1.0
    scaled = [None if side is None else side * scale for side in (width, height)]
    if all(side is None or 1 <= side <= LARGEST_SCALED for side in scaled):
        width, height = (None if side is None else _pixels(side) for side in scaled)
    if max(width or 0, height or 0) > LARGEST:
        raise RequestInvalid(reason=f"A side may have {LARGEST} pixels at most.")
    return width, height


def _side(text: str, draft: Draft, side: int, hint: str | None) -> int | None:
    """Pixels, also as an expression; up to 1 a share of the side there is; `auto` is what the client says of itself."""
    if text == "auto" and hint:
        draft.ground.heeded.add(hint)
        told = draft.ground.hints.get(hint)
        return None if told is None else _pixels(told)
    found = expressions.number(text, draft)
    if found <= 0:
        raise Unclear("pixels, a share such as `0.5`, or an expression such as `iw_div_2` that comes to more than 0")
    return _pixels(found if found > 1 or expressions.is_expression(text) else found * side)


def _scale(text: str, draft: Draft) -> float:
    if text != "auto":
        return words.number(text, LEAST_RATIO, MOST_RATIO)
    draft.ground.heeded.add("dpr")
    return min(MOST_RATIO, max(LEAST_RATIO, draft.ground.hints.get("dpr", 1.0)))


def _pixels(found: float) -> int:
    return max(1, floor(found + 0.5))


# Scaling


def _cover(draft: Draft, frame: Frame, width: int, height: int, enlarge: bool = True) -> None:
    if frame.focus.flow:
        share = 1.0 if enlarge else min(1.0, draft.outline.width / width, draft.outline.height / height)
        _shown(draft, frame, _pixels(width * share), _pixels(height * share))
        return
    size = {"width": width, "height": height}
    window = frame.focus.window(draft, width / height)
    if window:
        draft.add("crop", region=window.region)
        draft.add("resize", fit="fill" if enlarge else "cover", enlarge=enlarge, **size)
        return
    draft.add("resize", fit="cover", enlarge=enlarge, **size, **frame.focus.said(draft, frame.step, zooms=True))


def _shown(draft: Draft, frame: Frame, width: int, height: int) -> None:
    """What a flow shows of the thing it looks for, in this size whatever the size of that."""
    focus, zoom = frame.focus, frame.step.read("z", zoom_of)
    by_flow(draft, focus.flow or "", object=focus.word, width=width, height=height, zoom=zoom)
    draft.add("resize", fit="cover", enlarge=True, width=width, height=height)


def _scaled(fit: str, enlarge: bool, draft: Draft, frame: Frame, width: int, height: int) -> None:
    draft.add("resize", fit=fit, enlarge=enlarge, width=width, height=height)


def _pad(draft: Draft, frame: Frame, width: int, height: int, enlarge: bool = True) -> None:
    draft.add("resize", fit="inside", enlarge=enlarge, width=width, height=height)
    padded(draft, frame.step, width, height, frame.focus.compass)


Mode = Callable[[Draft, Frame, int, int], None]
MODES: Mapping[str, Mode] = {
    "maintain_ratio": _cover,
    "maintain_ratio_no_enlarge": partial(_cover, enlarge=False),
    "force": partial(_scaled, "fill", True),
    "at_max": partial(_scaled, "inside", False),
    "at_max_enlarge": partial(_scaled, "inside", True),
    "at_least": partial(_scaled, "outside", True),
    "pad_resize": _pad,
    "pad_resize_no_enlarge": partial(_pad, enlarge=False),
}
"""What both sides together mean."""
SMALLER = frozenset({"at_max", "maintain_ratio_no_enlarge", "pad_resize_no_enlarge"})
"""Modes in which a picture does not grow."""


# Cutting


def _extract(draft: Draft, frame: Frame) -> None:
    spot = _corner(draft, frame) or frame.focus.spot(draft, *_cut(draft, frame))
    if spot:
        draft.add("crop", region=spot.region)
        return
    width, height = _cut(draft, frame)
    if frame.focus.flow:
        _shown(draft, frame, width, height)
        return
    zoom = frame.step.read("z", zoom_of) or 1.0
    if frame.focus.is_face and zoom != 1:
        # What is shown larger is a smaller part.
        draft.add("crop", width=_pixels(width / zoom), height=_pixels(height / zoom), **frame.focus.said(draft))
        draft.add("resize", fit="cover", enlarge=True, width=width, height=height)
        return
    draft.add("crop", width=width, height=height, **frame.focus.said(draft))


def _pad_extract(draft: Draft, frame: Frame, shrink: bool = True) -> None:
    if shrink:
        _extract(draft, frame)
    across, down = frame.width or draft.outline.width, frame.height or draft.outline.height
    padded(draft, frame.step, across, down, frame.focus.compass)


def _cut(draft: Draft, frame: Frame) -> tuple[int, int]:
    """The size of the part, no larger than the picture."""
    now = draft.outline
    return min(frame.width or now.width, now.width), min(frame.height or now.height, now.height)


def _corner(draft: Draft, frame: Frame) -> Spot | None:
    """The part that lies at `x` and `y`, or around `xc` and `yc`; None where neither is said."""
    number = partial(expressions.number, draft=draft)
    x, y, xc, yc = (frame.step.read(key, number) for key in ("x", "y", "xc", "yc"))
    width, height = _cut(draft, frame)
    now = draft.outline
    if xc is not None or yc is not None:
        left = _pixels_from((now.width / 2 if xc is None else xc) - width / 2)
        top = _pixels_from((now.height / 2 if yc is None else yc) - height / 2)
        if left < 0 or top < 0 or left + width > now.width or top + height > now.height:
            raise RequestInvalid(reason=f"`xc`, `yc`: the part reaches beyond the {now.width} x {now.height} picture.")
        return Spot(left, top, width, height)
    if x is None and y is None:
        return None
    left, top = max(0, _pixels_from(x or 0.0)), max(0, _pixels_from(y or 0.0))
    if left >= now.width or top >= now.height:
        raise RequestInvalid(reason=f"`x`, `y`: the part begins outside of the {now.width} x {now.height} picture.")
    return Spot(left, top, min(width, now.width - left), min(height, now.height - top))


def _pixels_from(found: float) -> int:
    return floor(found + 0.5)


CUTTING: Mapping[str, Callable[[Draft, Frame], None]] = {
    "extract": _extract,
    "pad_extract": _pad_extract,
    "pad_extract_no_shrink": partial(_pad_extract, shrink=False),
}
"""Modes in which nothing is scaled."""
