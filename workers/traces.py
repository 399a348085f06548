"""One span for each run and one for each of its nodes, sent to an OpenTelemetry collector; off without an address.

A run continues the trace of the request that started it. The library, extra `otel`, is imported only when it is used.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Protocol

import structlog

from pipeline.model import ENDED, NodeState, Problem, Run

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.trace import Span, Tracer

SERVICE = "safelight-worker"

log = structlog.stdlib.get_logger(__name__)


class Trace(Protocol):
    """Hears what becomes of a run."""

    def node(self, name: str, state: NodeState) -> None: ...

    def failed(self, problem: Problem) -> None: ...


class Silence:
    """A trace that nobody reads."""

    def node(self, name: str, state: NodeState) -> None: ...

    def failed(self, problem: Problem) -> None: ...


class Traces:
    """The traces of the runs of this process; without a provider, none."""

    def __init__(self, provider: TracerProvider | None = None) -> None:
        self._provider = provider

    @classmethod
    def to(cls, endpoint: str | None) -> Traces:
        """Traces that are sent to the collector at `endpoint` by OTLP over HTTP; None for none."""
        if endpoint is None:
            return cls()
        try:
            return cls(_provider(endpoint))
        except ImportError:
            log.warning("traces_off", reason="otlp_endpoint needs the extra `otel`: pip install 'safelight[otel]'")
            return cls()

    @contextmanager
    def over(self, run: Run) -> Iterator[Trace]:
        """A trace of this attempt of a run while the block lasts."""
        if self._provider is None:
            yield Silence()
            return
        with _RunSpan(self._provider.get_tracer("safelight"), run) as span:
            yield span

    async def close(self) -> None:
        """Send what was not sent yet, for a few seconds at most."""
        if self._provider is not None:
            await asyncio.to_thread(self._provider.shutdown)


def _provider(endpoint: str) -> TracerProvider:
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    provider = TracerProvider(resource=Resource.create({"service.name": SERVICE}), shutdown_on_exit=False)
    exporter = OTLPSpanExporter(endpoint=endpoint.rstrip("/") + "/v1/traces")
    provider.add_span_processor(BatchSpanProcessor(exporter))
    return provider


class _RunSpan:
    """The span of one attempt of a run; those of its nodes are its children."""

    def __init__(self, tracer: Tracer, run: Run) -> None:
        self._tracer = tracer
        self._run = run
        self._began: dict[str, int] = {}
        self._span: Span

    def __enter__(self) -> _RunSpan:
        from opentelemetry.trace import SpanKind
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

        run = self._run
        parent = TraceContextTextMapPropagator().extract({"traceparent": run.trace}) if run.trace else None
        attributes: dict[str, Any] = {
            "safelight.run": run.id,
            "safelight.flow": run.flow,
            "safelight.project": run.project,
            "safelight.queue": run.queue,
            "safelight.attempt": run.attempt,
        }
        self._span = self._tracer.start_span(f"run {run.flow}", parent, SpanKind.CONSUMER, attributes)
        return self

    def __exit__(self, kind: type[BaseException] | None, fault: BaseException | None, trace: object) -> None:
        if kind is not None:
            _fail(self._span, kind.__name__)
        self._span.end()

    def node(self, name: str, state: NodeState) -> None:
        """A span for a node that has ended, unless it never ran."""
        from opentelemetry.trace import set_span_in_context

        now = time.time_ns()
        if state.status == "running":
            self._began[name] = now
        elif state.status in ENDED and (name in self._began or state.ms is not None):
            began = self._began.pop(name, now - int((state.ms or 0) * 1e6))
            attributes = {"safelight.node": name, "safelight.type": state.type, "safelight.status": state.status}
            context = set_span_in_context(self._span)
            span = self._tracer.start_span(f"{state.type} {name}", context, attributes=attributes, start_time=began)
            if state.error is not None:
                _fail(span, state.error.code)
            span.end(now)

    def failed(self, problem: Problem) -> None:
        """The run ended with this problem."""
        _fail(self._span, problem.code)


def _fail(span: Span, code: str) -> None:
    from opentelemetry.trace import Status, StatusCode

    span.set_status(Status(StatusCode.ERROR, code))
