"""`python -m bench.shrinks`: how near a shrunken decode comes to a full one, the table in docs/performance.md.

PSNR in dB against the full decode weighed by lanczos3 without any box shrink; rows are how much reducing was left.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pyvips

from bench.encoders import WORDS
from bench.fidelity import psnr_db
from bench.photos import DEMO, large

SHRINKS = (2, 4, 8)
LEFT = (1.25, 1.5, 1.75, 2.0)
BLOCK = 16
"""Sides are cut to whole blocks: else the decoder rounds the small size up, which shifts the picture a little."""
Load = Callable[..., pyvips.Image]


def pictures() -> Iterator[tuple[str, pyvips.Image]]:
    """A photograph as a camera made it, the same twice as sharp, and a page of small letters."""
    photo = pyvips.Image.new_from_file(str(DEMO))
    page = pyvips.Image.text(WORDS * 12, width=4900, dpi=110, font="sans 14").invert()
    page = page.embed(100, 100, 5120, page.height + 200, extend="white")
    for name, image in (("photo", photo), ("crisp", photo.resize(0.5)), ("letters", page.bandjoin([page, page]))):
        yield name, image.crop(0, 0, image.width // BLOCK * BLOCK, image.height // BLOCK * BLOCK)


def likeness(full: pyvips.Image, small: pyvips.Image, shrink: int, left: float) -> float:
    width, height = round(full.width / (shrink * left)), round(full.height / (shrink * left))
    ideal = full.resize(width / full.width, vscale=height / full.height, gap=0)
    made = small.resize(width / small.width, vscale=height / small.height, gap=2)
    return psnr_db(made, ideal)


def rows(folder: Path) -> Iterator[str]:
    found: dict[tuple[str, int, float], list[str]] = {}
    for name, image in pictures():
        srgb = image.copy(interpretation="srgb")
        for format, save, load in (("jpeg", "jpegsave", _jpeg), ("webp", "webpsave", _webp)):
            path = str(folder / f"{name}.{format}")
            getattr(srgb, save)(path, Q=92, keep="none")
            full = load(path, 1).copy_memory()
            for shrink in SHRINKS:
                small = load(path, shrink).copy_memory()
                for left in LEFT:
                    found.setdefault((format, shrink, left), []).append(f"{likeness(full, small, shrink, left):.1f}")
    for (format, shrink, left), figures in found.items():
        yield f"| {format} | {shrink} | {left:g} | {' | '.join(figures)} |"


def _jpeg(path: str, shrink: int) -> pyvips.Image:
    return pyvips.Image.jpegload(path, shrink=shrink)


def _webp(path: str, shrink: int) -> pyvips.Image:
    return pyvips.Image.webpload(path, scale=1 / shrink)


def costs(path: Path, load: Load, shrinks: tuple[float, ...], rounds: int = 5) -> list[str]:
    """CPU of a decode for each of a full one."""
    found: dict[float, list[float]] = {shrink: [] for shrink in shrinks}
    for _ in range(rounds):
        for shrink in shrinks:
            began = time.process_time()
            load(str(path), shrink).avg()
            found[shrink].append(time.process_time() - began)
    return [f"{statistics.median(found[shrink]) / statistics.median(found[shrinks[0]]):.2f}" for shrink in shrinks]


def main() -> None:
    pyvips.cache_set_max(0)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        print("| format | shrink | left | photo | crisp | letters |\n| --- | --- | --- | --- | --- | --- |")
        print(*rows(folder), sep="\n")
        webp = folder / "photo.webp"
        print("\n| decode, CPU | full | 1/2 | 1/4 | 1/8 |\n| --- | --- | --- | --- | --- |")
        for title, path, load in (
            ("baseline JPEG", large(), _jpeg),
            ("progressive JPEG", DEMO, _jpeg),
            ("WebP", webp, _webp),
        ):
            print(f"| {title} | {' | '.join(costs(path, load, (1, 2, 4, 8)))} |")


if __name__ == "__main__":
    main()
