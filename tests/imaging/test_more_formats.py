"""SVG, PDF, HEIC, JPEG XL and TIFF in: sizes exact, colours right, hostile files refused and nobody dialled."""

from __future__ import annotations

import base64
import io
import socket
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any

import pillow_heif
import pytest
import pyvips
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image, ImageChops, ImageCms
from pillow_jxl import JpegXLImagePlugin  # noqa: F401 - Pillow writes JPEG XL once it is loaded

from pipeline import sniff
from pipeline.errors import ImageTooLarge, ImageUnreadable, SafelightError
from pipeline.imaging import heif, jxl, pages, vector
from pipeline.imaging.header import facts_of, is_read, read_header
from pipeline.imaging.open import open_picture, open_shipped
from pipeline.imaging.picture import Outline
from pipeline.imaging.sandbox import Sandbox
from pipeline.imaging.svg import MOST_BYTES, MOST_DEPTH, checked
from pipeline.model import File, ImageFacts
from pipeline.settings import Settings
from tests.graph.desk import Desk, file_at
from tests.imaging.papers import encrypted, page_of, pdf, quartered
from tests.imaging.pictures import exif
from tests.nodes.studio import corners, difference, quarters, reduced

NAMESPACES = 'xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink"'
CORNERS = [(255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255)]


def svg(inside: str = "", size: str = 'width="64" height="32"') -> bytes:
    return f"<svg {NAMESPACES} {size}>{inside}</svg>".encode()


def halves(width: float = 64, height: float = 32) -> bytes:
    """Red on the left, blue on the right."""
    return svg(
        f'<rect width="{width / 2}" height="{height}" fill="#f00"/>'
        f'<rect x="{width / 2}" width="{width / 2}" height="{height}" fill="#00f"/>',
        f'width="{width}" height="{height}"',
    )


def data_uri(image: Image.Image) -> str:
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()


def heic(image: Image.Image, orientation: int = 1, **options: Any) -> bytes:
    """A HEIC whose container turns the picture as this EXIF orientation would."""
    tags = Image.Exif()
    tags[0x0112] = orientation
    made = pillow_heif.from_pillow(image)
    made[0].info["exif"] = tags.tobytes()
    buffer = io.BytesIO()
    made.save(buffer, quality=95, **options)
    return buffer.getvalue()


def jpeg_xl(image: Image.Image, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "JXL", **options)
    return buffer.getvalue()


def written(folder: Path, name: str, content: bytes) -> Path:
    path = folder / name
    path.write_bytes(content)
    return path


def facts(path: Path, max_pixels: int = 10**8) -> ImageFacts:
    return read_header(str(path), sniff.media_type(path.read_bytes(), path.name), max_pixels, 1000)


def sent(folder: Path, name: str, content: bytes) -> File:
    """The File that an upload of these bytes becomes."""
    path = written(folder, name, content)
    file = file_at(path, "application/octet-stream")
    return file.model_copy(update={"mime": sniff.media_type(content, name), "image": facts(path)})


def flow(*steps: str, save: str = 'path: "out.png"') -> str:
    lines = ["photo: {type: input}", *steps, f"out: {{type: save, {save}}}"]
    return "nodes:\n" + "".join(f"  {line}\n" for line in lines)


async def resized(sandbox: Sandbox, desk: Desk, file: File, width: int) -> Image.Image:
    step = f"small: {{type: resize, width: {width}, enlarge: true}}"
    await desk.run(sandbox, flow(step), {"photo": [file]})
    return desk.image("out.png")


# SVG


