"""Steps that follow each other become one: sizes as if each were done, pixels as if only one were."""

from __future__ import annotations

import random
import struct
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image, ImageOps

from pipeline.imaging.encode import encode
from pipeline.imaging.open import open_picture
from pipeline.imaging.picture import Picture, Wish
from pipeline.imaging.sandbox import Sandbox
from pipeline.nodes.base import ImageNode
from tests.graph.desk import Desk, file_at
from tests.nodes.studio import PHOTO, PHOTO_SIZE, difference, node, opened, outline_of


def planned(steps: Sequence[ImageNode], source: Path) -> tuple[Picture, tuple[int, int]]:
    """What the steps make of a file that is opened at the scale they need, and the size it was opened at."""
    stored = outline_of(source)
    outlines = [stored.upright()]
    for step in steps:
        outlines.append(step.reach(outlines[-1]))
    wanted = 1.0
    for step, outline in zip(reversed(steps), reversed(outlines[:-1]), strict=True):
        wanted = step.demand(outline, wanted)
    picture = open_picture(source, stored, wanted, animated=True).oriented()
    size = (picture.pixels.width, picture.pixels.height)
    for step in steps:
        picture = step.apply(picture, {})
    assert picture.outline == outlines[-1]
    return picture, size


def shown(steps: Sequence[ImageNode], source: Path, folder: Path, format: str = "png") -> Image.Image:
    picture, _ = planned(steps, source)
    done = encode(picture.wishing(Wish(format=format, background=picture.wish.background)), folder / f"out.{format}")
    return opened(done.path)


def widths(*sides: int) -> list[ImageNode]:
    return [node("resize", width=side) for side in sides]


