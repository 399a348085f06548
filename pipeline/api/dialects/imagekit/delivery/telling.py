"""What webhooks are told of a video that has to be made: who asked for it, of what, and how it will be."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pipeline.api.dialects.imagekit.delivery import films
from pipeline.api.endpoint import Call
from pipeline.delivery import Recipe
from pipeline.vendors.imagekit import FORMATS, address_of, endpoint

STAGE = "film"
"""By which these facts are known among those of other makings."""
VIDEOS: Mapping[str, str] = {"mp4": "h264", "webm": "vp9"}
SOUNDS: Mapping[str, str] = {"mp4": "aac", "webm": "opus"}
LONGEST = 2000
"""Characters of an address or a name of a browser that are told."""


def telling_of(call: Call, project: str, tail: str, recipe: Recipe) -> Mapping[str, Any] | None:
    """The facts, None where no video is made and no picture of one; `tail` stands behind the project's endpoint."""
    kind, options = _told(recipe)
    if kind is None:
        return None
    facts = {
        "stage": STAGE,
        "kind": kind,
        "asset": address_of(recipe.file, ""),
        "url": f"{endpoint(call.base_url, project)}/{tail.lstrip('/')}"[:LONGEST],
        "request": call.request_id,
        "options": options,
    }
    agent = call.header("User-Agent")
    return facts | ({"agent": agent[:LONGEST]} if agent else {})


def _told(recipe: Recipe) -> tuple[str | None, Mapping[str, Any]]:
    """The vendor's word for what is made, and how."""
    steps = {node["type"]: node for node in recipe.nodes.values()}
    if "video_thumbnail" in steps:
        saved = steps["save"]
        told = {"format": FORMATS.get(saved["format"], saved["format"]), "quality": saved.get("quality")}
        return "video-thumbnail", {name: value for name, value in told.items() if value}
    if recipe.file.mime.startswith("video/"):
        return "video-transformation", _film(recipe, steps.get("video_transcode", {}))
    if "video_transcode" in steps:
        return "gif-to-video", _film(recipe, steps["video_transcode"])
    return None, {}


def _film(recipe: Recipe, said: Mapping[str, Any]) -> Mapping[str, Any]:
    format = said.get("format") or films.FORMATS.get(recipe.file.mime, "mp4")
    sound = None if said.get("audio") == "drop" else SOUNDS.get(format)
    told = {"format": format, "video_codec": VIDEOS.get(format), "audio_codec": sound, "quality": said.get("quality")}
    return {"auto_rotate": True, **{name: value for name, value in told.items() if value}}
