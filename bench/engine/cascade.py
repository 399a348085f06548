"""Whether a size made from a larger size is as good as one made from the source."""

from __future__ import annotations

import tempfile
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import pyvips

from bench.fidelity import psnr_db, read
from bench.ours import caught
from bench.photos import DEMO, large
from bench.results import Result

NAME = "engine.cascade_psnr_db"
LEAST = 40.0
SIZES = (1600, 1000, 640, 320, 100)


async def cascade_psnr_db() -> AsyncIterator[Result]:
    """The worst PSNR of a size drawn beside larger ones against the same size drawn alone; a ratio over 1 is fine.

    `.full` holds the same sizes against a full decode without any shortcut.
    """
    pairs = [(photo, width) for photo in (DEMO, large()) for width in SIZES[1:]]
    together = {photo: await _drawn(photo, SIZES) for photo in (DEMO, large())}
    alone = min([psnr_db(together[photo][width], (await _drawn(photo, (width,)))[width]) for photo, width in pairs])
    full = min(psnr_db(together[photo][width], _careful(photo, width)) for photo, width in pairs)
    yield Result(NAME, alone, "dB", f"{LEAST:g} dB", alone / LEAST, 1)
    yield Result(f"{NAME}.full", full, "dB", f"{LEAST:g} dB", full / LEAST, 1)


async def _drawn(photo: Path, widths: Sequence[int]) -> dict[int, pyvips.Image]:
    """Our engine's pictures by width, encoded without loss."""
    lines = [f"  w{width}: {{type: resize, from: photo, width: {width}}}" for width in widths]
    names = ", ".join(f"w{width}" for width in widths)
    save = f"  out: {{type: save, from: [{names}], format: png}}"
    text = "\n".join(["nodes:", "  photo: {type: input}", *lines, save])
    with tempfile.TemporaryDirectory() as folder:
        _, made = await caught(text, photo, Path(folder))
        return {width: read(artifact.path) for width, artifact in zip(widths, made, strict=True)}


def _careful(photo: Path, width: int) -> pyvips.Image:
    source = pyvips.Image.new_from_file(str(photo))
    height = round(width * source.height / source.width)
    return source.resize(width / source.width, vscale=height / source.height, gap=0).copy_memory()