def noise(size: tuple[int, int], mode: str = "RGB") -> Image.Image:
    bands = len(Image.new(mode, (1, 1)).getbands())
    return Image.frombytes(mode, size, random.Random(7).randbytes(size[0] * size[1] * bands))


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The photo in formats that decode at a scale and in one that does not, one of them see-through."""
    folder = tmp_path_factory.mktemp("photos")
    small = opened(PHOTO).resize((1600, 900), Image.Resampling.LANCZOS)
    small.save(folder / "photo.jpg", quality=95)
    small.save(folder / "photo.webp", quality=95)
    small.save(folder / "photo.png", compress_level=1)
    small.putalpha(Image.linear_gradient("L").resize(small.size))
    small.save(folder / "seen.png", compress_level=1)
    return {path.name: path for path in folder.iterdir()}


# Resize after resize


@pytest.mark.parametrize("name", ["photo.jpg", "photo.webp", "photo.png", "seen.png"])
@pytest.mark.parametrize("sides", [(800, 160), (1000, 400, 160), (1500, 160)])
def test_scaling_down_in_steps_is_scaling_down_once(
    name: str, sides: tuple[int, ...], photos: dict[str, Path], tmp_path: Path
) -> None:
    found, once = shown(widths(*sides), photos[name], tmp_path), shown(widths(160), photos[name], tmp_path)
    assert found.size == once.size == (160, 90)
    assert found.tobytes() == once.tobytes()


@pytest.mark.parametrize("name", ["photo.jpg", "photo.png", "seen.png"])
def test_the_pixels_are_those_of_steps_within_what_a_second_resampling_costs(
    name: str, photos: dict[str, Path], tmp_path: Path
) -> None:
    found = shown(widths(800, 160), photos[name], tmp_path)
    stepwise = opened(photos[name])
    for size in ((800, 450), (160, 90)):
        stepwise = stepwise.resize(size, Image.Resampling.LANCZOS)
    assert difference(found, stepwise) < 1.5


def test_no_more_is_decoded_than_the_last_step_needs() -> None:
    assert PHOTO_SIZE == (5312, 2988)
    assert planned(widths(2000, 300), PHOTO)[1] == planned(widths(300), PHOTO)[1] == (664, 373)
    between = [*widths(2000), node("grayscale"), node("crop", width=1000), *widths(300)]
    assert planned(between, PHOTO)[1] == (1328, 747)
    padded = [node("resize", width=2000, height=2000, fit="contain"), *widths(300)]
    assert planned(padded, PHOTO)[1] == (5312, 2988)


def test_each_size_between_counts_for_the_last(tmp_path: Path) -> None:
    noise((1000, 333)).save(tmp_path / "in.png")
    steps = [*widths(10), node("resize", height=20, enlarge=True)]
    # 333 x 10 / 1000 rounds to 3; 10 x 20 / 3 rounds to 67, where 1000 x 20 / 333 would round to 60.
    assert shown(steps, tmp_path / "in.png", tmp_path).size == (67, 20)


@pytest.mark.parametrize("name", ["photo.jpg", "photo.png"])
def test_what_was_made_coarse_stays_coarse(name: str, photos: dict[str, Path], tmp_path: Path) -> None:
    coarse = shown([*widths(16), node("resize", width=320, enlarge=True)], photos[name], tmp_path)
    smooth = opened(photos[name]).resize((16, 9), Image.Resampling.LANCZOS).resize((320, 180), Image.Resampling.BICUBIC)
    assert coarse.size == (320, 180)
    assert difference(coarse, smooth) < 2.5
    assert difference(coarse, shown(widths(320), photos[name], tmp_path)) > 5


def test_growing_and_shrinking_again_keeps_the_picture_in_its_place(photos: dict[str, Path], tmp_path: Path) -> None:
    steps = [*widths(400), node("resize", width=1200, enlarge=True), *widths(200)]
    assert (
        difference(shown(steps, photos["photo.png"], tmp_path), shown(widths(200), photos["photo.png"], tmp_path)) < 1
    )


def test_every_frame_is_scaled_once(tmp_path: Path) -> None:
    frames = [noise((64, 48)).resize((256, 192)), noise((48, 64)).resize((256, 192))]
    frames[0].save(tmp_path / "in.webp", save_all=True, append_images=frames[1:], duration=90, lossless=True)
    for number in (0, 1):
        found, once = (shown(steps, tmp_path / "in.webp", tmp_path, "gif") for steps in (widths(128, 40), widths(40)))
        found.seek(number)
        once.seek(number)
        assert found.convert("RGB").tobytes() == once.convert("RGB").tobytes()


def test_a_size_that_is_read_twice_is_made_once_and_lets_its_source_go(photos: dict[str, Path]) -> None:
    picture, _ = planned(widths(800), photos["photo.png"])
    held = picture.held()
    assert picture.scaling is not None and held.scaling is None
    assert (held.pixels.width, held.streaming) == (800, False)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    steps=st.lists(
        st.builds(
            lambda width, height, fit, grows: node("resize", width=width, height=height, fit=fit, enlarge=grows),
            st.integers(1, 150), st.integers(1, 150),
            st.sampled_from(["inside", "outside", "cover", "contain", "fill"]), st.sampled_from([None, True, False]),
        )
        | st.builds(lambda *box: node("crop", width=box[0], height=box[1]), st.integers(1, 90), st.integers(1, 90))
        | st.sampled_from([node("flip"), node("rotate", angle=90), node("rotate", angle=-90), node("grayscale")]),
        min_size=2, max_size=5,
    ),
    name=st.sampled_from(["in.jpg", "in.png", "in.webp"]),
)  # fmt: skip
def test_whatever_follows_whatever_has_the_size_that_was_foretold(
    steps: list[ImageNode], name: str, tmp_path: Path
) -> None:
    if not (tmp_path / name).exists():
        noise((120, 80)).save(tmp_path / name)
    picture, _ = planned(steps, tmp_path / name)
    assert shown(steps, tmp_path / name, tmp_path).size == (picture.outline.width, picture.outline.height)


async def test_sizes_of_sizes_beside_each_other_are_all_right(
    photos: dict[str, Path], sandbox: Sandbox, desk: Desk
) -> None:
    text = """
        nodes:
          photo:  {type: input}
          large:  {type: resize, width: 1200}
          tiny:   {type: resize, width: 90}
          middle: {type: resize, from: photo, width: 700}
          mini:   {type: resize, from: middle, width: 45}
          square: {type: resize, from: large, width: 300, height: 300, fit: cover}
          out:    {type: save, from: [tiny, middle, mini, square], path: "{node}.png"}
    """
    for name in ("photo.jpg", "photo.png"):
        await desk.run(sandbox, text, {"photo": [file_at(photos[name], f"image/{outline_of(photos[name]).format}")]})
        for made, size in {"tiny": (90, 51), "middle": (700, 394), "mini": (45, 25)}.items():
            reference = opened(photos[name]).resize(size, Image.Resampling.LANCZOS)
            assert desk.image(f"{made}.png").size == size
            assert difference(desk.image(f"{made}.png"), reference) < 2
        square = opened(photos[name]).resize((533, 300), Image.Resampling.LANCZOS).crop((116, 0, 416, 300))
        assert difference(desk.image("square.png"), square) < 2.5


# Turns and parts


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize(("left", "top", "width", "height"), [(0, 0, 30, 50), (3, 7, 11, 5), (13, 1, 1, 40)])
def test_a_part_of_a_turned_photograph_is_cut_out_before_it_is_turned(
    orientation: int, left: int, top: int, width: int, height: int, tmp_path: Path
) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    noise((50, 60)).save(tmp_path / "in.png", exif=exif)
    step = node("crop", region={"left": left, "top": top, "width": width, "height": height})
    picture, _ = planned([step], tmp_path / "in.png")
    assert picture.streaming and picture.pixels.width * picture.pixels.height == width * height
    upright = ImageOps.exif_transpose(opened(tmp_path / "in.png"))
    expected = upright.crop((left, top, left + width, top + height))
    assert shown([step], tmp_path / "in.png", tmp_path).tobytes() == expected.tobytes()


@pytest.mark.parametrize("orientation", [1, 2])
def test_a_mirrored_photograph_needs_not_be_held(orientation: int, tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    noise((50, 60)).save(tmp_path / "in.png", exif=exif)
    picture, _ = planned([], tmp_path / "in.png")
    upright = picture.upright()
    assert upright.streaming and upright.pixels.get("orientation") == 1
    expected = ImageOps.exif_transpose(opened(tmp_path / "in.png"))
    assert shown([], tmp_path / "in.png", tmp_path).tobytes() == expected.tobytes()


@pytest.mark.parametrize(
    ("steps", "orientation"),
    [
        ([{"angle": 90}, {"angle": 270}], 1),
        ([{"direction": "horizontal"}, {"direction": "horizontal"}], 1),
        ([{"direction": "both"}, {"angle": 180}], 1),
        ([{"direction": "vertical"}, {"direction": "horizontal"}, {"angle": -180}], 1),
        ([{"angle": 270}], 6),
        ([{"angle": 90}], 8),
        ([{"direction": "horizontal"}], 2),
        ([{"angle": 90}, {"direction": "horizontal"}], 5),
        ([{"angle": 90}, {"direction": "horizontal"}], 7),
    ],
)
def test_turns_that_cancel_leave_nothing_to_do(steps: list[dict[str, Any]], orientation: int, tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    noise((50, 60)).save(tmp_path / "in.png", exif=exif)
    made = [node("rotate" if "angle" in said else "flip", **said) for said in steps]
    picture, _ = planned(made, tmp_path / "in.png")
    still = opened(tmp_path / "in.png")
    expected = ImageOps.exif_transpose(still)
    for said in steps:
        expected = turned(expected, said)
    cancels = expected.tobytes() == still.tobytes()
    assert (picture.turn == 1) == cancels and picture.streaming
    assert shown(made, tmp_path / "in.png", tmp_path).tobytes() == expected.tobytes()


def turned(image: Image.Image, said: dict[str, Any]) -> Image.Image:
    if "angle" in said:
        return image.rotate(-said["angle"], expand=True)
    across = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    return {
        "horizontal": across,
        "vertical": image.transpose(Image.Transpose.FLIP_TOP_BOTTOM),
        "both": across.transpose(Image.Transpose.FLIP_TOP_BOTTOM),
    }[said["direction"]]


def test_a_part_of_a_part_is_one_cut(tmp_path: Path) -> None:
    noise((200, 100)).save(tmp_path / "in.png")
    steps = [node("crop", region={"left": 11, "top": 7, "width": 150, "height": 80}), node("crop", width=31, height=17)]
    expected = opened(tmp_path / "in.png").crop((70, 38, 101, 55))
    assert shown(steps, tmp_path / "in.png", tmp_path).tobytes() == expected.tobytes()


# Grey


def grey_profile(gamma: float = 1.8) -> bytes:
    """A grey ICC profile with this gamma (ICC.1:2001-04, section 6.3.2.1)."""
    white = b"XYZ " + bytes(4) + struct.pack(">3i", 63190, 65536, 54061)
    curve = b"curv" + bytes(4) + struct.pack(">IH", 1, round(gamma * 256)) + bytes(2)
    name = b"desc" + bytes(4) + struct.pack(">I", 5) + b"Grey\0" + bytes(78 + 1)
    text = b"text" + bytes(4) + b"none\0" + bytes(3)
    parts = {b"desc": name + bytes(-len(name) % 4), b"wtpt": white, b"kTRC": curve, b"cprt": text}
    table, at = struct.pack(">I", len(parts)), 128 + 4 + 12 * len(parts)
    for tag, part in parts.items():
        table += tag + struct.pack(">II", at, len(part))
        at += len(part)
    head = struct.pack(">I4sI4s4s4s", at, bytes(4), 0x02400000, b"mntr", b"GRAY", b"XYZ ")
    head += bytes(12) + b"acsp" + bytes(28) + struct.pack(">3i", 63190, 65536, 54061)
    return head + bytes(128 - len(head)) + table + b"".join(parts.values())


@pytest.fixture(scope="module")
def ramp(photos: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A grey photograph, and beside it the same in three bands as `rgb.png`."""
    folder = tmp_path_factory.mktemp("grey")
    grey = opened(photos["photo.png"]).convert("L").resize((160, 90), Image.Resampling.LANCZOS)
    grey.save(folder / "in.png")
    grey.convert("RGB").save(folder / "rgb.png")
    return folder / "in.png"


