"""Pad, rotate, flip, round, border and shadow: what gives a picture another outline."""

from __future__ import annotations

import math
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image, ImageChops, ImageDraw, ImageOps, ImageStat
from pydantic import ValidationError

from pipeline.imaging.encode import encode
from pipeline.imaging.open import open_picture
from pipeline.imaging.picture import Outline, Picture, Wish
from pipeline.imaging.shapes import turned
from tests.nodes.studio import PHOTO, applied, corners, difference, drawn, node, opened, outline_of, reduced

RED, GREEN, BLUE, WHITE = (255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255)
# How Pillow shows each EXIF orientation.
SHOWN = {2: 0, 3: 3, 4: 1, 5: 5, 6: 4, 7: 6, 8: 2}
TURNS: list[tuple[str, dict[str, Any], int]] = [
    ("flip", {}, 2),
    ("flip", {"direction": "vertical"}, 4),
    ("flip", {"direction": "both"}, 3),
    ("rotate", {"angle": 90}, 6),
    ("rotate", {"angle": 180}, 3),
    ("rotate", {"angle": 270}, 8),
    ("rotate", {"angle": -90}, 8),
    ("rotate", {"angle": -180}, 3),
]
STEPS: list[tuple[str, dict[str, Any]]] = [
    ("pad", {"top": 3, "left": 5}),
    ("pad", {"aspect": "16:9", "background": "#00000000"}),
    ("pad", {"width": 50, "height": 60, "extend": "mirror"}),
    ("pad", {"right": 40, "bottom": 7, "extend": "copy"}),
    ("rotate", {"angle": 90}),
    ("rotate", {"angle": 270, "fit": "keep"}),
    ("rotate", {"angle": 17.5}),
    ("rotate", {"angle": -100, "fit": "keep", "background": "#ff0000"}),
    ("flip", {"direction": "both"}),
    ("round", {"radius": 6}),
    ("round", {"radius": "50%"}),
    ("round", {"circle": True}),
    ("border", {"width": 4}),
    ("border", {"width": 4, "place": "inside", "colour": "#00ff0080"}),
    ("border", {"width": 3, "radius": "25%"}),
    ("shadow", {"x": 4, "y": -6, "blur": 2.5}),
    ("shadow", {"blur": 30}),
]


def shown(image: Image.Image, orientation: int) -> Image.Image:
    return image.transpose(Image.Transpose(SHOWN[orientation])) if orientation in SHOWN else image


def unequal(width: int, height: int, mode: str = "RGB") -> Image.Image:
    """A picture no two pixels of which are alike near each other."""
    return _unequal(width, height).convert(mode)


@cache
def _unequal(width: int, height: int) -> Image.Image:
    image = Image.new("RGBA", (width, height))
    pixels = [(x * 7 % 256, y * 5 % 256, (x + 2 * y) * 3 % 256, 128 + (x + y) % 128) for y in range(height)
              for x in range(width)]  # fmt: skip
    image.putdata(pixels)
    return image


def saved(image: Image.Image, path: Path, **options: Any) -> Path:
    image.save(path, **options)
    return path


def tagged(orientation: int) -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112] = orientation
    return exif


def alike(one: Image.Image, other: Image.Image) -> bool:
    return one.size == other.size and ImageChops.difference(one.convert("RGBA"), other.convert("RGBA")).getbbox(
        alpha_only=False
    ) is None  # fmt: skip


def worst(one: Image.Image, other: Image.Image) -> int:
    """The largest difference of any band of any pixel."""
    assert (one.size, one.mode) == (other.size, other.mode)
    return highest(ImageChops.difference(one, other))


def highest(image: Image.Image) -> int:
    return int(max(high for _, high in ImageStat.Stat(image).extrema))


def scaled_down(step: Any, width: int, folder: Path) -> tuple[Picture, Image.Image]:
    """The photograph through the step and a resize to this width, decoded at the scale both need."""
    outline = outline_of(PHOTO)
    resize = node("resize", width=width)
    scale = step.demand(outline, resize.demand(step.reach(outline), 1.0))
    between = step.apply(open_picture(PHOTO, outline, scale).oriented(), {})
    done = encode(resize.apply(between, {}).wishing(Wish(format="png")), folder / "small.png")
    return between, opened(done.path)


# Flip and rotate by quarters


