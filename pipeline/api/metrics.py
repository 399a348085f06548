"""What this web process counts, under names that stay."""

from __future__ import annotations

from prometheus_client import (
    CollectorRegistry,
    Counter,
    GCCollector,
    Histogram,
    PlatformCollector,
    ProcessCollector,
    generate_latest,
)
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)


class Metrics:
    """The counters of one web process, in a registry of its own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        for collector in (ProcessCollector, PlatformCollector, GCCollector):
            collector(registry=self.registry)
        self.uploads = Counter(
            "safelight_uploads", "Files sent, by how that ended.", ("dialect", "outcome"), registry=self.registry
        )
        self.runs = Counter(
            "safelight_runs", "Runs asked for, by how the asking ended.", ("flow", "outcome"), registry=self.registry
        )
        self.requests = Counter(
            "safelight_http_requests", "Requests answered.", ("method", "path", "status"), registry=self.registry
        )
        self.request_seconds = Histogram(
            "safelight_http_request_seconds",
            "Time to the end of an answer, in seconds.",
            ("method", "path"),
            buckets=SECONDS,
            registry=self.registry,
        )
        self._queues = _QueueGauge()
        self.registry.register(self._queues)

    def text(self, jobs: dict[tuple[str, str], int]) -> bytes:
        """All of it in the Prometheus text format, with the queues' (name, state) counts as they are now."""
        self._queues.jobs = jobs
        return generate_latest(self.registry)


class _QueueGauge(Collector):
    """Counts that live in the records, handed in at every scrape."""

    def __init__(self) -> None:
        self.jobs: dict[tuple[str, str], int] = {}

    def collect(self) -> list[GaugeMetricFamily]:
        family = GaugeMetricFamily("safelight_queue_jobs", "Runs by queue and state.", labels=("queue", "state"))
        for labels, count in self.jobs.items():
            family.add_metric(labels, count)
        return [family]
