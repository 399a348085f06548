from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from pipeline.imaging.sandbox import Sandbox
from tests.graph.desk import Desk, file_at
from tests.nodes.studio import corners, difference

FLOW = """
    nodes:
      photo: {type: input}
      cut:   {type: trim%s}
      wide:  {type: conditional, field: width, operator: equals, value: 100}
      small: {type: resize, from: wide.then, width: 50}
      one:   {type: first, from: [small, wide.else]}
      out:   {type: save, path: out.png}
"""


@pytest.mark.parametrize(
    ("parameters", "box"),
    [
        ("", (40, 30, 140, 90)),
        (", margin: 10", (30, 20, 150, 100)),
        (", background: '#ff0000'", (0, 0, 200, 150)),
    ],
)
async def test_plain_edges_are_cut(
    parameters: str, box: tuple[int, int, int, int], sandbox: Sandbox, desk: Desk, tmp_path: Path
) -> None:
    sheet = Image.new("RGB", (200, 150), (250, 250, 250))
    sheet.paste(corners(100, 60), (40, 30))
    sheet.putpixel((3, 3), (245, 248, 250))
    sheet.save(tmp_path / "in.png")
    text = (FLOW % parameters).replace("from: [small, wide.else]", "from: [wide.else, cut]")
    text = text.replace("value: 100", "value: 1")
    text = text.replace("      small: {type: resize, from: wide.then, width: 50}\n", "")
    await desk.run(sandbox, text, {"photo": [file_at(tmp_path / "in.png", "image/png")]})
    assert difference(desk.image("out.png"), sheet.crop(box)) == 0


async def test_what_follows_knows_the_size_that_is_left(sandbox: Sandbox, desk: Desk, tmp_path: Path) -> None:
    sheet = Image.new("RGB", (200, 150), "white")
    sheet.paste(Image.new("RGB", (100, 60), "blue"), (40, 30))
    sheet.save(tmp_path / "in.png")
    await desk.run(sandbox, FLOW % "", {"photo": [file_at(tmp_path / "in.png", "image/png")]})
    assert desk.image("out.png").size == (50, 30)
    assert desk.states["small"].status == "completed"


async def test_a_picture_of_one_colour_stays(sandbox: Sandbox, desk: Desk, tmp_path: Path) -> None:
    Image.new("RGB", (100, 80), "red").save(tmp_path / "in.png")
    text = FLOW % ""
    await desk.run(sandbox, text, {"photo": [file_at(tmp_path / "in.png", "image/png")]})
    assert desk.image("out.png").size == (50, 40)


async def test_see_through_edges_are_cut(sandbox: Sandbox, desk: Desk, tmp_path: Path) -> None:
    sheet = Image.new("RGBA", (90, 90), (0, 0, 0, 0))
    sheet.paste((0, 0, 0, 255), (20, 30, 50, 70))
    sheet.save(tmp_path / "in.png")
    await desk.run(sandbox, FLOW % "", {"photo": [file_at(tmp_path / "in.png", "image/png")]})
    found = desk.image("out.png")
    assert (found.size, found.getpixel((0, 0))) == ((30, 40), (0, 0, 0, 255))
