"""Overlay, text and collage: what is laid over, written on and gathered into a picture."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
import pyvips
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image, ImageChops
from pydantic import ValidationError

from pipeline.errors import NodeInvalid
from pipeline.imaging.encode import encode
from pipeline.imaging.letters import FAMILIES, FONTS
from pipeline.imaging.open import open_picture, open_shipped
from pipeline.imaging.picture import Outline, Picture, Wish
from pipeline.nodes.base import GatherNode
from tests.nodes.studio import PHOTO, applied, corners, difference, drawn, node, opened, outline_of, quarters

GREY = (100, 100, 100)
Box = tuple[int, int, int, int]


@pytest.fixture(autouse=True)
def one_thread() -> None:
    """As in the sandbox: several threads of libvips may read a thin streamed picture out of order."""
    pyvips.vips_lib.vips_concurrency_set(1)


@pytest.fixture
def grey(tmp_path: Path) -> Path:
    return plain(tmp_path / "in.png", (400, 300))


def plain(path: Path, size: tuple[int, int], colour: tuple[int, ...] = GREY) -> Path:
    Image.new("RGBA" if len(colour) == 4 else "RGB", size, colour).save(path)
    return path


def layer(folder: Path, size: tuple[int, int], colour: tuple[int, ...] = (255, 0, 0), name: str = "layer") -> Picture:
    return open_shipped(plain(folder / f"{name}.png", size, colour))


def touched(found: Image.Image) -> Box | None:
    """The box in which the picture is no longer plain grey."""
    return ImageChops.difference(found.convert("RGB"), Image.new("RGB", found.size, GREY)).getbbox()


def oriented(image: Image.Image, orientation: int, path: Path) -> Path:
    """The image stored so that the EXIF orientation turns it upright again."""
    inverse = {1: None, 2: 0, 3: 3, 4: 1, 5: 5, 6: 2, 7: 6, 8: 4}[orientation]
    stored = image if inverse is None else image.transpose(Image.Transpose(inverse))
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored.save(path, exif=exif, quality=95, subsampling=0)
    return path


# Overlay


@pytest.mark.parametrize(
    ("said", "box"),
    [
        ({}, (180, 140, 220, 160)),
        ({"position": "top-left", "x": 10, "y": 20}, (10, 20, 50, 40)),
        ({"position": "bottom-right", "x": 10, "y": 20}, (350, 260, 390, 280)),
        ({"position": "bottom-right", "x": -10, "y": -10}, (370, 290, 400, 300)),
        ({"position": "top", "x": "10%", "y": "10%"}, (220, 30, 260, 50)),
        ({"position": "left", "x": 5, "y": -30}, (5, 110, 45, 130)),
        ({"position": "top-left", "width": "50%"}, (0, 0, 200, 100)),
        ({"position": "top-left", "width": 80}, (0, 0, 80, 40)),
        ({"position": "center", "width": 4000}, (0, 0, 400, 300)),
        ({"position": "top-left", "x": 400}, None),
    ],
)
def test_a_layer_lies_where_and_as_large_as_it_was_told(
    said: dict[str, object], box: Box | None, grey: Path, tmp_path: Path
) -> None:
    step = node("overlay", layers=[{"image": "layer1", **said}])
    found = drawn(step, grey, tmp_path, layer1=layer(tmp_path, (40, 20)))
    assert (found.size, found.mode) == ((400, 300), "RGB")
    assert touched(found) == box


BLENDS: dict[str, Callable[[Image.Image, Image.Image], Image.Image]] = {
    "over": lambda under, over: over,
    "multiply": ImageChops.multiply,
    "screen": ImageChops.screen,
    "overlay": ImageChops.overlay,
    "darken": ImageChops.darker,
    "lighten": ImageChops.lighter,
    "add": lambda under, over: ImageChops.add(under, over),
}


@pytest.mark.parametrize("opacity", [1.0, 0.4])
@pytest.mark.parametrize("blend", BLENDS)
def test_blends_are_those_of_pillow(blend: str, opacity: float, tmp_path: Path) -> None:
    photo = opened(PHOTO).convert("RGB").resize((200, 120))
    photo.save(tmp_path / "in.png")
    top = photo.transpose(Image.Transpose.ROTATE_180).convert("RGBA")
    top.putalpha(Image.linear_gradient("L").resize(top.size))
    top.save(tmp_path / "top.png")
    step = node("overlay", layers=[{"image": "layer1", "blend": blend, "opacity": opacity}])
    found = drawn(step, tmp_path / "in.png", tmp_path, layer1=open_shipped(tmp_path / "top.png"))
    mask = top.getchannel("A").point([round(value * opacity) for value in range(256)])
    expected = Image.composite(BLENDS[blend](photo, top.convert("RGB")), photo, mask)
    assert ImageChops.difference(found, expected).point(lambda value: 255 if value > 3 else 0).getbbox() is None


def test_nothing_is_blended_with_what_is_transparent(tmp_path: Path) -> None:
    base = Image.new("RGBA", (20, 10), (0, 0, 0, 0))
    base.paste((100, 200, 50, 255), (0, 0, 10, 10))
    base.save(tmp_path / "in.png")
    step = node("overlay", layers=[{"image": "layer1", "blend": "multiply"}])
    found = drawn(step, tmp_path / "in.png", tmp_path, layer1=layer(tmp_path, (20, 10), (128, 128, 128)))
    assert found.getpixel((5, 5)) == (50, 100, 25, 255)
    assert found.getpixel((15, 5)) == (128, 128, 128, 255)


def test_layers_are_laid_in_their_order_and_one_picture_may_be_laid_twice(grey: Path, tmp_path: Path) -> None:
    red, blue = layer(tmp_path, (60, 60)), layer(tmp_path, (30, 30), (0, 0, 255), "blue")
    layers = [{"image": "asset:red.png"}, {"image": "layer3"}, {"image": "asset:red.png", "position": "top-left"}]
    step = node("overlay", layers=layers)
    assert step.assets() == {"asset:red.png": "red.png"}
    assert list(step.needs_ports()) == ["image", "layer3"]
    picture = applied(step, grey, {"asset:red.png": red, "layer3": blue})
    found = opened(encode(picture.wishing(Wish(format="png")), tmp_path / "out.png").path)
    assert [found.getpixel(at) for at in ((200, 150), (175, 150), (10, 10), (100, 100))] == [
        (0, 0, 255), (255, 0, 0), (255, 0, 0), GREY,
    ]  # fmt: skip


@pytest.mark.parametrize("orientation", range(1, 9))
def test_layers_lie_on_the_picture_as_it_is_shown(orientation: int, tmp_path: Path) -> None:
    source = oriented(corners(80, 60), orientation, tmp_path / "in.jpg")
    step = node("overlay", layers=[{"image": "layer1", "position": "bottom-right"}])
    found = drawn(step, source, tmp_path, layer1=layer(tmp_path, (40, 30), (1, 2, 3)))
    assert found.size == (80, 60)
    assert found.getpixel((60, 45)) == (1, 2, 3)
    assert difference(found.crop((0, 0, 80, 30)), corners(80, 60).crop((0, 0, 80, 30))) < 3


def test_every_frame_gets_the_layers_and_keeps_its_time(tmp_path: Path) -> None:
    frames = [Image.new("RGB", (60, 40), colour) for colour in ("blue", "lime")]
    frames[0].save(tmp_path / "in.gif", save_all=True, append_images=frames[1:], duration=[70, 150], loop=0)
    step = node("overlay", layers=[{"image": "layer1"}])
    found = drawn(step, tmp_path / "in.gif", tmp_path, format="webp", layer1=layer(tmp_path, (10, 10)))
    times = []
    for number in range(2):
        found.seek(number)
        assert found.convert("RGB").getpixel((30, 20))[0] > 230  # type: ignore[index]
        times.append(found.info["duration"])
    assert (getattr(found, "n_frames", 1), times) == (2, [70, 150])


@pytest.mark.parametrize("size", [(1, 1), (1, 10_000), (10_000, 1)])
def test_the_thinnest_pictures_can_be_laid_on_and_written_on(size: tuple[int, int], tmp_path: Path) -> None:
    source = plain(tmp_path / "in.png", size)
    laid = drawn(node("overlay", layers=[{"image": "layer1"}]), source, tmp_path, layer1=layer(tmp_path, (3, 3)))
    assert (laid.size, laid.getpixel((size[0] // 2, size[1] // 2))) == (size, (255, 0, 0))
    assert drawn(node("text", text="Hello", stroke=2, rotate=10), source, tmp_path).size == size


@pytest.mark.parametrize(
    "said", [{"image": "logo.png"}, {"image": "layer9"}, {"image": "layer1", "blend": "burn"}, {"image": "asset:/etc"}]
)
def test_a_layer_is_an_asset_or_a_port(said: dict[str, str]) -> None:
    with pytest.raises(ValidationError):
        node("overlay", layers=[said])


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    source=st.tuples(st.integers(1, 60), st.integers(1, 60)),
    position=st.sampled_from(["center", "top-left", "bottom-right", "left"]),
    x=st.integers(-80, 80) | st.integers(-120, 120).map(lambda value: f"{value}%"),
    y=st.integers(-80, 80),
    width=st.none() | st.integers(1, 120) | st.integers(1, 200).map(lambda value: f"{value}%"),
    blend=st.sampled_from(sorted(BLENDS)),
)
def test_a_layer_never_changes_the_size(
    source: tuple[int, int], position: str, x: int | str, y: int, width: int | str | None, blend: str, tmp_path: Path
) -> None:
    said = {"image": "layer1", "position": position, "x": x, "y": y, "width": width, "blend": blend}
    step = node("overlay", layers=[said])
    found = drawn(step, plain(tmp_path / "in.png", source), tmp_path, layer1=layer(tmp_path, (30, 7), (9, 8, 7, 90)))
    assert found.size == source
    assert step.reach(Outline(*source)) == Outline(*source)


# Text


def write(grey: Path, tmp_path: Path, text: str, **said: object) -> Image.Image:
    return drawn(node("text", **({"text": text, "size": 40, "margin": 20} | said)), grey, tmp_path)


def extent(found: Image.Image) -> tuple[int, int]:
    box = touched(found)
    assert box is not None
    return box[2] - box[0], box[3] - box[1]


def test_markup_sets_weight_slant_lines_and_sizes(grey: Path, tmp_path: Path) -> None:
    plain_text = write(grey, tmp_path, "Hello", weight="regular")
    for tag in "bius":
        marked = write(grey, tmp_path, f"<{tag}>Hello</{tag}>", weight="regular", markup=True)
        assert marked.tobytes() != plain_text.tobytes()
    assert extent(write(grey, tmp_path, "<b>Hello</b>", weight="regular", markup=True))[0] > extent(plain_text)[0]
    width, height = extent(write(grey, tmp_path, '<span size="200%">Hello</span>', weight="regular", markup=True))
    assert abs(width - 2 * extent(plain_text)[0]) <= 3 and abs(height - 2 * extent(plain_text)[1]) <= 3
    fixed = write(grey, tmp_path, '<span size="80">Hello</span>', weight="regular", markup=True)
    assert extent(fixed) == (width, height)


def test_a_span_has_its_own_colour_and_the_rest_that_of_the_text(grey: Path, tmp_path: Path) -> None:
    text = '<b>MMM</b><span colour="#00ff00">MMM</span>'
    found = write(grey, tmp_path, text, markup=True, colour="#0000ff", position="top-left")
    left, top, right, bottom = touched(found) or (0, 0, 0, 0)
    middle = (left + right) // 2
    for box, colour in (
        ((left, top, middle - 8, bottom), (0, 0, 255)),
        ((middle + 8, top, right, bottom), (0, 255, 0)),
    ):
        seen = found.crop(box).convert("RGB").getcolors(100_000) or []
        solid = max((one for one in seen if one[1] != GREY), key=lambda one: one[0])
        assert solid[1] == colour


def test_an_ampersand_and_an_escaped_bracket_are_text_in_markup(grey: Path, tmp_path: Path) -> None:
    marked = write(grey, tmp_path, "Tom & Jerry &lt;3 &amp; more", markup=True)
    assert marked.tobytes() == write(grey, tmp_path, "Tom & Jerry <3 & more").tobytes()


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("<b>open", "not well-formed"),
        ("a < b", "not well-formed"),
        ("</text><text>", "not well-formed"),
        ("<!DOCTYPE x [<!ENTITY a 'b'>]>&a;", "not well-formed"),
        ("<tt>x</tt>", "no tag <tt>"),
        ("<big>x</big>", "no tag <big>"),
        ('<b size="3">x</b>', "takes no attributes"),
        ('<span font="/etc/passwd 20">x</span>', "no `font`"),
        ('<span fallback="false">x</span>', "no `fallback`"),
        ('<span size="5000">x</span>', "from 4 to 1000"),
        ('<span size="9999%">x</span>', "from 4 to 1000"),
        ('<span size="large">x</span>', "number of pixels"),
        ('<span weight="heavy">x</span>', "one of regular, semibold, bold"),
        ('<span colour="red">x</span>', "write a colour as"),
        ("<b>" * 20 + "x" + "</b>" * 20, "nested"),
    ],
)
def test_only_harmless_markup_is_let_through(text: str, reason: str) -> None:
    with pytest.raises(ValidationError, match=f"text: .*{reason}"):
        node("text", text=text, markup=True)
    node("text", text=text)


def test_a_stroke_surrounds_the_letters_by_its_width(grey: Path, tmp_path: Path) -> None:
    bare = write(grey, tmp_path, "Hello", position="center", colour="#ffffff")
    stroked = write(grey, tmp_path, "Hello", position="center", colour="#ffffff", stroke=6, stroke_colour="#ff0000")
    (width, height), (wide, high) = extent(bare), extent(stroked)
    assert abs(wide - width - 12) <= 2 and abs(high - height - 12) <= 2
    colours = {colour: count for count, colour in stroked.convert("RGB").getcolors(100_000) or []}
    assert colours[255, 0, 0] > 500 and colours[255, 255, 255] > 200


def test_letters_and_lines_are_set_apart(grey: Path, tmp_path: Path) -> None:
    def apart(text: str, **said: object) -> tuple[int, int]:
        return extent(write(grey, tmp_path, text, **said))

    assert apart("Hello", letter_spacing=10)[0] - apart("Hello")[0] == pytest.approx(40, abs=2)
    assert apart("a\nb", line_spacing=25)[1] - apart("a\nb")[1] == pytest.approx(25, abs=1)
    assert apart("a\nb", line_spacing=-10)[1] < apart("a\nb")[1]


def test_text_is_turned_clockwise(grey: Path, tmp_path: Path) -> None:
    level = write(grey, tmp_path, "Hello", position="center")
    right = write(grey, tmp_path, "Hello", position="center", rotate=90)
    assert extent(right) == extent(level)[::-1]
    box, turned = touched(level), touched(right)
    assert box and turned
    assert difference(right.crop(turned), level.crop(box).transpose(Image.Transpose.ROTATE_270)) == 0
    width, height = extent(level)
    slanted = extent(write(grey, tmp_path, "Hello", position="center", rotate=30))
    across = width * math.cos(math.pi / 6) + height * math.sin(math.pi / 6)
    assert across - 25 < slanted[0] <= across + 3


def test_the_plate_turns_with_the_text(grey: Path, tmp_path: Path) -> None:
    found = write(grey, tmp_path, "H", position="center", rotate=45, background="#0000ff", padding=40)
    height = extent(found)[1]
    assert found.getpixel((200, 150 + height // 2 - 6)) == (0, 0, 255)
    box = touched(found)
    assert box and found.getpixel((box[0] + 2, box[1] + 2)) == GREY


@pytest.mark.parametrize("typeface", FAMILIES)
def test_every_typeface_is_shipped_with_its_faces_and_licence(typeface: str, grey: Path, tmp_path: Path) -> None:
    family = FAMILIES[typeface].replace(" ", "")  # type: ignore[index]
    faces = {path.stem.removeprefix(f"{family}-") for path in FONTS.glob(f"{family}-*")}
    assert faces >= {"Regular", "Bold", "Italic", "BoldItalic"}
    assert FAMILIES[typeface] in (FONTS / "OFL.txt").read_text()  # type: ignore[index]
    found = {weight: write(grey, tmp_path, "Hill", typeface=typeface, weight=weight) for weight in ("regular", "bold")}
    assert found["regular"].tobytes() != found["bold"].tobytes()


def test_each_typeface_looks_its_own(grey: Path, tmp_path: Path) -> None:
    looks = {write(grey, tmp_path, "Hamburg", typeface=typeface).tobytes() for typeface in FAMILIES}
    assert len(looks) == len(FAMILIES)


@pytest.mark.parametrize("text", [" ", "\n\n", "\u200b", "\x07"])
def test_a_text_without_ink_leaves_the_picture_as_it_is(text: str, grey: Path, tmp_path: Path) -> None:
    assert touched(write(grey, tmp_path, text)) is None


def test_a_text_of_too_many_pixels_is_refused(grey: Path, tmp_path: Path) -> None:
    plain(tmp_path / "in.png", (8000, 50))
    with pytest.raises(NodeInvalid, match=r"size: this text would take \d+ megapixels"):
        write(tmp_path / "in.png", tmp_path, "word " * 400, size=1000)
    with pytest.raises(NodeInvalid, match="megapixels"):
        write(tmp_path / "in.png", tmp_path, f'<span size="1000">{"word " * 300}</span>', size=10, markup=True)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    text=st.text(min_size=1, max_size=30),
    size=st.integers(4, 60),
    stroke=st.sampled_from([0, 1, 3.5]),
    rotate=st.sampled_from([0, 90, -33.3]),
    markup=st.booleans(),
)
def test_any_text_can_be_written(
    text: str, size: int, stroke: float, rotate: float, markup: bool, grey: Path, tmp_path: Path
) -> None:
    try:
        step = node("text", text=text, size=size, stroke=stroke, rotate=rotate, markup=markup)
    except ValidationError:
        assert markup
        return
    assert drawn(step, grey, tmp_path).size == (400, 300)


# Collage


def gathered(
    sources: Sequence[Path | None], folder: Path, format: str = "png", **said: object
) -> tuple[Image.Image, Outline]:
    """The collage of the files as it comes out of the encoder, and what was foretold of it."""
    step = node("collage", **said)
    assert isinstance(step, GatherNode)
    outlines = [outline_of(path) for path in sources if path]
    images = [_opened(step, path) if path else None for path in sources]
    picture = step.gather(images, [path.name if path else "lost" for path in sources])
    done = encode(picture.wishing(Wish(format=format)), folder / f"collage.{format}")
    return opened(done.path), step.reach_all(outlines + [outlines[0]] * (len(sources) - len(outlines)))


def _opened(step: GatherNode, path: Path) -> Picture:
    outline = outline_of(path)
    return open_picture(path, outline, step.demand(outline.upright(), 1.0), animated=True).oriented()


COLOURS = [(200, 0, 0), (0, 200, 0), (0, 0, 200), (200, 200, 0), (0, 200, 200)]


@pytest.fixture
def five(tmp_path: Path) -> list[Path]:
    sizes = [(100, 50), (50, 100), (10, 10), (300, 300), (1, 1)]
    return [plain(tmp_path / f"{number}.png", size, COLOURS[number]) for number, size in enumerate(sizes)]


@pytest.mark.parametrize(
    ("columns", "size", "places"),
    [
        (None, (3 * 40 + 2 * 6 + 20, 2 * 30 + 6 + 20), [(0, 0), (1, 0), (2, 0), (0, 1), (1, 1)]),
        (2, (2 * 40 + 6 + 20, 3 * 30 + 2 * 6 + 20), [(0, 0), (1, 0), (0, 1), (1, 1), (0, 2)]),
        (100, (5 * 40 + 4 * 6 + 20, 30 + 20), [(0, 0), (1, 0), (2, 0), (3, 0), (4, 0)]),
    ],
)
def test_pictures_are_laid_out_in_rows(
    columns: int | None, size: tuple[int, int], places: list[tuple[int, int]], five: list[Path], tmp_path: Path
) -> None:
    found, foretold = gathered(
        five, tmp_path, columns=columns, width=40, height=30, gap=6, margin=10, background="#101010"
    )
    assert found.size == size == (foretold.width, foretold.height)
    expected = Image.new("RGB", size, (16, 16, 16))
    for (column, row), colour in zip(places, COLOURS, strict=True):
        left, top = 10 + column * 46, 10 + row * 36
        expected.paste(colour, (left, top, left + 40, top + 30))
    assert found.mode == "RGB"
    assert difference(found, expected) == 0


def test_contain_shows_whole_pictures_on_the_background(tmp_path: Path) -> None:
    sources = [tmp_path / "wide.png", tmp_path / "high.png"]
    for source, size in zip(sources, [(80, 40), (20, 40)], strict=True):
        corners(*size).save(source)
    found, foretold = gathered(sources, tmp_path, width=40, height=40, gap=0, fit="contain", background="#00000000")
    assert (found.size, found.mode, foretold.alpha) == ((80, 40), "RGBA", True)
    assert found.getchannel("A").point(lambda value: 255 if value else 0).getbbox() == (0, 0, 70, 40)
    assert quarters(found.crop((0, 10, 40, 30))) == quarters(found.crop((50, 0, 70, 40))) == quarters(corners(40, 40))
    assert [found.getpixel(at) for at in ((20, 5), (45, 20), (75, 20))] == [(0, 0, 0, 0)] * 3


def test_transparent_pictures_show_the_background(tmp_path: Path) -> None:
    source = plain(tmp_path / "in.png", (10, 10), (255, 0, 0, 128))
    found, _ = gathered([source], tmp_path, width=10, height=10, background="#0000ff")
    red, green, blue = found.getpixel((5, 5))  # type: ignore[misc]
    assert found.mode == "RGB" and abs(red - 128) <= 1 and green == 0 and abs(blue - 127) <= 1


def test_a_photograph_in_a_cell_looks_as_pillow_would_make_it(tmp_path: Path) -> None:
    found, _ = gathered([PHOTO, PHOTO], tmp_path, width=300, height=200, gap=0)
    photo = opened(PHOTO).convert("RGB")
    width = round(photo.width * 200 / photo.height)
    scaled = photo.resize((width, 200), Image.Resampling.LANCZOS)
    cell = scaled.crop(((width - 300) // 2, 0, (width - 300) // 2 + 300, 200))
    assert difference(found.crop((0, 0, 300, 200)), cell) < 2
    assert difference(found.crop((300, 0, 600, 200)), cell) < 2


@pytest.mark.parametrize("orientation", range(1, 9))
def test_gathered_pictures_stand_upright(orientation: int, tmp_path: Path) -> None:
    source = oriented(corners(80, 60), orientation, tmp_path / "in.jpg")
    found, _ = gathered([source], tmp_path, width=40, height=30, fit="contain")
    assert difference(found, corners(80, 60).resize((40, 30))) < 6
    assert found.getexif().get(0x0112, 1) == 1


def test_an_animation_gives_its_first_frame(tmp_path: Path) -> None:
    frames = [Image.new("RGB", (40, 40), colour) for colour in COLOURS[:3]]
    frames[0].save(tmp_path / "in.gif", save_all=True, append_images=frames[1:], duration=100)
    found, foretold = gathered([tmp_path / "in.gif"] * 2, tmp_path, format="webp", width=40, height=40)
    assert (getattr(found, "n_frames", 1), foretold.frames, found.size) == (1, 1, (88, 40))


def test_a_lost_picture_leaves_its_cell_empty(five: list[Path], tmp_path: Path) -> None:
    found, foretold = gathered([five[0], None, five[1]], tmp_path, columns=3, width=20, height=20, gap=0)
    assert found.size == (60, 20) == (foretold.width, foretold.height)
    assert [found.getpixel((x, 10)) for x in (10, 30, 50)] == [COLOURS[0], (255, 255, 255), COLOURS[1]]


@pytest.mark.parametrize("size", [(1, 10_000), (10_000, 1)])
@pytest.mark.parametrize("fit", ["cover", "contain"])
def test_the_thinnest_pictures_are_gathered(fit: str, size: tuple[int, int], tmp_path: Path) -> None:
    found, foretold = gathered([plain(tmp_path / "in.png", size)], tmp_path, width=30, height=40, fit=fit)
    assert found.size == (30, 40) == (foretold.width, foretold.height)
    assert GREY in [colour for _, colour in found.getcolors() or []]


def test_captions_stand_below_their_pictures(five: list[Path], tmp_path: Path) -> None:
    found, foretold = gathered(five[:2], tmp_path, width=120, height=60, gap=0, caption="name", caption_size=20)
    assert found.size == (240, 90) == (foretold.width, foretold.height)
    expected = Image.new("RGB", (240, 60), COLOURS[0])
    expected.paste(COLOURS[1], (120, 0, 240, 60))
    assert difference(found.crop((0, 0, 240, 60)), expected) == 0
    for left in (0, 120):
        strip = found.crop((left, 60, left + 120, 90)).convert("L").point(lambda value: 255 if value < 128 else 0)
        box = strip.getbbox()
        assert box and 40 <= box[2] - box[0] <= 70 and abs(box[0] + box[2] - 120) <= 8


def test_captions_share_a_base_line_and_are_shortened_to_their_cell(tmp_path: Path) -> None:
    names = ["ace.png", "Bold.png", "an-extremely-long-name-of-a-file-nobody-would-read-to-its-end.png"]
    sources = [plain(tmp_path / name, (10, 10)) for name in names]
    found, _ = gathered(sources, tmp_path, columns=3, width=100, height=10, gap=0, caption="stem", caption_size=20)
    strips = [found.crop((left, 10, left + 100, found.height)).convert("L") for left in (0, 100, 200)]
    boxes = [strip.point(lambda value: 255 if value < 128 else 0).getbbox() for strip in strips]
    assert boxes[0] and boxes[1] and boxes[2]
    assert abs(boxes[0][3] - boxes[1][3]) <= 1 and boxes[0][1] > boxes[1][1]
    assert 70 <= boxes[2][2] - boxes[2][0] <= 100


def test_a_collage_of_too_many_pixels_is_refused() -> None:
    step = node("collage", width=4096, height=4096)
    assert isinstance(step, GatherNode)
    with pytest.raises(NodeInvalid, match="width: 9 cells come to"):
        step.reach_all([Outline(10, 10)] * 9)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    sizes=st.lists(st.tuples(st.integers(1, 60), st.integers(1, 60)), min_size=1, max_size=7),
    columns=st.none() | st.integers(1, 9),
    cell=st.tuples(st.integers(4, 50), st.integers(4, 50)),
    gap=st.integers(0, 9),
    margin=st.integers(0, 9),
    fit=st.sampled_from(["cover", "contain"]),
    gravity=st.sampled_from(["center", "top-left", "attention"]),
    caption=st.none() | st.sampled_from(["name", "number"]),
)
def test_what_is_foretold_of_a_collage_is_what_comes(
    sizes: list[tuple[int, int]], columns: int | None, cell: tuple[int, int], gap: int, margin: int, fit: str,
    gravity: str, caption: str | None, tmp_path: Path,
) -> None:  # fmt: skip
    sources = [plain(tmp_path / f"{number}.png", size) for number, size in enumerate(sizes)]
    found, foretold = gathered(
        sources, tmp_path, columns=columns, width=cell[0], height=cell[1], gap=gap, margin=margin, fit=fit,
        gravity=gravity, caption=caption,
    )  # fmt: skip
    assert found.size == (foretold.width, foretold.height)


# Texts in boxes


@pytest.mark.parametrize(
    ("align", "valign", "reach"),
    [
        ("left", "top", (100, 30, 130, 60)),
        ("center", "center", (185, 90, 215, 120)),
        ("right", "bottom", (270, 150, 300, 180)),
    ],
)
def test_a_text_stands_in_its_box(grey: Path, tmp_path: Path, align: str, valign: str, reach: Box) -> None:
    box = {"left": "25%", "top": 30, "width": 200, "height": "50%"}
    found = touched(drawn(node("text", text="H", size=30, box=box, align=align, valign=valign), grey, tmp_path))
    assert found is not None
    (left, top, right, bottom), near = found, 12
    assert reach[0] - near <= left < right <= reach[2] + near and reach[1] - near <= top < bottom <= reach[3] + near


def test_a_plate_fills_the_box_or_goes_with_the_text(grey: Path, tmp_path: Path) -> None:
    said = {"text": "H", "size": 30, "box": {"left": 50, "top": 40, "width": 200, "height": 100}}
    plate = {"background": "#102030", "padding": 6}
    whole = drawn(node("text", plate="box", **said, **plate), grey, tmp_path)
    assert touched(whole) == (50, 40, 250, 140) and whole.getpixel((51, 41)) == (16, 32, 48)
    near = touched(drawn(node("text", **said, **plate), grey, tmp_path))
    assert near is not None and near[2] - near[0] < 60 and near[3] - near[1] < 60
    with pytest.raises(ValidationError, match="no box to fill"):
        node("text", text="H", plate="box", background="#102030")
    with pytest.raises(NodeInvalid, match="box: it begins at 500"):
        node("text", text="H", box={"left": 500, "top": 0, "width": 9, "height": 9}).reach(Outline(400, 300))


def test_what_hangs_over_the_edge_is_not_painted(grey: Path, tmp_path: Path) -> None:
    step = node("rectangle", colour="#ff0000", width=100, height="50%", place={"x": 350, "y": "100%"})
    assert touched(drawn(step, grey, tmp_path)) == (350, 150, 400, 300)
    beside = node("rectangle", colour="#ff0000", width=100, height=10, place={"x": 400, "y": 0})
    assert touched(drawn(beside, grey, tmp_path)) is None


def test_a_rectangle_behind_is_seen_through_what_is_transparent(tmp_path: Path) -> None:
    image = Image.new("RGBA", (40, 20), (0, 0, 0, 0))
    image.paste((255, 0, 0, 255), (0, 0, 20, 20))
    image.save(tmp_path / "in.png")
    said = {"colour": "#0000ff", "behind": True}
    whole, opaque = drawn(node("rectangle", **said), tmp_path / "in.png", tmp_path), Outline(40, 20, alpha=True)
    assert (whole.mode, whole.getpixel((5, 5)), whole.getpixel((30, 5))) == ("RGB", (255, 0, 0), (0, 0, 255))
    assert not node("rectangle", **said).reach(opaque).alpha
    part = drawn(node("rectangle", width=30, **said), tmp_path / "in.png", tmp_path)
    assert [part.getpixel((x, 5)) for x in (5, 25, 35)] == [(255, 0, 0, 255), (0, 0, 255, 255), (0, 0, 0, 0)]
    assert node("rectangle", width=30, **said).reach(opaque).alpha
    thin = drawn(node("rectangle", **{**said, "colour": "#0000ff80"}), tmp_path / "in.png", tmp_path)
    assert [thin.getpixel((x, 5)) for x in (5, 30)] == [(255, 0, 0, 255), (0, 0, 255, 128)]
    Image.new("RGB", (40, 20), "red").save(tmp_path / "full.png")
    assert drawn(node("rectangle", **said), tmp_path / "full.png", tmp_path).getpixel((30, 5)) == (255, 0, 0)
