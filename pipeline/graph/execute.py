"""Execute a flow: decide on files, draw the fused pictures in a sandbox child, run the whole-file steps on the results.

Knows no Redis and no storage: it works with the `tools` it is given and tells `emit` how far each node has come.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from pipeline.artifacts import Artifact, Checkpoint, Emit, Halt, Kept, Made, Resume, Tools
from pipeline.calls import up_at
from pipeline.errors import (
    CircuitOpen,
    FlowNotFound,
    ImageTimeout,
    InputMissing,
    NodeInvalid,
    RunPaused,
    SafelightError,
)
from pipeline.graph.belongings import SCHEME, references
from pipeline.graph.confined import draw
from pipeline.graph.course import INSIDE, Course, Watch
from pipeline.graph.facts import artifact_facts, artifact_outline, run_facts
from pipeline.graph.flow import Flow, NodeSpec, backed_off
from pipeline.graph.fused import Assignment, Drawing, blamed
from pipeline.graph.placeholders import fill
from pipeline.graph.plan import Export, Ref, Stage, plan
from pipeline.graph.redrawn import packed, unpacked
from pipeline.graph.saving import Handed, Saving
from pipeline.graph.sketch import flat_facts
from pipeline.imaging.sandbox import Sandbox
from pipeline.model import File, NodeState, Output, now
from pipeline.nodes.base import ChoiceNode, Encoding, FactNode, Facts, FileNode, InputNode, SpreadNode
from pipeline.nodes.subflow import Subflow

FIRST_WAIT = 0.2
LONGEST_WAIT = 30.0
"""Seconds a node waits at most before its first further try, and before any."""
SHORT = 12
"""Digits of a version by which those of one flow are told apart."""

T = TypeVar("T")
Flows = Callable[..., Awaitable[Flow]]
"""Finds the flow with this id, the version that is active unless one is named; raises `FlowNotFound`."""
Inputs = Mapping[str, Sequence[File | Artifact]]


async def execute(
    flow: Flow,
    inputs: Mapping[str, Sequence[File]],
    params: Mapping[str, Any],
    metadata: Mapping[str, str],
    run_id: str,
    tools: Tools,
    emit: Emit,
    sandbox: Sandbox,
    *,
    date: datetime | None = None,
    timeout: float = 300.0,
    node_timeout: float = 120.0,
    flows: Flows | None = None,
    resume: Resume | None = None,
    checkpoint: Checkpoint | None = None,
    halt: Halt | None = None,
) -> Outcome:
    """What comes of one run of `flow`, saved through `tools`; seconds bound the fused part and each node.

    `date` is what `{date:...}` tells, the moment the run was created; `flows` finds those that subflow nodes run.
    A step on whole files whose result `resume` finds is not done again; `checkpoint` hears of every other's, and of
    all that was drawn when `halt` asks to stop, which raises `RunPaused`. The same holds in the flows that it runs.
    Raises the error that ended the run, its `node` set; every node's end was told to `emit` before.
    """
    common = run_facts(flow.id, run_id, date or now(), params, metadata)
    means = _Means(tools, sandbox, timeout, node_timeout, flows, resume, checkpoint, halt)
    return await _Execution(flow, common, means, emit).run(inputs)


def preview(
    flow: Flow,
    inputs: Mapping[str, Sequence[File]],
    params: Mapping[str, Any],
    metadata: Mapping[str, str],
    tools: Tools,
) -> Assignment:
    """What a run on these inputs, whose keys are paths here, would hand to the sandbox first."""
    common = run_facts(flow.id, "preview", now(), params, metadata)
    given: dict[Ref, list[Artifact] | None] = {(name, None): None for name in flow.inputs}
    for name, files in inputs.items():
        given[name, None] = [_arrived(name, Path(file.key), file) for file in files]
    assets = _assets(flow, common, tools)
    return Assignment(plan(flow)[0], flow.nodes, given, {}, common, assets, tools.folder, tools.face_model)


@dataclass
class Outcome:
    """What came of a run: its outputs, what its fact nodes found, and what was learned about its input files."""

    outputs: list[Output] = field(default_factory=list)
    facts: dict[str, Any] = field(default_factory=dict)
    """By node; a list where the node had several artifacts."""
    learned: dict[str, dict[str, Any]] = field(default_factory=dict)
    """By the id of the file, then by the type of the node, or by a name of its choice."""


@dataclass(frozen=True)
class _Means:
    """What a run works with, and flows inside it as well."""

    tools: Tools
    sandbox: Sandbox
    timeout: float
    node_timeout: float
    flows: Flows | None
    resume: Resume | None = None
    checkpoint: Checkpoint | None = None
    halt: Halt | None = None
    within: tuple[str, ...] = ()
    """The flows this one runs inside of, the outermost first."""

    def inside(self, flow: str, tools: Tools, scope: str) -> _Means:
        """The same for what `flow` runs inside of it, whose steps are known by their names behind `scope`."""
        resume, checkpoint = self.resume, self.checkpoint
        return replace(
            self,
            tools=tools,
            within=(*self.within, flow),
            resume=resume and (lambda step: resume(f"{scope}{INSIDE}{step}")),
            checkpoint=checkpoint and (lambda step, kept: checkpoint(f"{scope}{INSIDE}{step}", kept)),
        )


class _Execution:
    def __init__(self, flow: Flow, common: Mapping[str, Any], means: _Means, emit: Emit) -> None:
        self.flow, self.common, self.means, self.emit = flow, dict(common), means, emit
        self.tools, self.sandbox = means.tools, means.sandbox
        self.timeout, self.node_timeout = means.timeout, means.node_timeout
        self.stages = plan(flow)
        self.wires = self.stages[0].wires
        self.course = Course(flow, emit)
        self.artifacts: dict[Ref, list[Artifact] | None] = {}
        self.chosen: dict[str, Ref] = {}
        self.taken: dict[tuple[Ref, str], list[Artifact] | None] = {}
        self.drawings: dict[str, Kept] = {}
        self.anew: set[str] = set()
        self.outcome = Outcome()

    async def run(self, inputs: Inputs) -> Outcome:
        for number, stage in enumerate(self.stages):
            for name in stage.files:
                await self._pause_here()
                await self._do(name, partial(self._work, name, inputs))
            await self._pause_here()
            if any(name not in stage.again for name in stage.fused) or any(map(self._encodes, stage.exports)):
                self._collect(stage, await self._drawn(number, stage))
            else:
                self._pass_on(stage)
        await self._publish_kept()
        return self.outcome

    async def _pause_here(self) -> None:
        """Raise `RunPaused` if that is asked; what was drawn so far is a checkpoint then."""
        if self.means.halt and await self.means.halt():
            self._keep_drawings()
            raise RunPaused

    def _keep_drawings(self) -> None:
        for name, kept in self.drawings.items():
            self._keep(name, kept)

    async def _do(self, name: str, act: Callable[[], Awaitable[None]]) -> None:
        """One node outside the sandbox: timed, retried after a passing fault, forgiven where the flow says so."""
        spec = self.flow.nodes[name]
        limit = spec.timeout or (self.timeout if issubclass(spec.cls, Subflow) else self.node_timeout)
        self.course.running(name)
        started = time.perf_counter()
        try:
            await _retried(lambda: _within(act, limit, name), spec.retries)
        except RunPaused:  # in a flow inside
            self._keep_drawings()
            raise
        except SafelightError as error:
            error.node = error.node or name
            if spec.on_error != "skip":
                self.course.failed(error)
                raise
            self._skip(name, error)
        else:
            self.course.completed(name, (time.perf_counter() - started) * 1000 + self.course.drawn.get(name, 0.0))

    def _skip(self, name: str, error: SafelightError | None = None) -> None:
        self.course.skipped(name, error)
        for port in self.flow.nodes[name].cls.outputs or (None,):
            self.artifacts[name, port] = None

    async def _work(self, name: str, inputs: Inputs) -> None:
        spec = self.flow.nodes[name]
        if issubclass(spec.cls, InputNode):
            await self._enter(name, inputs.get(name, ()))
        elif issubclass(spec.cls, ChoiceNode):
            self._choose(name, spec)
        elif issubclass(spec.cls, FactNode):
            await self._find_out(name, spec)
        else:
            await self._make(name, spec)

    async def _enter(self, name: str, files: Sequence[File | Artifact]) -> None:
        if files:
            self.artifacts[name, None] = [await self._arrive(name, file) for file in files]
        elif self.flow.inputs[name].required:
            raise InputMissing(input=name)
        else:
            self._skip(name)

    async def _arrive(self, name: str, file: File | Artifact) -> Artifact:
        if isinstance(file, Artifact):
            return replace(file, node=name)
        return _arrived(name, await self.tools.load(file), file)

    def _choose(self, name: str, spec: NodeSpec) -> None:
        sources = self._sources(name)
        if all(source is None for source in sources):
            self._skip(name)
            return
        facts = [source and artifact_facts(source[0], artifact_outline(source[0]), self.common) for source in sources]
        model = spec.build(next(one for one in facts if one))
        assert isinstance(model, ChoiceNode)
        index, port = model.choose([one or None for one in facts])
        edge = self.wires[name][index]
        if ((edge.source, edge.source_port), name) not in self.taken:
            self.chosen[name] = (edge.source, edge.source_port)
        for out in spec.cls.outputs or (None,):
            self.artifacts[name, out] = sources[index] if out == port else None

    async def _find_out(self, name: str, spec: NodeSpec) -> None:
        """Have a fact node ask the world about whole files."""
        (source,) = self._sources(name)
        if source is None:
            self._skip(name)
            return
        kept = await self._resumed(name)
        found = list(kept.found) if kept else [await self._observed(spec, artifact) for artifact in source]
        self._keep(name, Kept(None, found))
        for artifact, facts in zip(source, found, strict=True):
            if artifact.origin and not artifact.encoded:
                learned = self._model(spec, artifact).remembered(facts)
                self.outcome.learned.setdefault(artifact.origin.id, {}).update(learned)
        self._note(name, found)
        self.artifacts[name, None] = source

    async def _observed(self, spec: NodeSpec, artifact: Artifact) -> Facts:
        return await self._model(spec, artifact).inquire(self.tools, artifact)

    def _model(self, spec: NodeSpec, artifact: Artifact) -> FactNode:
        model = spec.build(artifact_facts(artifact, artifact_outline(artifact), self.common))
        assert isinstance(model, FactNode)
        return model

    def _note(self, name: str, found: Sequence[Facts]) -> None:
        self.outcome.facts[name] = dict(found[0]) if len(found) == 1 else [dict(facts) for facts in found]
        if found:
            self.common |= flat_facts(name, found[0])

    def _sources(self, name: str) -> list[list[Artifact] | None]:
        found = []
        for edge in self.wires[name]:
            ref = (edge.source, edge.source_port)
            found.append(self.taken[ref, name] if (ref, name) in self.taken else self.artifacts.get(ref))
        return found

    def _encodes(self, export: Export) -> bool:
        # Without a picture step only a save that asks for an encoding has anything to draw.
        wishes = issubclass(self.flow.nodes[export.consumer].cls, Encoding)
        return wishes and any(artifact.image for artifact in self.artifacts.get(export.source) or [])

    def _pass_on(self, stage: Stage) -> None:
        for export in stage.exports:
            self.taken[export.source, export.consumer] = self.artifacts.get(export.source)

    async def _drawn(self, number: int, stage: Stage) -> Drawing:
        """What a stage draws; where the flow keeps a picture of it, it is a checkpoint as a whole."""
        name = str(number)  # which can be no node's id
        kept = await self._resumed(name)
        if kept is None:
            drawing = await self._draw(stage)
            kept = packed(drawing)
        else:
            drawing = unpacked(kept)
            self.course.reused |= set(stage.fused)
        if not drawing.skipped:
            self.drawings[name] = kept
            if any(self.flow.nodes[node].keep for node in stage.fused):
                self._keep(name, kept)
        return drawing

    async def _draw(self, stage: Stage) -> Drawing:
        drawn_for = {*stage.fused, *(export.consumer for export in stage.exports)}
        tries = max((self.flow.nodes[name].retries for name in drawn_for), default=0)
        watch = Watch({name: spec.timeout or self.node_timeout for name, spec in self.flow.nodes.items()}, self.course)
        try:
            assignment = self._assignment(stage)
            return await _retried(lambda: watch.over(self._call(assignment, watch)), tries)
        except SafelightError as error:
            error.node = error.node or self.course.current
            self.course.failed(error)
            raise

    def _assignment(self, stage: Stage) -> Assignment:
        given, folder = dict(self.artifacts), self.tools.folder
        return Assignment(
            stage,
            self.flow.nodes,
            given,
            self.chosen,
            self.common,
            _assets(self.flow, self.common, self.tools),
            folder,
            self.tools.face_model,
        )

    async def _call(self, assignment: Assignment, watch: Watch) -> Drawing:
        drawing = await self.sandbox.call(draw, assignment, timeout=self.timeout, on_progress=watch.heard)
        assert isinstance(drawing, Drawing)
        return drawing

    def _collect(self, stage: Stage, drawing: Drawing) -> None:
        for export, artifacts in drawing.exports.items():
            self.taken[export.source, export.consumer] = artifacts
            if issubclass(self.flow.nodes[export.source[0]].cls, SpreadNode):
                self.artifacts[export.source] = artifacts
        for name, error in drawing.skipped.items():
            if name in stage.fused:
                self.course.skipped(name, error)
            else:
                self.taken |= {(e.source, name): None for e in stage.exports if e.consumer == name}
                self.course.forgiven[name] = error
        for name, ms in drawing.ms.items():
            if name in stage.fused:
                self.course.completed(name, ms)
        self.course.drawn |= drawing.ms
        for name, found in drawing.facts.items():
            self._note(name, found)
        for file, facts in drawing.learned.items():
            self.outcome.learned.setdefault(file, {}).update(facts)

    async def _make(self, name: str, spec: NodeSpec) -> None:
        arrived = [artifact for source in self._sources(name) if source for artifact in source]
        if not arrived:
            self._skip(name, self.course.forgiven.get(name))
            return
        kept = None if spec.cls.gives == "nothing" else await self._resumed(name)
        if kept is None:
            made = await self._made(name, spec, arrived)
            kept = Kept(None if made == arrived else made, self._noted(name))
        elif kept.found:
            self._note(name, kept.found)
        if spec.cls.gives != "nothing" and not issubclass(spec.cls, Subflow):  # which is known by its rounds
            self._keep(name, kept)
        self.artifacts[name, None] = list(arrived if kept.artifacts is None else kept.artifacts)

    async def _made(self, name: str, spec: NodeSpec, arrived: Sequence[Artifact]) -> list[Artifact]:
        if issubclass(spec.cls, Subflow):
            return await self._descend(name, spec, arrived)
        if getattr(spec.cls, "each", False):
            return [one for artifact in arrived for one in await self._run(name, spec, [artifact])]
        return list(await self._run(name, spec, arrived))

    async def _resumed(self, name: str) -> Kept | None:
        """What the node came to in an earlier try of this run."""
        kept = await self._known(name)
        if kept is not None:
            self.course.reused.add(name)
        return kept

    async def _known(self, step: str) -> Kept | None:
        return await self.means.resume(step) if self.means.resume else None

    def _keep(self, name: str, kept: Kept) -> None:
        if self.means.checkpoint:
            self.means.checkpoint(name, kept)

    def _noted(self, name: str) -> Sequence[Facts]:
        found = self.outcome.facts.get(name, [])
        return found if isinstance(found, list) else [found]

    async def _run(self, name: str, spec: NodeSpec, artifacts: Sequence[Artifact]) -> Sequence[Artifact]:
        first = artifacts[0]
        model = spec.build(artifact_facts(first, artifact_outline(first), self.common))
        assert isinstance(model, FileNode)
        return await model.run(Saving(self.tools, self.outcome.outputs), name, artifacts)

    async def _descend(self, name: str, spec: NodeSpec, arrived: Sequence[Artifact]) -> list[Artifact]:
        """Run another flow on what arrived; what it saves goes on instead of being published."""
        model = spec.build(artifact_facts(arrived[0], artifact_outline(arrived[0]), self.common))
        assert isinstance(model, Subflow)
        flow = await self._inner(name, model.flow)
        params = flow.check_params(model.params)
        given = enumerate(model.rounds(arrived, {id: one.many for id, one in flow.inputs.items()}))
        with self._pinned(name, flow):
            rounds = [await self._round(name, flow, params, number, files) for number, files in given]
        if rounds and name not in self.anew:
            self.course.reused.add(name)
        found = [one.found[0] for one in rounds]
        if any(found):
            self._note(name, found)
        for file, facts in (learned for one in rounds for learned in one.found[1].items()):
            self.outcome.learned.setdefault(file, {}).update(facts)
        return [artifact for one in rounds for artifact in one.artifacts or ()]

    @contextlib.contextmanager
    def _pinned(self, name: str, flow: Flow) -> Iterator[None]:
        """Whoever goes on with what was done or paused here, or behind it, does so with this version of the flow."""
        pin = Kept(None, ({"version": flow.version},))
        try:
            yield
        except RunPaused:
            self._keep(_pin(name), pin)
            raise
        self._keep(_pin(name), pin)

    async def _round(
        self,
        name: str,
        flow: Flow,
        params: Mapping[str, Any],
        number: int,
        given: Mapping[str, Sequence[Artifact]],
    ) -> Kept:
        """Run the flow once, unless that is done: what it saved, what its fact nodes found, and what was learned."""
        scope = INSIDE.join((name, flow.version[:SHORT], str(number)))
        kept = await self._known(scope)
        if kept is None:
            self.anew.add(name)
            handed = Handed(self.tools, self.tools.folder / f"{name}-{number}", name)
            outcome = await self._inside(name, flow, params, given, self.means.inside(self.flow.id, handed, scope))
            kept = Kept(handed.artifacts, (outcome.facts, outcome.learned))
        self._keep(scope, kept)
        return kept

    async def _inside(
        self, name: str, flow: Flow, params: Mapping[str, Any], given: Mapping[str, Sequence[Artifact]], means: _Means
    ) -> Outcome:
        for artifact in (one for files in given.values() for one in files):
            flow.accept.check(artifact)
        inner = _Execution(flow, _inner_facts(self.common, flow.id, params), means, partial(self._tell_inside, name))
        try:
            return await inner.run(given)
        except SafelightError as error:
            error.node = f"{name}{INSIDE}{error.node}" if error.node else name
            raise

    async def _inner(self, name: str, id: str) -> Flow:
        """The flow that a node runs: as the run had begun it before, else as it is active."""
        within = (*self.means.within, self.flow.id)
        if id in within:
            raise NodeInvalid(reason=f"flow: `{id}` would run itself ({' -> '.join((*within, id))})")
        if self.means.flows is None:
            raise FlowNotFound(id=id)
        pin = await self._known(_pin(name))
        return await (self.means.flows(id, pin.found[0]["version"]) if pin else self.means.flows(id))

    def _tell_inside(self, name: str, inner: str, state: NodeState) -> None:
        self.emit(f"{name}{INSIDE}{inner}", state)

    async def _publish_kept(self) -> None:
        for name in self.flow.order:
            spec = self.flow.nodes[name]
            if not spec.keep or spec.cls.gives == "nothing":
                continue
            kept = self.taken.get(((name, None), name)) or self.artifacts.get((name, None)) or []
            for index, artifact in enumerate(kept):
                made = Made(name, index, replace(artifact, node=name), artifact.name)
                self.outcome.outputs.append(await self.tools.save(made))


def _pin(name: str) -> str:
    """The step under which it is known which version of a flow a node runs."""
    return f"{name}{INSIDE}"


def _inner_facts(common: Mapping[str, Any], flow_id: str, params: Mapping[str, Any]) -> dict[str, Any]:
    """What is the same for every artifact of a flow inside another."""
    outer = {key: value for key, value in common.items() if not key.startswith(("params.", "facts."))}
    return outer | {"flow.id": flow_id} | {f"params.{name}": value for name, value in params.items()}


def _arrived(name: str, path: Path, file: File) -> Artifact:
    return Artifact(name, path, file.name, file.mime, file.size, file.sha256, file.image, file)


def _assets(flow: Flow, common: Mapping[str, Any], tools: Tools) -> dict[str, Path]:
    """Where the files lie that the picture steps name as `asset:`."""
    found = {}
    for name, spec in flow.nodes.items():
        for _, written in references(spec.parameters):
            reference = str(fill(written, common)).removeprefix(SCHEME)
            with blamed(name):
                found[reference] = tools.asset(reference)
    return found


async def _within(act: Callable[[], Awaitable[None]], seconds: float, name: str) -> None:
    try:
        async with asyncio.timeout(seconds) as clock:
            outer = up_at.set(min(up_at.get(), clock.when() or math.inf))
            try:
                await act()
            finally:
                up_at.reset(outer)
    except TimeoutError as cause:
        raise ImageTimeout(node=name, seconds=seconds) from cause


async def _retried(act: Callable[[], Awaitable[T]], retries: int) -> T:
    """What `act` gives, tried again after a retryable error, waiting up to 0.2, 0.4, 0.8, ... seconds in between.

    Who is not called at all because of an open breaker is not tried again here: that takes longer.
    """
    for attempt in range(retries):
        try:
            return await act()
        except SafelightError as error:
            if not error.retryable or isinstance(error, CircuitOpen):
                raise
            await asyncio.sleep(backed_off(attempt + 1, FIRST_WAIT, LONGEST_WAIT))
    return await act()
