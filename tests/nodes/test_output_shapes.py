from __future__ import annotations

import io
import json
import math
import xml.etree.ElementTree as ElementTree
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image, ImageChops, ImageStat
from pydantic import ValidationError

from pipeline.errors import NodeInvalid
from pipeline.imaging.encode import QUALITIES, Encoded, encode
from pipeline.imaging.open import open_picture
from pipeline.imaging.optimise import Span, best
from pipeline.imaging.picture import Outline, Picture, Wish
from pipeline.nodes import INDEX
from pipeline.nodes.base import Piece, SpreadNode
from pipeline.nodes.srcset import Srcset
from tests.nodes.studio import (
    PHOTO,
    PHOTO_SIZE,
    applied,
    corners,
    difference,
    node,
    opened,
    outline_of,
    quarters,
    reduced,
)

BACK = {1: None, 2: 0, 3: 3, 4: 1, 5: 5, 6: 2, 7: 6, 8: 4}
"""The Pillow transposition that stores an upright picture as each EXIF orientation wants it."""
TINY = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def spreader(type: str, **parameters: Any) -> SpreadNode:
    made = INDEX[type].model_validate({"type": type, **parameters})
    assert isinstance(made, SpreadNode)
    return made


def spread(step: SpreadNode, source: Path, folder: Path, stem: str = "in", wish: Wish | None = None) -> list[Piece]:
    outline = outline_of(source)
    picture = open_picture(source, outline, step.demand(outline.upright(), 1.0), animated=True).oriented()
    into = folder / "spread"
    into.mkdir(exist_ok=True)
    return list(step.spread(picture.wishing(wish or picture.wish), into, stem))


def optimised(source: Path, folder: Path, **parameters: Any) -> Encoded:
    return encode(applied(node("optimize", **parameters), source), folder / "optimised")


def plainly(source: Path, folder: Path, format: str, quality: int | None = None) -> Encoded:
    return encode(whole(source).wishing(Wish(format=format, quality=quality)), folder / f"plain.{format}")


def whole(source: Path) -> Picture:
    return open_picture(source, outline_of(source), animated=True).oriented()


def photograph(folder: Path, width: int = 400) -> Path:
    path = folder / "photograph.png"
    reduced(width, round(width * PHOTO_SIZE[1] / PHOTO_SIZE[0])).save(path)
    return path


def turned(folder: Path, orientation: int, width: int = 80, height: int = 60) -> Path:
    exif = Image.Exif()
    exif[0x0112] = orientation
    back = BACK[orientation]
    upright = corners(width, height)
    stored = upright if back is None else upright.transpose(Image.Transpose(back))
    stored.save(folder / "in.jpg", exif=exif, quality=95)
    return folder / "in.jpg"


def animation(folder: Path) -> Path:
    frames = [Image.new("RGB", (200, 100), colour) for colour in ("red", "lime", "blue")]
    path = folder / "in.gif"
    frames[0].save(path, save_all=True, append_images=frames[1:], duration=[100, 200, 300], loop=0)
    return path


def times(image: Image.Image) -> list[int]:
    found = []
    for number in range(getattr(image, "n_frames", 1)):
        image.seek(number)
        image.load()
        found.append(image.info["duration"])
    return found


def psnr(one: Image.Image, other: Image.Image) -> float:
    stat = ImageStat.Stat(ImageChops.difference(one.convert("RGB"), other.convert("RGB")))
    mean = sum(stat.sum2) / sum(stat.count)
    return 10 * math.log10(255**2 / mean) if mean else math.inf


# The search


@given(
    sizes=st.lists(st.integers(1, 1000), min_size=100, max_size=100).map(sorted),
    ends=st.tuples(st.integers(1, 100), st.integers(1, 100)).map(sorted),
    limit=st.integers(1, 1000),
)
def test_the_highest_quality_within_the_limit_is_found_in_few_tries(
    sizes: list[int], ends: list[int], limit: int
) -> None:
    low, high = ends
    tries: list[int] = []

    def attempt(name: str, quality: int | None) -> bytes:
        assert quality is not None
        tries.append(quality)
        return bytes(sizes[quality - 1])

    found = best({"jpeg": Span(low, high)}, limit, attempt)
    fitting = [quality for quality in range(low, high + 1) if sizes[quality - 1] <= limit]
    assert found.fits == bool(fitting)
    assert found.quality == max(fitting, default=low) or len(found.content) == sizes[low - 1] > limit
    assert len(tries) <= 2 + math.ceil(math.log2(max(1, high - low)))
    assert len(tries) == len(set(tries))


