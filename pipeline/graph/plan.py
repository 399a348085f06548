"""Split a flow into what is decided on files, what is fused into one sandbox call, and what works on the results."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from pipeline.graph.flow import Flow
from pipeline.graph.wiring import Edge
from pipeline.nodes.base import FactNode, ImageNode, InputNode, Node, SpreadNode

Phase = Literal["before", "fused", "after"]
Ref = tuple[str, str | None]
"""A node and the output port artifacts leave it by, None for the unnamed one."""


@dataclass(frozen=True)
class Export:
    """A place where pictures leave the sandbox as files: the source, and the node whose wishes decide the encoding."""

    source: Ref
    consumer: str


@dataclass(frozen=True)
class Plan:
    """The nodes of a flow by phase, each in topological order, and how they are wired."""

    before: tuple[str, ...]
    fused: tuple[str, ...]
    after: tuple[str, ...]
    exports: tuple[Export, ...]
    wires: Mapping[str, tuple[Edge, ...]]


def plan(flow: Flow) -> Plan:
    """How `flow` is to be executed.

    Inputs and choices between files come first, every picture step is fused into a single sandbox call, whole-file
    steps follow. Whatever a whole-file step takes passes the sandbox, as only there it can be encoded anew.
    """
    wires: dict[str, tuple[Edge, ...]] = {
        name: tuple(edge for edge in flow.edges if edge.target == name) for name in flow.order
    }
    phases: dict[str, Phase] = {}
    for name in flow.order:
        sources = [_phase_of_output(flow, edge, phases) for edge in wires[name]]
        phases[name] = _phase(flow.nodes[name].cls, sources)
    exports = [
        Export((edge.source, edge.source_port), name)
        for name in flow.order
        if phases[name] == "after"
        for edge in wires[name]
        if phases[edge.source] != "after"
    ]
    kept = [Export((name, None), name) for name in flow.order if phases[name] == "fused" and _kept(flow, name)]
    by_phase = {
        phase: tuple(name for name in flow.order if phases[name] == phase) for phase in ("before", "fused", "after")
    }
    return Plan(by_phase["before"], by_phase["fused"], by_phase["after"], (*exports, *kept), wires)


def _phase(cls: type[Node], sources: list[Phase]) -> Phase:
    if issubclass(cls, InputNode):
        return "before"
    if issubclass(cls, ImageNode | SpreadNode):
        return "fused"
    if issubclass(cls, FactNode):
        return _fact_phase(cls, sources)
    if cls.gives != "same" or "after" in sources:
        return "after"
    return "fused" if "fused" in sources else "before"


def _fact_phase(cls: type[FactNode], sources: list[Phase]) -> Phase:
    if "after" in sources:
        return "after"
    if cls.side == "worker":
        return "after" if "fused" in sources else "before"
    return "fused"


def _phase_of_output(flow: Flow, edge: Edge, phases: Mapping[str, Phase]) -> Phase:
    # What a spread node wrote are whole files already.
    return "after" if issubclass(flow.nodes[edge.source].cls, SpreadNode) else phases[edge.source]


def _kept(flow: Flow, name: str) -> bool:
    return flow.nodes[name].keep and issubclass(flow.nodes[name].cls, ImageNode | SpreadNode)
