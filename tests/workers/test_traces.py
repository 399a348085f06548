"""Traces: one span for a run and one for each node that ran, in the trace of the request; nothing when they are off."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from pipeline.core import Core, open_core
from pipeline.model import File, Grant, Run
from pipeline.settings import Settings, load_settings
from workers.jobs import Jobs
from workers.traces import Traces

TRACE, CALLER = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
FAILS = """
nodes:
  photo: {type: input}
  region: {type: crop, region: {left: 5000, top: 5000, width: 10, height: 10}}
  out: {type: save, path: x.png}
"""


@pytest.fixture
def exporter() -> InMemorySpanExporter:
    return InMemorySpanExporter()


@pytest.fixture
def traces(exporter: InMemorySpanExporter) -> Iterator[Traces]:
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    yield Traces(provider)
    provider.shutdown()


async def ran(core: Core, settings: Settings, grant: Grant, photo: File, traces: Traces, flow: str, trace: str) -> Run:
    async with open_core(settings, sandbox_children=1) as working:
        run = await core.runs.start(grant, flow, {"photo": [photo.id]}, trace=trace or None)
        assert working.sandbox is not None
        await Jobs(working, working.sandbox, traces=traces).run_flow({"job_try": 3}, run.id, 1)
    return await core.runs.get(grant, run.id)


def apart(spans: tuple[ReadableSpan, ...], run: Run) -> tuple[ReadableSpan, dict[str, ReadableSpan]]:
    """The span of the run, and those of its nodes by their names."""
    (whole,) = [span for span in spans if span.name == f"run {run.flow}"]
    nodes = {str((span.attributes or {})["safelight.node"]): span for span in spans if span is not whole}
    assert len(nodes) == len(spans) - 1
    return whole, nodes


async def test_a_run_and_each_node_is_a_span_of_the_callers_trace(
    core: Core, settings: Settings, grant: Grant, photo: File, traces: Traces, exporter: InMemorySpanExporter
) -> None:
    run = await ran(core, settings, grant, photo, traces, "small", f"00-{TRACE}-{CALLER}-01")
    assert run.status == "completed" and run.trace == f"00-{TRACE}-{CALLER}-01"
    whole, nodes = apart(exporter.get_finished_spans(), run)
    assert nodes.keys() == run.nodes.keys()
    assert whole.parent is not None and format(whole.parent.span_id, "016x") == CALLER
    assert whole.attributes is not None and whole.attributes["safelight.run"] == run.id
    assert whole.context is not None and whole.start_time is not None and whole.end_time is not None
    for name, span in nodes.items():
        assert span.context is not None and span.parent is not None
        assert format(span.context.trace_id, "032x") == TRACE
        assert span.parent.span_id == whole.context.span_id
        assert span.attributes is not None and span.attributes["safelight.type"] == run.nodes[name].type
        assert span.start_time is not None and span.end_time is not None
        assert span.start_time <= span.end_time <= whole.end_time
        assert span.status.is_ok


async def test_what_failed_is_told(
    core: Core, settings: Settings, grant: Grant, photo: File, traces: Traces, exporter: InMemorySpanExporter
) -> None:
    await core.flows.put("fails", FAILS)
    run = await ran(core, settings, grant, photo, traces, "fails", "")
    assert run.status == "failed" and run.error is not None and run.error.node == "region"
    whole, nodes = apart(exporter.get_finished_spans(), run)
    assert whole.parent is None
    assert whole.status.description == nodes["region"].status.description == run.error.code
    assert not whole.status.is_ok and "out" not in nodes


def test_nothing_of_the_library_is_imported_while_traces_are_off() -> None:
    program = "import sys, workers.main; from workers.traces import Traces; Traces.to(None)\n"
    program += "assert not [name for name in sys.modules if name.startswith('opentelemetry')]"
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)


def test_the_collector_is_named_by_our_setting_or_by_everybodys(tmp_path: Path) -> None:
    config = tmp_path / "safelight.yaml"
    config.write_text("port: 8080\n")
    common = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:4318"}
    assert load_settings(config, {}).otlp_endpoint is None
    assert load_settings(config, common).otlp_endpoint == "http://127.0.0.1:4318"
    own = common | {"SAFELIGHT_OTLP_ENDPOINT": "http://127.0.0.1:4319"}
    assert load_settings(config, own).otlp_endpoint == "http://127.0.0.1:4319"
