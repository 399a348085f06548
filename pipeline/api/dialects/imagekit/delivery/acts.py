"""Deliver the file at a path: as it is shown best, as it is stored, or what a transformation makes of it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import PurePosixPath

from aiohttp import web

from pipeline.api.content import PRIVATE_CACHE, media_type_of
from pipeline.api.dialects.imagekit.delivery import signing
from pipeline.api.dialects.imagekit.delivery.addresses import UNSPOKEN_SUFFIXES, Address, address_of, placed
from pipeline.api.dialects.imagekit.delivery.reading import Made, Plan, Wish, made_of, missing, plan_of
from pipeline.api.dialects.imagekit.delivery.telling import telling_of
from pipeline.api.endpoint import PROJECT, Call
from pipeline.api.serving import Serving, Showing
from pipeline.errors import RequestInvalid, SignatureRequired
from pipeline.imaging.encode import EXTENSIONS
from pipeline.model import Derivative, File

PREFIX = "/imagekit/ik/"
FILMS = {"video/mp4": "mp4", "video/webm": "webm"}
TYPES = {f"image/{name}": extension for name, extension in EXTENSIONS.items()} | FILMS
SHOWN = ("image/", "video/", "audio/", "application/pdf")
"""How the types begin that are shown in the page; others are downloads."""
ASKED_AGAIN = "public, no-cache"
"""What lies at a path may be another thing tomorrow, so caches ask whether it still is what they have."""
LASTING = "public, max-age=31536000"
VERSIONS = ("v", "updatedAt", "ik-obj-version")
"""What an address is told apart by from the one of another version at the same path."""
HINTS: Mapping[str, tuple[str, ...]] = {"width": ("Sec-CH-Width", "Width"), "dpr": ("Sec-CH-DPR", "DPR")}
"""The headers in which clients say how large a picture is shown, the newer ones first."""
AS_STORED = frozenset({"svg", "gif", "pdf"})
"""Pictures that are delivered as they are stored where nothing is asked for."""


async def show(call: Call) -> web.StreamResponse:
    serving = Serving(call)
    if (answer := await serving.again()) is not None:
        return answer
    project = call.core.settings.projects.get(call.place("project"))
    if project is None:
        raise missing(call.place("project"))
    call.request[PROJECT] = project
    address = address_of(_tail(call))
    until = signing.until(project, address.tail, address.asks("ik-s"), address.asks("ik-t"))
    plan = await plan_of(call.core, project, address.texts)
    found, suffix = await _found(plan, address)
    is_default = False
    if found is None:
        found, is_default = await _default(plan, address), True
    _check_open(found, plan, until)
    wish = Wish(found, suffix, call.header("Accept") or "", _hints(call))
    made = await _wished(plan, wish, until is not None)
    serving.stands_on(*plan.words)
    return await _sent(call, serving, address, made, until, is_default)


def _tail(call: Call) -> str:
    """What stands behind the project, as it was sent."""
    _, _, tail = call.request.raw_path.removeprefix(PREFIX).partition("/")
    return f"/{tail}"


# What is there


async def _found(plan: Plan, address: Address) -> tuple[File | None, str]:
    """The file at the path, or the one before a suffix, and that suffix."""
    found = await plan.at(address.folder, address.name)
    inner = address.inner
    if found is not None or inner is None:
        return found, ""
    if address.name in UNSPOKEN_SUFFIXES:
        raise RequestInvalid(reason=f"`{address.name}`: {UNSPOKEN_SUFFIXES[address.name]} here.")
    return await plan.at(inner.folder, inner.name), address.name


async def _default(plan: Plan, address: Address) -> File:
    """The picture that is shown where there is none; raises `FileNotFound` without one."""
    found = await plan.at(*placed(plan.default)) if plan.default else None
    if found is None or found.private:
        raise missing(address.path)
    return found


def _check_open(found: File, plan: Plan, until: float | None) -> None:
    """Private files are open to who has a signature, and to all by names alone; raises `SignatureRequired`."""
    if found.private and until is None and not plan.is_named:
        raise SignatureRequired


def _hints(call: Call) -> Mapping[str, float]:
    found: dict[str, float] = {}
    for name, headers in HINTS.items():
        for header in reversed(headers):
            given = (call.header(header) or "").strip()
            if given.replace(".", "", 1).isdigit() and given.isascii() and len(given) < 8 and float(given) > 0:
                found[name] = float(given)
    return found


# What is sent


async def _wished(plan: Plan, wish: Wish, is_signed: bool) -> Made:
    if plan.is_original or _is_left(plan, wish):
        return Made(None, [wish.file])
    if wish.file.image is None and not wish.file.mime.startswith("video/"):
        raise RequestInvalid(reason="Transformations are done to pictures and videos; this file is neither.")
    if wish.file.image and wish.file.image.format == "pdf" and not wish.suffix:
        raise RequestInvalid(reason="A picture of a document is asked for with `/ik-thumbnail.jpg` behind its path.")
    return await made_of(plan, wish, is_signed)


def _is_left(plan: Plan, wish: Wish) -> bool:
    """Whether the bytes are sent as they are stored, because nothing is asked for that would change them."""
    image = wish.file.image
    told = {key for step in plan.steps for key in step.said} - {"di"}
    if wish.suffix or any(step.layers or step.choices for step in plan.steps):
        return False
    if told == {"f"} and image and image.format == "svg":
        return all(step.said["f"] in ("svg", "orig") for step in plan.steps if step.params)
    if told:
        return False
    return image is None or image.format in AS_STORED or image.frames > 1


async def _sent(
    call: Call, serving: Serving, address: Address, made: Made, until: float | None, is_default: bool
) -> web.StreamResponse:
    file, project = made.files[0], call.request[PROJECT]
    derivative = None
    if made.making:
        telling = telling_of(call, project.id, address.tail, made.making.recipe)
        derivative = await call.core.delivering.whole(made.making.recipe, telling)
    sent: File | Derivative = derivative or file
    showing = Showing(
        name=_named(file, derivative),
        attachment=address.asks("ik-attachment") == "true" or not media_type_of(sent).startswith(SHOWN),
        varies=bool(made.making and made.making.varies),
        cache=_cache(made, address),
        hints=tuple(header for name in sorted(made.heeded) for header in HINTS[name]),
        queried=True,
        until=float("inf") if until is None else until,
        is_kept=not is_default,
    )
    if derivative is None:
        return await serving.original(file, project, showing)
    return await serving.derivative(derivative, project, showing, made.files)


def _cache(made: Made, address: Address) -> str:
    if any(file.private for file in made.files):
        return PRIVATE_CACHE
    return LASTING if any(address.asks(key) for key in VERSIONS) else ASKED_AGAIN


def _named(file: File, derivative: Derivative | None) -> str:
    """The name of the file with the extension of what was made of it."""
    if derivative is None:
        return file.name
    return f"{PurePosixPath(file.name).stem}.{TYPES.get(derivative.mime, 'bin')}"