def table(rows: dict[str, dict[int, int]], tries: list[tuple[str, int | None]]) -> Any:
    def attempt(name: str, quality: int | None) -> bytes:
        tries.append((name, quality))
        return bytes(rows[name][quality or 0])

    return attempt


def test_the_smallest_format_wins_at_its_highest_quality() -> None:
    tries: list[tuple[str, int | None]] = []
    rows = {"jpeg": {82: 300}, "webp": {80: 200}, "png": {0: 900}}
    found = best({"jpeg": Span(30, 82), "webp": Span(30, 80), "png": None}, None, table(rows, tries))
    assert (found.format, found.quality, len(found.content), found.fits) == ("webp", 80, 200, True)
    assert tries == [("jpeg", 82), ("webp", 80), ("png", None)]


def test_a_format_that_cannot_reach_the_limit_leaves_it_to_the_next() -> None:
    rows = {"webp": {4: 200, 3: 190, 2: 180}, "jpeg": {4: 300, 3: 150, 2: 90}, "png": {0: 100}}
    spans = {"webp": Span(2, 4), "jpeg": Span(2, 4)}
    found = best(spans, 160, table(rows, []))
    assert (found.format, found.quality, found.fits) == ("jpeg", 3, True)
    hopeless = best({**spans, "png": None}, 50, table(rows, []))
    assert (hopeless.format, hopeless.quality, len(hopeless.content), hopeless.fits) == ("jpeg", 2, 90, False)


# optimize


@pytest.mark.parametrize(("format", "limit"), [("jpeg", 12_000), ("webp", 9_000), ("avif", 7_000)])
def test_max_bytes_gives_the_best_quality_that_is_small_enough(format: str, limit: int, tmp_path: Path) -> None:
    source = photograph(tmp_path)
    picture = whole(source).wishing(Wish(format=format))
    step = node("optimize", max_bytes=limit, min_quality=5)
    done = encode(step.apply(picture, {}), tmp_path / "optimised")
    assert done.format == format and done.fits and done.quality is not None
    assert 5 <= done.quality < QUALITIES[format]
    assert done.size == done.path.stat().st_size <= limit
    assert plainly(source, tmp_path, format, done.quality + 1).size > limit
    assert plainly(source, tmp_path, format, done.quality).sha256 == done.sha256
    again = encode(step.apply(whole(source).wishing(Wish(format=format)), {}), tmp_path / "again")
    assert again.sha256 == done.sha256


def test_what_fits_at_once_is_encoded_at_the_highest_quality(tmp_path: Path) -> None:
    source = photograph(tmp_path)
    done = optimised(source, tmp_path, max_bytes="1MB", formats=["jpeg"], max_quality=91)
    assert (done.quality, done.fits) == (91, True)
    assert done.sha256 == plainly(source, tmp_path, "jpeg", 91).sha256


def test_what_cannot_be_small_enough_keeps_its_size_and_tells(tmp_path: Path) -> None:
    source = photograph(tmp_path)
    done = optimised(source, tmp_path, max_bytes=500, formats=["jpeg", "webp"], min_quality=40)
    assert (done.quality, done.fits) == (40, False)
    assert (done.width, done.height) == opened(source).size == opened(done.path).size
    smallest = min(plainly(source, tmp_path, format, 40).size for format in ("jpeg", "webp"))
    assert done.size == smallest > 500


def test_a_format_without_quality_is_told_to_be_too_large(tmp_path: Path) -> None:
    done = optimised(photograph(tmp_path), tmp_path, max_bytes=500)
    assert (done.format, done.quality, done.fits) == ("png", None, False)


def test_the_smallest_of_the_formats_is_taken(tmp_path: Path) -> None:
    source = photograph(tmp_path)
    sizes = {format: plainly(source, tmp_path, format).size for format in ("webp", "avif", "jpeg", "png")}
    done = optimised(source, tmp_path, formats=list(sizes))
    assert done.format == min(sizes, key=sizes.__getitem__)
    assert done.size == min(sizes.values())
    assert difference(opened(done.path), opened(source)) < 6


def test_flat_graphics_may_stay_lossless(tmp_path: Path) -> None:
    corners(64, 64).save(tmp_path / "in.png")
    sizes = {format: plainly(tmp_path / "in.png", tmp_path, format).size for format in ("jpeg", "png")}
    done = optimised(tmp_path / "in.png", tmp_path, formats=["jpeg", "png"])
    assert (done.format, done.size) == ("png", sizes["png"])
    assert sizes["png"] < sizes["jpeg"]
    assert difference(opened(done.path), corners(64, 64)) == 0


