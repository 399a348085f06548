"""`/ittybit/d/<project>/...`: the delivery domain, where files are fetched by folder and name, and put."""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import sha256
from typing import Any
from urllib.parse import unquote

import orjson
from aiohttp import web

from pipeline import labels, names
from pipeline.acts import settled
from pipeline.api.content import INLINE, media_type_of, send
from pipeline.api.dialects.ittybit import auth, places, uploads
from pipeline.api.dialects.ittybit.ask import told, view_of
from pipeline.api.dialects.ittybit.conditions import look_of, tests_of
from pipeline.api.dialects.ittybit.errors import BadRequest, Missing
from pipeline.api.dialects.ittybit.ranges import is_ranged, read_span
from pipeline.api.dialects.ittybit.signatures import note_of
from pipeline.api.dialects.ittybit.versions import version_of
from pipeline.api.dialects.native.files import Received, declared_type
from pipeline.api.endpoint import PROJECT, Call
from pipeline.api.serving import Serving, Showing
from pipeline.errors import KeyRequired
from pipeline.model import File, Grant, Intake, Project
from pipeline.records.lineages import lineage_of
from pipeline.uploads.ranging import Span
from pipeline.vendors.ittybit.files import file_object
from pipeline.vendors.ittybit.words import id_of

INLINE_TOO = ("video/", "audio/", "text/plain", "text/vtt", "application/json")
"""What a browser shows or plays beside pictures."""


# Fetching


async def get(call: Call) -> web.StreamResponse:
    """A file's bytes: by `file_<id>/<name>`, or the file that is at a path now."""
    project, path = _project(call), _path(call)
    opened = "signature" in call.request.query
    if opened:
        places.check(project, path, call.request.query, "get")
    serving = Serving(call)
    if not opened and (answer := await serving.again()) is not None:
        return answer
    file = await _at(call, project, path)
    if file is None or not (opened or places.is_open(project, file) or await _is_holder(call, project)):
        raise Missing(what="File")
    attached = media_type_of(file) not in INLINE and not media_type_of(file).startswith(INLINE_TOO)
    if not places.is_open(project, file):
        return await send(call.request, file, call.core.storages[file.storage], download=attached)
    # What is at a path may be another file soon, and no change of this one would tell of it.
    lasting = None if _id(path) else 0
    return await serving.original(file, project, Showing(file.name, attached, seconds=lasting))


def _project(call: Call) -> Project:
    project = call.core.settings.projects.get(call.place("project"))
    if project is None:
        raise Missing(what="File")
    call.request[PROJECT] = project
    return project


def _path(call: Call) -> str:
    """What stands behind the domain, as it was signed."""
    raw = call.request.raw_path.partition("?")[0]
    return unquote(raw.partition(places.DOMAINS)[2].partition("/")[2])


def _id(path: str) -> str | None:
    first = path.partition("/")[0]
    return id_of(first, "file") if first.startswith("file_") else None


async def _at(call: Call, project: Project, path: str) -> File | None:
    if id := _id(path):
        (file,) = await call.core.records.files.get_many([id])
        return file if file and file.project == project.id else None
    folder, name = _place(path)
    return await call.core.records.lineages.at(project.id, folder, name)


def _place(path: str) -> tuple[str, str]:
    """The folder and the name that a path means; raises `FolderInvalid`."""
    folder, _, name = path.strip("/").rpartition("/")
    return labels.folder(folder), names.ittybit(name)


async def _is_holder(call: Call, project: Project) -> bool:
    """Whether a key of the project came along."""
    try:
        return (await auth.server(call)).project.id == project.id
    except KeyRequired:
        return False


# Putting


