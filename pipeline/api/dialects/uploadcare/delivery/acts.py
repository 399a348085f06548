"""Deliver a file or a group: as it was sent, or what the operations of the address make of it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import Any

import orjson
from aiohttp import web

from pipeline.api import tokens
from pipeline.api.content import media_type_of
from pipeline.api.dialects.uploadcare.delivery import making, operations, told
from pipeline.api.dialects.uploadcare.delivery.draft import Draft
from pipeline.api.dialects.uploadcare.delivery.urls import Target, target_of
from pipeline.api.endpoint import PROJECT, Call, plain
from pipeline.api.packing import send_archive
from pipeline.api.serving import Serving, Showing
from pipeline.archives import FORMS
from pipeline.delivery import Recipe
from pipeline.errors import FileNotFound, GroupNotFound, RequestInvalid, RouteNotFound
from pipeline.imaging.encode import EXTENSIONS
from pipeline.model import Derivative, File, Group
from pipeline.vendors.uploadcare import group_head, group_info

CALLBACK = re.compile(r"[A-Za-z_$][\w$.]{0,99}", re.ASCII)
FACTS_CACHE = "public, max-age=86400"
FILMS = {"video/mp4": "mp4", "video/webm": "webm"}
TYPES = {f"image/{name}": extension for name, extension in EXTENSIONS.items()} | FILMS

_ARCHIVE = re.compile(r"/archive/(\w+)/(?P<name>[^/]*)", re.ASCII)
_NTH = re.compile(r"/nth/(\d{1,4})(?P<rest>/.*)?", re.ASCII | re.DOTALL)


async def file(call: Call) -> web.StreamResponse:
    serving = Serving(call)
    if (answer := await serving.again()) is not None:
        return answer
    found = await _known(call, call.id(FileNotFound))
    return await _delivered(call, serving, found, target_of(_tail(call), operations.WANTING))


async def group(call: Call) -> web.StreamResponse:
    id, tail = f"{call.place('id')}~{call.place('count')}".lower(), _tail(call)
    serving = Serving(call, id)
    if (answer := await serving.again()) is not None:
        return answer
    known = await _known_group(call, id)
    if match := _ARCHIVE.fullmatch(tail if tail.count("/") > 2 else f"{tail.rstrip('/')}/"):
        return await _archived(call, known, match.group(1), target_of(f"/{match['name']}").name)
    if match := _NTH.fullmatch(tail):
        return await _member(call, serving, known, int(match.group(1)), match["rest"] or "")
    if tail.strip("/"):
        raise RouteNotFound
    files = await call.core.groups.files(known)
    if any(one and (one.private or not one.published) for one in files):
        return plain(group_head(call.base_url, known))
    return plain(group_info(call.base_url, known, files))


async def _member(call: Call, serving: Serving, known: Group, place: int, rest: str) -> web.StreamResponse:
    found = _public(await call.core.groups.member(known, place))
    asked = target_of(rest, operations.WANTING)
    effects = known.effects[place] if known.effects else ""
    steps = (*target_of(f"/-/{effects}", operations.WANTING).steps, *asked.steps) if effects else asked.steps
    return await _delivered(call, serving, found, Target(steps, asked.name))


async def _archived(call: Call, known: Group, form: str, name: str | None) -> web.StreamResponse:
    if form not in FORMS:
        raise RouteNotFound
    files = await call.core.groups.whole(known)
    for one in files:
        _public(one)
    return await send_archive(call, known, next(one for one in FORMS if one == form), files, name)


# What is there


def _tail(call: Call) -> str:
    """What stands behind the id, as it was sent."""
    path = call.request.raw_path.partition("?")[0]
    _, slash, rest = path.removeprefix("/").partition("/")
    return slash + rest


async def _known(call: Call, id: str) -> File:
    """The public file of this id, of whichever project; raises `FileNotFound`, or what is wrong with a token."""
    found = _public(await call.core.records.files.get(id))
    _enter(call, found.project, FileNotFound(id=id))
    return found


async def _known_group(call: Call, id: str) -> Group:
    known = await call.core.groups.known(id)
    _enter(call, known.project, GroupNotFound(id=known.id))
    return known


def _enter(call: Call, project: str, missing: Exception) -> None:
    """Let a request in that has the token the project wants, if it wants one."""
    projects = call.core.settings.projects
    if project not in projects:
        raise missing
    call.request[PROJECT] = projects[project]
    tokens.check(projects[project], call.request.raw_path.partition("?")[0], call.request.query.get("token"))


def _public(found: File) -> File:
    if found.private or not found.published:
        raise FileNotFound(id=found.id)
    return found


# What is sent


async def _delivered(call: Call, serving: Serving, found: File, target: Target) -> web.StreamResponse:
    draft = operations.read(target.steps)
    if call.core.settings.face_model is None:
        draft.forgo_faces()
    if draft.kind in ("json", "jsonp", "faces", "colours"):
        return await _told(call, draft, found)
    if draft.kind == "picture" and not draft.changes:
        showing = Showing(target.name or found.name, _attached(draft, found))
        return await serving.original(found, call.request[PROJECT], showing)
    beside = await _overlays(call, draft, found.project)
    made = (
        making.film(draft, found)
        if draft.kind == "video"
        else making.picture(draft, found, beside, call.header("Accept") or "")
    )
    derivative, files = await call.core.delivering.whole(made.recipe), [found, *beside.values()]
    name = target.name or _named(found, derivative)
    showing = Showing(name, draft.inline is False, made.varies)
    return await serving.derivative(derivative, call.request[PROJECT], showing, files)


def _attached(draft: Draft, found: File) -> bool:
    shown = media_type_of(found).startswith("image/") if draft.inline is None else draft.inline
    return not shown


async def _overlays(call: Call, draft: Draft, project: str) -> Mapping[str, File]:
    """The files that are laid over, each a public picture of the same project; raises `RequestInvalid`."""
    found: dict[str, File] = {}
    ids = list(draft.overlays.values())
    for name, one in zip(draft.overlays, await call.core.records.files.get_many(ids), strict=True):
        if one is None or one.project != project or one.private or not one.published:
            raise RequestInvalid(reason=f"`overlay`: there is no file {draft.overlays[name]}.")
        making.check_picture(one)
        found[name] = one
    return found


def _named(found: File, derivative: Derivative) -> str:
    """The name of the file with the extension of what was made of it."""
    return f"{PurePosixPath(found.name).stem}.{TYPES.get(derivative.mime, 'bin')}"


# What is told


async def _told(call: Call, draft: Draft, found: File) -> web.Response:
    document = await _document(call, draft, found)
    if draft.kind != "jsonp":
        return web.Response(body=orjson.dumps(document), headers=_headers("application/json"))
    callback = call.request.query.get("callback", "callback")
    if not CALLBACK.fullmatch(callback):
        raise RequestInvalid(reason="`callback` is the name of a function.")
    script = f"{callback}({orjson.dumps(document).decode()});"
    return web.Response(body=script.encode(), headers=_headers("application/javascript"))


async def _document(call: Call, draft: Draft, found: File) -> Mapping[str, Any]:
    if draft.kind == "faces":
        return told.with_faces(found, await _facts(call, making.fact(found, "faces")))
    if draft.kind == "colours":
        return told.with_colours(found, await _facts(call, making.fact(found, "palette", count=draft.count)))
    return told.about(found, await _facts(call, making.fact(found, "hash", perceptual=["phash"])))


async def _facts(call: Call, recipe: Recipe) -> Mapping[str, Any]:
    facts: Mapping[str, Any] = (await call.core.delivering.whole(recipe)).facts["fact"]
    return facts


def _headers(media_type: str) -> dict[str, str]:
    return {
        "Content-Type": media_type,
        "Cache-Control": FACTS_CACHE,
        "X-Content-Type-Options": "nosniff",
        "Cross-Origin-Resource-Policy": "cross-origin",
    }