def test_transparency_is_kept_though_jpeg_were_smaller(tmp_path: Path) -> None:
    image = opened(photograph(tmp_path)).convert("RGBA")
    image.putalpha(Image.linear_gradient("L").resize(image.size))
    image.save(tmp_path / "in.png")
    done = optimised(tmp_path / "in.png", tmp_path, formats=["jpeg", "png"])
    assert (done.format, done.alpha) == ("png", True)
    assert plainly(tmp_path / "in.png", tmp_path, "jpeg").size < done.size
    assert difference(opened(done.path), image) == 0


def test_transparency_that_hides_nothing_does_not_count(tmp_path: Path) -> None:
    image = opened(photograph(tmp_path)).convert("RGBA")
    image.save(tmp_path / "in.png")
    done = optimised(tmp_path / "in.png", tmp_path, formats=["png", "jpeg"])
    assert (done.format, done.alpha) == ("jpeg", False)
    assert difference(opened(done.path), image.convert("RGB")) < 3


def test_only_formats_without_alpha_lay_it_on_the_background(tmp_path: Path) -> None:
    Image.new("RGBA", (40, 40), (255, 0, 0, 0)).save(tmp_path / "in.png")
    picture = whole(tmp_path / "in.png").wishing(Wish(background=(0, 0, 255)))
    done = encode(node("optimize", formats=["jpeg"]).apply(picture, {}), tmp_path / "out")
    assert opened(done.path).convert("RGB").getpixel((20, 20)) == pytest.approx((0, 0, 255), abs=3)


@pytest.mark.parametrize("parameters", [{"formats": ["avif", "jpeg", "webp"]}, {"max_bytes": "1MB"}])
def test_an_animation_keeps_its_frames_and_their_times(parameters: dict[str, Any], tmp_path: Path) -> None:
    source = animation(tmp_path)
    step = node("optimize", **parameters)
    done = encode(applied(step, source), tmp_path / "out")
    expected = "webp" if "formats" in parameters else "gif"
    assert (done.format, done.frames) == (expected, 3)
    assert step.reach(outline_of(source)).format == expected
    found = opened(done.path)
    assert times(found) == [100, 200, 300]
    found.seek(2)
    assert found.convert("RGB").getpixel((50, 50)) == pytest.approx((0, 0, 255), abs=4)


def test_an_animation_no_format_can_keep_gives_its_first_frame(tmp_path: Path) -> None:
    done = optimised(animation(tmp_path), tmp_path, formats=["jpeg"])
    assert (done.frames, opened(done.path).size) == (1, (200, 100))
    assert opened(done.path).convert("RGB").getpixel((50, 50)) == pytest.approx((254, 0, 0), abs=3)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_what_is_optimised_comes_out_upright(orientation: int, tmp_path: Path) -> None:
    done = optimised(turned(tmp_path, orientation), tmp_path, formats=["webp", "png"], max_bytes="10KB")
    assert opened(done.path).size == (80, 60)
    assert difference(opened(done.path).convert("RGB"), corners(80, 60)) < 4


def test_the_source_is_decoded_once_for_all_tries(tmp_path: Path) -> None:
    picture = open_picture(PHOTO, outline_of(PHOTO), 0.1).scaled(531, 299)
    begun: list[int] = []
    picture.pixels.set_progress(True)
    picture.pixels.signal_connect("preeval", lambda *_: begun.append(1))
    step = node("optimize", formats=["webp", "jpeg"], max_bytes=9_000, min_quality=1)
    done = encode(step.apply(picture, {}), tmp_path / "out")
    assert done.fits and done.quality not in (None, 80, 82)
    assert begun == [1]


def test_a_format_said_later_ends_the_choice_and_keeps_the_limit(tmp_path: Path) -> None:
    source = photograph(tmp_path)
    chosen = applied(node("optimize", formats=["webp", "avif"], max_bytes=15_000), source)
    said = replace(chosen.wish, format="jpeg")
    done = encode(chosen.wishing(said), tmp_path / "out")
    assert (done.format, done.fits) == ("jpeg", True)
    assert done.size <= 15_000


