"""`/v1/runs/{id}/inputs`, `/pause` and `/resume`: runs that wait for files, and for somebody to let them go on."""

from __future__ import annotations

from collections.abc import Sequence

from aiohttp import web

from pipeline.acts import settled
from pipeline.api.bodies import FORM, Form, is_form
from pipeline.api.dialects.native.files import Received
from pipeline.api.dialects.native.runs import FEEDING, Order, ended, given_files, run_answer, run_shape, take_file
from pipeline.api.dialects.native.shapes import FeedAsk, RunShape, WaitQuery
from pipeline.api.endpoint import Call, Endpoint, answer
from pipeline.describe import BINARY, Raw
from pipeline.errors import InputNotAwaited, InputNotMany, RequestInvalid, RunEnded, RunNotFound, RunNotPaused
from pipeline.feeding import Given
from pipeline.runs import check_inputs


async def feed(call: Call) -> web.Response:
    """The run is looked for before the body is read; files that come too late for it are not kept."""
    node, wait = call.place("node"), call.query(WaitQuery).wait
    run = await call.core.runs.get(call.grant, call.id(RunNotFound))
    flow = await call.core.flows.of(run)
    check_inputs(flow, {}, flow.inputs.keys() | {node})
    order = Order(flow, Received(call))
    async with order.received:
        given = await _form_files(call, order, node) if is_form(call.request) else await _json_files(call, node)
        fed = await settled(call.core.runs.feed(call.grant, run.id, node, given))
    return await run_answer(call, await ended(call, fed.id, wait) if wait else fed)


async def _json_files(call: Call, node: str) -> list[Given]:
    return given_files(node, (await call.json(FeedAsk)).root)


async def _form_files(call: Call, order: Order, node: str) -> list[Given]:
    async for part in Form(call.request, call.body):
        if not part.is_file and part.name != node:
            raise RequestInvalid(reason=f"The field `{part.name[:64]}` is no file.")
        if node in order.inputs and not order.flow.inputs[node].many:
            raise InputNotMany(input=node)
        await take_file(order, part, node)
    return order.inputs.get(node, [])


async def pause(call: Call) -> web.Response:
    run = await settled(call.core.runs.pause(call.grant, call.id(RunNotFound)))
    return answer(await run_shape(call, run))


async def resume(call: Call) -> web.Response:
    run = await settled(call.core.runs.resume(call.grant, call.id(RunNotFound)))
    return answer(await run_shape(call, run))


FEED_SCHEMA = {"type": "object", "description": "Files, under any names.", "additionalProperties": BINARY}

ENDPOINTS: Sequence[Endpoint] = (
    Endpoint(
        "PUT",
        "/v1/runs/{id}/inputs/{node}",
        "Give a run the files of an input that it waits for.",
        act=feed,
        tag="runs",
        query=WaitQuery,
        body=(FeedAsk, Raw(FORM, FEED_SCHEMA)),
        answers={200: RunShape, 202: RunShape},
        errors=(*FEEDING, RunNotFound, RunEnded, InputNotAwaited),
    ),
    Endpoint(
        "POST",
        "/v1/runs/{id}/pause",
        "Let a run rest behind the step it is in.",
        act=pause,
        tag="runs",
        answers={200: RunShape},
        errors=(RunNotFound, RunEnded),
    ),
    Endpoint(
        "POST",
        "/v1/runs/{id}/resume",
        "Let a paused run go on where it rests.",
        act=resume,
        tag="runs",
        answers={200: RunShape},
        errors=(RunNotFound, RunEnded, RunNotPaused),
    ),
)
