"""Arithmetic on the colours of a picture, in sRGB; alpha is handed through, size, scale and turn stay as they are."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import pyvips

from pipeline.imaging.picture import Picture

Row = tuple[float, float, float]
Matrix = tuple[Row, Row, Row]

LUMINANCE: Row = (0.2126, 0.7152, 0.0722)
"""How much red, green and blue weigh in brightness (ITU-R BT.709), on sRGB values as CSS filters weigh them."""
IDENTITY: Matrix = ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0))
EDGE, LEAST_EDGE = 0.2, 1.0
"""How soft a choice of colours ends: as a share of its tolerance, and at least, CIELAB."""
ICC_FIELD = "icc-profile-data"


def recoloured(
    picture: Picture,
    matrix: Matrix = IDENTITY,
    offset: Sequence[float] = (0, 0, 0),
    curve: Callable[[float], float] | None = None,
) -> Picture:
    """Every colour c (0-255) replaced by `matrix` x c + `offset`, rounded once and clipped to 0-255.

    A `curve` (0-1 to 0-1) bends each band before that.
    """
    pixels = _colours(picture)
    spare = pixels.bands - 3
    if curve is not None:
        pixels = pixels.maplut(_table(curve, spare))
    if matrix != IDENTITY:
        pixels = pixels.recomb(_widened(matrix, spare))
    mixed = pixels.linear(1, [part + 0.5 for part in (*offset, *[0.0] * spare)], uchar=True)
    return replace(picture, pixels=mixed.copy(interpretation="srgb"))


def bent(picture: Picture, curve: Callable[[float], float]) -> Picture:
    """Every colour value, 0-1, replaced by what `curve` makes of it, rounded; looked up in a table."""
    pixels = picture.in_srgb().pixels
    colours = 3 if pixels.interpretation == "srgb" else 1
    table = (_table(curve, pixels.bands - colours, colours) + 0.5).cast("uchar")
    return replace(picture, pixels=pixels.maplut(table).copy(interpretation=pixels.interpretation))


def vibrant(picture: Picture, amount: float) -> Picture:
    """Colours taken away from their luminance, 1 + `amount` x (1 - saturation) times as far; below 0 towards it.

    The saturation is the span between the largest and the smallest band, 0 to 1.
    """
    held = picture.held()
    pixels = _colours(held)
    colours, others = pixels.extract_band(0, n=3), pixels.bands - 3
    grey = colours.recomb(_widened((LUMINANCE,), 0))
    bands = [colours.extract_band(place) for place in range(3)]
    span = (bands[0].bandrank(bands[1:], index=2) - bands[0].bandrank(bands[1:], index=0)) / 255
    shifted = (colours - grey) * (1 + amount * (1 - span)) + grey
    mixed = shifted.linear(1, 0.5, uchar=True).copy(interpretation="srgb")
    mixed = mixed.bandjoin(pixels.extract_band(3, n=others)) if others else mixed
    return replace(held, pixels=mixed)


def faded(picture: Picture, opacity: float) -> Picture:
    """The picture as much as `opacity` of what it was; with alpha afterwards."""
    shown = picture.in_srgb().pixels
    pixels = shown if shown.hasalpha() else shown.addalpha()
    weaker = pixels.linear([*[1.0] * (pixels.bands - 1), opacity], [0.5] * pixels.bands, uchar=True)
    made = weaker.copy(interpretation=pixels.interpretation)
    return replace(picture, pixels=made, outline=replace(picture.outline, alpha=True))


def replaced(frame: pyvips.Image, old: Sequence[int], new: Sequence[int], tolerance: float) -> pyvips.Image:
    """The frame with a colour and its shades moved, in CIELAB, by as much as one is from the other.

    Shades within `tolerance` are moved wholly, beyond it less and less, others not at all; the frame is read often.
    """
    colours, alpha = frame.extract_band(0, n=3), frame.extract_band(3) if frame.hasalpha() else None
    lab, (here, there) = colours.colourspace("lab"), (_lab(one) for one in (old, new))
    squares = (lab - here) ** 2
    apart = (squares[0] + squares[1] + squares[2]) ** 0.5
    edge = max(LEAST_EDGE, EDGE * tolerance)
    share = (tolerance + edge - apart) / edge
    share = (share > 0).ifthenelse((share < 1).ifthenelse(share, 1.0), 0.0)
    moved = lab + share * [b - a for a, b in zip(here, there, strict=True)]
    made = (share > 0).ifthenelse(moved.copy(interpretation="lab").colourspace("srgb"), colours)
    made = made.copy(interpretation="srgb")
    return made if alpha is None else made.bandjoin(alpha)


def _lab(colour: Sequence[int]) -> list[float]:
    one = pyvips.Image.black(1, 1).new_from_image(list(colour)).cast("uchar").copy(interpretation="srgb")
    return [float(value) for value in one.colourspace("lab")(0, 0)]


def greyed(picture: Picture) -> Picture:
    """The luminance of every pixel, one band beside the alpha."""
    shown = picture.in_srgb()
    if shown.pixels.interpretation == "b-w":
        return shown
    pixels = _colours(shown)
    mixed = pixels.recomb(_widened((LUMINANCE,), pixels.bands - 3)).linear(1, 0.5, uchar=True)
    grey = mixed.copy(interpretation="b-w")
    # A profile for three bands does not fit one.
    grey.remove(ICC_FIELD)
    return replace(picture, pixels=grey)


def blended(one: Matrix, other: Matrix, strength: float) -> Matrix:
    """A matrix between two, at `strength` 0 the one, at 1 the other."""
    return summed(scaled(one, 1 - strength), scaled(other, strength))


def chained(first: Matrix, then: Matrix) -> Matrix:
    """The matrix that does `first` and `then` in one step."""
    columns = list(zip(*first, strict=True))
    return _matrix([[sum(a * b for a, b in zip(row, column, strict=True)) for column in columns] for row in then])


def scaled(matrix: Matrix, factor: float) -> Matrix:
    return _matrix([[value * factor for value in row] for row in matrix])


def summed(*matrices: Matrix) -> Matrix:
    rows = zip(*matrices, strict=True)
    return _matrix([[sum(values) for values in zip(*same, strict=True)] for same in rows])


def _matrix(rows: list[list[float]]) -> Matrix:
    first, second, third = ((row[0], row[1], row[2]) for row in rows)
    return first, second, third


def _colours(picture: Picture) -> pyvips.Image:
    pixels = picture.in_srgb().pixels
    return pixels if pixels.interpretation == "srgb" else pixels.colourspace("srgb")


def _widened(rows: Sequence[Row], spare: int) -> pyvips.Image:
    # Alpha passes through the same multiplication: splitting the bands would compute everything before them twice.
    colours = [[*row, *[0.0] * spare] for row in rows]
    others = [[0.0] * (3 + place) + [1.0] + [0.0] * (spare - place - 1) for place in range(spare)]
    return pyvips.Image.new_from_list(colours + others)


def _table(curve: Callable[[float], float], spare: int, colours: int = 3) -> pyvips.Image:
    colour = pyvips.Image.new_from_list([[255 * curve(level / 255) for level in range(256)]])
    straight = pyvips.Image.identity()
    return colour.bandjoin([*[colour] * (colours - 1), *[straight] * spare]).cast("float")
