from __future__ import annotations

from math import exp
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image, ImageDraw, ImageFilter
from pydantic import ValidationError

from pipeline.errors import NodeInvalid
from pipeline.imaging.encode import encode
from pipeline.imaging.picture import Outline
from tests.nodes.studio import PHOTO, applied, corners, difference, drawn, node, opened, quarters, reduced

COLOUR = (200, 100, 50)
POINTS: dict[str, dict[str, Any]] = {
    "adjust": {"brightness": 1.2, "contrast": 0.9, "saturation": 1.4, "gamma": 1.1, "hue": 30},
    "grayscale": {},
    "sepia": {"strength": 0.7},
    "invert": {},
    "duotone": {"dark": "#102030", "light": "#f0e0d0"},
}
EFFECTS: dict[str, dict[str, Any]] = POINTS | {
    "blur": {"sigma": 1.5},
    "sharpen": {"sigma": 1, "amount": 2},
    "redact": {"regions": [{"left": 0, "top": 0, "width": "25%", "height": "25%"}]},
    "icc": {"to": "p3"},
    "metadata": {"title": "A title"},
}


def values(image: Image.Image, x: int = 1, y: int = 1) -> tuple[int, ...]:
    found = image.getpixel((x, y))
    return (found,) if isinstance(found, int) else found  # type: ignore[return-value]


def one_colour(step: str, folder: Path, colour: Any = COLOUR, mode: str = "RGB", **parameters: Any) -> tuple[int, ...]:
    """What the step makes of a plain picture."""
    Image.new(mode, (8, 8), colour).save(folder / "in.png")
    return values(drawn(node(step, **parameters), folder / "in.png", folder))


@pytest.mark.parametrize(
    ("step", "parameters", "expected"),
    [
        # 0.2126 x 200 + 0.7152 x 100 + 0.0722 x 50 = 117.65
        ("grayscale", {}, (118,)),
        # red: 0.393 x 200 + 0.769 x 100 + 0.189 x 50 = 164.95, green 146.8, blue 114.35
        ("sepia", {}, (165, 147, 114)),
        # half way from 200, 100, 50 to there: 182.475, 123.4, 82.175
        ("sepia", {"strength": 0.5}, (182, 123, 82)),
        ("sepia", {"strength": 0}, COLOUR),
        ("invert", {}, (55, 155, 205)),
        # 16 + 224 x 117.65 / 255 = 119.35, 32 + 192 x 0.46137 = 120.58, 48 + 160 x 0.46137 = 121.82
        ("duotone", {"dark": "#102030", "light": "#f0e0d0"}, (119, 121, 122)),
        ("adjust", {}, COLOUR),
        ("adjust", {"brightness": 1.5}, (255, 150, 75)),
        ("adjust", {"brightness": 0}, (0, 0, 0)),
        # 127.5 + 1.5 x (72.5, -27.5, -77.5)
        ("adjust", {"contrast": 1.5}, (236, 86, 11)),
        # 255 x the root of 200, 100 and 50 / 255
        ("adjust", {"gamma": 2}, (226, 160, 113)),
        # 255 x the square of 200, 100 and 50 / 255 = 156.86, 39.22, 9.80
        ("adjust", {"gamma": 0.5}, (157, 39, 10)),
        # 0.213 x 200 + 0.715 x 100 + 0.072 x 50 = 117.7
        ("adjust", {"saturation": 0}, (118, 118, 118)),
        # twice the colour less that grey: 282.3, 82.3, -17.7
        ("adjust", {"saturation": 2}, (255, 82, 0)),
        # green: 0.356 x 200 + 0.855 x 100 - 0.211 x 50 = 146.15; red is the blue, blue is 35.4
        ("adjust", {"hue": 90}, (50, 146, 35)),
        ("adjust", {"hue": 180}, (35, 135, 185)),
        ("adjust", {"hue": -180}, (35, 135, 185)),
        ("adjust", {"hue": 360}, COLOUR),
        # brightness first: 240, 120, 60; then half way to 127.5
        ("adjust", {"brightness": 1.2, "contrast": 0.5}, (184, 124, 94)),
        # of 183.75, 123.75, 93.75, not rounded in between: 134.37
        ("adjust", {"brightness": 1.2, "contrast": 0.5, "saturation": 0}, (134, 134, 134)),
    ],
)
def test_colours_become_what_the_formula_says(
    step: str, parameters: dict[str, Any], expected: tuple[int, ...], tmp_path: Path
) -> None:
    assert one_colour(step, tmp_path, **parameters) == expected


