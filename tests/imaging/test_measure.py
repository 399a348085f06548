from __future__ import annotations

import io
import struct
import zlib
from contextlib import suppress
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
import pyvips
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import ExifTags, Image, ImageCms

from pipeline.errors import ImageFramesTooMany, ImageTooLarge, ImageUnreadable
from pipeline.imaging.measure import measure
from pipeline.model import ImageFacts, Place

from .pictures import VARIANTS, exif, noisy, saved, vips

PHOTO = Path(__file__).parents[1] / "photos" / "sunset.jpg"
SYDNEY = Place(latitude=-33.8559583, longitude=151.21)


def facts_of(data: bytes, folder: Path, format: str, max_pixels: int = 10**8, max_frames: int = 1000) -> ImageFacts:
    path = folder / "image"
    path.write_bytes(data)
    return measure(str(path), f"image/{format}", max_pixels, max_frames)


def variant(name: str, folder: Path) -> ImageFacts:
    format, make = VARIANTS[name]
    return facts_of(make(), folder, format)


@pytest.mark.parametrize("name", VARIANTS)
def test_every_variant_has_the_size_pillow_shows(name: str, tmp_path: Path) -> None:
    format, make = VARIANTS[name]
    data = make()
    facts = facts_of(data, tmp_path, format)
    assert facts.format == format
    with Image.open(io.BytesIO(data)) as opened:
        # Pillow shows a TIFF upright by itself.
        turned = format != "tiff" and opened.getexif().get(ExifTags.Base.Orientation, 1) >= 5
        assert (facts.width, facts.height) == (opened.size[::-1] if turned else opened.size)


@pytest.mark.parametrize(
    ("name", "wanted"),
    [
        ("jpeg grey", {"colour_space": "grey", "alpha": False}),
        ("jpeg cmyk", {"colour_space": "cmyk"}),
        ("jpeg exif", {"dpi": 300.0, "orientation": 6, "width": 64, "height": 96}),
        ("jpeg baseline", {"dpi": None, "orientation": 1, "colour_space": "srgb", "frames": 1}),
        ("jpeg mpo", {"frames": 1}),
        ("png", {"dpi": None, "alpha": False}),
        ("png alpha", {"dpi": 143.99, "alpha": True}),
        ("png 16 bit", {"colour_space": "grey16"}),
        ("webp animated", {"frames": 5, "width": 48, "height": 32}),
        ("webp alpha", {"alpha": True}),
        ("gif animated", {"frames": 5}),
        ("avif alpha", {"alpha": True}),
        ("avif 10 bit", {"colour_space": "rgb16"}),
        ("tiff", {"dpi": 240.0, "frames": 1}),
        ("tiff pages", {"frames": 5}),
        ("tiff bilevel", {"colour_space": "grey"}),
        ("tiff big tiled", {"width": 96, "height": 64}),
    ],
)
def test_facts_of_the_header(name: str, wanted: dict[str, Any], tmp_path: Path) -> None:
    facts = variant(name, tmp_path)
    assert {field: getattr(facts, field) for field in wanted} == wanted


@pytest.mark.parametrize("name", ["jpeg exif", "png exif", "webp exif", "tiff exif"])
def test_date_and_place_are_read(name: str, tmp_path: Path) -> None:
    facts = variant(name, tmp_path)
    assert facts.taken_at == "2024-05-01T12:34:56+02:00"
    assert facts.place == SYDNEY
    assert facts.orientation == 6


@pytest.mark.parametrize("quality", [1, 10, 49, 50, 75, 82, 90, 95, 100])
def test_quality_of_a_jpeg_and_its_profile_are_read(quality: int, tmp_path: Path) -> None:
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    for more in ({}, {"icc_profile": profile}):
        facts = facts_of(saved(noisy(), "JPEG", quality=quality, **more), tmp_path, "jpeg")
        assert (facts.quality, facts.profile) == (quality, bool(more))
    facts = facts_of(saved(noisy(), "PNG", icc_profile=profile), tmp_path, "png")
    assert (facts.quality, facts.profile) == (None, True)


def test_quality_of_other_tables_is_an_estimate(tmp_path: Path) -> None:
    data = saved(noisy(), "JPEG", qtables=[[7] * 64, [9] * 64])
    assert 85 < (facts_of(data, tmp_path, "jpeg").quality or 0) < 98
    broken = data.replace(b"\xff\xdb\x00C\x00", b"\xff\xdb\x00C\x07")
    with suppress(ImageUnreadable):
        assert facts_of(broken, tmp_path, "jpeg").quality is None


def test_date_of_an_avif_is_read(tmp_path: Path) -> None:
    jpeg = pyvips.Image.jpegload_buffer(saved(noisy(), "JPEG", exif=exif()))
    facts = facts_of(bytes(jpeg.heifsave_buffer(compression="av1", effort=0)), tmp_path, "avif")
    assert facts.taken_at == "2024-05-01T12:34:56+02:00"
    assert (facts.width, facts.height, facts.orientation) == (64, 96, 1)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_size_is_as_shown(orientation: int, tmp_path: Path) -> None:
    made = Image.Exif()
    made[ExifTags.Base.Orientation] = orientation
    facts = facts_of(saved(noisy(40, 20), "JPEG", exif=made), tmp_path, "jpeg")
    assert (facts.width, facts.height) == ((20, 40) if orientation >= 5 else (40, 20))
    assert facts.orientation == orientation


