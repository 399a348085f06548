"""The golden table: a node with parameters, what Pillow makes of the same, and how far the two may be apart."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy
from PIL import Image, ImageChops, ImageCms, ImageDraw, ImageFilter, ImageFont, ImageMath, ImageOps

from pipeline.imaging.letters import FONTS
from tests.golden.matrix import Sample, sized
from tests.golden.reference import LAB, SRGB, per_colour, per_weight, stretched, weighed

Expected = Callable[[Sample, Image.Image], Image.Image]
Shown = list[tuple[Image.Image, int]]
"""Frames and their delays."""


def all_of_them(shown: Shown) -> Shown:
    return shown


@dataclass(frozen=True)
class Row:
    """One line of the table; the bounds are levels of 0 to 255, beside what decoders may differ by."""

    type: str
    said: Mapping[str, Any]
    expected: Expected
    mean: float = 0.0
    p99: float = 0.0
    why: str = "it moves or counts whole values"
    """What the bounds allow for."""
    rough: float = 0.0
    """How much further off a picture may be that is one pixel wide, and so all edge."""
    plays: Callable[[Shown], Shown] = all_of_them
    """Which frames there are, and for how long."""
    only: frozenset[str] = frozenset()
    """The inputs it is for; empty for all."""
    upright: bool = True
    as_wished: bool = False
    unsure: Callable[[Image.Image], Image.Image] | None = None
    """Where pixels count, white; None for everywhere."""
    silent: bool = False
    """It leaves the pixels as they are."""

    @property
    def name(self) -> str:
        said = ", ".join(f"{name}: {value}" for name, value in self.said.items())
        return f"{self.type} {{{said}}}"


def same(sample: Sample, frame: Image.Image) -> Image.Image:
    return frame


# Sizes

SCALED = "both reduce by Lanczos, libvips after an integer shrink and with less precise weights"


def scaled_to(width: int) -> Expected:
    """Never larger than it is."""

    def expected(sample: Sample, frame: Image.Image) -> Image.Image:
        ratio = min(1.0, width / frame.width)
        return sized(sample, frame, max(1, round(frame.width * ratio)), max(1, round(frame.height * ratio)))

    return expected


def filled(width: int, height: int) -> Expected:
    return lambda sample, frame: sized(sample, frame, width, height)


def covered(side: int) -> Expected:
    """The middle of the picture, as large as a square holds it."""

    def expected(sample: Sample, frame: Image.Image) -> Image.Image:
        ratio = max(side / frame.width, side / frame.height)
        width, height = round(frame.width * ratio), round(frame.height * ratio)
        if width * height > 10**6:
            # A long strip: only the part that is kept is scaled.
            top = (height - side) // 2 / ratio
            return frame.resize((side, side), Image.Resampling.BICUBIC, (0, top, frame.width, top + side / ratio))
        left, top = (width - side) // 2, (height - side) // 2
        return sized(sample, frame, width, height).crop((left, top, left + side, top + side))

    return expected


def contained(side: int, colour: tuple[int, int, int, int]) -> Expected:
    def expected(sample: Sample, frame: Image.Image) -> Image.Image:
        ratio = min(side / frame.width, side / frame.height)
        width, height = max(1, round(frame.width * ratio)), max(1, round(frame.height * ratio))
        canvas = Image.new("RGBA", (side, side), colour)
        canvas.paste(sized(sample, frame, width, height).convert("RGBA"), ((side - width) // 2, (side - height) // 2))
        return canvas

    return expected


def cut(left: float, top: float, width: float, height: float) -> Expected:
    """A region in fractions of the sides."""

    def expected(sample: Sample, frame: Image.Image) -> Image.Image:
        x, y = round(frame.width * left), round(frame.height * top)
        across, down = max(1, round(frame.width * width)), max(1, round(frame.height * height))
        return frame.crop((x, y, min(x + across, frame.width), min(y + down, frame.height)))

    return expected


def squared(sample: Sample, frame: Image.Image) -> Image.Image:
    side = min(frame.size)
    left, top = (frame.width - side) // 2, (frame.height - side) // 2
    return frame.crop((left, top, left + side, top + side))


def trimmed(sample: Sample, frame: Image.Image) -> Image.Image:
    first = frame.getpixel((0, 0))
    if frame.mode == "RGBA" and first[3] == 0:  # type: ignore[index]
        return frame.crop(frame.getchannel("A").getbbox())
    colour = first[:3]  # type: ignore[index]
    ground = Image.new("RGB", frame.size, colour)
    apart = ImageChops.difference(frame.convert("RGB"), ground).split()
    seen = ImageChops.lighter(ImageChops.lighter(apart[0], apart[1]), apart[2]).point(lambda v: 255 * (v > 40))
    return frame.crop(seen.getbbox() or (0, 0, *frame.size))


def half_trimmed(sample: Sample, frame: Image.Image) -> Image.Image:
    """Half of each plain edge is cut."""
    found = trimmed(sample, frame)
    if found.size == frame.size:
        return frame
    box = _spot_of(frame)
    left, top, right, bottom = box[0], box[1], frame.width - box[2], frame.height - box[3]
    return frame.crop(
        (round(left / 2), round(top / 2), frame.width - round(right / 2), frame.height - round(bottom / 2))
    )


def _spot_of(frame: Image.Image) -> tuple[int, int, int, int]:
    """Where what is not plain lies."""
    if frame.mode == "RGBA" and frame.getpixel((0, 0))[3] == 0:  # type: ignore[index]
        return frame.getchannel("A").getbbox() or (0, 0, *frame.size)
    ground = Image.new("RGB", frame.size, frame.getpixel((0, 0))[:3])  # type: ignore[index]
    apart = ImageChops.difference(frame.convert("RGB"), ground).split()
    seen = ImageChops.lighter(ImageChops.lighter(apart[0], apart[1]), apart[2]).point(lambda v: 255 * (v > 40))
    return seen.getbbox() or (0, 0, *frame.size)


def placed(sample: Sample, frame: Image.Image) -> Image.Image:
    """Half as wide, three quarters as high, three pixels from the left where there is room, at the bottom."""
    width, height = max(1, round(frame.width * 0.5)), max(1, round(frame.height * 0.75))
    left, top = min(3, frame.width - width), frame.height - height
    return frame.crop((left, top, left + width, top + height))


def padded(left: int, top: int, colour: str) -> Expected:
    return lambda sample, frame: per_edge(frame, (left, top, 0, 0), colour)


def per_edge(frame: Image.Image, edges: tuple[int, int, int, int], colour: str | int) -> Image.Image:
    left, top, right, bottom = edges
    canvas = Image.new(frame.mode, (frame.width + left + right, frame.height + top + bottom), colour)
    canvas.paste(frame, (left, top))
    return canvas


def repeated(left: int, top: int, right: int, bottom: int, mirror: bool) -> Expected:
    """More of the picture at its edges: its mirror image or its last pixels."""
    return lambda sample, frame: widened(frame, (left, top, right, bottom), mirror)


def widened(frame: Image.Image, edges: tuple[int, int, int, int], mirror: bool = False) -> Image.Image:
    left, top, right, bottom = edges
    wide = Image.new(frame.mode, (frame.width + left + right, frame.height))
    wide.paste(frame, (left, 0))
    for x in (*range(left), *range(left + frame.width, wide.width)):
        at = _inside(x - left, frame.width, mirror)
        wide.paste(frame.crop((at, 0, at + 1, frame.height)), (x, 0))
    tall = Image.new(frame.mode, (wide.width, frame.height + top + bottom))
    tall.paste(wide, (0, top))
    for y in (*range(top), *range(top + frame.height, tall.height)):
        at = _inside(y - top, frame.height, mirror)
        tall.paste(wide.crop((0, at, wide.width, at + 1)), (0, y))
    return tall


def _inside(at: int, side: int, mirror: bool) -> int:
    """The row or column that is repeated at this place outside."""
    if not mirror:
        return min(max(at, 0), side - 1)
    folded = at % (2 * side)
    return folded if folded < side else 2 * side - 1 - folded


def boxed(width: int, height: int, colour: str) -> Expected:
    def expected(sample: Sample, frame: Image.Image) -> Image.Image:
        across, down = max(0, width - frame.width), max(0, height - frame.height)
        left, top = across // 2, down // 2
        return per_edge(frame, (left, top, across - left, down - top), colour)

    return expected


# Turns


def transposed(way: Image.Transpose) -> Expected:
    return lambda sample, frame: frame.transpose(way)


def tilted(degrees: float, expand: bool, background: tuple[int, int, int, int]) -> Expected:
    """Turned clockwise about the middle; on four times as many pixels, so that bilinear sampling is fine enough."""

    def expected(sample: Sample, frame: Image.Image) -> Image.Image:
        cos, sin = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
        width, height = frame.size
        if expand:
            width = math.ceil(frame.width * abs(cos) + frame.height * abs(sin) - 1e-6)
            height = math.ceil(frame.width * abs(sin) + frame.height * abs(cos) - 1e-6)
        clear = per_edge(frame.convert("RGBA"), (2, 2, 2, 2), "#0000")
        fine = clear.resize((clear.width * 4, clear.height * 4), Image.Resampling.BICUBIC)
        x = 4 * (clear.width / 2 - cos * width / 2 - sin * height / 2)
        y = 4 * (clear.height / 2 + sin * width / 2 - cos * height / 2)
        matrix = (4 * cos, 4 * sin, x, -4 * sin, 4 * cos, y)

        def turn(band: Image.Image) -> Image.Image:
            return band.transform((width, height), Image.Transform.AFFINE, matrix, Image.Resampling.BILINEAR)

        # Beside the picture, not behind it.
        ground = Image.new("RGBA", (width, height), background)
        whole = Image.new("L", (fine.width - 16, fine.height - 16), 255)
        beside = ImageOps.invert(turn(per_edge(whole, (8, 8, 8, 8), 0)))
        ground.putalpha(beside.point(lambda v: v * background[3] // 255))
        turned = per_weight(turn, fine)
        return summed(turned, ground)

    return expected


def cropped_to_itself(sample: Sample, frame: Image.Image) -> Image.Image:
    """A quarter turn on the canvas there was: cut where it hangs over, transparent where it falls short."""
    turned = frame.transpose(Image.Transpose.ROTATE_90).convert("RGBA")
    if turned.size == frame.size:
        return frame.transpose(Image.Transpose.ROTATE_90)
    width, height = min(turned.width, frame.width), min(turned.height, frame.height)
    left, top = (turned.width - width) // 2, (turned.height - height) // 2
    canvas = Image.new("RGBA", frame.size, (255, 255, 255, 0))
    canvas.paste(
        turned.crop((left, top, left + width, top + height)),
        ((frame.width - width) // 2, (frame.height - height) // 2),
    )
    return canvas


# Shapes

FINE = 8
EDGES = "the edge of a curve is counted in eighths of a pixel here, and exactly there"


def arched(width: int, height: int, radius: float) -> Image.Image:
    """A mask with round corners, drawn eight times as large."""
    fine = Image.new("L", (width * FINE, height * FINE), 0)
    box = (0, 0, width * FINE - 1, height * FINE - 1)
    ImageDraw.Draw(fine).rounded_rectangle(box, min(radius, width / 2, height / 2) * FINE, 255)
    return fine.resize((width, height), Image.Resampling.BOX)


def veiled(frame: Image.Image, mask: Image.Image) -> Image.Image:
    clear = frame.convert("RGBA")
    clear.putalpha(ImageChops.multiply(clear.getchannel("A"), mask))
    return clear


def cornered(share: float) -> Expected:
    return lambda sample, frame: veiled(frame, arched(*frame.size, share * min(frame.size)))


def circled(sample: Sample, frame: Image.Image) -> Image.Image:
    square = squared(sample, frame)
    return veiled(square, arched(*square.size, square.width / 2))


def bowed(sample: Sample, frame: Image.Image) -> Image.Image:
    """The top left corner along an ellipse of a half by a quarter, the lower right along a circle of six pixels."""
    fine = Image.new("L", (frame.width * FINE, frame.height * FINE), 255)
    across, down = frame.width * FINE * 0.5, frame.height * FINE * 0.25
    corner = Image.new("L", (math.ceil(across), math.ceil(down)), 0)
    ImageDraw.Draw(corner).ellipse((0, 0, 2 * across, 2 * down), 255)
    fine.paste(corner, (0, 0))
    radius = min(6.0, frame.width * 1.0, frame.height * 0.75) * FINE
    other = Image.new("L", (math.ceil(radius), math.ceil(radius)), 0)
    ImageDraw.Draw(other).ellipse((-radius, -radius, radius, radius), 255)
    fine.paste(other, (fine.width - other.width, fine.height - other.height))
    return veiled(frame, fine.resize(frame.size, Image.Resampling.BOX))


def framed(sample: Sample, frame: Image.Image) -> Image.Image:
    return per_edge(frame, (3, 3, 3, 3), "#c04020")


def hemmed(sample: Sample, frame: Image.Image) -> Image.Image:
    """Three pixels of half-transparent blue on the edges."""
    ring = Image.new("RGBA", frame.size, "#1030a080")
    if min(frame.size) > 6:
        ring.paste((0, 0, 0, 0), (3, 3, frame.width - 3, frame.height - 3))
    return over(frame, ring)


def arched_frame(sample: Sample, frame: Image.Image) -> Image.Image:
    width, height = frame.width + 8, frame.height + 8
    radius = min(width, height) / 5
    inner = Image.new("L", (width, height), 0)
    inner.paste(arched(*frame.size, max(0.0, radius - 4)), (4, 4))
    outside = Image.new("RGBA", (width, height), "#206040")
    placed = Image.new("RGBA", (width, height))
    placed.paste(frame.convert("RGBA"), (4, 4))
    seen = veiled(placed, inner)
    outside.putalpha(ImageOps.invert(inner))
    return veiled(summed(seen, outside), arched(width, height, radius))


MOVED = ((0.1, 0.0), (1.0, 0.2), (0.9, 1.0), (0.0, 0.8))
"""Where the corners of a picture go, as shares of its sides."""


def leaning(sample: Sample, frame: Image.Image) -> Image.Image:
    """The corners moved by OpenCV's projection; on four times as many pixels, so that bilinear is fine enough."""
    width, height = frame.size
    there = [(round(x * width), round(y * height)) for x, y in MOVED]
    clear = per_edge(frame.convert("RGBA"), (2, 2, 2, 2), "#0000")
    fine = clear.resize((clear.width * 4, clear.height * 4), Image.Resampling.BICUBIC)
    here = [(8 + 4 * x, 8 + 4 * y) for x, y in ((0, 0), (width, 0), (width, height), (0, height))]
    matrix = cv2.getPerspectiveTransform(numpy.array(there, "float32"), numpy.array(here, "float32"))

    def lean(band: Image.Image) -> Image.Image:
        way = matrix.flatten().tolist()[:8]
        return band.transform((width, height), Image.Transform.PERSPECTIVE, way, Image.Resampling.BILINEAR)

    return per_weight(lean, fine)


