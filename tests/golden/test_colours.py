"""Colours and corners of every input: read as they are, written in every format, and brought into other profiles."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image, ImageStat

from pipeline.imaging.encode import encode
from pipeline.imaging.picture import Wish
from pipeline.nodes.base import ImageNode
from tests.golden.easel import made, picture_of
from tests.golden.matrix import CORNERS, P3, Sample, boxes
from tests.golden.reference import Rgb, colour_differences, delta_e, difference, in_lab, lab
from tests.golden.rows import on_white
from tests.nodes.studio import opened

OTHER_COLOURS = ("grey", "cmyk", "p3", "1x1")
"""Inputs whose corners are not those of the scene: without colours, in fewer, or in others."""

# Sharma, Wu and Dalal (2005), table 1.
PUBLISHED = [
    ((50.0, 2.6772, -79.7751), (50.0, 0.0, -82.7485), 2.0425),
    ((50.0, -1.0, 2.0), (50.0, 0.0, 0.0), 2.3669),
    ((50.0, 2.49, -0.001), (50.0, -2.49, 0.0009), 7.1792),
    ((50.0, 2.5, 0.0), (50.0, 0.0, -2.5), 4.3065),
    ((50.0, 2.5, 0.0), (73.0, 25.0, -18.0), 27.1492),
    ((60.2574, -34.0099, 36.2677), (60.4626, -34.1751, 39.4387), 1.2644),
    ((2.0776, 0.0795, -1.135), (0.9033, -0.0636, -0.5514), 0.9082),
]


@pytest.mark.parametrize(("one", "other", "expected"), PUBLISHED)
def test_the_measure_of_colours_is_the_published_one(one: Any, other: Any, expected: float) -> None:
    assert delta_e(one, other) == pytest.approx(expected, abs=0.0001)
    assert delta_e(other, one) == pytest.approx(expected, abs=0.0001)


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., Image.Image]:
    def write(sample: Sample, format: str, *steps: ImageNode, **wish: Any) -> Image.Image:
        picture = picture_of(sample).first_frame()
        for step in steps:
            picture = step.apply(picture, {})
        done = encode(picture.wishing(Wish(format=format, profile=picture.wish.profile, **wish)), tmp_path / "out")
        return opened(done.path)

    return write


def middle(image: Image.Image, corner: str) -> Rgb:
    """The mean colour of the inner half of a corner's box."""
    left, top, right, bottom = boxes(*image.size)[corner]
    across, down = (right - left) // 4, (bottom - top) // 4
    part = image.convert("RGB").crop((left + across, top + down, right - across, bottom - down))
    red, green, blue = (round(mean) for mean in ImageStat.Stat(part).mean)
    return red, green, blue


@pytest.mark.parametrize("format", ["png", "tiff", "webp", "avif", "jpeg", "gif"])
def test_every_corner_has_its_colour_in_every_format(
    format: str, matrix: list[Sample], write: Callable[..., Image.Image]
) -> None:
    for sample in matrix:
        if sample.flat:
            continue
        found = write(sample, format).convert("RGBA")
        assert found.size == sample.shown[0].size
        for corner, colour in CORNERS.items():
            seen = lab(middle(found, corner))
            shown = lab(middle(sample.shown[0], corner))
            assert delta_e(seen, shown) < 4, (sample.name, corner)
            if not any(word in sample.name for word in OTHER_COLOURS):
                assert delta_e(seen, lab(colour)) < 6, (sample.name, corner)


def test_colours_are_read_as_they_are(matrix: list[Sample], write: Callable[..., Image.Image]) -> None:
    for sample in matrix:
        found = colour_differences(write(sample, "png").convert("RGBA"), sample.shown[0])
        mean, p95 = sum(found) / len(found), found[int(len(found) * 0.95)]
        # Steps of 8 bits in dark colours come to one; what two decoders round otherwise to two.
        assert mean < 0.5 and p95 < 2, (sample.name, mean, p95)


@pytest.mark.parametrize(("format", "bound"), [("jpeg", 2.0), ("webp", 2.5), ("avif", 2.5)])
def test_colours_stay_near_where_the_format_loses_some(
    format: str, bound: float, matrix: list[Sample], write: Callable[..., Image.Image]
) -> None:
    for sample in matrix:
        shown = on_white(sample, sample.shown[0]) if format == "jpeg" else sample.shown[0]
        found = colour_differences(write(sample, format, quality=90).convert("RGBA"), shown)
        # Pictures half as large have twice as many edges in each block of pixels.
        assert sum(found) / len(found) < bound * (1 + bool(sample.delays)), sample.name


def _as_bands(image: Image.Image) -> Image.Image:
    return Image.merge("RGB", image.split())


def test_a_wide_gamut_stays_where_it_is_wished(matrix: list[Sample], write: Callable[..., Image.Image]) -> None:
    to_p3 = made("icc", {"to": "p3"})
    assert isinstance(to_p3, ImageNode)
    for sample in matrix:
        found = write(sample, "png", to_p3)
        assert found.info["icc_profile"] == P3, sample.name
        raw, profile = sample.wide or (sample.shown[0].convert("RGB"), None)
        # What hides under full transparency may have any colour.
        veil = sample.shown[0].getchannel("A").point(lambda v: 255 * (v > 0)) if sample.alpha else None
        apart = difference(_as_bands(in_lab(found.convert("RGB"), P3)), _as_bands(in_lab(raw, profile)), veil)
        assert apart.mean < 1 + sample.blur and apart.p99 <= 4 + 8 * sample.blur, (sample.name, apart)


def test_the_profile_a_picture_came_with_can_stay(matrix: list[Sample], write: Callable[..., Image.Image]) -> None:
    keep = made("icc", {"to": "source"})
    assert isinstance(keep, ImageNode)
    (sample,) = (sample for sample in matrix if sample.wide)
    assert sample.wide is not None
    raw, profile = sample.wide
    found = write(sample, "png", keep)
    assert found.info["icc_profile"] == profile
    assert difference(found.convert("RGB"), raw).mean <= sample.blur
    assert "icc_profile" not in write(sample, "png").info


def test_the_p3_picture_would_look_wrong_without_its_profile(matrix: list[Sample]) -> None:
    (sample,) = (sample for sample in matrix if sample.wide)
    assert sample.wide is not None
    differences = colour_differences(sample.wide[0], sample.shown[0])
    assert sum(differences) / len(differences) > 1.5
