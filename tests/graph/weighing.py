"""Weigh one sandbox call in a fresh child: what its resident set grows by at its peak, beside what was foreseen."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pipeline.graph.estimate import estimate
from pipeline.graph.execute import preview
from pipeline.graph.explain import with_choices
from pipeline.graph.flow import load_flow
from pipeline.graph.fused import Assignment, Studio
from pipeline.imaging.sandbox import Sandbox
from tests.graph.desk import Desk, file_at

MIB = 2**20


@dataclass(frozen=True)
class Weight:
    """MiB beyond what the child had before."""

    peak: float
    estimate: float


def weight_of(assignment: Assignment) -> Weight:
    """Called in the child. "5" makes the present resident set the peak, see clear_refs in proc_pid(5)."""
    foreseen = estimate(Studio(assignment))
    Path("/proc/self/clear_refs").write_text("5")
    before = _peak()
    Studio(assignment).draw()
    return Weight(_peak() - before, foreseen / MIB)


def assignment_of(desk: Desk, nodes: str, photos: Sequence[tuple[Path, str]]) -> Assignment:
    """What a run of these nodes after an input `photo` hands to the sandbox."""
    many = ", many: true" if len(photos) > 1 else ""
    flow = load_flow("flow", f"title: t\nnodes:\n  photo: {{type: input{many}}}\n{nodes}")
    desk.folder.mkdir(exist_ok=True)
    files = {"photo": [file_at(path, mime) for path, mime in photos]}
    return with_choices(preview(flow, files, {}, {}, desk))


async def weighed(assignment: Assignment) -> Weight:
    sandbox = Sandbox(1, 2 * 2**30)
    try:
        # The first call pays for what is imported only then.
        await sandbox.call(imported, timeout=60)
        return await sandbox.call(weight_of, assignment, timeout=60)
    finally:
        await sandbox.close()


def imported() -> None:
    """Nothing: this module has been loaded then."""


def _peak() -> float:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:")) / 1024
