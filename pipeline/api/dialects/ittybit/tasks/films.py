"""The kind `video`: a film cut, at another size, written as MP4 or WebM; it needs the extra `video`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from pipeline.api.dialects.ittybit.errors import BadRequest
from pipeline.api.dialects.ittybit.tasks.pictures import number_of, quality_of
from pipeline.api.dialects.ittybit.tasks.steps import Step

if TYPE_CHECKING:
    from pipeline.api.dialects.ittybit.tasks.drafting import Draft

FORMATS = ("mp4", "webm")
CODECS: Mapping[str, str] = {"h264": "h264", "avc": "h264", "h265": "hevc", "hevc": "hevc", "vp9": "vp9", "av1": "av1"}
FITS = ("fill", "contain", "cover")
LARGEST = 7680
LONGEST = 86_400


def add(draft: Draft, step: Step, number: int, source: str, node: str) -> None:
    """Add the nodes of a step, the last of which is `node`; raises `BadRequest`."""
    options = step.options
    source = _cut(draft, options, number, source)
    source = _resized(draft, options, number, source)
    draft.add(
        node,
        source,
        "video_transcode",
        format=_format(step),
        codec=_codec(options),
        quality=quality_of(options),
        fps=number_of(options, "fps", 1, 240),
        audio="drop" if options.get("audio") in (False, "none", "drop") or options.get("no_audio") is True else None,
    )


def _cut(draft: Draft, options: Mapping[str, Any], number: int, source: str) -> str:
    start, end, duration = (number_of(options, name, 0, LONGEST) for name in ("start", "end", "duration"))
    if not start and end is None and duration is None:
        return source
    told = {"end": end} if end is not None else {"duration": duration}
    return draft.add(f"s{number}-cut", source, "video_trim", start=start or 0, exact=True, **told)


def _resized(draft: Draft, options: Mapping[str, Any], number: int, source: str) -> str:
    width, height = (number_of(options, side, 2, LARGEST) for side in ("width", "height"))
    fit = options.get("fit") or "fill"
    if fit not in FITS:
        raise BadRequest(reason=f"`fit` must be one of {', '.join(FITS)}.")
    if width is None and height is None:
        return source
    both = width is not None and height is not None
    return draft.add(
        f"s{number}-size",
        source,
        "video_resize",
        width=None if width is None else round(width),
        height=None if height is None else round(height),
        fit=fit if both else "inside",
        enlarge=True,
    )


def _format(step: Step) -> str | None:
    told = step.options.get("format")
    suffix = (step.name or "").rpartition(".")[2].lower()
    if told is None:
        return suffix if suffix in FORMATS else None
    if told not in FORMATS:
        raise BadRequest(reason=f"`format` must be one of {', '.join(FORMATS)}.")
    return str(told)


def _codec(options: Mapping[str, Any]) -> str | None:
    told = options.get("codec")
    if told is None:
        return None
    if str(told).lower() not in CODECS:
        raise BadRequest(reason=f"`codec` must be one of {', '.join(CODECS)}.")
    return CODECS[str(told).lower()]
