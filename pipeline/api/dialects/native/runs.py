"""`/v1/flows/{id}/runs` and `/v1/runs`: start runs, watch them, stop them, do them again."""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator, Coroutine, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any, TypeVar

from aiohttp import web

from pipeline.acts import settled
from pipeline.api.addresses import content_url
from pipeline.api.bodies import FORM, JSON_LIMIT, Form, Part, is_form, require_json
from pipeline.api.dialects.native.fetches import URLS
from pipeline.api.dialects.native.files import (
    IDEMPOTENCY,
    SENDING,
    Received,
    parse_metadata,
    parse_params,
    part_intake,
)
from pipeline.api.dialects.native.flows import flow_id
from pipeline.api.dialects.native.shapes import (
    Ask,
    EventsQuery,
    InputAsk,
    Listing,
    OutputShape,
    RetryAsk,
    RunAsk,
    RunShape,
    RunsQuery,
    WaitQuery,
    event_shape,
    try_shapes,
)
from pipeline.api.endpoint import Call, Endpoint, answer, digest_of, parsed
from pipeline.api.idempotency import MADE_AS, body_of, once
from pipeline.api.sse import COMMENT, SILENCE, frame
from pipeline.describe import BINARY, Raw
from pipeline.errors import (
    BodyTypeUnsupported,
    FileNotFound,
    FlowNotFound,
    FlowPaused,
    InputMissing,
    InputNotMany,
    InputUnknown,
    ParamsInvalid,
    RecordsUnavailable,
    RequestInvalid,
    RunEnded,
    RunNotEnded,
    RunNotFound,
    SafelightError,
)
from pipeline.feeding import Given
from pipeline.graph.flow import Flow
from pipeline.model import ENDED, QUEUES, Event, File, Queue, Remote, Run, now

LONGEST_WAIT = 60.0
LATER = InputAsk(later=True)
TRACEPARENT = re.compile(r"00-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}")
FIELDS = ("params", "metadata", "queue")

T = TypeVar("T")
A = TypeVar("A", bound=Ask)


@dataclass
class Order:
    """A run as it was asked for: files by input node, params and metadata."""

    flow: Flow
    received: Received
    inputs: dict[str, list[Given]] = field(default_factory=dict)
    awaits: Sequence[str] = ()
    params: Mapping[str, Any] = field(default_factory=dict)
    metadata: Mapping[str, str] = field(default_factory=dict)
    version: str | None = None
    queue: Queue | None = None


async def start(call: Call) -> web.Response:
    """Everything that can be refused without the body is refused before it is read."""
    wait = call.query(WaitQuery).wait
    flow = await _counted(call, "", call.core.runs.flow(flow_id(call)))
    order, digest = Order(flow, Received(call)), ""
    if not is_form(call.request):
        digest = await _read_json(call, order)

    async def receive() -> Order:
        if is_form(call.request):
            async with order.received:
                await _read_form(call, order)
        return order

    async def create(order: Order) -> web.Response:
        run = await _created(call, order)
        call.metrics.runs.labels(flow.id, "started").inc()
        return await run_answer(call, run)

    made = await once(call, receive, create, digest=digest)
    return await _waited(call, made, wait) if made.status < 300 and wait else made


async def _created(call: Call, order: Order) -> Run:
    """The run, or the one that an earlier request with the same key had put on record."""
    try:
        run = await _counted(call, order.flow.id, _start(call, order))
        known = await call.core.runs.get(call.grant, run.id) if MADE_AS in call.request else run
    except RecordsUnavailable:  # whether the run is on record is not known, so what it would read stays
        raise
    except BaseException:
        await settled(order.received.discard())
        raise
    if known.created_at != run.created_at:
        await order.received.discard()
    return known


def _start(call: Call, order: Order) -> Coroutine[Any, Any, Run]:
    return call.core.runs.start(
        call.grant,
        order.flow.id,
        order.inputs,
        order.params,
        order.metadata,
        order.version,
        order.queue,
        id=call.request.get(MADE_AS),
        trace=_traceparent(call),
        awaits=order.awaits,
    )


def _traceparent(call: Call) -> str | None:
    given = call.header("traceparent") or ""
    return given if TRACEPARENT.fullmatch(given) else None


async def _counted(call: Call, flow: str, asked: Coroutine[Any, Any, T]) -> T:
    try:
        return await asked
    except SafelightError as error:
        call.metrics.runs.labels(flow, error.code).inc()
        raise


async def _waited(call: Call, made: web.Response, seconds: float) -> web.Response:
    """The answer once more when the run has ended or the time is up; a client that comes again waits again."""
    started = RunShape.model_validate_json(body_of(made))
    waited = await run_answer(call, await ended(call, started.id, seconds))
    if "Idempotency-Replayed" in made.headers:
        waited.headers["Idempotency-Replayed"] = "true"
    return waited


