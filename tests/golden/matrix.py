"""The golden matrix: real inputs of every kind, made when the tests begin, and what each of them shows.

All show one scene, told apart by four coloured corners inside a white margin: whatever is turned, mirrored, mixed up
or lost can be seen. What an input shows is told by Pillow and LittleCMS, never by the engine.
"""

from __future__ import annotations

import hashlib
import io
import struct
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pillow_heif
import pyvips
from PIL import Image, ImageCms, ImageDraw, ImageOps
from pillow_jxl import JpegXLImagePlugin  # noqa: F401 - Pillow reads and writes JPEG XL once it is loaded

from pipeline import sniff
from pipeline.artifacts import Artifact
from pipeline.graph.facts import stored_outline
from pipeline.imaging.measure import measure
from pipeline.imaging.picture import Outline
from tests.golden.reference import in_srgb, stretched
from tests.imaging.papers import page_of, pdf

SIZE = (120, 80)
MARGIN = 6
CORNERS = {"top left": (200, 40, 45), "top right": (45, 160, 70), "bottom left": (50, 70, 190),
           "bottom right": (225, 195, 60)}  # fmt: skip
MIDDLE = (150, 130, 140)
DELAYS = (80, 120, 200)
ORIENTATION = 0x0112
TURNS = {
    1: None, 2: Image.Transpose.FLIP_LEFT_RIGHT, 3: Image.Transpose.ROTATE_180, 4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE, 6: Image.Transpose.ROTATE_90, 7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}  # fmt: skip
"""What undoes each EXIF orientation: the scene so turned and tagged is shown as the scene."""
P3 = bytes(pyvips.Image.profile_load("p3"))
CMYK = bytes(pyvips.Image.profile_load("cmyk"))
"""The profiles that libvips ships; LittleCMS reads them here."""

Frames = tuple[Image.Image, ...]
Box = tuple[int, int, int, int]


@dataclass(frozen=True)
class Sample:
    """One input: its file, and every frame as it is shown, upright, in 8-bit sRGB, with alpha where it has any."""

    name: str
    path: Path
    shown: Frames
    delays: tuple[int, ...] = ()
    drawing: bool = False
    """Drawn anew for every size."""
    blur: float = 0.0
    """Levels that two decoders of this format may differ by on average, for they round colours differently."""
    wide: tuple[Image.Image, bytes] | None = None
    """The stored colours and their profile, where that is wider than sRGB."""
    mixed: float = 1.0
    """How many times further off scaling may be: colours of another space are mixed there, and drawings are drawn anew,
    each edge over the one before (librsvg) or out to whole pixels (PDFium)."""
    flat: bool = False
    """Too small or too narrow to show the scene."""

    @cached_property
    def artifact(self) -> Artifact:
        content = self.path.read_bytes()
        mime = sniff.media_type(content[: sniff.HEAD_SIZE], self.path.name)
        facts = measure(str(self.path), mime, 10**8, 1000)
        digest = hashlib.sha256(content).hexdigest()
        return Artifact("in", self.path, self.path.name, mime, len(content), digest, facts, None)

    @property
    def stored(self) -> Outline:
        """What the engine's own measuring says of it, its EXIF orientation not yet applied."""
        outline = stored_outline(self.artifact)
        assert outline is not None
        return outline

    @property
    def alpha(self) -> bool:
        return self.shown[0].mode == "RGBA"


# The scene


def boxes(width: int, height: int, margin: int = MARGIN) -> dict[str, Box]:
    """Where the coloured corners lie: left, top, right, bottom."""
    across, down = width // 3 - margin, height // 3 - margin
    right, bottom = width - margin, height - margin
    return {
        "top left": (margin, margin, margin + across, margin + down),
        "top right": (right - across, margin, right, margin + down),
        "bottom left": (margin, bottom - down, margin + across, bottom),
        "bottom right": (right - across, bottom - down, right, bottom),
    }


