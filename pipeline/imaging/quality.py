"""How strongly a JPEG was compressed, told from its quantisation tables alone.

Writers that follow the Independent JPEG Group's library scale the luminance table of ITU-T T.81, annex K.1, by their
quality (`jpeg_quality_scaling` of libjpeg's jcparam.c): by 5000 / q below 50 per cent, by 200 - 2q from there on, in
hundredths. That is turned round here: of the hundred tables it makes, the one is told whose sum is nearest. Of writers
with tables of their own it is an estimate.
"""

from __future__ import annotations

import warnings
from functools import cache

from PIL.JpegImagePlugin import JpegImageFile

LUMINANCE = (
    16, 11, 10, 16, 24, 40, 51, 61,
    12, 12, 14, 19, 26, 58, 60, 55,
    14, 13, 16, 24, 40, 57, 69, 56,
    14, 17, 22, 29, 51, 87, 80, 62,
    18, 22, 37, 56, 68, 109, 103, 77,
    24, 35, 55, 64, 81, 104, 113, 92,
    49, 64, 78, 87, 103, 121, 120, 101,
    72, 92, 95, 98, 112, 100, 103, 99,
)  # fmt: skip
MOST = 255
"""Of a step in a baseline file."""


def quality_of(path: str) -> int | None:
    """The quality, 1 to 100, of the JPEG file at `path`; None where its tables cannot be read."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            with JpegImageFile(path) as opened:
                table = opened.quantization[0]
        # Whatever is wrong with what stands before the pixels must not cost the picture.
        except Exception:
            return None
    total = sum(table)
    sums = _sums()
    return min(range(1, 101), key=lambda quality: abs(sums[quality - 1] - total))


@cache
def _sums() -> tuple[int, ...]:
    """The sum of the table of each quality from 1 on."""
    return tuple(sum(_step(base, _scale(quality)) for base in LUMINANCE) for quality in range(1, 101))


def _scale(quality: int) -> int:
    return 5000 // quality if quality < 50 else 200 - 2 * quality


def _step(base: int, scale: int) -> int:
    return min(max((base * scale + 50) // 100, 1), MOST)
