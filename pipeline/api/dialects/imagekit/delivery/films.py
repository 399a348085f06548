"""What is made of videos: a picture of them, a part, another size or format; the rest is refused with its reason."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from math import floor
from typing import Any

from pipeline.api.dialects.imagekit.delivery import expressions, geometry, words, writing
from pipeline.api.dialects.imagekit.delivery.backgrounds import BLACK, colour_of
from pipeline.api.dialects.imagekit.delivery.draft import Draft
from pipeline.api.dialects.imagekit.delivery.steps import SHOWN, Step, Unclear
from pipeline.delivery import Recipe
from pipeline.errors import RequestInvalid
from pipeline.imaging.picture import Outline
from pipeline.model import File

FACT = "fact"
QUALITY = 50
"""Where none is said."""
FORMATS: Mapping[str, str] = {"video/mp4": "mp4", "video/webm": "webm"}
"""What stays as it is where no other format is said."""
CODECS: Mapping[str, str] = {"h264": "mp4", "vp9": "webm", "orig": ""}
SOUNDS: Mapping[str, str] = {"aac": "keep", "opus": "keep", "orig": "keep", "none": "drop"}
FITS: Mapping[str, tuple[str, bool]] = {
    "maintain_ratio": ("cover", True),
    "maintain_ratio_no_enlarge": ("cover", False),
    "force": ("fill", True),
    "at_max": ("inside", False),
    "at_max_enlarge": ("inside", True),
    "pad_resize": ("contain", True),
    "pad_resize_no_enlarge": ("contain", False),
}
REFUSED: Mapping[str, str] = {
    **dict.fromkeys(("x", "y", "xc", "yc", "z", "rt", "fl", "e", "bl", "b", "r", "o", "t"), "done to pictures only"),
    "sr": "videos are not delivered in pieces",
}
"""Parameters that mean something else than nothing, and why they are not done."""
LONGEST = 6 * 3600.0
"""Seconds."""


def about(file: File) -> Recipe:
    """What finds out how large a video is and how long."""
    return Recipe(file, {FACT: {"type": "video_probe", "from": "source"}})


def outline_of(facts: Mapping[str, Any]) -> Outline:
    return Outline(int(facts["width"]), int(facts["height"]), format="mp4")


def frame(draft: Draft, steps: Sequence[Step]) -> None:
    """Begin with a frame of the video: that at `so`, or the first."""
    moments = [step.read("so", lambda text: _seconds(text, draft)) for step in steps]
    draft.add("video_thumbnail", at=next((moment for moment in moments if moment is not None), 0.0))


def film(draft: Draft, file: File, steps: Sequence[Step]) -> Recipe | None:
    """The video that the steps make of one, or of an animation; None where they leave it as it is.

    Raises `RequestInvalid`.
    """
    for step in steps:
        _check(step)
    wish = _wish(steps, file)
    if file.mime == "image/gif":
        draft.add("video_transcode", audio="drop", quality=wish["quality"], format=wish["format"])
    for step in steps:
        _cut(draft, step, file)
        _size(draft, step)
    if file.mime != "image/gif" and wish.pop("is_said"):
        draft.add("video_transcode", **wish)
    if not draft.ground.nodes:
        return None
    nodes = {**draft.ground.nodes, "out": {"type": "save", "from": draft.last, "path": "film"}}
    return Recipe(file, nodes)


def _check(step: Step) -> None:
    for key in step.said:
        if key in REFUSED:
            raise RequestInvalid(reason=f"`{key}` is not done to videos here: {REFUSED[key]}.")
    if step.layers or step.choices:
        raise RequestInvalid(reason="Layers and conditionals are not done to videos here.")


def _wish(steps: Sequence[Step], file: File) -> dict[str, Any]:
    """How it is written, and whether anything was said of that."""
    format = quality = codec = sound = None
    for step in steps:
        format = step.read("f", lambda text: words.choice(text, VIDEO_FORMATS)) or format
        quality = step.read("q", lambda text: words.whole(text, 1, 100)) or quality
        codec = step.read("vc", lambda text: words.choice(text, CODECS)) or codec
        sound = step.read("ac", lambda text: words.choice(text, SOUNDS)) or sound
    own = FORMATS.get(file.mime)
    chosen = format or codec or own or "mp4"
    if codec and format and codec != format:
        raise RequestInvalid(reason="`vc-h264` goes with `f-mp4`, `vc-vp9` with `f-webm`.")
    said = chosen != own or quality is not None or sound is not None
    return {"format": chosen, "quality": quality or QUALITY, "audio": sound or "keep", "is_said": said}


VIDEO_FORMATS: Mapping[str, str] = {"mp4": "mp4", "webm": "webm", "auto": "", "orig": ""}


def _cut(draft: Draft, step: Step, file: File) -> None:
    number = partial(_seconds, draft=draft)
    start, end, length = (step.read(key, number) for key in ("so", "eo", "du"))
    if start is None and end is None and length is None:
        return
    said: dict[str, Any] = {"start": start or 0.0}
    if length is not None:
        said["duration"] = length
    elif end is not None:
        said["end"] = end
    draft.add("video_trim", exact=file.mime != "video/mp4", **said)


def _seconds(text: str, draft: Draft) -> float:
    """Seconds; `idu` is how long the video is."""
    found = expressions.number(text, draft)
    if not 0 <= found <= LONGEST:
        raise Unclear("seconds from the beginning")
    return round(found, 3)


def _size(draft: Draft, step: Step) -> None:
    frame = geometry.frame_of(draft, step)
    mode = geometry.mode_of(step)
    if not frame.sides:
        return
    if mode != "at_least" and mode not in FITS:
        raise RequestInvalid(reason=f"`{mode[:SHOWN]}` is not done to videos here.")
    if frame.box is None:
        draft.add("video_resize", fit="inside", enlarge=mode not in geometry.SMALLER, **frame.sides)
        draft.outline = _scaled(draft.outline, frame.width, frame.height)
        return
    width, height = frame.box
    if mode == "at_least":
        draft.outline = _scaled(draft.outline, *_outside(draft.outline, width, height))
        draft.add("video_resize", fit="fill", enlarge=True, width=draft.outline.width, height=draft.outline.height)
        return
    if frame.focus.word != "center":
        raise RequestInvalid(reason="`fo` is not done to videos here but `fo-center`.")
    if mode.startswith("pad") and (colour_of(draft, step) or BLACK)[: len(BLACK)] != BLACK:
        raise RequestInvalid(reason="Videos are padded with black here.")
    fit, enlarge = FITS[mode]
    draft.add("video_resize", fit=fit, enlarge=enlarge, width=width, height=height)
    draft.outline = draft.outline.sized(width, height)


def _scaled(outline: Outline, width: int | None, height: int | None) -> Outline:
    across = width or floor(outline.width * (height or outline.height) / outline.height + 0.5)
    down = height or floor(outline.height * across / outline.width + 0.5)
    return outline.sized(across, down)


def _outside(outline: Outline, width: int, height: int) -> tuple[int, int]:
    ratio = max(width / outline.width, height / outline.height)
    return floor(outline.width * ratio + 0.5), floor(outline.height * ratio + 0.5)


def asks_film(steps: Sequence[Step]) -> bool:
    """Whether a video is asked for, of something that is none."""
    return any(step.said.get("f") in writing.FILMS for step in steps)
