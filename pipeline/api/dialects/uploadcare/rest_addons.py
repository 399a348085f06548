"""`/addons/`: a look for viruses by our own scanner, and whatever else the project's settings name flows for.

A flow that is an add-on gets the file, and those of the request's parameters that it declares; what it saves first is
the result. So background removal is a flow with an `http` node that asks a server of the project's choice.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson
from aiohttp import web

from pipeline.acts import settled
from pipeline.api.dialects.uploadcare.rest import Ask, is_id, told, truth
from pipeline.api.dialects.uploadcare.rest_errors import Conflict, complaint
from pipeline.errors import RunNotFound
from pipeline.model import File, new_id, now
from pipeline.vendors.uploadcare import VIRUS_SCAN, Document

PLAIN = "application/json"
KEPT = 86_400.0
"""Seconds for which it is told how a request ended."""
LONGEST = 600.0
"""Seconds after which a scan counts as cut off by the death of its server."""
STATUSES: Mapping[str, str] = {"completed": "done", "failed": "error", "cancelled": "error"}


async def execute(ask: Ask) -> web.Response:
    name, fields = ask.call.place("name"), ask.fields()
    target, params = fields.get("target"), fields.get("params") or {}
    if not is_id(target):
        raise complaint("target", "Must be a valid UUID.")
    if not isinstance(params, dict):
        raise complaint("params", "Expected a dictionary.")
    file = await ask.call.core.files.get(ask.grant, str(target).lower())
    flow = ask.grant.project.addons.get(name)
    if flow is not None:
        return told({"request_id": await settled(_run(ask, flow, file, params))}, media_type=PLAIN)
    if name != VIRUS_SCAN or not ask.call.core.settings.scanner:
        raise complaint("addon_name", f"The add-on {name[:64]} is not enabled in this project.")
    return told({"request_id": await settled(_scanned(ask, file, params))}, media_type=PLAIN)


async def _run(ask: Ask, flow_id: str, file: File, params: Mapping[str, Any]) -> str:
    runs = ask.call.core.runs
    flow = await runs.flow(flow_id)
    given = {name: value for name, value in params.items() if name in flow.params}
    run = await runs.start(ask.grant, flow.id, {next(iter(flow.inputs)): [file.id]}, given, version=flow.version)
    return run.id


async def _scanned(ask: Ask, file: File, params: Mapping[str, Any]) -> str:
    """Scanned while the client waits; the file itself remembers what was found."""
    core = ask.call.core
    if not await core.records.tokens.burn(f"scan:{file.id}", LONGEST):
        raise Conflict(reason="The add-on is being executed on this file already.")
    try:
        verdict = await core.files.scan(ask.grant, file.id)
        if verdict.signature is not None and truth(params.get("purge_infected")):
            await core.files.delete(ask.grant, file.id)
            await core.records.removals.note(file, now())
    finally:
        await core.records.tokens.give_back(f"scan:{file.id}")
    id = new_id()
    result = {"infected": verdict.signature is not None, "infected_with": verdict.signature}
    await core.records.notes.keep(ask.project, f"addon:{id}", orjson.dumps(result).decode(), KEPT)
    return id


async def status(ask: Ask) -> web.Response:
    id = ask.query("request_id")
    if not is_id(id):
        raise complaint("request_id", "Must be a valid UUID.")
    return told(await _standing(ask, id.lower()), media_type=PLAIN)


async def _standing(ask: Ask, id: str) -> Document:
    note = await ask.call.core.records.notes.get(ask.project, f"addon:{id}")
    if note:
        return {"status": "done", "result": orjson.loads(note)}
    try:
        run = await ask.call.core.runs.get(ask.grant, id)
    except RunNotFound:
        return {"status": "unknown"}
    standing = STATUSES.get(run.status, "in_progress")
    if standing == "error":
        return {"status": standing, "error": run.error.message if run.error else "The run was cancelled."}
    return {"status": standing, "result": {"file_id": run.outputs[0].id} if run.outputs else {}}
