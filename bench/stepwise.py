"""A flow in one fused call, or node by node: every node a call of its own, its picture encoded for the next.

Called with `FORMAT:FLOW PHOTO FOLDER TIMES`, where FORMAT is `fused`, or what pictures are encoded in between nodes.
A node still decodes small and no call crosses a process border, so the figures are kind to the unfused way.
"""

from __future__ import annotations

import asyncio
import json
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from bench.measured import tell
from bench.ours import FLOWS, Draw, caught, tamed
from pipeline.artifacts import Artifact
from pipeline.graph.flow import Flow, load_flow
from pipeline.nodes.base import ImageNode, InputNode

SHELVES = (Path("flows"), FLOWS)
PARAMS = {"social-card": {"title": "Spring is here"}}
BETWEEN = {"jpeg": {"format": "jpeg", "quality": 95}, "png": {"format": "png", "effort": 1}}


def steps(flow: str, between: str, photo: Path, folder: Path) -> Iterator[tuple[Draw, list[Artifact], bool]]:
    """Every node as a call of its own, with what it made the first time and whether that is an output."""
    text = written(flow)
    whole, document = load_flow(flow, text), YAML(typ="safe").load(text)
    made: dict[str, Path] = {}
    for name in whole.order:
        if issubclass(whole.nodes[name].cls, InputNode):
            made[name] = photo
            continue
        drawn = issubclass(whole.nodes[name].cls, ImageNode)
        for source in sources(whole, name):
            own = folder / f"{name}-{source}"
            own.mkdir()
            text = _alone(document, name, between if drawn else None)
            draw, artifacts = asyncio.run(caught(text, made[source], own, PARAMS.get(flow)))
            made[name] = artifacts[0].path
            yield draw, artifacts, not drawn


def written(flow: str) -> str:
    """The text of a shipped flow, or of one of the benchmarks' own."""
    return next(path for shelf in SHELVES if (path := shelf / f"{flow}.yaml").exists()).read_text()


def sources(flow: Flow, name: str) -> list[str]:
    return [edge.source for edge in flow.edges if edge.target == name]


def _alone(document: dict[str, Any], name: str, between: str | None) -> str:
    """A flow of this one node, which saves in the format in between unless the node saves itself."""
    node = {key: value for key, value in document["nodes"][name].items() if key != "from"}
    nodes: dict[str, Any] = {"photo": {"type": "input"}, "step": node}
    if between:
        nodes["out"] = {"type": "save"} | BETWEEN[between]
    return json.dumps({"params": document.get("params", {}), "nodes": nodes})


def act(job: str, photo: Path, folder: Path) -> tuple[Callable[[], object], list[Artifact]]:
    way, _, flow = job.partition(":")
    if way == "fused":
        return asyncio.run(caught(written(flow), photo, folder, PARAMS.get(flow)))
    found = list(steps(flow, way, photo, folder))
    outputs = [artifact for _, artifacts, last in found if last for artifact in artifacts]
    return lambda: [draw() for draw, _, _ in found], outputs


def main(job: str, photo: str, out: str, times: int) -> None:
    tamed()
    with tempfile.TemporaryDirectory() as folder:
        again, outputs = act(job, Path(photo), Path(folder))
        tell(again, times)
        for artifact in outputs:
            assert artifact.image is not None
            shutil.copy(artifact.path, Path(out) / f"{artifact.image.width}{artifact.path.suffix}")


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4]))
