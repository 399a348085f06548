"""How dark and how light a picture is."""

from __future__ import annotations

from pipeline.imaging.colour import greyed
from pipeline.imaging.picture import Picture

SPARED = 0.5
"""Percent of the pixels at either end that do not count."""


def reach_of(picture: Picture) -> tuple[int, int]:
    """The levels, 0 to 255, between which the luminance lies, but for half a percent below and above.

    Both ends of the range for a picture of one tone. Reads the pixels; what is transparent counts as black.
    """
    grey = greyed(picture.first_frame()).pixels
    shown = grey.flatten(background=0) if grey.hasalpha() else grey
    low, high = shown.percent(SPARED), shown.percent(100 - SPARED)
    return (low, high) if low < high else (0, 255)