@pytest.mark.parametrize(("type", "parameters", "orientation"), TURNS)
@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L"])
def test_turns_are_exact_and_without_loss(
    type: str, parameters: dict[str, Any], orientation: int, mode: str, tmp_path: Path
) -> None:
    # Taller than what a streaming decoder keeps.
    image = unequal(130, 900, mode)
    found = drawn(node(type, **parameters), saved(image, tmp_path / "in.png"), tmp_path)
    assert found.mode == mode
    assert alike(found, shown(image, orientation))


@pytest.mark.parametrize(("type", "parameters", "orientation"), TURNS)
@pytest.mark.parametrize("exif", range(1, 9))
def test_turns_start_from_the_upright_photograph(
    type: str, parameters: dict[str, Any], orientation: int, exif: int, tmp_path: Path
) -> None:
    source = saved(corners(160, 120), tmp_path / "in.jpg", exif=tagged(exif), quality=95)
    found = drawn(node(type, **parameters), source, tmp_path)
    assert difference(found, shown(ImageOps.exif_transpose(opened(source)), orientation)) < 1


@pytest.mark.parametrize("exif", range(1, 9))
@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_kept_exif_does_not_turn_the_result_again(exif: int, orientation: int, tmp_path: Path) -> None:
    source = saved(corners(160, 120), tmp_path / "in.jpg", exif=tagged(exif), quality=95)
    picture = turned(open_picture(source, outline_of(source)).oriented(), orientation)
    done = encode(picture.wishing(Wish(format="jpeg", strip=False)), tmp_path / "out.jpg")
    found, upright = opened(done.path), ImageOps.exif_transpose(opened(source))
    assert found.getexif().get(0x0112, 1) == 1
    assert difference(found, shown(upright, orientation)) < 2


@pytest.mark.parametrize("first", range(1, 9))
@pytest.mark.parametrize("second", range(1, 9))
def test_two_turns_are_one(first: int, second: int, tmp_path: Path) -> None:
    image = unequal(12, 8)
    source = saved(image, tmp_path / "in.png")
    picture = turned(turned(open_picture(source, outline_of(source)), first), second)
    done = encode(picture, tmp_path / "out.png")
    assert alike(opened(done.path), shown(shown(image, first), second))
    assert (done.width, done.height) == (picture.outline.width, picture.outline.height)


def test_an_orientation_that_was_not_applied_yet_is_applied_after_the_turn(tmp_path: Path) -> None:
    source = saved(corners(160, 120), tmp_path / "in.jpg", exif=tagged(6), quality=95)
    untouched = open_picture(source, outline_of(source))
    rotated = node("rotate", angle=90).apply(untouched, {})
    assert (rotated.outline.width, rotated.outline.height, rotated.outline.orientation) == (120, 160, 6)
    kept = opened(encode(rotated.wishing(Wish(format="jpeg", strip=False)), tmp_path / "kept.jpg").path)
    assert kept.getexif().get(0x0112) == 6
    found = opened(encode(rotated.oriented().wishing(Wish(format="png")), tmp_path / "out.png").path)
    assert difference(found, shown(shown(opened(source), 6), 6)) < 1
    assert difference(ImageOps.exif_transpose(kept), found) < 2


@pytest.mark.parametrize(("type", "parameters", "orientation"), TURNS)
def test_turns_ask_for_no_more_than_is_wanted(
    type: str, parameters: dict[str, Any], orientation: int, tmp_path: Path
) -> None:
    step = node(type, **parameters)
    assert step.demand(Outline(4000, 3000), 0.2) == 0.2
    between, found = scaled_down(step, 300, tmp_path)
    assert between.pixels.width * between.pixels.height < 0.1 * between.outline.width * between.outline.height
    full = shown(opened(PHOTO), orientation)
    assert difference(found, full.resize(found.size, Image.Resampling.LANCZOS)) < 2


# Rotate by any angle


def pillow_rotated(image: Image.Image, angle: float, size: tuple[int, int], background: Any) -> Image.Image:
    """The same turn by Pillow, each result pixel looked up from the middle of either picture."""
    cos, sin = math.cos(math.radians(angle)), math.sin(math.radians(angle))
    x, y = size[0] / 2, size[1] / 2
    matrix = (cos, sin, image.width / 2 - cos * x - sin * y, -sin, cos, image.height / 2 + sin * x - cos * y)
    return image.transform(
        size, Image.Transform.AFFINE, matrix, Image.Resampling.BICUBIC, fillcolor=background
    )  # fmt: skip


