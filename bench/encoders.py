"""`python -m bench.encoders`: bytes, likeness and CPU of encoder settings, the tables of docs/performance.md.

Every setting encodes every picture once in each round; a figure is the geometric mean over the pictures of the ratio to
the first setting of its table, CPU the median of the rounds. SSIM is the mean, against the picture that was encoded.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyvips

from bench.fidelity import ssim
from bench.photos import DEMO
from pipeline.imaging.encode import QUALITIES

ROUNDS = 5
SUNSET, LOGO = Path("tests/photos/sunset.jpg"), Path("flows/assets/logo.png")
WORDS = "Safelight: the light a darkroom can safely work under. " * 40
Options = dict[str, Any]


@dataclass
class Trial:
    """A setting, and what became of each picture."""

    name: str
    options: Options
    size: dict[str, int] = field(default_factory=dict)
    likeness: dict[str, float] = field(default_factory=dict)
    cpu: dict[str, list[float]] = field(default_factory=dict)


def pictures() -> dict[str, pyvips.Image]:
    """Two photographs, a page of text, and a drawing with alpha."""
    page = pyvips.Image.text(WORDS, width=1100, dpi=110, font="sans 12").invert()
    page = page.gravity("centre", 1200, 800, extend="white")
    return {
        "photo": pyvips.Image.thumbnail(str(DEMO), 1200).copy_memory(),
        "sunset": pyvips.Image.thumbnail(str(SUNSET), 800).copy_memory(),
        "page": page.bandjoin([page, page]).copy(interpretation="srgb").copy_memory(),
        "drawing": pyvips.Image.new_from_file(str(LOGO)).embed(20, 20, 600, 200).copy_memory(),
    }


TABLES: Mapping[str, tuple[str, Sequence[str], Sequence[tuple[str, Options]]]] = {
    "webp": ("webpsave", ("photo", "sunset", "page"), [
        *((f"effort {effort}", {"effort": effort}) for effort in (4, 0, 1, 2, 3, 5, 6)),
        ("effort 2, smart_subsample", {"effort": 2, "smart_subsample": True}),
        ("effort 2, quality 75", {"effort": 2, "Q": 75}),
        ("effort 4, quality 75", {"effort": 4, "Q": 75}),
    ]),
    "avif": ("heifsave", ("photo", "sunset", "page"), [
        *((f"effort {effort}", {"effort": effort}) for effort in (4, 0, 1, 2, 3, 5)),
        ("effort 2, quality 50", {"effort": 2, "Q": 50}),
        ("effort 2, quality 60", {"effort": 2, "Q": 60}),
    ]),
    "jpeg": ("jpegsave", ("photo", "sunset", "page"), [
        ("plain", {}),
        ("optimize_coding", {"optimize_coding": True}),
        ("optimize_coding, progressive", {"optimize_coding": True, "interlace": True}),
        ("mozjpeg: trellis, scans", {"optimize_coding": True, "interlace": True, "trellis_quant": True,
                                     "overshoot_deringing": True, "optimize_scans": True}),
        ("optimize_coding, quality 75", {"optimize_coding": True, "Q": 75}),
        ("optimize_coding, quality 85", {"optimize_coding": True, "Q": 85}),
    ]),
    "png": ("pngsave", ("photo", "page", "drawing"), [
        *((f"compression {level}", {"compression": level}) for level in (6, 1, 2, 3, 4, 7, 9)),
        *((f"compression {level}, all filters", {"compression": level, "filter": "all"}) for level in (1, 3, 6)),
    ]),
    "gif": ("gifsave", ("photo", "sunset", "drawing"), [
        *((f"effort {effort}", {"effort": effort}) for effort in (7, 1, 4, 5, 6, 8, 10)),
    ]),
    "tiff": ("tiffsave", ("photo", "page", "drawing"), [
        ("none", {}),
        *((name, {"compression": name}) for name in ("lzw", "deflate")),
        *((f"{name}, predictor", {"compression": name, "predictor": "horizontal"})
          for name in ("lzw", "deflate")),
    ]),
}  # fmt: skip
"""Format -> how libvips saves it, the pictures it is for, and the settings; what others are held against is first."""


def measured(format: str, shown: Mapping[str, pyvips.Image]) -> list[Trial]:
    saver, names, settings = TABLES[format]
    common: Options = {"keep": "none"} | ({"Q": QUALITIES[format]} if format in QUALITIES else {})
    common |= {"compression": "av1"} if format == "avif" else {}
    trials = [Trial(name, common | options) for name, options in settings]
    for turn in range(ROUNDS):
        for trial in trials:
            for name in names:
                began = time.process_time()
                content = getattr(shown[name], f"{saver}_buffer")(**trial.options)
                trial.cpu.setdefault(name, []).append(time.process_time() - began)
                trial.size[name] = len(content)
                if turn == 0:
                    made = pyvips.Image.new_from_buffer(content, "").copy_memory()
                    trial.likeness[name] = ssim(made, shown[name])
    return trials


def table(format: str, trials: Sequence[Trial]) -> str:
    first = trials[0]
    lines = [f"| {format} | bytes | SSIM | CPU |", "| --- | --- | --- | --- |"]
    for trial in trials:
        size = statistics.geometric_mean(trial.size[name] / first.size[name] for name in first.size)
        cpu = statistics.geometric_mean(
            statistics.median(mine / its for mine, its in zip(trial.cpu[name], first.cpu[name], strict=True))
            for name in first.cpu
        )
        lines.append(f"| {trial.name} | {size:.2f} | {statistics.mean(trial.likeness.values()):.4f} | {cpu:.2f} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    pyvips.cache_set_max(0)
    shown = pictures()
    for format in TABLES:
        print(table(format, measured(format, shown)), flush=True)


if __name__ == "__main__":
    main()