@pytest.mark.parametrize("step", POINTS)
def test_alpha_is_never_touched_by_a_colour_effect(step: str, tmp_path: Path) -> None:
    image = Image.effect_noise((256, 40), 90).convert("RGB")
    alpha = Image.linear_gradient("L").rotate(90).resize((256, 40))
    image.putalpha(alpha)
    image.save(tmp_path / "in.png")
    found = drawn(node(step, **POINTS[step]), tmp_path / "in.png", tmp_path)
    assert found.getchannel("A").tobytes() == alpha.tobytes()


@pytest.mark.parametrize("step", POINTS)
def test_a_grey_picture_becomes_what_the_same_greys_in_colour_become(step: str, tmp_path: Path) -> None:
    for mode, colour in (("L", 90), ("LA", (90, 130)), ("I;16", 90 * 257), ("P", 90), ("1", 1)):
        grey = Image.new(mode, (8, 8), colour)
        if mode == "P":
            grey.putpalette([level for level in range(256) for _ in range(3)])
        grey.save(tmp_path / f"{step}.png")
        made = drawn(node(step, **POINTS[step]), tmp_path / f"{step}.png", tmp_path)
        # What brings no colour stays in one band, which Pillow shows as three equal ones.
        found = values(made if step == "grayscale" else made.convert("RGBA" if mode == "LA" else "RGB"))
        level = 255 if mode == "1" else 90
        expected = one_colour(step, tmp_path, (level,) * 3, **POINTS[step])
        assert found == (*expected, 130) if mode == "LA" else found == expected, mode


def test_a_grey_picture_stays_in_one_band_when_made_grey(tmp_path: Path) -> None:
    for mode, colour in (("L", 90), ("RGB", (90, 90, 90))):
        Image.new(mode, (8, 8), colour).save(tmp_path / "in.png")
        assert drawn(node("grayscale"), tmp_path / "in.png", tmp_path).mode == "L"


@pytest.mark.parametrize("format", ["jpeg", "png", "webp", "avif", "gif", "tiff"])
def test_every_format_holds_a_grey_picture(format: str, tmp_path: Path) -> None:
    corners(64, 64).save(tmp_path / "in.png")
    found = quarters(drawn(node("grayscale"), tmp_path / "in.png", tmp_path, format=format))
    expected = [round(255 * weight) for weight in (0.2126, 0.7152, 0.0722, 1)]
    assert all(abs(band - grey) <= 3 for pixel, grey in zip(found, expected, strict=True) for band in pixel)


def test_colours_of_cmyk_and_of_a_photograph_are_those_pillow_computes(tmp_path: Path) -> None:
    photo = reduced(640, 360)
    photo.save(tmp_path / "in.png")
    inverted = drawn(node("invert"), tmp_path / "in.png", tmp_path)
    assert difference(inverted, photo.point(lambda level: 255 - level)) == 0
    weights = (0.393, 0.769, 0.189, 0, 0.349, 0.686, 0.168, 0, 0.272, 0.534, 0.131, 0)
    assert difference(drawn(node("sepia"), tmp_path / "in.png", tmp_path), photo.convert("RGB", weights)) < 0.6
    grey = photo.convert("L", (0.2126, 0.7152, 0.0722, 0))
    assert difference(drawn(node("grayscale"), tmp_path / "in.png", tmp_path), grey) < 0.6
    Image.new("CMYK", (8, 8), (0, 0, 0, 0)).save(tmp_path / "in.tiff")
    assert values(drawn(node("invert"), tmp_path / "in.tiff", tmp_path)) == (0, 0, 0)


