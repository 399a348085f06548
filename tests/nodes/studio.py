"""Apply one node to one picture, as the engine does: decoded at the scale the node demands, encoded as PNG."""

from __future__ import annotations

import io
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import pyvips
from PIL import Image, ImageChops, ImageColor, ImageStat

from pipeline.imaging.encode import encode
from pipeline.imaging.open import open_picture
from pipeline.imaging.picture import Outline, Picture, Wish
from pipeline.nodes import INDEX
from pipeline.nodes.base import ImageNode

# As in the sandbox; small pictures are drawn more quickly so.
pyvips.vips_lib.vips_concurrency_set(1)

PHOTO = Path("docs/demo/photo.jpg")
PHOTO_SIZE = (5312, 2988)


def node(type: str, **parameters: Any) -> ImageNode:
    made = INDEX[type].model_validate({"type": type, **parameters})
    assert isinstance(made, ImageNode)
    return made


def outline_of(path: Path) -> Outline:
    """What the upload's measuring would say of a file, read with Pillow."""
    with Image.open(path) as image:
        orientation = image.getexif().get(0x0112, 1)
        frames = getattr(image, "n_frames", 1)
        alpha = image.mode in ("RGBA", "LA") or "transparency" in image.info
        return Outline(image.width, image.height, frames, alpha, (image.format or "").lower(), orientation)


def applied(step: ImageNode, source: Path, beside: Mapping[str, Picture] | None = None) -> Picture:
    outline = outline_of(source)
    picture = open_picture(source, outline, step.demand(outline.upright(), 1.0), animated=True).oriented()
    return step.apply(picture, beside or {})


def drawn(step: ImageNode, source: Path, folder: Path, format: str = "png", **beside: Picture) -> Image.Image:
    """The result of the step as Pillow reads it."""
    done = encode(applied(step, source, beside).wishing(Wish(format=format)), folder / f"drawn.{format}")
    return opened(done.path)


def opened(path: Path) -> Image.Image:
    """The image in a file, which is closed again; the photograph is decoded only once."""
    return _photo().copy() if path == PHOTO else Image.open(io.BytesIO(path.read_bytes()))


@cache
def _photo() -> Image.Image:
    with Image.open(PHOTO) as photo:
        photo.load()
    return photo


@cache
def reduced(width: int, height: int, filter: Image.Resampling = Image.Resampling.BICUBIC) -> Image.Image:
    """The photograph at another size, made only once: nobody may change it."""
    return _photo().resize((width, height), filter)


def difference(one: Image.Image, other: Image.Image) -> float:
    """Mean absolute difference of all bands, 0 to 255; the sizes must agree."""
    assert one.size == other.size
    mode = "RGBA" if "A" in one.getbands() + other.getbands() else "RGB"
    means = ImageStat.Stat(ImageChops.difference(one.convert(mode), other.convert(mode))).mean
    return sum(means) / len(means)


def corners(width: int, height: int, mode: str = "RGB") -> Image.Image:
    """A picture whose four quarters are red, green, blue and white: every turn and cut of it shows."""
    image = Image.new(mode, (2, 2), "white")
    for place, colour in {(0, 0): "red", (1, 0): "lime", (0, 1): "blue"}.items():
        image.putpixel(place, ImageColor.getcolor(colour, mode))
    return image.resize((width, height), Image.Resampling.NEAREST)


def quarters(image: Image.Image) -> list[tuple[int, ...]]:
    """The colours in the middle of the four quarters, row by row."""
    rgb = image.convert("RGB")
    return [
        rgb.getpixel((round(rgb.width * x), round(rgb.height * y)))  # type: ignore[misc]
        for y in (0.25, 0.75)
        for x in (0.25, 0.75)
    ]
