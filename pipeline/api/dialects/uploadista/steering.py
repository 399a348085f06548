"""What is done to jobs: given the inputs they wait for, paused, resumed, cancelled."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

from aiohttp import web

from pipeline.acts import settled
from pipeline.api.bodies import is_json
from pipeline.api.dialects.uploadista import auth, flows, jobs
from pipeline.api.dialects.uploadista.errors import refused
from pipeline.api.dialects.uploadista.params import InitInput, ResumeAsk, body, input_of
from pipeline.api.endpoint import Call, plain
from pipeline.errors import (
    BodyTypeUnsupported,
    FileTooLarge,
    ImageTooLarge,
    InputNotAwaited,
    RunCancelled,
    RunEnded,
    RunNotFound,
    TypeNotAllowed,
    UploadBusy,
    UploadNotFound,
)
from pipeline.model import ENDED, Grant, Intake, Run
from pipeline.vendors.uploadista import DIALECT

BYTES = "application/octet-stream"
UNFIT = (TypeNotAllowed, FileTooLarge, ImageTooLarge)
"""What the file of an input is refused for, which ends the job."""


async def status(call: Call) -> web.Response:
    grant = await auth.for_job(call, "flow:status")
    return plain(await jobs.record(call, grant, await _owned(call, grant)))


async def resume(call: Call) -> web.Response:
    """Give an input what it waits for, or let a job go on that somebody paused."""
    grant = await auth.for_job(call, "flow:execute")
    run, node = await _owned(call, grant), call.place("node")
    if call.request.content_type == BYTES:
        _check_waits(run, node)
        return plain(await jobs.record(call, grant, await _sent(call, grant, run, node)))
    if not is_json(call.request):
        raise BodyTypeUnsupported(found=call.request.content_type, expected=f"application/json or {BYTES}")
    ask = await body(call, ResumeAsk, "Missing newData")
    return plain(await jobs.record(call, grant, await _resumed(call, grant, run, node, ask.newData)))


async def _resumed(call: Call, grant: Grant, run: Run, node: str, told: Any) -> Run:
    if run.paused_at and not told and node in run.nodes and run.status not in ENDED:
        return await settled(call.core.runs.resume(grant, run.id))
    _check_waits(run, node)
    one = input_of(node, told)
    if isinstance(one, InitInput):
        flow = await call.core.flows.of(run)
        flows.check(call, grant, flow, node, one)
        await flows.opened(call, grant, flow, run, node, one)
        return run
    return await _fed(call, grant, run, node, await flows.given(call, grant, node, one))


async def _fed(call: Call, grant: Grant, run: Run, node: str, given: Any) -> Run:
    try:
        return await settled(call.core.runs.feed(grant, run.id, node, [given]))
    except UNFIT as fault:
        return await settled(call.core.runs.unfit(grant, run.id, node, fault))


async def _sent(call: Call, grant: Grant, run: Run, node: str) -> Run:
    """The body as the file of an input."""
    intake = Intake(name=node, declared_size=call.request.content_length, dialect=DIALECT)
    file = await call.core.uploads.accept(grant, intake, call.body)
    return await _fed(call, grant, run, node, file.id)


def _check_waits(run: Run, node: str) -> None:
    if run.status == "cancelled":
        raise RunCancelled
    if run.status in ENDED:
        raise RunEnded(id=run.id, status=run.status)
    if node not in run.awaits:
        raise InputNotAwaited(id=run.id, input=node[:64])


async def pause(call: Call) -> web.Response:
    """Let a job rest behind the step it is in; only one that is under way."""
    grant = await auth.may(call, "flow:cancel")
    run = await _owned(call, grant)
    if run.status not in ("queued", "running") or run.paused_at:
        raise refused("FLOW_JOB_ERROR", f"The job {run.id} is {jobs.standing(run)}; only a running one can be paused.")
    return plain(await jobs.record(call, grant, await settled(call.core.runs.pause(grant, run.id))))


async def cancel(call: Call) -> web.Response:
    """End a job, and the uploads that were to be its inputs."""
    grant = await auth.may(call, "flow:cancel")
    run = await _owned(call, grant)
    waiting = [await jobs.upload_of(call, run, node) for node in run.awaits]
    ended = await settled(call.core.runs.cancel(grant, run.id))
    for upload in waiting:
        with suppress(UploadNotFound, UploadBusy):
            if upload:
                await call.core.uploads.abort(grant, upload.id)
    return plain(await jobs.record(call, grant, ended))


async def _owned(call: Call, grant: Grant) -> Run:
    """The job in the path; raises `RunNotFound`, or `FLOW_NOT_AUTHORIZED` for that of another client."""
    run = await call.core.records.runs.get(call.id(RunNotFound))
    if run.project != grant.project.id:
        raise refused("FLOW_NOT_AUTHORIZED", "This job belongs to another client.")
    return run
