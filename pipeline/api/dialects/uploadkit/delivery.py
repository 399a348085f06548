"""What anybody fetches without a key: files under their keys, and the pictures that transforms make of them."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import Any

from aiohttp import web

from pipeline.api import tokens
from pipeline.api.content import INLINE, media_type_of
from pipeline.api.dialects.uploadkit import rows
from pipeline.api.dialects.uploadkit.errors import refused
from pipeline.api.dialects.uploadkit.storage import derived
from pipeline.api.dialects.uploadkit.transforms import FOR_EVER, PUBLIC, SIGNED, Spec, check, is_picture, spec_of
from pipeline.api.endpoint import PROJECT, Call
from pipeline.api.serving import Serving, Showing
from pipeline.delivery import Recipe, accepted
from pipeline.errors import ImageTooLarge
from pipeline.imaging.encode import EXTENSIONS
from pipeline.imaging.picture import Outline
from pipeline.model import File, ImageFacts, Project
from pipeline.nodes import INDEX
from pipeline.nodes.base import ImageNode
from pipeline.vendors.uploadkit import parts_of

MOST_PIXELS = 75_000_000
"""Of a picture that something is made of, and of what is made."""
LOSSLESS = frozenset({"png"})
ANIMATED = frozenset({"webp"})
TYPES = {f"image/{name}": extension for name, extension in EXTENSIONS.items()}
EXPIRY = re.compile(r"[1-9]\d{0,11}", re.ASCII)


async def file(call: Call) -> web.StreamResponse:
    """A file as it was sent."""
    serving = Serving(call)
    if (answer := await serving.again()) is not None:
        return answer
    found, project = await _found(call)
    _check_token(call, project)
    return await serving.original(found, project, Showing(found.name, media_type_of(found) not in INLINE))


async def signed(call: Call) -> web.StreamResponse:
    """A picture whose address ends after some time."""
    text, spec = call.place("expires"), spec_of(call.place("spec"))
    if not EXPIRY.fullmatch(text):
        raise refused("transform", "Invalid transform URL")
    expires, project = int(text), _project(call)
    check(derived(project, SIGNED), call.place("signature"), expires, str(spec), call.place("key"))
    left = expires - int(time.time())
    if left <= 0:
        raise refused("transform expired", "Image transform URL has expired")
    return await _picture(call, Serving(call), spec, left)


async def lasting(call: Call) -> web.StreamResponse:
    """A picture whose address lasts."""
    serving = Serving(call)
    if (answer := await serving.again()) is not None:
        return answer
    spec, project = spec_of(call.place("spec")), _project(call)
    check(derived(project, FOR_EVER), call.place("signature"), PUBLIC, str(spec), call.place("key"))
    _check_token(call, project)
    return await _picture(call, serving, spec, None)


# What is there


def _project(call: Call) -> Project:
    """The project of the key in the path; raises `FileNotFound`."""
    key = call.place("key")
    parts, projects = parts_of(key), call.core.settings.projects
    if parts is None or parts[0] not in projects:
        raise rows.missing_key(key)
    call.request[PROJECT] = projects[parts[0]]
    return projects[parts[0]]


async def _found(call: Call) -> tuple[File, Project]:
    """The public file of the key in the path; raises `FileNotFound`."""
    project, key = _project(call), call.place("key")
    found = await call.core.records.files.get(rows.id_of(key, project.id))
    if found.project != project.id or found.private or not found.published:
        raise rows.missing_key(key)
    return found, project


def _check_token(call: Call, project: Project) -> None:
    """Where a project delivers with tokens only, an address that lasts needs one too."""
    tokens.check(project, call.request.raw_path.partition("?")[0], call.request.query.get("token"))


# What is made


async def _picture(call: Call, serving: Serving, spec: Spec, seconds: int | None) -> web.StreamResponse:
    found, project = await _found(call)
    format = _format(spec, _reached(spec, _facts(found)), call.header("Accept") or "")
    made = await call.core.delivering.whole(Recipe(found, nodes_of(spec, found, format)))
    name = f"{PurePosixPath(found.name).stem}.{TYPES.get(made.mime, 'bin')}"
    showing = Showing(name, attachment=False, varies=spec.format == "auto", seconds=seconds)
    return await serving.derivative(made, project, showing, [found])


def _facts(found: File) -> ImageFacts:
    """The facts of a picture that something can be made of; refused for what is none, raises `ImageTooLarge`."""
    if found.image is None or not is_picture(found):
        raise refused("no picture", "Only image files can be transformed")
    _check_pixels(found.image.width * found.image.height)
    return found.image


def _reached(spec: Spec, image: ImageFacts) -> Outline:
    """What the picture will be; raises `ImageTooLarge` for a sliver that one side alone would make huge."""
    resize = INDEX["resize"].model_validate({"type": "resize", **_fit(spec)})
    assert isinstance(resize, ImageNode)
    end = resize.reach(Outline(image.width, image.height, image.frames, image.alpha, image.format))
    _check_pixels(end.width * end.height)
    return end


def _check_pixels(pixels: int) -> None:
    if pixels > MOST_PIXELS:
        raise ImageTooLarge(pixels=pixels, limit=MOST_PIXELS)


def nodes_of(spec: Spec, found: File, format: str) -> Mapping[str, Any]:
    """The nodes that make the picture; a format that does not move shows the first frame."""
    still = found.image is not None and found.image.frames > 1 and format not in ANIMATED
    frame = {"frame": {"type": "frames", "from": "source", "frame": 0}} if still else {}
    said = {"path": "picture", "format": format} | ({} if format in LOSSLESS else {"quality": spec.quality})
    fitted = {"type": "resize", "from": "frame" if still else "source", **_fit(spec)}
    return {**frame, "fitted": fitted, "out": {"type": "save", "from": "fitted", **said}}


def _fit(spec: Spec) -> Mapping[str, Any]:
    """How the vendor's fits are said of `resize`; with one side alone all of them only scale."""
    sides = {name: side for name, side in (("width", spec.width), ("height", spec.height)) if side}
    boxed = len(sides) == 2
    fit = {"cover": "cover", "crop": "cover", "pad": "contain"}.get(spec.fit, "inside") if boxed else "inside"
    return {**sides, "fit": fit, "enlarge": spec.fit not in ("scale-down", "crop")}


def _format(spec: Spec, end: Outline, accept: str) -> str:
    if spec.format != "auto":
        return spec.format
    return accepted(end, accept) or ("png" if end.alpha else "jpeg")
