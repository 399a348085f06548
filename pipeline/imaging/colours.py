"""The colours a picture consists of, each with the share of it that it covers.

Variance-based splitting and then k-means, both weighted, as in M. E. Celebi, "Improving the performance of k-means for
color quantization" (Image and Vision Computing 29, 2011), but in OKLab, where distances are those seen (B. Ottosson,
https://bottosson.github.io/posts/oklab/). Nothing is drawn by chance: the same pixels give the same colours.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import accumulate

from PIL import Image, ImageColor

Triple = tuple[float, float, float]
Bands = tuple[int, int, int]

ROUNDS = 8
"""How often k-means moves its centres; on small pictures they rest before."""
JUST_SEEN = 0.02
"""Distance in OKLab below which two colours are told apart with difficulty."""


@dataclass(frozen=True)
class _Bin:
    """Colours that nearly look the same, each with its weight: how many pixels there are, times their alpha."""

    colours: Sequence[tuple[int, Bands]]
    weight: int
    lab: Triple
    """Their mean in OKLab."""


@dataclass(frozen=True)
class Share:
    """A colour, bands 0-255, and the fraction of what can be seen that it covers."""

    rgb: Bands
    share: float

    @property
    def hex(self) -> str:
        return f"#{bytes(self.rgb).hex()}"


def palette(pixels: Image.Image, count: int) -> list[Share]:
    """At most `count` distinct colours of an RGBA picture, the one that covers most first; none when it is invisible.

    Each pixel counts as much as its alpha.
    """
    bins = _bins(pixels)
    total = sum(one.weight for one in bins)
    if not total:
        return []
    groups = _settled(bins, [_mean(group) for group in _split(bins, count)])
    shares = [Share(_typical(group), sum(one.weight for one in group) / total) for group in groups if group]
    return sorted(shares, key=lambda share: (-share.share, share.rgb))


def _bins(pixels: Image.Image) -> list[_Bin]:
    # Five bits a band: there are far fewer bins than colours to measure distances to.
    found: dict[Bands, list[tuple[int, Bands]]] = {}
    for count, (red, green, blue, alpha) in _counted(pixels):
        if alpha:
            near = found.setdefault((red >> 3, green >> 3, blue >> 3), [])
            near.append((count * alpha, (red, green, blue)))
    return [_bin(colours) for _, colours in sorted(found.items())]


def _counted(pixels: Image.Image) -> list[tuple[int, tuple[int, int, int, int]]]:
    return pixels.getcolors(pixels.width * pixels.height) or []  # type: ignore[return-value]


def _bin(colours: Sequence[tuple[int, Bands]]) -> _Bin:
    return _Bin(colours, sum(weight for weight, _ in colours), oklab(_weighed(colours)))


def _split(bins: Sequence[_Bin], count: int) -> list[Sequence[_Bin]]:
    """Groups made by halving the most varied one, at its mean across its most varied axis, again and again."""
    groups = [(_spread(bins), bins)]
    while len(groups) < count:
        groups.sort(key=lambda group: max(group[0]))
        spread, group = groups.pop()
        weight = sum(one.weight for one in group)
        # Halves that are just told apart lie half that distance from their mean.
        if max(spread) <= (JUST_SEEN / 2) ** 2 * weight:
            groups.append((spread, group))
            break
        axis = spread.index(max(spread))
        middle = _mean(group)[axis]
        halves = [one for one in group if one.lab[axis] <= middle], [one for one in group if one.lab[axis] > middle]
        groups += [(_spread(half), half) for half in halves]
    return [group for _, group in groups]


def _spread(bins: Sequence[_Bin]) -> list[float]:
    """The weighted sum of squared distances from the mean, for each axis."""
    mean = _mean(bins)
    return [sum(one.weight * (one.lab[axis] - mean[axis]) ** 2 for one in bins) for axis in range(3)]


def _settled(bins: Sequence[_Bin], centres: Sequence[Triple]) -> list[list[_Bin]]:
    """The groups around the centres once these rest in the middle of what is nearest to them (k-means)."""
    groups: list[list[_Bin]] = []
    for _ in range(ROUNDS):
        groups = [[] for _ in centres]
        for one in bins:
            groups[_nearest(one.lab, centres)].append(one)
        moved = [_mean(group) for group in groups if group]
        if moved == list(centres):
            break
        centres = moved
    return groups


def _nearest(lab: Triple, centres: Sequence[Triple]) -> int:
    lightness, a, b = lab
    distances = [(lightness - c[0]) ** 2 + (a - c[1]) ** 2 + (b - c[2]) ** 2 for c in centres]
    return distances.index(min(distances))


def _mean(bins: Sequence[_Bin]) -> Triple:
    return _weighed((one.weight, one.lab) for one in bins)


def _typical(bins: Sequence[_Bin]) -> Bands:
    """The median of each band: unlike the mean, that of a plain surface is its very colour, whatever its edges are."""
    colours = [colour for one in bins for colour in one.colours]
    red, green, blue = (_median([(rgb[band], weight) for weight, rgb in colours]) for band in range(3))
    return red, green, blue


def _median(values: Sequence[tuple[int, int]]) -> int:
    """The value below which half of the weight lies."""
    ordered = sorted(values)
    heaps = accumulate(weight for _, weight in ordered)
    half = sum(weight for _, weight in ordered) / 2
    return next(value for (value, _), heap in zip(ordered, heaps, strict=True) if heap >= half)


def _weighed(points: Iterable[tuple[float, Triple]]) -> Triple:
    total = x = y = z = 0.0
    for weight, point in points:
        total += weight
        x, y, z = x + weight * point[0], y + weight * point[1], z + weight * point[2]
    return x / total, y / total, z / total


def oklab(rgb: Triple) -> Triple:
    """sRGB bands 0-255 as OKLab: lightness 0..1, green to red, blue to yellow."""
    red, green, blue = (_linear(band / 255) for band in rgb)
    long = (0.4122214708 * red + 0.5363325363 * green + 0.0514459929 * blue) ** (1 / 3)
    medium = (0.2119034982 * red + 0.6806995451 * green + 0.1073969566 * blue) ** (1 / 3)
    short = (0.0883024619 * red + 0.2817188376 * green + 0.6299787005 * blue) ** (1 / 3)
    return (
        0.2104542553 * long + 0.7936177850 * medium - 0.0040720468 * short,
        1.9779984951 * long - 2.4285922050 * medium + 0.4505937099 * short,
        0.0259040371 * long + 0.7827717662 * medium - 0.8086757660 * short,
    )


def _linear(band: float) -> float:
    return float(band / 12.92 if band <= 0.04045 else ((band + 0.055) / 1.055) ** 2.4)


def named(name: str) -> str | None:
    """The colour that CSS knows by this name, `#rrggbb`; None for what is no such name."""
    found = ImageColor.colormap.get(name)
    return found if isinstance(found, str) or found is None else f"#{bytes(found[:3]).hex()}"
