"""Frames and animate: which frames of an animation stay, and how they play."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from PIL import Image
from pydantic import ValidationError

from pipeline.errors import NodeInvalid
from pipeline.imaging.encode import encode
from pipeline.imaging.picture import Outline, Wish
from tests.nodes.studio import applied, corners, drawn, node, opened

TIMES = [100, 200, 300, 400, 500]
SHADES = [20, 70, 120, 170, 220]


def animation(path: Path, count: int = 5, size: tuple[int, int] = (30, 20), loop: int = 0) -> Path:
    frames = [Image.new("RGB", size, (shade, shade, shade)) for shade in SHADES[:count]]
    frames[0].save(path, save_all=True, append_images=frames[1:], duration=TIMES[:count], loop=loop, lossless=True)
    return path


def played(image: Image.Image) -> list[tuple[int, int]]:
    """Number and time of every frame, told by its shade."""
    found = []
    for number in range(getattr(image, "n_frames", 1)):
        image.seek(number)
        shade = image.convert("L").getpixel((10, 10))
        nearest = min(range(5), key=lambda at: abs(SHADES[at] - shade))  # type: ignore[operator]
        found.append((nearest, image.info.get("duration", 0)))
    return found


@pytest.mark.parametrize("into", ["gif", "webp"])
@pytest.mark.parametrize("source", ["gif", "webp"])
@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ({}, list(enumerate(TIMES))),
        ({"start": 1, "end": 3}, [(1, 200), (2, 300), (3, 400)]),
        ({"start": -2}, [(3, 400), (4, 500)]),
        ({"end": -4}, [(0, 100), (1, 200)]),
        ({"end": 99}, list(enumerate(TIMES))),
        ({"every": 2}, [(0, 300), (2, 700), (4, 500)]),
        ({"every": 3, "start": 1, "end": 4}, [(1, 900), (4, 500)]),
        ({"every": 2, "start": 0, "end": 2}, [(0, 300), (2, 300)]),
    ],
)
def test_frames_are_picked_and_stand_in_for_those_left_out(
    said: dict[str, int], expected: list[tuple[int, int]], source: str, into: str, tmp_path: Path
) -> None:
    found = drawn(node("frames", **said), animation(tmp_path / f"in.{source}"), tmp_path, format=into)
    assert found.size == (30, 20)
    assert played(found) == expected


@pytest.mark.parametrize("into", ["gif", "webp", "png", "jpeg", "tiff", "avif"])
@pytest.mark.parametrize(("frame", "expected"), [(0, 0), (2, 2), (-1, 4), (-5, 0)])
def test_one_frame_is_a_still_picture_in_every_format(frame: int, expected: int, into: str, tmp_path: Path) -> None:
    found = drawn(node("frames", frame=frame), animation(tmp_path / "in.gif"), tmp_path, format=into)
    assert (found.size, getattr(found, "n_frames", 1)) == ((30, 20), 1)
    assert played(found)[0][0] == expected


def test_a_picked_frame_that_is_enlarged_stays_one_picture(tmp_path: Path) -> None:
    picked = applied(node("frames", frame=1), animation(tmp_path / "in.gif"))
    larger = node("resize", width=60, enlarge=True).apply(picked, {})
    for format in ("webp", "gif", "tiff", "avif"):
        found = opened(encode(larger.wishing(Wish(format=format)), tmp_path / f"out.{format}").path)
        assert (found.size, getattr(found, "n_frames", 1)) == ((60, 40), 1)


def test_picked_frames_are_turned_and_cut_like_any_picture(tmp_path: Path) -> None:
    frames = [corners(40, 20), corners(40, 20).transpose(Image.Transpose.FLIP_LEFT_RIGHT), corners(40, 20)]
    frames[0].save(tmp_path / "in.webp", save_all=True, append_images=frames[1:], duration=50, lossless=True)
    picked = applied(node("frames", start=1), tmp_path / "in.webp")
    cut = node("crop", width=20, gravity="left").apply(picked, {})
    found = opened(encode(cut.wishing(Wish(format="gif")), tmp_path / "out.gif").path)
    assert (found.size, getattr(found, "n_frames", 1)) == ((20, 20), 2)
    assert found.convert("RGB").getpixel((10, 5)) == (0, 255, 0)
    found.seek(1)
    assert found.convert("RGB").getpixel((10, 5)) == (255, 0, 0)


@pytest.mark.parametrize("said", [{"frame": 5}, {"frame": -6}, {"start": 5}, {"start": 3, "end": -3}, {"end": -6}])
def test_frames_that_there_are_not_are_named(said: dict[str, int], tmp_path: Path) -> None:
    step = node("frames", **said)
    with pytest.raises(NodeInvalid, match=f"^{list(said)[-1]}: .*the picture has 5, counted from 0"):
        step.reach(Outline(10, 10, 5))


def test_a_frame_and_a_range_contradict_each_other() -> None:
    with pytest.raises(ValidationError, match="either frame, or start, end and every"):
        node("frames", frame=0, every=2)


@pytest.mark.parametrize(
    ("type", "said", "still", "moving"),
    [
        ("frames", {"frame": 0}, False, False),
        ("frames", {"frame": 3}, True, True),
        ("frames", {}, False, True),
        ("frames", {"every": 2}, False, True),
        ("frames", {"start": 1}, True, True),
        ("frames", {"end": -2}, True, True),
        ("animate", {"speed": 2}, False, True),
        ("animate", {"reverse": True}, True, True),
        ("resize", {"width": 5}, False, True),
    ],
)
def test_only_what_is_needed_of_an_animation_is_decoded(
    type: str, said: dict[str, int], still: bool, moving: bool
) -> None:
    step = node(type, **said)
    assert (step.needs_frames(False), step.needs_frames(True)) == (still, moving)


@pytest.mark.parametrize("into", ["gif", "webp"])
@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ({}, list(enumerate(TIMES))),
        ({"speed": 2}, [(0, 50), (1, 100), (2, 150), (3, 200), (4, 250)]),
        ({"speed": 0.5}, [(0, 200), (1, 400), (2, 600), (3, 800), (4, 1000)]),
        ({"speed": 100}, [(number, 20) for number in range(5)]),
        ({"delay": 40}, [(number, 40) for number in range(5)]),
        ({"reverse": True}, [(4, 500), (3, 400), (2, 300), (1, 200), (0, 100)]),
        ({"reverse": True, "speed": 2}, [(4, 250), (3, 200), (2, 150), (1, 100), (0, 50)]),
    ],
)
def test_an_animation_plays_as_it_is_told(
    said: dict[str, float], expected: list[tuple[int, int]], into: str, tmp_path: Path
) -> None:
    found = drawn(node("animate", **said), animation(tmp_path / "in.gif"), tmp_path, format=into)
    assert found.size == (30, 20)
    assert played(found) == expected


@pytest.mark.parametrize(("loop", "webp", "gif"), [(0, 0, 0), (1, 1, None), (3, 3, 2), (None, 5, 4)])
def test_it_plays_as_often_as_it_is_told(loop: int | None, webp: int, gif: int | None, tmp_path: Path) -> None:
    source = animation(tmp_path / "in.webp", loop=5)
    step = node("animate", loop=loop)
    assert drawn(step, source, tmp_path, format="webp").info["loop"] == webp
    # GIF counts repetitions after the first time, and says nothing when there is none.
    assert drawn(step, source, tmp_path, format="gif").info.get("loop") == gif


def test_a_still_picture_is_handed_on(tmp_path: Path) -> None:
    corners(40, 20).save(tmp_path / "in.png")
    for step in (node("animate", reverse=True, speed=3), node("frames", frame=-1), node("frames", every=4)):
        assert drawn(step, tmp_path / "in.png", tmp_path).tobytes() == corners(40, 20).tobytes()


def test_speed_and_delay_contradict_each_other() -> None:
    with pytest.raises(ValidationError, match="either speed or delay"):
        node("animate", speed=2, delay=50)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    count=st.integers(2, 5),
    start=st.integers(-6, 6),
    end=st.integers(-6, 6),
    every=st.integers(1, 6),
    size=st.tuples(st.integers(11, 40), st.integers(11, 40)),
)
def test_what_is_foretold_is_what_comes(
    count: int, start: int, end: int, every: int, size: tuple[int, int], tmp_path: Path
) -> None:
    assume((start < 0) != (end < 0) or start <= end)
    step = node("frames", start=start, end=end, every=every)
    outline = Outline(*size, count, format="webp")
    # A name of its own for every example: libvips, unlike in the sandbox, remembers files it has opened.
    source = animation(tmp_path / f"{count}-{size[0]}-{size[1]}.webp", count, size)
    last = end + count if end < 0 else min(end, count - 1)
    first = start + count if start < 0 else start
    if not 0 <= first < count or last < first:
        with pytest.raises(NodeInvalid):
            step.reach(outline)
        return
    wanted = list(range(count))[first : last + 1 : every]
    assert step.reach(outline) == replace(outline, frames=len(wanted))
    found = drawn(step, source, tmp_path, format="webp")
    assert (found.size, [number for number, _ in played(found)]) == (size, wanted)