@pytest.mark.parametrize("angle", [1, 17.5, 45, 89.9, 133, -30, 359, -271])
@pytest.mark.parametrize("fit", ["expand", "keep"])
def test_any_angle_turns_as_pillow_does(angle: float, fit: str, tmp_path: Path) -> None:
    image = reduced(400, 225, Image.Resampling.LANCZOS)
    step = node("rotate", angle=angle, fit=fit, background="#204060")
    found = drawn(step, saved(image, tmp_path / "in.png"), tmp_path)
    assert found.mode == "RGB"
    assert difference(found, pillow_rotated(image, angle, found.size, (32, 64, 96))) < 1.5
    assert fit == "expand" or found.size == (400, 225)


@pytest.mark.parametrize(
    ("size", "angle", "expected"),
    [((100, 100), 45, (142, 142)), ((300, 400), 30, (460, 497)), ((1, 1), 10, (2, 2)), ((100, 50), 360, (100, 50))],
)
def test_expanding_makes_room_for_the_corners(
    size: tuple[int, int], angle: float, expected: tuple[int, int], tmp_path: Path
) -> None:
    found = drawn(node("rotate", angle=angle), saved(corners(*size), tmp_path / "in.png"), tmp_path)
    assert found.size == expected


def test_what_lies_beside_is_transparent_and_shows_white_in_jpeg(tmp_path: Path) -> None:
    source = saved(Image.new("RGB", (100, 100), RED), tmp_path / "in.png")
    found = drawn(node("rotate", angle=45), source, tmp_path)
    assert found.getpixel((2, 2)) == (0, 0, 0, 0)
    # The edge fades in the picture's own colour.
    seen = {pixel[:3] for _, pixel in found.getcolors(30_000) or [] if pixel[3] > 0}  # type: ignore[index]
    assert all(red >= 253 and green <= 2 and blue <= 2 for red, green, blue in seen)
    jpeg = drawn(node("rotate", angle=45), source, tmp_path, format="jpeg")
    assert min(jpeg.getpixel((2, 2))) > 250  # type: ignore[arg-type]


def test_a_background_may_be_half_transparent(tmp_path: Path) -> None:
    image = Image.new("RGBA", (100, 100), (*RED, 255))
    found = drawn(node("rotate", angle=45, background="#0000ff80"), saved(image, tmp_path / "in.png"), tmp_path)
    assert found.getpixel((2, 2)) == (0, 0, 255, 128)
    assert found.getpixel((71, 71)) == (255, 0, 0, 255)


