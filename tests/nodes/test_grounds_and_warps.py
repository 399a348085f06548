"""Backdrops, gradients, bends, and what can be seen of a picture: measured at places."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from PIL import Image, ImageDraw, ImageStat
from pydantic import ValidationError

from pipeline.errors import NodeInvalid
from pipeline.imaging.open import open_picture
from tests.nodes.studio import corners, difference, drawn, node, outline_of

Colour = tuple[int, ...]


def at(image: Image.Image, x: float, y: float) -> Colour:
    """The pixel at shares of the sides."""
    found = image.getpixel((min(image.width - 1, int(x * image.width)), min(image.height - 1, int(y * image.height))))
    assert isinstance(found, tuple)
    return found


def near(one: Colour, other: Colour, within: int = 3) -> bool:
    return all(abs(a - b) <= within for a, b in zip(one, other, strict=True))


@pytest.fixture
def halves(tmp_path: Path) -> Path:
    """Three quarters orange, the right one blue."""
    image = Image.new("RGB", (80, 60), (240, 140, 20))
    image.paste((20, 60, 200), (60, 0, 80, 60))
    image.save(tmp_path / "in.png")
    return tmp_path / "in.png"


@pytest.fixture
def cutout(tmp_path: Path) -> Path:
    """A white square in the middle of nothing."""
    image = Image.new("RGBA", (100, 100))
    image.paste("white", (40, 40, 60, 60))
    image.save(tmp_path / "cutout.png")
    return tmp_path / "cutout.png"


# Backdrops


def test_a_picture_lies_upon_its_main_colours(halves: Path, cutout: Path, tmp_path: Path) -> None:
    plain = drawn(node("pad", width=80, height=120, extend="dominant"), halves, tmp_path)
    assert plain.size == (80, 120) and near(at(plain, 0.9, 0.05), (240, 140, 20)) and at(plain, 0.9, 0.5)[2] == 200
    two = drawn(node("pad", width=80, height=120, extend="gradient"), halves, tmp_path)
    assert near(at(two, 0, 0), (240, 140, 20)) and near(at(two, 1, 1), (20, 60, 200))
    assert near(at(two, 0.5, 0), (130, 100, 110), 6)
    four = drawn(node("pad", width=200, height=60, extend="gradient", colours=4), halves, tmp_path)
    assert near(at(four, 0, 0), (240, 140, 20)) and near(at(four, 1, 0), (20, 60, 200))
    behind = drawn(node("pad", width=120, height=100, extend="dominant"), cutout, tmp_path)
    assert behind.mode == "RGB" and at(behind, 0.1, 0.1) == (255, 255, 255)


def test_a_picture_lies_upon_its_blurred_self(tmp_path: Path) -> None:
    corners(80, 80).save(tmp_path / "in.png")
    soft = drawn(node("pad", width=240, height=80, extend="blur", sigma=10), tmp_path / "in.png", tmp_path)
    assert soft.size == (240, 80)
    # Three times as large, of which the middle third is seen: red on the left, green on the right, no edges.
    red, green = at(soft, 0.02, 0.05), at(soft, 0.98, 0.05)
    assert red[0] > 200 > 60 > red[1] and green[1] > 200 > 60 > green[0]
    assert difference(soft.crop((80, 0, 160, 80)), corners(80, 80)) == 0
    dark = drawn(node("pad", width=240, height=80, extend="blur", sigma=10, light=-0.5), tmp_path / "in.png", tmp_path)
    assert near(at(dark, 0.02, 0.05), tuple(max(0, band - 127) for band in red), 2)


# Gradients


@pytest.mark.parametrize(
    ("to", "first", "last", "between"),
    [
        ("bottom", (0.5, 0), (0.5, 1), (0.1, 0.5)),
        ("left", (1, 0.5), (0, 0.5), (0.5, 0.9)),
        ("top-right", (0, 1), (1, 0), (0, 0)),
        (90, (0, 0.3), (1, 0.3), (0.5, 0.5)),
        (-90, (1, 0.3), (0, 0.3), (0.5, 0.5)),
    ],
)
def test_a_gradient_runs_where_it_was_told(to: Any, first: Any, last: Any, between: Any, tmp_path: Path) -> None:
    Image.new("RGB", (120, 60), "green").save(tmp_path / "in.png")
    found = drawn(node("gradient", start="#000000", end="#c80064", to=to), tmp_path / "in.png", tmp_path)
    assert near(at(found, *first), (0, 0, 0), 4) and near(at(found, *last), (200, 0, 100), 4)
    assert near(at(found, *between), (100, 0, 50), 4)


def test_a_gradient_fades_without_another_colour(tmp_path: Path) -> None:
    Image.new("RGB", (60, 100), (100, 100, 100)).save(tmp_path / "in.png")
    found = drawn(node("gradient", stop=0.5), tmp_path / "in.png", tmp_path)
    # From white to nothing, not by way of grey.
    assert near(at(found, 0.5, 0.25), (178, 178, 178)) and at(found, 0.5, 0.6) == (100, 100, 100)


# Bends


def test_an_arc_keeps_the_length_of_the_middle_line(tmp_path: Path) -> None:
    image = Image.new("RGB", (360, 60), "white")
    ImageDraw.Draw(image).rectangle((0, 0, 359, 29), "red")
    image.save(tmp_path / "in.png")
    up = drawn(node("distort", arc=180), tmp_path / "in.png", tmp_path)
    # A half ring: the middle line has the radius 360 / pi = 114.6, the outer one 30 more.
    assert up.size == (290, 145) and up.mode == "RGBA"
    assert near(at(up, 0.5, 0.1), (255, 0, 0, 255)) and near(at(up, 0.5, 0.3), (255, 255, 255, 255))
    assert near(at(up, 0.1, 0.95), (255, 0, 0, 255), 12) and at(up, 0.5, 0.9)[3] == at(up, 0, 0)[3] == 0
    down = drawn(node("distort", arc=-180), tmp_path / "in.png", tmp_path)
    assert down.size == (290, 145)
    assert near(at(down, 0.5, 0.9), (255, 255, 255, 255)) and near(at(down, 0.5, 0.7), (255, 0, 0, 255))


def test_a_perspective_turns_a_picture_as_it_turns_its_corners(tmp_path: Path) -> None:
    corners(80, 40).save(tmp_path / "in.png")
    mirrored = [{"x": 79, "y": 0}, {"x": -1, "y": 0}, {"x": -1, "y": 40}, {"x": 79, "y": 40}]
    found = drawn(node("distort", corners=mirrored), tmp_path / "in.png", tmp_path)
    assert found.size == (80, 40)
    assert difference(found.convert("RGB"), corners(80, 40).transpose(Image.Transpose.FLIP_LEFT_RIGHT)) < 0.5
    bent = [{"x": 0, "y": 0}, {"x": 80, "y": 0}, {"x": 10, "y": 10}, {"x": 0, "y": 40}]
    with pytest.raises(NodeInvalid, match="convex"):
        node("distort", corners=bent).reach(outline_of(tmp_path / "in.png"))
    with pytest.raises(ValidationError, match="either"):
        node("distort", corners=mirrored, arc=30)


# Colours


def test_the_main_colour_is_replaced_where_none_is_named(halves: Path, tmp_path: Path) -> None:
    found = drawn(node("recolour", to="#3c8c50"), halves, tmp_path)
    assert near(at(found, 0.3, 0.5), (60, 140, 80), 2) and at(found, 0.9, 0.5) == (20, 60, 200)


def test_tones_are_stretched_without_more_colour(tmp_path: Path) -> None:
    ramp = Image.linear_gradient("L").point(lambda level: 60 + level // 2)
    Image.merge("RGB", (ramp, ramp.point(lambda level: level - 20), ramp)).save(tmp_path / "in.png")
    found = drawn(node("enhance", strength=1, colour=0), tmp_path / "in.png", tmp_path)
    low, high = found.getchannel("G").getextrema()
    assert low == 0 and high >= 240
    red, green, _ = at(found, 0.5, 0.5)
    # All bands by the same factor, about 2: what was 20 apart is 40.
    assert 36 <= red - green <= 44


def test_small_differences_are_not_sharpened(tmp_path: Path) -> None:
    image = Image.new("L", (60, 20), 100)
    image.paste(104, (20, 0, 40, 20))
    image.paste(200, (40, 0, 60, 20))
    image.save(tmp_path / "in.png")
    step: dict[str, Any] = {"sigma": 1.5, "amount": -2}
    every, large = (drawn(node("blur", threshold=limit, **step), tmp_path / "in.png", tmp_path) for limit in (0, 0.05))
    assert every.getpixel((20, 10)) > 104 and large.getpixel((20, 10)) == 104  # type: ignore[operator]
    assert every.getpixel((40, 10)) == large.getpixel((40, 10)) > 220  # type: ignore[operator]


# What is seen


def test_a_shadow_falls_within_the_canvas(cutout: Path, tmp_path: Path) -> None:
    step = node("shadow", x="30%", y=-20, blur=0, opacity=0.4, colour="#102030", fit="keep")
    found = drawn(step, cutout, tmp_path)
    assert found.size == (100, 100)
    assert at(found, 0.5, 0.5) == (255, 255, 255, 255) and at(found, 0.75, 0.25) == (16, 32, 48, 102)
    assert found.getchannel("A").getbbox() == (40, 20, 90, 60)
    away = drawn(node("shadow", x="-200%", fit="keep"), cutout, tmp_path)
    assert difference(away, Image.open(cutout)) == 0


def test_only_what_cannot_be_seen_is_cut(cutout: Path, halves: Path, tmp_path: Path) -> None:
    for path, size in ((cutout, (20, 20)), (halves, (80, 60))):
        step = node("trim", edges="transparent")
        seen = step.survey(open_picture(path, outline_of(path)))
        assert (seen.reach(outline_of(path)).width, seen.reach(outline_of(path)).height) == size


def test_a_picture_fades(halves: Path, cutout: Path, tmp_path: Path) -> None:
    found = drawn(node("adjust", opacity=0.5, saturation=0), halves, tmp_path)
    assert found.mode == "RGBA" and at(found, 0.2, 0.5)[3] == 128
    assert ImageStat.Stat(drawn(node("adjust", opacity=0.25), cutout, tmp_path)).extrema[3] == (0, 64)
