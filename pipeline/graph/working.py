"""What each picture step does to memory: which hold their input, which add rows, layers or letters."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, cast

from pipeline.graph.account import MIB, Account, Stream
from pipeline.imaging.picture import INTERESTS, Outline, Picture

LETTERS, STROKED, FONTS = 8, 48, 6 * MIB
"""Bytes for each pixel of a text, of one with a stroke, and what Pango and its fonts take once; 8 MiB were measured."""
FACES = 96 * MIB
"""OpenCV and a network that look at 1280 pixels; assumed."""


@dataclass(frozen=True)
class Act:
    """One step on one picture: the node, the outlines before and after it, and what lies beside by its name."""

    account: Account
    node: Any
    before: Outline
    after: Outline
    beside: Mapping[str, Stream]


Working = Callable[[Act, Stream], Stream]
"""Counts what a step needs and keeps; from its input to its output."""


def wishing(act: Act, stream: Stream) -> Stream:
    """Nothing but the encoding it wishes changes, and that is asked without pixels."""
    blank = Picture(cast(Any, None), act.before, wish=stream.wish)
    return replace(stream, wish=act.node.apply(blank, {}).wish)


def unchanged(act: Act, stream: Stream) -> Stream:
    return stream


def pointwise(act: Act, stream: Stream) -> Stream:
    """Every pixel for itself, at the scale they have."""
    return stream.acted()


def redrawn(act: Act, stream: Stream) -> Stream:
    """Whole frames, from top to bottom; the canvas may change."""
    return act.account.settled(stream, act.before).acted().framed(act.before, act.after).acted()


def held(act: Act, stream: Stream) -> Stream:
    """The same by a step that reads its input more than once, or out of order."""
    return act.account.settled(stream, act.before, hold=True).acted().framed(act.before, act.after).acted()


def held_with_alpha(act: Act, stream: Stream) -> Stream:
    return (held if stream.alpha else redrawn)(act, stream)


def upright(act: Act, stream: Stream) -> Stream:
    """Upright frames, at the scale they have."""
    ready = act.account.upright(stream)
    ready = act.account.held(ready) if ready.frames > 1 else ready
    return ready.acted().framed(act.before, act.after)


def oriented(act: Act, stream: Stream) -> Stream:
    return turned(stream, act.before.orientation)


def turned(stream: Stream, orientation: int) -> Stream:
    """The picture as an EXIF orientation shows it, which is made so later."""
    width, height = (stream.height, stream.width) if orientation >= 5 else (stream.width, stream.height)
    return replace(stream, width=width, height=height, turned=stream.turned or orientation != 1)


def pointwise_held(act: Act, stream: Stream) -> Stream:
    """Every pixel for itself, by a step that reads them more than once."""
    return act.account.held(stream).acted()


def adjust(act: Act, stream: Stream) -> Stream:
    return (pointwise_held if act.node.vibrance else pointwise)(act, stream).framed(act.before, act.after)


def blur(act: Act, stream: Stream) -> Stream:
    return (redrawn if act.node.amount == 1 and not act.node.threshold else held)(act, stream)


def rectangle(act: Act, stream: Stream) -> Stream:
    act.account.need(act.before.width * act.before.height * 4)
    return act.account.settled(stream, act.before).acted()


def animate(act: Act, stream: Stream) -> Stream:
    return act.account.held(stream) if act.node.reverse and stream.frames > 1 else stream


def crop(act: Act, stream: Stream) -> Stream:
    seeks = act.node.region is None and act.node.focus is None
    return _windowed(act.account, stream, act.node.gravity if seeks else "", act.before, act.after)


def resize(act: Act, stream: Stream) -> Stream:
    across, down = act.after.width / act.before.width, act.after.height / act.before.height
    whole = act.after
    if act.node.fit in ("cover", "contain"):
        scale = max(across, down) if act.node.fit == "cover" else min(across, down)
        whole = act.before.sized(round(act.before.width * scale), round(act.before.height * scale))
    scaled = stream.sized(whole.width, whole.height)
    if (whole.width, whole.height) == (act.after.width, act.after.height):
        return scaled
    if act.node.fit == "contain":
        return act.account.settled(scaled, whole).acted().framed(whole, act.after)
    return _windowed(act.account, scaled, "" if act.node.focus else act.node.gravity, whole, act.after)


def _windowed(account: Account, stream: Stream, gravity: str, before: Outline, after: Outline) -> Stream:
    if gravity == "face":
        account.need(stream.rows + FACES)
    ready = account.upright(stream)
    sought = gravity == "face" or gravity in INTERESTS
    return (account.held(ready) if sought or ready.frames > 1 else ready).framed(before, after)


def flip(act: Act, stream: Stream) -> Stream:
    return stream if act.node.direction == "horizontal" else replace(stream, turned=True)


def rotate(act: Act, stream: Stream) -> Stream:
    if act.node.angle % 90:
        return act.account.held(act.account.upright(stream)).framed(act.before, act.after).acted()
    orientation = {0: 1, 90: 6, 180: 3, 270: 8}[round(act.node.angle % 360)]
    lying = turned(stream, orientation)
    shown = act.before.sized(act.before.height, act.before.width) if orientation >= 5 else act.before
    if (shown.width, shown.height) == (act.after.width, act.after.height):
        return lying
    return act.account.upright(lying).acted().framed(shown, act.after)


def frames(act: Act, stream: Stream) -> Stream:
    picked = stream.frames > act.after.frames > 1
    ready = act.account.held(stream) if picked else stream
    return replace(ready, frames=min(stream.frames, act.after.frames))


def pad(act: Act, stream: Stream) -> Stream:
    if (act.before.width, act.before.height) == (act.after.width, act.after.height):
        return stream
    return (redrawn if act.node.extend == "background" else held)(act, stream)


def redact(act: Act, stream: Stream) -> Stream:
    if act.node.faces:
        act.account.need(FACES)
    return (redrawn if act.node.mode == "fill" and not act.node.faces else held)(act, stream)


def text(act: Act, stream: Stream) -> Stream:
    area = min(len(act.node.text) * act.node.size**2, act.before.width * act.before.height)
    act.account.need(area * (STROKED if act.node.stroke else LETTERS) + FONTS)
    act.account.keep(area * 4 + FONTS)
    return act.account.settled(stream, act.before).acted()


def watermark(act: Act, stream: Stream) -> Stream:
    mark = act.beside["mark"]
    wanted = act.node.scale * act.before.width if act.node.scale else mark.width
    width = max(1, round(min(wanted, act.before.width)))
    _lay(act, mark, width, max(1, round(mark.height * width / mark.width)))
    return act.account.settled(stream, act.before).acted()


def overlay(act: Act, stream: Stream) -> Stream:
    for layer in act.node.layers:
        under = act.beside[layer.image]
        _lay(act, under, *layer.size(Outline(under.width, under.height), act.before))
        stream = act.account.settled(stream, act.before, hold=layer.blend != "over").acted()
    return stream.framed(act.before, act.after)


def _lay(act: Act, layer: Stream, width: int, height: int) -> None:
    """A layer is held at its size, as far as it lies on the picture."""
    sized = replace(layer.sized(width, height), bands=4, depth=1, frames=1)
    act.account.copied(replace(sized, width=min(width, act.before.width), height=min(height, act.before.height)))


WORKINGS: dict[str, Working] = {
    "adjust": adjust,
    "animate": animate,
    "blur": blur,
    "border": redrawn,
    "convert": wishing,
    "crop": crop,
    "distort": held,
    "duotone": pointwise,
    "enhance": pointwise_held,
    "flip": flip,
    "frames": frames,
    "gradient": redrawn,
    "grayscale": pointwise,
    "icc": unchanged,
    "invert": pointwise,
    "metadata": unchanged,
    "optimize": wishing,
    "orient": oriented,
    "overlay": overlay,
    "pad": pad,
    "rectangle": rectangle,
    "recolour": held,
    "redact": redact,
    "resize": resize,
    "rotate": rotate,
    "round": upright,
    "sepia": pointwise,
    "shadow": held_with_alpha,
    "sharpen": held_with_alpha,
    "text": text,
    "tint": pointwise,
    "trim": upright,
    "watermark": watermark,
}
"""By type, every picture step that takes one picture; a test holds it against the index of nodes."""
