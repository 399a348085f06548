"""Runs without a server: the same executor in this process, files read where they lie, outputs written to a folder."""

from __future__ import annotations

import asyncio
import hashlib
import math
import shutil
import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar
from uuid import UUID, uuid5

from pipeline import sniff
from pipeline.artifacts import About, Made
from pipeline.calls import Call, Reply
from pipeline.cli.console import Refusal
from pipeline.cli.flows import flow_file, ready
from pipeline.cli.orders import Entry, Order, orders
from pipeline.cli.outputs import Outputs
from pipeline.cli.progress import Watch, watch
from pipeline.cli.request import Request
from pipeline.cli.starter import STARTER_FLOWS
from pipeline.errors import FileEmpty, FlowNotFound, PathInvalid, RunTimeout, SafelightError
from pipeline.graph.belongings import Belongings
from pipeline.graph.execute import Outcome, execute, preview
from pipeline.graph.explain import Explanation, explain
from pipeline.graph.flow import Flow
from pipeline.graph.placeholders import reveal
from pipeline.imaging.header import facts_of
from pipeline.imaging.sandbox import Sandbox
from pipeline.model import File, ImageFacts, NodeState, Output, Problem, Project, new_id
from pipeline.outbound import Outbound
from pipeline.settings import Settings
from pipeline.storage.base import checked_key

HEADER_SECONDS = 30.0
HASH_BLOCK = 2**20

T = TypeVar("T")


async def run_locally(settings: Settings, request: Request, out: Path, as_json: bool) -> list[dict[str, Any]]:
    """Every run as it ended, in the server's shape, with `saved` in each output; raises `Refusal`."""
    file = flow_file(request.flow)
    flow = ready(file)
    params = flow.check_params(request.params)
    wanted = orders(request.words, [Entry(name, node.many, node.required) for name, node in flow.inputs.items()])
    sandbox = Sandbox(min(settings.sandbox_children, request.parallel, len(wanted)), settings.sandbox_memory)
    outbound = Outbound()
    try:
        with watch(as_json) as display:
            bench = Bench(
                settings, flow, params, request.metadata, file.parent, sandbox, display, Outputs(out), outbound
            )
            slots = asyncio.Semaphore(request.parallel)
            return list(await asyncio.gather(*(bench.work(order, slots) for order in wanted)))
    finally:
        await outbound.close()
        await sandbox.close()


async def explained(settings: Settings, request: Request) -> Explanation:
    """What the first run that `request` asks for would do, step by step; raises `Refusal` or a `SafelightError`."""
    path = flow_file(request.flow)
    flow = ready(path)
    params = flow.check_params(request.params)
    order = orders(request.words, [Entry(name, node.many, node.required) for name, node in flow.inputs.items()])[0]
    sandbox, outbound = Sandbox(1, settings.sandbox_memory), Outbound()
    with tempfile.TemporaryDirectory(prefix="safelight-explain-") as folder, watch(True) as display:
        outputs = Outputs(Path(folder))
        bench = Bench(settings, flow, params, request.metadata, path.parent, sandbox, display, outputs, outbound)
        try:
            files = {name: [await bench.file(file) for file in found] for name, found in order.files.items()}
            run = LocalRun(bench, order, Path(folder))
            work = preview(flow, files, params, request.metadata, run)
            return await sandbox.call(explain, work, timeout=settings.node_timeout)
        finally:
            await outbound.close()
            await sandbox.close()


@dataclass(frozen=True)
class Bench:
    """Where orders are worked off in this process."""

    settings: Settings
    flow: Flow
    params: Mapping[str, Any]
    metadata: Mapping[str, str]
    folder: Path
    """Where the flow's file lies."""
    sandbox: Sandbox
    display: Watch
    outputs: Outputs
    outbound: Outbound

    @property
    def project(self) -> Project:
        """The one that is configured; with none or several, one that has no secrets and reaches nothing private.

        A flow file from anywhere, tried out here, must not speak to what listens on this machine.
        """
        projects = list(self.settings.projects.values())
        return projects[0] if len(projects) == 1 else Project(id="local")

    async def work(self, order: Order, slots: asyncio.Semaphore) -> dict[str, Any]:
        """The run of one order as it ended."""
        async with slots:
            with tempfile.TemporaryDirectory(prefix="safelight-run-") as folder:
                run = LocalRun(self, order, Path(folder))
                result = await run.result()
            self.display.ended(order, result)
            return result

    async def file(self, path: Path) -> File:
        """A file on disk as the executor knows files; raises what the server would refuse it with."""
        size = path.stat().st_size
        if not size:
            raise FileEmpty(name=path.name)
        with path.open("rb") as opened:
            mime = sniff.media_type(opened.read(sniff.HEAD_SIZE), path.name)
        file = File(
            id=new_id(),
            project="local",
            storage="local",
            key=str(path.resolve()),
            name=path.name,
            mime=mime,
            size=size,
            sha256=await asyncio.to_thread(_sha256, path),
            metadata=self.metadata,
        )
        self.flow.accept.check(file)
        measured = file.model_copy(update={"image": await self.measured(file.key, file.mime)})
        self.flow.accept.check(measured)
        return measured

    async def beside(self, flow: str) -> Flow:
        """The flow of another file in the same folder, or of a starter; raises `FlowNotFound`."""
        for folder in (self.folder, *STARTER_FLOWS):
            if (folder / f"{flow}.yaml").is_file():
                return ready(folder / f"{flow}.yaml")
        raise FlowNotFound(id=flow)

    async def measured(self, path: str, mime: str) -> ImageFacts | None:
        """What a file is as a picture, None when it is none."""
        settings = self.settings
        caps = (settings.max_pixels, settings.max_frames)
        return await facts_of(self.sandbox, path, mime, settings.allowed_formats, *caps, HEADER_SECONDS)


