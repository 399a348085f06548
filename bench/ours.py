"""Our engine in one process, set up as a sandbox child is: the fused call of a benchmark flow, over and over.

The executor is asked for a run once; the call it makes of the sandbox is caught and repeated, so what is measured is
what a child does for each run.
"""

from __future__ import annotations

import asyncio
import shutil
import sys
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import pyvips

from bench.measured import tell
from pipeline.artifacts import About, Artifact, Made
from pipeline.calls import Call, Reply
from pipeline.errors import CallFailed
from pipeline.graph.execute import execute
from pipeline.graph.flow import load_flow
from pipeline.graph.fused import Drawing
from pipeline.imaging.child import keep_freed_memory
from pipeline.imaging.measure import measure
from pipeline.model import File, ImageFacts, NodeState, Output

FLOWS, ASSETS = Path(__file__).parent / "flows", Path("flows/assets")
MOST_PIXELS = 200_000_000
Draw = Callable[[], Drawing]
T = TypeVar("T")


@dataclass
class Here:
    """Stands where the sandbox does: makes the call in this process and remembers it."""

    again: Draw | None = None

    async def call(self, function: Callable[..., Any], *arguments: Any, **_: Any) -> Any:
        self.again = partial(function, *arguments)
        return self.again()


@dataclass
class Bench:
    """The tools of a run: files lie where they are, and outputs stay in the folder they were drawn into."""

    folder: Path
    made: list[Made] = field(default_factory=list)
    face_model: Path | None = None
    about: About = field(default=About("bench", "run", {}, {}))

    async def load(self, file: File) -> Path:
        return Path(file.key)

    async def save(self, made: Made) -> Output:
        self.made.append(made)
        artifact = made.artifact
        id = f"{made.node}/{artifact.node}/{made.index}"
        return Output(
            node=made.node, source=artifact.node, id=id, path=made.path, mime=artifact.mime, size=artifact.size,
            sha256=artifact.sha256,
        )  # fmt: skip

    def asset(self, name: str) -> Path:
        return ASSETS / name

    async def apart(self, function: Callable[..., T], *arguments: Any) -> T:
        return function(*arguments)

    async def measure(self, path: Path, mime: str) -> ImageFacts | None:
        return measure(str(path), mime, MOST_PIXELS, 1)

    async def send(self, call: Call) -> Reply:
        raise CallFailed(reason="a benchmark calls nobody")


def file_at(path: Path) -> File:
    """The File that an upload of the image at `path` makes."""
    with path.open("rb") as opened:
        head = opened.read(12)
    mime = "image/png" if head.startswith(b"\x89PNG") else "image/webp" if head[8:] == b"WEBP" else "image/jpeg"
    facts = measure(str(path), mime, MOST_PIXELS, 1)
    return File(
        id="photo", project="bench", storage="default", key=str(path), name=path.name, mime=mime,
        size=path.stat().st_size, sha256="", image=facts,
    )  # fmt: skip


async def caught(
    text: str, photo: Path, folder: Path, params: Mapping[str, Any] | None = None
) -> tuple[Draw, list[Artifact]]:
    """The fused call of the flow in `text` on `photo`, and the files it made of it the first time."""
    flow, here, bench = load_flow("bench", text), Here(), Bench(folder)
    inputs = {next(iter(flow.inputs)): [file_at(photo)]}
    checked = flow.check_params(params or {})
    await execute(flow, inputs, checked, {}, "run", bench, _unheard, here)  # type: ignore[arg-type]
    assert here.again is not None
    return here.again, [made.artifact for made in bench.made]


def tamed() -> None:
    """Make libvips in this process what it is in a child; its threads are set by VIPS_CONCURRENCY."""
    pyvips.cache_set_max(0)
    keep_freed_memory()


def _unheard(node: str, state: NodeState) -> None:
    return


def main(job: str, photo: str, out: str, times: int) -> None:
    tamed()
    with tempfile.TemporaryDirectory() as folder:
        draw, made = asyncio.run(caught((FLOWS / f"{job}.yaml").read_text(), Path(photo), Path(folder)))
        tell(draw, times)
        for artifact in made:
            assert artifact.image is not None
            shutil.copy(artifact.path, Path(out) / f"{artifact.image.width}{artifact.path.suffix}")


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4]))
