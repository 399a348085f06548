"""How the work goes: what the queues hold and how fast they are, series for charts, and what fails alike."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Literal

from aiohttp import web
from pydantic import AwareDatetime, Field

from pipeline.api.dialects.native.shapes import Ask, Listing, Paging, Shape
from pipeline.api.endpoint import Call, Endpoint, answer
from pipeline.errors import CursorInvalid, RequestInvalid
from pipeline.jobs import ERRANDS
from pipeline.model import QUEUES
from pipeline.records.breakers import Breaker
from pipeline.records.series import HOUR, KEPT_DAYS, MINUTE, Depth, Failure
from pipeline.records.tallies import SHARES, Book, Columns, Durations, Tally

MOST_POINTS = 1500
BY_MINUTE = 24 * HOUR
"""Seconds of the past that are read minute by minute; a longer stretch is read by the hour."""
OUTCOMES = ("completed", "failed", "cancelled")
LATENCIES = ("wait", "run", "store")
PERCENTILES = ("p50_ms", "p95_ms", "p99_ms")


class WindowQuery(Ask):
    window: int = Field(default=15, ge=1, le=1440, description="Minutes that throughput and latency are measured over.")


class StatsQuery(Ask):
    from_: AwareDatetime | None = Field(default=None, alias="from", description="An hour before `to`, if left out.")
    to: AwareDatetime | None = Field(default=None, description="Now, if left out.")
    step: int = Field(default=MINUTE, ge=1, description="Seconds between two points; a coarser one may be answered.")


class LatencyShape(Shape):
    """How long something took, in milliseconds; None when it did not happen."""

    count: int
    p50_ms: float | None
    p95_ms: float | None
    p99_ms: float | None


class HeldShape(Shape):
    """Runs of the project that have not ended."""

    queued: int
    running: int
    waiting: int


class QueueShape(Shape):
    """What one queue holds, of all projects, and how fast it goes; `errands` holds fetches and deliveries, no runs."""

    name: str
    paused: bool = Field(description="Whether nobody takes from it.")
    queued: int = Field(description="Due and not yet begun.")
    delayed: int = Field(description="To be begun later.")
    running: int
    waiting: int
    oldest_age: float = Field(description="Seconds for which the oldest queued or delayed run waits.")
    own: HeldShape
    ended: Mapping[str, int] = Field(description="Runs that ended in the window, by how.")
    per_minute: float = Field(description="Runs that ended, a minute, over the window.")
    latency: Mapping[str, LatencyShape] = Field(
        description="`wait` from queued to begun, `run` from begun to ended, `store` putting outputs into storage."
    )


class StatsShape(Shape):
    """Series for charts: every list has one number for each of the `times`."""

    step: int = Field(description="Seconds between two points.")
    times: tuple[datetime, ...] = Field(description="When each point begins.")
    queues: Mapping[str, Mapping[str, list[int]]] = Field(description="By queue: runs `queued`, and ended by outcome.")
    latency: Mapping[str, Mapping[str, Mapping[str, list[float | None]]]] = Field(
        description="By queue, then `wait`, `run` or `store`, then `p50_ms`, `p95_ms`, `p99_ms`."
    )
    flows: Mapping[str, Mapping[str, list[int]]] = Field(description="By flow: runs ended by outcome.")
    uploads: Mapping[str, Mapping[str, list[int]]] = Field(description="By dialect: files sent by outcome.")
    failures: Mapping[str, list[int]] = Field(description="By code of the error: runs that failed.")


class FailureShape(Shape):
    """Runs of the project that failed of the same error, in the same type of node, of the same flow."""

    fingerprint: str
    code: str
    type: str = Field(description="Type of the node that failed; empty when it was none.")
    flow: str
    message: str = Field(description="Of the last one.")
    count: int
    first_at: datetime
    last_at: datetime
    run: str = Field(description="The last run that failed so.")


class BreakerShape(Shape):
    """Somebody outside whom nodes of one type called for the project, and who failed of late."""

    type: str = Field(description="Type of the nodes that call: `http`, `ask`, `notify`, `scan`.")
    place: str = Field(description="Host and port that is called, or the address of the scanner.")
    state: Literal["closed", "open", "half_open"] = Field(
        description="`closed`: it is called; `open`: it is not; `half_open`: some calls try whether it is back."
    )
    failures: int = Field(description="Those that count still; of one that is not closed, those that opened it.")
    changed_at: datetime = Field(description="When it came to this state, or a try failed last.")
    opened_at: datetime | None = Field(description="Since when it is not closed.")
    retry_at: datetime | None = Field(description="When it is tried again, while it is open.")


async def queues(call: Call) -> web.Response:
    series = call.core.records.series
    tally, seconds = await series.last(call.query(WindowQuery).window)
    rows = [_queue(depth, tally, seconds) for depth in await series.depths(call.project)]
    errands = _queue(await _errands(call), tally, seconds)
    return answer(Listing[QueueShape](items=(*rows, errands), next=None))


async def _errands(call: Call) -> Depth:
    """What waits for servers outside, as if its jobs were runs."""
    queues = call.core.records.queues
    load, paused = await queues.load(ERRANDS, call.project), ERRANDS in (await queues.gates()).paused
    counts = {"queued": load.queued + load.delayed, "running": load.running, "waiting": 0}
    own = {"queued": load.own_queued, "running": load.own_running, "waiting": 0}
    return Depth(ERRANDS, load.oldest / 1000, load.delayed, paused, counts, own)


async def stats(call: Call) -> web.Response:
    await call.metrics.tell(call.core.records)
    series = call.core.records.series
    stretch = Stretch.asked(call.query(StatsQuery), await series.now())
    books = await series.spans(stretch.span, stretch.start, stretch.count)
    return answer(_chart(stretch, stretch.gathered(books)))


async def failures(call: Call) -> web.Response:
    asked = call.query(Paging)
    page = await call.core.records.series.failures(call.project, asked.cursor, asked.limit)
    return answer(Listing[FailureShape](items=tuple(map(_failure, page.items)), next=page.next))


async def breakers(call: Call) -> web.Response:
    rows = await call.core.records.breakers.list(call.project)
    return answer(Listing[BreakerShape](items=tuple(map(_breaker, rows)), next=None))


def _breaker(breaker: Breaker) -> BreakerShape:
    return BreakerShape(**breaker.model_dump(exclude={"project"}))


def _queue(depth: Depth, tally: Tally, seconds: float) -> QueueShape:
    ended = {outcome: tally["ended", depth.queue, outcome] for outcome in OUTCOMES}
    return QueueShape(
        name=depth.queue,
        paused=depth.paused,
        **depth.states,
        oldest_age=round(depth.oldest, 3),
        own=HeldShape(**depth.own),
        ended=ended,
        per_minute=round(sum(ended.values()) * 60 / seconds, 3),
        latency={name: _latency(tally.durations(name, depth.queue)) for name in LATENCIES},
    )


def _latency(durations: Durations) -> LatencyShape:
    found = map(durations.percentile, SHARES)
    shares: Any = {name: _rounded(ms) for name, ms in zip(PERCENTILES, found, strict=True)}
    return LatencyShape(count=durations.count, **shares)


def _rounded(milliseconds: float | None) -> float | None:
    return None if milliseconds is None else round(milliseconds, 3)


def _failure(failure: Failure) -> FailureShape:
    return FailureShape(**failure.model_dump())


class Stretch:
    """A stretch of time in equal steps, and the kept minutes or hours that they are read from."""

    def __init__(self, start: int, end: int, step: int) -> None:
        self.span = HOUR if end - start > BY_MINUTE else MINUTE
        finest = math.ceil((end - start) / MOST_POINTS)
        self.step = math.ceil(max(step, finest) / self.span) * self.span
        self.start = start - start % self.step
        self.count = math.ceil((end - self.start) / self.step) * self.step // self.span

    @classmethod
    def asked(cls, query: StatsQuery, now: int) -> Stretch:
        """What is asked for of what is kept, to the end of this minute; raises `RequestInvalid`."""
        to = min(now + 1, int(query.to.timestamp())) if query.to else now + 1
        start = int(query.from_.timestamp()) if query.from_ else to - HOUR
        if start >= to:
            raise RequestInvalid(reason="`from` must be before `to`, and both before now.")
        oldest = now - KEPT_DAYS * 24 * HOUR
        return cls(max(start, oldest), max(to, oldest + 1), min(query.step, KEPT_DAYS * 24 * HOUR))

    @property
    def times(self) -> tuple[datetime, ...]:
        """When each step begins."""
        points = self.count * self.span // self.step
        return tuple(datetime.fromtimestamp(self.start + point * self.step, UTC) for point in range(points))

    def gathered(self, books: Sequence[Book]) -> Columns:
        """What the books tell, in our steps."""
        return Columns(books, self.step // self.span)


def _chart(stretch: Stretch, columns: Columns) -> StatsShape:
    outcomes = {queue: {name: columns.of("ended", queue, name) for name in OUTCOMES} for queue in QUEUES}
    return StatsShape.model_construct(
        step=stretch.step,
        times=stretch.times,
        queues={queue: {"queued": columns.of("queued", queue), **outcomes[queue]} for queue in QUEUES},
        latency={queue: {name: _percentiles(columns, name, queue) for name in LATENCIES} for queue in QUEUES},
        flows=_nested(columns.by("runs")),
        uploads=_nested(columns.by("uploads")),
        failures={code: column for (code,), column in columns.by("failures").items()},
    )


def _nested(columns: Mapping[tuple[str, ...], list[int]]) -> dict[str, dict[str, list[int]]]:
    """By the first word of their names, then by the second."""
    nested: dict[str, dict[str, list[int]]] = {}
    for (label, outcome), column in columns.items():
        nested.setdefault(label, {})[outcome] = column
    return nested


def _percentiles(columns: Columns, name: str, queue: str) -> dict[str, list[float | None]]:
    return {word: list(column) for word, column in zip(PERCENTILES, columns.percentiles(name, queue), strict=True)}


ENDPOINTS: Sequence[Endpoint] = (
    Endpoint(
        "GET",
        "/v1/queues",
        "See what each queue holds and how fast it goes.",
        act=queues,
        tag="overview",
        query=WindowQuery,
        answers={200: Listing[QueueShape]},
    ),
    Endpoint(
        "GET",
        "/v1/stats",
        "Get series for charts: runs, their times, uploads and failures of the last seven days.",
        act=stats,
        tag="overview",
        query=StatsQuery,
        answers={200: StatsShape},
    ),
    Endpoint(
        "GET",
        "/v1/failures",
        "List what fails alike, the last seen first.",
        act=failures,
        tag="overview",
        query=Paging,
        answers={200: Listing[FailureShape]},
        errors=(CursorInvalid,),
    ),
    Endpoint(
        "GET",
        "/v1/breakers",
        "See which hosts and scanners that flows depend on fail, and which are left alone for a while.",
        act=breakers,
        tag="overview",
        answers={200: Listing[BreakerShape]},
    ),
)
