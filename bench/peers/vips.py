"""The jobs in bare, hand-written pyvips: what a sharp-eyed script does."""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pyvips

from bench.measured import tell
from pipeline.imaging.encode import EFFORTS, QUALITIES

LOGO = "flows/assets/logo.png"
SIZES = (1600, 800, 320)


def thumbnail(photo: str, out: Path) -> None:
    _webp(pyvips.Image.thumbnail(photo, 300), out)


def decode(photo: str, out: Path) -> None:
    """The wall: what cannot be left out of a thumbnail, an eighth of the picture decoded and thrown away."""
    pyvips.Image.jpegload(photo, shrink=8, access="sequential").avg()


def sizes(photo: str, out: Path) -> None:
    for width in SIZES:
        _webp(pyvips.Image.thumbnail(photo, width), out)


def streaming(photo: str, out: Path) -> None:
    _webp(pyvips.Image.thumbnail(photo, 1600), out)


def chained(photo: str, out: Path) -> None:
    """Each size from the next larger one, in memory."""
    image = pyvips.Image.thumbnail(photo, SIZES[0]).copy_memory()
    full = pyvips.Image.new_from_file(photo)
    for width in SIZES:
        height = round(width * full.height / full.width)
        image = image.thumbnail_image(width, height=height, size="force").copy_memory()
        _webp(image, out)


def marked(photo: str, out: Path) -> None:
    _marked(pyvips.Image.thumbnail(photo, 1600), out)


def marked_full(photo: str, out: Path) -> None:
    """The slow and careful way: every pixel decoded and weighed, no box shrink before the kernel."""
    image = pyvips.Image.new_from_file(photo, access="sequential")
    across, down = 1600, round(1600 * image.height / image.width)
    resized = image.resize(across / image.width, vscale=down / image.height, gap=0)
    _marked(resized, out)


def avif(photo: str, out: Path, effort: int = EFFORTS["avif"]) -> None:
    image = pyvips.Image.thumbnail(photo, 800)
    image.heifsave(str(out / "800.avif"), Q=QUALITIES["avif"], effort=effort, compression="av1", keep="none")


def _webp(image: pyvips.Image, out: Path) -> None:
    path = str(out / f"{image.width}.webp")
    image.webpsave(path, Q=QUALITIES["webp"], effort=EFFORTS["webp"], keep="none")


def _marked(image: pyvips.Image, out: Path) -> None:
    mark = pyvips.Image.new_from_file(LOGO)
    faint = mark.extract_band(0, n=3).bandjoin((mark.extract_band(3) * 0.6).cast("uchar"))
    x, y = image.width - mark.width - 16, image.height - mark.height - 16
    done = image.composite2(faint.copy(interpretation="srgb"), "over", x=x, y=y).flatten()
    done.jpegsave(str(out / "1600.jpg"), Q=QUALITIES["jpeg"], optimize_coding=True, keep="none")


JOBS: dict[str, Callable[[str, Path], None]] = {
    "thumbnail": thumbnail,
    "decode": decode,
    "sizes": sizes,
    "streaming": streaming,
    "chained": chained,
    "marked": marked,
    "marked_full": marked_full,
    "avif": avif,
    "avif_default": partial(avif, effort=4),
}


def main(job: str, photo: str, out: str, times: int) -> None:
    pyvips.cache_set_max(0)
    tell(lambda: JOBS[job](photo, Path(out)), times)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4]))
