"""Watermark and text: what is laid over a picture."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image, ImageChops

from pipeline.imaging.open import open_shipped
from pipeline.imaging.picture import Picture
from tests.nodes.studio import drawn, node


@pytest.fixture
def grey(tmp_path: Path) -> Path:
    Image.new("RGB", (400, 300), (100, 100, 100)).save(tmp_path / "in.png")
    return tmp_path / "in.png"


@pytest.fixture
def mark(tmp_path: Path) -> Picture:
    Image.new("RGBA", (40, 20), (255, 0, 0, 255)).save(tmp_path / "mark.png")
    return open_shipped(tmp_path / "mark.png")


def touched(found: Image.Image) -> tuple[int, int, int, int] | None:
    """The box in which the picture is no longer plain grey."""
    return ImageChops.difference(found.convert("RGB"), Image.new("RGB", found.size, (100, 100, 100))).getbbox()


@pytest.mark.parametrize(
    ("position", "box"),
    [
        ("top-left", (10, 10, 50, 30)),
        ("top", (180, 10, 220, 30)),
        ("top-right", (350, 10, 390, 30)),
        ("left", (10, 140, 50, 160)),
        ("center", (180, 140, 220, 160)),
        ("right", (350, 140, 390, 160)),
        ("bottom-left", (10, 270, 50, 290)),
        ("bottom", (180, 270, 220, 290)),
        ("bottom-right", (350, 270, 390, 290)),
    ],
)
def test_the_mark_sits_where_it_was_told(
    position: str, box: tuple[int, int, int, int], grey: Path, mark: Picture, tmp_path: Path
) -> None:
    found = drawn(node("watermark", image="asset:x", position=position, margin=10), grey, tmp_path, mark=mark)
    assert found.size == (400, 300)
    assert touched(found) == box
    assert found.getpixel((box[0], box[1])) == (255, 0, 0)


def test_opacity_mixes_the_mark_with_what_is_under_it(grey: Path, mark: Picture, tmp_path: Path) -> None:
    step = node("watermark", image="asset:x", position="center", opacity=0.5)
    red, green, blue = drawn(step, grey, tmp_path, mark=mark).getpixel((200, 150))  # type: ignore[misc]
    assert abs(red - 178) <= 2 and abs(green - 50) <= 2 and abs(blue - 50) <= 2


def test_scale_is_a_fraction_of_the_pictures_width(grey: Path, mark: Picture, tmp_path: Path) -> None:
    step = node("watermark", image="asset:x", position="top-left", margin=0, scale=0.5)
    assert touched(drawn(step, grey, tmp_path, mark=mark)) == (0, 0, 200, 100)


def test_tiles_cover_everything(grey: Path, mark: Picture, tmp_path: Path) -> None:
    found = drawn(node("watermark", image="asset:x", tile=True, margin=10), grey, tmp_path, mark=mark)
    assert touched(found) == (0, 0, 390, 290)
    assert [found.getpixel((x, 5)) for x in (5, 45, 55)] == [(255, 0, 0), (100, 100, 100), (255, 0, 0)]


def test_a_mark_larger_than_the_picture_is_made_to_fit(grey: Path, tmp_path: Path) -> None:
    Image.new("RGB", (4000, 1000), "red").save(tmp_path / "huge.png")
    found = drawn(
        node("watermark", image="asset:x", margin=20), grey, tmp_path, mark=open_shipped(tmp_path / "huge.png")
    )
    assert touched(found) == (20, 190, 380, 280)


def test_every_frame_of_an_animation_is_marked(mark: Picture, tmp_path: Path) -> None:
    frames = [Image.new("RGB", (100, 80), colour) for colour in ("blue", "lime")]
    frames[0].save(tmp_path / "in.webp", save_all=True, append_images=frames[1:], duration=100, lossless=True)
    step = node("watermark", image="asset:x", position="center")
    found = drawn(step, tmp_path / "in.webp", tmp_path, format="gif", mark=mark)
    assert getattr(found, "n_frames", 1) == 2
    for number in range(2):
        found.seek(number)
        assert found.convert("RGB").getpixel((50, 40))[0] > 240  # type: ignore[index]


def test_text_is_written_in_its_colour_where_it_was_told(grey: Path, tmp_path: Path) -> None:
    step = node("text", text="Hello", size=40, colour="#ff0000", position="bottom-left", margin=20)
    found = drawn(step, grey, tmp_path)
    box = touched(found)
    assert box and 20 <= box[0] <= 26 and box[3] <= 280 and 25 <= box[3] - box[1] <= 45
    reddest = max(found.convert("RGB").get_flattened_data(), key=lambda pixel: pixel[0] - pixel[1])
    assert reddest == (255, 0, 0)


def test_text_is_wrapped_to_the_room_there_is(grey: Path, tmp_path: Path) -> None:
    words = "a sentence that is much too long for a single line of this picture"
    box = touched(drawn(node("text", text=words, size=40, margin=20), grey, tmp_path))
    assert box and box[2] <= 380 and box[3] - box[1] > 100


def test_markup_in_a_text_is_only_text(grey: Path, tmp_path: Path) -> None:
    marked = drawn(node("text", text="<b>5 & 6</b>", size=30), grey, tmp_path)
    plain = drawn(node("text", text="5 & 6", size=30), grey, tmp_path)
    wide, narrow = touched(marked), touched(plain)
    assert wide and narrow and wide[2] - wide[0] > 1.5 * (narrow[2] - narrow[0])


def test_a_plate_lies_behind_the_text(grey: Path, tmp_path: Path) -> None:
    step = node("text", text="Hi", size=30, background="#0000ff", padding=10, position="top-left", margin=5)
    found = drawn(step, grey, tmp_path)
    assert found.getpixel((6, 6)) == (0, 0, 255)
