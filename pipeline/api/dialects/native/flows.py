"""`/v1/flows`: the flow registry over HTTP."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from aiohttp import web

from pipeline.acts import settled
from pipeline.api.dialects.native.shapes import (
    ActivateAsk,
    FlowDetail,
    FlowNode,
    FlowShape,
    Listing,
    Paging,
    PutQuery,
    PutShape,
    ScheduleShape,
    TickShape,
    VersionQuery,
    VersionShape,
    flow_shape,
)
from pipeline.api.endpoint import Call, Endpoint, answer
from pipeline.describe import Raw
from pipeline.documents import Complaint
from pipeline.errors import BodyEmpty, FlowInvalid, FlowNotFound, FlowVersionNotFound, RequestInvalid
from pipeline.graph.belongings import Belongings
from pipeline.graph.flow import NAME, Flow, lacking
from pipeline.model import FlowPointer, FlowVersion, now

TEXT_LIMIT = 1024 * 1024


def flow_id(call: Call) -> str:
    """The flow named in the path; raises `FlowNotFound` for what can be no flow's id."""
    given = call.place("id")
    if not NAME.fullmatch(given):
        raise FlowNotFound(id=given[:200])
    return given


async def listed(call: Call) -> web.Response:
    query = call.query(Paging)
    page = await call.core.flows.list(query.cursor, query.limit)
    return answer(Listing[FlowShape](items=tuple(flow_shape(pointer) for pointer in page.items), next=page.next))


async def get(call: Call) -> web.Response:
    version = call.query(VersionQuery).version
    pointer = await call.core.flows.pointer(flow_id(call))
    newest = pointer.versions[-1] if pointer.versions else None
    flow = await call.core.flows.get(pointer.id, version or pointer.active or newest)
    return answer(_detail(pointer, flow, await _schedule(call, pointer, flow)))


async def put(call: Call) -> web.Response:
    query = call.query(PutQuery)
    try:
        text = (await call.body.whole(TEXT_LIMIT)).decode()
    except UnicodeDecodeError as cause:
        raise RequestInvalid(reason="A flow is UTF-8 text.") from cause
    if not text.strip():
        raise BodyEmpty
    before = await _versions(call, call.place("id"))
    made = await settled(call.core.flows.put(call.place("id"), text, activate=query.activate))
    pointer = await call.core.flows.pointer(made.flow)
    shape = PutShape(**_version(made, pointer).model_dump(), warnings=await _warnings(call, made))
    headers = {"Location": f"{call.base_url}/v1/flows/{made.flow}"}
    return answer(shape, 200 if made.version in before else 201, headers)


async def versions(call: Call) -> web.Response:
    pointer = await call.core.flows.pointer(flow_id(call))
    kept = [await call.core.flows.version(pointer.id, version) for version in reversed(pointer.versions)]
    return answer(Listing[VersionShape](items=tuple(_version(version, pointer) for version in kept), next=None))


async def activate(call: Call) -> web.Response:
    ask = await call.json(ActivateAsk)
    return answer(flow_shape(await call.core.flows.activate(flow_id(call), ask.version)))


async def pause(call: Call) -> web.Response:
    return answer(flow_shape(await call.core.flows.pause(flow_id(call))))


async def resume(call: Call) -> web.Response:
    return answer(flow_shape(await call.core.flows.resume(flow_id(call))))


async def _versions(call: Call, id: str) -> Sequence[str]:
    try:
        return (await call.core.flows.pointer(id)).versions
    except FlowNotFound:
        return ()


async def _warnings(call: Call, made: FlowVersion) -> tuple[Complaint, ...]:
    """What is not there is no fault of the document: it may be brought later, and to the workers only."""
    flow = await call.core.flows.get(made.flow, made.version)
    return tuple(await asyncio.to_thread(lacking, flow, Belongings.of(call.core.settings.flows_dir)))


async def _schedule(call: Call, pointer: FlowPointer, flow: Flow) -> ScheduleShape | None:
    if flow.schedule is None:
        return None
    ticks = await call.core.records.schedules.tick(flow.id)
    awake = flow.version == pointer.active and not pointer.paused
    return ScheduleShape(
        cron=flow.schedule.cron,
        timezone=flow.schedule.timezone,
        project=flow.schedule.project,
        next=flow.schedule.next_after(now()) if awake else None,
        last=TickShape(**ticks.told.model_dump()) if ticks and ticks.told else None,
    )


def _version(version: FlowVersion, pointer: FlowPointer) -> VersionShape:
    return VersionShape(
        flow=version.flow,
        version=version.version,
        active=version.version == pointer.active,
        created_at=version.created_at,
    )


def _detail(pointer: FlowPointer, flow: Flow, schedule: ScheduleShape | None) -> FlowDetail:
    return FlowDetail(
        **pointer.model_dump(),
        version=flow.version,
        inputs=tuple(flow.inputs),
        accept=flow.accept.model_dump(mode="json"),
        params={name: spec.model_dump(mode="json", exclude_unset=True) for name, spec in flow.params.items()},
        nodes={
            id: FlowNode(type=node.type, sources=_sources(flow, id), parameters=node.parameters)
            for id, node in flow.nodes.items()
        },
        queue=flow.queue,
        schedule=schedule,
        text=flow.text,
    )


def _sources(flow: Flow, node: str) -> tuple[str, ...]:
    return tuple(f"{edge.source}.{edge.source_port}" if edge.source_port else edge.source for edge in flow.into[node])


YAML = (Raw("application/yaml", {"type": "string"}), Raw("text/plain", {"type": "string"}))

ENDPOINTS: Sequence[Endpoint] = (
    Endpoint(
        "GET",
        "/v1/flows",
        "List the flows.",
        act=listed,
        tag="flows",
        query=Paging,
        answers={200: Listing[FlowShape]},
    ),
    Endpoint(
        "GET",
        "/v1/flows/{id}",
        "Look at a flow: its nodes, params and text.",
        act=get,
        tag="flows",
        query=VersionQuery,
        answers={200: FlowDetail},
        errors=(FlowNotFound, FlowVersionNotFound),
    ),
    Endpoint(
        "PUT",
        "/v1/flows/{id}",
        "Keep a flow document as a version of the flow; 200 when it was known already.",
        act=put,
        tag="flows",
        query=PutQuery,
        body=YAML,
        answers={200: PutShape, 201: PutShape},
        errors=(FlowInvalid, BodyEmpty),
    ),
    Endpoint(
        "GET",
        "/v1/flows/{id}/versions",
        "List the versions of a flow, newest first.",
        act=versions,
        tag="flows",
        answers={200: Listing[VersionShape]},
        errors=(FlowNotFound,),
    ),
    Endpoint(
        "POST",
        "/v1/flows/{id}/activate",
        "Trigger another version from now on.",
        act=activate,
        tag="flows",
        body=ActivateAsk,
        answers={200: FlowShape},
        errors=(FlowNotFound, FlowVersionNotFound),
    ),
    Endpoint(
        "POST",
        "/v1/flows/{id}/pause",
        "Refuse new runs of a flow.",
        act=pause,
        tag="flows",
        answers={200: FlowShape},
        errors=(FlowNotFound,),
    ),
    Endpoint(
        "POST",
        "/v1/flows/{id}/resume",
        "Take new runs of a paused flow again.",
        act=resume,
        tag="flows",
        answers={200: FlowShape},
        errors=(FlowNotFound,),
    ),
)