def plain_scene(width: int, height: int) -> Image.Image:
    """The corners and the middle as rectangles, which any drawing language can say."""
    image = Image.new("RGB", (width, height), "white")
    pen = ImageDraw.Draw(image)
    pen.rectangle(_inner((MARGIN, MARGIN, width - MARGIN, height - MARGIN)), MIDDLE)
    for corner, box in boxes(width, height).items():
        pen.rectangle(_inner(box), CORNERS[corner])
    return image


def scene(width: int = SIZE[0], height: int = SIZE[1], spot: float = 0.5) -> Image.Image:
    """The corners, soft colours between them, and a disc at `spot` of the width."""
    soft = Image.linear_gradient("L").resize((width, height), Image.Resampling.BILINEAR)
    across = soft.transpose(Image.Transpose.ROTATE_90).resize((width, height), Image.Resampling.BILINEAR)
    red, green = soft.point(lambda v: 90 + v * 0.4), across.point(lambda v: 110 + v * 0.4)
    blue = soft.point(lambda v: 190 - v / 3)
    image = plain_scene(width, height)
    inner = (MARGIN, MARGIN, width - MARGIN, height - MARGIN)
    image.paste(Image.merge("RGB", (red, green, blue)).crop(inner), inner)
    pen = ImageDraw.Draw(image)
    for corner, box in boxes(width, height).items():
        pen.rectangle(_inner(box), CORNERS[corner])
    x, y, r = width * spot, height / 2, height / 8
    pen.ellipse((x - r, y - r, x + r, y + r), (70, 60, 80))
    return image


def seen_through(image: Image.Image) -> Image.Image:
    """The scene with a transparent margin and a disc that is half so."""
    width, height = image.size
    veil = Image.new("L", image.size, 0)
    pen = ImageDraw.Draw(veil)
    pen.rectangle(_inner((MARGIN, MARGIN, width - MARGIN, height - MARGIN)), 255)
    pen.ellipse((width * 0.4, height * 0.4, width * 0.6, height * 0.6), 160)
    clear = image.convert("RGBA")
    clear.putalpha(veil)
    return clear


def _inner(box: Box) -> Box:
    # Pillow's rectangles include their last pixel.
    return box[0], box[1], box[2] - 1, box[3] - 1


# The files


def _saved(image: Image.Image, format: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format, **options)
    return buffer.getvalue()


def _opened(content: bytes) -> Image.Image:
    return Image.open(io.BytesIO(content))


def _frames(content: bytes, mode: str) -> Frames:
    image, frames = _opened(content), []
    for number in range(getattr(image, "n_frames", 1)):
        image.seek(number)
        frames.append(image.convert(mode))
    return tuple(frames)


def _jpeg(image: Image.Image, **options: Any) -> bytes:
    return _saved(image, "JPEG", quality=95, subsampling=0, **options)


def _turned(orientation: int) -> tuple[bytes, Frames]:
    undo, tags = TURNS[orientation], Image.Exif()
    tags[ORIENTATION] = orientation
    content = _jpeg(scene().transpose(undo) if undo is not None else scene(), exif=tags)
    return content, (ImageOps.exif_transpose(_opened(content)).convert("RGB"),)


def _cmyk(embedded: bool) -> tuple[bytes, Frames]:
    ink = ImageCms.profileToProfile(
        scene(), ImageCms.createProfile("sRGB"), ImageCms.ImageCmsProfile(io.BytesIO(CMYK)), outputMode="CMYK"
    )
    assert ink is not None
    content = _jpeg(ink, icc_profile=CMYK) if embedded else _jpeg(ink)
    return content, (in_srgb(_opened(content), CMYK),)


