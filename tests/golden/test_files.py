"""Nodes that write several files of one picture, or make one picture of several, over every input."""

from __future__ import annotations

import io
import json
import math
import zipfile
from pathlib import Path

from PIL import Image, ImageOps

from pipeline.imaging.encode import encode
from pipeline.imaging.picture import Wish
from pipeline.nodes.base import GatherNode, SpreadNode
from tests.golden.easel import made, picture_of, read
from tests.golden.matrix import Sample, sized
from tests.golden.reference import difference
from tests.golden.rows import on_white

SPREAD = {"deepzoom", "srcset"}
GATHERED = {"collage"}
TILE = 64


def test_the_tiles_of_every_input_join_to_the_picture(matrix: list[Sample], tmp_path: Path) -> None:
    step = made("deepzoom", {"tile_size": TILE, "overlap": 0, "format": "png"})
    assert isinstance(step, SpreadNode)
    for number, sample in enumerate(matrix):
        folder = tmp_path / str(number)
        folder.mkdir()
        (piece,) = step.spread(picture_of(sample).first_frame(), folder, "picture")
        with zipfile.ZipFile(piece.path) as archive:
            whole = joined(archive, sample.shown[0].size)
        apart = difference(whole, on_white(sample, sample.shown[0]) if whole.mode == "RGB" else sample.shown[0])
        assert apart.mean <= sample.blur and apart.p99 <= 8 * sample.blur, (sample.name, apart)


def joined(archive: zipfile.ZipFile, size: tuple[int, int]) -> Image.Image:
    """The picture at full size, put together from the tiles of the deepest level."""
    level = math.ceil(math.log2(max(size))) if max(size) > 1 else 0
    names = [name for name in archive.namelist() if f"_files/{level}/" in name]
    assert len(names) == math.ceil(size[0] / TILE) * math.ceil(size[1] / TILE)
    tiles = {name: Image.open(io.BytesIO(archive.read(name))) for name in names}
    clear = any("A" in tile.getbands() for tile in tiles.values())
    whole = Image.new("RGBA" if clear else "RGB", size)
    for name, tile in tiles.items():
        column, row = (int(part) for part in Path(name).stem.split("_"))
        whole.paste(tile.convert(whole.mode), (column * TILE, row * TILE))
    return whole


def test_every_width_of_a_set_is_what_pillow_scales_to(matrix: list[Sample], tmp_path: Path) -> None:
    step = made("srcset", {"widths": [24, 48, 4000], "formats": ["png"]})
    assert isinstance(step, SpreadNode)
    for number, sample in enumerate(matrix):
        folder, shown = tmp_path / str(number), sample.shown[0]
        folder.mkdir()
        *files, manifest = step.spread(picture_of(sample).first_frame(), folder, "picture")
        widths = sorted({min(width, shown.width) for width in (24, 48, 4000)})
        told = json.loads(manifest.path.read_text())["files"]
        assert sorted(entry["width"] for entry in told) == widths, sample.name
        for piece in files:
            (found,), _ = read(piece.path)
            assert (found.width, found.height) == (piece.image.width, piece.image.height)  # type: ignore[union-attr]
            wanted = sized(sample, shown, found.width, max(1, round(shown.height * found.width / shown.width)))
            apart = difference(found, wanted)
            assert apart.mean <= 3 * sample.mixed + sample.blur, (sample.name, found.size, apart)
            assert apart.p99 <= 20 * sample.mixed + 8 * sample.blur, (sample.name, found.size, apart)


def test_a_contact_sheet_shows_every_input_in_its_cell(matrix: list[Sample], tmp_path: Path) -> None:
    step = made("collage", {"columns": 7, "width": 40, "height": 30, "gap": 2, "margin": 3, "background": "#e0e0f0"})
    assert isinstance(step, GatherNode)
    # A line of one pixel is all edge in a cell.
    samples = [sample for sample in matrix if not sample.flat]
    sheet = step.gather([picture_of(sample) for sample in samples], [sample.name for sample in samples])
    encode(sheet.wishing(Wish(format="png")), tmp_path / "sheet.png")
    (found,), _ = read(tmp_path / "sheet.png")
    rows = math.ceil(len(samples) / 7)
    assert found.size == (7 * 40 + 6 * 2 + 6, rows * 30 + (rows - 1) * 2 + 6)
    for number, sample in enumerate(samples):
        left, top = 3 + number % 7 * 42, 3 + number // 7 * 32
        fitted = ImageOps.fit(sample.shown[0].convert("RGBA"), (40, 30), Image.Resampling.LANCZOS)
        wanted = Image.alpha_composite(Image.new("RGBA", (40, 30), "#e0e0f0"), fitted).convert("RGB")
        apart = difference(found.crop((left, top, left + 40, top + 30)), wanted)
        # Half a pixel here or there where three to two becomes four to three.
        assert apart.mean <= 8 * sample.mixed, (sample.name, apart)
    assert found.getpixel((1, 1)) == (224, 224, 240)
