"""A sandbox call may take about as much memory as its plan foresees, and no more."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from pipeline.errors import ImageCrashed, ImageMemoryExceeded
from pipeline.graph import confined
from pipeline.graph.execute import preview
from pipeline.graph.flow import load_flow
from pipeline.graph.fused import Assignment
from pipeline.imaging.sandbox import Sandbox
from tests.graph.desk import Desk, file_at

HELD = """
    nodes:
      photo: {type: input}
      turn:  {type: rotate, angle: 10}
      out:   {type: save, path: turned.png}
"""


def drawn_within(assignment: Assignment, spare: int) -> None:
    """Called in a child: draw, with that much room beside what is foreseen to be none."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(confined, "estimate", lambda _: 0)
        patch.setattr(confined, "SPARE", spare)
        confined.draw(assignment)


async def test_what_takes_far_more_than_foreseen_is_refused_and_the_next_call_has_room(
    desk: Desk, tmp_path: Path
) -> None:
    Image.new("RGB", (6000, 4000), "teal").save(tmp_path / "large.png")
    flow, file = load_flow("held", HELD), file_at(tmp_path / "large.png", "image/png")
    crew = Sandbox(1, 2**30)
    try:
        work = preview(flow, {"photo": [file]}, {}, {}, desk)
        # Where memory ends not every library can say so: some end with the child.
        with pytest.raises((ImageMemoryExceeded, ImageCrashed)):
            await crew.call(drawn_within, work, 16 * 2**20, timeout=60)
        await desk.run(crew, HELD, {"photo": [file]})
    finally:
        await crew.close()
    assert desk.image("turned.png").size > (6000, 4000)
