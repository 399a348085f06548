"""Layers that lie at a point, cut or push what is under them, and the plain and written pictures to make them of."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from PIL import Image, ImageChops
from pydantic import ValidationError

from pipeline.imaging.encode import encode
from pipeline.imaging.open import open_shipped
from pipeline.imaging.picture import Picture, Wish
from pipeline.nodes.base import OpenNode
from tests.nodes.studio import corners, drawn, node, opened

GREY = (100, 100, 100)


@pytest.fixture
def ground(tmp_path: Path) -> Path:
    Image.new("RGB", (200, 100), GREY).save(tmp_path / "in.png")
    return tmp_path / "in.png"


@pytest.fixture
def mark(tmp_path: Path) -> Picture:
    Image.new("RGBA", (40, 20), "red").save(tmp_path / "mark.png")
    return open_shipped(tmp_path / "mark.png")


def overlaid(ground: Path, folder: Path, mark: Picture, **said: Any) -> Image.Image:
    return drawn(node("overlay", layers=[{"image": "layer1", **said}]), ground, folder, layer1=mark)


def made(folder: Path, type: str, **said: Any) -> Image.Image:
    step = node(type, **said)
    assert isinstance(step, OpenNode)
    nothing = folder / "nothing"
    picture = step.open(nothing, 1.0)
    assert step.outline_in(nothing) == picture.outline
    return opened(encode(picture.wishing(Wish(format="png")), folder / "made.png").path)


@pytest.mark.parametrize(
    ("said", "box"),
    [
        ({"anchor": {"x": 0, "y": 0}, "x": 30, "y": 10}, (30, 10, 70, 30)),
        ({"anchor": {"x": 0.5, "y": 0.5}, "x": 100, "y": 50}, (80, 40, 120, 60)),
        ({"anchor": {"x": 0.5, "y": 0.5}, "x": "50%", "y": "25%"}, (80, 15, 120, 35)),
        ({"anchor": {"x": 1, "y": 1}, "x": 190, "y": "100%"}, (150, 80, 190, 100)),
        ({"anchor": {"x": 1, "y": 0}, "x": 20, "y": -5}, (0, 0, 20, 15)),
    ],
)
def test_a_point_of_the_layer_lies_where_it_was_told(
    said: dict[str, Any], box: tuple[int, ...], ground: Path, mark: Picture, tmp_path: Path
) -> None:
    found = overlaid(ground, tmp_path, mark, **said).convert("RGB")
    assert ImageChops.difference(found, Image.new("RGB", found.size, GREY)).getbbox() == box


@pytest.mark.parametrize("said", [{"position": "top"}, {"place": {"x": 0, "y": 0}}])
def test_a_layer_has_one_place(said: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match="one place"):
        node("overlay", layers=[{"image": "layer1", "anchor": {"x": 0, "y": 0}, **said}])


def test_a_layer_leaves_what_is_inside_of_its_shape_or_outside(ground: Path, mark: Picture, tmp_path: Path) -> None:
    kept = overlaid(ground, tmp_path, mark, position="left", blend="inside")
    cut = overlaid(ground, tmp_path, mark, position="left", blend="outside")
    assert kept.mode == cut.mode == "RGBA"
    assert kept.getchannel("A").getbbox() == (0, 40, 40, 60)
    assert kept.getpixel((20, 50)) == cut.getpixel((100, 50)) == (*GREY, 255)
    assert ImageChops.add(kept.getchannel("A"), cut.getchannel("A")).getextrema() == (255, 255)
    half = overlaid(ground, tmp_path, mark, position="left", blend="outside", opacity=0.5)
    assert abs(half.getpixel((20, 50))[3] - 128) <= 1  # type: ignore[index]
    beside = overlaid(ground, tmp_path, mark, place={"x": 500, "y": 0}, blend="inside")
    assert beside.getchannel("A").getextrema() == (0, 0)


def test_a_layer_pushes_pixels_about(tmp_path: Path) -> None:
    corners(80, 40).save(tmp_path / "in.png")
    for colour, expected in (((255, 128, 0), (0, 255, 0)), ((128, 255, 0), (0, 0, 255)), ((128, 128, 0), (255, 0, 0))):
        Image.new("RGB", (20, 10), colour).save(tmp_path / "map.png")
        found = overlaid(
            tmp_path / "in.png", tmp_path, open_shipped(tmp_path / "map.png"),
            position="top-left", x=15, y=8, blend="displace", shift={"x": 40, "y": "50%"},
        )  # fmt: skip
        # What is 40 to the right of the layer, or 20 below it, is seen in its place; nothing else has moved.
        assert found.getpixel((25, 12)) == expected
        assert [found.getpixel(at) for at in ((5, 5), (60, 10), (20, 30))] == [(255, 0, 0), (0, 255, 0), (0, 0, 255)]
    with pytest.raises(ValidationError, match="shift"):
        node("overlay", layers=[{"image": "layer1", "blend": "displace"}])


def test_a_canvas_is_plain(tmp_path: Path) -> None:
    solid = made(tmp_path, "canvas", width=30, height=20, colour="#102030")
    assert (solid.mode, solid.size, solid.getcolors()) == ("RGB", (30, 20), [(600, (16, 32, 48))])
    assert made(tmp_path, "canvas", width=5, height=4, colour="#10203080").getcolors() == [(20, (16, 32, 48, 128))]


def test_a_label_is_as_large_as_its_text_and_what_is_around_it(tmp_path: Path) -> None:
    bare = made(tmp_path, "label", text="Hello", size=40)
    assert bare.getchannel("A").getbbox() == (0, 0, *bare.size) and 20 <= bare.height <= 45
    plate = {"background": "#0000ff", "padding": [3, 10, 5]}
    framed = made(tmp_path, "label", text="Hello", size=40, **plate)
    assert framed.size == (bare.width + 20, bare.height + 8)
    assert framed.getpixel((9, framed.height - 1)) == framed.getpixel((framed.width - 1, 2)) == (0, 0, 255, 255)
    right = made(tmp_path, "label", text="Hello", size=40, colour="#ff0000", width=300, align="right", **plate)
    letters = right.getchannel("R").getbbox()
    assert right.width == 300 and letters == (300 - 10 - bare.width, 3, 290, 3 + bare.height)


def test_a_label_is_wrapped_to_its_width(tmp_path: Path) -> None:
    words = {"text": "a sentence that is too long for one line", "size": 20}
    line, block = made(tmp_path, "label", **words), made(tmp_path, "label", width=150, padding=[10], **words)
    assert block.width == 150 < line.width and block.height > 2 * line.height
    high = made(tmp_path, "label", width=150, padding=[10], line_spacing=15, **words)
    assert high.height > block.height + 30


def test_a_label_of_which_nothing_shows_is_its_plate(tmp_path: Path) -> None:
    empty = made(tmp_path, "label", text=" ", padding=[2, 6], background="#00ff00")
    assert (empty.size, empty.getpixel((0, 0))) == ((12, 4), (0, 255, 0, 255))
