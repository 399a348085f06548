from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from pydantic import ValidationError

from pipeline.imaging.picture import Outline
from tests.nodes.studio import PHOTO, PHOTO_SIZE, corners, difference, drawn, node, opened, quarters, reduced


@pytest.mark.parametrize(
    ("parameters", "source", "expected"),
    [
        ({"width": 320}, (1000, 500), (320, 160)),
        ({"height": 100}, (1000, 500), (200, 100)),
        ({"width": 300, "height": 300}, (1000, 500), (300, 150)),
        ({"width": 300, "height": 300, "fit": "outside"}, (1000, 500), (600, 300)),
        ({"width": 300, "height": 300, "fit": "cover"}, (1000, 500), (300, 300)),
        ({"width": 300, "height": 300, "fit": "contain"}, (1000, 500), (300, 300)),
        ({"width": 300, "height": 300, "fit": "fill"}, (1000, 500), (300, 300)),
        ({"width": 2000}, (1000, 500), (1000, 500)),
        ({"width": 2000, "enlarge": True}, (1000, 500), (2000, 1000)),
        ({"width": 2000, "height": 2000, "fit": "cover"}, (1000, 500), (2000, 2000)),
        ({"width": 2000, "height": 800, "fit": "cover", "enlarge": False}, (1000, 500), (1000, 500)),
        ({"width": 2000, "height": 400, "fit": "fill", "enlarge": False}, (1000, 500), (1000, 400)),
        ({"width": 1}, (10000, 1), (1, 1)),
    ],
)
def test_every_fit_gives_the_size_it_promises(
    parameters: dict[str, object], source: tuple[int, int], expected: tuple[int, int], tmp_path: Path
) -> None:
    corners(*source).save(tmp_path / "in.png")
    step = node("resize", **parameters)
    assert drawn(step, tmp_path / "in.png", tmp_path).size == expected
    reached = step.reach(Outline(*source))
    assert (reached.width, reached.height) == expected


@pytest.mark.parametrize("size", [320, 800, 1600, 2600])
def test_a_photograph_looks_as_pillow_would_make_it(size: int, tmp_path: Path) -> None:
    found = drawn(node("resize", width=size), PHOTO, tmp_path)
    height = round(PHOTO_SIZE[1] * size / PHOTO_SIZE[0])
    reference = opened(PHOTO).resize((size, height), Image.Resampling.LANCZOS)
    assert difference(found, reference) < 2.0


@pytest.mark.parametrize("size", [(450, 254), (600, 338), (900, 150)])
def test_a_picture_grows_in_its_place(size: tuple[int, int], tmp_path: Path) -> None:
    small = reduced(300, 169)
    small.save(tmp_path / "in.png")
    found = drawn(node("resize", width=size[0], height=size[1], fit="fill"), tmp_path / "in.png", tmp_path)
    kernels = (Image.Resampling.BICUBIC, Image.Resampling.LANCZOS)
    reference = small.resize((size[0], 169), kernels[0]).resize(size, kernels[size[1] < 169])
    assert difference(found, reference) < 0.5


def test_cover_keeps_the_part_the_gravity_names(tmp_path: Path) -> None:
    corners(1000, 500).save(tmp_path / "in.png")
    left = drawn(node("resize", width=100, height=100, fit="cover", gravity="left"), tmp_path / "in.png", tmp_path)
    assert quarters(left) == [(255, 0, 0), (255, 0, 0), (0, 0, 255), (0, 0, 255)]
    focus = node("resize", width=100, height=100, fit="cover", focus={"x": 1, "y": 0.5})
    right = drawn(focus, tmp_path / "in.png", tmp_path)
    assert quarters(right) == [(0, 255, 0), (0, 255, 0), (255, 255, 255), (255, 255, 255)]


@pytest.mark.parametrize("gravity", ["attention", "entropy"])
def test_cover_looks_for_what_is_interesting(gravity: str, tmp_path: Path) -> None:
    plain = Image.new("RGB", (1200, 300), (120, 120, 120))
    busy = reduced(300, 300)
    plain.paste(busy, (850, 0))
    plain.save(tmp_path / "in.png")
    found = drawn(node("resize", width=150, height=150, fit="cover", gravity=gravity), tmp_path / "in.png", tmp_path)
    plain_pixels = sum(count for count, colour in found.getcolors(150 * 150) or [] if colour == (120, 120, 120))
    assert plain_pixels < 0.4 * 150 * 150