def _png_of_16_bits(image: Image.Image, colour_type: int) -> bytes:
    """A PNG whose samples have the values of the picture in their upper and others in their lower byte."""
    width, height = image.size
    values = image.tobytes()
    wide = bytes(part for at, value in enumerate(values) for part in (value, (value * 7 + at) % 256))
    row = len(wide) // height
    rows = b"".join(b"\0" + wide[at : at + row] for at in range(0, len(wide), row))
    head = struct.pack(">IIBBBBB", width, height, 16, colour_type, 0, 0, 0)
    chunks = [(b"IHDR", head), (b"IDAT", zlib.compress(rows)), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(name, body) for name, body in chunks)


def _chunk(name: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))


def _moving(format: str, frames: Sequence[Image.Image], **options: Any) -> bytes:
    first, *others = frames
    return _saved(first, format, save_all=True, append_images=others, duration=list(DELAYS), loop=0, **options)


def _moments() -> list[Image.Image]:
    return [scene(60, 40, spot) for spot in (0.4, 0.5, 0.6)]


def _heic(image: Image.Image) -> tuple[bytes, Frames]:
    buffer = io.BytesIO()
    pillow_heif.from_pillow(image).save(buffer, quality=95, chroma=444)
    shown = pillow_heif.open_heif(io.BytesIO(buffer.getvalue())).to_pillow()
    return buffer.getvalue(), (shown.convert(image.mode),)


def _svg(width: int, height: int) -> bytes:
    shapes = [((0, 0, width, height), (255, 255, 255)), ((MARGIN, MARGIN, width - MARGIN, height - MARGIN), MIDDLE)]
    shapes += [(box, CORNERS[corner]) for corner, box in boxes(width, height).items()]
    inside = "".join(
        f'<rect x="{x}" y="{y}" width="{right - x}" height="{bottom - y}" fill="#{bytes(colour).hex()}"/>'
        for (x, y, right, bottom), colour in shapes
    )
    return f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}">{inside}</svg>'.encode()


def _pdf(width: int, height: int) -> bytes:
    """A page that is as many pixels at 150 dots per inch."""
    points = 72 / 150
    # PDFium fills every pixel that a rectangle touches: each ends a little before its last one does.
    hair = 0.01
    shapes = [((MARGIN, MARGIN, width - MARGIN, height - MARGIN), MIDDLE)]
    shapes += [(box, CORNERS[corner]) for corner, box in boxes(width, height).items()]
    drawn = page_of(
        *(
            (tuple(band / 255 for band in colour), x * points + hair, (height - bottom) * points + hair,
             (right - x) * points - 2 * hair, (bottom - y) * points - 2 * hair)
            for (x, y, right, bottom), colour in shapes
        )  # type: ignore[arg-type]
    )  # fmt: skip
    return pdf([(width * points, height * points, drawn)])


def _p3() -> tuple[bytes, Frames, Image.Image]:
    content = _jpeg(scene(), icc_profile=P3)
    raw = _opened(content).convert("RGB")
    return content, (in_srgb(raw, P3),), raw


# The matrix


def make(folder: Path) -> list[Sample]:
    """Every input, its file in `folder`."""

    def sample(name: str, ending: str, content: bytes, shown: Frames, **more: Any) -> Sample:
        path = folder / f"{name.replace(' ', '-')}.{ending}"
        path.write_bytes(content)
        return Sample(name, path, shown, **more)

    return [made for group in (_photographs, _lossless, _animations, _modern, _drawings) for made in group(sample)]


Maker = Callable[..., Sample]


def _photographs(sample: Maker) -> Iterator[Sample]:
    for orientation in TURNS:
        content, shown = _turned(orientation)
        yield sample(f"jpeg turned {orientation}", "jpg", content, shown, blur=0.3)
    for name, embedded in (("jpeg cmyk", True), ("jpeg cmyk without a profile", False)):
        content, shown = _cmyk(embedded)
        yield sample(name, "jpg", content, shown, blur=0.7, mixed=2)
    content = _jpeg(scene().convert("L"))
    yield sample("jpeg grey", "jpg", content, _frames(content, "RGB"), blur=0.3)
    content = _jpeg(scene(), progressive=True)
    yield sample("jpeg progressive", "jpg", content, _frames(content, "RGB"), blur=0.3)
    content, shown, raw = _p3()
    yield sample("jpeg display p3", "jpg", content, shown, blur=0.7, mixed=2, wide=(raw, P3))


