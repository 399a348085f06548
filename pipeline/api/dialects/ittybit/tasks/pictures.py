"""The kind `image`: a picture or a frame of a video, sized, written in a format, with layers laid over it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, get_args

from pipeline.api.dialects.ittybit.errors import BadRequest
from pipeline.api.dialects.ittybit.tasks.steps import Step
from pipeline.nodes.base import Compass

if TYPE_CHECKING:
    from pipeline.api.dialects.ittybit.tasks.drafting import Draft

FORMATS: Mapping[str, str] = {
    "jpeg": "jpeg", "jpg": "jpeg", "png": "png", "webp": "webp", "avif": "avif", "gif": "gif", "tiff": "tiff",
}  # fmt: skip
FITS = ("fill", "contain", "cover")
QUALITY = 80
QUALITIES: Mapping[str, int] = {"very_low": 35, "low": 50, "medium": QUALITY, "high": 90, "very_high": 96}
MOST_LAYERS = 8
LARGEST = 16_384
BLACK, CLEAR = "#000000", "#00000000"
FONTS: Mapping[str, str] = {"serif": "serif", "mono": "mono", "courier": "mono", "times": "serif", "georgia": "serif"}
"""Which typeface a font is written in whose name has this in it; any other one is written in Inter."""
POSITIONS = frozenset(get_args(Compass))


def add(draft: Draft, step: Step, number: int, source: str, node: str) -> str | None:
    """Add the nodes of a step, the last of which is `node`; returns the format that is asked for.

    Raises `BadRequest`.
    """
    options, format = step.options, _format(step)
    if options.get("start") is not None:
        at = number_of(options, "start", 0, 86_400)
        source = draft.add(f"s{number}-frame", source, "video_thumbnail", at=at)
    source = _resized(draft, options, number, source)
    for place, layer in enumerate(_layers(options)):
        source = _laid(draft, layer, f"s{number}-over{place}", source)
    colour = colour_of(options, "background")
    shown = colour if colour and len(colour) in (4, 7) else BLACK
    draft.add(node, source, "convert", format=format, quality=quality_of(options) or QUALITY, background=shown)
    return format


def _resized(draft: Draft, options: Mapping[str, Any], number: int, source: str) -> str:
    width, height = (number_of(options, side, 1, LARGEST) for side in ("width", "height"))
    fit = options.get("fit") or options.get("resize") or "fill"
    if fit not in FITS:
        raise BadRequest(reason=f"`fit` must be one of {', '.join(FITS)}.")
    if width is None and height is None:
        return source
    return draft.add(
        f"s{number}-size",
        source,
        "resize",
        width=_whole(width),
        height=_whole(height),
        fit=fit,
        gravity=position_of(options) or "center",
        background=colour_of(options, "background") or CLEAR,
    )


def _format(step: Step) -> str | None:
    """The format that is asked for, by its name or by that of the file."""
    told = step.options.get("format")
    if told is None:
        return FORMATS.get((step.name or "").rpartition(".")[2].lower())
    if not isinstance(told, str) or told.lower() not in FORMATS:
        known = ", ".join(dict.fromkeys(FORMATS.values()))
        raise BadRequest(reason=f"`format` must be one of {known}; images are not written as {str(told)[:40]!r} here.")
    return FORMATS[told.lower()]


# What is laid over it


def _layers(options: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    given = options.get("layers") or options.get("overlays") or []
    if not isinstance(given, list) or len(given) > MOST_LAYERS or not all(isinstance(one, dict) for one in given):
        raise BadRequest(reason=f"`layers` must be a list of at most {MOST_LAYERS} objects.")
    return given


def _laid(draft: Draft, layer: Mapping[str, Any], name: str, source: str) -> str:
    kind = layer.get("kind") or ("text" if "text" in layer else "image")
    if kind == "text":
        return _written(draft, layer, name, source)
    if kind != "image":
        raise BadRequest(reason="A layer is of the kind `text` or `image`.")
    given = {key: layer[key] for key in ("file_id", "url", "src") if isinstance(layer.get(key), str)}
    if not given:
        raise BadRequest(reason="An image layer must have a `file_id` or a `url`.")
    port = draft.input(given)
    told = {side: _length(layer, side, 0) for side in ("width", "height")}
    told |= {side: _length(layer, side, -LARGEST) or 0 for side in ("x", "y")}
    place = {"image": "layer1", "position": position_of(layer) or "center", "opacity": _share(layer)}
    drawn = {key: value for key, value in {**place, **told}.items() if value is not None}
    draft.nodes[name] = {"type": "overlay", "from": {"image": source, "layer1": port}, "layers": [drawn]}
    return name


def _written(draft: Draft, layer: Mapping[str, Any], name: str, source: str) -> str:
    text = layer.get("text")
    if not isinstance(text, str) or not 0 < len(text) <= 2000:
        raise BadRequest(reason="A text layer must have a `text` of at most 2000 characters.")
    size = number_of(layer, "font_size", 4, 1000) or number_of(layer, "size", 4, 1000)
    margin = number_of(layer, "margin", 0, 10_000)
    return draft.add(
        name,
        source,
        "text",
        text=text.replace("{", "{{").replace("}", "}}"),
        size=_whole(size),
        typeface=_typeface(layer.get("font")),
        colour=colour_of(layer, "color") or colour_of(layer, "colour"),
        background=colour_of(layer, "background"),
        position=position_of(layer) or "center",
        margin=_whole(margin),
        opacity=_share(layer),
    )


def _typeface(font: Any) -> str | None:
    return next((face for part, face in FONTS.items() if part in str(font).lower()), None) if font else None


# Values


def number_of(given: Mapping[str, Any], name: str, least: float, most: float) -> float | None:
    """A number, also one in a text, None when it is not there; raises `BadRequest`."""
    value = given.get(name)
    if value is None:
        return None
    try:
        number = None if isinstance(value, bool) else float(value)
    except (TypeError, ValueError):
        number = None
    if number is None or not least <= number <= most:
        raise BadRequest(reason=f"`{name}` must be a number from {least:g} to {most:g}.")
    return number


def quality_of(options: Mapping[str, Any]) -> int | None:
    """A quality as it is here, 1 to 100, also from a word; None where nothing is said. Raises `BadRequest`."""
    value = options.get("quality")
    if isinstance(value, str) and value in QUALITIES:
        return QUALITIES[value]
    told = number_of(options, "quality", 0, 100)
    return None if told is None else max(1, round(told))


def colour_of(given: Mapping[str, Any], name: str) -> str | None:
    """A colour as `#rrggbb[aa]`, also `transparent` or one of the simplest words; raises `BadRequest`."""
    value = given.get(name)
    if value is None:
        return None
    spelt = {"transparent": CLEAR, "black": BLACK, "white": "#ffffff"}.get(str(value).lower(), str(value))
    digits = spelt.removeprefix("#")
    if len(digits) not in (3, 4, 6, 8) or not all(sign in "0123456789abcdefABCDEF" for sign in digits):
        raise BadRequest(reason=f"`{name}` must be a colour such as #ff0000 or transparent.")
    return f"#{digits}"


def position_of(given: Mapping[str, Any]) -> str | None:
    """Where something is, as `top-left`; raises `BadRequest`."""
    value = given.get("position")
    if value is None:
        return None
    parts = [part for part in str(value).lower().replace("_", "-").replace(" ", "-").split("-") if part]
    parts = [part for part in sorted(parts, key=_rank) if part not in ("center", "centre", "middle")]
    spelt = "-".join(parts) or "center"
    if spelt not in POSITIONS:
        raise BadRequest(reason="`position` must be such as center, top or bottom-right.")
    return spelt


def _rank(part: str) -> int:
    return 0 if part in ("top", "bottom") else 1


def _length(given: Mapping[str, Any], name: str, least: int) -> int | str | None:
    """Pixels, or a percentage as it is written."""
    value = given.get(name)
    if isinstance(value, str) and value.endswith("%"):
        return value
    return _whole(number_of(given, name, least, LARGEST))


def _share(given: Mapping[str, Any]) -> float | None:
    """An opacity, 0 to 1, also as percent."""
    value = number_of(given, "opacity", 0, 100)
    return value if value is None or value <= 1 else value / 100


def _whole(number: float | None) -> int | None:
    return None if number is None else round(number)
