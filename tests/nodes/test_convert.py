from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image, ImageCms

from pipeline.imaging.encode import encode
from tests.nodes.studio import PHOTO, applied, corners, difference, node, opened


def converted(source: Path, folder: Path, **parameters: object) -> Image.Image:
    picture = applied(node("convert", **parameters), source)
    return opened(encode(picture, folder / f"out.{picture.wish.format}").path)


@pytest.fixture(scope="module")
def small_photo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("photo") / "in.png"
    opened(PHOTO).resize((640, 360)).save(path)
    return path


@pytest.mark.parametrize("format", ["jpeg", "png", "webp", "avif", "gif", "tiff"])
def test_every_format_holds_the_picture(format: str, small_photo: Path, tmp_path: Path) -> None:
    found = converted(small_photo, tmp_path, format=format)
    assert (found.format or "").lower() == format
    limit = {"png": 0, "tiff": 0, "gif": 8}.get(format, 4)
    assert difference(found, opened(small_photo)) <= limit


@pytest.mark.parametrize("format", ["jpeg", "webp", "avif"])
def test_less_quality_is_fewer_bytes(format: str, small_photo: Path, tmp_path: Path) -> None:
    sizes = []
    for quality in (30, 60, 90):
        picture = applied(node("convert", format=format, quality=quality), small_photo)
        sizes.append(encode(picture, tmp_path / f"{quality}").size)
    assert sizes == sorted(sizes) and sizes[0] * 1.5 < sizes[2]


@pytest.mark.parametrize("format", ["webp", "avif"])
def test_lossless_loses_nothing(format: str, small_photo: Path, tmp_path: Path) -> None:
    found = converted(small_photo, tmp_path, format=format, lossless=True)
    assert difference(found, opened(small_photo)) < (0.01 if format == "webp" else 1.0)


def test_a_progressive_jpeg_says_so(small_photo: Path, tmp_path: Path) -> None:
    assert "progressive" in converted(small_photo, tmp_path, format="jpeg", progressive=True).info
    assert "progressive" not in converted(small_photo, tmp_path, format="jpeg").info


@pytest.mark.parametrize("format", ["jpeg", "png", "tiff"])
def test_the_density_that_is_said_is_written_and_nothing_else(format: str, tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x8298] = "A. Photographer"
    corners(40, 20).save(tmp_path / "in.jpg", exif=exif, dpi=(72, 72))
    found = converted(tmp_path / "in.jpg", tmp_path, format=format, dpi=300)
    assert [round(float(one)) for one in found.info["dpi"]] == [300, 300]
    assert 0x8298 not in found.getexif()
    kept = converted(tmp_path / "in.jpg", tmp_path, format=format, dpi=150, strip=False)
    assert round(float(kept.info["dpi"][0])) == 150


def test_metadata_is_left_out_unless_kept_and_the_turn_is_never_applied_twice(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112], exif[0x8298] = 6, "A. Photographer"
    corners(400, 200).save(tmp_path / "in.jpg", exif=exif, quality=95)
    stripped = converted(tmp_path / "in.jpg", tmp_path)
    assert (stripped.size, len(stripped.getexif())) == ((200, 400), 0)
    kept = converted(tmp_path / "in.jpg", tmp_path, strip=False)
    assert kept.size == (200, 400)
    assert kept.getexif()[0x8298] == "A. Photographer"
    assert kept.getexif().get(0x0112, 1) == 1


def test_transparency_shows_the_background_where_the_format_has_none(tmp_path: Path) -> None:
    Image.new("RGBA", (50, 50), (255, 0, 0, 0)).save(tmp_path / "in.png")
    assert converted(tmp_path / "in.png", tmp_path, format="jpeg").getpixel((25, 25)) == (255, 255, 255)
    dark = converted(tmp_path / "in.png", tmp_path, format="jpeg", background="#000")
    assert dark.getpixel((25, 25)) == (0, 0, 0)
    assert converted(tmp_path / "in.png", tmp_path, format="webp").convert("RGBA").getpixel((25, 25))[3] == 0  # type: ignore[index]


def test_colours_come_out_in_srgb(tmp_path: Path) -> None:
    corners(64, 64).convert("CMYK").save(tmp_path / "cmyk.jpg", quality=95)
    assert converted(tmp_path / "cmyk.jpg", tmp_path, format="png").mode == "RGB"
    Image.new("I;16", (20, 20), 32768).save(tmp_path / "grey16.png")
    assert converted(tmp_path / "grey16.png", tmp_path, format="png").getpixel((5, 5)) == 128
    lab = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB"))
    corners(64, 64).save(tmp_path / "tagged.png", icc_profile=lab.tobytes())
    assert difference(converted(tmp_path / "tagged.png", tmp_path), corners(64, 64)) == 0


def test_an_animation_becomes_a_still_picture_where_the_format_has_no_frames(tmp_path: Path) -> None:
    frames = [Image.new("RGB", (60, 40), colour) for colour in ("red", "blue")]
    frames[0].save(tmp_path / "in.gif", save_all=True, append_images=frames[1:], duration=100)
    found = converted(tmp_path / "in.gif", tmp_path, format="png")
    assert (found.size, found.convert("RGB").getpixel((5, 5))) == ((60, 40), (255, 0, 0))
