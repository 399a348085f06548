"""How near one picture is to another: mean difference, PSNR and SSIM."""

from __future__ import annotations

import math
from pathlib import Path

import pyvips

SIGMA = 1.5
"""Of the Gaussian window SSIM looks through, as its authors chose it."""
C1, C2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2


def read(path: Path) -> pyvips.Image:
    """The picture in a file, in memory."""
    return pyvips.Image.new_from_file(str(path)).copy_memory()


def difference(one: pyvips.Image, other: pyvips.Image) -> float:
    """Mean absolute difference of a channel, 0 to 255; the sizes must agree."""
    if (one.width, one.height) != (other.width, other.height):
        raise ValueError(f"{one.width} x {one.height} is not {other.width} x {other.height}")
    return float((_colours(one) - _colours(other)).abs().avg())


def psnr_db(one: pyvips.Image, other: pyvips.Image) -> float:
    """Peak signal to noise ratio over all channels."""
    squared = float(((_colours(one) - _colours(other)) ** 2).avg())
    return 10 * math.log10(255**2 / squared) if squared else math.inf


def ssim(one: pyvips.Image, other: pyvips.Image) -> float:
    """Structural similarity of the luma (Wang, Bovik, Sheikh and Simoncelli 2004, section III-C)."""
    a, b = _luma(one), _luma(other)
    mean_a, mean_b = _blurred(a), _blurred(b)
    var_a, var_b = _blurred(a * a) - mean_a**2, _blurred(b * b) - mean_b**2
    shared = _blurred(a * b) - mean_a * mean_b
    above = (2 * mean_a * mean_b + C1) * (2 * shared + C2)
    below = (mean_a**2 + mean_b**2 + C1) * (var_a + var_b + C2)
    return float((above / below).avg())


def _colours(image: pyvips.Image) -> pyvips.Image:
    plain = image.flatten(background=255) if image.hasalpha() else image
    return plain.colourspace("srgb").cast("float")


def _luma(image: pyvips.Image) -> pyvips.Image:
    red, green, blue = _colours(image).bandsplit()
    return 0.299 * red + 0.587 * green + 0.114 * blue


def _blurred(image: pyvips.Image) -> pyvips.Image:
    return image.gaussblur(SIGMA, precision="float")