@pytest.mark.parametrize("step", POINTS)
def test_a_point_effect_needs_no_more_pixels_than_its_result(step: str, tmp_path: Path) -> None:
    model = node(step, **POINTS[step])
    assert model.demand(Outline(5312, 2988), 0.125) == 0.125
    picture = applied(node("resize", width=664), PHOTO)
    small = encode(model.apply(picture, {}), tmp_path / "small.png")
    assert (small.width, small.height) == (664, 374)
    before = applied(node("resize", width=664), PHOTO).pixels
    assert model.apply(picture, {}).pixels.height == before.height


@pytest.mark.parametrize("sigma", [0.5, 1, 3, 7.9, 8, 12, 40, 100])
def test_an_edge_is_blurred_as_the_bell_curve_says(sigma: float, tmp_path: Path) -> None:
    image = Image.new("RGB", (800, 9))
    image.paste((255, 255, 255), (400, 0, 800, 9))
    image.save(tmp_path / "in.png")
    found = drawn(node("blur", sigma=sigma), tmp_path / "in.png", tmp_path)
    bell = {step: exp(-(step**2) / (2 * sigma**2)) for step in range(-400, 401)}
    white = [
        255 * sum(weight for step, weight in bell.items() if step >= 400 - x) / sum(bell.values()) for x in range(800)
    ]
    faults = [abs(values(found, x, 4)[1] - level) for x, level in enumerate(white) if 3 * sigma < x < 800 - 3 * sigma]
    assert max(faults) < 4
    assert sum(faults) / len(faults) < 1


@pytest.mark.parametrize("sigma", [2, 6, 25])
def test_a_photograph_is_blurred_as_pillow_blurs_it(sigma: float, tmp_path: Path) -> None:
    photo = reduced(800, 450)
    photo.save(tmp_path / "in.png")
    found = drawn(node("blur", sigma=sigma), tmp_path / "in.png", tmp_path)
    assert difference(found, photo.filter(ImageFilter.GaussianBlur(sigma))) < 1.5


@pytest.mark.parametrize("sigma", [2, 20])
def test_blurring_lets_no_hidden_colour_out_and_softens_the_edge(sigma: float, tmp_path: Path) -> None:
    image = Image.new("RGBA", (200, 200), (255, 0, 0, 0))
    image.paste((0, 0, 250, 255), (0, 0, 100, 200))
    image.save(tmp_path / "in.png")
    found = drawn(node("blur", sigma=sigma), tmp_path / "in.png", tmp_path)
    seen = [values(found, x, 100) for x in range(200)]
    assert max(red for red, _, _, alpha in seen if alpha) == 0
    assert min(blue for _, _, blue, alpha in seen if alpha > 20) >= 245
    assert 100 < seen[100][3] < 130
    assert seen[2][3] >= 254


def lightness(level: float) -> float:
    """L* of a grey sRGB level (IEC 61966-2-1 and CIE 15)."""
    part = level / 255
    linear = part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4
    return 116 * linear ** (1 / 3) - 16 if linear > 216 / 24389 else linear * 24389 / 27


def test_an_edge_is_sharpened_by_what_it_differs_from_its_surroundings(tmp_path: Path) -> None:
    image = Image.new("RGB", (60, 9), (90, 90, 90))
    image.paste((130, 130, 130), (30, 0, 60, 9))
    image.save(tmp_path / "in.png")
    found = drawn(node("sharpen", sigma=2, amount=1.5), tmp_path / "in.png", tmp_path)
    low, high = lightness(90), lightness(130)
    plain = [low] * 30 + [high] * 30
    bell = {step: exp(-(step**2) / 8) for step in range(-4, 5)}
    for x in range(10, 50):
        around = sum(weight * plain[x + step] for step, weight in bell.items()) / sum(bell.values())
        gap = plain[x] - around
        # Nothing below a difference of 2; above it 1.5 of what exceeds it, at most 10 up and 20 down.
        change = max(-20.0, min(10.0, max(0.0, abs(gap) - 2) * 1.5 * (1 if gap > 0 else -1)))
        assert abs(lightness(values(found, x, 4)[0]) - (plain[x] + change)) < 1.2, x
    assert values(found, 31, 4)[0] > 133
    assert values(found, 28, 4)[0] < 87