def dawning(sample: Sample, frame: Image.Image) -> Image.Image:
    """Half-transparent red to opaque blue from the left to the middle, and blue from there on."""
    line = Image.new("RGBA", (frame.width, 1))
    for x in range(frame.width):
        share = min(1.0, (x + 0.5) / frame.width / 0.5)
        solid = 128 + (255 - 128) * share
        line.putpixel(
            (x, 0), (round(255 * 128 * (1 - share) / solid), 0, round(255 * 255 * share / solid), round(solid))
        )
    return over(frame, line.resize(frame.size, Image.Resampling.NEAREST))


def summed(one: Image.Image, other: Image.Image) -> Image.Image:
    """Two pictures that share the pixels of a seam without overlapping: their weights add up."""
    bands = zip(weighed(one).split(), weighed(other).split(), strict=True)
    return Image.merge("RGBa", [ImageChops.add(a, b) for a, b in bands]).convert("RGBA")


def shadowed(sample: Sample, frame: Image.Image) -> Image.Image:
    """Two pixels to the right, four down, blurred by three; the canvas holds three blurs around it."""
    spread, x, y = 9, 2, 4
    left, top = spread - x, spread - y
    size = (frame.width + left + spread + x, frame.height + top + spread + y)
    shape = frame.convert("RGBA").getchannel("A")
    dark = Image.new("L", size, 0)
    dark.paste(shape, (left + x, top + y))
    dark = bell(3)(dark).point(lambda v: round(v * 0.5))
    under = Image.new("RGBA", size, "#000040")
    under.putalpha(dark)
    top_layer = Image.new("RGBA", size)
    top_layer.paste(frame.convert("RGBA"), (left, top))
    return Image.alpha_composite(under, top_layer)


