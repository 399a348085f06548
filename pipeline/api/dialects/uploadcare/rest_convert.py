"""`/convert/`: documents and videos in other formats, by the flows that the project's settings name for them.

A path is `<uuid>/document/-/format/<name>/-/...` or `<uuid>/video/-/...`; what it asks for reaches the flow as the
parameters of these names that the flow declares. Nothing is converted for which no flow is named.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import orjson
from aiohttp import web

from pipeline.acts import settled
from pipeline.api.dialects.uploadcare.groups import member
from pipeline.api.dialects.uploadcare.rest import Ask, told, truth
from pipeline.api.dialects.uploadcare.rest_errors import complaint
from pipeline.errors import RouteNotFound, RunNotFound, SafelightError
from pipeline.graph.flow import Flow
from pipeline.model import Run, new_id
from pipeline.vendors.uploadcare import Document

PLAIN = "application/json"
DEFAULTS: Mapping[str, str] = {"document": "pdf", "video": "mp4"}
STATUSES: Mapping[str, str] = {
    "queued": "pending",
    "waiting": "pending",
    "running": "processing",
    "completed": "finished",
    "failed": "failed",
    "cancelled": "cancelled",
}
MOST_PATHS = 100

_PATH = re.compile(r"(?P<file>.*?)/(?P<kind>document|video)(?:/-/(?P<wishes>.*?))?/?", re.DOTALL)


@dataclass(frozen=True)
class Wanted:
    """One conversion: of which file, by which flow, and what the path asks for beside the format."""

    file: str
    flow: str
    wishes: Mapping[str, str]


async def convert(ask: Ask) -> web.Response:
    """The conversions that were begun, and by path why others were not."""
    kind, fields = _kind(ask), ask.fields()
    paths = fields.get("paths")
    if not isinstance(paths, list) or not 0 < len(paths) <= MOST_PATHS:
        raise complaint("paths", f"Expected a list of 1 to {MOST_PATHS} paths.")
    problems: dict[str, str] = {}
    result: list[Document] = []
    for path in map(str, paths):
        try:
            result.append(await settled(_begun(ask, kind, path)))
        except SafelightError as error:
            problems[path] = error.message
    if truth(fields.get("save_in_group")):
        problems |= {str(path): "Pages are not saved as a group here." for path in paths if str(path) not in problems}
    return told({"problems": problems, "result": result}, media_type=PLAIN)


async def _begun(ask: Ask, kind: str, path: str) -> Document:
    wanted = _wanted(ask, kind, path)
    core, promise = ask.call.core, new_id()
    await core.files.get(ask.grant, wanted.file)
    flow = await core.runs.flow(wanted.flow)
    inputs = {next(iter(flow.inputs)): [wanted.file]}
    run = await core.runs.start(
        ask.grant, flow.id, inputs, _params(flow, wanted), version=flow.version, promise=promise
    )
    token = await core.records.notes.number(ask.project)
    note = orjson.dumps({"run": run.id, "file": promise, "kind": kind}).decode()
    await core.records.notes.keep(ask.project, _note(token), note, core.settings.run_retention)
    thumbs = {"thumbnails_group_uuid": f"{promise}~1"} if kind == "video" else {}
    return {"original_source": path, "uuid": promise, "token": token, **thumbs}


def _wanted(ask: Ask, kind: str, path: str) -> Wanted:
    match = _PATH.fullmatch(path)
    if match is None or match.group("kind") != kind:
        raise complaint_of("Invalid path.")
    try:
        file, _ = member(match.group("file"))
    except SafelightError as cause:
        raise complaint_of("Invalid path.") from cause
    wishes = dict(_wish(part) for part in (match.group("wishes") or "").split("/-/") if part)
    format = wishes.get("format", DEFAULTS[kind])
    flows = ask.grant.project.conversions
    flow = flows.get(f"{kind}/{format}") or flows.get(kind)
    if flow is None:
        raise complaint_of(f"Conversion to {format[:32]} is not supported.")
    return Wanted(file, flow, wishes | {"format": format})


def _wish(part: str) -> tuple[str, str]:
    name, _, value = part.strip("/").partition("/")
    return name, value


def _params(flow: Flow, wanted: Wanted) -> dict[str, Any]:
    """What the flow declares of the path's wishes, numbers as numbers."""
    return {name: _number(value) for name, value in wanted.wishes.items() if name in flow.params}


def _number(value: str) -> str | int:
    return int(value) if value.isascii() and value.isdigit() and len(value) < 10 else value


def complaint_of(text: str) -> SafelightError:
    """Why a path is not converted."""
    return FlowNotConverting(text=text)


class FlowNotConverting(SafelightError):
    code, status, sentence = "UPLOADCARE_NOT_CONVERTED", 400, "{text}"


async def status(ask: Ask) -> web.Response:
    kind, token = _kind(ask), ask.call.place("token")
    note = await ask.call.core.records.notes.get(ask.project, _note(token[:20]))
    told_of = orjson.loads(note) if note else None
    if told_of is None or told_of["kind"] != kind:
        raise RunNotFound(id=token[:20])
    run = await ask.call.core.runs.get(ask.grant, told_of["run"])
    return told(_standing(run, told_of["file"], kind), media_type=PLAIN)


def _standing(run: Run, promise: str, kind: str) -> Document:
    thumbs = {"thumbnails_group_uuid": f"{promise}~1"} if kind == "video" else {}
    error = run.error.message if run.error else None
    return {"status": STATUSES[run.status], "error": error, "result": {"uuid": promise, **thumbs}}


async def formats(ask: Ask) -> web.Response:
    """What a document can be converted to."""
    file = await ask.call.core.files.get(ask.grant, ask.id)
    known = [name.partition("/")[2] for name in ask.grant.project.conversions if name.startswith("document/")]
    told_of = {
        "name": file.mime.partition("/")[2],
        "conversion_formats": [{"name": name} for name in known],
        "converted_groups": {},
    }
    return told({"error": None, "format": told_of}, media_type=PLAIN)


def _kind(ask: Ask) -> str:
    kind = ask.call.place("kind")
    if kind not in DEFAULTS:
        raise RouteNotFound
    return kind


def _note(token: object) -> str:
    return f"conversion:{token}"