@pytest.mark.parametrize(
    "absurd",
    [
        {"GPSLatitude": (Fraction(91), Fraction(0), Fraction(0))},
        {"GPSLongitude": (Fraction(181), Fraction(0), Fraction(0))},
        {"GPSLatitude": (Fraction(10), Fraction(75), Fraction(0))},
        {"GPSLatitude": (Fraction(10), Fraction(5))},
        {"GPSLatitudeRef": "X"},
        {"GPSLongitudeRef": ""},
        {
            "GPSLatitude": (Fraction(0), Fraction(0), Fraction(0)),
            "GPSLongitude": (Fraction(0), Fraction(0), Fraction(0)),
        },
    ],
)
def test_absurd_places_are_refused(absurd: dict[str, Any], tmp_path: Path) -> None:
    facts = facts_of(saved(noisy(), "JPEG", exif=exif(**absurd)), tmp_path, "jpeg")
    assert facts.place is None
    assert facts.taken_at is not None


@pytest.mark.parametrize(
    "date", ["0000:00:00 00:00:00", "    :  :     :  :  ", "2024-05-01", "2024:13:41 25:61:61", "\0"]
)
def test_dates_that_are_none_are_left_out(date: str, tmp_path: Path) -> None:
    made = exif()
    made.get_ifd(ExifTags.IFD.Exif)[ExifTags.Base.DateTimeOriginal] = date
    facts = facts_of(saved(noisy(), "JPEG", exif=made), tmp_path, "jpeg")
    assert facts.taken_at is None
    assert facts.place == SYDNEY


def test_a_date_without_an_offset_is_local(tmp_path: Path) -> None:
    made = exif()
    del made.get_ifd(ExifTags.IFD.Exif)[ExifTags.Base.OffsetTimeOriginal]
    assert facts_of(saved(noisy(), "JPEG", exif=made), tmp_path, "jpeg").taken_at == "2024-05-01T12:34:56"


def test_too_many_pixels_are_refused(tmp_path: Path) -> None:
    data = saved(noisy(100, 100), "PNG")
    assert facts_of(data, tmp_path, "png", max_pixels=10_000).width == 100
    with pytest.raises(ImageTooLarge) as refusal:
        facts_of(data, tmp_path, "png", max_pixels=9_999)
    assert refusal.value.facts == {"pixels": 10_000, "limit": 9_999}
    assert refusal.value.code == "IMAGE_TOO_LARGE"


@pytest.mark.parametrize("name", ["gif animated", "webp animated", "tiff pages"])
def test_frames_count_as_pixels_and_have_their_own_cap(name: str, tmp_path: Path) -> None:
    format, make = VARIANTS[name]
    data = make()
    with pytest.raises(ImageTooLarge) as refusal:
        facts_of(data, tmp_path, format, max_pixels=48 * 32 * 5 - 1)
    assert refusal.value.facts["pixels"] == 48 * 32 * 5
    with pytest.raises(ImageFramesTooMany, match="5 frames; the limit is 4"):
        facts_of(data, tmp_path, format, max_frames=4)


def png_chunk(name: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))


def test_a_bomb_is_refused_by_its_header(tmp_path: Path) -> None:
    header = struct.pack(">IIBBBBB", 50_000, 50_000, 8, 2, 0, 0, 0)
    bomb = b"\x89PNG\r\n\x1a\n" + png_chunk(b"IHDR", header)
    bomb += png_chunk(b"IDAT", zlib.compress(bytes(10_000))) + png_chunk(b"IEND", b"")
    with pytest.raises(ImageTooLarge) as refusal:
        facts_of(bomb, tmp_path, "png")
    assert refusal.value.facts["pixels"] == 2_500_000_000


def test_pixels_are_never_decoded(tmp_path: Path) -> None:
    data = saved(noisy(400, 300), "JPEG")
    facts = facts_of(data[: len(data) // 4], tmp_path, "jpeg")
    assert (facts.width, facts.height) == (400, 300)


@pytest.mark.parametrize("mime", ["image/heic", "image/svg+xml", "application/pdf", "image/jxl", "image/bmp", ""])
def test_other_formats_are_refused(mime: str, tmp_path: Path) -> None:
    path = tmp_path / "image"
    path.write_bytes(saved(noisy(), "PNG"))
    with pytest.raises(ImageUnreadable):
        measure(str(path), mime, 10**8, 1000)


@pytest.mark.parametrize("claimed", ["jpeg", "webp", "avif", "gif", "tiff"])
def test_the_sniffed_format_alone_chooses_the_loader(claimed: str, tmp_path: Path) -> None:
    with pytest.raises(ImageUnreadable):
        facts_of(saved(noisy(), "PNG"), tmp_path, claimed)


def test_one_path_may_hold_another_file_later(tmp_path: Path) -> None:
    assert facts_of(saved(noisy(10, 10), "JPEG"), tmp_path, "jpeg").width == 10
    assert facts_of(saved(noisy(20, 20), "JPEG"), tmp_path, "jpeg").width == 20


SEEDS = {name: VARIANTS[name][1]() for name in ("jpeg exif", "png exif", "webp exif", "tiff exif", "gif animated")}
SEEDS["avif vips"] = vips(".avif", noisy(16, 16), effort=0)


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    name=st.sampled_from(sorted(SEEDS)),
    edits=st.lists(st.tuples(st.integers(0, 700), st.integers(0, 255)), min_size=1, max_size=8),
)
def test_damaged_headers_are_measured_or_refused(name: str, edits: list[tuple[int, int]], tmp_path: Path) -> None:
    data = bytearray(SEEDS[name])
    for where, value in edits:
        data[min(where, len(data) - 1)] = value
    with suppress(ImageUnreadable, ImageTooLarge):
        facts_of(bytes(data), tmp_path, VARIANTS[name][0])