# Colours

ROUNDED = "Pillow cuts where libvips rounds"
GREY = (0.2126, 0.7152, 0.0722)


def mixed(*rows: Sequence[float]) -> Expected:
    """Bands mixed by a matrix of three rows, an offset at the end of each."""
    numbers = tuple(number for row in rows for number in (*row, 0.0)[:4])
    return lambda sample, frame: per_colour(lambda colour: colour.convert("RGB", numbers), frame)


def bent(curve: Callable[[float], float]) -> Expected:
    table = [round(255 * curve(level / 255)) for level in range(256)]
    return lambda sample, frame: per_colour(lambda colour: colour.point(table * 3), frame)


def lit(level: float) -> float:
    return float(min(1.0, max(0.0, (level * 1.2 - 0.5) * 0.8 + 0.5)) ** (1 / 1.5))


def warmed(sample: Sample, frame: Image.Image) -> Image.Image:
    """Half a stop more, then red a fifth stronger and blue a fifth weaker."""
    light = bent(lambda level: min(1.0, level * 2 ** (0.5 / 2.2)))(sample, frame)
    return mixed((1.2, 0, 0), (0, 1, 0), (0, 0, 0.8))(sample, light)


def livelier(by: float) -> Expected:
    """Away from the luminance, the more the less colour there is."""

    def vivid(colour: Image.Image) -> Image.Image:
        bands = [band.convert("F") for band in colour.split()]
        grey = per_bands(lambda of: GREY[0] * of["r"] + GREY[1] * of["g"] + GREY[2] * of["b"], bands)
        high = per_bands(lambda of: of["max"](of["max"](of["r"], of["g"]), of["b"]), bands)
        low = per_bands(lambda of: of["min"](of["min"](of["r"], of["g"]), of["b"]), bands)
        moved = [
            ImageMath.lambda_eval(
                lambda of: of["band"] + (of["band"] - of["grey"]) * by * (1 - (of["high"] - of["low"]) / 255),
                band=band, grey=grey, high=high, low=low,
            )
            for band in bands
        ]  # fmt: skip
        whole = [
            ImageMath.lambda_eval(lambda of: of["min"](of["max"](of["one"] + 0.5, 0), 255), one=one) for one in moved
        ]
        return Image.merge("RGB", [one.convert("L") for one in whole])

    return lambda sample, frame: per_colour(vivid, frame)