@pytest.mark.parametrize("width", [1, 7, 32, 64, 100, 640, 3000])
async def test_an_svg_is_drawn_at_the_size_that_is_asked(width: int, sandbox: Sandbox, desk: Desk) -> None:
    found = await resized(sandbox, desk, sent(desk.folder, "in.svg", halves()), width)
    assert found.size == (width, max(1, round(width / 2)))
    if width % 2 == 0:
        # Enlarged pixels would mix the two colours where they meet.
        row = [found.getpixel((x, found.height // 2)) for x in range(width)]
        assert row == [(255, 0, 0, 255)] * (width // 2) + [(0, 0, 255, 255)] * (width // 2)


async def test_an_svg_of_a_broken_size_stays_sharp_when_it_grows(sandbox: Sandbox, desk: Desk) -> None:
    found = await resized(sandbox, desk, sent(desk.folder, "in.svg", halves(10.4, 10.4)), 500)
    assert found.size == (500, 500)
    strays = [count for count, colour in found.getcolors() or [] if colour[:3] not in ((255, 0, 0), (0, 0, 255))]
    assert sum(strays) <= 2 * 500


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        ('width="2in" height="1in"', (144, 72)),
        ('viewBox="0 0 30 20"', (30, 20)),
        ('width="100%" height="100%" viewBox="0 0 40 20"', (40, 20)),
        ('width="60" viewBox="0 0 30 20"', (60, 40)),
    ],
)
def test_the_size_of_an_svg_is_what_it_says_of_itself(size: str, expected: tuple[int, int], tmp_path: Path) -> None:
    found = facts(written(tmp_path, "in.svg", svg(size=size)))
    assert (found.width, found.height, found.format, found.alpha) == (*expected, "svg", True)


async def test_what_an_svg_leaves_open_is_transparent(sandbox: Sandbox, desk: Desk) -> None:
    inside = '<rect width="32" height="32" fill="#00ff00" fill-opacity="0.5"/>'
    await desk.run(sandbox, flow(), {"photo": [sent(desk.folder, "in.svg", svg(inside))]})
    found = desk.image("out.png")
    assert found.getpixel((50, 5)) == (0, 0, 0, 0)
    red, green, blue, alpha = found.getpixel((5, 5))  # type: ignore[misc]
    assert (red, blue) == (0, 0)
    assert green >= 253
    assert abs(alpha - 128) <= 1


async def test_one_svg_serves_a_small_and_a_large_size(sandbox: Sandbox, desk: Desk) -> None:
    steps = "small: {type: resize, width: 16}", "large: {type: resize, from: photo, width: 640, enlarge: true}"
    save = 'from: [small, large], path: "{node}.{format}"'
    await desk.run(sandbox, flow(*steps, save=save), {"photo": [sent(desk.folder, "in.svg", halves())]})
    assert desk.image("small.png").size == (16, 8)
    large = desk.image("large.png")
    assert [large.getpixel((x, 100)) for x in (319, 320)] == [(255, 0, 0, 255), (0, 0, 255, 255)]


async def test_an_svg_is_cut_and_grown_without_going_soft(sandbox: Sandbox, desk: Desk) -> None:
    steps = (
        "part: {type: crop, region: {left: 16, top: 0, width: 32, height: 32}}",
        ("large: {type: resize, width: 800, enlarge: true}"),
    )
    await desk.run(sandbox, flow(*steps), {"photo": [sent(desk.folder, "in.svg", halves())]})
    found = desk.image("out.png")
    assert found.size == (800, 800)
    assert [found.getpixel((x, 400)) for x in (399, 400)] == [(255, 0, 0, 255), (0, 0, 255, 255)]


async def test_an_svg_in_a_flow_without_a_wish_stays_what_it_is(sandbox: Sandbox, desk: Desk) -> None:
    file = sent(desk.folder, "in.svg", halves())
    (output,) = await desk.run(sandbox, flow(save='path: "{file.name}"'), {"photo": [file]})
    assert output.mime == "image/svg+xml"
    assert (desk.out / "in.svg").read_bytes() == halves()


ALLOWED = {
    "a gradient": '<linearGradient id="g"><stop stop-color="red"/></linearGradient><rect fill="url(#g)"/>',
    "a use": '<defs><g id="a"><path d="M0 0"/></g></defs><use xlink:href="#a"/><use href="#a"/>',
    "a style": "<style>.a{fill:url('#g');font-family:\"A \\201C b\"} /* plain */</style>",
    "a picture": f'<image href="{data_uri(corners(8, 8))}" width="8" height="8"/>',
    "a word with on": '<text opacity="1">one &amp; &lt;script&gt; and url(http://example.test/)</text>',
    "metadata": '<metadata><r xmlns="http://www.w3.org/ns/r#" resource="https://example.test/"/></metadata>',
    "depth": "<g>" * (MOST_DEPTH - 1) + "</g>" * (MOST_DEPTH - 1),
}


@pytest.mark.parametrize("name", ALLOWED)
def test_what_stands_for_itself_is_drawn(name: str, tmp_path: Path) -> None:
    assert facts(written(tmp_path, "in.svg", svg(ALLOWED[name]))).width == 64


@pytest.mark.parametrize(
    "content",
    [
        b"\xef\xbb\xbf" + halves(),
        b'<?xml version="1.0" encoding="UTF-8" standalone="no"?>\n<!-- made by hand -->\n' + halves(),
        ('<?xml version="1.0" encoding="ISO-8859-1"?>' + svg("<title>caf\xe9</title>").decode()).encode("latin-1"),
        ('<?xml version="1.0" encoding="utf-16"?>' + halves().decode()).encode("utf-16"),
    ],
)
def test_every_common_encoding_of_an_svg_is_read(content: bytes, tmp_path: Path) -> None:
    path = written(tmp_path, "in.svg", content)
    assert vector.size_of(path) == (64, 32)
    assert checked(content).startswith((b"<svg", b"<!--"))


def test_a_picture_inside_an_svg_is_drawn(tmp_path: Path) -> None:
    inside = f'<image href="{data_uri(corners(64, 32))}" width="64" height="32"/>'
    path = written(tmp_path, "in.svg", svg(inside))
    pixels = vector.drawn(path, 64, 32, 1.0)
    assert [tuple(pixels(x, y)[:3]) for y in (8, 24) for x in (16, 48)] == CORNERS


LAUGHS = "".join(f'<!ENTITY a{n} "' + f"&a{n - 1};" * 10 + '">' for n in range(1, 10))
NOWHERE = "http://127.0.0.1:{port}/tracker.png"
HOSTILE = {
    "entities": f'<!DOCTYPE svg [<!ENTITY a0 "ha">{LAUGHS}]>'.encode() + svg("<text>&a9;</text>"),
    "an outside entity": b'<!DOCTYPE svg [<!ENTITY x SYSTEM "file:///etc/passwd">]>' + svg("<text>&x;</text>"),
    "a document type": b'<!DOCTYPE svg PUBLIC "-//W3C//DTD SVG 1.1//EN" "' + NOWHERE.encode() + b'">' + svg(),
    "an undeclared entity": svg("<text>&x;</text>"),
    "an outside picture": svg(f'<image xlink:href="{NOWHERE}" width="9" height="9"/>'),
    "an outside picture, plain href": svg(f'<image href="{NOWHERE}" width="9" height="9"/>'),
    "a local picture": svg('<image href="/etc/passwd" width="9" height="9"/>'),
    "a picture beside it": svg('<image href="red.png" width="9" height="9"/>'),
    "a file address": svg('<image href="file:///etc/passwd" width="9" height="9"/>'),
    "an svg in the svg": svg(f'<image href="data:image/svg+xml;base64,{base64.b64encode(svg()).decode()}"/>'),
    "data of any kind": svg('<image href="data:;base64,AAAA"/>'),
    "an outside use": svg(f'<use href="{NOWHERE}#a"/>'),
    "an outside link": svg('<a href="https://example.test/"><text>here</text></a>'),
    "a script link": svg('<a xlink:href="javascript:alert(1)"><text>here</text></a>'),
    "a script": svg("<script>alert(1)</script>"),
    "a script with a prefix": b'<s:svg xmlns:s="http://www.w3.org/2000/svg"><s:script>1</s:script></s:svg>',
    "an event handler": svg('<rect onload="alert(1)"/>'),
    "foreign content": svg('<foreignObject><iframe src="https://example.test/"/></foreignObject>'),
    "an import": svg(f'<style>@import url("{NOWHERE}");</style>'),
    "an escaped import": svg("<style>@\\69 mport 'x.css';</style>"),
    "an import in two pieces": svg("<style>@im<![CDATA[port 'x.css';]]></style>"),
    "an outside fill": svg(f'<rect fill="url({NOWHERE}#a)"/>'),
    "an outside style": svg(f"<rect style=\"fill:url('{NOWHERE}#a')\"/>"),
    "an escaped style": svg(f'<rect style="fill:u\\72l({NOWHERE}#a)"/>'),
    "a style sheet": f'<?xml-stylesheet type="text/css" href="{NOWHERE}"?>'.encode() + svg(),
    "an inclusion": svg('<i:include xmlns:i="http://www.w3.org/2001/XInclude" parse="text" href="#x"/>'),
    "a base": svg(f'<g xml:base="{NOWHERE}"/>'),
    "depth": svg("<g>" * MOST_DEPTH + "</g>" * MOST_DEPTH),
    "endless depth": svg("<g>" * 500_000),
    "elements": svg("<g/>" * 300_000),
    "bytes": svg(" " * MOST_BYTES),
    "half an element": svg("<g>"),
    "a broken picture inside": svg('<image href="data:image/png;base64,AAAA"/>'),
    "a picture bomb inside": svg(f'<image href="{data_uri(Image.new("1", (8000, 8000)))}"/>'),
    "another encoding": b'<?xml version="1.0" encoding="UTF-7"?>' + svg(),
    "no text": b"<svg " + b"\xff\xfe\xfa",
    "no size": svg(size='width="0" height="0"'),
    "no svg": b'<html xmlns="http://www.w3.org/1999/xhtml"><svg/></html>',
    "declarations": b"<?xml " * 1_500_000,
    "a declaration of blanks": b"<?xml " + b" " * 9_000_000,
    "nothing": b"",
}  # fmt: skip


@contextmanager
def listening() -> Iterator[int]:
    """A port that must not be dialled while the block runs."""
    with closing(socket.create_server(("127.0.0.1", 0))) as ear:
        ear.setblocking(False)
        yield ear.getsockname()[1]
        with pytest.raises(BlockingIOError):
            ear.accept()


@pytest.fixture(scope="module")
def dialled() -> list[Any]:
    """Every address that Python code of this process dials from now on; a hook like this stays for good."""
    heard: list[Any] = []
    sys.addaudithook(lambda event, arguments: heard.append(arguments) if event == "socket.connect" else None)
    return heard


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_svg_is_refused_and_nobody_is_dialled(name: str, dialled: list[Any], tmp_path: Path) -> None:
    dialled.clear()
    with listening() as port:
        path = written(tmp_path, "in.svg", HOSTILE[name].replace(b"{port}", str(port).encode()))
        with pytest.raises(ImageUnreadable) as refusal:
            read_header(str(path), "image/svg+xml", 10**8, 1000)
        with pytest.raises((ImageUnreadable, pyvips.Error)):
            vector.drawn(path, 64, 32, 1.0)
    assert refusal.value.code == "IMAGE_UNREADABLE"
    assert dialled == []


@pytest.mark.parametrize("name", [name for name, content in HOSTILE.items() if b"{port}" in content])
def test_the_renderer_dials_nobody_even_without_the_scan(name: str) -> None:
    with listening() as port, suppress(pyvips.Error):
        vector._loaded(HOSTILE[name].replace(b"{port}", str(port).encode()), 1.0).avg()


async def test_a_run_refuses_a_hostile_svg_that_came_with_facts(sandbox: Sandbox, desk: Desk) -> None:
    file = sent(desk.folder, "in.svg", halves())
    Path(file.key).write_bytes(HOSTILE["a script"])
    with pytest.raises(ImageUnreadable, match="`script` element") as refusal:
        await desk.run(sandbox, flow("small: {type: resize, width: 10}"), {"photo": [file]})
    assert refusal.value.node


def test_an_svg_of_huge_size_is_too_large(tmp_path: Path) -> None:
    path = written(tmp_path, "in.svg", svg(size='width="1000000" height="1000000"'))
    with pytest.raises(ImageTooLarge):
        facts(path)


async def test_references_that_multiply_end_with_an_error(sandbox: Sandbox, desk: Desk) -> None:
    doubled = "".join(f'<g id="a{n}">' + f'<use href="#a{n - 1}"/>' * 10 + "</g>" for n in range(1, 9))
    content = svg(f'<defs><g id="a0"><rect width="1" height="1"/></g>{doubled}</defs><use href="#a8"/>')
    with pytest.raises(ImageUnreadable):
        await desk.run(sandbox, flow(), {"photo": [sent(desk.folder, "in.svg", content)]})
    assert (await resized(sandbox, desk, sent(desk.folder, "fine.svg", halves()), 20)).size == (20, 10)


async def test_only_a_checked_svg_passes_the_block_on_loaders(sandbox: Sandbox, tmp_path: Path) -> None:
    path = written(tmp_path, "in.svg", halves())
    assert (await sandbox.call(facts, path, timeout=20)).width == 64
    with pytest.raises(SafelightError) as refusal:
        await sandbox.call(unchecked, str(path), timeout=20)
    assert "blocked" in str(refusal.value.__cause__)


def unchecked(path: str) -> None:
    facts(Path(path))
    pyvips.Image.svgload_buffer(Path(path).read_bytes()).avg()


def test_a_drawing_has_at_most_so_many_pixels(tmp_path: Path) -> None:
    pixels = vector.drawn(written(tmp_path, "in.svg", halves()), 64, 32, 65_535 / 64)
    assert pixels.width * pixels.height <= vector.MOST_DRAWN
    assert pixels.width == 2 * pixels.height


def test_an_svg_serves_as_a_mark(tmp_path: Path) -> None:
    mark = open_shipped(written(tmp_path, "logo.svg", halves()))
    assert (mark.outline.width, mark.outline.height, mark.outline.alpha) == (64, 32, True)


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(edits=st.lists(st.tuples(st.integers(0, 2000), st.integers(0, 255)), min_size=1, max_size=6))
def test_a_damaged_svg_is_drawn_or_refused(edits: list[tuple[int, int]], tmp_path: Path) -> None:
    content = bytearray(svg("".join(ALLOWED[name] for name in ("a gradient", "a use", "a style"))))
    for where, value in edits:
        content[where % len(content)] = value
    path = written(tmp_path, "in.svg", bytes(content))
    with suppress(ImageUnreadable, ImageTooLarge):
        read_header(str(path), "image/svg+xml", 10**6, 1000)


# PDF


@pytest.mark.parametrize("width", [1, 33, 300, 1250, 2400])
async def test_the_first_page_of_a_pdf_is_drawn_at_the_size_that_is_asked(
    width: int, sandbox: Sandbox, desk: Desk
) -> None:
    file = sent(desk.folder, "in.pdf", pdf([quartered(600, 400), quartered(50, 50)]))
    assert file.image is not None
    assert (file.image.width, file.image.height, file.image.pages, file.image.frames) == (1250, 833, 2, 1)
    found = await resized(sandbox, desk, file, width)
    assert found.size == (width, max(1, round(833 * width / 1250)))
    if width > 1:
        assert quarters(found) == CORNERS
        assert found.mode == "RGB"


async def test_a_page_looks_as_the_picture_it_was_made_of(sandbox: Sandbox, desk: Desk) -> None:
    photo = reduced(800, 450, Image.Resampling.LANCZOS)
    photo.save(desk.folder / "in.pdf", resolution=150, quality=95)
    file = sent(desk.folder, "in.pdf", (desk.folder / "in.pdf").read_bytes())
    await desk.run(sandbox, flow(), {"photo": [file]})
    assert difference(desk.image("out.png"), photo) < 2.5


async def test_a_turned_page_and_its_form_are_drawn_as_they_are_shown(sandbox: Sandbox, desk: Desk) -> None:
    turned = pdf([quartered(400, 200)], page="/Rotate 90")
    await desk.run(sandbox, flow(), {"photo": [sent(desk.folder, "in.pdf", turned)]})
    found = desk.image("out.png")
    assert found.size == (417, 833)
    assert quarters(found) == [CORNERS[2], CORNERS[0], CORNERS[3], CORNERS[1]]


BROKEN = {
    "encrypted": (encrypted(), "encrypted"),
    "cut": (pdf([quartered(100, 100)])[:40], "damaged"),
    "stub": (b"%PDF-1.4\n%\xe2\xe3\xcf\xd3\n", "damaged"),
    "without pages": (pdf([]), "no pages|damaged"),
    "another file": (b"\x89PNG\r\n\x1a\n", "not a PDF"),
    "of nothing": (b"", "not a PDF"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_pdf_that_cannot_be_drawn_is_refused(name: str, tmp_path: Path) -> None:
    content, reason = BROKEN[name]
    path = written(tmp_path, "in.pdf", content)
    with pytest.raises(ImageUnreadable, match=reason):
        read_header(str(path), "application/pdf", 10**8, 1000)


def test_a_pdf_of_ten_thousand_pages_is_measured_by_its_first(tmp_path: Path) -> None:
    many = pdf([quartered(100 + number % 7, 100) for number in range(10_000)])
    path = written(tmp_path, "in.pdf", many)
    found = facts(path)
    assert (found.pages, found.frames, found.width) == (10_000, 1, 208)
    assert pages.size_of(path, 10_000, 72) == (100 + 9999 % 7, 100)


def test_a_pdf_with_a_huge_page_is_too_large(tmp_path: Path) -> None:
    path = written(tmp_path, "in.pdf", pdf([quartered(14_400, 14_400)]))
    with pytest.raises(ImageTooLarge):
        facts(path)


@pytest.mark.parametrize(
    ("name", "content"),
    [("in.pdf", encrypted()), ("in.svg", HOSTILE["a script"]), ("in.svg", svg(size='width="99999" height="99999"'))],
)
async def test_a_document_that_cannot_be_drawn_is_kept_all_the_same(
    name: str, content: bytes, sandbox: Sandbox, desk: Desk
) -> None:
    path = written(desk.folder, name, content)
    mime = sniff.media_type(content, name)
    formats = Settings(projects={}).allowed_formats
    assert await facts_of(sandbox, str(path), mime, formats, 10**8, 1000, 20) is None
    file = file_at(path, "application/octet-stream").model_copy(update={"mime": mime})
    with pytest.raises(ImageUnreadable):
        await desk.run(sandbox, flow("small: {type: resize, width: 10}"), {"photo": [file]})


async def test_a_broken_photograph_is_refused_on_arrival(sandbox: Sandbox, tmp_path: Path) -> None:
    path = written(tmp_path, "in.heic", heic(corners(64, 64))[:200])
    with pytest.raises(ImageUnreadable):
        await facts_of(sandbox, str(path), "image/heic", ("heic",), 10**8, 1000, 20)
    assert await facts_of(sandbox, str(path), "image/heic", ("jpeg",), 10**8, 1000, 20) is None


def test_the_media_types_that_are_read_are_those_of_the_settings() -> None:
    allowed = Settings(projects={}).allowed_formats
    assert set(allowed) == set(sniff.MEDIA_FORMATS.values()) == set(sniff.FORMAT_TYPES)
    assert is_read("application/pdf", allowed)
    assert not is_read("application/pdf", ("jpeg",))
    assert not is_read("image/bmp", allowed)
    assert sniff.FORMAT_TYPES["heic"] == "image/heic"


# HEIC


@pytest.mark.parametrize("orientation", range(1, 9))
async def test_every_turn_of_a_heic_comes_out_upright(orientation: int, sandbox: Sandbox, desk: Desk) -> None:
    stored = corners(320, 240)
    turns = {2: 0, 3: 3, 4: 1, 5: 5, 6: 4, 7: 6, 8: 2}
    shown = stored.transpose(Image.Transpose(turns[orientation])) if orientation in turns else stored
    file = sent(desk.folder, "in.heic", heic(stored, orientation))
    assert file.image is not None
    assert (file.image.width, file.image.height, file.image.orientation) == (*shown.size, 1)
    found = await resized(sandbox, desk, file, shown.width // 2)
    assert found.size == (shown.width // 2, shown.height // 2)
    assert difference(found.convert("RGB"), shown.resize(found.size, Image.Resampling.LANCZOS)) < 3


async def test_a_heic_without_a_wish_becomes_a_jpeg_that_is_not_turned_again(sandbox: Sandbox, desk: Desk) -> None:
    steps = flow("same: {type: crop, aspect: '3:4'}", save='path: "{node}.{format}", strip: false')
    await desk.run(sandbox, steps, {"photo": [sent(desk.folder, "in.heic", heic(corners(320, 240), 6))]})
    found = desk.image("same.jpeg")
    assert (found.format, found.size) == ("JPEG", (240, 320))
    assert found.getexif().get(0x0112, 1) == 1


async def test_a_heic_with_alpha_keeps_it(sandbox: Sandbox, desk: Desk) -> None:
    image = corners(64, 64, "RGBA")
    image.putalpha(Image.linear_gradient("L").resize((64, 64)))
    file = sent(desk.folder, "in.heic", heic(image))
    assert file.image is not None
    assert file.image.alpha
    await desk.run(sandbox, flow("small: {type: resize, width: 32}", save='path: "a.{format}"'), {"photo": [file]})
    found = desk.image("a.webp")
    assert found.mode == "RGBA"
    expected = image.getchannel("A").resize((32, 32), Image.Resampling.LANCZOS)
    assert ImageChops.difference(found.getchannel("A"), expected).getextrema()[1] <= 8  # type: ignore[operator]


async def test_the_colours_of_a_heic_follow_its_profile(sandbox: Sandbox, desk: Desk) -> None:
    wide = bytes(pyvips.Image.profile_load("p3"))
    image = corners(64, 64)
    image.info["icc_profile"] = wide
    plain = Image.new("RGB", (64, 64), (200, 60, 90))
    plain.info["icc_profile"] = wide
    await desk.run(sandbox, flow(), {"photo": [sent(desk.folder, "in.heic", heic(plain))]})
    found = desk.image("out.png").convert("RGB").getpixel((32, 32))
    source = ImageCms.ImageCmsProfile(io.BytesIO(wide))
    expected = ImageCms.profileToProfile(plain, source, ImageCms.createProfile("sRGB")).getpixel((32, 32))  # type: ignore[union-attr]
    assert expected != (200, 60, 90)
    assert all(abs(a - b) <= 4 for a, b in zip(found, expected, strict=True))  # type: ignore[arg-type]


def test_the_primary_picture_of_a_heic_is_the_one(tmp_path: Path) -> None:
    made = pillow_heif.HeifFile()
    for colour in ("red", "lime", "blue"):
        made.add_from_pillow(Image.new("RGB", (64, 48), colour))
    made.save(tmp_path / "in.heic", primary_index=1, quality=95)
    found = facts(tmp_path / "in.heic")
    assert (found.width, found.height, found.frames) == (64, 48, 1)
    assert heif.decoded(tmp_path / "in.heic")(32, 24)[1] > 240


def test_the_facts_of_a_heic_are_those_of_its_exif(tmp_path: Path) -> None:
    made = pillow_heif.from_pillow(corners(64, 48))
    made[0].info["exif"] = exif().tobytes()
    made.save(tmp_path / "in.heic")
    found = facts(tmp_path / "in.heic")
    assert found.taken_at == "2024-05-01T12:34:56+02:00"
    assert found.place is not None
    assert found.place.latitude < 0 < found.place.longitude


@pytest.mark.parametrize("size", [(1, 1), (3, 1), (33, 17), (1, 300)])
@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L"])
def test_every_shape_of_heic_is_decoded(size: tuple[int, int], mode: str, tmp_path: Path) -> None:
    path = written(tmp_path, "in.heic", heic(Image.new(mode, size, "white")))
    found = facts(path)
    picture = open_picture(path, Outline(*size, alpha=found.alpha, format="heic"))
    assert (found.width, found.height) == size == (picture.pixels.width, picture.pixels.height)
    assert picture.pixels.bands == len(mode)
    assert picture.pixels.avg() > 250


def test_a_heic_that_is_cut_anywhere_is_refused(tmp_path: Path) -> None:
    whole = heic(reduced(256, 144))
    for cut in range(20, len(whole), max(1, len(whole) // 40)):
        path = written(tmp_path, "in.heic", whole[:cut])
        with pytest.raises(ImageUnreadable):
            read_header(str(path), "image/heic", 10**8, 1000)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(edits=st.lists(st.tuples(st.integers(0, 700), st.integers(0, 255)), min_size=1, max_size=8))
def test_a_damaged_heic_is_measured_or_refused(edits: list[tuple[int, int]], tmp_path: Path) -> None:
    content = bytearray(heic(corners(32, 32)))
    for where, value in edits:
        content[min(where, len(content) - 1)] = value
    path = written(tmp_path, "in.heic", bytes(content))
    with suppress(ImageUnreadable, ImageTooLarge):
        read_header(str(path), "image/heic", 10**6, 1000)
        heif.decoded(path)


# JPEG XL


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L", "LA", "I;16"])
@pytest.mark.parametrize("size", [(1, 1), (8, 8), (33, 17), (1600, 900), (1, 1000), (640, 480)])
@pytest.mark.parametrize("boxed", [False, True])
def test_the_header_of_a_jpeg_xl_says_what_the_decoder_finds(
    mode: str, size: tuple[int, int], boxed: bool, tmp_path: Path
) -> None:
    path = written(tmp_path, "in.jxl", jpeg_xl(Image.new(mode, size), use_container=boxed, effort=1))
    found, pixels = facts(path), jxl.decoded(path)
    assert (found.width, found.height) == (pixels.width, pixels.height) == size
    assert found.alpha == bool(pixels.hasalpha()) == (mode in ("RGBA", "LA"))


async def test_a_jpeg_xl_is_resized_as_pillow_would(sandbox: Sandbox, desk: Desk) -> None:
    photo = reduced(800, 450, Image.Resampling.LANCZOS)
    file = sent(desk.folder, "in.jxl", jpeg_xl(photo, quality=95, effort=3))
    found = await resized(sandbox, desk, file, 320)
    assert difference(found, photo.resize((320, 180), Image.Resampling.LANCZOS)) < 2.5


async def test_a_jpeg_xl_without_a_wish_becomes_a_jpeg(sandbox: Sandbox, desk: Desk) -> None:
    content = jpeg_xl(corners(320, 240), exif=exif().tobytes(), use_container=True)
    steps = flow("small: {type: resize, width: 160}", save='path: "{node}.{format}", strip: false')
    await desk.run(sandbox, steps, {"photo": [sent(desk.folder, "in.jxl", content)]})
    found = desk.image("small.jpeg")
    assert difference(found, corners(160, 120)) < 3
    assert found.getexif().get(0x0112, 1) == 1


def test_without_its_extra_a_jpeg_xl_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = written(tmp_path, "in.jxl", jpeg_xl(corners(64, 64)))
    monkeypatch.setitem(sys.modules, "pillow_jxl", None)
    assert facts(path).width == 64
    with pytest.raises(ImageUnreadable, match=r"install `safelight\[jxl\]`"):
        open_picture(path, Outline(64, 64, format="jxl"))


@pytest.mark.parametrize("content", [b"\xff\x0a", b"\xff\x0a\x00", jxl.BOXED, jxl.BOXED + b"\0\0\0\x08free"])
def test_a_jpeg_xl_of_nothing_is_refused(content: bytes, tmp_path: Path) -> None:
    with pytest.raises(ImageUnreadable):
        read_header(str(written(tmp_path, "in.jxl", content)), "image/jxl", 10**8, 1000)


@pytest.mark.parametrize("boxed", [False, True])
def test_a_jpeg_xl_that_is_cut_is_refused(boxed: bool, tmp_path: Path) -> None:
    whole = jpeg_xl(reduced(256, 144), use_container=boxed)
    path = written(tmp_path, "in.jxl", whole[: len(whole) // 2])
    with pytest.raises(ImageUnreadable):
        facts(path)
        jxl.decoded(path)


def test_a_huge_jpeg_xl_is_refused_by_its_header(tmp_path: Path) -> None:
    # Not small, a height of 2^30 by the widest choice, and the ratio 1:1.
    bits = 0 | 3 << 1 | (2**30 - 1) << 3 | 1 << 33 | 1 << 36
    path = written(tmp_path, "in.jxl", b"\xff\x0a" + bits.to_bytes(8, "little"))
    with pytest.raises(ImageTooLarge) as refusal:
        facts(path)
    assert refusal.value.facts["pixels"] == 2**60


# TIFF


async def test_the_first_page_of_a_tiff_is_the_picture(sandbox: Sandbox, desk: Desk) -> None:
    frames = [Image.new("RGB", (60, 40), colour) for colour in ("red", "lime", "blue")]
    frames[0].save(desk.folder / "pages.tiff", save_all=True, append_images=frames[1:])
    file = sent(desk.folder, "in.tiff", (desk.folder / "pages.tiff").read_bytes())
    assert file.image is not None
    assert file.image.frames == 3
    assert (await resized(sandbox, desk, file, 30)).getpixel((5, 5)) == (255, 0, 0)


def test_a_page_without_a_picture_is_blank(tmp_path: Path) -> None:
    path = written(tmp_path, "in.pdf", pdf([(72, 72, page_of())]))
    assert pages.drawn(path, 1, 72, 72, 1.0).avg() == 255