async def put(call: Call) -> web.Response:
    """Take a body in as the file at a path, or one chunk of it."""
    project, path = _project(call), _path(call)
    grant, said = await _allowed(call, project, path)
    folder, name = _place(path)
    if not path.rpartition("/")[2]:
        raise BadRequest(reason="The path of a file ends with its name.")
    claimed = uploads.claims(grant, {**said, "folder": folder, "filename": name}, name)
    media_type = declared_type(call.request.content_type) if call.header("Content-Type") else None
    intake = claimed.model_copy(update={"name": name, "folder": folder, "declared_type": media_type})
    if is_ranged(call):
        return await _chunk(call, grant, intake, said, path)
    file = await _whole(call, grant, intake, said)
    return _shown(call, grant, file)


async def _allowed(call: Call, project: Project, path: str) -> tuple[Grant, Mapping[str, Any]]:
    """Who puts a file, by a key or by the signature of its address, and what was said of it before."""
    query = call.request.query
    if "signature" not in query:
        grant = await auth.server(call)
        if grant.project.id != project.id:
            raise Missing(what="Project")
        return grant, {}
    places.check(project, path, query, call.request.method.lower())
    grant = Grant(project=project)
    call.speaks_for(grant)
    await call.core.records.rates.check(project)
    text = await call.core.records.notes.get(project.id, note_of(query["signature"]))
    return grant, orjson.loads(text) if text else {}


async def _whole(call: Call, grant: Grant, intake: Intake, said: Mapping[str, Any]) -> File:
    sized = intake.model_copy(update={"declared_size": call.request.content_length})
    async with call.core.shelving.places.turn(grant.project.id, intake.folder, intake.name):
        newer = await _newer(call, grant, sized)
        async with Received(call, "ittybit") as received:
            return await received.take(newer, call.body, look_of(tests_of(said.get("conditions"))))


async def _newer(call: Call, grant: Grant, intake: Intake) -> Intake:
    """The claims of what replaces the file that is at its path, if there is one."""
    old = await call.core.records.lineages.at(grant.project.id, intake.folder, intake.name)
    if old is None:
        return intake
    return intake.model_copy(update={"lineage": lineage_of(old), "version": old.version + 1})


async def _chunk(call: Call, grant: Grant, intake: Intake, said: Mapping[str, Any], path: str) -> web.Response:
    span = read_span(call)
    if span.length == span.total:
        return _shown(call, grant, await _whole(call, grant, intake, said))
    name = _name(call, grant, path, span)
    if before := await call.core.ranging.became(grant, name, span):
        return _shown(call, grant, before)  # its answer was lost
    if not await call.core.ranging.put(grant, name, intake, span, call.body):
        return told(call, {"message": "Accepted."}, version_of(call.request), 202)
    return _shown(call, grant, await settled(_joined(call, grant, intake, said, name, span)))


def _name(call: Call, grant: Grant, path: str, span: Span) -> str:
    """What the chunks of one file have in common: its path, its size, and the address they are sent to."""
    words = (grant.project.id, path, str(span.total), call.request.query.get("signature", ""))
    return sha256("\n".join(words).encode()).hexdigest()


async def _joined(call: Call, grant: Grant, intake: Intake, said: Mapping[str, Any], name: str, span: Span) -> File:
    async with call.core.shelving.places.turn(grant.project.id, intake.folder, intake.name):
        newer = await _newer(call, grant, intake)
        look = look_of(tests_of(said.get("conditions")))
        file = await call.core.ranging.finish(grant, name, newer, span.total, span.place, look)
    call.metrics.uploads.labels("ittybit", "accepted").inc()
    return file


def _shown(call: Call, grant: Grant, file: File) -> web.Response:
    version = version_of(call.request)
    return told(call, file_object(view_of(call, grant, version), file), version, 201)


# Deleting


async def delete(call: Call) -> web.Response:
    """Delete the file at a path."""
    project, path = _project(call), _path(call)
    grant, _ = await _allowed(call, project, path)
    file = await _at(call, project, path)
    if file is None:
        raise Missing(what="File")
    await settled(call.core.files.delete(grant, file.id))
    return told(call, {"message": "File deleted."}, version_of(call.request), 202)
