"""What a draft makes of a file: the recipe, the format that suits file and browser, and whether it may be as large."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from pipeline.api.dialects.uploadcare.delivery.draft import Draft
from pipeline.api.dialects.uploadcare.delivery.geometry import PREVIEW
from pipeline.delivery import Recipe, accepted
from pipeline.errors import ImageTooLarge, RequestInvalid
from pipeline.imaging.picture import Outline
from pipeline.model import File, ImageFacts
from pipeline.nodes import INDEX
from pipeline.nodes.base import ImageNode
from pipeline.vendors.uploadcare import is_image

MOST_INPUT = 75_000_000
"""Pixels of a picture that operations are done to."""
QUALITIES: Mapping[str, Mapping[str, int]] = {
    "jpeg": {"normal": 82, "better": 89, "best": 95, "lighter": 70, "lightest": 55, "smart": 82, "smart_retina": 70},
    "webp": {"normal": 80, "better": 87, "best": 94, "lighter": 66, "lightest": 50, "smart": 80, "smart_retina": 66},
    "avif": {"normal": 55, "better": 65, "best": 78, "lighter": 45, "lightest": 34, "smart": 55, "smart_retina": 45},
}
FILM_QUALITIES: Mapping[str, int] = {
    "normal": 75, "better": 82, "best": 92, "lighter": 62, "lightest": 50, "smart": 75, "smart_retina": 62,
}  # fmt: skip
KEPT = frozenset({"jpeg", "png", "webp"})
"""Formats in which a file stays when none is said."""
OPAQUE = 7
"""Characters of a colour that says nothing of its alpha."""
FITS = {"inside": "inside", "fill": "fill", "outside": "cover"}


@dataclass(frozen=True)
class Making:
    """What is made, and whether `Accept` had a say in it."""

    recipe: Recipe
    varies: bool = False


def picture(draft: Draft, file: File, beside: Mapping[str, File], accept: str) -> Making:
    """The picture that the draft makes of a file; raises `RequestInvalid`, `ImageTooLarge`."""
    image = check_picture(file)
    if image.frames > 1:
        first = {"first": {"type": "frames", "from": "source", "frame": 0}}
        for node in draft.nodes.values():
            node["from"] = _instead(node["from"])
        draft.nodes = {**first, **draft.nodes}
        draft.last = _instead(draft.last)
    if not draft.is_sized:
        draft.add("resize", width=PREVIEW[0], height=PREVIEW[1], fit="inside", enlarge=False)
    end = _reached(draft, image)
    format = _format(draft, file, end, accept)
    _finish(draft, format)
    return Making(Recipe(file, draft.nodes, beside, draft.orient), draft.format == "auto")


def _instead(source: Any) -> Any:
    """The first frame in place of the file."""
    if isinstance(source, str):
        return "first" if source == "source" else source
    return {port: _instead(name) for port, name in source.items()}


def film(draft: Draft, file: File) -> Making:
    """The video that an animation becomes; raises `RequestInvalid`."""
    if file.mime != "image/gif":
        raise RequestInvalid(reason="`gif2video` takes GIF files.")
    nodes: dict[str, dict[str, Any]] = {}
    last = "source"
    above: dict[str, Any] = {}
    for name, node in draft.nodes.items():
        if node["type"] != "resize" and not _cuts(above, node):
            raise RequestInvalid(reason=f"`gif2video` does not go with `{node['type']}`.")
        above = node
        if node["type"] != "resize":
            continue
        sides: dict[str, Any] = {side: node[side] for side in ("width", "height") if side in node}
        fit = "cover" if node["fit"] == "cover" else FITS[node["fit"]]
        nodes[name] = {"type": "video_resize", "from": last, "fit": fit, "enlarge": node["enlarge"], **sides}
        last = name
    written = {"format": draft.video.get("format", "mp4"), "quality": FILM_QUALITIES[draft.quality]}
    film = {"type": "video_transcode", "from": "source", "audio": "drop", **written}
    for node in nodes.values():
        node["from"] = "film" if node["from"] == "source" else node["from"]
    chain = {"film": film, **nodes}
    return Making(Recipe(file, {**chain, "out": {"type": "save", "from": [*chain][-1], "path": "film"}}))


def _cuts(above: Mapping[str, Any], node: Mapping[str, Any]) -> bool:
    """Whether the two are a scale_crop, which the fit of a video does in one step, in the middle."""
    outside = above.get("fit") == "outside" and node["type"] == "crop"
    return outside and all(above.get(side) == node.get(side) for side in ("width", "height"))


def fact(file: File, type: str, **said: Any) -> Recipe:
    """What a node finds out about a picture; raises `RequestInvalid` for what is none."""
    check_picture(file)
    return Recipe(file, {"fact": {"type": type, "from": "source", **said}})


def check_picture(file: File) -> ImageFacts:
    """The facts of a picture that operations may be done to; raises `RequestInvalid` or `ImageTooLarge`."""
    if file.image is None or not is_image(file):
        raise RequestInvalid(reason="Operations are done to pictures; this file is none.")
    pixels = file.image.width * file.image.height
    if pixels > MOST_INPUT:
        raise ImageTooLarge(pixels=pixels, limit=MOST_INPUT)
    return file.image


# The size


def _reached(draft: Draft, image: ImageFacts) -> Outline:
    """The outline at the end, as far as it can be told without pixels; raises `RequestInvalid` when it is too large."""
    outline = Outline(image.width, image.height, image.frames, image.alpha, image.format)
    if not draft.orient and image.orientation >= 5:
        outline = outline.sized(outline.height, outline.width)
    for node in draft.nodes.values():
        model = _model(node)
        if isinstance(model, ImageNode):
            outline = model.reach(outline)
        if outline.width * outline.height > MOST_INPUT:
            raise RequestInvalid(reason=f"A picture on the way has {outline.width} x {outline.height} pixels.")
    if max(outline.width, outline.height) > draft.most:
        told = f"{outline.width} x {outline.height}"
        raise RequestInvalid(reason=f"The result would have {told} pixels; {draft.most} a side are the most.")
    return outline


def _model(node: Mapping[str, Any]) -> Any:
    try:
        return INDEX[node["type"]].model_validate(node)
    except ValidationError as cause:
        raise RequestInvalid(reason=str(cause.errors()[0]["msg"])) from cause


# The format


def _format(draft: Draft, file: File, end: Outline, accept: str) -> str:
    if draft.format == "auto":
        return accepted(end, accept) or ("png" if end.alpha else "jpeg")
    if draft.format == "preserve":
        return "png" if end.alpha or (file.image and file.image.format == "png") else "jpeg"
    if draft.format is not None:
        return draft.format
    known = file.image.format if file.image else ""
    if known in KEPT and not (known == "jpeg" and end.alpha):
        return known
    return "png" if end.alpha or known == "svg" else "jpeg"


def _finish(draft: Draft, format: str) -> None:
    if draft.profile["to"] != "srgb":
        draft.add("icc", **draft.profile)
    if draft.strip == "sensitive":
        draft.add("metadata", keep_credits=True)
    said: dict[str, Any] = {"format": format, "background": draft.fill[:OPAQUE]}
    if format in QUALITIES:
        said["quality"] = QUALITIES[format][draft.quality]
    if format == "jpeg" and draft.progressive:
        said["progressive"] = True
    if draft.strip == "none":
        said["strip"] = False
    draft.nodes["out"] = {"type": "save", "from": draft.last, "path": "picture", **said}
