"""Perceptual hashes of 64 bits: alike pictures differ in few of them, whatever their size, format or quality.

Bit for bit those of ImageHash (https://github.com/JohannesBuchner/imagehash, `phash` and `dhash`) on the same grey
pixels, so that hashes kept elsewhere can be compared. Sources: N. Krawetz, "Looks Like It" and "Kind of Like That"
(https://www.hackerfactor.com/blog, 2011 and 2013).
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Sequence
from itertools import pairwise
from operator import mul

from PIL import Image

PHASH_SIDE = 32
LOW = 8
"""How many of the lowest frequencies along each side say what a picture shows."""
NOISE = 6
"""Decimals of a frequency that mean something; a flat picture has none at all."""


def phash(grey: Image.Image) -> str:
    """The hash of the low frequencies, 16 hex digits; bears noise, blur and changes of tone."""
    small = grey.resize((PHASH_SIDE, PHASH_SIDE), Image.Resampling.LANCZOS).tobytes()
    rows = [small[at : at + PHASH_SIDE] for at in range(0, len(small), PHASH_SIDE)]
    waves = [[math.cos(math.pi / PHASH_SIDE * k * (n + 0.5)) for n in range(PHASH_SIDE)] for k in range(LOW)]
    across = [[_dot(row, wave) for row in rows] for wave in waves]
    low = [round(_dot(across[x], waves[y]), NOISE) for y in range(LOW) for x in range(LOW)]
    middle = statistics.median(low)
    return _hex(value > middle for value in low)


def dhash(grey: Image.Image) -> str:
    """The hash of which neighbour is lighter, 16 hex digits; finds the same picture in another size or format."""
    small = grey.resize((LOW + 1, LOW), Image.Resampling.LANCZOS).tobytes()
    rows = [small[at : at + LOW + 1] for at in range(0, len(small), LOW + 1)]
    return _hex(right > left for row in rows for left, right in pairwise(row))


def _dot(one: Sequence[float], other: Sequence[float]) -> float:
    return math.fsum(map(mul, one, other))


def _hex(bits: Iterable[bool]) -> str:
    return f"{int(''.join('1' if bit else '0' for bit in bits), 2):016x}"