def test_a_second_optimize_keeps_what_it_does_not_say(tmp_path: Path) -> None:
    first = applied(node("optimize", max_bytes=9_000, max_quality=70), photograph(tmp_path))
    wish = node("optimize", formats=["webp", "webp"], min_quality=20).apply(first, {}).wish
    assert (wish.max_bytes, wish.quality, wish.min_quality, wish.formats) == (9_000, 70, 20, ("webp",))


def test_a_format_too_narrow_for_the_picture_is_passed_over(tmp_path: Path) -> None:
    Image.new("RGB", (1, 20_000), "red").save(tmp_path / "in.png")
    done = optimised(tmp_path / "in.png", tmp_path, formats=["webp", "jpeg"])
    assert (done.format, opened(done.path).size) == ("jpeg", (1, 20_000))
    with pytest.raises(NodeInvalid, match=r"^format: webp holds at most 16383"):
        optimised(tmp_path / "in.png", tmp_path, formats=["webp", "avif"])


@pytest.mark.parametrize("size", [(1, 1), (1, 10_000), (10_000, 1)])
def test_the_smallest_and_thinnest_pictures_are_optimised(size: tuple[int, int], tmp_path: Path) -> None:
    corners(*size).save(tmp_path / "in.png")
    done = optimised(tmp_path / "in.png", tmp_path, formats=["webp", "avif", "jpeg", "png"], max_bytes=4_000)
    assert opened(done.path).size == size


@pytest.mark.parametrize(
    ("parameters", "complaint"),
    [
        ({}, "needs max_bytes, formats or both"),
        ({"max_bytes": 0}, "at least 1"),
        ({"formats": []}, "at least 1"),
        ({"formats": ["gif"]}, "Input should be 'webp'"),
        ({"max_bytes": "1KB", "min_quality": 60, "max_quality": 50}, "max_quality 50 is below min_quality 60"),
        ({"max_bytes": "1KB", "min_quality": 0}, "greater than or equal to 1"),
    ],
)
def test_impossible_aims_are_refused(parameters: dict[str, Any], complaint: str) -> None:
    with pytest.raises(ValidationError, match=complaint):
        node("optimize", **parameters)


@TINY
@given(
    size=st.tuples(st.integers(1, 60), st.integers(1, 60)),
    formats=st.lists(st.sampled_from(["webp", "jpeg", "png"]), min_size=1, max_size=3),
    limit=st.none() | st.integers(1, 2_000),
    mode=st.sampled_from(["RGB", "RGBA", "L"]),
)
def test_optimising_changes_no_size(
    size: tuple[int, int], formats: list[str], limit: int | None, mode: str, tmp_path: Path
) -> None:
    corners(*size, mode=mode).save(tmp_path / "in.png")
    step = node("optimize", formats=formats, max_bytes=limit)
    done = encode(applied(step, tmp_path / "in.png"), tmp_path / "out")
    reached = step.reach(Outline(*size))
    assert opened(done.path).size == (reached.width, reached.height) == size
    assert done.format in formats
    assert done.fits == (limit is None or done.size <= limit)
    assert step.demand(Outline(*size), 0.5) == 0.5


# srcset


def manifest_of(pieces: list[Piece]) -> dict[str, Any]:
    assert (pieces[-1].mime, pieces[-1].image) == ("application/json", None)
    found = json.loads(pieces[-1].path.read_text())
    assert isinstance(found, dict)
    return found


def test_srcset_writes_every_width_in_every_format_and_tells(tmp_path: Path) -> None:
    step = spreader("srcset", widths=[160, 640, 320], formats=["avif", "webp", "jpeg"], sizes="(max-width: 9em) 50vw")
    pieces = spread(step, PHOTO, tmp_path, stem="my photo")
    told = manifest_of(pieces)
    sizes = {640: 360, 320: 180, 160: 90}
    assert [(one["width"], one["height"], one["format"]) for one in told["files"]] == [
        (width, height, format) for width, height in sizes.items() for format in ("avif", "webp", "jpeg")
    ]
    for one, piece in zip(told["files"], pieces[:-1], strict=True):
        image = opened(piece.path)
        assert piece.image is not None
        assert (one["name"], one["type"], one["bytes"]) == (piece.name, piece.mime, piece.path.stat().st_size)
        assert image.size == (one["width"], one["height"]) == (piece.image.width, piece.image.height)
        assert (image.format or "").lower() == one["format"] == piece.image.format
    assert (told["width"], told["height"], told["sizes"]) == (5312, 2988, "(max-width: 9em) 50vw")
    assert list(told["srcset"]) == ["avif", "webp", "jpeg"]
    assert told["srcset"]["webp"] == ("my%20photo-160w.webp 160w, my%20photo-320w.webp 320w, my%20photo-640w.webp 640w")
    assert told["src"] == "my%20photo-640w.jpg"
    assert [pieces[0].name, pieces[-1].name] == ["my photo-640w.avif", "my photo-srcset.json"]


