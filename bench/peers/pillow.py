"""The jobs in Pillow, the JPEG decoded small by `draft` as its documentation advises."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

from PIL import Image

from bench.measured import tell
from bench.peers.vips import LOGO, SIZES
from pipeline.imaging.encode import EFFORTS, QUALITIES

WIDE = 2
"""How many times the wanted size `draft` must leave, for the same sharpness as libvips."""


def thumbnail(photo: str, out: Path) -> None:
    _webp(_resized(photo, 300), out)


def streaming(photo: str, out: Path) -> None:
    _webp(_resized(photo, 1600), out)


def chained(photo: str, out: Path) -> None:
    with Image.open(photo) as full:
        ratio = full.height / full.width
    image = _resized(photo, SIZES[0])
    for width in SIZES:
        image = image.resize((width, round(width * ratio)), Image.Resampling.LANCZOS)
        _webp(image, out)


def marked(photo: str, out: Path) -> None:
    image = _resized(photo, 1600)
    with Image.open(LOGO) as logo:
        mark = logo.convert("RGBA")
    mark.putalpha(mark.getchannel("A").point(lambda value: int(value * 0.6)))
    image.paste(mark, (image.width - mark.width - 16, image.height - mark.height - 16), mark)
    image.save(out / "1600.jpg", quality=QUALITIES["jpeg"], optimize=True)


def _resized(photo: str, width: int) -> Image.Image:
    with Image.open(photo) as image:
        size = (width, round(width * image.height / image.width))
        image.draft("RGB", (size[0] * WIDE, size[1] * WIDE))
        return image.resize(size, Image.Resampling.LANCZOS, reducing_gap=2.0)


def _webp(image: Image.Image, out: Path) -> None:
    image.save(out / f"{image.width}.webp", quality=QUALITIES["webp"], method=EFFORTS["webp"])


JOBS: dict[str, Callable[[str, Path], None]] = {
    "thumbnail": thumbnail,
    "streaming": streaming,
    "chained": chained,
    "marked": marked,
}


if __name__ == "__main__":
    Image.MAX_IMAGE_PIXELS = None
    tell(lambda: JOBS[sys.argv[1]](sys.argv[2], Path(sys.argv[3])), int(sys.argv[4]))
