"""The call a run makes of its sandbox: draw, and take about as much memory for it as was foreseen."""

from __future__ import annotations

from pipeline.graph.estimate import estimate
from pipeline.graph.fused import Assignment, Drawing, Studio
from pipeline.imaging.sandbox import allow
from pipeline.nodes.base import OpenNode

FACTOR, SPARE = 2, 256 * 2**20
"""A call may take so many times the estimate, or so many bytes more where that is more.

What a file holds beside its header (noise, opaque alpha, pictures inside a drawing) moves the truth; with the factor
1.3 every measured case passed, see bench/engine/memory.py.
"""


def draw(assignment: Assignment) -> Drawing:
    """Do the fused part of a run; raises the error of the first node that failed, its `node` set.

    `ImageMemoryExceeded` when it takes far more memory than the plan foresees, whatever the sandbox itself may take.
    """
    studio = Studio(assignment)
    if all(_is_foreseen(assignment, name) for name in assignment.stage.fused):
        foreseen = estimate(studio)
        allow(max(FACTOR * foreseen, foreseen + SPARE))
    return studio.draw()


def _is_foreseen(assignment: Assignment, name: str) -> bool:
    cls = assignment.specs[name].cls
    return not issubclass(cls, OpenNode) or cls.foreseen
