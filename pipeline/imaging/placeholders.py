"""What stands in for a picture until it has come: a hash of a few bytes, or a tiny picture inside the page."""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Sequence
from dataclasses import dataclass
from operator import mul
from typing import Literal

from blurhash_rs import blurhash_encode
from PIL import Image

Columns = Sequence[Sequence[float]]


def blurhash(pixels: Image.Image, across: int, down: int) -> str:
    """The BlurHash of an RGB picture with this many components, 1 to 9 each (https://blurha.sh)."""
    return blurhash_encode(pixels, across, down)


def data_uri(pixels: Image.Image, format: Literal["webp", "jpeg"], quality: int) -> str:
    """The picture itself as a `data:` URI; JPEG drops alpha."""
    opaque = format == "jpeg" or pixels.getchannel("A").getextrema() == (255, 255)
    buffer = io.BytesIO()
    options = {"method": 6} if format == "webp" else {"optimize": True}
    (pixels.convert("RGB") if opaque else pixels).save(buffer, format, quality=quality, **options)
    return f"data:image/{format};base64,{base64.b64encode(buffer.getvalue()).decode()}"


# ThumbHash, by Evan Wallace: https://github.com/evanw/thumbhash. The same steps as his `rgbaToThumbHash` in JavaScript,
# but the cosine sums are taken along the rows first and then down, each wave once.

LUMINANCE, LUMINANCE_BESIDE_ALPHA = 7, 5
"""Components along the longer side."""


@dataclass(frozen=True)
class _Channel:
    """One channel as cosines: its mean, the rest scaled to 0..1, and that scale."""

    mean: float
    waves: Sequence[float]
    scale: float


def thumbhash(pixels: Image.Image) -> bytes:
    """The ThumbHash of an RGBA picture of at most 100 x 100 pixels, 5 to 37 bytes."""
    width, height = pixels.size
    luminance, yellow_blue, red_green, alpha = _lpqa(pixels.tobytes())
    has_alpha = any(value < 1 for value in alpha)
    limit = LUMINANCE_BESIDE_ALPHA if has_alpha else LUMINANCE
    across = max(1, _rounded(limit * width / max(width, height)))
    down = max(1, _rounded(limit * height / max(width, height)))
    colours = [
        _waves(luminance, width, max(3, across), max(3, down)),
        _waves(yellow_blue, width, 3, 3),
        _waves(red_green, width, 3, 3),
    ]
    veil = [_waves(alpha, width, 5, 5)] if has_alpha else []
    head = _head(colours, has_alpha, (down if width > height else across, width > height))
    veiled = bytes(_rounded(15 * one.mean) | _rounded(15 * one.scale) << 4 for one in veil)
    return head + veiled + _nibbles([wave for one in colours + veil for wave in one.waves])


def _head(colours: Sequence[_Channel], has_alpha: bool, sides: tuple[int, bool]) -> bytes:
    """Mean colour, scales and shape; `sides` are the components along the shorter side and whether it is the height."""
    luminance, yellow_blue, red_green = colours
    first = _rounded(63 * luminance.mean) | _rounded(31.5 + 31.5 * yellow_blue.mean) << 6
    first |= _rounded(31.5 + 31.5 * red_green.mean) << 12 | _rounded(31 * luminance.scale) << 18 | has_alpha << 23
    second = sides[0] | _rounded(63 * yellow_blue.scale) << 3 | _rounded(63 * red_green.scale) << 9 | sides[1] << 15
    return first.to_bytes(3, "little") + second.to_bytes(2, "little")


def _nibbles(waves: Sequence[float]) -> bytes:
    """Four bits for each, two to a byte, the first one low."""
    values = [_rounded(15 * wave) for wave in waves] + [0] * (len(waves) % 2)
    return bytes(low | high << 4 for low, high in zip(values[::2], values[1::2], strict=True))


def _lpqa(rgba: bytes) -> tuple[list[float], list[float], list[float], list[float]]:
    """Luminance, yellow to blue, red to green, and alpha, laid on the mean colour."""
    alpha = [value / 255 for value in rgba[3::4]]
    weight = sum(alpha) or 1.0
    bands = []
    for band in (rgba[0::4], rgba[1::4], rgba[2::4]):
        shown = [value * a / 255 for value, a in zip(band, alpha, strict=True)]
        mean = sum(shown) / weight
        bands.append([value + mean * (1 - a) for value, a in zip(shown, alpha, strict=True)])
    colours = list(zip(*bands, strict=True))
    luminance = [(red + green + blue) / 3 for red, green, blue in colours]
    yellow_blue = [(red + green) / 2 - blue for red, green, blue in colours]
    return luminance, yellow_blue, [red - green for red, green, _ in colours], alpha


def _waves(channel: Sequence[float], width: int, across: int, down: int) -> _Channel:
    """The cosine transform of a channel, as far as the triangle of `across` by `down` components reaches."""
    height = len(channel) // width
    rows = [channel[at : at + width] for at in range(0, len(channel), width)]
    sums = [[_dot(row, wave) for row in rows] for wave in _cosines(width, across)]
    waves = _cosines(height, down)
    found = [
        _dot(sums[cx], waves[cy]) / len(channel)
        for cy in range(down)
        for cx in range(across)
        if cx * down < across * (down - cy)
    ]
    mean, rest = found[0], found[1:]
    scale = max((abs(wave) for wave in rest), default=0.0)
    return _Channel(mean, [0.5 + 0.5 / scale * wave for wave in rest] if scale else rest, scale)


def _cosines(length: int, count: int) -> Columns:
    return [[math.cos(math.pi / length * k * (n + 0.5)) for n in range(length)] for k in range(count)]


def _dot(one: Sequence[float], other: Sequence[float]) -> float:
    return math.fsum(map(mul, one, other))


def _rounded(value: float) -> int:
    """Halves go up, as in JavaScript."""
    return math.floor(value + 0.5)
