"""What there is and what goes on: node types, workers, and every event of the project."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing

from aiohttp import web

from pipeline.api.dialects.native.runs import RESUME, STREAM
from pipeline.api.dialects.native.shapes import (
    EventsQuery,
    Listing,
    NodeShape,
    WorkerShape,
    event_shape,
    worker_shape,
)
from pipeline.api.endpoint import Call, Endpoint, answer
from pipeline.api.sse import COMMENT, SILENCE, frame
from pipeline.describe import node_types
from pipeline.errors import CursorInvalid
from pipeline.model import now


async def nodes(call: Call) -> web.Response:
    return answer(Listing[NodeShape](items=tuple(NodeShape(**type) for type in node_types()), next=None))


async def workers(call: Call) -> web.Response:
    beats = await call.core.records.workers.list()
    return answer(Listing[WorkerShape](items=tuple(worker_shape(beat) for beat in beats), next=None))


async def events(call: Call) -> web.StreamResponse:
    """From now on, or after an event id; `from=0` is the start of what the log still has."""
    after = call.header("Last-Event-ID") or call.query(EventsQuery).from_
    if after is not None:
        await call.core.events.read(call.project, None, after, 1)  # an impossible id is told before the stream begins
    return await call.streams.send(call.request, _frames(call, after))


async def _frames(call: Call, after: str | None) -> AsyncGenerator[bytes, None]:
    began = now()
    async with aclosing(call.core.events.follow(call.project, None, after, SILENCE)) as follow:
        async for event in follow:
            if event is not None:
                call.metrics.streamed(event, began)
            yield COMMENT if event is None else frame(event.id, event.type, event_shape(event))


ENDPOINTS: Sequence[Endpoint] = (
    Endpoint("GET", "/v1/nodes", "List the node types.", act=nodes, tag="overview", answers={200: Listing[NodeShape]}),
    Endpoint(
        "GET",
        "/v1/workers",
        "List the workers that are alive.",
        act=workers,
        tag="overview",
        answers={200: Listing[WorkerShape]},
    ),
    Endpoint(
        "GET",
        "/v1/events",
        "Follow everything that happens in the project.",
        act=events,
        tag="overview",
        query=EventsQuery,
        headers=RESUME,
        answers={200: STREAM},
        errors=(CursorInvalid,),
    ),
)