@pytest.mark.parametrize(
    ("step", "parameters"),
    [
        ("resize", {"width": 50}),
        ("resize", {"width": 80, "height": 80, "fit": "contain"}),
        ("crop", {"width": 33}),
        ("rotate", {"angle": 90}),
        ("pad", {"top": 9, "background": "#404040"}),
        ("pad", {"top": 9, "background": "#40404080"}),
        ("blur", {"sigma": 2}),
        ("adjust", {"brightness": 1.3, "gamma": 0.8}),
        ("invert", {}),
        ("grayscale", {}),
    ],
)
def test_grey_stays_one_band_and_is_what_three_would_be(
    step: str, parameters: dict[str, Any], ramp: Path, tmp_path: Path
) -> None:
    made = [node(step, **parameters)]
    found, three = shown(made, ramp, tmp_path), shown(made, ramp.with_name("rgb.png"), tmp_path)
    assert found.mode == ("LA" if len(str(parameters.get("background", ""))) == 9 else "L")
    assert difference(found, three) <= (0.6 if step == "resize" else 0)


@pytest.mark.parametrize(
    ("step", "parameters"),
    [
        ("pad", {"top": 9, "background": "#404041"}),
        ("sepia", {}),
        ("text", {"text": "Hi", "colour": "#ff0000"}),
        ("border", {"width": 3, "colour": "#ff0000"}),
        ("duotone", {"dark": "#100030", "light": "#ffeecc"}),
    ],
)
def test_what_brings_colour_makes_three_bands(
    step: str, parameters: dict[str, Any], ramp: Path, tmp_path: Path
) -> None:
    made = [node(step, **parameters)]
    found, three = shown(made, ramp, tmp_path), shown(made, ramp.with_name("rgb.png"), tmp_path)
    assert found.mode == "RGB" and found.tobytes() == three.tobytes()