def per_bands(act: Callable[[dict[str, Any]], Any], bands: Sequence[Image.Image]) -> Image.Image:
    made: Image.Image = ImageMath.lambda_eval(act, r=bands[0], g=bands[1], b=bands[2])
    return made


def enhanced(sample: Sample, frame: Image.Image) -> Image.Image:
    """All of the range for the tones of the first frame, and colours a fifth stronger."""
    first = sample.shown[0].convert("RGBA")
    ground = Image.new("RGBA", first.size, "black")
    grey = mixed(GREY, GREY, GREY)(sample, Image.alpha_composite(ground, first).convert("RGB")).getchannel("R")
    counts, total = grey.histogram(), grey.width * grey.height
    low, high = _level(counts, total * 0.005), _level(counts, total * 0.995)
    low, high = (low, high) if low < high else (0, 255)
    bright = bent(lambda level: min(1.0, max(0.0, (level * 255 - low) / (high - low))))(sample, frame)
    return saturated(1.2, 0)(sample, bright)


def _level(counts: Sequence[int], number: float) -> int:
    """The level up to which so many pixels lie."""
    seen = 0
    for level, count in enumerate(counts):
        seen += count
        if seen > number:
            return level
    return 255


def saturated(by: float, degrees: float) -> Expected:
    """The CSS filters saturate() and hue-rotate(), one after the other."""
    cos, sin = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    grey = (0.213, 0.715, 0.072)
    saturate = [[g + by * ((row == column) - g) for column, g in enumerate(grey)] for row in range(3)]
    turn = [
        [0.213 + cos * 0.787 - sin * 0.213, 0.715 - cos * 0.715 - sin * 0.715, 0.072 - cos * 0.072 + sin * 0.928],
        [0.213 - cos * 0.213 + sin * 0.143, 0.715 + cos * 0.285 + sin * 0.140, 0.072 - cos * 0.072 - sin * 0.283],
        [0.213 - cos * 0.213 - sin * 0.787, 0.715 - cos * 0.715 + sin * 0.715, 0.072 + cos * 0.928 + sin * 0.072],
    ]
    both = [[sum(turn[row][k] * saturate[k][column] for k in range(3)) for column in range(3)] for row in range(3)]
    return mixed(*both)


