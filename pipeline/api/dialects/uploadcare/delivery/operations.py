"""Every operation of the URL API that is spoken, and why the others are not; read from left to right into a draft."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from pipeline.api.dialects.uploadcare.delivery import encodings, geometry, layers, tones
from pipeline.api.dialects.uploadcare.delivery.draft import LARGER, SMALLER, Draft
from pipeline.api.dialects.uploadcare.delivery.urls import Step
from pipeline.api.dialects.uploadcare.delivery.words import Unclear
from pipeline.errors import RequestInvalid

SHOWN = 64
"""Characters of a parameter that an error repeats."""


class Operation(NamedTuple):
    """What an operation does to the draft, how many parameters it takes, and what they are."""

    act: Callable[[Draft, Sequence[str]], None]
    least: int
    most: int
    written: str
    note: str = ""
    """Where it differs from the hosted service."""


TABLE: Mapping[str, Operation] = {
    "preview": Operation(geometry.preview, 0, 1, "[WxH]"),
    "resize": Operation(geometry.resize, 1, 1, "WxH | Wx | xH"),
    "stretch": Operation(geometry.stretch, 1, 1, "on | off | fill"),
    "scale_crop": Operation(
        geometry.scale_crop,
        1,
        3,
        "WxH[/type][/alignment]",
        "`smart`, `objects` and `points` look for skin, strong colours and edges; `faces` do so where `face_model` is "
        "not set.",
    ),
    "crop": Operation(
        geometry.crop,
        1,
        3,
        "WxH[/alignment] | R1:R2[/alignment] | face|image/R1:R2|WxH[/alignment]",
        "`face` needs a ratio or a size; it needs `face_model`.",
    ),
    "trim": Operation(geometry.trim, 0, 2, "[tolerance[/padding]]", "The padding is in pixels."),
    "border_radius": Operation(geometry.border_radius, 1, 2, "r[,r...][/vertical]"),
    "setfill": Operation(geometry.setfill, 1, 1, "colour"),
    "zoom_objects": Operation(
        geometry.zoom_objects, 1, 1, "0 - 100", "An object is what stands out of a plain background."
    ),
    "rotate": Operation(geometry.rotate, 1, 1, "degrees, counter-clockwise"),
    "flip": Operation(geometry.flip, 0, 0, ""),
    "mirror": Operation(geometry.mirror, 0, 0, ""),
    "autorotate": Operation(geometry.autorotate, 1, 1, "yes | no"),
    "rasterize": Operation(geometry.rasterize, 0, 0, "", "Any operation on a drawing (SVG) makes pixels of it."),
    "format": Operation(encodings.format, 1, 1, "jpeg | png | webp | avif | auto | preserve"),
    "quality": Operation(
        encodings.quality,
        1,
        1,
        "normal | better | best | lighter | lightest | smart | smart_retina",
        "`smart` is `normal`, `smart_retina` is `lighter`.",
    ),
    "progressive": Operation(encodings.progressive, 1, 1, "yes | no"),
    "strip_meta": Operation(
        encodings.strip_meta, 1, 1, "all | none | sensitive", "`sensitive` keeps the copyright and the artist."
    ),
    "max_icc_size": Operation(
        encodings.max_icc_size, 1, 1, "kilobytes", "Left out, colours are converted to sRGB and no profile is kept."
    ),
    "srgb": Operation(encodings.srgb, 1, 1, "fast | icc | keep_profile"),
    "grayscale": Operation(tones.grayscale, 0, 0, ""),
    "invert": Operation(tones.invert, 0, 0, ""),
    "brightness": Operation(tones.brightness, 1, 1, "-100 - 100"),
    "exposure": Operation(tones.exposure, 1, 1, "-500 - 500"),
    "gamma": Operation(tones.gamma, 1, 1, "0 - 1000"),
    "contrast": Operation(tones.contrast, 1, 1, "-100 - 500"),
    "saturation": Operation(tones.saturation, 1, 1, "-100 - 500"),
    "vibrance": Operation(tones.vibrance, 1, 1, "-100 - 500"),
    "warmth": Operation(tones.warmth, 1, 1, "-100 - 100"),
    "enhance": Operation(tones.enhance, 0, 1, "[0 - 100]"),
    "sharp": Operation(tones.sharp, 0, 1, "[0 - 20]"),
    "blur": Operation(tones.blur, 0, 2, "[strength[/amount]]", "Strengths over 2500 are like 2500."),
    "blur_region": Operation(
        tones.blur_region, 1, 3, "WxH/X,Y[/strength] | faces[/strength]", "`faces` needs `face_model`."
    ),
    "overlay": Operation(layers.overlay, 1, 4, "uuid | self[/WxH][/alignment][/opacity]"),
    "rect": Operation(layers.rect, 3, 3, "colour/WxH/X,Y"),
    "font": Operation(
        layers.font, 1, 6, "[reset/][weight/][style/]size/colour[/family]", "The families are sans, serif and mono."
    ),
    "text_align": Operation(layers.text_align, 1, 2, "left | center | right[/top | center | bottom]"),
    "text_box": Operation(layers.text_box, 1, 3, "none | fit | fill[/colour][/padding]", "`line` is not spoken."),
    "text": Operation(layers.text, 3, 3, "WxH/X,Y/text"),
    "inline": Operation(encodings.inline, 1, 1, "yes | no"),
    "json": Operation(encodings.json, 0, 0, ""),
    "jsonp": Operation(encodings.jsonp, 0, 0, ""),
    "detect_faces": Operation(encodings.detect_faces, 0, 0, "", "Needs `face_model`."),
    "main_colors": Operation(encodings.main_colors, 0, 1, "[1 - 16]"),
    "gif2video": Operation(encodings.gif2video, 0, 0, "", "Takes format, quality, preview, resize and scale_crop."),
}

NOT_SPOKEN: Mapping[str, str] = {
    "smart_resize": "nothing here scales a picture by its content",
    "filter": "the vendor's filters are its own",
    "video": "videos are converted by flows",
    "document": "documents are converted by flows",
    "adaptive_video": "videos are not delivered in pieces",
}
"""Operations of the vendor that are not spoken, and why."""

WANTING = frozenset(name for name, operation in TABLE.items() if operation.least)
"""Operations that mean nothing without a parameter."""


def read(steps: Sequence[Step]) -> Draft:
    """The draft that the steps make; raises `RequestInvalid` with everything that is wrong with them."""
    jpeg = any(step.name == "format" and step.params[:1] == ("jpeg",) for step in steps)
    draft, faults = Draft(most=LARGER if jpeg else SMALLER), []
    for step in steps:
        fault = _applied(draft, step)
        if fault:
            faults.append(fault)
    if faults:
        raise RequestInvalid(reason=" ".join(dict.fromkeys(faults)))
    return draft


def _applied(draft: Draft, step: Step) -> str | None:
    """Have the operation its effect, or tell why it has none."""
    name = step.name[:SHOWN]
    if step.name in NOT_SPOKEN:
        return f"`{name}` is not spoken here: {NOT_SPOKEN[step.name]}."
    operation = TABLE.get(step.name)
    if operation is None:
        return f"`{name}` is not an operation known here."
    if not operation.least <= len(step.params) <= operation.most:
        return f"`{name}` is written `{'/'.join(filter(None, (name, operation.written)))}`."
    try:
        operation.act(draft, step.params)
    except Unclear as unclear:
        given = "/".join((step.name, *step.params))[:SHOWN]
        return f"`{given}`: it takes {unclear}."
    return None
