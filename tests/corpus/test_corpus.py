"""Every picture of the corpus through every node and every shipped flow: drawn, or refused with a known code.

`make corpus` fetches the pictures and runs this; the table it prints tells how many ended how.
"""

from __future__ import annotations

import asyncio
import json
import shutil
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from pipeline import sniff
from pipeline.errors import SafelightError
from pipeline.graph.flow import load_flow
from pipeline.imaging.header import facts_of
from pipeline.imaging.sandbox import Sandbox
from pipeline.model import File, ImageFacts
from pipeline.nodes import INDEX
from pipeline.nodes.base import FactNode, FileNode, GatherNode, ImageNode, Node, SpreadNode
from tests.corpus.fetch import FOLDER
from tests.golden.rows import ROWS
from tests.graph.desk import FORMATS, Desk, file_at

pytestmark = [pytest.mark.corpus, pytest.mark.timeout(3600)]

AT_ONCE = 2
LONGEST = 90.0
"""Seconds that one run may take."""
MOST_PIXELS_FOR_ALL = 25_000_000
"""Pixels of all frames beyond which a file goes through the shipped flows only: seventy branches would take minutes."""
KNOWN = frozenset({"IMAGE_UNREADABLE", "IMAGE_TOO_LARGE", "VIDEO_UNREADABLE", "NODE_INVALID", "VERIFICATION_FAILED"})
ALL = "every node"
EXCUSED: dict[str, str] = {}
"""Files, by the end of their names, that may end in IMAGE_CRASHED or IMAGE_TIMEOUT, and why."""
PARAMETERS: dict[str, dict[str, Any]] = {
    "watermark": {"image": "asset:logo.png", "position": "top"},
    "overlay": {"layers": [{"image": "asset:logo.png", "width": "50%", "blend": "multiply"}]},
    "srcset": {"widths": [100, 300]},
    "deepzoom": {},
    "collage": {"caption": "name"},
    "verify": {"min_width": 1},
}


def every_node() -> str:
    """A flow in which every node that touches pictures takes the input, each a branch of its own."""
    nodes: dict[str, Any] = {"photo": {"type": "input"}}
    for name, parameters in _branches():
        nodes[name] = {**parameters, "from": "photo", "on_error": "skip"}
    drawn = [name for name in nodes if issubclass(INDEX[nodes[name]["type"]], ImageNode)]
    for name in drawn:
        # Encoding forty pictures at full size would tell nothing about the nodes.
        nodes[f"{name}-small"] = {"type": "resize", "from": name, "width": 64, "on_error": "skip"}
    files = [name for name in nodes if issubclass(INDEX[nodes[name]["type"]], SpreadNode)]
    sources = [*(f"{name}-small" for name in drawn), *files]
    nodes["out"] = {"type": "save", "from": sources}
    return json.dumps({"nodes": nodes})


def _branches() -> Iterator[tuple[str, dict[str, Any]]]:
    for number, row in enumerate(ROWS):
        if row.type not in PARAMETERS:
            yield f"{row.type}-{number}", {"type": row.type, **row.said}
    for name, cls in INDEX.items():
        looks = issubclass(cls, FactNode) and cls.side == "sandbox"
        if name in PARAMETERS or looks or issubclass(cls, SpreadNode | GatherNode):
            yield name, {"type": name, **PARAMETERS.get(name, {})}


def shipped() -> dict[str, str]:
    """The shipped flows that need nobody beside this machine."""
    texts = {path.stem: path.read_text() for path in sorted(Path("flows").glob("*.yaml"))}
    return {name: text for name, text in texts.items() if all(alone(cls) for cls in classes(name, text))}


def classes(name: str, text: str) -> list[type[Node]]:
    return [spec.cls for spec in load_flow(name, text).nodes.values()]


def alone(cls: type[Node]) -> bool:
    """Whether a node needs nobody but this machine."""
    if issubclass(cls, FactNode):
        return cls.side == "sandbox"
    return not issubclass(cls, FileNode) or cls in (INDEX["save"], INDEX["zip"])


def folders() -> list[Path]:
    return sorted(path for path in FOLDER.glob("*") if path.is_dir() and path.name != "archives")


@pytest.fixture(scope="module")
async def crew() -> AsyncIterator[Sandbox]:
    sandbox = Sandbox(AT_ONCE, 2**30)
    await sandbox.start()
    yield sandbox
    await sandbox.close()


