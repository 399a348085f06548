"""The frames of an animation, which lie in a strip from top to bottom, and how long each is shown."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pyvips

from pipeline.imaging.picture import Picture

BRISK = 100
"""Milliseconds a frame is shown when its file does not say."""
BRIEFEST = 20
"""Shortest time a frame is shown, milliseconds: players slow down what is said to be briefer, and so does libwebp."""
LONGEST = 65_535 * 10
MOVING = ("n-pages", "page-height", "delay", "loop", "gif-delay", "gif-loop")


def delays(picture: Picture) -> list[int]:
    """How long each frame is shown, milliseconds."""
    pixels, frames = picture.pixels, picture.outline.frames
    said = list(pixels.get("delay")) if pixels.get_typeof("delay") else []
    return [*said, *[BRISK] * frames][:frames]


def picked(picture: Picture, numbers: Sequence[int], times: Sequence[int]) -> Picture:
    """The frames of these numbers, in this order, each shown for its time; a single one is a still picture."""
    outline = replace(picture.outline, frames=len(numbers))
    if len(numbers) == 1:
        return replace(picture, pixels=_still(_frame(picture, numbers[0])), outline=outline)
    # Frames that are left out or change places cannot be read in one go from top to bottom.
    held = picture.held()
    strip = pyvips.Image.arrayjoin([_frame(held, number) for number in numbers], across=1)
    return timed(replace(held, pixels=strip, outline=outline), times)


def timed(picture: Picture, times: Sequence[int], loop: int | None = None) -> Picture:
    """The animation with other times, and played `loop` times over (0 without end) or as often as before."""
    pixels = picture.pixels.copy()
    bounded = [min(max(BRIEFEST, time), LONGEST) for time in times]
    pixels.set_type(pyvips.GValue.array_int_type, "delay", bounded)
    if loop is not None:
        pixels.set_type(pyvips.GValue.gint_type, "loop", loop)
    return replace(picture, pixels=pixels)


def _frame(picture: Picture, number: int) -> pyvips.Image:
    height = picture.pixels.height // picture.outline.frames
    return picture.pixels.crop(0, number * height, picture.pixels.width, height)


def _still(frame: pyvips.Image) -> pyvips.Image:
    still = frame.copy()
    for name in MOVING:
        if still.get_typeof(name):
            still.remove(name)
    return still
