from __future__ import annotations

import io
import struct
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import pyvips
from PIL import Image, ImageCms

from pipeline.imaging.encode import encode
from pipeline.imaging.picture import Picture
from pipeline.nodes.base import ImageNode
from tests.nodes.studio import applied, corners, difference, node, opened, reduced

P3 = bytes(pyvips.Image.profile_load("p3"))
SRGB = ImageCms.createProfile("sRGB")
FORMATS = ["jpeg", "png", "webp", "avif", "tiff"]
COLOUR = (200, 100, 50)


def written(picture: Picture, folder: Path, format: str = "png", **wish: Any) -> Image.Image:
    """The picture as Pillow reads it from a file of this format; what it wished before stands."""
    wish = {"quality": 95, **wish}
    return opened(encode(picture.wishing(replace(picture.wish, format=format, **wish)), folder / f"out.{format}").path)


def then(picture: Picture, *steps: ImageNode) -> Picture:
    for step in steps:
        picture = step.apply(picture, {})
    return picture


def seen(image: Image.Image) -> tuple[int, ...]:
    """The colour in the middle as a screen that obeys the embedded profile shows it, in sRGB."""
    profile = image.info.get("icc_profile")
    point = image.crop((image.width // 2, image.height // 2, image.width // 2 + 1, image.height // 2 + 1))
    if profile:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        shown = ImageCms.profileToProfile(point, source, SRGB, outputMode="RGB")
        assert shown is not None
        point = shown
    return point.convert("RGB").getpixel((0, 0))  # type: ignore[return-value]


def near(one: tuple[int, ...], other: tuple[int, ...], limit: int) -> bool:
    return len(one) == len(other) and all(abs(a - b) <= limit for a, b in zip(one, other, strict=True))


def p3_picture(folder: Path, colour: Any = (255, 0, 0), mode: str = "RGB") -> Path:
    Image.new(mode, (64, 48), colour).save(folder / "p3.png", icc_profile=P3)
    return folder / "p3.png"


# Profiles


@pytest.mark.parametrize("format", FORMATS)
def test_p3_looks_the_same_and_says_that_it_is_p3(format: str, tmp_path: Path) -> None:
    Image.new("RGB", (64, 48), COLOUR).save(tmp_path / "in.png")
    found = written(applied(node("icc", to="p3"), tmp_path / "in.png"), tmp_path, format)
    assert found.info["icc_profile"] == P3
    assert near(seen(found), COLOUR, 3)
    # What Pillow's littlecms makes of the same colour.
    target = ImageCms.ImageCmsProfile(io.BytesIO(P3))
    expected = ImageCms.profileToProfile(Image.new("RGB", (1, 1), COLOUR), SRGB, target)
    assert expected is not None
    assert near(found.convert("RGB").getpixel((32, 24)), expected.getpixel((0, 0)), 3)  # type: ignore[arg-type]


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("to", ["source", "p3"])
def test_a_wide_gamut_is_kept_and_never_converted_twice(to: str, format: str, tmp_path: Path) -> None:
    source = p3_picture(tmp_path)
    found = written(then(applied(node("resize", width=32), source), node("icc", to=to)), tmp_path, format)
    assert (found.size, found.info["icc_profile"]) == ((32, 24), P3)
    assert near(found.convert("RGB").getpixel((16, 12)), (255, 0, 0), 3)  # type: ignore[arg-type]


def test_srgb_is_the_default_and_takes_an_earlier_choice_back(tmp_path: Path) -> None:
    source = p3_picture(tmp_path, COLOUR)
    expected = seen(opened(source))
    for steps in ([], [node("icc", to="srgb")], [node("icc", to="p3"), node("icc", to="srgb")]):
        found = written(then(applied(node("resize", width=32), source), *steps), tmp_path)
        assert "icc_profile" not in found.info
        assert near(found.getpixel((5, 5)), expected, 1)  # type: ignore[arg-type]


@pytest.mark.parametrize("to", ["source", "p3"])
def test_effects_after_the_choice_work_in_srgb_and_come_out_in_the_profile(to: str, tmp_path: Path) -> None:
    source = p3_picture(tmp_path, COLOUR)
    red, green, blue = seen(opened(source))
    found = written(then(applied(node("icc", to=to), source), node("invert")), tmp_path)
    assert found.info["icc_profile"] == P3
    assert near(seen(found), (255 - red, 255 - green, 255 - blue), 3)
    grey = written(then(applied(node("icc", to=to), source), node("grayscale")), tmp_path)
    level = round(0.2126 * red + 0.7152 * green + 0.0722 * blue)
    assert grey.info["icc_profile"] == P3
    assert near(seen(grey), (level,) * 3, 3)


def test_alpha_passes_a_conversion_and_the_background_is_converted_too(tmp_path: Path) -> None:
    image = Image.new("RGBA", (64, 48), (*COLOUR, 0))
    image.putalpha(Image.linear_gradient("L").resize((64, 48)))
    image.save(tmp_path / "in.png")
    picture = applied(node("icc", to="p3"), tmp_path / "in.png")
    assert written(picture, tmp_path).getchannel("A").tobytes() == image.getchannel("A").tobytes()
    Image.new("RGBA", (64, 48), (0, 0, 0, 0)).save(tmp_path / "clear.png")
    laid = written(applied(node("icc", to="p3"), tmp_path / "clear.png"), tmp_path, "jpeg", background=COLOUR)
    assert near(seen(laid), COLOUR, 3)


def test_a_format_that_holds_no_profile_gets_srgb(tmp_path: Path) -> None:
    source = p3_picture(tmp_path, COLOUR)
    expected = seen(opened(source))
    found = written(applied(node("icc", to="source"), source), tmp_path, "gif")
    assert near(found.convert("RGB").getpixel((5, 5)), expected, 4)  # type: ignore[arg-type]


def test_cmyk_is_kept_where_the_format_can_and_shown_in_srgb_elsewhere(tmp_path: Path) -> None:
    cmyk = bytes(pyvips.Image.profile_load("cmyk"))
    Image.new("CMYK", (64, 48), (10, 200, 60, 20)).save(tmp_path / "in.tiff", icc_profile=cmyk)
    for format in ("jpeg", "tiff"):
        kept = written(applied(node("icc", to="source"), tmp_path / "in.tiff"), tmp_path, format)
        assert (kept.mode, kept.info["icc_profile"]) == ("CMYK", cmyk)
        assert near(kept.getpixel((5, 5)), (10, 200, 60, 20), 3)  # type: ignore[arg-type]
    for format in ("webp", "png"):
        shown = written(applied(node("icc", to="source"), tmp_path / "in.tiff"), tmp_path, format)
        assert shown.mode == "RGB"
        assert near(seen(shown), seen(kept), 4)


def grey_profile(gamma: float) -> bytes:
    """A grey profile as ICC.1:2001 lays it out: header, table of tags, white point and curve."""
    white = b"XYZ " + bytes(4) + struct.pack(">3i", *(round(part * 65536) for part in (0.9642, 1.0, 0.8249)))
    curve = b"curv" + bytes(4) + struct.pack(">IHxx", 1, round(gamma * 256))
    name = b"desc" + bytes(4) + struct.pack(">I", 5) + b"grey\0" + bytes(78 + 1)
    right = b"text" + bytes(4) + b"none" + bytes(4)
    table, body = [], b""
    for tag, part in ((b"desc", name), (b"cprt", right), (b"wtpt", white), (b"kTRC", curve)):
        table.append(tag + struct.pack(">II", 128 + 4 + 4 * 12 + len(body), len(part)))
        body += part + bytes(-len(part) % 4)
    rest = struct.pack(">I", len(table)) + b"".join(table) + body
    head = struct.pack(">I4sI4s4s4s12x4s", 128 + len(rest), b"none", 0x02400000, b"mntr", b"GRAY", b"XYZ ", b"acsp")
    return head.ljust(68, b"\0") + white[8:] + bytes(128 - 80) + rest


def test_a_grey_profile_stays_with_the_grey_pixels_it_came_with(tmp_path: Path) -> None:
    profile = grey_profile(1.8)
    Image.new("L", (64, 48), 90).save(tmp_path / "in.png", icc_profile=profile)
    for format in ("jpeg", "png", "tiff"):
        found = written(applied(node("icc", to="source"), tmp_path / "in.png"), tmp_path, format)
        assert (found.mode, found.info["icc_profile"]) == ("L", profile)
        assert near((found.getpixel((5, 5)),), (90,), 1)  # type: ignore[arg-type]
    # 90 of 255 with a gamma of 1.8 is as bright as sRGB's 109: ((90 / 255) ** 1.8 = 0.1534).
    shown = written(applied(node("icc", to="source"), tmp_path / "in.png"), tmp_path, "webp")
    assert near(seen(shown), (109, 109, 109), 2)
    sepia = written(then(applied(node("icc", to="source"), tmp_path / "in.png"), node("sepia")), tmp_path)
    assert (sepia.mode, sepia.info.get("icc_profile")) == ("RGB", None)


def test_a_profile_that_is_none_or_of_no_use_is_not_kept(tmp_path: Path) -> None:
    lab = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")).tobytes()
    for profile in (b"not a profile at all", lab, P3[:50]):
        Image.new("L", (64, 48), 90).save(tmp_path / "in.tiff", icc_profile=profile)
        found = written(applied(node("icc", to="source"), tmp_path / "in.tiff"), tmp_path)
        assert (found.convert("L").getpixel((5, 5)), found.info.get("icc_profile")) == (90, None)


def test_a_picture_without_a_profile_has_none_to_keep(tmp_path: Path) -> None:
    corners(64, 48).save(tmp_path / "in.png")
    found = written(applied(node("icc", to="source"), tmp_path / "in.png"), tmp_path)
    assert (found.info.get("icc_profile"), difference(found, corners(64, 48))) == (None, 0)


def test_sixteen_bits_of_a_profile_become_eight_of_the_same(tmp_path: Path) -> None:
    deep = pyvips.Image.black(64, 48).bandjoin([0, 0]).linear(1, [200 * 257, 100 * 257, 50 * 257]).cast("ushort")
    deep = deep.copy(interpretation="rgb16")
    deep.set_type(pyvips.GValue.blob_type, "icc-profile-data", P3)
    deep.pngsave(str(tmp_path / "in.png"))
    found = written(applied(node("icc", to="source"), tmp_path / "in.png"), tmp_path)
    assert found.info["icc_profile"] == P3
    assert near(found.getpixel((5, 5)), COLOUR, 1)  # type: ignore[arg-type]


def test_an_animation_is_converted_frame_by_frame(tmp_path: Path) -> None:
    frames = [Image.new("RGB", (40, 30), colour) for colour in ((200, 40, 40), (40, 200, 40))]
    frames[0].save(tmp_path / "in.gif", save_all=True, append_images=frames[1:], duration=[100, 300])
    found = written(applied(node("icc", to="p3"), tmp_path / "in.gif"), tmp_path, "webp")
    assert (getattr(found, "n_frames", 1), found.info["icc_profile"]) == (2, P3)
    for number, colour in enumerate(((200, 40, 40), (40, 200, 40))):
        found.seek(number)
        assert near(seen(found), colour, 8)


def test_a_profile_and_a_byte_limit_go_together(tmp_path: Path) -> None:
    source = p3_picture(tmp_path)
    found = written(applied(node("icc", to="source"), source), tmp_path, "jpeg", max_bytes=20_000)
    assert found.info["icc_profile"] == P3
    assert near(found.getpixel((30, 20)), (255, 0, 0), 3)  # type: ignore[arg-type]


# Metadata


def told(folder: Path, name: str = "in.jpg", **extra: Any) -> Path:
    """A photograph that says where, when and with what it was taken, and by whom."""
    exif = Image.Exif()
    exif[0x8298], exif[0x013B], exif[0x010F], exif[0x010E] = "(c) 2024 A. Photographer (me)", "Ann", "Camera", "Private"
    exif.get_ifd(0x8825).update({1: "N", 2: (52.0, 31.0, 12.0), 3: "E", 4: (13.0, 24.0, 36.0)})
    exif.get_ifd(0x8769).update({0x9003: "2024:05:06 07:08:09", 0xA431: "SERIAL42"})
    reduced(160, 90).save(folder / name, exif=exif, **extra)
    return folder / name


def exif_texts(image: Image.Image) -> dict[str, str]:
    exif = image.getexif()
    names = {0x8298: "copyright", 0x013B: "artist", 0x010E: "description"}
    found = {name: exif[tag] for tag, name in names.items() if tag in exif}
    if 0x9C9B in exif:
        found["title"] = exif[0x9C9B].decode("utf-16-le").rstrip("\0")
    return found


def xmp_texts(image: Image.Image) -> dict[str, str]:
    packet = image.info.get("xmp") or image.info.get("XML:com.adobe.xmp") or b""
    text = packet if isinstance(packet, str) else packet.decode()
    names = {"rights": "copyright", "creator": "artist", "description": "description", "title": "title"}
    found = {}
    for tag, name in names.items():
        if f"<dc:{tag}>" in text:
            inside = text.split(f"<dc:{tag}>")[1].split(f"</dc:{tag}>")[0]
            found[name] = inside.split("<rdf:li")[1].split(">", 1)[1].split("</rdf:li>")[0]
    return found


def is_silent(image: Image.Image, path: Path) -> bool:
    """Whether nothing of place, time, camera or description is left."""
    exif, content = image.getexif(), path.read_bytes()
    gone = not exif.get_ifd(0x8825) and not {0x9003, 0xA431} & set(exif.get_ifd(0x8769)) and 0x010F not in exif
    return gone and not any(word in content for word in (b"SERIAL42", b"2024:05:06", b"Camera", b"Private"))


SAID = {"title": "A title", "description": "What is seen", "copyright": "(c) ACME", "artist": "Zoe"}


@pytest.mark.parametrize("strip", [None, True, False])
@pytest.mark.parametrize("format", [*FORMATS, "gif"])
def test_without_a_word_everything_is_dropped(format: str, strip: bool | None, tmp_path: Path) -> None:
    source = told(tmp_path)
    assert not is_silent(opened(source), source)
    found = written(applied(node("metadata"), source), tmp_path, format, strip=strip)
    assert is_silent(found, tmp_path / f"out.{format}")
    assert not exif_texts(found) and not xmp_texts(found)


@pytest.mark.parametrize("strip", [None, True, False])
@pytest.mark.parametrize("format", FORMATS)
def test_what_is_said_is_written_and_nothing_else(format: str, strip: bool | None, tmp_path: Path) -> None:
    found = written(applied(node("metadata", **SAID), told(tmp_path)), tmp_path, format, strip=strip)
    assert is_silent(found, tmp_path / f"out.{format}")
    assert xmp_texts(found) == SAID
    if format == "tiff":
        assert found.getexif().get(0x010E) in (None, "What is seen")
    else:
        assert exif_texts(found) == SAID


@pytest.mark.parametrize("format", FORMATS)
def test_credits_of_the_source_are_kept_when_asked_for(format: str, tmp_path: Path) -> None:
    picture = applied(node("metadata", keep_credits=True, artist="Zoe"), told(tmp_path))
    found = written(picture, tmp_path, format)
    assert is_silent(found, tmp_path / f"out.{format}")
    expected = {"copyright": "(c) 2024 A. Photographer (me)", "artist": "Zoe"}
    assert xmp_texts(found) == expected
    assert format == "tiff" or exif_texts(found) == expected


@pytest.mark.parametrize("name", ["in.jpg", "in.png", "in.webp", "in.avif"])
def test_credits_are_found_in_every_format_that_has_exif(name: str, tmp_path: Path) -> None:
    found = written(applied(node("metadata", keep_credits=True), told(tmp_path, name)), tmp_path, "jpeg")
    assert exif_texts(found) == {"copyright": "(c) 2024 A. Photographer (me)", "artist": "Ann"}
    assert is_silent(found, tmp_path / "out.jpeg")


XMP = """<?xpacket begin="" id="W5M0MpCehiHzreSzNTczkc9d"?><x:xmpmeta xmlns:x="adobe:ns:meta/">
<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#" xmlns:dc="http://purl.org/dc/elements/1.1/"
 xmlns:exif="http://ns.adobe.com/exif/1.0/"><rdf:Description rdf:about="" exif:GPSLatitude="52,31.2N">
<dc:rights><rdf:Alt><rdf:li xml:lang="x-default">© Zoë &amp; Søn</rdf:li><rdf:li xml:lang="de">nein</rdf:li></rdf:Alt>
</dc:rights>
<dc:creator><rdf:Seq><rdf:li>Zoë</rdf:li><rdf:li>Søn</rdf:li></rdf:Seq></dc:creator>
</rdf:Description></rdf:RDF></x:xmpmeta><?xpacket end="w"?>"""


def test_credits_are_found_in_xmp_and_written_with_every_letter(tmp_path: Path) -> None:
    corners(64, 48).save(tmp_path / "in.jpg", xmp=XMP.encode())
    found = written(applied(node("metadata", keep_credits=True), tmp_path / "in.jpg"), tmp_path, "jpeg")
    assert xmp_texts(found) == {"copyright": "© Zoë &amp; Søn", "artist": "Zoë; Søn"}
    # EXIF has ASCII only.
    assert exif_texts(found) == {"copyright": "(C) Zoe & Soen", "artist": "Zoe; Soen"}
    assert b"GPSLatitude" not in (tmp_path / "out.jpeg").read_bytes()


def test_utf8_in_exif_is_read_as_it_was_meant(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x8298], exif[0x013B] = "12345678", "87654321"
    block = exif.tobytes().replace(b"12345678", "© Zoë".encode() + b" ").replace(b"87654321", b"Zo\xeb Lat1")
    corners(64, 48).save(tmp_path / "in.jpg", exif=block)
    found = written(applied(node("metadata", keep_credits=True), tmp_path / "in.jpg"), tmp_path, "jpeg")
    assert xmp_texts(found) == {"copyright": "© Zoë", "artist": "Zoë Lat1"}


@pytest.mark.parametrize(
    "packet",
    [
        b"<x:xmpmeta",
        b"\xff\xfe\x00",
        b"<rdf:li>",
        b'<!DOCTYPE x [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;">]><x xmlns:dc="http://purl.org/dc/elements/1.1/">&b;</x>',
    ],
)
def test_broken_or_hostile_xmp_has_no_credits(packet: bytes, tmp_path: Path) -> None:
    corners(64, 48).save(tmp_path / "in.jpg", xmp=packet)
    found = written(applied(node("metadata", keep_credits=True), tmp_path / "in.jpg"), tmp_path, "jpeg")
    assert not exif_texts(found) and not xmp_texts(found)


@pytest.mark.parametrize("block", [b"Exif\0\0", b"Exif\0\0MM\0*\0\0", b"Exif\0\0" + bytes(range(256)) * 20])
def test_broken_exif_has_no_credits(block: bytes, tmp_path: Path) -> None:
    corners(64, 48).save(tmp_path / "in.jpg", exif=block)
    found = written(applied(node("metadata", keep_credits=True), tmp_path / "in.jpg"), tmp_path, "jpeg")
    assert not exif_texts(found) and not xmp_texts(found)


def test_texts_are_written_exactly_whatever_they_hold(tmp_path: Path) -> None:
    corners(64, 48).save(tmp_path / "in.png")
    odd = "a <b> & \"c\" (d) ]]> 'e' (f, ASCII, 3 components, 3 bytes)"
    for format in FORMATS:
        found = written(applied(node("metadata", title=odd, copyright=odd), tmp_path / "in.png"), tmp_path, format)
        escaped = odd.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
        assert xmp_texts(found) == {"title": escaped, "copyright": escaped}
        assert format == "tiff" or exif_texts(found) == {"title": odd, "copyright": odd}
    unprintable = written(applied(node("metadata", title="a\0b\x07\nc"), tmp_path / "in.png"), tmp_path, "jpeg")
    assert xmp_texts(unprintable) == {"title": "a b  c"}
    longest = written(
        applied(node("metadata", **dict.fromkeys(SAID, "日" * 2000)), tmp_path / "in.png"), tmp_path, "jpeg"
    )
    assert xmp_texts(longest) == dict.fromkeys(SAID, "日" * 2000)


def test_a_mark_laid_over_the_picture_brings_no_metadata_along(tmp_path: Path) -> None:
    source, mark = tmp_path / "plain.png", told(tmp_path)
    corners(400, 300).save(source)
    picture = applied(node("metadata", title="A title"), source)
    beside = {"mark": applied(node("resize", width=40), mark)}
    found = written(node("watermark").apply(picture, beside), tmp_path, "jpeg")
    assert is_silent(found, tmp_path / "out.jpeg")
    assert exif_texts(found) == {"title": "A title"}


def test_what_one_step_wrote_the_next_can_keep(tmp_path: Path) -> None:
    for keeps, expected in ((True, {"copyright": "(c) ACME", "artist": "Zoe"}), (False, {})):
        first = applied(node("metadata", **SAID), told(tmp_path))
        found = written(then(first, node("metadata", keep_credits=keeps)), tmp_path, "jpeg")
        assert exif_texts(found) == expected


def test_metadata_leaves_pixels_frames_and_profile_alone(tmp_path: Path) -> None:
    frames = [Image.new("RGB", (40, 30), colour) for colour in ("red", "blue", "lime")]
    frames[0].save(tmp_path / "in.gif", save_all=True, append_images=frames[1:], duration=[100, 200, 300], loop=0)
    found = written(applied(node("metadata", **SAID), tmp_path / "in.gif"), tmp_path, "webp")
    times = []
    for number in range(3):
        found.seek(number)
        found.load()
        times.append(found.info["duration"])
    assert (times, found.info["loop"], xmp_texts(found)) == ([100, 200, 300], 0, SAID)
    source = p3_picture(tmp_path)
    wide = written(then(applied(node("metadata", **SAID), source), node("icc", to="source")), tmp_path)
    assert (wide.info["icc_profile"], wide.getpixel((5, 5)), exif_texts(wide)) == (P3, (255, 0, 0), SAID)
    assert "icc_profile" not in written(applied(node("metadata", **SAID), source), tmp_path).info
