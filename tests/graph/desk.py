"""Run a flow with the real executor and sandbox, outputs into a folder."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from PIL import Image

from pipeline.artifacts import About, Made
from pipeline.breakers import Breakers, place_of
from pipeline.calls import Call, Reply
from pipeline.graph.belongings import Belongings
from pipeline.graph.execute import Outcome, execute
from pipeline.graph.flow import load_flow
from pipeline.graph.placeholders import reveal
from pipeline.imaging.header import facts_of
from pipeline.imaging.sandbox import Sandbox
from pipeline.model import File, ImageFacts, NodeState, Output, new_id
from pipeline.outbound import Outbound
from pipeline.records.breakers import Callee
from tests.nodes.studio import opened, outline_of

FLOWS = Path("flows")
FORMATS = ("jpeg", "png", "webp", "avif", "gif", "tiff", "svg", "heic", "jxl", "pdf")

T = TypeVar("T")


def file_at(path: Path, mime: str, **facts: Any) -> File:
    """The File noun an upload of `path` would make."""
    content = path.read_bytes()
    image = None
    if mime.startswith("image/"):
        stored = outline_of(path)
        shown = stored.upright()
        image = ImageFacts(
            format=mime.removeprefix("image/"), width=shown.width, height=shown.height,
            orientation=stored.orientation, frames=stored.frames, alpha=stored.alpha,
        )  # fmt: skip
    return File(
        id=new_id(), project="demo", storage="default", key=str(path), name=path.name, mime=mime, size=len(content),
        sha256=hashlib.sha256(content).hexdigest(), image=image, **facts,
    )  # fmt: skip


@dataclass
class Desk:
    """A run's tools, and everything that was heard of the run."""

    folder: Path
    out: Path
    made: dict[str, Made] = field(default_factory=dict)
    states: dict[str, NodeState] = field(default_factory=dict)
    told: list[tuple[str, str]] = field(default_factory=list)
    outcome: Outcome = field(default_factory=Outcome)
    sandbox: Sandbox | None = None
    outbound: Outbound | None = None
    private: bool = False
    """Whether private addresses may be called."""
    breakers: Breakers | None = None
    secrets: dict[str, str] = field(default_factory=dict)
    about: About = field(default=About("flow", "run-1", {}, {}))
    face_model: Path | None = None

    async def load(self, file: File) -> Path:
        return Path(file.key)

    async def save(self, made: Made) -> Output:
        artifact = made.artifact
        path = self.out / made.path
        path.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(artifact.path, path)
        self.made[made.path] = made
        return Output(
            node=made.node, source=artifact.node, id=f"{made.node}/{artifact.node}/{made.index}/{made.path}",
            path=made.path, mime=artifact.mime, size=artifact.size, sha256=artifact.sha256,
        )  # fmt: skip

    def asset(self, name: str) -> Path:
        return Belongings.of(FLOWS).get(name)

    async def apart(self, function: Callable[..., T], *arguments: Any) -> T:
        assert self.sandbox is not None
        return await self.sandbox.call(function, *arguments, timeout=60)

    async def measure(self, path: Path, mime: str) -> ImageFacts | None:
        assert self.sandbox is not None
        return await facts_of(self.sandbox, str(path), mime, FORMATS, 100_000_000, 1000, 60)

    async def send(self, call: Call) -> Reply:
        assert self.outbound is not None
        spoken = call.revealed(lambda text: reveal(text, self.secrets))
        async with self.calling(call.by, place_of(call.url, spoken.url)):
            return await self.outbound.send(spoken, self.folder, private=self.private)

    def calling(self, type: str, place: str) -> AbstractAsyncContextManager[None]:
        return self.breakers.over(Callee(type, "demo", place)) if self.breakers else nullcontext()

    def emit(self, node: str, state: NodeState) -> None:
        self.states[node] = state
        self.told.append((node, state.status))

    def image(self, path: str) -> Image.Image:
        return opened(self.out / path)

    async def run(
        self,
        sandbox: Sandbox,
        text: str,
        inputs: Mapping[str, Sequence[File]],
        params: Mapping[str, Any] | None = None,
        **options: Any,
    ) -> list[Output]:
        self.sandbox = sandbox
        flow = load_flow("flow", text)
        checked = flow.check_params(params or {})
        about = self.about = About("flow", "run-1", checked, {"album": "spring"})
        self.outcome = await execute(
            flow, inputs, checked, about.metadata, about.run, self, self.emit, sandbox, **options
        )
        return self.outcome.outputs