def test_srcset_looks_as_pillow_and_as_direct_resizing_would_make_it(tmp_path: Path) -> None:
    widths = [1600, 1400, 1000, 900, 640, 320, 160]
    pieces = spread(spreader("srcset", widths=widths, formats=["png"]), PHOTO, tmp_path)[:-1]
    outline, photo = outline_of(PHOTO), opened(PHOTO)
    for piece, width in zip(pieces, widths, strict=True):
        height = round(2988 * width / 5312)
        found = opened(piece.path)
        assert difference(found, photo.resize((width, height), Image.Resampling.LANCZOS)) < 2.0
        direct = open_picture(PHOTO, outline, width / 5312).scaled(width, height).wishing(Wish(format="png"))
        assert psnr(found, opened(encode(direct, tmp_path / "direct.png").path)) > 40


def test_srcset_never_enlarges_and_offers_the_own_width_instead(tmp_path: Path) -> None:
    corners(500, 250).save(tmp_path / "in.png")
    step = spreader("srcset", widths=[200, 400, 800, 1600], formats=["png"])
    found = manifest_of(spread(step, tmp_path / "in.png", tmp_path))
    assert [one["width"] for one in found["files"]] == [500, 400, 200]


def test_srcset_widths_can_be_steps_of_one_ratio(tmp_path: Path) -> None:
    corners(1000, 500).save(tmp_path / "in.png")
    step = spreader("srcset", min_width=100, max_width=800, steps=4, formats=["png"], prefix="https://cdn.example/i/")
    found = manifest_of(spread(step, tmp_path / "in.png", tmp_path))
    assert [one["width"] for one in found["files"]] == [800, 400, 200, 100]
    assert found["src"] == "https://cdn.example/i/in-800w.png"
    assert found["srcset"]["png"].startswith("https://cdn.example/i/in-100w.png 100w, ")


def test_srcset_takes_its_quality_or_the_picture_s(tmp_path: Path) -> None:
    source = photograph(tmp_path)

    def quantised(wish: Wish, **parameters: Any) -> Any:
        step = spreader("srcset", widths=[200], formats=["jpeg"], **parameters)
        image = opened(spread(step, source, tmp_path, wish=wish)[0].path)
        return image.quantization  # type: ignore[attr-defined]

    tables = {quality: quantised(Wish(), quality=quality) for quality in (40, 70, 82)}
    assert quantised(Wish(quality=40)) == tables[40]
    assert quantised(Wish(quality=40), quality=70) == tables[70]
    assert quantised(Wish()) == tables[82]
    assert tables[40] != tables[70] != tables[82]


def test_srcset_keeps_the_limit_of_an_optimize_before_it(tmp_path: Path) -> None:
    wish = Wish(formats=("avif",), max_bytes=6_000, min_quality=1)
    step = spreader("srcset", widths=[400, 200], formats=["webp", "jpeg"])
    pieces = spread(step, photograph(tmp_path), tmp_path, wish=wish)[:-1]
    assert [piece.mime for piece in pieces] == ["image/webp", "image/jpeg"] * 2
    assert max(piece.path.stat().st_size for piece in pieces) <= 6_000


def test_srcset_keeps_alpha_where_it_can(tmp_path: Path) -> None:
    image = Image.new("RGBA", (200, 100), (255, 0, 0, 0))
    image.paste((0, 0, 255, 128), (0, 0, 100, 100))
    image.save(tmp_path / "in.png")
    step = spreader("srcset", widths=[100], formats=["png", "jpeg"])
    clear, flat, _ = spread(step, tmp_path / "in.png", tmp_path, wish=Wish(background=(0, 255, 0)))
    assert opened(clear.path).getpixel((25, 25)) == (0, 0, 255, 128)
    assert opened(clear.path).getpixel((75, 25))[3] == 0  # type: ignore[index]
    assert opened(flat.path).getpixel((75, 25)) == pytest.approx((0, 255, 0), abs=3)
    assert clear.image and clear.image.alpha
    assert flat.image and not flat.image.alpha