@pytest.fixture(scope="module")
def table() -> Iterator[Counter[tuple[str, str, str]]]:
    """How many files of each type ended how, by the way they went; printed at the end."""
    counts: Counter[tuple[str, str, str]] = Counter()
    yield counts
    ways = list(dict.fromkeys(way for way, _, _ in counts))
    print("\n" + " ".join(f"{title:>15}" for title in ("", "", *ways)))
    for mime, end in sorted({(mime, end) for _, mime, end in counts}):
        numbers = (counts[way, mime, end] or "" for way in ways)
        print(f"{mime:<31} {end:<15} " + " ".join(f"{number:>15}" for number in numbers))


async def test_every_node_draws_a_good_picture(crew: Sandbox, tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    file, _ = await arrived(Path("tests/photos/sunset.jpg"), crew)
    desk = Desk(tmp_path / "run", tmp_path / "out")
    await desk.run(crew, every_node(), {"photo": [file]})
    unfit = {name.partition("-")[0] for name, state in desk.states.items() if state.error}
    # No document, no film, and no model to look with.
    assert unfit <= {"pdf", "video_thumbnail", "video_probe", "faces"}
    assert len(desk.made) > len(ROWS)


def test_there_is_a_corpus() -> None:
    assert folders(), "run `make corpus`, which fetches it"


@pytest.mark.parametrize("folder", folders(), ids=lambda folder: folder.name)
async def test_every_file_is_drawn_or_refused_with_a_known_code(
    folder: Path, crew: Sandbox, table: Counter[tuple[str, str, str]], tmp_path: Path
) -> None:
    ways = {ALL: every_node(), **shipped()}
    places, wrong = asyncio.Semaphore(AT_ONCE), []

    async def one(path: Path) -> None:
        async with places:
            async for way, mime, end, seconds in ended(path, ways, crew, tmp_path / path.name):
                table[way, mime, end] += 1
                if end not in KNOWN | {"accepted", "drawn"} and not any(path.name.endswith(name) for name in EXCUSED):
                    wrong.append(f"{path}: {way} ended in {end}")
                if seconds > LONGEST:
                    wrong.append(f"{path}: {way} took {seconds:.0f} s")

    await asyncio.gather(*(one(path) for path in sorted(folder.iterdir())))
    assert not wrong, "\n".join(wrong)


async def ended(
    path: Path, ways: dict[str, str], crew: Sandbox, folder: Path
) -> AsyncIterator[tuple[str, str, str, float]]:
    """How the file ended: on arrival and then, when it was let in, on each way; with the seconds it took."""
    started = time.monotonic()
    file, end = await arrived(path, crew)
    yield "arrival", file.mime, end, time.monotonic() - started
    for way, text in ways.items() if end == "accepted" else ():
        if way == ALL and file.image and file.image.width * file.image.height * file.image.frames > MOST_PIXELS_FOR_ALL:
            continue
        started = time.monotonic()
        end = await run(text, file, crew, folder)
        yield way, file.mime, end, time.monotonic() - started


async def arrived(path: Path, crew: Sandbox) -> tuple[File, str]:
    with path.open("rb") as opened:
        mime = sniff.media_type(opened.read(sniff.HEAD_SIZE), path.name)
    file = file_at(path, "application/octet-stream").model_copy(update={"mime": mime})
    try:
        facts: ImageFacts | None = await facts_of(crew, str(path), mime, FORMATS, 100_000_000, 1000, LONGEST)
    except SafelightError as error:
        return file, error.code
    return file.model_copy(update={"image": facts}), "accepted"


async def run(text: str, file: File, crew: Sandbox, folder: Path) -> str:
    (folder / "run").mkdir(parents=True)
    flow = load_flow("flow", text)
    given = {name: "A title" for name, param in flow.params.items() if param.default is None}
    try:
        desk = Desk(folder / "run", folder / "out")
        await desk.run(crew, text, {name: [file] for name in flow.inputs}, given, timeout=LONGEST)
        problems = {state.error.code for state in desk.states.values() if state.error}
    except SafelightError as error:
        return error.code
    finally:
        shutil.rmtree(folder)
    # A node that cannot do with this file is left out; where every node is, nothing is drawn.
    return next(iter(problems - KNOWN), "drawn" if desk.made else min(problems, default="nothing"))