@pytest.mark.parametrize("format", ["jpeg", "png"])
def test_a_grey_photograph_is_written_in_one_band(format: str, photos: dict[str, Path], tmp_path: Path) -> None:
    opened(photos["photo.png"]).convert("L").resize((800, 450)).save(tmp_path / "in.jpg", quality=90)
    found = shown(widths(400), tmp_path / "in.jpg", tmp_path, format)
    assert found.mode == "L"
    reference = opened(tmp_path / "in.jpg").resize((400, 225), Image.Resampling.LANCZOS)
    assert difference(found, reference) < 2


def test_a_grey_photograph_with_a_profile_stays_grey(ramp: Path, tmp_path: Path) -> None:
    opened(ramp).save(tmp_path / "tagged.png", icc_profile=grey_profile(1.8))
    found = shown([], tmp_path / "tagged.png", tmp_path)
    assert found.mode == "L" and "icc_profile" not in found.info
    encoded = [255 * srgb_of((level / 255) ** 1.8) for level in opened(ramp).tobytes()]
    assert max(abs(one - other) for one, other in zip(found.tobytes(), encoded, strict=True)) <= 2


def srgb_of(linear: float) -> float:
    """The transfer function of IEC 61966-2-1."""
    return 12.92 * linear if linear <= 0.0031308 else float(1.055 * linear ** (1 / 2.4) - 0.055)


@pytest.mark.parametrize(
    ("background", "mode", "colour"), [("#ffffff", "L", (152,)), ("#ff0000", "RGB", (152, 25, 25))]
)
def test_see_through_grey_is_laid_on_the_background(
    background: str, mode: str, colour: tuple[int, ...], tmp_path: Path
) -> None:
    Image.new("LA", (32, 32), (50, 128)).save(tmp_path / "in.png")
    found = shown([node("convert", background=background)], tmp_path / "in.png", tmp_path, "jpeg")
    assert found.mode == mode
    middle = found.getpixel((9, 9))
    bands = middle if isinstance(middle, tuple) else (middle,)
    assert max(abs(one - other) for one, other in zip(bands, colour, strict=True)) <= 2