async def ended(call: Call, run_id: str, seconds: float) -> Run:
    """The run once it has ended, or as it stands when the time is up or the server stops."""
    run = await call.streams.wait(call.core.runs.wait(call.grant, run_id, min(seconds, LONGEST_WAIT)))
    return run or await call.core.runs.get(call.grant, run_id)


async def run_answer(call: Call, run: Run) -> web.Response:
    """200 when the run has ended, 202 while it goes on."""
    headers = {"Location": f"{call.base_url}/v1/runs/{run.id}"}
    return answer(await run_shape(call, run), 200 if run.status in ENDED else 202, headers)


# What a run is given


async def _read_json(call: Call, order: Order) -> str:
    require_json(call.request)
    text = await call.body.whole(JSON_LIMIT)
    ask = parsed(RunAsk, text)
    order.params, order.metadata, order.version, order.queue = ask.params, ask.metadata, ask.version, ask.queue
    order.awaits = [name for name, given in ask.inputs.items() if given == LATER]
    order.inputs = {name: given_files(name, given) for name, given in ask.inputs.items() if name not in order.awaits}
    return digest_of(text)


def given_files(name: str, given: InputAsk | tuple[InputAsk, ...]) -> list[Given]:
    return [_file(name, one) for one in (given if isinstance(given, tuple) else (given,))]


def _file(name: str, given: InputAsk) -> Given:
    if (given.url is None) == (given.file is None) or given.later:
        forms = '{"file": "<id>"}, {"url": "https://..."} or, when a run is started, {"later": true}'
        raise RequestInvalid(reason=f"The input `{name[:64]}` is given as {forms}.")
    return Remote(url=given.url, name=given.name) if given.url is not None else given.file or ""


async def _read_form(call: Call, order: Order) -> None:
    async for part in Form(call.request, call.body):
        if part.is_file or (part.name in order.flow.inputs and part.name not in FIELDS):
            await take_file(order, part)
        elif part.name == "params":
            order.params = parse_params(await part.text())
            order.flow.check_params(dict(order.params))
        elif part.name == "metadata":
            order.metadata = parse_metadata(await part.text())
        elif part.name == "queue":
            order.queue = _parse_queue(await part.text())
        else:
            raise RequestInvalid(reason=f"The field `{part.name[:64]}` is no file, and none of {', '.join(FIELDS)}.")


async def take_file(order: Order, part: Part, name: str | None = None) -> None:
    """One file of the form, for the input of this name or for the one it is meant for.

    The flow's own limits hold while it streams.
    """
    name, accept = name or _input_for(order, part), order.flow.accept
    intake = part_intake(part, metadata=order.metadata).model_copy(
        update={"types": accept.types, "max_size": accept.max_size, "max_pixels": accept.max_pixels}
    )
    file = await order.received.take(intake, part)
    order.inputs.setdefault(name, []).append(file.id)


def _input_for(order: Order, part: Part) -> str:
    """The input node a field is meant for: the one it names, or the only one there is."""
    inputs = order.flow.inputs
    name = part.name if part.name in inputs or len(inputs) != 1 else next(iter(inputs))
    if name not in inputs:
        raise InputUnknown(input=name[:64], known=", ".join(inputs))
    if name in order.inputs and not inputs[name].many:
        raise InputNotMany(input=name)
    return name


def _parse_queue(text: str) -> Queue:
    if text not in QUEUES:
        raise RequestInvalid(reason=f"The queues are {', '.join(QUEUES)}.")
    return text


# Runs that exist


async def listed(call: Call) -> web.Response:
    query = call.query(RunsQuery)
    page = await call.core.runs.list(call.grant, query.cursor, query.limit, query.status, query.flow)
    return answer(Listing[RunShape](items=await _run_shapes(call, page.items), next=page.next))


async def get(call: Call) -> web.Response:
    run = await ended(call, call.id(RunNotFound), call.query(WaitQuery).wait)
    return answer(await run_shape(call, run))


async def cancel(call: Call) -> web.Response:
    run = await settled(call.core.runs.cancel(call.grant, call.id(RunNotFound)))
    return answer(await run_shape(call, run))


async def retry(call: Call) -> web.Response:
    ask = await asked(call, RetryAsk)
    run = await settled(call.core.runs.retry(call.grant, call.id(RunNotFound), ask.from_ == "failed"))
    return answer(await run_shape(call, run), 202)


async def asked(call: Call, model: type[A]) -> A:
    """The JSON body as `model`, which may be left out."""
    return await call.json(model) if call.request.body_exists else model()


async def run_shape(call: Call, run: Run) -> RunShape:
    (shape,) = await _run_shapes(call, [run])
    return shape


