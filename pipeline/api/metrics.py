"""What is measured, under names that stay: of all processes together from the records, of this one from its memory."""

from __future__ import annotations

import asyncio
from collections import Counter as Tallied
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from importlib.metadata import version
from typing import Any

from aiohttp import web
from prometheus_client import (
    CollectorRegistry,
    Counter,
    GCCollector,
    Histogram,
    Metric,
    PlatformCollector,
    ProcessCollector,
    generate_latest,
)
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.registry import Collector

from pipeline.errors import RecordsUnavailable
from pipeline.model import Event, WorkerBeat, now
from pipeline.records import Records
from pipeline.records.breakers import CALLERS, Breaker
from pipeline.records.breakers import STATES as BREAKER_STATES
from pipeline.records.series import Depth
from pipeline.records.tallies import Tally

SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
TELL_EVERY = 1.0
"""Seconds after which the counts of this process are among those of all."""
COUNTERS = (
    ("safelight_runs", "runs", "Runs that ended, by flow and how.", ("flow", "outcome")),
    ("safelight_runs_queued", "queued", "Runs that were queued.", ("queue",)),
    ("safelight_runs_ended", "ended", "Runs that ended, by queue and how.", ("queue", "outcome")),
    ("safelight_runs_taken_over", "taken_over", "Runs begun again because their worker was lost.", ("queue",)),
    ("safelight_run_failures", "failures", "Runs that failed, by the error's code.", ("code",)),
    ("safelight_uploads", "uploads", "Files sent, by how that ended.", ("dialect", "outcome")),
    ("safelight_webhook_deliveries", "webhooks", "Tries to reach webhooks, by how that ended.", ("outcome",)),
    ("safelight_sandbox_faults", "sandbox", "Tries of runs that ended their sandbox child, by the error.", ("code",)),
    ("safelight_breaker_openings", "breakers", "Hosts and scanners that began to be left alone.", ("type",)),
    ("safelight_triggers", "triggers", "Runs asked for, by how the asking ended.", ("outcome",)),
)
"""Name, the word the records count under, what it says, labels."""
HISTOGRAMS = (
    ("safelight_queue_wait_seconds", "wait", "From queued to begun.", "queue"),
    ("safelight_run_seconds", "run", "From begun to ended.", "queue"),
    ("safelight_store_seconds", "store", "Putting the outputs of a run into storage.", "queue"),
    ("safelight_node_seconds", "node", "Wall time of a node.", "type"),
)
METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
STATES = ("queued", "delayed", "running", "waiting")


@dataclass(frozen=True)
class Everywhere:
    """What the records tell of all processes together."""

    totals: Tally
    depths: Sequence[Depth]
    present: Mapping[str, bool]
    workers: Sequence[WorkerBeat]
    letters: int
    lost: int
    outgoing: int
    breakers: Sequence[Breaker] = ()


async def everywhere(records: Records) -> Everywhere:
    """What the records tell now; raises `RecordsUnavailable`."""
    series = records.series
    return Everywhere(
        *await asyncio.gather(
            series.totals(),
            series.depths(),
            series.present(),
            records.workers.list(),
            records.letters.count(),
            records.queues.lost(),
        ),
        outgoing=await records.outgoing.count(),
        breakers=await records.breakers.list(),
    )


class Counted:
    """Counts of one kind that are kept until they are told."""

    def __init__(self, word: str) -> None:
        self._word = word
        self._waiting: Tallied[tuple[str, ...]] = Tallied()

    def labels(self, *labels: str) -> One:
        """The count with these labels."""
        return One(self, (self._word, *labels))

    def add(self, name: tuple[str, ...], number: int) -> None:
        self._waiting[name] += number

    def taken(self) -> Mapping[tuple[str, ...], int]:
        """What was counted since the last time."""
        waiting, self._waiting = self._waiting, Tallied()
        return waiting


@dataclass(frozen=True)
class One:
    """One count."""

    counted: Counted
    name: tuple[str, ...]

    def inc(self, number: int = 1) -> None:
        self.counted.add(self.name, number)


class Triggers(Counted):
    """Runs asked for; the flow stays out of the name, for there may be any number of them."""

    def labels(self, *labels: str) -> One:
        return super().labels(labels[-1])


