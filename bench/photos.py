"""The pictures that benchmarks work on, made once from the demo photo and kept in `.bench/`."""

from __future__ import annotations

from pathlib import Path

import pyvips

DEMO = Path("docs/demo/photo.jpg")
CACHE = Path(".bench")
SMALL = (1732, 1155)
LARGE = (6000, 4000)
VAST = (12_500, 8_000)


def small() -> Path:
    """2 MP, baseline JPEG, quality 90: what is left of a photo that was sent on by a messenger."""
    return _made("small.jpg", *SMALL)


def large() -> Path:
    """24 MP, baseline JPEG, quality 90: what a good camera sends."""
    return _made("large.jpg", *LARGE)


def vast() -> Path:
    """100 MP, baseline JPEG, quality 90: the most that is taken by default."""
    return _made("vast.jpg", *VAST)


def _made(name: str, width: int, height: int) -> Path:
    path = CACHE / name
    if not path.exists():
        CACHE.mkdir(exist_ok=True)
        source = pyvips.Image.new_from_file(str(DEMO), access="sequential")
        draft = path.with_suffix(".part.jpg")
        resized = source.resize(width / source.width, vscale=height / source.height)
        resized.jpegsave(str(draft), Q=90, interlace=False, keep="none")
        draft.replace(path)
    return path
