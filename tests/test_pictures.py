"""The example of every node type in docs/examples runs, and the pictures and findings in the docs are what it makes.

`make docs` writes them anew: it runs these tests with SAFELIGHT_WRITE_EXAMPLES set.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

import cv2
import pytest
from PIL import Image, ImageChops, ImageStat

from pipeline.errors import FlowNotFound
from pipeline.graph.flow import Flow, load_flow
from pipeline.imaging.measure import measure
from pipeline.imaging.sandbox import Sandbox
from pipeline.model import File, Output
from pipeline.nodes import INDEX
from pipeline.sniff import HEAD_SIZE, media_type
from tests.graph.desk import Desk, file_at
from tests.nodes.studio import opened

EXAMPLES, IMAGES, DEMO = Path("docs/examples"), Path("docs/images"), Path("docs/demo")
CASCADE = Path(cv2.data.haarcascades) / "haarcascade_frontalface_alt2.xml"
WRITES = bool(os.environ.get("SAFELIGHT_WRITE_EXAMPLES"))
INPUTS = {"faces": "portrait.jpg", "pdf": "page.pdf", "frames": "clip.gif", "animate": "clip.gif"}
INPUTS |= dict.fromkeys([name for name in INDEX if name.startswith("video_")], "clip.mp4")
NO_PICTURE = {"zip", "deepzoom", "srcset", "video_trim", "video_resize", "video_transcode"}
"""What they make is no picture, or several."""
SERVED = {"http", "ask", "notify"}
"""They need a server of the user's own; tests/nodes shows them with one."""
LARGEST = 40_000
CLOSE = 3.0
"""Mean difference of pixels that another build of an encoder may make, of 255."""


def test_every_node_type_has_an_example() -> None:
    assert {path.stem for path in EXAMPLES.glob("*.yaml")} == set(INDEX)
    assert {path.stem for path in IMAGES.iterdir()} <= set(INDEX)


async def shipped(id: str) -> Flow:
    path = Path("flows") / f"{id}.yaml"
    if not path.is_file():
        raise FlowNotFound(id=id)
    return load_flow(id, path.read_text())


@pytest.mark.parametrize("name", sorted(SERVED))
def test_the_example_for_a_server_is_sound(name: str) -> None:
    assert name in {spec.type for spec in load_flow(name, (EXAMPLES / f"{name}.yaml").read_text()).nodes.values()}


@pytest.mark.parametrize("name", sorted(set(INDEX) - SERVED))
async def test_the_example_makes_what_the_docs_show(sandbox: Sandbox, desk: Desk, name: str) -> None:
    path = DEMO / INPUTS.get(name, "photo.jpg")
    text = (EXAMPLES / f"{name}.yaml").read_text()
    flow = load_flow(name, text)
    desk.face_model = CASCADE
    outputs = await desk.run(sandbox, text, {next(iter(flow.inputs)): [_demo(path)]}, flows=shipped)
    if name not in NO_PICTURE and outputs:
        _check_picture(desk, name, outputs)
    facts = {node: found for node, found in desk.outcome.facts.items() if flow.nodes[node].type == name}
    if facts:
        _check_facts(name, facts)


def _demo(path: Path) -> File:
    with path.open("rb") as file:
        mime = media_type(file.read(HEAD_SIZE), path.name)
    made = file_at(path, mime)
    image = None if mime.startswith("video/") else measure(str(path), mime, 100_000_000, 100)
    return made.model_copy(update={"image": image, "id": "photo"})


def _check_picture(desk: Desk, name: str, outputs: list[Output]) -> None:
    made, kept = desk.out / outputs[0].path, IMAGES / f"{name}.webp"
    assert made.stat().st_size < LARGEST
    if WRITES:
        kept.write_bytes(made.read_bytes())
    ours, theirs = opened(made), opened(kept)
    assert (ours.size, getattr(ours, "n_frames", 1)) == (theirs.size, getattr(theirs, "n_frames", 1))
    difference = ImageChops.difference(_flat(ours), _flat(theirs))
    assert max(ImageStat.Stat(difference).mean) < CLOSE


def _flat(image: Image.Image) -> Image.Image:
    return Image.alpha_composite(Image.new("RGBA", image.size, "white"), image.convert("RGBA")).convert("RGB")


def _check_facts(name: str, facts: dict[str, object]) -> None:
    kept = EXAMPLES / f"{name}.json"
    if WRITES:
        kept.write_text(json.dumps(facts, indent=2, ensure_ascii=False) + "\n")
    assert json.loads(kept.read_text()) == json.loads(json.dumps(facts))
