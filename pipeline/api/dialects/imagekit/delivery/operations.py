"""Every parameter that is spoken, in the order in which a step does what they ask, and why others are not.

Within one step the order of the parameters says nothing, but that of the effects among each other and of the layers;
what has to come after something else stands in a step of its own behind it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from pipeline.api.dialects.imagekit.delivery import (
    backgrounds,
    effects,
    expressions,
    geometry,
    layers,
    looks,
    writing,
)
from pipeline.api.dialects.imagekit.delivery.draft import Draft
from pipeline.api.dialects.imagekit.delivery.steps import SHOWN, Step, wanted
from pipeline.errors import RequestInvalid

STILL = "It is said of videos; this is a picture."


class Act(NamedTuple):
    """What one or more parameters do to a draft, and what they are."""

    act: Callable[[Draft, Step], None]
    written: Mapping[str, str]
    note: str = ""
    """Where it differs from the hosted service."""


def _effects(draft: Draft, step: Step) -> None:
    for value in step.effects:
        name, _, rest = value.partition("-")
        if name not in effects.TABLE:
            raise RequestInvalid(reason=f"`e-{name[:SHOWN]}` is no effect known here.")
        with wanted("e", value):
            effects.TABLE[name](draft, rest)


def _layers(draft: Draft, step: Step) -> None:
    for layer in (*step.layers, *filter(None, [layers.flat(step)])):
        layers.add(draft, layer)


def _underlaid(draft: Draft, step: Step) -> None:
    backgrounds.underlaid(draft, step)


ACTS: Sequence[Act] = (
    Act(looks.trim, {"t": "true | 1 - 99"}, "The number is how far colours may lie apart, of 255."),
    Act(
        geometry.shape,
        {
            "w": "pixels | 0.1 - 1 | auto | expression",
            "h": "pixels | 0.1 - 1 | expression",
            "ar": "4-3 | 4_3 | expression",
            "dpr": "0.1 - 5 | auto",
            "c": " | ".join(geometry.MODES),
            "cm": " | ".join((*geometry.MODES, *geometry.CUTTING)),
            "fo": "center | top | ... | bottom_right | auto | face | custom | kind of thing",
            "x": "pixels | expression",
            "y": "pixels | expression",
            "xc": "pixels | expression",
            "yc": "pixels | expression",
            "z": "0.01 - 100",
        },
        "`fo-face` needs the setting `face_model`, or else is `fo-auto`. Kinds of things (`fo-person`, `fo-car`, ...) "
        "are shown by the flow that `extensions` name for `fo-person` or for `fo-object`, with the params `object`, "
        "`width`, `height` and, where said, `zoom`.",
    ),
    Act(looks.flip, {"fl": "h | v | h_v"}),
    Act(looks.rotate, {"rt": "degrees clockwise | N40 | auto"}, "Every picture is turned as EXIF says."),
    Act(_effects, {"e": "effect"}),
    Act(effects.recolour, {"cr": "to[_tolerance[_from]]"}),
    Act(looks.blur, {"bl": "1 - 100"}),
    Act(
        _underlaid,
        {
            "bg": "RRGGBB | RRGGBBAA | name | dominant | blurred[_1 - 100 | _auto][_N255 - 255] | "
            "gradient_dominant[_2 | _4] | genfill[-prompt-text]"
        },
        "What is made of the picture is for padding. `genfill` is made up by the flow that `extensions` name for "
        "`bg-genfill`, with the params `width`, `height` and, where said, `gravity` and `prompt`.",
    ),
    Act(looks.edge, {"b": "width_colour", "r": "pixels | max | tl_tr_br_bl"}, "A border lies around the picture."),
    Act(looks.fade, {"o": "0 - 100"}),
    Act(_layers, {"l": "image | text, ..., l-end"}),
    Act(
        writing.write,
        {
            "f": "auto | jpg | png | webp | avif | gif | svg | orig | mp4 | webm",
            "q": "1 - 100",
            "lo": "true | false",
            "pr": "true | false",
            "cp": "true | false",
            "md": "true | false",
            "dn": "pixels an inch",
        },
        "`f-gif` and `f-mp4` are for GIF files, `f-svg` for SVG files as they are stored.",
    ),
)

ELSEWHERE: Mapping[str, str] = {
    "n": "the name of a transformation",
    "orig": "true",
    "di": "the path of a picture to show where there is none, `@@` for `/`",
    "pg": "the page of a document, with `/ik-thumbnail.jpg` behind its path",
    "so": "where a part of a video begins, seconds",
    "eo": "where it ends",
    "du": "how long it is",
    "vc": "h264 | vp9 | orig",
    "ac": "aac | opus | none | orig",
}
"""Parameters that are read before anything is done to a picture, or with videos."""

IN_LAYERS = frozenset({looks.trim, writing.write})
"""What is not done to layers: they are trimmed in a way of their own, and not written."""


def perform(draft: Draft, steps: Sequence[Step]) -> None:
    """Do what the steps ask, one after the other; raises `RequestInvalid` for what cannot be done."""
    for step in steps:
        if not step.choices:
            _apply(draft, step)
            continue
        if len(step.parts) > 1:
            raise RequestInvalid(reason="A conditional stands in a step of its own, with nothing else in it.")
        choice = step.choices[0]
        perform(draft, choice.then if expressions.holds(choice.condition, draft) else choice.otherwise)


def _apply(draft: Draft, step: Step) -> None:
    for act in ACTS:
        if draft.base is None or act.act not in IN_LAYERS:
            act.act(draft, step)
