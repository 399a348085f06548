"""Flows: looked at, and run on files that are uploaded afterwards, uploaded already, or fetched."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from aiohttp import web

from pipeline.acts import settled
from pipeline.api.dialects.uploadista import auth, jobs
from pipeline.api.dialects.uploadista.params import (
    FinalizeInput,
    InitInput,
    Input,
    RunAsk,
    UrlInput,
    body,
    input_of,
)
from pipeline.api.dialects.uploadista.uploads import BUFFER, declared, storage_of
from pipeline.api.endpoint import Call, plain
from pipeline.errors import FileTooLarge, FlowNotFound, InputUnknown, TypeNotAllowed
from pipeline.feeding import Given
from pipeline.graph.flow import Flow
from pipeline.model import Event, Grant, Intake, Remote, Run, Upload
from pipeline.sniff import allowed
from pipeline.vendors.uploadista import (
    AWAITED,
    DIALECT,
    STORAGE,
    TYPE,
    Said,
    flow_record,
    kept_metadata,
    with_facts,
)

OPENED = "run.opened"
"""An upload was begun for an input that a run waits for."""


async def get(call: Call) -> web.Response:
    await auth.may(call, "flow:status")
    id = call.place("flow")
    pointer = await call.core.flows.pointer(id)
    if pointer.active is None:
        raise FlowNotFound(id=id[:64])
    return plain(flow_record(await call.core.flows.get(id, pointer.active)))


async def run(call: Call) -> web.Response:
    """Start a job; it waits for each input that is to be uploaded, and for those that nothing is said of yet."""
    caller = await auth.of_request(call)
    grant = auth.checked(call, caller, "flow:execute")
    storage = call.place("storage")
    storage_of(call, grant, storage)
    ask = await body(call, RunAsk, "Inputs are required")
    flow = await call.core.runs.flow(call.place("flow"))
    told, params = _sorted(flow, ask)
    ready = {node: [await given(call, grant, node, one)] for node, one in told.items() if not _is_init(one)}
    inits = {node: one for node, one in told.items() if isinstance(one, InitInput)}
    for node, init in inits.items():
        check(call, grant, flow, node, init)
    awaits = [*inits, *(name for name, node in flow.inputs.items() if node.required and name not in told)]
    marks = {STORAGE: storage, AWAITED: " ".join(awaits), **auth.memory(caller.permissions)}
    begun = await call.core.runs.start(grant, flow.id, ready, params, version=flow.version, marks=marks, awaits=awaits)
    for node, init in inits.items():
        await opened(call, grant, flow, begun, node, init)
    return plain(await jobs.record(call, grant, begun))


def _sorted(flow: Flow, ask: RunAsk) -> tuple[Mapping[str, Input], Mapping[str, Any]]:
    """Inputs by their nodes, and what goes by the name of a parameter of the flow among them, as one."""
    nodes = {name: value for name, value in ask.inputs.items() if name not in flow.params or name in flow.inputs}
    params = {name: value for name, value in ask.inputs.items() if name not in nodes}
    for name in nodes:
        if name not in flow.inputs:
            raise InputUnknown(input=name[:64], known=", ".join(flow.inputs))
    return {name: input_of(name, value) for name, value in nodes.items()}, ask.params | params


def _is_init(one: Input) -> bool:
    return isinstance(one, InitInput)


async def given(call: Call, grant: Grant, node: str, one: Input) -> Given:
    """What an input is that is there already, or lies elsewhere; raises `FLOW_INPUT_VALIDATION_ERROR`, ..."""
    if isinstance(one, UrlInput):
        if one.storageId not in (None, BUFFER):
            storage_of(call, grant, one.storageId or "")
        name = one.metadata.get("originalName")
        claims = {"dialect": DIALECT, "metadata": kept_metadata(one.metadata)}
        return Remote(url=one.url, name=name if isinstance(name, str) else None, claims=claims)
    assert isinstance(one, FinalizeInput)
    return await jobs.uploaded(call, grant, node, one.uploadId)


# Inputs that are uploaded afterwards


def check(call: Call, grant: Grant, flow: Flow, node: str, init: InitInput) -> None:
    """Raise what a file with these claims would be refused for, before anybody waits for it."""
    intake = _intake(call, grant, flow, init, {})
    if intake.declared_type and not allowed(intake.declared_type, flow.accept.types):
        raise jobs.refused_input(node, TypeNotAllowed(found=intake.declared_type, allowed=", ".join(flow.accept.types)))
    try:
        call.core.uploads.check(grant, intake)
    except (FileTooLarge, TypeNotAllowed) as fault:
        raise jobs.refused_input(node, fault) from fault


async def opened(call: Call, grant: Grant, flow: Flow, run: Run, node: str, init: InitInput) -> Upload:
    """The upload that a waiting input is to be, told of to whoever follows the run; asked again it is the same."""
    if known := await jobs.upload_of(call, run, node):
        return known
    belongs = {"flowId": flow.id, "nodeId": node, "jobId": run.id}
    upload = await call.core.growing.begin(grant, _intake(call, grant, flow, init, belongs, run.marks))
    await jobs.note_upload(call, run, node, upload)
    facts = {"flow": flow.id, "attempt": run.attempt, "node": node, "upload": upload.id}
    await settled(call.core.events.append(Event(type=OPENED, project=run.project, subject=run.id, facts=facts)))
    return upload


def _intake(
    call: Call,
    grant: Grant,
    flow: Flow,
    init: InitInput,
    belongs: Mapping[str, str],
    marks: Mapping[str, str] | None = None,
) -> Intake:
    storage = init.storageId if init.storageId not in (None, BUFFER) else grant.project.storage
    name, size = init.metadata.get("originalName"), init.metadata.get("size")
    name = name if isinstance(name, str) and name else "file"
    media_type = init.metadata.get("mimeType")
    said = Said(
        metadata=with_facts(init.metadata, media_type if isinstance(media_type, str) else TYPE, name),
        storage=storage or "default",
        type=media_type if isinstance(media_type, str) else TYPE,
        flow=belongs,
        until=time.time() + auth.REMEMBERED,
        granted=(marks or {}).get(auth.GRANTED, "").split(),
    )
    known = isinstance(size, int | float) and not isinstance(size, bool) and 0 < size < 2**53
    return Intake(
        name=name,
        declared_type=declared(media_type),
        declared_size=int(size) if known and size is not None else None,
        metadata=kept_metadata(init.metadata),
        max_size=flow.accept.max_size,
        storage=storage_of(call, grant, storage or ""),
        may_be_empty=True,
        dialect=DIALECT,
        marks=said.mark,
    )
