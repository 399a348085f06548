"""The operations that say how the result is written and shown, or that something else than a picture is asked for."""

from __future__ import annotations

from collections.abc import Sequence

from pipeline.api.dialects.uploadcare.delivery import words
from pipeline.api.dialects.uploadcare.delivery.draft import Draft

FORMATS = {name: name for name in ("jpeg", "png", "webp", "avif", "auto", "preserve")}
FILMS = {"mp4": "mp4", "webm": "webm"}
QUALITIES = {name: name for name in ("normal", "better", "best", "lighter", "lightest", "smart", "smart_retina")}
STRIPS = {"all": "all", "none": "none", "sensitive": "sensitive"}
PROFILES = {"fast": {"to": "srgb"}, "icc": {"to": "srgb"}, "keep_profile": {"to": "source"}}
MOST_COLOURS = 16
MOST_PROFILE = 100_000
"""Kilobytes."""

Params = Sequence[str]


def format(draft: Draft, params: Params) -> None:
    if draft.kind == "video":
        draft.video["format"] = words.choice(params[0], FILMS)
    else:
        draft.format = words.choice(params[0], FORMATS)


def quality(draft: Draft, params: Params) -> None:
    draft.quality = words.choice(params[0], QUALITIES)
    draft.alters = True


def progressive(draft: Draft, params: Params) -> None:
    draft.progressive = words.choice(params[0], words.YES_NO)
    draft.alters = True


def strip_meta(draft: Draft, params: Params) -> None:
    draft.strip = words.choice(params[0], STRIPS)
    draft.alters = True


def max_icc_size(draft: Draft, params: Params) -> None:
    draft.profile = {"to": "source", "max_size": words.whole(params[0], 0, MOST_PROFILE) * 1000}
    draft.alters = True


def srgb(draft: Draft, params: Params) -> None:
    draft.profile = words.choice(params[0], PROFILES)
    draft.alters = True


def inline(draft: Draft, params: Params) -> None:
    draft.inline = words.choice(params[0], words.YES_NO)


def json(draft: Draft, params: Params) -> None:
    draft.kind = "json"


def jsonp(draft: Draft, params: Params) -> None:
    draft.kind = "jsonp"


def detect_faces(draft: Draft, params: Params) -> None:
    draft.kind = "faces"


def main_colors(draft: Draft, params: Params) -> None:
    draft.kind = "colours"
    draft.count = words.whole(params[0], 1, MOST_COLOURS) if params else 5


def gif2video(draft: Draft, params: Params) -> None:
    draft.kind = "video"