@dataclass
class LocalRun:
    """One run, and the world as it may touch it; nothing is written to the folder of outputs before it succeeds."""

    bench: Bench
    order: Order
    folder: Path
    id: str = field(default_factory=new_id)
    states: dict[str, NodeState] = field(default_factory=dict)
    made: dict[str, Made] = field(default_factory=dict)

    async def result(self) -> dict[str, Any]:
        """The run in the shape the server tells of one."""
        try:
            inputs = {name: [await self.bench.file(path) for path in paths] for name, paths in self.order.files.items()}
        except SafelightError as error:
            return self._ended("refused", error=error)
        flow = self.bench.flow
        self.states = {name: NodeState(type=spec.type) for name, spec in flow.nodes.items()}
        self.bench.display.queued(self.order, flow.nodes)
        try:
            outcome = await self._executed(inputs)
        except SafelightError as error:
            return self._ended("failed", error=error)
        return self._ended("completed", [self._written(output) for output in outcome.outputs], outcome.facts)

    async def _executed(self, inputs: Mapping[str, Sequence[File]]) -> Outcome:
        bench, limit = self.bench, min(self.bench.flow.timeout or math.inf, self.bench.settings.flow_timeout)
        try:
            async with asyncio.timeout(limit) as clock:
                return await execute(
                    bench.flow,
                    inputs,
                    bench.params,
                    bench.metadata,
                    self.id,
                    self,
                    self._emit,
                    bench.sandbox,
                    flows=bench.beside,
                )
        except TimeoutError as cause:
            if not clock.expired():
                raise
            raise RunTimeout(seconds=f"{limit:g}") from cause

    def _emit(self, node: str, state: NodeState) -> None:
        self.states[node] = state
        self.bench.display.node(self.order, node, state.status, state.ms)

    # What the executor asks for

    @property
    def about(self) -> About:
        return About(self.bench.flow.id, self.id, self.bench.params, self.bench.metadata)

    @property
    def face_model(self) -> Path | None:
        return self.bench.settings.face_model

    async def load(self, file: File) -> Path:
        return Path(file.key)

    async def save(self, made: Made) -> Output:
        artifact, facts = made.artifact, made.artifact.image
        path = checked_key(made.path)
        id = str(uuid5(UUID(self.id), f"{made.node}/{path}"))
        if any(other.path == path for known, other in self.made.items() if known != id):
            raise PathInvalid(path=path, reason="another output of this run has that path", node=made.node)
        self.made[id] = made
        return Output(
            node=made.node,
            source=artifact.node,
            id=id,
            path=path,
            mime=made.media_type or artifact.mime,
            size=artifact.size,
            width=facts.width if facts else None,
            height=facts.height if facts else None,
            sha256=artifact.sha256,
        )

    def asset(self, name: str) -> Path:
        return Belongings.of(self.bench.folder).get(name)

    async def apart(self, function: Callable[..., T], *arguments: Any) -> T:
        return await self.bench.sandbox.call(function, *arguments, timeout=self.bench.settings.flow_timeout)

    async def measure(self, path: Path, mime: str) -> ImageFacts | None:
        return await self.bench.measured(str(path), mime)

    async def send(self, call: Call) -> Reply:
        project = self.bench.project
        spoken = call.revealed(lambda text: reveal(text, project.secrets))
        return await self.bench.outbound.send(spoken, self.folder, private=project.allow_private_urls)

    def calling(self, type: str, place: str) -> AbstractAsyncContextManager[None]:
        return nullcontext()  # one run alone learns nothing that lasts

    # Files in, files out

    def _written(self, output: Output) -> dict[str, Any]:
        destination = self.bench.outputs.place(output.path, self.id)
        draft = destination.with_name(f".{destination.name}.part")
        try:
            shutil.copyfile(self.made[output.id].artifact.path, draft)
            draft.replace(destination)
        except OSError as cause:
            draft.unlink(missing_ok=True)
            raise Refusal(f"The output {destination} cannot be written: {cause.strerror}.") from cause
        return {**output.model_dump(mode="json"), "saved": str(destination)}

    def _ended(
        self,
        status: str,
        outputs: Sequence[Mapping[str, Any]] = (),
        facts: Mapping[str, Any] | None = None,
        *,
        error: SafelightError | None = None,
    ) -> dict[str, Any]:
        problem = error and Problem(code=error.code, message=error.message, node=error.node)
        return {
            "id": self.id,
            "flow": self.bench.flow.id,
            "version": self.bench.flow.version,
            "status": status,
            "params": dict(self.bench.params),
            "nodes": {name: state.model_dump(mode="json") for name, state in self.states.items()},
            "outputs": list(outputs),
            "facts": dict(facts or {}),
            "error": problem and problem.model_dump(mode="json"),
        }


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(HASH_BLOCK):
            digest.update(block)
    return digest.hexdigest()