def test_sharpening_leaves_flat_parts_and_nothing_asked_for_alone(tmp_path: Path) -> None:
    photo = reduced(400, 225)
    photo.save(tmp_path / "in.png")
    assert difference(drawn(node("sharpen", amount=0), tmp_path / "in.png", tmp_path), photo) == 0
    edges = [
        difference(drawn(node("sharpen", amount=amount), tmp_path / "in.png", tmp_path), photo) for amount in (1, 2, 5)
    ]
    assert 0.3 < edges[0] < edges[1] < edges[2]
    assert one_colour("sharpen", tmp_path) == COLOUR


def test_a_cut_out_gets_no_bright_line_along_its_edge(tmp_path: Path) -> None:
    image = Image.new("RGBA", (120, 80), (0, 0, 0, 0))
    ImageDraw.Draw(image).ellipse((20, 10, 100, 70), fill=(120, 130, 140, 255))
    image.save(tmp_path / "in.png")
    found = drawn(node("sharpen", sigma=2, amount=4), tmp_path / "in.png", tmp_path)
    assert found.getchannel("A").tobytes() == image.getchannel("A").tobytes()
    seen = [values(found, x, 40) for x in range(120)]
    assert {colour for *colours, alpha in seen if alpha for colour in [tuple(colours)]} == {(120, 130, 140)}


REGIONS = [
    {"left": 10, "top": 20, "width": 30, "height": 25},
    {"left": "50%", "top": "50%", "width": "25%", "height": 16},
]
BOXES = [(10, 20, 40, 45), (100, 50, 150, 66)]


def noise(mode: str = "RGB") -> Image.Image:
    image = Image.merge("RGB", [Image.effect_noise((200, 100), sigma) for sigma in (60, 90, 120)])
    if mode == "RGBA":
        image.putalpha(Image.linear_gradient("L").resize((200, 100)))
    return image


@pytest.mark.parametrize("mode", ["fill", "pixelate", "blur"])
@pytest.mark.parametrize("bands", ["RGB", "RGBA"])
def test_a_redaction_hides_its_regions_and_nothing_else(mode: str, bands: str, tmp_path: Path) -> None:
    image = noise(bands)
    image.save(tmp_path / "in.png")
    found = drawn(node("redact", regions=REGIONS, mode=mode, cell=8, sigma=9), tmp_path / "in.png", tmp_path)
    for box in BOXES:
        assert difference(found.crop(box).convert("RGB"), image.crop(box).convert("RGB")) > 20
        found.paste(image.crop(box), box)
    assert found.tobytes() == image.tobytes()


def test_filling_leaves_nothing_but_its_colour(tmp_path: Path) -> None:
    noise("RGBA").save(tmp_path / "in.png")
    found = drawn(node("redact", regions=REGIONS, colour="#0a141e"), tmp_path / "in.png", tmp_path)
    for box in BOXES:
        width, height = box[2] - box[0], box[3] - box[1]
        assert found.crop(box).getcolors() == [(width * height, (10, 20, 30, 255))]


def test_pixelating_leaves_the_mean_of_each_cell(tmp_path: Path) -> None:
    image = noise()
    image.save(tmp_path / "in.png")
    region = {"left": 8, "top": 4, "width": 64, "height": 48}
    found = drawn(node("redact", regions=[region], mode="pixelate", cell=16), tmp_path / "in.png", tmp_path)
    part = image.crop((8, 4, 72, 52)).resize((4, 3), Image.Resampling.BOX)
    expected = part.resize((64, 48), Image.Resampling.NEAREST)
    assert difference(found.crop((8, 4, 72, 52)), expected) <= 1
    assert len(found.crop((8, 4, 72, 52)).getcolors() or []) <= 12


def test_blurring_a_region_takes_nothing_from_beyond_it(tmp_path: Path) -> None:
    image = Image.new("RGB", (60, 60), "red")
    image.paste((0, 0, 255), (20, 20, 40, 40))
    image.save(tmp_path / "in.png")
    region = {"left": 20, "top": 20, "width": 20, "height": 20}
    found = drawn(node("redact", regions=[region], mode="blur", sigma=20), tmp_path / "in.png", tmp_path)
    assert difference(found, image) == 0


