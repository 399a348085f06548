"""Gaussian blur at a cost that does not grow with its width."""

from __future__ import annotations

from math import ceil, exp, log2

import pyvips

FINEST = 3.0
"""The deviation, in thinned pixels, below which thinning them first would show."""
REACH = 3.0
"""How many deviations from its middle the bell curve is cut off."""


def blurred(pixels: pyvips.Image, sigma: float) -> pyvips.Image:
    """8-bit pixels blurred with a standard deviation of `sigma` pixels, the edges repeated outwards; same size.

    Alpha is blurred too and weighs the colours, so that what cannot be seen does not bleed into what can.
    """
    weighted = pixels.premultiply() if pixels.hasalpha() else pixels
    soft = _softened(weighted, sigma)
    return _rounded(soft.unpremultiply()) if pixels.hasalpha() else soft


def _softened(pixels: pyvips.Image, sigma: float) -> pyvips.Image:
    shrink = int(sigma // FINEST)
    if shrink < 2:
        return pixels.convsep(_bell(sigma), precision=_precision(pixels))
    # A wide blur leaves nothing fine: it is made on fewer pixels and stretched again. Whole cells keep the phase.
    width, height = -(-pixels.width // shrink) * shrink, -(-pixels.height // shrink) * shrink
    thin = pixels.embed(0, 0, width, height, extend="copy").shrink(shrink, shrink)
    soft = thin.convsep(_bell(sigma / shrink), precision=_precision(thin))
    return _stretched(soft, shrink).crop(0, 0, pixels.width, pixels.height)


def _stretched(pixels: pyvips.Image, factor: int) -> pyvips.Image:
    # The middle of a thin pixel lies in the middle of those it stands for; `resize` would put it half a pixel off.
    middle, area = (factor - 1) / 2, [0, 0, pixels.width * factor, pixels.height * factor]
    return pixels.affine(
        [factor, 0, 0, factor],
        interpolate=pyvips.Interpolate.new("bilinear"),
        odx=middle,
        ody=middle,
        oarea=area,
        extend="copy",
        premultiplied=True,
    )


def _bell(sigma: float) -> pyvips.Image:
    """The bell curve as whole counts that add up to a power of two.

    libvips' fast convolution of 8-bit pixels (convi.c) rounds weights to 1/128 of the power of two above the largest.
    Weights that are so already lose nothing; those of `gaussblur` do, and turn plain white into 247.
    """
    reach = ceil(REACH * sigma)
    weights = [exp(-(step**2) / (2 * sigma**2)) for step in range(-reach, reach + 1)]
    shares = [weight / sum(weights) for weight in weights]
    steps = 2 ** (7 - ceil(log2(max(shares)) + 1))
    counts = [round(share * steps) for share in shares]
    counts[reach] += steps - sum(counts)
    return pyvips.Image.new_from_list([counts], scale=steps)


def _precision(pixels: pyvips.Image) -> str:
    return "integer" if pixels.format == "uchar" else "float"


def _rounded(pixels: pyvips.Image) -> pyvips.Image:
    return pixels.linear(1, 0.5, uchar=True)
