"""The tools of a run as its nodes meet them: what is saved is heard of, or handed on to the flow around."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path, PurePosixPath

from pipeline.artifacts import Artifact, Made, Tools
from pipeline.model import Output


class Handed:
    """The tools of a flow that runs as a node of another: what it saves is handed on."""

    def __init__(self, tools: Tools, folder: Path, node: str) -> None:
        folder.mkdir(exist_ok=True)
        self.folder, self._node = folder, node
        self._made: dict[str, Made] = {}
        self.load, self.asset, self.apart, self.measure = tools.load, tools.asset, tools.apart, tools.measure
        self.send, self.about, self.face_model = tools.send, tools.about, tools.face_model
        self.calling = tools.calling

    async def save(self, made: Made) -> Output:
        self._made[f"{made.node}/{made.path}"] = made
        artifact = made.artifact
        mime, size, digest = artifact.mime, artifact.size, artifact.sha256
        return Output(node=made.node, source=artifact.node, id="", path=made.path, mime=mime, size=size, sha256=digest)

    @property
    def artifacts(self) -> list[Artifact]:
        """What was saved, under the names it was saved by."""
        return [
            replace(made.artifact, node=self._node, name=PurePosixPath(made.path).name, encoded=True)
            for made in self._made.values()
        ]


class Saving:
    """The run's tools, with an ear for what is saved; a try that repeats a save replaces the earlier output."""

    def __init__(self, tools: Tools, outputs: list[Output]) -> None:
        self._tools, self._outputs = tools, outputs
        self.folder, self.load, self.asset = tools.folder, tools.load, tools.asset
        self.apart, self.measure, self.send, self.about = tools.apart, tools.measure, tools.send, tools.about
        self.face_model, self.calling = tools.face_model, tools.calling

    async def save(self, made: Made) -> Output:
        output = await self._tools.save(made)
        self._outputs[:] = [known for known in self._outputs if known.id != output.id]
        self._outputs.append(output)
        return output