def test_srcset_keeps_an_animation_where_the_format_can(tmp_path: Path) -> None:
    step = spreader("srcset", widths=[100, 50], formats=["webp", "jpeg"])
    pieces = spread(step, animation(tmp_path), tmp_path)[:-1]
    assert [piece.image.frames for piece in pieces if piece.image] == [3, 1, 3, 1]
    found = opened(pieces[2].path)
    assert (found.size, times(found)) == ((50, 25), [100, 200, 300])
    found.seek(1)
    assert found.convert("RGB").getpixel((25, 12)) == pytest.approx((0, 255, 0), abs=4)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_srcset_comes_out_upright(orientation: int, tmp_path: Path) -> None:
    source = turned(tmp_path, orientation, 800, 600)
    for piece in spread(spreader("srcset", widths=[200, 100], formats=["png"]), source, tmp_path)[:-1]:
        found = opened(piece.path)
        assert found.size == ((200, 150) if "200w" in piece.name else (100, 75))
        assert difference(found, corners(800, 600).resize(found.size)) < 2


@pytest.mark.parametrize("size", [(1, 1), (1, 10_000), (10_000, 1)])
def test_srcset_of_the_smallest_and_thinnest_pictures(size: tuple[int, int], tmp_path: Path) -> None:
    corners(*size).save(tmp_path / "in.png")
    step = spreader("srcset", widths=[2000, 320], formats=["webp", "jpeg"])
    pieces = spread(step, tmp_path / "in.png", tmp_path)[:-1]
    expected = [(2000, 1), (320, 1)] if size[0] > 1 else [size]
    assert [opened(piece.path).size for piece in pieces] == [one for one in expected for _ in range(2)]


@pytest.mark.parametrize(
    ("parameters", "complaint"),
    [
        ({}, "needs either widths"),
        ({"widths": []}, "at least 1"),
        ({"widths": [100], "steps": 3}, "needs either widths"),
        ({"min_width": 100, "max_width": 200}, "needs either widths"),
        ({"min_width": 300, "max_width": 200, "steps": 3}, "min_width 300 is above max_width 200"),
        ({"widths": [0]}, "greater than or equal to 1"),
        ({"widths": [1], "prefix": "a b"}, "String should match"),
    ],
)
def test_impossible_srcsets_are_refused(parameters: dict[str, Any], complaint: str) -> None:
    with pytest.raises(ValidationError, match=complaint):
        spreader("srcset", **parameters)


@TINY
@given(
    size=st.tuples(st.integers(1, 200), st.integers(1, 200)),
    widths=st.lists(st.integers(1, 300), min_size=1, max_size=5),
)
def test_srcset_foretells_its_sizes(size: tuple[int, int], widths: list[int], tmp_path: Path) -> None:
    corners(*size).save(tmp_path / "in.png")
    step = spreader("srcset", widths=widths, formats=["png"])
    assert isinstance(step, Srcset)
    found = [opened(piece.path).size for piece in spread(step, tmp_path / "in.png", tmp_path)[:-1]]
    assert found == step.boxes(Outline(*size))
    assert {width for width, _ in found} == {min(width, size[0]) for width in widths}
    assert 0 < step.demand(Outline(*size), 1.0) <= 1.0


# deepzoom

DZI = "{http://schemas.microsoft.com/deepzoom/2008}"


def archive_of(pieces: list[Piece]) -> zipfile.ZipFile:
    (piece,) = pieces
    assert (piece.mime, piece.image) == ("application/zip", None)
    archive = zipfile.ZipFile(io.BytesIO(piece.path.read_bytes()))
    assert archive.testzip() is None
    return archive


def tile(archive: zipfile.ZipFile, name: str) -> Image.Image:
    return Image.open(io.BytesIO(archive.read(name)))


def laid_out(archive: zipfile.ZipFile, folder: str, size: tuple[int, int], step: int, overlap: int) -> Image.Image:
    """The full level of a DZI put together again from its tiles."""
    tiles = [name for name in archive.namelist() if name.startswith(folder)]
    canvas = Image.new(tile(archive, tiles[0]).mode, size)
    for name in tiles:
        column, row = (int(part) for part in Path(name).stem.split("_"))
        canvas.paste(tile(archive, name), (max(0, column * step - overlap), max(0, row * step - overlap)))
    return canvas