def test_fractions_of_a_pixel_are_hidden_whole(tmp_path: Path) -> None:
    Image.new("RGB", (10, 10), "white").save(tmp_path / "in.png")
    region = {"left": "25%", "top": "25%", "width": "31%", "height": "31%"}
    found = drawn(node("redact", regions=[region]), tmp_path / "in.png", tmp_path).convert("L")
    assert found.point(lambda level: 255 - level).getbbox() == (2, 2, 6, 6)


def test_a_redaction_that_would_hide_nothing_is_refused() -> None:
    beyond = node("redact", regions=[REGIONS[0], {"left": 200, "top": 0, "width": 5, "height": 5}])
    with pytest.raises(NodeInvalid, match="number 2 lies outside the 200 x 100 picture"):
        beyond.reach(Outline(200, 100))
    for width in (0, "0%", "0.0%"):
        with pytest.raises(ValidationError, match="holds nothing"):
            node("redact", regions=[{"width": width, "height": 5}])
    with pytest.raises(ValidationError, match="nothing may shine through"):
        node("redact", regions=REGIONS, colour="#00000080")
    with pytest.raises(ValidationError):
        node("redact", regions=[])


def test_no_small_copy_of_what_was_redacted_stays_in_the_file(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x8298], exif[0x010F] = "A. Photographer", "Camera"
    secret = b"SECRETPREVIEW" * 40
    exif.get_ifd(0x8769)[0x927C] = secret
    corners(200, 100).save(tmp_path / "in.jpg", exif=exif, xmp=b"<x>SECRETPREVIEW</x>", quality=95)
    picture = applied(node("redact", regions=REGIONS), tmp_path / "in.jpg")
    wish = node("convert", strip=False).apply(picture, {})
    written = encode(wish, tmp_path / "out.jpg").path
    assert b"SECRETPREVIEW" in (tmp_path / "in.jpg").read_bytes()
    assert b"SECRETPREVIEW" not in written.read_bytes()
    kept = opened(written).getexif()
    assert (kept[0x8298], 0x010F in kept) == ("A. Photographer", False)


@pytest.mark.parametrize("step", EFFECTS)
@pytest.mark.parametrize("orientation", range(1, 9))
def test_every_exif_orientation_comes_out_upright(step: str, orientation: int, tmp_path: Path) -> None:
    upright = corners(80, 60)
    upright.paste((0, 0, 0), (0, 0, 20, 15))
    turns = {2: 0, 3: 3, 4: 1, 5: 5, 6: 2, 7: 6, 8: 4}
    stored = upright.transpose(Image.Transpose(turns[orientation])) if orientation in turns else upright
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored.save(tmp_path / "turned.png", exif=exif)
    upright.save(tmp_path / "upright.png")
    found = drawn(node(step, **EFFECTS[step]), tmp_path / "turned.png", tmp_path)
    assert difference(found, drawn(node(step, **EFFECTS[step]), tmp_path / "upright.png", tmp_path)) < 0.5


@pytest.mark.parametrize("step", EFFECTS)
@pytest.mark.parametrize("format", ["gif", "webp"])
def test_an_effect_is_applied_to_every_frame_and_keeps_their_times(step: str, format: str, tmp_path: Path) -> None:
    colours = [(200, 30, 30), (30, 200, 30), (30, 30, 200)]
    frames = [Image.new("RGB", (64, 40), colour) for colour in colours]
    for frame, colour in zip(frames, colours, strict=True):
        frame.paste(colour[::-1], (40, 0, 64, 40))
    frames[0].save(
        tmp_path / f"in.{format}", save_all=True, append_images=frames[1:], duration=[100, 200, 300], lossless=True
    )
    model = node(step, **EFFECTS[step])
    found = drawn(model, tmp_path / f"in.{format}", tmp_path, format="webp")
    times = []
    assert (found.size, getattr(found, "n_frames", 1)) == ((64, 40), 3)
    for number, frame in enumerate(frames):
        frame.save(tmp_path / "frame.png")
        found.seek(number)
        found.load()
        assert difference(found.convert("RGB"), drawn(model, tmp_path / "frame.png", tmp_path).convert("RGB")) < 6
        times.append(found.info["duration"])
    assert times == [100, 200, 300]


