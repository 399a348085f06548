"""Bad images, as they arrive and as a run meets them: one clear code each, and nobody else notices."""

from __future__ import annotations

import asyncio
import gzip
import struct
import zlib
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from PIL import Image

from pipeline import sniff
from pipeline.errors import SafelightError
from pipeline.imaging.header import facts_of
from pipeline.imaging.sandbox import Sandbox
from pipeline.model import File, ImageFacts, NodeState
from tests.graph.desk import FORMATS, Desk, file_at
from tests.imaging.pictures import animation, noisy, saved, vips
from tests.nodes.studio import PHOTO

MOST_PIXELS, MOST_FRAMES = 100_000_000, 1000
FLOW = """
    nodes:
      photo: {type: input}
      small: {type: resize, width: 800}
      out:   {type: save, path: "out.webp"}
"""
SVG = '<svg xmlns="http://www.w3.org/2000/svg" width="64" height="48">{}</svg>'
SMUGGLED = b"<script>alert(document.domain)</script>"


def chunk(name: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))


def png(width: int, height: int, pixels: bytes, *more: bytes, colour: int = 0) -> bytes:
    """A PNG whose header says this, whatever its pixels are."""
    head = struct.pack(">IIBBBBB", width, height, 8, colour, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + b"".join(more) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")


def rows(width: int, height: int) -> bytes:
    """So many grey rows, compressed a thousand times."""
    squeeze, row = zlib.compressobj(1), bytes(width + 1)
    return b"".join(squeeze.compress(row) for _ in range(height)) + squeeze.flush()


def resized_jpeg(width: int, height: int) -> bytes:
    """A small JPEG that says it is as large as this."""
    content = bytearray(saved(noisy(), "JPEG"))
    at = content.index(b"\xff\xc0") + 5
    content[at : at + 4] = struct.pack(">HH", height, width)
    return bytes(content)


def damaged(content: bytes, *places: float) -> bytes:
    """The bytes with sixteen others at these fractions of the way."""
    broken = bytearray(content)
    for place in places:
        at = int(place * len(broken))
        broken[at : at + 16] = b"\x5a" * 16
    return bytes(broken)


def without(name: bytes, content: bytes) -> bytes:
    """The bytes with the name of one part made unknown."""
    assert name in content
    return content.replace(name, name[:1] + b"Z" * (len(name) - 1), 1)


def half(content: bytes) -> bytes:
    return content[: len(content) // 2]


def thousands_of_frames() -> bytes:
    head = b"GIF89a" + struct.pack("<HHBBB", 1, 1, 0x80, 0, 0) + bytes(6)
    frame = b"\x21\xf9\x04\0\x01\0\0\0" + b"\x2c" + struct.pack("<HHHHB", 0, 0, 1, 1, 0) + b"\x02\x02\x44\x01\0"
    return head + frame * 5000 + b";"


def laughing_svg() -> bytes:
    laughs = "".join(f'<!ENTITY a{n} "' + f"&a{n - 1};" * 10 + '">' for n in range(1, 10))
    return (f'<!DOCTYPE svg [<!ENTITY a0 "ha">{laughs}]>' + SVG.format("<text>&a9;</text>")).encode()


@dataclass(frozen=True)
class Bad:
    """What is sent under which name, and the codes: of its arrival and, where that is none, of a run."""

    name: str
    make: Callable[[], bytes]
    arrival: str | None
    run: str | None = None


UNREADABLE, TOO_LARGE = "IMAGE_UNREADABLE", "IMAGE_TOO_LARGE"
TABLE = {
    # Cut off: the structure ends before what it promises.
    "half a jpeg": Bad("a.jpg", lambda: half(saved(noisy(), "JPEG")), UNREADABLE),
    "half a png": Bad("a.png", lambda: half(saved(noisy(), "PNG")), UNREADABLE),
    "half a webp": Bad("a.webp", lambda: half(saved(noisy(), "WEBP")), UNREADABLE),
    "half a gif": Bad("a.gif", lambda: half(saved(noisy(), "GIF")), UNREADABLE),
    "half an avif": Bad("a.avif", lambda: half(vips(".avif", effort=0)), UNREADABLE),
    "half a tiff": Bad("a.tif", lambda: half(saved(noisy(), "TIFF")), UNREADABLE),
    "half an animation": Bad("a.webp", lambda: half(animation("WEBP")), UNREADABLE),
    # Corrupt: whole from outside, damaged within, which only decoding finds out.
    "a png with broken pixels": Bad("a.png", lambda: damaged(saved(noisy(), "PNG"), 0.5), None, UNREADABLE),
    "an avif with broken pixels": Bad("a.avif", lambda: damaged(vips(".avif", effort=0), 0.7, 0.8), None, UNREADABLE),
    "a jpeg without a frame": Bad("a.jpg", lambda: without(b"\xff\xc0", saved(noisy(), "JPEG")), UNREADABLE),
    "a webp without pixels": Bad("a.webp", lambda: without(b"VP8 ", saved(noisy(), "WEBP")), UNREADABLE),
    # Lying: the header promises what is not there.
    "a png of fewer rows than it says": Bad("a.png", lambda: png(64, 48, rows(64, 20)), None, UNREADABLE),
    # Grey where rows are missing, as everywhere; a JPEG has no sum to check.
    "a jpeg of fewer rows than it says": Bad("a.jpg", lambda: resized_jpeg(96, 6400), None),
    "a png that says it is a palette without one": Bad(
        "a.png", lambda: png(64, 48, rows(64, 48), colour=3), UNREADABLE
    ),
    # Too large, and small as files.
    "65500 x 65500": Bad("a.jpg", lambda: resized_jpeg(65_500, 65_500), TOO_LARGE),
    "a bomb of 900 megapixels": Bad("a.png", lambda: png(30_000, 30_000, rows(30_000, 100)), TOO_LARGE),
    "thousands of frames": Bad("a.gif", thousands_of_frames, TOO_LARGE),
    "a text of 200 MB in a chunk": Bad(
        "a.png",
        lambda: png(64, 48, rows(64, 48), chunk(b"zTXt", b"Comment\0\0" + zlib.compress(bytes(200_000_000), 1))),
        None,
        None,
    ),
    "a profile of 200 MB in a chunk": Bad(
        "a.png",
        lambda: png(64, 48, rows(64, 48), chunk(b"iCCP", b"p\0\0" + zlib.compress(bytes(200_000_000), 1))),
        None,
        None,
    ),
    "a packed svg": Bad("a.svg", lambda: gzip.compress(SVG.format(" " * 50_000_000).encode()), None, UNREADABLE),
    # Nothing at all.
    "an empty file": Bad("a.jpg", lambda: b"", None, UNREADABLE),
    "a png of no width": Bad("a.png", lambda: png(0, 48, rows(0, 48)), UNREADABLE),
    "a jpeg of no height": Bad("a.jpg", lambda: resized_jpeg(96, 0), UNREADABLE),
    "a gif of no size": Bad("a.gif", lambda: b"GIF89a" + bytes(7) + b";", UNREADABLE),
    "an svg of no size": Bad("a.svg", lambda: SVG.format("").replace("64", "0").encode(), None, UNREADABLE),
    # Recursive, and reaching out.
    "entities in entities": Bad("a.svg", laughing_svg, None, UNREADABLE),
    "a group that uses itself": Bad("a.svg", lambda: SVG.format('<g id="a"><use href="#a"/></g>').encode(), None),
    "a picture elsewhere": Bad(
        "a.svg", lambda: SVG.format('<image href="http://127.0.0.1:9/x.png" width="9" height="9"/>').encode(),
        None, UNREADABLE,
    ),
    "a file of this machine": Bad(
        "a.svg", lambda: SVG.format('<image href="file:///etc/passwd" width="9" height="9"/>').encode(),
        None, UNREADABLE,
    ),
    # Something else than it is called.
    "a jpeg called png": Bad("a.png", lambda: saved(noisy(), "JPEG"), None, None),
    "a page called jpg": Bad("a.jpg", lambda: b"<!doctype html><html>" + SMUGGLED + b"</html>", None, UNREADABLE),
    "a program for another engine": Bad(
        "a.jpg", lambda: b"push graphic-context\nviewbox 0 0 640 480\nimage over 0,0 0,0 'ephemeral:/etc/passwd'\n",
        None, UNREADABLE,
    ),
    "postscript called gif": Bad("a.gif", lambda: b"%!PS-Adobe-3.0\n(%pipe%id) (r) file\n", None, UNREADABLE),
    # Two things at once: the picture is taken, the rest stays behind.
    "a jpeg with an archive behind it": Bad(
        "a.jpg", lambda: saved(noisy(), "JPEG") + b"PK\x05\x06" + bytes(18) + SMUGGLED, None, None
    ),
    "a jpeg with a script inside": Bad("a.jpg", lambda: saved(noisy(), "JPEG", comment=SMUGGLED), None, None),
    "a gif that is a script": Bad(
        "a.gif", lambda: saved(noisy().quantize(64), "GIF", comment=SMUGGLED), None, None
    ),
    "a png with a script inside": Bad(
        "a.png", lambda: png(64, 48, rows(64, 48), chunk(b"tEXt", b"Comment\0" + SMUGGLED)), None, None
    ),
}  # fmt: skip


@pytest.fixture(scope="module")
async def pair() -> AsyncIterator[Sandbox]:
    """Two children: one for a bad run and one for a good run beside it."""
    sandbox = Sandbox(2, 2**29)
    await sandbox.start()
    yield sandbox
    await sandbox.close()


@dataclass
class Listening(Desk):
    """A desk that says when pixels are being worked on."""

    begun: asyncio.Event | None = None

    def emit(self, node: str, state: NodeState) -> None:
        super().emit(node, state)
        if self.begun and node == "small" and state.status == "running":
            self.begun.set()


def desk_in(folder: Path, begun: asyncio.Event | None = None) -> Listening:
    (folder / "run").mkdir(parents=True)
    return Listening(folder / "run", folder / "out", begun=begun)


@pytest.fixture(scope="module")
async def undisturbed(pair: Sandbox, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """What the good run gives when it is alone."""
    return await good(pair, desk_in(tmp_path_factory.mktemp("alone")))


async def good(sandbox: Sandbox, desk: Desk) -> bytes:
    await desk.run(sandbox, FLOW, {"photo": [file_at(PHOTO, "image/jpeg")]})
    return (desk.out / "out.webp").read_bytes()


async def arrived(sandbox: Sandbox, path: Path) -> tuple[File, str | None]:
    """The file as the server takes it in, and the code with which it would refuse it."""
    content = path.read_bytes()
    mime = sniff.media_type(content[: sniff.HEAD_SIZE], path.name)
    file = file_at(path, "application/octet-stream").model_copy(update={"mime": mime})
    try:
        facts = await facts_of(sandbox, str(path), mime, FORMATS, MOST_PIXELS, MOST_FRAMES, 20)
    except SafelightError as error:
        return file, error.code
    return file.model_copy(update={"image": facts}), None


async def code_of(sandbox: Sandbox, desk: Desk, file: File) -> str | None:
    try:
        await desk.run(sandbox, FLOW, {"photo": [file]}, timeout=20)
    except SafelightError as error:
        assert error.node in ("photo", "small", "out") and desk.made == {}
        return error.code
    return None


def believed(file: File) -> File:
    """The file as a record that came from elsewhere may have it: a small picture of the format it begins as."""
    format = sniff.MEDIA_FORMATS.get(file.mime)
    facts = ImageFacts(format=format, width=64, height=48) if format else None
    return file.model_copy(update={"image": facts})


def smuggled(path: Path) -> bool:
    """Whether the picture, which opens, still carries what came with it."""
    with Image.open(path) as image:
        image.load()
    return SMUGGLED in path.read_bytes()


@pytest.mark.parametrize("name", TABLE)
async def test_a_bad_image_ends_in_its_code_and_nobody_else_notices(
    name: str, pair: Sandbox, undisturbed: bytes, tmp_path: Path
) -> None:
    bad = TABLE[name]
    path = tmp_path / bad.name
    path.write_bytes(bad.make())
    begun = asyncio.Event()
    beside = asyncio.create_task(good(pair, desk_in(tmp_path / "beside", begun)))
    await begun.wait()
    assert not beside.done()
    file, refused = await arrived(pair, path)
    assert refused == bad.arrival
    desk = desk_in(tmp_path / "bad")
    if refused == UNREADABLE:
        # A record that was written elsewhere may say otherwise.
        assert await code_of(pair, desk, believed(file)) in (None, UNREADABLE, TOO_LARGE)
    elif refused is None:
        assert await code_of(pair, desk, file) == bad.run
    if bad.arrival is None and bad.run is None:
        assert not smuggled(desk.out / "out.webp")
    assert await beside == undisturbed
    assert await good(pair, desk_in(tmp_path / "after")) == undisturbed


async def test_work_that_needs_too_much_memory_is_refused_and_its_child_replaced(tmp_path: Path) -> None:
    sandbox = Sandbox(1, 2**26)
    await sandbox.start()
    try:
        (tmp_path / "a.png").write_bytes(png(6000, 6000, rows(6000, 6000)))
        file, refused = await arrived(sandbox, tmp_path / "a.png")
        assert refused is None
        turned = FLOW.replace("{type: resize, width: 800}", "{type: rotate, angle: 10}")
        with pytest.raises(SafelightError) as caught:
            await desk_in(tmp_path / "bad").run(sandbox, turned, {"photo": [file]})
        assert (caught.value.code, caught.value.node) == (TOO_LARGE, "small")
        (tmp_path / "small.png").write_bytes(saved(noisy(), "PNG"))
        after, _ = await arrived(sandbox, tmp_path / "small.png")
        assert await code_of(sandbox, desk_in(tmp_path / "after"), after) is None
    finally:
        await sandbox.close()