def _lossless(sample: Maker) -> Iterator[Sample]:
    clear = seen_through(scene())
    yield sample("png", "png", _saved(scene(), "PNG"), (scene(),))
    yield sample("png alpha", "png", _saved(clear, "PNG"), (clear,))
    content = _saved(clear.quantize(64, Image.Quantize.FASTOCTREE), "PNG")
    yield sample("png palette alpha", "png", content, _frames(content, "RGBA"))
    content = _saved(clear.convert("LA"), "PNG")
    yield sample("png grey alpha", "png", content, _frames(content, "RGBA"))
    # Sixteen bits may be cut to eight or rounded.
    yield sample("png 16 bit", "png", _png_of_16_bits(scene(), 2), (scene(),), blur=0.6)
    yield sample("png 16 bit alpha", "png", _png_of_16_bits(clear, 6), (clear,), blur=0.6)
    grey = scene().convert("L")
    yield sample("png 16 bit grey", "png", _png_of_16_bits(grey, 0), (grey.convert("RGB"),), blur=0.6)
    dot = Image.new("RGB", (1, 1), CORNERS["top left"])
    yield sample("1x1", "png", _saved(dot, "PNG"), (dot,), flat=True)
    line = scene().resize((1, 10_000), Image.Resampling.BICUBIC)
    yield sample("1x10000", "png", _saved(line, "PNG"), (line,), flat=True)
    pages = _saved(scene(), "TIFF", save_all=True, append_images=[Image.new("RGB", (30, 90)), scene().rotate(180)])
    yield sample("tiff pages", "tif", pages, (scene(),))


def _animations(sample: Maker) -> Iterator[Sample]:
    content = _moving("GIF", _moments())
    yield sample("gif animated", "gif", content, _frames(content, "RGB"), delays=DELAYS)
    content = _moving("WEBP", _moments(), lossless=True)
    yield sample("webp animated", "webp", content, _frames(content, "RGB"), delays=DELAYS)
    content = _moving("WEBP", [seen_through(image) for image in _moments()], lossless=True)
    yield sample("webp animated alpha", "webp", content, _frames(content, "RGBA"), delays=DELAYS)


def _modern(sample: Maker) -> Iterator[Sample]:
    clear = seen_through(scene())
    content = _saved(scene(), "WEBP", quality=95)
    yield sample("webp", "webp", content, _frames(content, "RGB"), blur=0.5)
    for name, image in (("avif", scene()), ("avif alpha", clear)):
        content = _saved(image, "AVIF", quality=95, subsampling="4:4:4", speed=8)
        yield sample(name, "avif", content, _frames(content, image.mode), blur=0.7)
    for name, image in (("heic", scene()), ("heic alpha", clear)):
        content, shown = _heic(image)
        yield sample(name, "heic", content, shown, blur=0.3)
    content = _saved(scene(), "JXL", lossless=True)
    yield sample("jpeg xl", "jxl", content, (scene(),), blur=0.3)


def _drawings(sample: Maker) -> Iterator[Sample]:
    plain = plain_scene(*SIZE)
    # A drawing may be transparent anywhere; this one is nowhere.
    yield sample("svg", "svg", _svg(*SIZE), (plain.convert("RGBA"),), drawing=True, mixed=2)
    yield sample("pdf", "pdf", _pdf(*SIZE), (plain,), drawing=True, mixed=5)


def sized(sample: Sample, frame: Image.Image, width: int, height: int) -> Image.Image:
    """A frame of the sample at another size: scaled, or drawn anew."""
    if not sample.drawing:
        return stretched(frame, width, height)
    fine = frame.resize((frame.width * 8, frame.height * 8), Image.Resampling.NEAREST)
    return fine.resize((width, height), Image.Resampling.BOX)