@pytest.mark.parametrize("step", EFFECTS)
@pytest.mark.parametrize("size", [(1, 1), (1, 10_000), (10_000, 1)])
@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L"])
def test_the_smallest_and_the_thinnest_pictures_work(
    step: str, size: tuple[int, int], mode: str, tmp_path: Path
) -> None:
    Image.new(mode, size, "#80808080" if mode == "RGBA" else "#808080").save(tmp_path / "in.png")
    assert drawn(node(step, **EFFECTS[step]), tmp_path / "in.png", tmp_path).size == size


@pytest.mark.parametrize("parameters", [{"mode": "pixelate", "cell": 1000}, {"mode": "blur", "sigma": 250}])
def test_a_thin_picture_can_be_redacted_and_blurred_as_widely_as_allowed(
    parameters: dict[str, Any], tmp_path: Path
) -> None:
    Image.new("RGBA", (1, 10_000), "#80808080").save(tmp_path / "in.png")
    whole = [{"width": "100%", "height": "100%"}]
    found = drawn(node("redact", regions=whole, **parameters), tmp_path / "in.png", tmp_path)
    assert (found.size, values(found, 0, 5000)) == ((1, 10_000), (128, 128, 128, 128))
    assert drawn(node("blur", sigma=250), tmp_path / "in.png", tmp_path).size == (1, 10_000)


@pytest.mark.parametrize(
    ("step", "parameters"),
    [
        ("blur", {}),
        ("blur", {"sigma": 0}),
        ("blur", {"sigma": float("inf")}),
        ("sharpen", {"amount": -1}),
        ("adjust", {"gamma": 0}),
        ("adjust", {"hue": float("nan")}),
        ("sepia", {"strength": 1.1}),
        ("duotone", {"dark": "#000"}),
        ("duotone", {"dark": "#00000000", "light": "#fff"}),
        ("icc", {"to": "adobe"}),
        ("metadata", {"title": "x" * 2001}),
    ],
)
def test_impossible_parameters_are_refused(step: str, parameters: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        node(step, **parameters)


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    source=st.tuples(st.integers(1, 120), st.integers(1, 120)),
    mode=st.sampled_from(["RGB", "RGBA", "L", "LA"]),
    step=st.one_of(
        st.builds(lambda sigma: node("blur", sigma=sigma), st.floats(0.4, 250)),
        st.builds(lambda *both: node("sharpen", sigma=both[0], amount=both[1]), st.floats(0.4, 10), st.floats(0, 10)),
        st.builds(
            lambda brightness, gamma, hue: node("adjust", brightness=brightness, gamma=gamma, hue=hue),
            st.floats(0, 10), st.floats(0.1, 10), st.floats(-360, 360),
        ),
        st.builds(
            lambda mode, width, cell, left: node(
                "redact", mode=mode, cell=cell, regions=[{"left": f"{left}%", "width": width, "height": f"{width}%"}]
            ),
            st.sampled_from(["fill", "pixelate", "blur"]), st.integers(1, 100), st.integers(2, 200), st.integers(0, 99),
        ),
        st.sampled_from(sorted(POINTS)).map(lambda name: node(name, **POINTS[name])),
    ),
)  # fmt: skip
def test_what_is_foretold_is_what_comes(source: tuple[int, int], mode: str, step: Any, tmp_path: Path) -> None:
    corners(*source).convert(mode).save(tmp_path / "in.png")
    reached = step.reach(Outline(*source, alpha="A" in mode))
    found = drawn(step, tmp_path / "in.png", tmp_path)
    assert found.size == (reached.width, reached.height) == source
    assert ("A" in found.getbands()) == reached.alpha
    assert 0 < step.demand(Outline(*source), 1.0) <= 1.0