class Metrics:
    """The measurements one web process takes and tells."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        for collector in (ProcessCollector, PlatformCollector, GCCollector):
            collector(registry=self.registry)
        self.uploads = Counted("uploads")
        """By dialect and outcome."""
        self.runs = Triggers("triggers")
        """By flow and outcome of the asking."""
        self.requests = Counter(
            "safelight_http_requests",
            "Requests answered by this process.",
            ("method", "path", "status"),
            registry=self.registry,
        )
        self.request_seconds = Histogram(
            "safelight_http_request_seconds",
            "Time to the end of an answer of this process, in seconds.",
            ("method", "path"),
            buckets=SECONDS,
            registry=self.registry,
        )

        self._answered: dict[tuple[str, str, int], tuple[Counter, Histogram]] = {}
        self.stream_seconds = Histogram(
            "safelight_http_stream_seconds",
            "From an event to its place in a stream that this process sends, in seconds.",
            buckets=SECONDS,
            registry=self.registry,
        )

    def counting(self, method: str, path: str) -> Callable[[int, float], None]:
        """Counts the answers, and the seconds they took, that are given without a handler."""
        seconds = self.request_seconds.labels(method, path)
        requests = {status: self.requests.labels(method, path, status) for status in (200, 304)}

        def count(status: int, took: float) -> None:
            requests[status].inc()
            seconds.observe(took)

        return count

    def answered(self, method: str, path: str, status: int, seconds: float) -> None:
        """Measure an answer."""
        names = (method, path, status)
        if (found := self._answered.get(names)) is None:  # what finds it by its names costs more than to count
            found = self.requests.labels(*names), self.request_seconds.labels(method, path)
            self._answered[names] = found
        count, times = found
        count.inc()
        times.observe(seconds)

    def streamed(self, event: Event, since: datetime) -> None:
        """Measure how far behind a stream is that began at `since`; what had happened before does not count."""
        if event.at >= since:
            self.stream_seconds.observe(max(0.0, (now() - event.at).total_seconds()))

    async def tell(self, records: Records) -> None:
        """Add what was counted here to the counts of all; raises `RecordsUnavailable`, and tells it later then."""
        for counted in (self.uploads, self.runs):
            waiting = counted.taken()
            try:
                await records.series.count(waiting)
            except BaseException:
                for name, number in waiting.items():
                    counted.add(name, number)
                raise

    async def keep_telling(self, records: Records) -> None:
        """Tell what was counted every second."""
        while True:
            await asyncio.sleep(TELL_EVERY)
            with suppress(RecordsUnavailable):
                await self.tell(records)

    def text(self, found: Everywhere | None) -> bytes:
        """All of it in the Prometheus text format; None when the records are away."""
        cluster = CollectorRegistry()
        cluster.register(Told(found))
        return generate_latest(self.registry) + generate_latest(cluster)


def labels_of(request: web.Request) -> tuple[str, str]:
    """Method and path as metrics know them: never as many as strangers can think of."""
    resource = request.match_info.route.resource
    method = request.method if request.method in METHODS else "other"
    return method, resource.canonical if resource is not None else "unknown"


class Told(Collector):
    """What the records tell, as one scrape gives it away."""

    def __init__(self, found: Everywhere | None) -> None:
        self._found = found

    def collect(self) -> Iterator[Metric]:
        yield _gauge("safelight_records_up", "Whether the records answer.", (), {(): float(self._found is not None)})
        yield _gauge("safelight_build_info", "The version of this process.", ("version",), {(version("safelight"),): 1})
        if self._found is not None:
            yield from _counters(self._found.totals)
            yield from _histograms(self._found.totals)
            yield from _queues(self._found.depths)
            yield from _workers(self._found)
            lost = CounterMetricFamily("safelight_jobs_lost", "Jobs taken from workers that were lost.")
            lost.add_metric((), self._found.lost)
            yield lost
            outgoing = {(): float(self._found.outgoing)}
            yield _gauge("safelight_webhook_events_waiting", "Events no worker has dispatched yet.", (), outgoing)
            letters = {(): float(self._found.letters)}
            yield _gauge("safelight_dead_letters", "Runs given up that wait for a decision.", (), letters)
            yield _breakers(self._found.breakers)


def _counters(totals: Tally) -> Iterator[Metric]:
    for name, word, says, labels in COUNTERS:
        counter = CounterMetricFamily(name, says, labels=labels)
        for words, number in sorted(totals.by(word).items()):
            counter.add_metric(words, number)
        yield counter


def _histograms(totals: Tally) -> Iterator[Metric]:
    for name, word, says, label in HISTOGRAMS:
        histogram = HistogramMetricFamily(name, says, labels=(label,))
        for value in totals.labels(word):
            durations = totals.durations(word, value)
            buckets = [(_bound(bound), count) for bound, count in durations.powers()]
            histogram.add_metric((value,), buckets, durations.total / 1000)
        yield histogram


def _bound(seconds: float) -> str:
    return "+Inf" if seconds == float("inf") else repr(seconds)


def _queues(depths: Sequence[Depth]) -> Iterator[Metric]:
    jobs = {(depth.queue, state): float(depth.states[state]) for depth in depths for state in STATES}
    yield _gauge("safelight_queue_jobs", "Runs that have not ended.", ("queue", "state"), jobs)
    ages = {(depth.queue,): depth.oldest for depth in depths}
    paused = {(depth.queue,): float(depth.paused) for depth in depths}
    yield _gauge("safelight_queue_paused", "1 while nobody takes from it.", ("queue",), paused)
    yield _gauge("safelight_queue_oldest_age_seconds", "Since when the oldest queued run waits.", ("queue",), ages)


def _workers(found: Everywhere) -> Iterator[Metric]:
    up = {(id,): float(alive) for id, alive in found.present.items()}
    yield _gauge("safelight_worker_up", "1 while it beats, 0 for a while after it was lost.", ("worker",), up)
    slots = {(beat.id,): float(beat.slots) for beat in found.workers}
    yield _gauge("safelight_worker_slots", "Runs a worker executes at once.", ("worker",), slots)
    running = {(beat.id,): float(len(beat.running)) for beat in found.workers}
    yield _gauge("safelight_worker_runs", "Runs a worker executes now.", ("worker",), running)


def _breakers(breakers: Sequence[Breaker]) -> Metric:
    counts = {(type, state): 0.0 for type in CALLERS for state in BREAKER_STATES}
    for breaker in breakers:
        counts[breaker.type, breaker.state] += 1
    return _gauge("safelight_breakers", "Hosts and scanners that failed of late.", ("type", "state"), counts)


def _gauge(name: str, says: str, labels: Sequence[str], values: Mapping[Any, float]) -> Metric:
    gauge = GaugeMetricFamily(name, says, labels=labels)
    for words, value in values.items():
        gauge.add_metric(words, value)
    return gauge
