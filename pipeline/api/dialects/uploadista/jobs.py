"""Jobs, which are our runs: how they stand, what their inputs wait for, and the records clients see of them."""

from __future__ import annotations

from collections.abc import Sequence

from pipeline.api.dialects.uploadista import rows
from pipeline.api.dialects.uploadista.errors import UploadistaRefused, refused
from pipeline.api.endpoint import UUID, Call
from pipeline.errors import FileNotFound, SafelightError, UploadExpired, UploadNotFound
from pipeline.graph.course import INSIDE
from pipeline.model import Grant, Run, Upload
from pipeline.uploads.growing import Grown
from pipeline.vendors.uploadista import TASKS, Document, execution_state, job_record, status_of, task

# Uploads of inputs


async def note_upload(call: Call, run: Run, node: str, upload: Upload) -> None:
    """Remember that an input of a run waits for this upload."""
    lasts = call.core.settings.upload_expiry
    await call.core.records.notes.keep(run.project, _name(run, node), upload.id, lasts)


async def upload_of(call: Call, run: Run, node: str) -> Upload | None:
    """The upload that an input waits for, if it was begun and not given up."""
    id = await call.core.records.notes.get(run.project, _name(run, node))
    if id is None:
        return None
    try:
        return await call.core.records.uploads.get(id)
    except UploadNotFound:
        return None


async def standing_of(call: Call, grant: Grant, run: Run, node: str) -> Grown | None:
    """How far it has come, also when it is a file already."""
    id = await call.core.records.notes.get(run.project, _name(run, node))
    if id is None:
        return None
    try:
        return await call.core.slicing.standing(grant, id)
    except (UploadNotFound, UploadExpired):
        return None


def _name(run: Run, node: str) -> str:
    return f"uploadista:{run.id}:{node}"


async def uploaded(call: Call, grant: Grant, node: str, id: str) -> str:
    """The file that an upload of an input is by now; raises `FLOW_INPUT_VALIDATION_ERROR` while bytes are missing."""
    if not UUID.fullmatch(id):
        raise UploadNotFound(id=id[:64])
    try:
        grown = await call.core.slicing.complete(grant, id.lower())
    except UploadNotFound as missing:
        try:
            return (await call.core.files.get(grant, id.lower())).id
        except FileNotFound:
            raise missing from None
    if grown.file is None:
        reached, size = grown.upload.offset, grown.upload.intake.declared_size
        text = f"The upload {id} has {reached} of its {size} bytes."
        raise refused("FLOW_INPUT_VALIDATION_ERROR", text, nodeId=node, uploadId=id)
    return grown.file.id


def refused_input(node: str, fault: SafelightError) -> UploadistaRefused:
    """What an input is refused for, as the vendor has it."""
    return refused("FLOW_INPUT_VALIDATION_ERROR", fault.message, nodeId=node)


# Records


async def record(call: Call, grant: Grant, run: Run) -> Document:
    """A run as a job, as it stands."""
    tasks = await _tasks(call, grant, run)
    outputs = await rows.outputs(call, run) if run.status == "completed" else None
    status = standing(run)
    node = paused_at(run) if status == "paused" else None
    told = job_record(run, status, tasks, outputs, node)
    active = [one["result"]["id"] for one in tasks if one["status"] == "paused" and "result" in one]
    state = {"executionState": await _state(call, run, node)} if node else {}
    return told | state | ({"activeUploads": active} if active else {})


async def _state(call: Call, run: Run, node: str) -> Document:
    """Where in the order of its nodes a job rests, and what it was given so far."""
    flow = await call.core.flows.of(run)
    given = {name: [id for id in ids if id not in run.fetches] for name, ids in run.inputs.items()}
    return execution_state(flow.order, node, given)


def standing(run: Run) -> str:
    """A run's status in the vendor's words: a running one that was asked to rest is paused to its client."""
    if run.status == "running" and run.paused_at:
        return "paused"
    return status_of(run, paused=bool(run.awaits or run.paused_at))


def paused_at(run: Run) -> str | None:
    """The node at which a run rests, or that waits for a file."""
    if run.awaits:
        return run.awaits[0]
    nodes = _nodes(run)
    for status in ("running", "waiting", "queued"):
        if node := next((name for name in nodes if run.nodes[name].status == status), None):
            return node
    return next(iter(nodes), None)


def _nodes(run: Run) -> Sequence[str]:
    """The nodes of its flow; those of a flow inside are unknown to clients."""
    return [name for name in run.nodes if INSIDE not in name]


async def _tasks(call: Call, grant: Grant, run: Run) -> Sequence[Document]:
    return [await _task(call, grant, run, name) for name in _nodes(run)]


async def _task(call: Call, grant: Grant, run: Run, name: str) -> Document:
    state, times = run.nodes[name], (run.created_at, run.finished_at or run.started_at or run.created_at)
    if state.type != "input":
        error = state.error.message if state.error else ""
        return task(name, TASKS[state.status], *times, error=error)
    grown = await standing_of(call, grant, run, name)
    result = rows.of_grown(call, grown) if grown else None
    if name in run.awaits:
        status = ("paused" if result else "pending") if run.status == "waiting" else "failed"
        error = run.error.message if run.error and run.error.node == name else ""
        return task(name, status, *times, result=result, error=error)
    if state.status != "queued":
        return task(name, TASKS[state.status], *times, result=result)
    is_fetched = run.status == "waiting" and any(id in run.fetches for id in run.inputs.get(name, ()))
    return task(name, "running" if is_fetched else "completed", *times, result=result)
