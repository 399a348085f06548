"""An engine to compare with: Pillow for pixels, LittleCMS for profiles, the CIE's formulas for colours."""

from __future__ import annotations

import io
import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from PIL import Image, ImageChops, ImageCms, ImageMath

Lab = tuple[float, float, float]
Rgb = tuple[int, int, int]

SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB"))
LAB = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB"))


@dataclass(frozen=True)
class Difference:
    """How far two pictures are apart, levels of 0 to 255: the mean, and what 99 % of the pixels keep within."""

    mean: float
    p99: float


def difference(one: Image.Image, other: Image.Image, counted: Image.Image | None = None) -> Difference:
    """The difference of two pictures of one size, each pixel by its worst band, where `counted` is not black.

    Colours weigh as much as they can be seen, so what hides under full transparency does not count.
    """
    apart = [ImageChops.difference(a, b) for a, b in zip(weighed(one).split(), weighed(other).split(), strict=True)]
    worst = apart[0]
    for band in apart[1:]:
        worst = ImageChops.lighter(worst, band)
    counts = worst.histogram(counted)
    total = max(1, sum(counts))
    return Difference(sum(level * count for level, count in enumerate(counts)) / total, _percentile(counts, total))


def _percentile(counts: list[int], total: int) -> float:
    seen = 0
    for level, count in enumerate(counts):
        seen += count
        if seen >= 0.99 * total:
            return level
    return 255


def weighed(image: Image.Image) -> Image.Image:
    """The picture with alpha, its colours multiplied by it."""
    return image.convert("RGBA").convert("RGBa")


# Sizes


def stretched(image: Image.Image, width: int, height: int) -> Image.Image:
    """The picture at another size: Lanczos along a side that shrinks, bicubic along one that grows."""
    if image.mode != "RGBA":
        return Image.merge(image.mode, [_whole(_stretched(band, width, height)) for band in _floats(image)])
    *colours, alpha = _floats(image)
    # In floating point: what shoots over an edge must not be cut before alpha is taken out again.
    solid = _stretched(alpha, width, height)
    weighted = [_over(lambda of: of["one"] * of["by"] / 255, band, alpha) for band in colours]
    mixed = [_stretched(band, width, height) for band in weighted]
    plain = [_over(lambda of: of["one"] * 255 / of["max"](of["by"], 0.01), band, solid) for band in mixed]
    return Image.merge("RGBA", [_whole(band) for band in (*plain, solid)])


def _floats(image: Image.Image) -> list[Image.Image]:
    return [band.convert("F") for band in image.split()]


def _over(act: Callable[[dict[str, Any]], Any], one: Image.Image, by: Image.Image) -> Image.Image:
    made: Image.Image = ImageMath.lambda_eval(act, one=one, by=by)
    return made


def _whole(band: Image.Image) -> Image.Image:
    made: Image.Image = ImageMath.lambda_eval(lambda of: of["min"](of["max"](of["one"] + 0.5, 0), 255), one=band)
    return made.convert("L")


def _stretched(band: Image.Image, width: int, height: int) -> Image.Image:
    across = band.resize((width, band.height), _filter(width, band.width))
    return across.resize((width, height), _filter(height, band.height))


def _filter(wanted: int, given: int) -> Image.Resampling:
    return Image.Resampling.LANCZOS if wanted < given else Image.Resampling.BICUBIC


def per_colour(act: Callable[[Image.Image], Image.Image], image: Image.Image) -> Image.Image:
    """What `act` makes of the colours of the picture, its alpha beside them as it was."""
    made = act(image.convert("RGB")).convert("RGB")
    if image.mode == "RGBA":
        made.putalpha(image.getchannel("A"))
    return made


def per_weight(act: Callable[[Image.Image], Image.Image], image: Image.Image) -> Image.Image:
    """What `act` makes of the picture when alpha weighs its colours."""
    if image.mode != "RGBA":
        return act(image)
    weight = weighed(image)
    # Band by band: few of Pillow's filters take a weighed picture.
    return Image.merge("RGBa", [act(band) for band in weight.split()]).convert("RGBA")


# Colours


def in_srgb(image: Image.Image, profile: bytes) -> Image.Image:
    """The picture in sRGB: relative colorimetric with black point compensation, as browsers show it."""
    return _converted(image, profile, SRGB, "RGB")


