"""Who may take from the queues, and which workers take: pause, resume, drain, purge."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from aiohttp import web

from pipeline.acts import settled
from pipeline.api.dialects.native.shapes import ControlShape, DrainQuery
from pipeline.api.endpoint import Call, Endpoint, answer
from pipeline.errors import KeyNotAdmin, QueueNotFound, WorkerNotFound
from pipeline.jobs import ERRANDS
from pipeline.model import QUEUES, Queue

LONGEST_WAIT = 60.0


def queue_of(call: Call) -> Queue:
    """The queue in the path, for who may control it; raises `KeyNotAdmin` or `QueueNotFound`."""
    call.access.check_admin(call.header("Authorization"))
    given = call.place("id")
    for queue in QUEUES:
        if queue == given:
            return queue
    raise QueueNotFound(name=given[:64], known=", ".join(QUEUES))


def _gate_of(call: Call) -> Queue | Literal["errands"]:
    """The same, of all that may be paused: what is no run cannot be drained or purged."""
    call.access.check_admin(call.header("Authorization"))
    return "errands" if call.place("id") == ERRANDS else queue_of(call)


async def pause(call: Call) -> web.Response:
    queue = _gate_of(call)
    await call.core.records.queues.pause(queue)
    return await _told(call, queue)


async def resume(call: Call) -> web.Response:
    queue = _gate_of(call)
    await call.core.records.queues.resume(queue)
    return await _told(call, queue)


async def drain(call: Call) -> web.Response:
    """The queue stays paused when the time is up, whatever still runs."""
    queue, wait = queue_of(call), call.query(DrainQuery).wait
    await call.core.records.queues.pause(queue)
    await call.streams.wait(call.core.runs.quiet(queue, min(wait, LONGEST_WAIT)))
    return await _told(call, queue)


async def purge(call: Call) -> web.Response:
    queue = queue_of(call)
    return await _told(call, queue, await settled(call.core.runs.purge(queue)))


async def drain_worker(call: Call) -> web.Response:
    call.access.check_admin(call.header("Authorization"))
    await call.core.records.workers.drain(call.id(WorkerNotFound))
    return web.Response(status=204)


async def undrain_worker(call: Call) -> web.Response:
    call.access.check_admin(call.header("Authorization"))
    await call.core.records.workers.undrain(call.id(WorkerNotFound))
    return web.Response(status=204)


async def _told(call: Call, queue: Queue | Literal["errands"], cancelled: int = 0) -> web.Response:
    records = call.core.records
    paused = queue in (await records.queues.gates()).paused
    running = (await records.queues.load(queue)).running if queue == "errands" else await records.runs.running(queue)
    return answer(ControlShape(name=queue, paused=paused, running=running, cancelled=cancelled))


QUEUE = {200: ControlShape}
REFUSALS = (KeyNotAdmin, QueueNotFound)

ENDPOINTS: Sequence[Endpoint] = (
    Endpoint(
        "POST",
        "/v1/queues/{id}/pause",
        "Let nobody take from a queue; what runs is finished.",
        act=pause,
        tag="overview",
        answers=QUEUE,
        errors=REFUSALS,
    ),
    Endpoint(
        "POST",
        "/v1/queues/{id}/resume",
        "Let a queue go on.",
        act=resume,
        tag="overview",
        answers=QUEUE,
        errors=REFUSALS,
    ),
    Endpoint(
        "POST",
        "/v1/queues/{id}/drain",
        "Pause a queue and wait until nothing of it runs.",
        act=drain,
        tag="overview",
        query=DrainQuery,
        answers=QUEUE,
        errors=REFUSALS,
    ),
    Endpoint(
        "POST",
        "/v1/queues/{id}/purge",
        "Cancel every run that waits in a queue, of all projects.",
        act=purge,
        tag="overview",
        answers=QUEUE,
        errors=REFUSALS,
    ),
    Endpoint(
        "POST",
        "/v1/workers/{id}/drain",
        "Let a worker take nothing more and leave when it has finished.",
        act=drain_worker,
        tag="overview",
        answers={204: None},
        errors=(KeyNotAdmin, WorkerNotFound),
    ),
    Endpoint(
        "POST",
        "/v1/workers/{id}/undrain",
        "Let a worker that was to leave go on.",
        act=undrain_worker,
        tag="overview",
        answers={204: None},
        errors=(KeyNotAdmin, WorkerNotFound),
    ),
)
