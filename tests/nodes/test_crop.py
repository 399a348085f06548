from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image
from pydantic import ValidationError

from pipeline.errors import NodeInvalid
from pipeline.imaging.encode import encode
from pipeline.imaging.open import open_picture
from pipeline.imaging.picture import Outline, Wish
from tests.nodes.studio import PHOTO, PHOTO_SIZE, corners, difference, drawn, node, opened, quarters


@pytest.fixture
def sheet(tmp_path: Path) -> Path:
    corners(400, 200).save(tmp_path / "in.png")
    return tmp_path / "in.png"


@pytest.mark.parametrize(
    ("parameters", "box"),
    [
        ({"region": {"left": 10, "top": 20, "width": 100, "height": 50}}, (10, 20, 110, 70)),
        ({"region": {"left": "25%", "top": "50%", "width": "50%", "height": "50%"}}, (100, 100, 300, 200)),
        ({"region": {"left": 350, "top": 150, "width": 100, "height": 100}}, (350, 150, 400, 200)),
        ({"aspect": "1:1"}, (100, 0, 300, 200)),
        ({"aspect": "16:9", "gravity": "right"}, (44, 0, 400, 200)),
        ({"aspect": "1:2", "gravity": "left"}, (0, 0, 100, 200)),
        ({"width": 50, "height": 60, "gravity": "bottom-right"}, (350, 140, 400, 200)),
        ({"width": 50}, (175, 0, 225, 200)),
        ({"width": 9000, "height": 9000}, (0, 0, 400, 200)),
        ({"width": 100, "height": 100, "focus": {"x": 0.9, "y": 0.1}}, (300, 0, 400, 100)),
    ],
)
def test_it_keeps_exactly_the_box_that_was_asked_for(
    parameters: dict[str, object], box: tuple[int, int, int, int], sheet: Path, tmp_path: Path
) -> None:
    step = node("crop", **parameters)
    found = drawn(step, sheet, tmp_path)
    assert difference(found, opened(sheet).crop(box)) == 0
    assert step.reach(Outline(400, 200)).sized(*found.size) == step.reach(Outline(400, 200))


@pytest.mark.parametrize("gravity", ["attention", "entropy"])
def test_it_finds_the_part_that_catches_the_eye(gravity: str, tmp_path: Path) -> None:
    plain = Image.new("RGB", (900, 200), (90, 90, 90))
    plain.paste(opened(PHOTO).resize((200, 200)), (650, 0))
    plain.save(tmp_path / "in.png")
    found = drawn(node("crop", aspect="1:1", gravity=gravity), tmp_path / "in.png", tmp_path)
    plain_pixels = sum(count for count, colour in found.getcolors(200 * 200) or [] if colour == (90, 90, 90))
    assert plain_pixels < 0.4 * 200 * 200


def test_a_crop_before_a_resize_is_made_from_a_small_decode(tmp_path: Path) -> None:
    outline = Outline(*PHOTO_SIZE, format="jpeg")
    crop = node("crop", region={"left": 1000, "top": 500, "width": 3000, "height": 2000})
    small = node("resize", width=300)
    scale = crop.demand(outline, small.demand(crop.reach(outline), 1.0))
    picture = open_picture(PHOTO, outline, scale)
    assert picture.pixels.width == PHOTO_SIZE[0] // 4
    made = small.apply(crop.apply(picture, {}), {}).wishing(Wish(format="png"))
    found = opened(encode(made, tmp_path / "out.png").path)
    reference = opened(PHOTO).crop((1000, 500, 4000, 2500)).resize((300, 200), Image.Resampling.LANCZOS)
    assert difference(found, reference) < 2.5


def test_a_turned_photograph_is_cut_as_it_is_shown(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    corners(400, 200).save(tmp_path / "in.jpg", exif=exif, quality=95)
    found = drawn(
        node("crop", region={"left": 0, "top": 0, "width": 200, "height": 200}), tmp_path / "in.jpg", tmp_path
    )
    blue, red = quarters(found)[0], quarters(found)[1]
    assert blue[2] > 200 > blue[0] and red[0] > 200 > red[2]


def test_a_region_outside_the_picture_is_told(sheet: Path, tmp_path: Path) -> None:
    step = node("crop", region={"left": 400, "top": 0, "width": 10, "height": 10})
    with pytest.raises(NodeInvalid, match="outside the 400 x 200 picture"):
        drawn(step, sheet, tmp_path)


@pytest.mark.parametrize(
    "parameters",
    [{}, {"aspect": "1:1", "width": 5}, {"aspect": "0:1"}, {"aspect": "wide"}, {"region": {"left": 0}}],
)
def test_anything_but_one_way_to_crop_is_refused(parameters: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        node("crop", **parameters)