def toned(dark: tuple[int, int, int], light: tuple[int, int, int]) -> Expected:
    return mixed(
        *([*(weight * (high - low) / 255 for weight in GREY), low] for low, high in zip(dark, light, strict=True))
    )


OLD, NEW = (200, 40, 45), (40, 60, 170)
TO_LAB = ImageCms.buildTransform(SRGB, LAB, "RGB", "LAB")
FROM_LAB = ImageCms.buildTransform(LAB, SRGB, "LAB", "RGB")


def repainted(sample: Sample, frame: Image.Image) -> Image.Image:
    """What is within 30 of the colour of one corner moved to blue, in LittleCMS' LAB of 8 bits."""

    def repaint(colour: Image.Image) -> Image.Image:
        old, new = (_lab(Image.new("RGB", (1, 1), one))[0, 0] for one in (OLD, NEW))
        lab = _lab(colour)
        apart = numpy.linalg.norm(lab - old, axis=-1, keepdims=True)
        moved = lab + numpy.clip((36 - apart) / 6, 0, 1) * (new - old)
        stored = numpy.clip(numpy.rint(moved * (2.55, 1, 1)), (0, -128, -128), (255, 127, 127)).astype("int16")
        shown = Image.frombytes("LAB", colour.size, stored.astype("uint8").tobytes())
        back = ImageCms.applyTransform(shown, FROM_LAB)
        assert back is not None
        back.paste(colour, mask=Image.fromarray((apart[..., 0] > 36).astype("uint8") * 255))
        return back

    return per_colour(repaint, frame)


def _lab(colour: Image.Image) -> Any:
    """L* from 0 to 100, a* and b*; as Pillow keeps them, with a sign."""
    stored = numpy.asarray(ImageCms.applyTransform(colour, TO_LAB))
    return numpy.dstack([stored[..., 0] / 2.55, stored[..., 1:].astype("int8")]).astype("float64")


def sharpened(sample: Sample, frame: Image.Image) -> Image.Image:
    """An unsharp mask on L* alone, in LittleCMS' LAB of 8 bits."""

    def sharpen(colour: Image.Image) -> Image.Image:
        there = ImageCms.profileToProfile(colour, SRGB, LAB, outputMode="LAB")
        assert there is not None
        lightness, a, b = there.split()
        soft = bell(1)(lightness)
        one = 255 / 100
        gain = [_gain((level - 255) / one) * one for level in range(511)]
        # Differences below zero have no place in eight bits: what grows and what falls are told apart.
        up = ImageChops.subtract(lightness, soft).point([round(gain[255 + level]) for level in range(256)])
        down = ImageChops.subtract(soft, lightness).point([round(-gain[255 - level]) for level in range(256)])
        crisp = ImageChops.subtract(ImageChops.add(lightness, up), down)
        back = ImageCms.profileToProfile(Image.merge("LAB", (crisp, a, b)), LAB, SRGB, outputMode="RGB")
        assert back is not None
        return back

    if frame.mode != "RGBA":
        return sharpen(frame)
    # What cannot be seen takes the colour of what can.
    around = per_weight(bell(1), frame)
    hidden = frame.getchannel("A").point(lambda v: 255 * (v == 0))
    full = frame.convert("RGB")
    full.paste(around.convert("RGB"), mask=hidden)
    crisp = sharpen(full)
    crisp.putalpha(frame.getchannel("A"))
    return crisp


def _gain(away: float) -> float:
    """How much a difference of L* grows: flat within 2, then by half as much again, at most 10 up and 20 down."""
    if abs(away) <= 2:
        return 0.0
    return max(-20.0, min(10.0, math.copysign(abs(away) - 2, away) * 1.5))


# Blurs


def bell(sigma: float) -> Callable[[Image.Image], Image.Image]:
    """A Gaussian blur; Pillow's goes wrong where it reaches over an edge, so the edge is moved away."""

    def soften(image: Image.Image) -> Image.Image:
        room = math.ceil(4 * sigma)
        soft = widened(image, (room, room, room, room)).filter(ImageFilter.GaussianBlur(sigma))
        return soft.crop((room, room, room + image.width, room + image.height))

    return soften


def blurred(sigma: float) -> Expected:
    return lambda sample, frame: per_weight(bell(sigma), frame)


def edged(sigma: float, amount: float) -> Expected:
    """Mixed with its blurred self, or with the opposite of that."""

    def expected(sample: Sample, frame: Image.Image) -> Image.Image:
        soft = per_weight(bell(sigma), frame)
        bands = []
        for one, other in zip(frame.split(), soft.split(), strict=True):
            mix = ImageMath.lambda_eval(
                lambda of: of["min"](of["max"](of["a"] + (of["b"] - of["a"]) * amount + 0.5, 0), 255),
                a=one.convert("F"), b=other.convert("F"),
            )  # fmt: skip
            bands.append(mix.convert("L"))
        return Image.merge(frame.mode, bands)

    return expected


SOFT = "Pillow's bell curve is three boxes, the engine's a table of counts, on fewer pixels where it is wide"