@pytest.mark.parametrize(("size", "angle"), [((60, 40), 90), ((40, 60), 270), ((61, 40), 90), ((1, 30), -90)])
def test_a_quarter_turn_that_keeps_the_size_is_cut_and_padded_without_loss(
    size: tuple[int, int], angle: int, tmp_path: Path
) -> None:
    image = unequal(*size)
    found = drawn(node("rotate", angle=angle, fit="keep"), saved(image, tmp_path / "in.png"), tmp_path)
    assert (found.size, found.mode) == (size, "RGBA")
    whole = shown(image, 6 if angle == 90 else 8).convert("RGBA")
    across, down = min(size[0], whole.width), min(size[1], whole.height)
    left, top = (whole.width - across) // 2, (whole.height - down) // 2
    expected = Image.new("RGBA", size, (255, 255, 255, 0))
    middle = whole.crop((left, top, left + across, top + down))
    expected.paste(middle, ((size[0] - across) // 2, (size[1] - down) // 2))
    assert alike(found, expected)


@pytest.mark.parametrize("parameters", [{"angle": 30}, {"angle": 12, "fit": "keep"}, {"angle": 90, "fit": "keep"}])
def test_a_turned_photograph_made_small_is_decoded_small(parameters: dict[str, Any], tmp_path: Path) -> None:
    step = node("rotate", **parameters, background="#000000")
    between, found = scaled_down(step, 400, tmp_path)
    assert between.pixels.width < between.outline.width / 3
    photo = opened(PHOTO)
    reached = step.reach(outline_of(PHOTO))
    full = pillow_rotated(photo, parameters["angle"], (reached.width, reached.height), (0, 0, 0))
    assert difference(found, full.resize(found.size, Image.Resampling.LANCZOS)) < 2


# Pad


@pytest.mark.parametrize(
    ("parameters", "size", "spot"),
    [
        ({"top": 10}, (100, 60), (0, 10)),
        ({"top": 1, "right": 2, "bottom": 3, "left": 4}, (106, 54), (4, 1)),
        ({"aspect": "1:1"}, (100, 100), (0, 25)),
        ({"aspect": "1:1", "gravity": "top"}, (100, 100), (0, 0)),
        ({"aspect": "4:1", "gravity": "right"}, (200, 50), (100, 0)),
        ({"aspect": "2:1"}, (100, 50), (0, 0)),
        ({"width": 150, "height": 150}, (150, 150), (25, 50)),
        ({"width": 150, "height": 150, "gravity": "bottom-left"}, (150, 150), (0, 100)),
        ({"width": 50, "height": 80}, (100, 80), (0, 15)),
        ({"height": 80}, (100, 80), (0, 15)),
        ({"width": 10}, (100, 50), (0, 0)),
    ],
)
def test_padding_puts_the_picture_where_it_was_told(
    parameters: dict[str, Any], size: tuple[int, int], spot: tuple[int, int], tmp_path: Path
) -> None:
    image = unequal(100, 50)
    step = node("pad", background="#123456", **parameters)
    found = drawn(step, saved(image, tmp_path / "in.png"), tmp_path)
    expected = Image.new("RGB", size, (0x12, 0x34, 0x56))
    expected.paste(image, spot)
    assert found.mode == "RGB"
    assert alike(found, expected)


def test_padding_may_be_transparent_and_keeps_the_pictures_alpha(tmp_path: Path) -> None:
    image = unequal(40, 30, "RGBA")
    found = drawn(node("pad", left=10, background="#ff000040"), saved(image, tmp_path / "in.png"), tmp_path)
    expected = Image.new("RGBA", (50, 30), (255, 0, 0, 64))
    expected.paste(image, (10, 0))
    assert alike(found, expected)


@pytest.mark.parametrize("extend", ["mirror", "copy"])
def test_padding_may_go_on_with_the_picture_itself(extend: str, tmp_path: Path) -> None:
    image = unequal(60, 700)
    step = node("pad", top=100, right=9, bottom=50, left=7, extend=extend)
    found = drawn(step, saved(image, tmp_path / "in.png"), tmp_path)
    assert found.size == (76, 850)
    for x in range(76):
        for y in (0, 37, 99, 100, 400, 799, 800, 849):
            across, down = x - 7, y - 100
            if extend == "mirror":
                across = -1 - across if across < 0 else across if across < 60 else 119 - across
                down = -1 - down if down < 0 else down if down < 700 else 1399 - down
            source = min(59, max(0, across)), min(699, max(0, down))
            assert found.getpixel((x, y)) == image.getpixel(source)


def test_padding_that_adds_nothing_asks_for_nothing() -> None:
    assert node("pad", aspect="2:1").demand(Outline(400, 200), 0.1) == 0.1
    assert node("pad", aspect="1:1").demand(Outline(400, 200), 0.1) == 1.0


# Round


def arched(width: int, height: int, radius: float) -> Image.Image:
    """The coverage of a rounded rectangle, drawn by Pillow eight times as large."""
    mask = Image.new("L", (width * 8, height * 8))
    box = (0, 0, width * 8 - 1, height * 8 - 1)
    ImageDraw.Draw(mask).rounded_rectangle(box, radius * 8, fill=255)
    return mask.resize((width, height), Image.Resampling.BOX)


@pytest.mark.parametrize(
    ("parameters", "size", "kept", "radius"),
    [
        ({"radius": 20}, (100, 60), (100, 60), 20),
        ({"radius": "25%"}, (100, 60), (100, 60), 15),
        ({"radius": 500}, (100, 60), (100, 60), 30),
        ({"radius": "50%"}, (101, 61), (101, 61), 30.5),
        ({"radius": 0}, (100, 60), (100, 60), 0),
        ({"circle": True}, (100, 60), (60, 60), 30),
        ({"circle": True}, (61, 901), (61, 61), 30.5),
    ],
)
def test_corners_are_cut_along_arcs(
    parameters: dict[str, Any], size: tuple[int, int], kept: tuple[int, int], radius: float, tmp_path: Path
) -> None:
    image = unequal(*size)
    found = drawn(node("round", **parameters), saved(image, tmp_path / "in.png"), tmp_path)
    assert found.size == kept
    left, top = (size[0] - kept[0]) // 2, (size[1] - kept[1]) // 2
    assert alike(found.convert("RGB"), image.crop((left, top, left + kept[0], top + kept[1])))
    expected = arched(*kept, radius) if radius else Image.new("L", kept, 255)
    assert worst(found.getchannel("A"), expected) <= 24
    assert difference(found.getchannel("A"), expected) < 0.4


def test_a_circle_has_the_area_of_a_circle(tmp_path: Path) -> None:
    source = saved(Image.new("RGB", (200, 300), RED), tmp_path / "in.png")
    alpha = drawn(node("round", circle=True), source, tmp_path).getchannel("A")
    area = ImageStat.Stat(alpha).sum[0] / 255
    assert area == pytest.approx(math.pi * 100**2, rel=0.001)
    # Anti-aliased, the same in all four corners.
    assert alpha.getextrema() == (0, 255) and len(alpha.getcolors() or []) > 20
    assert alike(alpha, ImageOps.mirror(alpha)) and alike(alpha, ImageOps.flip(alpha))


def test_rounding_keeps_the_alpha_there_is(tmp_path: Path) -> None:
    source = saved(Image.new("RGBA", (100, 100), (10, 20, 30, 128)), tmp_path / "in.png")
    found = drawn(node("round", radius=30), source, tmp_path)
    assert found.getpixel((50, 50)) == (10, 20, 30, 128)
    assert found.getchannel("A").getpixel((0, 0)) == 0


def test_a_format_without_alpha_shows_the_background_in_the_corners(tmp_path: Path) -> None:
    source = saved(Image.new("RGB", (100, 100), RED), tmp_path / "in.jpg", quality=95)
    step = node("round", radius=40, background="#0000ff")
    done = encode(applied(step, source), tmp_path / "out.jpg")
    assert done.format == "jpeg"
    red, green, blue = opened(done.path).getpixel((2, 2))  # type: ignore[misc]
    assert red < 20 and green < 20 and blue > 235
    plain = encode(applied(node("round", radius=40), source), tmp_path / "plain.jpg")
    assert min(opened(plain.path).getpixel((2, 2))) > 240  # type: ignore[arg-type]


def test_a_rounded_photograph_made_small_is_decoded_small(tmp_path: Path) -> None:
    between, found = scaled_down(node("round", radius=400), 500, tmp_path)
    assert between.pixels.width < between.outline.width / 3
    photo = opened(PHOTO)
    expected = photo.resize(found.size, Image.Resampling.LANCZOS)
    mask = arched(*found.size, 400 * found.width / photo.width)
    assert difference(found.getchannel("A"), mask) < 0.3
    white = Image.new("RGB", found.size, WHITE)
    assert difference(Image.composite(found.convert("RGB"), white, mask), Image.composite(expected, white, mask)) < 2


# Border


def test_a_border_outside_makes_the_picture_larger(tmp_path: Path) -> None:
    image = unequal(50, 400)
    found = drawn(node("border", width=7, colour="#ff8000"), saved(image, tmp_path / "in.png"), tmp_path)
    assert found.mode == "RGB"
    assert alike(found, ImageOps.expand(image, 7, (255, 128, 0)))


@pytest.mark.parametrize("mode", ["RGB", "RGBA"])
def test_a_border_inside_covers_the_edges(mode: str, tmp_path: Path) -> None:
    image = unequal(50, 40, mode)
    step = node("border", width=7, colour="#ff8000", place="inside")
    found = drawn(step, saved(image, tmp_path / "in.png"), tmp_path)
    expected = Image.new(mode, (50, 40), (255, 128, 0))
    expected.paste(image.crop((7, 7, 43, 33)), (7, 7))
    assert found.mode == mode
    assert alike(found, expected)


def test_a_translucent_border_shows_what_it_covers(tmp_path: Path) -> None:
    source = saved(Image.new("RGB", (50, 40), BLUE), tmp_path / "in.png")
    inside = drawn(node("border", width=5, colour="#ff000080", place="inside"), source, tmp_path)
    assert inside.mode == "RGB"
    assert all(abs(a - b) <= 1 for a, b in zip(inside.getpixel((2, 2)), (128, 0, 127), strict=True))  # type: ignore[arg-type]
    assert inside.getpixel((5, 5)) == BLUE
    outside = drawn(node("border", width=5, colour="#ff000080"), source, tmp_path)
    assert (outside.getpixel((2, 2)), outside.getpixel((5, 5))) == ((255, 0, 0, 128), (0, 0, 255, 255))


@pytest.mark.parametrize("place", ["outside", "inside"])
@pytest.mark.parametrize("radius", [30, 6, 1000])
def test_a_round_border_follows_its_arcs(place: str, radius: int, tmp_path: Path) -> None:
    source = saved(Image.new("RGB", (120, 80), BLUE), tmp_path / "in.png")
    step = node("border", width=10, colour="#ff0000", place=place, radius=radius)
    found = drawn(step, source, tmp_path)
    size = (140, 100) if place == "outside" else (120, 80)
    assert found.size == size
    arc = min(radius, size[1] / 2)
    assert worst(found.getchannel("A"), arched(*size, arc)) <= 24
    within = Image.new("L", size)
    within.paste(arched(size[0] - 20, size[1] - 20, max(0.0, arc - 10)) if arc > 10 else 255, (10, 10, size[0] - 10,
                 size[1] - 10))  # fmt: skip
    expected = Image.composite(Image.new("RGB", size, BLUE), Image.new("RGB", size, RED), within)
    seen = found.getchannel("A").point(lambda alpha: 255 if alpha > 200 else 0)
    black = Image.new("RGB", size)
    assert worst(Image.composite(found.convert("RGB"), black, seen), Image.composite(expected, black, seen)) <= 24


def test_there_is_no_gap_between_a_round_border_and_the_picture(tmp_path: Path) -> None:
    source = saved(Image.new("RGB", (120, 80), RED), tmp_path / "in.png")
    found = drawn(node("border", width=10, colour="#ff0000", radius=40), source, tmp_path)
    assert found.getchannel("A").crop((12, 12, 128, 88)).getextrema() == (255, 255)
    assert found.convert("RGB").crop((12, 12, 128, 88)).getcolors() == [(116 * 76, RED)]


def test_a_round_translucent_border_does_not_show_the_pictures_corners(tmp_path: Path) -> None:
    source = saved(Image.new("RGB", (100, 100), BLUE), tmp_path / "in.png")
    found = drawn(node("border", width=20, colour="#ff000080", radius="50%"), source, tmp_path)
    # The corner of the square picture lies at (20, 20), outside its circle of radius 50 about (70, 70).
    assert found.getpixel((30, 30)) == (255, 0, 0, 128)
    assert found.getpixel((70, 70)) == (0, 0, 255, 255)


def test_a_border_wider_than_the_picture_is_all_there_is(tmp_path: Path) -> None:
    source = saved(Image.new("RGB", (10, 6), BLUE), tmp_path / "in.png")
    found = drawn(node("border", width=3, colour="#ff0000", place="inside"), source, tmp_path)
    assert found.getcolors() == [(60, RED)]


# Shadow


def fallen(x: float, y: float, size: tuple[int, int], sigma: float) -> float:
    """The shadow of a rectangle at a point, computed: a blurred step is the Gaussian's integral in each direction."""

    def across(at: float, length: float) -> float:
        return (math.erf(at / sigma / math.sqrt(2)) - math.erf((at - length) / sigma / math.sqrt(2))) / 2

    return across(x, size[0]) * across(y, size[1])


@pytest.mark.parametrize(("x", "y", "sigma"), [(0, 0, 3), (10, -5, 2), (-30, 40, 7.5), (5, 5, 20), (0, 60, 40)])
@pytest.mark.parametrize("mode", ["RGB", "RGBA"])
def test_a_shadow_falls_as_computed(x: int, y: int, sigma: float, mode: str, tmp_path: Path) -> None:
    size, spread = (90, 60), math.ceil(3 * sigma)
    source = saved(Image.new(mode, size, (*BLUE, 255)[: len(mode)]), tmp_path / "in.png")
    found = drawn(node("shadow", x=x, y=y, blur=sigma, colour="#ff0000", opacity=0.8), source, tmp_path)
    left, top = max(0, spread - x), max(0, spread - y)
    assert found.size == (90 + left + max(0, spread + x), 60 + top + max(0, spread + y))
    for column in range(0, found.width, 3):
        for row in range(0, found.height, 3):
            seen = found.getpixel((column, row))
            if left <= column < left + 90 and top <= row < top + 60:
                assert seen == (*BLUE, 255)
                continue
            strength = fallen(column + 0.5 - left - x, row + 0.5 - top - y, size, sigma)
            assert abs(seen[3] - 255 * 0.8 * strength) <= 3, (column, row)  # type: ignore[index]
            assert seen[3] == 0 or seen[:3] == RED  # type: ignore[index]


@pytest.mark.parametrize("sigma", [0.4, 2, 9, 33])
def test_nothing_of_a_shadow_is_cut(sigma: float, tmp_path: Path) -> None:
    source = saved(Image.new("RGB", (150, 130), BLUE), tmp_path / "in.png")
    alpha = drawn(node("shadow", x=0, y=0, blur=sigma, opacity=1), source, tmp_path).getchannel("A")
    edges = [alpha.crop(box) for box in ((0, 0, alpha.width, 1), (0, 0, 1, alpha.height))]
    assert max(highest(edge) for edge in edges) <= 1


def test_a_shadow_has_the_shape_of_what_is_seen(tmp_path: Path) -> None:
    image = Image.new("RGBA", (60, 600), (0, 0, 0, 0))
    image.paste((*BLUE, 255), (20, 100, 40, 500))
    step = node("shadow", x=30, y=0, blur=0, colour="#ff0000", opacity=0.5)
    found = drawn(step, saved(image, tmp_path / "in.png"), tmp_path)
    assert found.size == (90, 600)
    assert [found.getpixel((x, 300)) for x in (10, 30, 45, 60, 80)] == [
        (0, 0, 0, 0), (*BLUE, 255), (0, 0, 0, 0), (255, 0, 0, 128), (0, 0, 0, 0)
    ]  # fmt: skip


def test_a_translucent_colour_weakens_the_shadow(tmp_path: Path) -> None:
    source = saved(Image.new("RGB", (20, 20), BLUE), tmp_path / "in.png")
    found = drawn(node("shadow", x=20, y=0, blur=0, colour="#ff000080", opacity=0.5), source, tmp_path)
    assert found.getpixel((30, 10)) == (255, 0, 0, 64)


# All of them


@pytest.mark.parametrize(("type", "parameters"), STEPS)
def test_an_animation_keeps_its_frames_and_their_times(type: str, parameters: dict[str, Any], tmp_path: Path) -> None:
    frames = [Image.new("RGB", (60, 40), colour) for colour in ("red", "lime", "blue")]
    frames[0].save(tmp_path / "in.gif", save_all=True, append_images=frames[1:], duration=[100, 200, 300], loop=0)
    step = node(type, **parameters)
    found = drawn(step, tmp_path / "in.gif", tmp_path, format="webp")
    reached = step.reach(outline_of(tmp_path / "in.gif"))
    assert (found.size, getattr(found, "n_frames", 1)) == ((reached.width, reached.height), 3)
    seen, times = [], []
    for number in range(3):
        found.seek(number)
        pixel = found.convert("RGB").getpixel((found.width // 2, found.height // 2))
        seen.append(max(range(3), key=lambda band: pixel[band]))  # type: ignore[index]
        found.load()
        times.append(found.info["duration"])
    assert (seen, times) == ([0, 1, 2], [100, 200, 300])


@pytest.mark.parametrize("size", [(1, 1), (1, 10_000), (10_000, 1), (2, 3)])
@pytest.mark.parametrize(("type", "parameters"), [step for step in STEPS if "aspect" not in step[1]])
def test_the_smallest_and_the_longest_pictures_work(
    type: str, parameters: dict[str, Any], size: tuple[int, int], tmp_path: Path
) -> None:
    step = node(type, **parameters)
    found = drawn(step, saved(Image.new("RGB", size, RED), tmp_path / "in.png"), tmp_path)
    reached = step.reach(Outline(*size))
    assert found.size == (reached.width, reached.height)


@pytest.mark.parametrize(("type", "parameters"), STEPS)
@pytest.mark.parametrize("exif", [3, 5, 6, 8])
def test_every_exif_orientation_comes_out_upright(
    type: str, parameters: dict[str, Any], exif: int, tmp_path: Path
) -> None:
    stored = saved(corners(64, 48), tmp_path / "in.jpg", exif=tagged(exif), quality=95)
    upright = saved(ImageOps.exif_transpose(opened(stored)), tmp_path / "upright.png")
    step = node(type, **parameters)
    one, other = drawn(step, stored, tmp_path), drawn(step, upright, tmp_path)
    assert (one.size, one.mode) == (other.size, other.mode)
    assert difference(one, other) < 1


@pytest.mark.parametrize("mode", ["L", "LA", "P", "CMYK", "I;16"])
@pytest.mark.parametrize(("type", "parameters"), STEPS)
def test_every_kind_of_pixel_is_taken(type: str, parameters: dict[str, Any], mode: str, tmp_path: Path) -> None:
    image = Image.new("I;16", (64, 48), 30_000) if mode == "I;16" else unequal(64, 48, "RGB").convert(mode)
    source = saved(image, tmp_path / ("in.tif" if mode == "CMYK" else "in.png"))
    step = node(type, **parameters)
    found = drawn(step, source, tmp_path)
    reached = step.reach(outline_of(source))
    assert (found.size, "A" in found.getbands()) == ((reached.width, reached.height), reached.alpha)


@pytest.mark.parametrize(
    ("type", "parameters", "complaint"),
    [
        ("pad", {}, "exactly one of edges"),
        ("pad", {"top": 1, "aspect": "1:1"}, "exactly one of edges"),
        ("pad", {"aspect": "0:1"}, "no zero side"),
        ("pad", {"left": -1}, "greater than or equal to 0"),
        ("rotate", {}, "Field required"),
        ("rotate", {"angle": float("nan")}, "less than or equal"),
        ("flip", {"direction": "diagonal"}, "horizontal"),
        ("round", {}, "either a radius, corners or"),
        ("round", {"radius": 4, "circle": True}, "either a radius, corners or"),
        ("round", {"radius": "wide"}, "pattern"),
        ("border", {"width": 0}, "greater than or equal to 1"),
        ("shadow", {"blur": -1}, "greater than or equal to 0"),
        ("shadow", {"colour": "black"}, "write a colour as"),
    ],
)
def test_what_cannot_be_is_refused(type: str, parameters: dict[str, Any], complaint: str) -> None:
    with pytest.raises(ValidationError, match=complaint):
        node(type, **parameters)


LENGTHS = st.integers(0, 80) | st.sampled_from(["0%", "3.5%", "50%", "100%"])
COLOURS = st.sampled_from(["#123", "#1234", "#ff000080"])
EDGES = st.integers(0, 40)
ANY_STEP = st.one_of(
    st.builds(
        lambda **said: ("pad", said), top=EDGES, right=EDGES, bottom=EDGES, left=st.integers(1, 40),
        extend=st.sampled_from(["background", "mirror", "copy"]), background=COLOURS,
    ),
    st.builds(
        lambda across, down, extend, background: (
            "pad", {"aspect": f"{across}:{down}", "extend": extend, "background": background}
        ),
        st.integers(1, 9), st.integers(1, 9), st.sampled_from(["background", "mirror", "copy"]), COLOURS,
    ),
    st.builds(lambda **said: ("pad", said), width=st.integers(1, 90), height=st.integers(1, 90), background=COLOURS),
    st.builds(
        lambda **said: ("rotate", said), angle=st.floats(-360, 360) | st.sampled_from([0, 90, 180, -90, 270, 360]),
        fit=st.sampled_from(["expand", "keep"]), background=COLOURS,
    ),
    st.builds(lambda **said: ("flip", said), direction=st.sampled_from(["horizontal", "vertical", "both"])),
    st.builds(lambda **said: ("round", said), radius=LENGTHS),
    st.just(("round", {"circle": True})),
    st.builds(
        lambda **said: ("border", said), width=st.integers(1, 30), colour=COLOURS, radius=LENGTHS,
        place=st.sampled_from(["inside", "outside"]),
    ),
    st.builds(
        lambda **said: ("shadow", said), x=st.integers(-40, 40), y=st.integers(-40, 40), colour=COLOURS,
        blur=st.floats(0, 20), opacity=st.floats(0, 1),
    ),
)  # fmt: skip


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(source=st.tuples(st.integers(1, 90), st.integers(1, 90)), mode=st.sampled_from(["RGB", "RGBA"]), step=ANY_STEP)
def test_what_is_foretold_is_what_comes(
    source: tuple[int, int], mode: str, step: tuple[str, dict[str, Any]], tmp_path: Path
) -> None:
    made = node(step[0], **step[1])
    path = saved(unequal(*source, mode), tmp_path / "in.png")
    found = drawn(made, path, tmp_path)
    reached = made.reach(outline_of(path))
    assert (found.size, "A" in found.getbands()) == ((reached.width, reached.height), reached.alpha)
    assert 0 < made.demand(Outline(*source), 0.5) <= 1.0