def test_contain_pads_with_the_background_and_its_alpha(tmp_path: Path) -> None:
    corners(1000, 500).save(tmp_path / "in.png")
    step = node("resize", width=100, height=100, fit="contain", background="#ff00ff80")
    found = drawn(step, tmp_path / "in.png", tmp_path)
    assert found.mode == "RGBA"
    assert found.getpixel((50, 5)) == (255, 0, 255, 128)
    assert found.getpixel((10, 30)) == (255, 0, 0, 255)


def test_transparent_pixels_do_not_bleed_into_visible_ones(tmp_path: Path) -> None:
    image = Image.new("RGBA", (200, 200), (255, 0, 0, 0))
    image.paste((0, 0, 255, 255), (0, 0, 100, 200))
    image.save(tmp_path / "in.png")
    found = drawn(node("resize", width=50), tmp_path / "in.png", tmp_path)
    reds = [found.getpixel((x, 25))[0] for x in range(50) if found.getpixel((x, 25))[3] > 0]  # type: ignore[index]
    assert max(reds) <= 3


@pytest.mark.parametrize("orientation", range(1, 9))
def test_every_exif_orientation_comes_out_upright(orientation: int, tmp_path: Path) -> None:
    turns = {2: 0, 3: 3, 4: 1, 5: 5, 6: 4, 7: 6, 8: 2}
    upright = corners(800, 600)
    stored = upright
    if orientation in turns:
        inverse = {0: 0, 1: 1, 2: 4, 3: 3, 4: 2, 5: 5, 6: 6}[turns[orientation]]
        stored = upright.transpose(Image.Transpose(inverse))
        assert difference(stored.transpose(Image.Transpose(turns[orientation])), upright) == 0
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored.save(tmp_path / "in.jpg", exif=exif, quality=95)
    found = drawn(node("resize", width=200), tmp_path / "in.jpg", tmp_path)
    assert found.size == (200, 150)
    assert difference(found, upright.resize((200, 150))) < 2


def test_an_animation_keeps_its_frames_and_their_times(tmp_path: Path) -> None:
    frames = [Image.new("RGB", (200, 100), colour) for colour in ("red", "lime", "blue")]
    frames[0].save(tmp_path / "in.gif", save_all=True, append_images=frames[1:], duration=[100, 200, 300], loop=0)
    found = drawn(node("resize", width=50, height=50, fit="cover"), tmp_path / "in.gif", tmp_path, format="webp")
    assert (found.size, getattr(found, "n_frames", 1)) == ((50, 50), 3)
    seen, times = [], []
    for number in range(3):
        found.seek(number)
        seen.append(max(range(3), key=lambda band: found.convert("RGB").getpixel((25, 25))[band]))  # type: ignore[index]
        found.load()
        times.append(found.info["duration"])
    assert seen == [0, 1, 2]
    assert times == [100, 200, 300]


def test_a_resize_needs_a_side() -> None:
    with pytest.raises(ValidationError, match="needs a width, a height or both"):
        node("resize", fit="cover")


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    source=st.tuples(st.integers(1, 300), st.integers(1, 300)),
    width=st.none() | st.integers(1, 400),
    height=st.none() | st.integers(1, 400),
    fit=st.sampled_from(["contain", "cover", "fill", "inside", "outside"]),
    enlarge=st.none() | st.booleans(),
)
def test_what_is_foretold_is_what_comes(
    source: tuple[int, int], width: int | None, height: int | None, fit: str, enlarge: bool | None, tmp_path: Path
) -> None:
    if width is None and height is None:
        return
    step = node("resize", width=width, height=height, fit=fit, enlarge=enlarge)
    corners(*source).save(tmp_path / "in.png")
    reached = step.reach(Outline(*source))
    assert drawn(step, tmp_path / "in.png", tmp_path).size == (reached.width, reached.height)
    assert 0 < step.demand(Outline(*source), 1.0) <= 1.0


def test_a_webp_one_pixel_wide_shrinks_too(tmp_path: Path) -> None:
    Image.new("RGB", (1, 5000), (10, 200, 30)).save(tmp_path / "in.webp", lossless=True)
    found = drawn(node("resize", height=500), tmp_path / "in.webp", tmp_path)
    assert (found.size, found.getpixel((0, 250))) == ((1, 500), (10, 200, 30))
