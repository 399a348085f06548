"""How much memory pictures take: the largest that can flow from top to bottom, and every kind against its estimate."""

from __future__ import annotations

import tempfile
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

from bench.contest import contest
from bench.footprints import Footprint, footprints
from bench.measured import peak_mib
from bench.ours import MOST_PIXELS, Bench
from bench.peers import ours, pillow, vips
from bench.photos import vast
from bench.results import Result
from bench.specimens import specimen
from pipeline import sniff
from pipeline.graph.estimate import estimate
from pipeline.graph.execute import preview
from pipeline.graph.explain import with_choices
from pipeline.graph.flow import load_flow
from pipeline.graph.fused import Assignment, Studio
from pipeline.imaging.measure import measure
from pipeline.imaging.sandbox import Sandbox
from pipeline.model import File
from workers.warm import warm

NAME = "engine.peak_memory_mib"
LIMIT_MIB = 512
ROUNDS = 3
FLOWS = {"": "streaming", ".sizes": "sizes", ".marked": "marked"}
"""The first reads from top to bottom once; the others have to hold one small picture."""
FORESEEN = "engine.memory_vs_estimate"
MIB = 2**20
CHILD = 6 * 2**30
MOST_FRAMES = 1000
SMALL_MIB = 24
"""Below this an estimate is not blamed for being too large: it is mostly what any call might take."""
RESET_PEAK = "5"
"""See clear_refs in proc_pid(5)."""


async def peak_memory_mib() -> AsyncIterator[Result]:
    """Peak resident MiB of a whole process, Python and libvips in it, that draws from 100 MP JPEG; under 1 is within.

    Rows of peers hold what they take for the first flow, and ours for each of theirs.
    """
    for row, flow in FLOWS.items():
        peers = [vips(flow), pillow(flow)] if row == "" else []
        outcome = await contest([ours(flow), *peers], vast(), ROUNDS, times=1)
        mine = outcome.peak_mib("ours")
        yield Result(NAME + row, mine, "MiB", f"limit of {LIMIT_MIB} MiB", mine / LIMIT_MIB, ROUNDS)
        for peer in peers:
            theirs = outcome.peak_mib(peer.name)
            yield Result(f"{NAME}.{peer.name}", theirs, "MiB", f"ours for each of {peer.name}", mine / theirs, ROUNDS)


async def memory_vs_estimate() -> AsyncIterator[Result]:
    """Peak resident MiB of one call in a fresh sandbox child beyond what it had idle, for each of the estimate.

    The first row is the worst of all, `.spare` the largest estimate for each of its peak, peaks below `SMALL_MIB` being
    taken for that.
    """
    found = {case.name: await weighed(case) for case in footprints()}
    worst = max(found.values(), key=lambda one: one.peak / one.estimate)
    spare = max(found.values(), key=lambda one: one.estimate / max(one.peak, SMALL_MIB))
    yield Result(FORESEEN, worst.peak, "MiB", "the estimate", worst.peak / worst.estimate, len(found))
    ratio = spare.estimate / max(spare.peak, SMALL_MIB)
    yield Result(f"{FORESEEN}.spare", spare.estimate, "MiB", "the peak it is for", ratio, len(found))
    for name, one in found.items():
        told = f"estimate of {one.estimate:.0f} MiB"
        yield Result(f"{FORESEEN}.{name}", one.peak, "MiB", told, one.peak / one.estimate, 1)


@dataclass(frozen=True)
class Weight:
    """What a call took beyond what its child had before, and what had been foreseen, MiB."""

    peak: float
    estimate: float


async def weighed(case: Footprint) -> Weight:
    """The memory of one call, in a sandbox child of its own."""
    flow = load_flow("bench", case.text)
    files = {"photo": [_file(specimen(name)) for name in case.files]}
    sandbox = Sandbox(1, CHILD, warm)
    try:
        with tempfile.TemporaryDirectory() as folder:
            work = preview(flow, files, {}, {}, Bench(Path(folder)))
            return await sandbox.call(weight_of, with_choices(work), timeout=600)
    finally:
        await sandbox.close()


def weight_of(assignment: Assignment) -> Weight:
    """The same inside the child."""
    Path("/proc/self/clear_refs").write_text(RESET_PEAK)
    before = peak_mib()
    Studio(assignment).draw()
    peak = peak_mib() - before
    return Weight(peak, estimate(Studio(assignment)) / MIB)


def _file(path: Path) -> File:
    with path.open("rb") as opened:
        mime = sniff.media_type(opened.read(sniff.HEAD_SIZE), path.name)
    return File(
        id=path.name, project="bench", storage="default", key=str(path), name=path.name, mime=mime,
        size=path.stat().st_size, sha256="", image=measure(str(path), mime, MOST_PIXELS, MOST_FRAMES),
    )  # fmt: skip