async def _run_shapes(call: Call, runs: Sequence[Run]) -> tuple[RunShape, ...]:
    """The files of all their outputs are looked up at once: only they know whether they are private."""
    ids = [output.id for run in runs for output in run.outputs]
    found = await call.core.records.files.get_many(ids)
    files = {file.id: file for file in found if file is not None}
    return tuple(_shape(call, run, files) for run in runs)


def _shape(call: Call, run: Run, files: Mapping[str, File]) -> RunShape:
    outputs = []
    for output in run.outputs:
        private = files[output.id].private if output.id in files else False
        url = content_url(call, output.id, run.project, private=private)
        outputs.append(OutputShape(**output.model_dump(), url=url))
    apart = {"project", "queue", "metadata", "fetches", "outputs", "nodes", "error", "tries", "marks", "graph", "heard"}
    kept = run.model_dump(exclude=apart)
    return RunShape(
        **kept,
        fetches=tuple(run.fetches),
        nodes=run.nodes,
        outputs=tuple(outputs),
        error=run.error,
        tries=try_shapes(run),
    )


# Watching


async def events(call: Call) -> web.StreamResponse:
    """From the start, or after the id that was seen last, until the run has ended; 204 when nothing will follow."""
    run = await call.core.runs.get(call.grant, call.id(RunNotFound))
    after = call.header("Last-Event-ID") or call.query(EventsQuery).from_ or "0"
    missed = await call.core.events.read(call.project, run.id, after, 1)
    if run.status in ENDED and not missed:
        return web.Response(status=204)
    return await call.streams.send(call.request, _frames(call, run.id, after))


async def _frames(call: Call, run_id: str, after: str) -> AsyncGenerator[bytes, None]:
    began, has_ended = now(), False
    async with aclosing(call.core.events.follow(call.project, run_id, after, SILENCE)) as follow:
        async for event in follow:
            if event is not None:
                call.metrics.streamed(event, began)
                yield frame(event.id, event.type, event_shape(event))
                has_ended = has_ended or event.type.removeprefix("run.") in ENDED
            if event is None or has_ended:  # its last event may be another one, such as of its dead letter
                if await _over(call, run_id, event):
                    return
                yield COMMENT


async def _over(call: Call, run_id: str, event: Event | None) -> bool:
    """Whether nothing follows: an end that was undone by a retry is only an event like any other."""
    run = await call.core.runs.get(call.grant, run_id)
    if run.status not in ENDED:
        return False
    return event is None or not await call.core.events.read(call.project, run_id, event.id, 1)


FORM_SCHEMA = {
    "type": "object",
    "description": "Files under the names of the flow's inputs; `params` and `metadata` go best before them.",
    "properties": {
        "params": {"type": "string", "description": "A JSON object."},
        "metadata": {"type": "string", "description": "A JSON object of texts."},
        "queue": {"type": "string", "enum": list(QUEUES)},
    },
    "additionalProperties": BINARY,
}
FEEDING = (*SENDING, BodyTypeUnsupported, FileNotFound, InputMissing, InputNotMany, InputUnknown, *URLS)
STARTING = (*FEEDING, FlowNotFound, FlowPaused, ParamsInvalid)
STREAM = Raw("text/event-stream", {"type": "string"})
RESUME = {"Last-Event-ID": "Go on after this event."}

ENDPOINTS: Sequence[Endpoint] = (
    Endpoint(
        "POST",
        "/v1/flows/{id}/runs",
        "Start a flow on files sent along, or sent before.",
        act=start,
        tag="runs",
        query=WaitQuery,
        headers=IDEMPOTENCY,
        body=(Raw(FORM, FORM_SCHEMA), RunAsk),
        answers={200: RunShape, 202: RunShape},
        errors=STARTING,
    ),
    Endpoint(
        "GET",
        "/v1/runs",
        "List the project's runs, newest first.",
        act=listed,
        tag="runs",
        query=RunsQuery,
        answers={200: Listing[RunShape]},
    ),
    Endpoint(
        "GET",
        "/v1/runs/{id}",
        "Look at a run, its nodes and outputs.",
        act=get,
        tag="runs",
        query=WaitQuery,
        answers={200: RunShape},
        errors=(RunNotFound,),
    ),
    Endpoint(
        "GET",
        "/v1/runs/{id}/events",
        "Follow a run to its end.",
        act=events,
        tag="runs",
        query=EventsQuery,
        headers=RESUME,
        answers={200: STREAM, 204: None},
        errors=(RunNotFound,),
    ),
    Endpoint(
        "POST",
        "/v1/runs/{id}/cancel",
        "End a run that has not ended.",
        act=cancel,
        tag="runs",
        answers={200: RunShape},
        errors=(RunNotFound, RunEnded),
    ),
    Endpoint(
        "POST",
        "/v1/runs/{id}/retry",
        "Run an ended run once more.",
        act=retry,
        tag="runs",
        body=(RetryAsk,),
        answers={202: RunShape},
        errors=(RunNotFound, RunNotEnded),
    ),
)
