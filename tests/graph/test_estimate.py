"""The memory that is foreseen, against what a fresh sandbox child really takes and against figures made by hand."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
import pyvips
from PIL import Image

from pipeline.graph.account import FLOOR, SOURCE
from pipeline.graph.estimate import Reckoning, estimate
from pipeline.graph.fused import Studio
from pipeline.graph.working import WORKINGS
from pipeline.imaging import footprint
from pipeline.imaging.picture import Outline, Wish
from pipeline.nodes import INDEX
from pipeline.nodes.base import GatherNode, ImageNode, OpenNode
from tests.graph.desk import Desk
from tests.graph.weighing import MIB, assignment_of, weighed
from tests.nodes.studio import PHOTO, PHOTO_SIZE

CLOSE = 1.3
"""The promise: a call takes no more than so many times what was foreseen."""
SPARE, SMALL = 3, 24
"""An estimate is that of this flow and not of the worst: at most so many times the peak, or MiB where that is small."""


def made(folder: Path, name: str) -> tuple[Path, str]:
    """The demo photo as another file, or a strip of pieces of it that moves."""
    path, kind = folder / name, name.rpartition(".")[2]
    if name == "photo.jpg":
        return PHOTO, "image/jpeg"
    if name == "moving.gif":
        room = pyvips.Image.thumbnail(str(PHOTO), 400).copy_memory()
        strip = pyvips.Image.arrayjoin([room.crop(step, 0, 320, 200) for step in range(20)], across=1).copy()
        strip.set_type(pyvips.GValue.gint_type, "page-height", 200)
        strip.gifsave(str(path), effort=1)
        return path, "image/gif"
    source = pyvips.Image.new_from_file(str(PHOTO), access="sequential")
    if name == "faded.png":
        source = source.bandjoin((source[1] * 0.9).cast("uchar"))
    options = {"compression": 1} if kind == "png" else {"Q": 85} if kind == "jpg" else {}
    source.write_to_file(str(path), keep="none", **options)
    return path, f"image/{'jpeg' if kind == 'jpg' else kind}"


@pytest.mark.parametrize(
    ("name", "nodes"),
    [
        ("photo.jpg", "  small: {type: resize, width: 300}\n  out: {type: save, format: webp}\n"),
        ("plain.png", "  wide: {type: resize, width: 1600}\n  out: {type: save, format: avif}\n"),
        ("faded.png", "  wide: {type: resize, width: 1200}\n  out: {type: save, format: webp}\n"),
        ("plain.jpg", "  turned: {type: rotate, angle: 90}\n  out: {type: save, format: jpeg}\n"),
        (
            "plain.jpg",
            "  wide: {type: resize, width: 2400}\n"
            '  marked: {type: watermark, image: "asset:logo.png"}\n'
            "  half: {type: resize, from: wide, width: 1200}\n"
            "  out: {type: save, from: [marked, half], format: webp}\n",
        ),
        ("moving.gif", "  small: {type: resize, width: 200}\n  out: {type: save, format: webp}\n"),
    ],
    ids=["coefficients", "avif", "alpha", "turned", "sizes", "moving"],
)
async def test_a_call_takes_about_what_was_foreseen(desk: Desk, tmp_path: Path, name: str, nodes: str) -> None:
    weight = await weighed(assignment_of(desk, nodes, [made(tmp_path, name)]))
    assert weight.peak <= CLOSE * weight.estimate
    assert weight.estimate <= SPARE * max(weight.peak, SMALL)


def test_every_picture_step_says_what_it_does_to_memory() -> None:
    steps = {
        name
        for name, node in INDEX.items()
        if issubclass(node, ImageNode) and not issubclass(node, GatherNode | OpenNode)
    }
    assert steps == WORKINGS.keys()


def reckoned(desk: Desk, nodes: str, *photos: tuple[Path, str]) -> Reckoning:
    return Reckoning(Studio(assignment_of(desk, nodes, photos or [(PHOTO, "image/jpeg")]))).drawn()


def test_a_progressive_photo_costs_its_coefficients_however_small_it_becomes(desk: Desk) -> None:
    found = reckoned(desk, "  small: {type: resize, width: 100}\n  out: {type: save, format: webp}\n")
    stream = found.streams["photo", None, 0]
    width, height = PHOTO_SIZE
    assert (stream.width, stream.height) == (width / 8, -(-height // 8))
    # 4:2:0 has one and a half samples for each pixel, two bytes each.
    assert stream.burst == stream.left == width * height * 3
    assert stream.rows == SOURCE * stream.width * 3


def test_what_two_steps_read_is_held_once(desk: Desk) -> None:
    one = "  wide: {type: resize, width: 1600}\n"
    both = one + "  red: {type: sepia}\n  grey: {type: grayscale, from: wide}\n"
    alone = reckoned(desk, one + "  red: {type: sepia}\n  out: {type: save, format: png}\n")
    beside = reckoned(desk, both + "  out: {type: save, from: [red, grey], format: png}\n")
    # The coefficients of the photo go with its decoder, as soon as the smaller picture is in memory.
    coefficients = PHOTO_SIZE[0] * PHOTO_SIZE[1] * 3
    assert alone.account.kept == FLOOR + coefficients
    assert beside.account.kept == FLOOR + 1600 * 900 * 3


def test_a_look_is_counted_although_it_is_over(desk: Desk) -> None:
    nodes = "  cut: {type: trim}\n  small: {type: resize, width: 100}\n  out: {type: save, format: webp}\n"
    assert estimate(Studio(assignment_of(desk, nodes, [(PHOTO, "image/jpeg")]))) > PHOTO_SIZE[0] * PHOTO_SIZE[1] * 6


def test_each_decoder_of_several_pictures_stays(desk: Desk) -> None:
    nodes = '  small: {type: resize, width: 100}\n  out: {type: save, format: webp, path: "{file.id}"}\n'
    photo = (PHOTO, "image/jpeg")
    assert reckoned(desk, nodes, photo, photo, photo).account.kept == FLOOR + 3 * PHOTO_SIZE[0] * PHOTO_SIZE[1] * 3


def saved(tmp_path: Path, image: Image.Image, format: str, **options: object) -> footprint.Decoding:
    content = io.BytesIO()
    image.save(content, format=format, **options)
    path = tmp_path / f"saved.{format}"
    path.write_bytes(content.getvalue())
    outline = Outline(*image.size, alpha=image.mode in ("RGBA", "LA"), format=format)
    return footprint.decoding(path, outline, 1.0, False)


def test_what_a_decoder_holds_follows_from_its_header(tmp_path: Path) -> None:
    photo = Image.effect_noise((160, 80), 50).convert("RGB")
    pixels = 160 * 80
    assert saved(tmp_path, photo, "jpeg").burst == 0
    assert saved(tmp_path, photo, "jpeg", progressive=True, subsampling=0).burst == pixels * 3 * 2
    assert saved(tmp_path, photo.convert("L"), "jpeg", progressive=True).burst == pixels * 2
    assert saved(tmp_path, photo.convert("CMYK"), "jpeg", progressive=True, subsampling=0).burst == pixels * 4 * 2
    assert saved(tmp_path, photo, "png").burst == 0
    assert saved(tmp_path, photo.convert("RGBA"), "png").bands == 4
    assert saved(tmp_path, photo.convert("I;16"), "png").depth == 2
    assert saved(tmp_path, photo, "tiff", tiffinfo={278: 8}).burst == -(-(tmp_path / "saved.tiff").stat().st_size // 10)
    assert saved(tmp_path, photo, "webp").burst == pixels * 8
    assert saved(tmp_path, photo, "webp", lossless=True).burst == pixels * 12


def test_what_an_interlaced_png_holds_is_the_picture(tmp_path: Path) -> None:
    path = tmp_path / "interlaced.png"
    pyvips.Image.black(100, 50, bands=3).cast("ushort").copy(interpretation="rgb16").pngsave(str(path), interlace=True)
    found = footprint.decoding(path, Outline(100, 50, format="png"), 1.0, False)
    assert (found.burst, found.depth) == (100 * 50 * 3 * 2, 2)


def test_what_an_encoder_holds_follows_from_format_and_wish() -> None:
    def taken(name: str, bands: int = 3, **wish: object) -> int:
        return footprint.encoding(name, Wish(**wish), 1000, 1000, 1, bands)  # type: ignore[arg-type]

    # Two copies of two bytes a sample: one and a half samples with colours subsampled, three without.
    assert taken("jpeg") == 6_000_000 and taken("jpeg", quality=95) == 12_000_000
    assert taken("png") == taken("tiff") == MIB < taken("png", progressive=True)
    assert taken("webp") < taken("webp", bands=4) < taken("webp", lossless=True)
    assert taken("avif") < taken("avif", quality=95) < taken("avif", bands=4, quality=95)