def in_lab(image: Image.Image, profile: bytes | None) -> Image.Image:
    """The picture in CIELAB of 8 bits; no profile is sRGB."""
    return _converted(image, profile, LAB, "LAB")


def _converted(image: Image.Image, profile: bytes | None, to: ImageCms.ImageCmsProfile, mode: str) -> Image.Image:
    source = ImageCms.ImageCmsProfile(io.BytesIO(profile)) if profile else SRGB
    made = ImageCms.profileToProfile(
        image, source, to, ImageCms.Intent.RELATIVE_COLORIMETRIC, mode, flags=ImageCms.Flags.BLACKPOINTCOMPENSATION
    )
    assert made is not None
    return made


@lru_cache(maxsize=100_000)
def lab(colour: Rgb) -> Lab:
    """An sRGB colour in CIELAB under D65 (IEC 61966-2-1, CIE 15)."""
    red, green, blue = (_linear(band / 255) for band in colour)
    x = (0.4124 * red + 0.3576 * green + 0.1805 * blue) / 0.95047
    y = 0.2126 * red + 0.7152 * green + 0.0722 * blue
    z = (0.0193 * red + 0.1192 * green + 0.9505 * blue) / 1.08883
    fx, fy, fz = _root(x), _root(y), _root(z)
    return 116 * fy - 16, 500 * (fx - fy), 200 * (fy - fz)


def _linear(value: float) -> float:
    return value / 12.92 if value <= 0.04045 else float(((value + 0.055) / 1.055) ** 2.4)


def _root(value: float) -> float:
    return float(value ** (1 / 3)) if value > 216 / 24389 else (24389 / 27 * value + 16) / 116


def delta_e(one: Lab, other: Lab) -> float:
    """CIEDE2000 (ISO/CIE 11664-6), after Sharma, Wu and Dalal, Color Research and Application 30 (2005)."""
    (l1, a1, b1), (l2, a2, b2) = one, other
    mean_chroma = (math.hypot(a1, b1) + math.hypot(a2, b2)) / 2
    stretch = 1.5 - 0.5 * math.sqrt(mean_chroma**7 / (mean_chroma**7 + 25**7))
    c1, c2 = math.hypot(a1 * stretch, b1), math.hypot(a2 * stretch, b2)
    h1, h2 = _hue(a1 * stretch, b1), _hue(a2 * stretch, b2)
    turn = 0.0 if c1 * c2 == 0 else (h2 - h1 + 180) % 360 - 180
    lightness, chroma = l2 - l1, c2 - c1
    hue = 2 * math.sqrt(c1 * c2) * math.sin(math.radians(turn / 2))
    mean_l, mean_c = (l1 + l2) / 2, (c1 + c2) / 2
    mean_h = h1 + h2 if c1 * c2 == 0 else h1 + turn / 2
    weight = 1 - 0.17 * _cos(mean_h - 30) + 0.24 * _cos(2 * mean_h) + 0.32 * _cos(3 * mean_h + 6)
    weight -= 0.20 * _cos(4 * mean_h - 63)
    light = lightness / (1 + 0.015 * (mean_l - 50) ** 2 / math.sqrt(20 + (mean_l - 50) ** 2))
    colourful, tint = chroma / (1 + 0.045 * mean_c), hue / (1 + 0.015 * mean_c * weight)
    bend = 60 * math.exp(-((((mean_h % 360) - 275) / 25) ** 2))
    mixed = -2 * math.sqrt(mean_c**7 / (mean_c**7 + 25**7)) * math.sin(math.radians(bend))
    return math.sqrt(light**2 + colourful**2 + tint**2 + mixed * colourful * tint)


def _hue(a: float, b: float) -> float:
    return math.degrees(math.atan2(b, a)) % 360


def _cos(degrees: float) -> float:
    return math.cos(math.radians(degrees))


def colour_differences(one: Image.Image, other: Image.Image, step: int = 3) -> list[float]:
    """CIEDE2000 of every `step`-th opaque pixel across and down, the largest last."""
    assert one.size == other.size
    found = []
    first, second = one.convert("RGBA"), other.convert("RGBA")
    for y in range(0, one.height, step):
        for x in range(0, one.width, step):
            (*colour, alpha), (*wanted, solid) = first.getpixel((x, y)), second.getpixel((x, y))  # type: ignore[misc]
            if alpha == solid == 255:
                found.append(delta_e(lab(tuple(colour)), lab(tuple(wanted))))
    return sorted(found)