@pytest.mark.parametrize(("tile_size", "overlap"), [(None, None), (128, 0), (200, 3)])
def test_a_deep_zoom_put_together_is_the_picture(tile_size: int | None, overlap: int | None, tmp_path: Path) -> None:
    source = photograph(tmp_path, 700)
    image = opened(source).convert("RGB")
    step = spreader("deepzoom", format="png", tile_size=tile_size, overlap=overlap)
    pieces = spread(step, source, tmp_path, stem="photo")
    archive = archive_of(pieces)
    assert pieces[0].name == "photo.zip"
    told = ElementTree.fromstring(archive.read("photo.dzi"))
    dimensions = told.find(f"{DZI}Size")
    assert dimensions is not None
    assert (dimensions.get("Width"), dimensions.get("Height")) == (str(image.width), str(image.height))
    side, shared = tile_size or 254, 1 if overlap is None else overlap
    assert (told.get("TileSize"), told.get("Overlap"), told.get("Format")) == (str(side), str(shared), "png")
    top = math.ceil(math.log2(max(image.size)))
    levels = {name.split("/")[1] for name in archive.namelist() if name.endswith(".png")}
    assert levels == {str(level) for level in range(top + 1)}
    found = laid_out(archive, f"photo_files/{top}/", image.size, side, shared)
    assert difference(found.convert("RGB"), image) == 0
    half = laid_out(archive, f"photo_files/{top - 1}/", (350, math.ceil(image.height / 2)), side, shared)
    assert difference(half.convert("RGB"), image.resize(half.size, Image.Resampling.BOX)) < 2


@pytest.mark.parametrize(("format", "extension"), [("jpeg", "jpg"), ("webp", "webp")])
def test_lossy_tiles_look_like_the_picture_and_follow_the_quality(format: str, extension: str, tmp_path: Path) -> None:
    source = photograph(tmp_path, 600)
    image = opened(source).convert("RGB")
    sizes = []
    for quality in (30, 90):
        archive = archive_of(spread(spreader("deepzoom", format=format, quality=quality), source, tmp_path))
        names = [name for name in archive.namelist() if name.startswith("in_files/10/")]
        assert {name.rpartition(".")[2] for name in names} == {extension}
        assert difference(laid_out(archive, "in_files/10/", image.size, 254, 1).convert("RGB"), image) < 8
        sizes.append(sum(archive.getinfo(name).file_size for name in names))
    assert sizes[0] * 2 < sizes[1]


def test_szi_holds_the_deep_zoom_uncompressed_in_a_folder(tmp_path: Path) -> None:
    pieces = spread(spreader("deepzoom", container="szi"), photograph(tmp_path), tmp_path, stem="photo")
    archive = archive_of(pieces)
    assert pieces[0].name == "photo.szi"
    assert {"photo/photo.dzi", "photo/scan-properties.xml"} <= set(archive.namelist())
    assert {entry.compress_type for entry in archive.infolist()} == {zipfile.ZIP_STORED}
    assert tile(archive, "photo/photo_files/0/0_0.jpg").size == (1, 1)


def test_zoomify_tells_its_tiles(tmp_path: Path) -> None:
    source = photograph(tmp_path, 600)
    archive = archive_of(spread(spreader("deepzoom", layout="zoomify", format="png"), source, tmp_path))
    told = ElementTree.fromstring(archive.read("in/ImageProperties.xml"))
    tiles = [name for name in archive.namelist() if name.endswith(".png")]
    assert (told.get("WIDTH"), told.get("HEIGHT"), told.get("TILESIZE")) == ("600", "338", "256")
    assert told.get("NUMTILES") == str(len(tiles))
    image = opened(source).convert("RGB")
    assert difference(tile(archive, "in/TileGroup0/2-1-0.png").convert("RGB"), image.crop((256, 0, 512, 256))) == 0


@pytest.mark.parametrize(("layout", "key", "size"), [("iiif", "@id", "256,"), ("iiif3", "id", "256,256")])
def test_iiif_says_where_it_is_served(layout: str, key: str, size: str, tmp_path: Path) -> None:
    source = photograph(tmp_path, 600)
    step = spreader("deepzoom", layout=layout, format="png", tile_size=256, base_url="https://pictures.example/iiif/")
    archive = archive_of(spread(step, source, tmp_path, stem="my photo"))
    told = json.loads(archive.read("my-photo/info.json"))
    assert (told[key], told["width"], told["height"]) == ("https://pictures.example/iiif/my-photo", 600, 338)
    assert told["tiles"][0]["width"] == 256
    found = tile(archive, f"my-photo/256,0,256,256/{size}/0/default.png")
    assert difference(found.convert("RGB"), opened(source).convert("RGB").crop((256, 0, 512, 256))) == 0


