"""What nodes find out about every input, against what Pillow sees in it."""

from __future__ import annotations

import base64
import hashlib
import io
from collections.abc import Mapping
from operator import mul
from typing import Any

import pytest
from blurhash_rs import blurhash_decode
from PIL import Image

from pipeline.errors import VerificationFailed
from pipeline.imaging.hashes import dhash, phash
from pipeline.nodes.base import FactNode
from tests.golden.easel import made, picture_of
from tests.golden.matrix import ORIENTATION, Sample
from tests.golden.reference import delta_e, difference, lab, stretched
from tests.golden.rows import on_white
from tests.nodes.studio import opened

FACTS = {"exif", "hash", "info", "palette", "placeholder", "verify"}
"""Each has a test here; those that ask somebody else (`scan`) know nothing about pictures themselves."""


def observed(sample: Sample, type: str, **said: Any) -> Mapping[str, Any]:
    node = made(type, said)
    assert isinstance(node, FactNode)
    image = picture_of(sample, node.demand_of(sample.stored.upright())) if node.pixels else None
    return node.observe(sample.artifact, image)


def test_info_tells_what_the_file_is(matrix: list[Sample]) -> None:
    for sample in matrix:
        found, first = observed(sample, "info"), sample.shown[0]
        assert (found["width"], found["height"]) == first.size, sample.name
        assert found["size"] == sample.path.stat().st_size
        assert found["frames"] == (3 if sample.name == "tiff pages" else len(sample.shown)), sample.name
        # That every frame of an animation is opaque shows only in its pixels.
        assert found["alpha"] or not sample.alpha, sample.name
        assert not found["alpha"] or sample.alpha or sample.delays, sample.name


def test_exif_tells_the_orientation_that_was_written(matrix: list[Sample]) -> None:
    for sample in matrix:
        tagged = opened(sample.path).getexif().get(ORIENTATION) if sample.path.suffix == ".jpg" else None
        assert observed(sample, "exif").get("Orientation") == tagged, sample.name


def test_hashes_are_those_of_the_file_and_of_what_it_shows(matrix: list[Sample]) -> None:
    for sample in matrix:
        found = observed(sample, "hash")
        assert found["sha256"] == hashlib.sha256(sample.path.read_bytes()).hexdigest()
        if sample.flat:
            continue
        grey = on_white(sample, sample.shown[0]).convert("L").resize((64, 64), Image.Resampling.LANCZOS)
        assert apart(found["phash"], phash(grey)) <= 4, sample.name
        assert apart(found["dhash"], dhash(grey)) <= 6, sample.name


def apart(one: str, other: str) -> int:
    return (int(one, 16) ^ int(other, 16)).bit_count()


def test_every_way_a_photograph_lies_has_the_same_hashes(matrix: list[Sample]) -> None:
    turned = [observed(sample, "hash") for sample in matrix if sample.name.startswith("jpeg turned")]
    assert len(turned) == 8
    assert max(apart(turned[0]["phash"], other["phash"]) for other in turned) <= 2
    assert max(apart(turned[0]["dhash"], other["dhash"]) for other in turned) <= 2


def test_the_colours_of_a_palette_can_be_seen_in_the_picture(matrix: list[Sample]) -> None:
    for sample in matrix:
        found = observed(sample, "palette", count=8)
        small = sample.shown[0].convert("RGBA").resize((24, 24), Image.Resampling.BOX)
        bands = small.tobytes()
        seen = {(r, g, b) for r, g, b, alpha in zip(*(bands[at::4] for at in range(4)), strict=True) if alpha > 200}
        for one in found["colours"]:
            red, green, blue = bytes.fromhex(one["hex"].removeprefix("#"))
            assert min(delta_e(lab((red, green, blue)), lab(pixel)) for pixel in seen) < 8, (sample.name, one)
        assert sum(one["share"] for one in found["colours"]) <= 1.001
        assert found["dominant"] == found["colours"][0]["hex"]


def test_a_blurhash_has_the_mean_colour_and_a_tiny_picture_the_look(matrix: list[Sample]) -> None:
    for sample in matrix:
        shown = on_white(sample, sample.shown[0])
        found = observed(sample, "placeholder", x=1, y=1)
        assert (found["width"], found["height"]) == shown.size
        # One component is the mean, taken in linear light.
        colour = blurhash_decode(found["value"], 1, 1).convert("RGB").tobytes()
        assert all(abs(one - other) < 4 for one, other in zip(colour, mean_light(shown), strict=True)), sample.name
        tiny = observed(sample, "placeholder", kind="lqip", format="jpeg", quality=90)["value"]
        head, _, body = tiny.partition(",")
        picture = Image.open(io.BytesIO(base64.b64decode(body))).convert("RGB")
        assert head == "data:image/jpeg;base64" and max(picture.size) == min(24, max(shown.size))
        if not sample.flat:
            # With colours at half the size, as JPEG keeps them, there are 12 x 8 of them.
            assert difference(picture, stretched(shown, *picture.size)).mean < 24, sample.name


def mean_light(image: Image.Image) -> list[float]:
    """The colour of all light of the picture together (IEC 61966-2-1)."""
    bright = [level / 255 / 12.92 if level <= 10 else ((level / 255 + 0.055) / 1.055) ** 2.4 for level in range(256)]
    total = image.width * image.height
    sums = [sum(map(mul, bright, band.histogram())) / total for band in image.split()]
    return [255 * (12.92 * light if light <= 0.0031308 else 1.055 * light ** (1 / 2.4) - 0.055) for light in sums]


def test_a_thumbhash_is_told_for_every_input(matrix: list[Sample]) -> None:
    for sample in matrix:
        content = base64.b64decode(observed(sample, "placeholder", kind="thumbhash")["value"])
        # The highest bit of the three header bytes says whether there is alpha (thumbhash, `hasAlpha`).
        assert bool(content[2] & 0x80) == sample.alpha or sample.drawing, sample.name


def test_verify_knows_the_exact_size(matrix: list[Sample]) -> None:
    for sample in matrix:
        width, height = sample.shown[0].size
        exact = {"min_width": width, "max_width": width, "min_height": height, "max_height": height}
        assert observed(sample, "verify", **exact) == {"passed": True}, sample.name
        with pytest.raises(VerificationFailed, match="min_width"):
            observed(sample, "verify", min_width=width + 1)
