"""Pictures in every format that is read, made once from the demo photo and kept in `.bench/`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import pyvips
from PIL import Image

from bench.photos import CACHE, DEMO, large, vast

Maker = Callable[[str], None]

PAGE = "0.9 0.2 0.1 rg 0 421 297 421 re f 0.1 0.3 0.8 rg 297 0 298 421 re f"
DRAWN, CIRCLES = (600, 400), 200
MOVING, FRAMES = (480, 320), 60
LONGEST_GIF = 3000


def specimen(name: str) -> Path:
    """The file `.bench/<name>`: 24 MP where the name begins with `large`, 100 MP with `vast`."""
    if name in PHOTOS:
        return PHOTOS[name]()
    path = CACHE / name
    if not path.exists():
        CACHE.mkdir(exist_ok=True)
        draft = path.with_name(f"part-{name}")
        MAKERS[name](str(draft))
        draft.replace(path)
    return path


def _opened(source: Callable[[], Path]) -> pyvips.Image:
    return pyvips.Image.new_from_file(str(source()), access="sequential")


def _saved(saver: str, source: Callable[[], Path], file: str, **options: Any) -> None:
    getattr(_opened(source), f"{saver}save")(file, keep="none", **options)


def _jpeg(source: Callable[[], Path], file: str, subsample: str = "on", interlace: bool = False) -> None:
    _saved("jpeg", source, file, Q=85, subsample_mode=subsample, interlace=interlace)


def _turned(file: str) -> None:
    turned = _opened(large).copy()
    turned.set_type(pyvips.GValue.gint_type, "orientation", 6)
    turned.jpegsave(file, Q=85)


def _deep(file: str) -> None:
    deep = (_opened(large).cast("ushort") * 256).cast("ushort").copy(interpretation="rgb16")
    deep.pngsave(file, compression=1, keep="none")


def _see_through(file: str) -> None:
    faded = _opened(large)
    faded.bandjoin((faded[1] * 0.9).cast("uchar")).pngsave(file, compression=1, keep="none")


def _one_strip(file: str) -> None:
    with Image.open(large()) as opened:
        rows = {278: opened.height}
        opened.save(file, format="TIFF", compression="tiff_adobe_deflate", tiffinfo=rows)


def _gif(file: str) -> None:
    _opened(large).thumbnail_image(LONGEST_GIF).gifsave(file, effort=1, keep="none")


def _moving(saver: str, file: str) -> None:
    width, height = MOVING
    room = pyvips.Image.thumbnail(str(DEMO), width + FRAMES, height=height + FRAMES, size="force").copy_memory()
    frames = [room.crop(step, step, width, height) for step in range(FRAMES)]
    strip = pyvips.Image.arrayjoin(frames, across=1).copy()
    strip.set_type(pyvips.GValue.gint_type, "page-height", height)
    getattr(strip, f"{saver}save")(file, effort=3 if saver == "gif" else 1)


def _by_pillow(plugin: str, file: str, **options: Any) -> None:
    __import__(plugin)
    if plugin == "pillow_heif":
        __import__(plugin).register_heif_opener()
    with Image.open(large()) as opened:
        opened.copy().save(file, **options)


def _drawing(file: str) -> None:
    width, height = DRAWN
    circles = (
        f'<circle cx="{37 * n % width}" cy="{53 * n % height}" r="{20 + n % 30}" fill="#{7919 * n % 2**24:06x}"/>'
        for n in range(CIRCLES)
    )
    Path(file).write_text(
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}">{"".join(circles)}</svg>'
    )


def _paper(file: str) -> None:
    """One page of A4 in two colours."""
    parts = [
        "<< /Type /Catalog /Pages 2 0 R >>",
        "<< /Type /Pages /Kids [3 0 R] /Count 1 >>",
        "<< /Type /Page /Parent 2 0 R /MediaBox [0 0 595 842] /Contents 4 0 R >>",
        f"<< /Length {len(PAGE)} >> stream\n{PAGE}\nendstream",
    ]
    body, places = "%PDF-1.7\n", []
    for number, part in enumerate(parts, 1):
        places.append(len(body))
        body += f"{number} 0 obj {part} endobj\n"
    table = "0000000000 65535 f \n" + "".join(f"{place:010} 00000 n \n" for place in places)
    end = f"xref\n0 5\n{table}trailer << /Size 5 /Root 1 0 R >>\nstartxref\n{len(body)}\n%%EOF\n"
    Path(file).write_text(body + end)


PHOTOS: Mapping[str, Callable[[], Path]] = {"large.jpg": large, "vast.jpg": vast}
PNG: dict[str, Any] = {"compression": 1}
TIFF: dict[str, Any] = {"compression": "deflate", "predictor": "horizontal"}
AVIF: dict[str, Any] = {"compression": "av1", "effort": 0, "Q": 55}
MAKERS: Mapping[str, Maker] = {
    "tiny.jpg": lambda file: pyvips.Image.thumbnail(str(DEMO), 64).jpegsave(file),
    "large-420.jpg": partial(_jpeg, large),
    "large-turned.jpg": _turned,
    "large-progressive.jpg": partial(_jpeg, large, interlace=True),
    "large-progressive-444.jpg": partial(_jpeg, large, subsample="off", interlace=True),
    "vast-progressive.jpg": partial(_jpeg, vast, interlace=True),
    "vast-progressive-444.jpg": partial(_jpeg, vast, subsample="off", interlace=True),
    "large.png": partial(_saved, "png", large, **PNG),
    "large-interlaced.png": partial(_saved, "png", large, interlace=True, **PNG),
    "large-16.png": _deep,
    "large-alpha.png": _see_through,
    "vast.png": partial(_saved, "png", vast, **PNG),
    "large.tiff": partial(_saved, "tiff", large, **TIFF),
    "large-tiled.tiff": partial(_saved, "tiff", large, tile=True, **TIFF),
    "large-strip.tiff": _one_strip,
    "vast.tiff": partial(_saved, "tiff", vast, **TIFF),
    "large.webp": partial(_saved, "webp", large, Q=80, effort=1),
    "large-lossless.webp": partial(_saved, "webp", large, lossless=True, effort=0),
    "large.avif": partial(_saved, "heif", large, **AVIF),
    "large-444.avif": partial(_saved, "heif", large, subsample_mode="off", **AVIF),
    "large.gif": _gif,
    "moving.gif": partial(_moving, "gif"),
    "moving.webp": partial(_moving, "webp"),
    "large.heic": lambda file: _by_pillow("pillow_heif", file, format="HEIF", quality=60),
    "large.jxl": lambda file: _by_pillow("pillow_jxl", file, format="JXL", lossless_jpeg=False, quality=85, effort=3),
    "drawing.svg": _drawing,
    "paper.pdf": _paper,
}
