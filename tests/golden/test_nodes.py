"""Every node over every input: the size, the frames, the alpha and the pixels that Pillow makes too."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
from PIL import Image

from pipeline.imaging.picture import Picture
from pipeline.nodes import INDEX
from pipeline.nodes.base import ChoiceNode, FactNode, FileNode, GatherNode, ImageNode, InputNode, Node, SpreadNode
from tests.golden.easel import Drawn, drawn, made, mark
from tests.golden.matrix import Frames, Sample, scene, seen_through
from tests.golden.reference import difference
from tests.golden.rows import HALF, ROWS, Row, badge, first_only
from tests.golden.test_facts import FACTS
from tests.golden.test_files import GATHERED, SPREAD

ELSEWHERE = {
    "video_thumbnail": "takes films: tests/nodes/test_video.py",
    "video_probe": "takes films: tests/nodes/test_video.py",
    "faces": "needs a model: tests/nodes/test_faces.py",
}
"""Nodes that none of the inputs here is for, and where they are tested."""
WITHOUT_PICTURES: dict[type[Node], str] = {
    InputNode: "hands files on as they came",
    ChoiceNode: "decides by facts and hands files on as they came",
    FactNode: "asks somebody elsewhere about the file, when it does not look itself",
    FileNode: "works on whole files outside the sandbox, by what a program or a person elsewhere says",
}
"""The kinds of node that are not in the table, and why."""


@pytest.fixture(scope="module")
def beside(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Picture]:
    """What arrives at the other ports of those nodes that have some."""
    laid = mark(tmp_path_factory.mktemp("beside"), badge())
    return {"mark": laid, "layer1": laid}


def test_every_node_is_in_the_golden_suite() -> None:
    drawn = {row.type for row in ROWS}
    here = {name: cls for name, cls in INDEX.items() if name not in ELSEWHERE}
    assert {name for name, cls in here.items() if issubclass(cls, ImageNode)} == drawn | GATHERED
    assert {name for name, cls in here.items() if issubclass(cls, GatherNode)} == GATHERED
    assert {name for name, cls in here.items() if issubclass(cls, SpreadNode)} == SPREAD
    assert {name for name, cls in here.items() if issubclass(cls, FactNode) and cls.side == "sandbox"} == FACTS
    others = set(here) - drawn - GATHERED - SPREAD - FACTS
    assert [name for name in others if not issubclass(INDEX[name], tuple(WITHOUT_PICTURES))] == []


def expected(row: Row, sample: Sample) -> tuple[Frames, tuple[int, ...]]:
    shown = list(zip(sample.shown, sample.delays or (0,), strict=True))
    played = row.plays(shown)
    frames = tuple(row.expected(sample, frame) for frame, _ in played)
    return frames, tuple(delay for _, delay in played) if len(played) > 1 else ()


def complaints(row: Row, sample: Sample, found: Drawn) -> Iterator[str]:
    """What is wrong with a drawing; nothing when it is what Pillow makes."""
    frames, delays = expected(row, sample)
    told = found.foretold
    if (told.width, told.height, told.frames) != (*frames[0].size, len(frames)) and row.plays is not first_only:
        yield f"foretold {told.width}x{told.height}x{told.frames}, expected {frames[0].size} x {len(frames)}"
    if [frame.size for frame in found.frames] != [frame.size for frame in frames]:
        yield f"has {[frame.size for frame in found.frames]}, expected {[frame.size for frame in frames]}"
        return
    if found.delays != delays:
        yield f"is shown for {found.delays}, expected {delays}"
    if found.done.alpha is not told.alpha and not row.as_wished:
        yield f"has alpha: {found.done.alpha}, foretold: {told.alpha}"
    for number, (one, other) in enumerate(zip(found.frames, frames, strict=True)):
        apart = difference(one, other, row.unsure(other) if row.unsure else None)
        loose = row.rough * sample.flat + sample.blur
        if apart.mean > row.mean * sample.mixed + loose or apart.p99 > row.p99 * sample.mixed + 8 * loose:
            yield f"frame {number} is {apart.mean:.2f} off on average and within {apart.p99} in 99 % ({row.why})"


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_the_node_makes_of_every_input_what_pillow_makes(
    row: Row, matrix: list[Sample], beside: Mapping[str, Picture], tmp_path: Path
) -> None:
    step = made(row.type, row.said)
    assert isinstance(step, ImageNode)
    found = []
    for sample in matrix:
        if not row.only or sample.name in row.only:
            drawing = drawn(step, sample, tmp_path, beside, upright=row.upright, as_wished=row.as_wished)
            found += [f"{row.type} on {sample.name}: {what}" for what in complaints(row, sample, drawing)]
    assert not found, "\n".join(found)


@pytest.mark.parametrize("row", [row for row in ROWS if not row.silent and not row.only], ids=lambda row: row.name)
def test_a_node_that_did_nothing_would_be_noticed(row: Row, matrix: list[Sample]) -> None:
    assert any(notices(row, sample) for sample in matrix if sample.name in ("png", "png alpha"))


def notices(row: Row, sample: Sample) -> bool:
    (untouched,), (wanted,) = sample.shown, expected(row, sample)[0]
    if untouched.size != wanted.size:
        return True
    apart = difference(untouched, wanted, row.unsure(wanted) if row.unsure else None)
    return apart.mean > row.mean or apart.p99 > row.p99


TALL = (400, 1800)
"""More rows than libvips keeps of a stream."""
HIGH_UP = (
    Row("watermark", {"position": "top-left"}, lambda sample, frame: frame),
    Row("text", {"text": "up here", "position": "top"}, lambda sample, frame: frame),
    Row("overlay", {"layers": [{"image": "layer1", "position": "top"}] * 3}, lambda sample, frame: frame),
    Row("redact", {"regions": [HALF["region"]], "mode": "blur"}, lambda sample, frame: frame),
)


@pytest.mark.parametrize("name", ["tall.png", "tall.jpg", "tall.tif"])
def test_a_tall_picture_is_read_once_from_top_to_bottom(
    name: str, beside: Mapping[str, Picture], tmp_path: Path
) -> None:
    tall = scene().resize(TALL, Image.Resampling.BICUBIC)
    (seen_through(tall) if name == "tall.png" else tall).save(tmp_path / name)
    sample = Sample(name, tmp_path / name, (tall,))
    for row in (*ROWS, *HIGH_UP):
        step = made(row.type, row.said)
        if not row.only and isinstance(step, ImageNode):
            done = drawn(step, sample, tmp_path, beside)
            assert done.frames[0].size == (done.foretold.width, done.foretold.height), row.name