@pytest.mark.parametrize(
    ("stem", "inside"), [("Größe & Co", "Gr-e-Co"), ("фото", "image"), ("a/../b", "a-..-b"), ('x"y[Q=1]', "x-y-Q-1")]
)
def test_names_inside_the_archive_are_plain(stem: str, inside: str, tmp_path: Path) -> None:
    corners(20, 20).save(tmp_path / "in.png")
    pieces = spread(spreader("deepzoom"), tmp_path / "in.png", tmp_path, stem=stem)
    assert f"{inside}.dzi" in archive_of(pieces).namelist()
    assert pieces[0].name == f"{stem}.zip"


def test_tiles_keep_alpha_or_lie_on_the_background(tmp_path: Path) -> None:
    image = Image.new("RGBA", (100, 50), (255, 0, 0, 0))
    image.paste((0, 0, 255, 128), (0, 0, 50, 50))
    image.save(tmp_path / "in.png")
    clear = archive_of(spread(spreader("deepzoom", format="png"), tmp_path / "in.png", tmp_path))
    assert difference(tile(clear, "in_files/7/0_0.png"), image) == 0
    wish = Wish(background=(0, 255, 0))
    flat = archive_of(spread(spreader("deepzoom"), tmp_path / "in.png", tmp_path, wish=wish))
    assert tile(flat, "in_files/7/0_0.jpg").getpixel((75, 25)) == pytest.approx((0, 255, 0), abs=3)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_tiles_come_out_upright(orientation: int, tmp_path: Path) -> None:
    source = turned(tmp_path, orientation)
    archive = archive_of(spread(spreader("deepzoom", format="png"), source, tmp_path))
    found = tile(archive, "in_files/7/0_0.png")
    assert difference(found.convert("RGB"), corners(80, 60)) < 3


def test_tiles_of_an_animation_are_its_first_frame(tmp_path: Path) -> None:
    archive = archive_of(spread(spreader("deepzoom", format="png"), animation(tmp_path), tmp_path))
    found = tile(archive, "in_files/8/0_0.png").convert("RGB")
    assert (found.size, set(quarters(found))) == ((200, 100), {(255, 0, 0)})


def test_tiles_of_the_smallest_and_thinnest_pictures(tmp_path: Path) -> None:
    for layout in ("dzi", "zoomify", "iiif", "iiif3"):
        for size in ((1, 1), (1, 10_000), (10_000, 1)):
            corners(*size).save(tmp_path / "in.png")
            archive = archive_of(spread(spreader("deepzoom", layout=layout), tmp_path / "in.png", tmp_path))
            assert any(name.endswith(".jpg") for name in archive.namelist())


def test_an_archive_tells_nothing_of_the_photographer(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x010F], exif[0x8298] = "Secret camera", "Secret person"
    corners(300, 300).save(tmp_path / "in.jpg", exif=exif, comment=b"Secret words")
    archive = archive_of(spread(spreader("deepzoom"), tmp_path / "in.jpg", tmp_path, wish=Wish(strip=False)))
    assert [name for name in archive.namelist() if b"Secret" in archive.read(name)] == []


@pytest.mark.parametrize(
    ("parameters", "complaint"),
    [
        ({"layout": "zoomify", "overlap": 1}, "belong to the layout dzi"),
        ({"layout": "iiif", "container": "szi"}, "belong to the layout dzi"),
        ({"tile_size": 8}, "greater than or equal to 64"),
        ({"overlap": 65}, "less than or equal to 64"),
        ({"base_url": 'https://x.example/"'}, "String should match"),
        ({"format": "avif"}, "Input should be 'jpeg'"),
    ],
)
def test_impossible_pyramids_are_refused(parameters: dict[str, Any], complaint: str) -> None:
    with pytest.raises(ValidationError, match=complaint):
        spreader("deepzoom", **parameters)


@TINY
@given(size=st.tuples(st.integers(1, 300), st.integers(1, 300)), side=st.integers(64, 256), overlap=st.integers(0, 8))
def test_every_pyramid_holds_every_pixel(size: tuple[int, int], side: int, overlap: int, tmp_path: Path) -> None:
    corners(*size).save(tmp_path / "in.png")
    step = spreader("deepzoom", format="png", tile_size=side, overlap=overlap)
    archive = archive_of(spread(step, tmp_path / "in.png", tmp_path))
    top = math.ceil(math.log2(max(size)))
    found = laid_out(archive, f"in_files/{top}/", size, side, overlap)
    assert difference(found.convert("RGB"), corners(*size)) == 0
