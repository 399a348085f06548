"""The canonical jobs in bare, hand-written pyvips: what a sharp-eyed script does, one file after the other."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path

import pyvips

LOGO = "flows/assets/logo.png"
EFFORT = 2
"""The effort our own defaults spend on WebP and AVIF, so that both sides do the same work."""


def thumbnail(photo: str, out: Path) -> None:
    pyvips.Image.thumbnail(photo, 300).webpsave(str(out / "300.webp"), Q=80, effort=EFFORT, keep="none")


def sizes(photo: str, out: Path) -> None:
    for width in (1600, 800, 320):
        image = pyvips.Image.thumbnail(photo, width)
        image.webpsave(str(out / f"{width}.webp"), Q=80, effort=EFFORT, keep="none")


def marked(photo: str, out: Path) -> None:
    image = pyvips.Image.thumbnail(photo, 1600)
    mark = pyvips.Image.new_from_file(LOGO)
    faint = mark.extract_band(0, n=3).bandjoin((mark.extract_band(3) * 0.6).cast("uchar"))
    x, y = image.width - mark.width - 16, image.height - mark.height - 16
    done = image.composite2(faint.copy(interpretation="srgb"), "over", x=x, y=y).flatten()
    done.jpegsave(str(out / "1600.jpg"), Q=82, optimize_coding=True, keep="none")


def avif(photo: str, out: Path) -> None:
    image = pyvips.Image.thumbnail(photo, 800)
    image.heifsave(str(out / "800.avif"), Q=55, effort=EFFORT, compression="av1", keep="none")


JOBS: dict[str, Callable[[str, Path], None]] = {"thumbnail": thumbnail, "sizes": sizes, "marked": marked, "avif": avif}


def main(name: str, photo: str, out: str, times: int) -> None:
    """Do one job `times` over and print the seconds an image took; the first, a warm-up, does not count."""
    pyvips.cache_set_max(0)
    JOBS[name](photo, Path(out))
    started = time.perf_counter()
    for _ in range(times):
        JOBS[name](photo, Path(out))
    print((time.perf_counter() - started) / times)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4]))
