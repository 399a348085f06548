"""What fact nodes find out, against Pillow, ImageHash's and the official ThumbHash's own answers, and a real clamd."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import io
import json
import math
import struct
import zlib
from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager, nullcontext
from functools import cache
from pathlib import Path
from typing import Any

import pillow_heif
import pytest
from blurhash_rs import blurhash_decode
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import ExifTags, Image
from PIL.TiffImagePlugin import IFDRational as Ratio
from pydantic import ValidationError

from pipeline import sniff
from pipeline.artifacts import Artifact
from pipeline.errors import FileInfected, ImageUnreadable, ScannerUnavailable, ScanTooLarge, VerificationFailed
from pipeline.graph.facts import stored_outline
from pipeline.imaging.exif import MOST_TAGS, read_exif
from pipeline.imaging.hashes import dhash, phash
from pipeline.imaging.measure import measure
from pipeline.imaging.open import open_picture
from pipeline.imaging.placeholders import thumbhash
from pipeline.imaging.sandbox import Sandbox
from pipeline.nodes import INDEX
from pipeline.nodes.base import FactNode
from pipeline.nodes.scan import Scan
from tests.graph.desk import Desk, file_at
from tests.nodes.clamd import DAEMONS, EICAR, STREAM_LIMIT, Daemon
from tests.nodes.studio import PHOTO, PHOTO_SIZE, corners, difference, opened

SUNSET = Path("tests/photos/sunset.jpg")
FACTS = ("placeholder", "palette", "hash", "exif", "info", "verify")


def artifact(path: Path) -> Artifact:
    content = path.read_bytes()
    mime = sniff.media_type(content[: sniff.HEAD_SIZE], path.name)
    facts = measure(str(path), mime, 10**9, 1000) if mime in sniff.MEDIA_FORMATS else None
    return Artifact("in", path, path.name, mime, len(content), hashlib.sha256(content).hexdigest(), facts, None)


def fact(type: str, **parameters: Any) -> FactNode:
    made = INDEX[type].model_validate({"type": type, **parameters})
    assert isinstance(made, FactNode)
    return made


def observed(node: FactNode, path: Path) -> Mapping[str, Any]:
    """What the node finds out about a file, handed to it as the engine does: decoded as small as it asks for."""
    file = artifact(path)
    stored = stored_outline(file)
    image = None
    if node.pixels and stored is not None:
        image = open_picture(path, stored, node.demand_of(stored.upright()), animated=True).oriented()
    found = node.observe(file, image)
    assert json.loads(json.dumps(found)) == found
    return found


def found(type: str, path: Path, **parameters: Any) -> Mapping[str, Any]:
    return observed(fact(type, **parameters), path)


def saved(image: Image.Image, path: Path, **options: Any) -> Path:
    image.save(path, **options)
    return path


def turned(image: Image.Image, path: Path, orientation: int) -> Path:
    """The picture stored so that its EXIF orientation shows it as it is."""
    inverse = {2: 0, 3: 3, 4: 1, 5: 5, 6: 2, 7: 6, 8: 4}.get(orientation)
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    stored = image if inverse is None else image.transpose(Image.Transpose(inverse))
    return saved(stored, path, exif=exif, quality=95)


@cache
def small(path: Path, width: int) -> Image.Image:
    with Image.open(path) as image:
        image.draft("RGB", (2 * width, 2 * width))
        return image.convert("RGB").resize((width, round(width * image.height / image.width)), Image.Resampling.LANCZOS)


# Every node


@pytest.mark.parametrize("size", [(1, 1), (1, 10_000), (10_000, 1), (3, 2)])
@pytest.mark.parametrize("type", FACTS)
def test_odd_sizes_are_looked_at_as_well(type: str, size: tuple[int, int], tmp_path: Path) -> None:
    path = saved(corners(*size), tmp_path / "in.png")
    kinds: list[dict[str, Any]] = [{"kind": kind} for kind in ("blurhash", "thumbhash", "lqip")]
    parameters: dict[str, list[dict[str, Any]]] = {"verify": [{"max_width": 10_000}], "placeholder": kinds}
    for more in parameters.get(type, [{}]):
        found(type, path, **more)


@pytest.mark.parametrize("type", ["placeholder", "palette", "hash"])
def test_of_an_animation_the_first_frame_counts(type: str, tmp_path: Path) -> None:
    frames = [corners(60, 45), Image.new("RGB", (60, 45), "blue"), Image.new("RGB", (60, 45), "black")]
    still = saved(frames[0], tmp_path / "still.png")
    for name in ("moving.gif", "moving.webp"):
        path = saved(frames[0], tmp_path / name, save_all=True, append_images=frames[1:], duration=80, lossless=True)
        assert {**found(type, path), "sha256": ""} == {**found(type, still), "sha256": ""}


@pytest.mark.parametrize("type", ["placeholder", "palette"])
def test_what_has_no_pixels_has_no_looks(type: str, tmp_path: Path) -> None:
    (tmp_path / "note.txt").write_text("no picture")
    with pytest.raises(ImageUnreadable, match=r"note\.txt` is text/plain"):
        found(type, tmp_path / "note.txt")


@pytest.mark.parametrize("type", ["placeholder", "palette", "hash"])
def test_a_photograph_is_decoded_as_small_as_will_do(type: str) -> None:
    stored = stored_outline(artifact(PHOTO))
    assert stored is not None
    assert open_picture(PHOTO, stored, fact(type).demand_of(stored)).pixels.width == math.ceil(PHOTO_SIZE[0] / 8)


# Placeholder


def blurhash_by_hand(image: Image.Image, across: int, down: int) -> str:
    """The algorithm of https://github.com/woltapp/blurhash/blob/master/Algorithm.md, word for word."""
    digits = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz#$%*+,-.:;=?@[]^_{|}~"
    width, height = image.size
    pixels = [[linear(band) for band in image.getpixel((x, y))] for y in range(height) for x in range(width)]  # type: ignore[union-attr]
    factors = []
    for j in range(down):
        for i in range(across):
            waves = [math.cos(math.pi * i * x / width) * math.cos(math.pi * j * y / height)
                     for y in range(height) for x in range(width)]  # fmt: skip
            scale = (1 if i == j == 0 else 2) / (width * height)
            factors.append([scale * sum(w * p[band] for w, p in zip(waves, pixels, strict=True)) for band in range(3)])
    most = max((abs(value) for factor in factors[1:] for value in factor), default=0.0)
    level = max(0, min(82, math.floor(most * 166 - 0.5)))
    value = [(across - 1 + (down - 1) * 9, 1), (level, 1)]
    value.append((sum(shown(band) << shift for band, shift in zip(factors[0], (16, 8, 0), strict=True)), 4))
    for factor in factors[1:]:
        quants = [
            max(0, min(18, math.floor(math.copysign(abs(v * 166 / (level + 1)) ** 0.5, v) * 9 + 9.5))) for v in factor
        ]
        value.append((quants[0] * 361 + quants[1] * 19 + quants[2], 2))
    return "".join(
        digits[number // 83 ** (length - 1 - place) % 83] for number, length in value for place in range(length)
    )


def linear(band: int) -> float:
    return band / 255 / 12.92 if band / 255 <= 0.04045 else ((band / 255 + 0.055) / 1.055) ** 2.4


def shown(value: float) -> int:
    value = max(0.0, min(1.0, value))
    return int((value * 12.92 if value <= 0.0031308 else 1.055 * value ** (1 / 2.4) - 0.055) * 255 + 0.5)


@pytest.mark.parametrize("components", [(4, 3), (1, 1), (5, 6)])
def test_a_blurhash_is_what_the_algorithm_says(components: tuple[int, int], tmp_path: Path) -> None:
    image = small(SUNSET, 48)
    made = found("placeholder", saved(image, tmp_path / "in.png"), x=components[0], y=components[1])
    assert made["value"] == blurhash_by_hand(image, *components)
    assert (made["kind"], made["width"], made["height"]) == ("blurhash", *image.size)


def test_a_blurhash_of_a_large_photograph_shows_the_same() -> None:
    made = found("placeholder", PHOTO)
    assert (made["width"], made["height"]) == PHOTO_SIZE
    expected = blurhash_by_hand(small(PHOTO, 64), 4, 3)
    assert difference(blurhash_decode(made["value"], 64, 36), blurhash_decode(expected, 64, 36)) < 3


def test_a_blurhash_shows_the_background_through_transparent_parts(tmp_path: Path) -> None:
    path = saved(Image.new("RGBA", (40, 40), (0, 255, 0, 0)), tmp_path / "in.png")
    made = found("placeholder", path, background="#ff0000")["value"]
    assert blurhash_decode(made, 1, 1).getpixel((0, 0)) == (255, 0, 0)


def pattern(width: int, height: int, alpha: bool) -> Image.Image:
    """Pixels by whole numbers, the same on every machine."""
    rgba = bytearray()
    for y in range(height):
        for x in range(width):
            veil = 255 if not alpha or (x + y) % 3 else x * 255 // width
            rgba += bytes((x * 255 // max(1, width - 1), y * 255 // max(1, height - 1), x * y * 7 % 256, veil))
    return Image.frombytes("RGBA", (width, height), bytes(rgba))


@pytest.mark.parametrize(
    ("width", "height", "alpha", "expected"),
    [
        (64, 48, False, "1f080a359a7076778077787777677877807108f877"),
        (64, 64, False, "1f080a371a70767780777877776877778877070887808f07"),
        (48, 64, True, "60188a2c161c800678787786170988807f0877878878778807"),
        (20, 40, True, "5f188a2b161c8081776778a19009f88770778888778778"),
        (1, 64, False, "ca0915813e08848b78878887088478bf78"),
        (64, 1, True, "0b0a9b89c4cc85878888a08588508808777788888078f8"),
        (1, 1, False, "000802070000000000000000000000000000000000000000"),
    ],
)
def test_a_thumbhash_is_that_of_the_official_javascript(width: int, height: int, alpha: bool, expected: str) -> None:
    """Expected: `rgbaToThumbHash` of the npm package thumbhash 0.1.1 on these pixels."""
    assert thumbhash(pattern(width, height, alpha)).hex() == expected


def test_a_thumbhash_keeps_alpha_and_shape(tmp_path: Path) -> None:
    veiled = corners(300, 150, "RGBA")
    veiled.paste((0, 0, 0, 0), (0, 0, 150, 150))
    made = base64.b64decode(found("placeholder", saved(veiled, tmp_path / "in.png"), kind="thumbhash")["value"])
    assert made[2] & 0x80 and made[4] & 0x80  # has alpha, is landscape
    assert made[3] & 7 == 3  # 5 across, 2.5 down
    opaque = base64.b64decode(found("placeholder", PHOTO, kind="thumbhash")["value"])
    assert not opaque[2] & 0x80
    assert 7 / (opaque[3] & 7) == pytest.approx(PHOTO_SIZE[0] / PHOTO_SIZE[1], rel=0.15)


def tiny(made: Mapping[str, Any]) -> tuple[str, Image.Image, int]:
    head, _, body = made["value"].partition(";base64,")
    content = base64.b64decode(body)
    return head, Image.open(io.BytesIO(content)), len(made["value"])


@pytest.mark.parametrize("format", ["webp", "jpeg"])
def test_a_tiny_picture_is_the_picture_in_few_bytes(format: str) -> None:
    head, image, length = tiny(found("placeholder", PHOTO, kind="lqip", size=32, format=format, quality=80))
    assert (head, image.format, image.size) == (f"data:image/{format}", format.upper(), (32, 18))
    assert length < 1500
    assert difference(image.convert("RGB"), small(PHOTO, 32)) < 8
    assert not image.getexif()


def test_a_tiny_webp_keeps_alpha_and_a_jpeg_has_a_background(tmp_path: Path) -> None:
    path = saved(Image.new("RGBA", (200, 100), (0, 0, 255, 0)), tmp_path / "in.png")
    _, webp, _ = tiny(found("placeholder", path, kind="lqip"))
    assert (webp.size, webp.getpixel((5, 5))[3]) == ((24, 12), 0)  # type: ignore[index]
    _, jpeg, _ = tiny(found("placeholder", path, kind="lqip", format="jpeg", background="#ff0000"))
    assert jpeg.getpixel((5, 5))[0] > 250 and jpeg.getpixel((5, 5))[2] < 5  # type: ignore[index]


@pytest.mark.parametrize("orientation", range(1, 9))
def test_what_is_looked_at_is_upright(orientation: int, tmp_path: Path) -> None:
    image = corners(320, 240)
    path = turned(image, tmp_path / "in.jpg", orientation)
    made = found("placeholder", path, kind="lqip", format="jpeg", quality=95, size=64)
    assert (made["width"], made["height"]) == (320, 240)
    assert difference(tiny(made)[1], image.resize((64, 48), Image.Resampling.LANCZOS)) < 6
    assert distance(found("hash", path)["phash"], found("hash", saved(image, tmp_path / "up.png"))["phash"]) <= 4


@pytest.mark.parametrize("wrong", [{"x": 0}, {"y": 10}, {"size": 65}, {"kind": "pixel"}, {"quality": 0}])
def test_a_placeholder_that_cannot_be_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        fact("placeholder", **wrong)


# Palette


def test_four_quarters_are_four_colours(tmp_path: Path) -> None:
    made = found("palette", saved(corners(256, 256), tmp_path / "in.png"), count=4)
    assert {one["hex"] for one in made["colours"]} == {"#ff0000", "#00ff00", "#0000ff", "#ffffff"}
    assert [one["share"] for one in made["colours"]] == [0.25] * 4


def test_the_dominant_colour_is_the_one_that_covers_most(tmp_path: Path) -> None:
    image = Image.new("RGB", (256, 256), "#336699")
    image.paste("#ffcc00", (0, 0, 256, 64))
    image.save(tmp_path / "in.jpg", quality=95, subsampling=0)
    made = found("palette", tmp_path / "in.jpg", count=2)
    shares = {one["hex"]: one["share"] for one in made["colours"]}
    assert near(made["dominant"], "#336699") < 3
    assert list(shares.values()) == pytest.approx([0.75, 0.25], abs=0.02)


def near(one: str, other: str) -> int:
    return max(abs(a - b) for a, b in zip(bytes.fromhex(one[1:]), bytes.fromhex(other[1:]), strict=True))


def test_a_plain_picture_has_one_colour_however_many_are_asked_for(tmp_path: Path) -> None:
    made = found("palette", saved(Image.new("RGB", (50, 50), "#123456"), tmp_path / "in.png"), count=8)
    assert made == {"dominant": "#123456", "colours": [{"hex": "#123456", "share": 1.0}]}


def test_pixels_count_as_much_as_they_are_seen(tmp_path: Path) -> None:
    image = Image.new("RGBA", (64, 64), (255, 0, 0, 0))
    image.paste((0, 0, 255, 255), (0, 0, 16, 64))
    image.paste((0, 255, 0, 85), (16, 0, 64, 64))
    made = found("palette", saved(image, tmp_path / "in.png"))
    assert {one["hex"]: one["share"] for one in made["colours"]} == {"#0000ff": 0.5, "#00ff00": 0.5}
    invisible = saved(Image.new("RGBA", (9, 9), (255, 0, 0, 0)), tmp_path / "none.png")
    assert found("palette", invisible) == {"dominant": None, "colours": []}


@pytest.mark.parametrize("photo", [PHOTO, SUNSET])
@pytest.mark.parametrize("count", [3, 5, 8])
def test_a_palette_renders_a_photograph_no_worse_than_pillows(photo: Path, count: int) -> None:
    """Mean distance of each pixel from its nearest colour, ours against median cut improved by k-means."""
    image = small(photo, 64)
    ours = [tuple(bytes.fromhex(one["hex"][1:])) for one in found("palette", photo, count=count)["colours"]]
    theirs = image.quantize(count, method=Image.Quantize.MEDIANCUT, kmeans=1).getpalette() or []
    rivals = [tuple(theirs[at : at + 3]) for at in range(0, 3 * count, 3)]
    assert len(ours) == count
    assert unlike(image, ours) <= 1.15 * unlike(image, rivals)


def unlike(image: Image.Image, colours: list[tuple[int, ...]]) -> float:
    raw = image.tobytes()
    pixels = zip(raw[0::3], raw[1::3], raw[2::3], strict=True)
    return sum(min(math.dist(pixel, colour) for colour in colours) for pixel in pixels) / (image.width * image.height)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    size=st.tuples(st.integers(1, 20), st.integers(1, 20)),
    count=st.integers(1, 16),
    noise=st.randoms(use_true_random=False),
)
def test_shares_are_sorted_and_make_one_whole(size: tuple[int, int], count: int, noise: Any, tmp_path: Path) -> None:
    image = Image.frombytes("RGBA", size, noise.randbytes(size[0] * size[1] * 4))
    path = saved(image, tmp_path / "in.png")
    made = found("palette", path, count=count)
    shares = [one["share"] for one in made["colours"]]
    assert len(shares) <= count
    assert shares == sorted(shares, reverse=True)
    assert not shares or (sum(shares) == pytest.approx(1, abs=0.001) and made["dominant"] == made["colours"][0]["hex"])
    assert found("palette", path, count=count) == made


# Hash


def distance(one: str, other: str) -> int:
    assert len(one) == len(other) == 16
    return (int(one, 16) ^ int(other, 16)).bit_count()


def test_perceptual_hashes_are_those_of_imagehash() -> None:
    """Expected: ImageHash 4.3.2 on these pixels and on this file."""
    pixels = bytes((x * x * 3 + y * y * 5 + x * y) % 251 for y in range(40) for x in range(50))
    grey = Image.frombytes("L", (50, 40), pixels)
    assert (phash(grey), dhash(grey)) == ("ba1c460a4e42ff79", "a53216ac1b5499e4")
    made = found("hash", PHOTO)
    assert distance(made["phash"], "c3ca9d9d8aa4e86a") <= 2
    assert distance(made["dhash"], "f9d0a1e9c95a7643") <= 2


def test_the_sha256_is_that_of_the_file(tmp_path: Path) -> None:
    assert found("hash", PHOTO, perceptual=[]) == {"sha256": hashlib.sha256(PHOTO.read_bytes()).hexdigest()}
    (tmp_path / "note.txt").write_text("no picture")
    assert found("hash", tmp_path / "note.txt") == {"sha256": hashlib.sha256(b"no picture").hexdigest()}


@cache
def hashed(photo: Path) -> Mapping[str, Any]:
    return found("hash", photo)


VARIANTS: dict[str, tuple[tuple[int, int], dict[str, Any]]] = {
    "half.jpg": ((600, 338), {"quality": 90}),
    "tiny.png": ((120, 68), {}),
    "poor.jpg": ((1200, 675), {"quality": 20}),
    "lossy.webp": ((900, 506), {"quality": 40}),
    "some.avif": ((800, 450), {"quality": 50}),
    "narrow.png": ((500, 500), {}),
    "few.gif": ((400, 225), {}),
}


@pytest.mark.parametrize("name", VARIANTS)
@pytest.mark.parametrize("photo", [PHOTO, SUNSET])
def test_a_perceptual_hash_outlives_resizing_and_recompression(photo: Path, name: str, tmp_path: Path) -> None:
    size, options = VARIANTS[name]
    variant = found("hash", saved(small(photo, 1200).resize(size), tmp_path / name, **options))
    original = hashed(photo)
    assert distance(variant["phash"], original["phash"]) <= 6
    assert distance(variant["dhash"], original["dhash"]) <= 6
    assert variant["sha256"] != original["sha256"]


def test_other_pictures_have_far_other_hashes(tmp_path: Path) -> None:
    one, other = hashed(PHOTO), hashed(SUNSET)
    mirrored = found("hash", saved(small(PHOTO, 600).transpose(Image.Transpose.FLIP_LEFT_RIGHT), tmp_path / "in.png"))
    for name in ("phash", "dhash"):
        assert distance(one[name], other[name]) >= 20
        assert distance(one[name], mirrored[name]) >= 20


@pytest.mark.parametrize("colour", ["white", "black", "#336699"])
def test_plain_pictures_share_their_hash_at_every_size(colour: str, tmp_path: Path) -> None:
    made = {
        (hashes["phash"], hashes["dhash"])
        for size in ((1, 1), (33, 57), (500, 2))
        for hashes in [found("hash", saved(Image.new("RGB", size, colour), tmp_path / "in.png"))]
    }
    assert len(made) == 1


def test_colours_hidden_under_transparency_do_not_count(tmp_path: Path) -> None:
    hidden, plain = corners(64, 64, "RGBA"), Image.new("RGBA", (64, 64), (255, 255, 255, 0))
    hidden.putalpha(0)
    hashes = [found("hash", saved(image, tmp_path / f"{i}.png"))["phash"] for i, image in enumerate((hidden, plain))]
    assert hashes[0] == hashes[1]


# EXIF


def noted() -> Image.Exif:
    """What a camera writes, and some of what only a decoder wants."""
    made = Image.Exif()
    made[ExifTags.Base.Make] = "Lumi--re"
    made[ExifTags.Base.XPTitle] = "Straße".encode("utf-16-le") + b"\0\0"
    made[ExifTags.Base.Copyright] = "long " * 500
    shot = made.get_ifd(ExifTags.IFD.Exif)
    shot[ExifTags.Base.DateTimeOriginal] = "2024:05:01 12:34:56"
    shot[ExifTags.Base.ExposureTime] = Ratio(1, 125)
    shot[ExifTags.Base.FNumber] = Ratio(28, 10)
    shot[ExifTags.Base.ISOSpeedRatings] = 400
    shot[ExifTags.Base.ExifVersion] = b"0232"
    shot[ExifTags.Base.LensSpecification] = (Ratio(24), Ratio(70), Ratio(28, 10), Ratio(28, 10))
    shot[ExifTags.Base.MakerNote] = bytes(range(256)) * 4
    shot[ExifTags.Base.UserComment] = b"UNICODE\0" + "schön".encode("utf-16-le")
    position = made.get_ifd(ExifTags.IFD.GPSInfo)
    position[ExifTags.GPS.GPSLatitudeRef] = "S"
    position[ExifTags.GPS.GPSLatitude] = (Ratio(33), Ratio(51), Ratio(2145, 100))
    position[ExifTags.GPS.GPSLongitudeRef] = "E"
    position[ExifTags.GPS.GPSLongitude] = (Ratio(151), Ratio(12), Ratio(36))
    position[ExifTags.GPS.GPSAltitudeRef] = b"\1"
    position[ExifTags.GPS.GPSAltitude] = Ratio(125, 10)
    position[ExifTags.GPS.GPSProcessingMethod] = b"ASCII\0\0\0GPS"
    return made


def written() -> bytes:
    """The same with UTF-8 where the standard wants ASCII, as many write it and Pillow does not."""
    return noted().tobytes().replace(b"Lumi--re", "Lumière".encode())


EXPECTED = {
    "Make": "Lumière", "XPTitle": "Straße", "DateTimeOriginal": "2024:05:01 12:34:56",
    "ExposureTime": 0.008, "FNumber": 2.8, "ISOSpeedRatings": 400, "ExifVersion": "0232",
    "LensSpecification": [24, 70, 2.8, 2.8], "UserComment": "schön", "GPSLatitude": -33.8559583, "GPSLongitude": 151.21,
    "GPSAltitude": -12.5, "GPSProcessingMethod": "GPS", "Copyright": "long " * 100,
}  # fmt: skip


@pytest.mark.parametrize("name", ["in.jpg", "in.png", "in.webp", "in.avif", "in.tiff", "in.heic"])
def test_every_tag_has_its_name_and_a_plain_value(name: str, tmp_path: Path) -> None:
    pillow_heif.register_heif_opener()
    path = saved(corners(64, 48), tmp_path / name, exif=written())
    path.write_bytes(path.read_bytes().replace(b"Lumi??re", "Lumière".encode()))
    made = found("exif", path)
    assert {tag: made.get(tag) for tag in EXPECTED} == EXPECTED
    assert not {"MakerNote", "GPSLatitudeRef", "GPSAltitudeRef", "ExifOffset", "GPSInfo"} & set(made)
    assert name == "in.tiff" or set(made) == set(EXPECTED)


@pytest.mark.parametrize("name", ["in.jpg", "in.png", "in.webp", "in.gif"])
def test_a_file_without_exif_has_none(name: str, tmp_path: Path) -> None:
    assert found("exif", saved(corners(64, 48), tmp_path / name)) == {}


def test_what_is_no_image_has_no_exif(tmp_path: Path) -> None:
    (tmp_path / "note.txt").write_text("no picture")
    assert found("exif", tmp_path / "note.txt") == {}


@pytest.mark.parametrize("name", ["in.jpg", "in.png"])
def test_not_one_pixel_is_decoded_for_exif(name: str, tmp_path: Path) -> None:
    path = saved(small(SUNSET, 400), tmp_path / name, exif=written())
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    with pytest.raises(OSError, match="truncated"):
        opened(path).load()
    assert read_exif(path, {"in.jpg": "jpeg", "in.png": "png"}[name])["Make"] == "Lumière"


def test_exif_behind_the_pixels_of_a_png_is_found(tmp_path: Path) -> None:
    path = saved(corners(64, 48), tmp_path / "in.png")
    body = b"eXIf" + written().removeprefix(b"Exif\0\0")
    chunk = struct.pack(">I", len(body) - 4) + body + struct.pack(">I", zlib.crc32(body))
    content = path.read_bytes()
    path.write_bytes(content[:-12] + chunk + content[-12:])
    assert found("exif", path)["FNumber"] == 2.8


def test_exif_is_read_of_pictures_larger_than_pillow_opens(tmp_path: Path) -> None:
    path = saved(Image.new("1", (20_000, 20_000)), tmp_path / "in.png", exif=written())
    assert found("exif", path)["ISOSpeedRatings"] == 400


def test_exif_stays_small(tmp_path: Path) -> None:
    exif = noted()
    for tag in range(0xC000, 0xC400):
        exif[tag] = "x" * 100
    exif[ExifTags.Base.ImageDescription] = "y" * 20_000
    exif[ExifTags.Base.TransferFunction] = tuple(range(768))
    made = found("exif", saved(corners(8, 8), tmp_path / "in.webp", exif=exif))
    assert len(made) <= MOST_TAGS
    assert len(made["ImageDescription"]) == 500
    assert "TransferFunction" not in made
    assert len(json.dumps(made)) < 50_000


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(place=st.integers(0, 10_000), bite=st.binary(min_size=1, max_size=12))
def test_broken_exif_is_no_error(place: int, bite: bytes, tmp_path: Path) -> None:
    exif = bytearray(written())
    place %= len(exif)
    exif[place : place + len(bite)] = bite
    body = bytes(exif)
    content = io.BytesIO()
    corners(8, 8).save(content, "JPEG")
    path = tmp_path / "in.jpg"
    path.write_bytes(
        content.getvalue()[:2] + b"\xff\xe1" + (len(body) + 2).to_bytes(2, "big") + body + content.getvalue()[2:]
    )
    made = read_exif(path, "jpeg")
    assert json.loads(json.dumps(made, allow_nan=False)) == made


# Info


def test_info_is_what_the_header_says(tmp_path: Path) -> None:
    path = turned(corners(320, 240), tmp_path / "in.jpg", 6)
    assert found("info", path) == {
        "mime": "image/jpeg", "size": path.stat().st_size, "format": "jpeg", "width": 320, "height": 240,
        "ratio": 1.333333, "frames": 1, "pages": None, "alpha": False, "colour_space": "srgb", "dpi": None,
        "orientation": 6,
    }  # fmt: skip
    cmyk = found("info", saved(Image.new("CMYK", (30, 20)), tmp_path / "cmyk.jpg", dpi=(300, 300)))
    assert (cmyk["colour_space"], cmyk["dpi"]) == ("cmyk", 300.0)
    frames = [Image.new("RGBA", (9, 9), (i, 0, 0, i)) for i in (1, 2, 3)]
    moving = found("info", saved(frames[0], tmp_path / "in.webp", save_all=True, append_images=frames[1:]))
    assert (moving["frames"], moving["alpha"]) == (3, True)
    (tmp_path / "note.txt").write_text("no picture")
    assert found("info", tmp_path / "note.txt") == {"mime": "text/plain", "size": 10}


def test_info_looks_at_no_pixel(tmp_path: Path) -> None:
    file = artifact(saved(corners(320, 240), tmp_path / "in.png"))
    file.path.unlink()
    assert fact("info").observe(file, None)["width"] == 320


# Verify


@pytest.mark.parametrize(
    "rules",
    [
        {"types": ["image/*"]},
        {"types": ["video/mp4", "image/png"]},
        {"types": ["*/*"]},
        {"min_size": 100, "max_size": "1MB"},
        {"min_width": 320, "max_width": 320, "min_height": 180, "max_height": 180},
        {"min_pixels": 57_600, "max_pixels": "1MP"},
        {"max_frames": 1, "min_frames": 1},
        {"aspect": "16:9", "tolerance": 0},
        {"aspect": "16:8.95"},
        {"aspect": "3:2", "tolerance": 0.2},
    ],
)
def test_what_keeps_to_the_rules_passes(rules: dict[str, Any], tmp_path: Path) -> None:
    assert found("verify", saved(corners(320, 180), tmp_path / "in.png"), **rules) == {"passed": True}


@pytest.mark.parametrize(
    ("rules", "reason"),
    [
        ({"types": ["image/jpeg", "video/*"]}, "types: image/png is not one of image/jpeg, video/*"),
        ({"min_size": "1MB"}, r"min_size: \d+ is less than 1000000"),
        ({"max_size": 10}, r"max_size: \d+ is more than 10"),
        ({"min_width": 321}, "min_width: 320 is less than 321"),
        ({"max_width": 319}, "max_width: 320 is more than 319"),
        ({"min_height": 181}, "min_height: 180 is less than 181"),
        ({"max_height": 179}, "max_height: 180 is more than 179"),
        ({"min_pixels": "1MP"}, "min_pixels: 57600 is less than 1000000"),
        ({"max_pixels": 57_599}, "max_pixels: 57600 is more than 57599"),
        ({"min_frames": 2}, "min_frames: 1 is less than 2"),
        ({"aspect": "1:1"}, "aspect: 320:180 is not 1:1 within 1.00%"),
        ({"aspect": "3:2", "tolerance": 0.1}, "aspect: 320:180 is not 3:2 within 10.00%"),
    ],
)
def test_what_breaks_a_rule_is_told_which(rules: dict[str, Any], reason: str, tmp_path: Path) -> None:
    with pytest.raises(VerificationFailed, match=reason.replace("*", r"\*")) as caught:
        found("verify", saved(corners(320, 180), tmp_path / "in.png"), **rules)
    assert (caught.value.code, caught.value.status) == ("VERIFICATION_FAILED", 422)


def test_an_animation_has_too_many_frames(tmp_path: Path) -> None:
    frames = [Image.new("RGB", (9, 9), colour) for colour in ("red", "lime", "blue")]
    path = saved(frames[0], tmp_path / "in.gif", save_all=True, append_images=frames[1:])
    with pytest.raises(VerificationFailed, match="max_frames: 3 is more than 1"):
        found("verify", path, max_frames=1)


def test_a_turned_picture_is_verified_as_it_is_shown(tmp_path: Path) -> None:
    path = turned(corners(320, 180), tmp_path / "in.jpg", 6)
    assert found("verify", path, aspect="16:9", min_width=320) == {"passed": True}


@pytest.mark.parametrize("rules", [{"min_width": 1}, {"max_pixels": "1MP"}, {"aspect": "1:1"}, {"max_frames": 1}])
def test_what_is_no_image_has_no_size_to_pass_with(rules: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / "note.txt").write_text("no picture")
    with pytest.raises(VerificationFailed, match="the file is text/plain, not an image"):
        found("verify", tmp_path / "note.txt", **rules)
    assert found("verify", tmp_path / "note.txt", types=["text/plain"], max_size=100) == {"passed": True}


@pytest.mark.parametrize(
    ("rules", "complaint"),
    [
        ({}, "at least one rule"),
        ({"min_width": 5, "max_width": 4}, "min_width is larger than max_width"),
        ({"min_size": "2MB", "max_size": "1MB"}, "min_size is larger than max_size"),
        ({"aspect": "1:0"}, "no zero side"),
        ({"aspect": "wide"}, "pattern"),
    ],
)
def test_rules_nothing_can_pass_are_refused(rules: dict[str, Any], complaint: str) -> None:
    with pytest.raises(ValidationError, match=complaint):
        fact("verify", **rules)


# Scan


@pytest.fixture(scope="module", params=DAEMONS)
async def daemon(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Daemon]:
    async with DAEMONS[request.param](tmp_path_factory.mktemp("clamd")) as daemon:
        yield daemon


class Alone:
    """The tools of a scan whose daemon nobody else asks."""

    def calling(self, type: str, place: str) -> AbstractAsyncContextManager[None]:
        return nullcontext()


async def scanned(content: bytes, folder: Path, **parameters: Any) -> Mapping[str, Any]:
    path = folder / "in.bin"
    path.write_bytes(content)
    file = Artifact("in", path, "in.bin", "application/octet-stream", len(content), "", None, None)
    node = Scan.model_validate({"type": "scan", **parameters})
    made = await node.inquire(Alone(), file)  # type: ignore[arg-type]
    assert json.loads(json.dumps(made)) == made
    return made


def ways(daemon: Daemon) -> list[dict[str, Any]]:
    return [{"port": daemon.port}, {"socket": daemon.socket}]


async def test_a_clean_file_is_clean_over_tcp_and_unix_socket(daemon: Daemon, tmp_path: Path) -> None:
    for way in ways(daemon):
        for content in (b"hello", b"", PHOTO.read_bytes()[: STREAM_LIMIT - 1000]):
            made = await scanned(content, tmp_path, **way)
            assert made["clean"] is True
            assert made["engine"].startswith("ClamAV 1.")
            assert set(made) == {"clean", "engine"}


async def test_a_virus_fails_the_node_and_is_named(daemon: Daemon, tmp_path: Path) -> None:
    for way in ways(daemon):
        with pytest.raises(FileInfected, match=r"`in\.bin` holds a virus: Eicar-Test") as caught:
            await scanned(EICAR, tmp_path, **way)
        assert (caught.value.code, caught.value.status, caught.value.retryable) == ("FILE_INFECTED", 422, False)


async def test_report_only_tells_of_a_virus(daemon: Daemon, tmp_path: Path) -> None:
    made = await scanned(EICAR, tmp_path, port=daemon.port, report_only=True)
    assert made["clean"] is False
    assert made["signature"].startswith("Eicar-Test")
    assert made["engine"].startswith("ClamAV")


async def test_a_file_the_daemon_finds_too_large_does_not_pass(daemon: Daemon, tmp_path: Path) -> None:
    for way in ways(daemon):
        with pytest.raises(ScanTooLarge, match="larger than the virus scanner is set to accept"):
            await scanned(bytes(4 * STREAM_LIMIT), tmp_path, **way)


async def test_many_files_at_once_get_their_own_verdicts(daemon: Daemon, tmp_path: Path) -> None:
    folders = [tmp_path / str(number) for number in range(8)]
    for folder in folders:
        folder.mkdir()
    contents = [EICAR if number % 2 else bytes(300_000) for number in range(8)]
    scans = [
        scanned(content, folder, port=daemon.port, report_only=True)
        for content, folder in zip(contents, folders, strict=True)
    ]
    assert [made["clean"] for made in await asyncio.gather(*scans)] == [True, False] * 4


async def test_a_daemon_that_is_away_can_be_tried_again(tmp_path: Path) -> None:
    server = await asyncio.start_server(lambda reader, writer: writer.close(), "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    ways = [{"port": port}, {"socket": str(tmp_path / "none.sock")}, {"host": "x" * 70}, {"socket": "/" + "x" * 200}]
    async with server:
        for way in ways:
            with pytest.raises(ScannerUnavailable) as caught:
                await scanned(b"hello", tmp_path, **way)
            facts = caught.value
            assert (facts.code, facts.status, facts.retryable) == ("SCANNER_UNAVAILABLE", 503, True)
    with pytest.raises(ScannerUnavailable):
        await scanned(b"hello", tmp_path, port=port)


async def test_nothing_of_the_file_goes_to_what_is_no_clamav(tmp_path: Path) -> None:
    heard = asyncio.get_running_loop().create_future()

    async def pretend(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        first = await reader.read(100)
        writer.write(b"-ERR unknown command\r\n\0")
        heard.set_result(first + await reader.read())
        writer.close()

    server = await asyncio.start_server(pretend, "127.0.0.1", 0)
    async with server:
        with pytest.raises(ScannerUnavailable):
            await scanned(b"the secret content", tmp_path, port=server.sockets[0].getsockname()[1])
        assert await heard == b"zIDSESSION\0zVERSION\0"


# In a flow


async def test_a_run_tells_what_its_nodes_found(sandbox: Sandbox, desk: Desk) -> None:
    text = """
        nodes:
          photo:  {type: input}
          blur:   {type: placeholder, from: photo}
          thumb:  {type: placeholder, from: photo, kind: thumbhash}
          tiny:   {type: placeholder, from: photo, kind: lqip}
          tones:  {type: palette, from: photo, count: 3}
          prints: {type: hash, from: photo}
          shot:   {type: exif, from: photo}
          header: {type: info, from: photo}
          rules:  {type: verify, from: photo, types: [image/*], max_pixels: 20MP}
          small:  {type: resize, from: photo, width: 200}
          out:    {type: save, from: small, path: "out.png"}
    """
    await desk.run(sandbox, text, {"photo": [file_at(PHOTO, "image/jpeg")]})
    facts = desk.outcome.facts
    assert facts["blur"] == found("placeholder", PHOTO)
    assert facts["thumb"] == found("placeholder", PHOTO, kind="thumbhash")
    assert facts["tiny"]["value"].startswith("data:image/webp;base64,")
    assert facts["tones"] == found("palette", PHOTO, count=3)
    assert facts["prints"] == found("hash", PHOTO)
    assert facts["shot"] == found("exif", PHOTO)
    assert (facts["header"]["width"], facts["rules"]) == (PHOTO_SIZE[0], {"passed": True})
    assert desk.image("out.png").width == 200


async def test_what_fails_verification_ends_the_run_or_is_left_out(sandbox: Sandbox, desk: Desk) -> None:
    text = """
        nodes:
          photo:  {{type: input}}
          rules:  {{type: verify, max_width: 100{more}}}
          small:  {{type: resize, width: 200}}
          out:    {{type: save, path: "out.png"}}
    """
    photo = {"photo": [file_at(PHOTO, "image/jpeg")]}
    with pytest.raises(VerificationFailed, match="max_width: 5312 is more than 100") as caught:
        await desk.run(sandbox, text.format(more=""), photo)
    assert caught.value.node == "rules"
    assert await desk.run(sandbox, text.format(more=", on_error: skip"), photo) == []
    assert desk.states["out"].status == desk.states["rules"].status == "skipped"


async def test_a_virus_sends_a_file_the_other_way(daemon: Daemon, sandbox: Sandbox, desk: Desk, tmp_path: Path) -> None:
    text = f"""
        nodes:
          note:  {{type: input}}
          look:  {{type: scan, port: {daemon.port}, report_only: true}}
          clean: {{type: conditional, field: facts.look.clean, operator: equals, value: true}}
          good:  {{type: save, from: clean.then, path: "good/{{file.name}}"}}
          bad:   {{type: save, from: clean.else, path: "bad/{{file.name}}"}}
    """
    for name, content in (("fine.txt", b"fine"), ("eicar.txt", EICAR)):
        (tmp_path / name).write_bytes(content)
        await desk.run(sandbox, text, {"note": [file_at(tmp_path / name, "text/plain")]})
    assert set(desk.made) == {"good/fine.txt", "bad/eicar.txt"}
    assert desk.outcome.facts["look"]["signature"].startswith("Eicar-Test")