def redacted(act: Callable[[Image.Image], Image.Image]) -> Expected:
    """A region from a quarter to three quarters across and a fifth to three fifths down, hidden whole."""

    def expected(sample: Sample, frame: Image.Image) -> Image.Image:
        left, right = math.floor(frame.width * 0.25), math.ceil(frame.width * 0.75)
        top, bottom = math.floor(frame.height * 0.2), math.ceil(frame.height * 0.6)
        box = (left, top, right, bottom)
        done = frame.copy()
        done.paste(act(frame.crop(box)), box)
        return done

    return expected


def blackened(part: Image.Image) -> Image.Image:
    return Image.new(part.mode, part.size, "#102030")


def in_cells(part: Image.Image) -> Image.Image:
    side = 8
    across, down = -(-part.width // side), -(-part.height // side)
    whole = widened(part, (0, 0, across * side - part.width, down * side - part.height))
    means = per_weight(lambda band: band.reduce(side), whole)
    return means.resize((across * side, down * side), Image.Resampling.NEAREST).crop((0, 0, *part.size))


def softened(part: Image.Image) -> Image.Image:
    return per_weight(bell(4), part)


# What is laid over


def over(frame: Image.Image, layer: Image.Image) -> Image.Image:
    laid = Image.alpha_composite(frame.convert("RGBA"), layer)
    return laid if frame.mode == "RGBA" else laid.convert("RGB")


def badge() -> Image.Image:
    """A mark: a green disc, half transparent, on nothing."""
    image = Image.new("RGBA", (24, 12))
    ImageDraw.Draw(image).ellipse((0, 0, 23, 11), "#20a04099")
    return image


def marked(sample: Sample, frame: Image.Image) -> Image.Image:
    """The badge at the bottom right, four pixels from the edges, no larger than the room between margins."""
    room = max(1, frame.width - 8), max(1, frame.height - 8)
    ratio = min(24, room[0], room[1] * 2) / 24
    layer = Image.new("RGBA", frame.size)
    mark = stretched(badge(), max(1, round(24 * ratio)), max(1, round(12 * ratio)))
    x = frame.width - mark.width - min(4, (frame.width - mark.width) // 2)
    y = frame.height - mark.height - min(4, (frame.height - mark.height) // 2)
    layer.paste(mark, (x, y))
    return over(frame, layer)


def painted(sample: Sample, frame: Image.Image) -> Image.Image:
    """Half as wide, two fifths as high, in the middle, four pixels from the top."""
    width, height = max(1, round(frame.width * 0.5)), max(1, round(frame.height * 0.4))
    layer = Image.new("RGBA", frame.size)
    layer.paste((255, 128, 0, 128), (round(0.5 * (frame.width - width)), 4, *_end(frame, width, height)))
    return over(frame, layer)


def _end(frame: Image.Image, width: int, height: int) -> tuple[int, int]:
    return round(0.5 * (frame.width - width)) + width, 4 + height


def boxed_in(sample: Sample, frame: Image.Image) -> Image.Image:
    """The badge inside half of the width and a tenth of the height, at the right and in the middle."""
    box = max(1, round(frame.width * 0.5)), max(1, round(frame.height * 0.1))
    ratio = min(box[0] / 24, box[1] / 12)
    mark = stretched(badge(), max(1, round(24 * ratio)), max(1, round(12 * ratio)))
    layer = Image.new("RGBA", frame.size)
    layer.paste(mark, (frame.width - mark.width, round((frame.height - mark.height) * 0.5)))
    return over(frame, layer)


def multiplied(sample: Sample, frame: Image.Image) -> Image.Image:
    """The badge at 10, 7 with half of its strength, its colours multiplied with those under it."""
    layer = Image.new("RGBA", frame.size)
    layer.paste(badge(), (10, 7))
    ground = frame.convert("RGBA")
    product = ImageChops.multiply(ground.convert("RGB"), layer.convert("RGB"))
    # Where the ground is transparent there is nothing to multiply with.
    colour = Image.composite(product, layer.convert("RGB"), ground.getchannel("A"))
    colour.putalpha(layer.getchannel("A").point(lambda v: int(v * 0.5)))
    return over(frame, colour)


PLATE = (40, 60, 90)


def blank(sample: Sample, frame: Image.Image) -> Image.Image:
    return Image.new("RGBA", (30, 20), "#28405a80")


def written(sample: Sample, frame: Image.Image) -> Image.Image:
    """A plate 60 pixels wide around a capital I, as high as Pillow sets that and 4 above and 6 below."""
    _, top, _, bottom = _letter()
    return Image.new("RGBA", (60, round(bottom - top) + 10), PLATE)


def _plate(frame: Image.Image, grown: int) -> tuple[int, int, int, int]:
    """Where a plate around a capital I of 20 pixels lies in the middle, as Pillow sets the letter."""
    left, top, right, bottom = _letter()
    width, height = round(right - left) + 8 + 2 * grown, round(bottom - top) + 8 + 2 * grown
    x, y = (frame.width - width) // 2, (frame.height - height) // 2
    return x, y, x + width, y + height


def _letter() -> tuple[float, float, float, float]:
    return ImageFont.truetype(str(FONTS / "Inter-SemiBold.otf"), 20).getbbox("I")


def plated(sample: Sample, frame: Image.Image) -> Image.Image:
    done = frame.copy()
    done.paste(PLATE, _plate(frame, 0))
    return done


def beside_the_plate(frame: Image.Image) -> Image.Image:
    """White everywhere but within a pixel and a half of the plate's edge: two libraries measure letters."""
    sure = Image.new("L", frame.size, 255)
    sure.paste(0, _plate(frame, 2))
    sure.paste(255, _plate(frame, -2))
    return sure


# Formats


def on_white(sample: Sample, frame: Image.Image) -> Image.Image:
    return over(Image.new("RGB", frame.size, "white"), frame.convert("RGBA"))


def in_or_out(sample: Sample, frame: Image.Image) -> Image.Image:
    """A pixel of a GIF is there or it is not."""
    if frame.mode != "RGBA":
        return frame
    hard = frame.copy()
    hard.putalpha(frame.getchannel("A").point(lambda v: 255 * (v >= 128)))
    return hard


def first_only(shown: Shown) -> Shown:
    return [(shown[0][0], 0)]


def last_only(shown: Shown) -> Shown:
    return [(shown[-1][0], 0)]


def every_second(shown: Shown) -> Shown:
    return [(frame, sum(delay for _, delay in shown[at : at + 2])) for at, (frame, _) in enumerate(shown)][::2]


def backwards(shown: Shown) -> Shown:
    return shown[::-1]


def encoded(format: str, mean: float, p99: float, why: str, expected: Expected = same, **said: Any) -> Row:
    said = {"format": format, **said}
    plays = all_of_them if format in ("webp", "gif") else first_only
    return Row("convert", said, expected, mean, p99, why, plays=plays, as_wished=True, silent=expected is same)


LOSSY = "the format drops what is hard to see, and half of the colours' pixels; small pictures are mostly edges"
HALF = {"region": {"left": "25%", "top": "10%", "width": "50%", "height": "60%"}}
REGIONS = [{"left": "25%", "top": "20%", "width": "50%", "height": "40%"}]

ROWS: tuple[Row, ...] = (
    Row("orient", {}, same, upright=False, silent=True),
    Row("pdf", {"dpi": 300}, lambda s, f: sized(s, f, 240, 160), 1, 2, "edges", only=frozenset({"pdf"})),
    Row("resize", {"width": 48}, scaled_to(48), 2.5, 20, SCALED),
    Row("resize", {"width": 12}, scaled_to(12), 9, 45, f"{SCALED}; JPEG and WebP are decoded smaller"),
    Row("resize", {"width": 40, "height": 40, "fit": "cover"}, covered(40), 2.5, 20, SCALED),
    Row("resize", {"width": 60, "height": 60, "fit": "contain", "background": "#20406080"},
        contained(60, (32, 64, 96, 128)), 2.5, 20, SCALED),
    Row("resize", {"width": 50, "height": 70, "fit": "fill"}, filled(50, 70), 2.5, 20, SCALED),
    Row("resize", {"width": 240, "height": 160, "fit": "fill"}, filled(240, 160), 1.5, 20,
        "both grow by the same cubic, Pillow in two passes that are each rounded"),
    Row("crop", HALF, cut(0.25, 0.1, 0.5, 0.6)),
    Row("crop", {"aspect": "1:1"}, squared),
    Row("trim", {"threshold": 40}, trimmed),
    Row("crop", {"width": "50%", "height": "75%", "place": {"x": 3, "y": "100%"}}, placed),
    Row("trim", {"threshold": 40, "amount": 0.5}, half_trimmed),
    Row("pad", {"left": 5, "top": 3, "background": "#102030"}, padded(5, 3, "#102030")),
    Row("pad", {"width": 130, "height": 90, "background": "#a0b0c0"}, boxed(130, 90, "#a0b0c0")),
    Row("pad", {"left": 9, "right": 4, "bottom": 7, "extend": "mirror"}, repeated(9, 0, 4, 7, True)),
    Row("pad", {"left": 9, "top": 4, "extend": "copy"}, repeated(9, 4, 0, 0, False)),
    Row("rotate", {"angle": 90}, transposed(Image.Transpose.ROTATE_270)),
    Row("rotate", {"angle": -90, "fit": "keep"}, cropped_to_itself),
    Row("rotate", {"angle": 2}, tilted(2, True, (255, 255, 255, 0)), 2.6, 60, "edges between pixels fall otherwise"),
    Row("rotate", {"angle": 30, "fit": "keep", "background": "#336699"}, tilted(30, False, (51, 102, 153, 255)),
        2.6, 60, "edges between pixels fall otherwise", 60),
    Row("flip", {}, transposed(Image.Transpose.FLIP_LEFT_RIGHT)),
    Row("flip", {"direction": "vertical"}, transposed(Image.Transpose.FLIP_TOP_BOTTOM)),
    Row("flip", {"direction": "both"}, transposed(Image.Transpose.ROTATE_180)),
    Row("round", {"radius": "25%"}, cornered(0.25), 0.5, 15, EDGES, 60),
    Row("round", {"circle": True}, circled, 1, 20, EDGES, 60),
    Row("round", {"corners": ["50%", 0, 6, 0], "vertical": ["25%", 0, 6, 0]}, bowed, 1, 25, EDGES, 60),
    Row("border", {"width": 3, "colour": "#c04020"}, framed),
    Row("border", {"width": 3, "colour": "#1030a080", "place": "inside"}, hemmed, 1, 1, ROUNDED),
    Row("border", {"width": 4, "colour": "#206040", "radius": "20%"}, arched_frame, 1, 20, EDGES, 60),
    Row("shadow", {"x": 2, "y": 4, "blur": 3, "colour": "#000040"}, shadowed, 1, 8, SOFT),
    Row("gradient", {"start": "#ff000080", "end": "#0000ff", "to": "right", "stop": 0.5}, dawning, 1, 1, ROUNDED),
    Row("distort", {"corners": [{"x": f"{x * 100:g}%", "y": f"{y * 100:g}%"} for x, y in MOVED]}, leaning, 3, 70,
        "edges between pixels fall otherwise", 90),
    Row("canvas", {"width": 30, "height": 20, "colour": "#28405a80"}, blank, plays=first_only),
    Row("label", {"text": "I", "size": 20, "colour": "#283c5a", "background": "#283c5a", "padding": [4, 8, 6],
                  "width": 60}, written, plays=first_only),
    Row("tint", {"colour": "#104080", "strength": 0.25},
        mixed((0.75, 0, 0, 4), (0, 0.75, 0, 16), (0, 0, 0.75, 32)), 1, 1, ROUNDED),
    Row("recolour", {"colour": "#c8282d", "to": "#283caa", "tolerance": 30}, repainted, 1.5, 12,
        "the reference has eight bits of L*, a* and b*, which are those of another white", 10),
    Row("adjust", {"brightness": 1.2, "contrast": 0.8, "gamma": 1.5}, bent(lit)),
    Row("adjust", {"saturation": 1.6, "hue": 40}, saturated(1.6, 40), 1, 2, ROUNDED),
    Row("adjust", {"exposure": 0.5, "warmth": 0.8}, warmed, 1, 2, ROUNDED),
    Row("adjust", {"vibrance": 0.8}, livelier(0.8), 1, 2, ROUNDED),
    Row("enhance", {"strength": 1}, enhanced, 4, 12, "the ends of the range are counted from other histograms", 20),
    Row("grayscale", {}, mixed(GREY, GREY, GREY), 1, 1, ROUNDED),
    Row("sepia", {}, mixed((0.393, 0.769, 0.189), (0.349, 0.686, 0.168), (0.272, 0.534, 0.131)), 1, 1, ROUNDED),
    Row("duotone", {"dark": "#102050", "light": "#ffe0c0"}, toned((16, 32, 80), (255, 224, 192)), 1, 1, ROUNDED),
    Row("invert", {}, bent(lambda level: 1 - level)),
    Row("blur", {"sigma": 2}, blurred(2), 1, 6, SOFT),
    Row("blur", {"sigma": 9}, blurred(9), 2, 8, SOFT),
    Row("blur", {"sigma": 2, "amount": 0.4}, edged(2, 0.4), 1, 5, SOFT),
    Row("blur", {"sigma": 2, "amount": -1}, edged(2, -1), 2, 10, SOFT),
    Row("sharpen", {}, sharpened, 3, 25, "the reference has eight bits of L* and another bell curve"),
    Row("redact", {"regions": REGIONS, "colour": "#102030"}, redacted(blackened)),
    Row("redact", {"regions": REGIONS, "mode": "pixelate", "cell": 8}, redacted(in_cells), 0.6, 2, ROUNDED),
    Row("redact", {"regions": REGIONS, "mode": "blur", "sigma": 4}, redacted(softened), 1, 8, SOFT),
    Row("rectangle", {"colour": "#ff800080", "width": "50%", "height": "40%", "place": {"x": "50%", "y": 4}}, painted,
        0.5, 1, ROUNDED),
    Row("watermark", {"margin": 4}, marked, 0.3, 3, ROUNDED, 8),
    Row("overlay", {"layers": [{"image": "layer1", "position": "top-left", "x": 10, "y": 7, "opacity": 0.5,
                                "blend": "multiply"}]}, multiplied, 0.3, 3, ROUNDED),
    Row("overlay", {"layers": [{"image": "layer1", "width": "50%", "height": "10%",
                                "place": {"x": "100%", "y": "50%"}}]}, boxed_in, 0.6, 6, SCALED, 8),
    Row("text", {"text": "I", "size": 20, "colour": "#283c5a", "background": "#283c5a", "padding": 4, "margin": 0,
                 "position": "center"}, plated, unsure=beside_the_plate),
    Row("metadata", {"title": "The scene", "copyright": "The authors"}, same, silent=True),
    Row("frames", {"frame": -1}, same, plays=last_only, silent=True),
    Row("frames", {"every": 2}, same, plays=every_second, silent=True),
    Row("animate", {"reverse": True}, same, plays=backwards, silent=True),
    Row("icc", {"to": "srgb"}, same, silent=True),
    Row("icc", {"to": "source", "max_size": 0}, same, silent=True),
    encoded("png", 0, 0, "PNG loses nothing"),
    encoded("tiff", 0, 0, "TIFF loses nothing"),
    encoded("webp", 0, 0, "lossless", lossless=True),
    encoded("webp", 11, 55, LOSSY, quality=90),
    encoded("avif", 11, 55, LOSSY, quality=80),
    encoded("jpeg", 11, 55, LOSSY, on_white, quality=90),
    encoded("gif", 7, 40, "a GIF has 256 colours, strewn to mix others", in_or_out),
    Row("optimize", {"formats": ["webp", "avif"], "max_bytes": "6KB"}, same, 11, 55, LOSSY, as_wished=True,
        silent=True),
)  # fmt: skip
