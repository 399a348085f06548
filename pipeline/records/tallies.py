"""Counts as they are read: added up, put into columns for charts, and times in buckets with their percentiles.

Times fall into buckets whose bounds grow by the square root of two.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate

SHORTEST = 0.25
"""Milliseconds: the bound of the first bucket."""
BOUNDS = tuple(SHORTEST * 2 ** (place / 2) for place in range(47))
"""Upper bounds of the buckets in milliseconds, up to 35 minutes; one more bucket takes what is longer."""

Counts = Mapping[str, int]
"""Counts by their names, whose words are parted by `|`."""


@dataclass(frozen=True)
class Durations:
    """How many times fell into each bucket of `BOUNDS` and the one above, and their sum in milliseconds."""

    counts: tuple[int, ...]
    total: float

    @property
    def count(self) -> int:
        return sum(self.counts)

    def percentile(self, share: float) -> float | None:
        """Milliseconds that `share` (0 to 1) of the times do not exceed, linear inside a bucket; None without times."""
        return percentiles(range(len(self.counts)), self.counts, [share])[0]

    def powers(self) -> list[tuple[float, int]]:
        """Bounds in seconds, doubling each time up to infinity, with how many times do not exceed each."""
        sums = list(accumulate(self.counts))
        bounds = [(BOUNDS[place] / 1000, sums[place]) for place in range(0, len(BOUNDS), 2)]
        return [*bounds, (float("inf"), sums[-1])]


class Tally(Counter[tuple[str, ...]]):
    """Counts by the words of their names; two of them add up."""

    def by(self, *words: str) -> dict[tuple[str, ...], int]:
        """The counts whose names begin with `words`, by the rest of their names."""
        size = len(words)
        return {name[size:]: count for name, count in self.items() if name[:size] == words and len(name) > size}

    def labels(self, name: str) -> Sequence[str]:
        """The second words of the names that begin with `name`."""
        return sorted({words[1] for words in self if words[0] == name and len(words) > 1})

    def durations(self, name: str, label: str) -> Durations:
        """The times kept as `name` of `label`."""
        counts = tuple(self[name, label, str(place)] for place in range(len(BOUNDS) + 1))
        return Durations(counts, self[name, label, "us"] / 1000)


class Columns:
    """The counts of `rows` in equal steps of `size` rows each, a column for every name."""

    def __init__(self, rows: Sequence[Counts], size: int = 1) -> None:
        self._points = len(rows) // size
        self._columns: dict[str, list[int]] = {}
        for place, row in enumerate(rows):
            point = place // size
            for name, number in row.items():
                if name not in self._columns:
                    self._columns[name] = [0] * self._points
                self._columns[name][point] += number

    def of(self, *words: str) -> list[int]:
        """The counts of this name, one for each step."""
        return self._columns.get("|".join(words)) or [0] * self._points

    def by(self, word: str) -> dict[tuple[str, ...], list[int]]:
        """The columns whose names begin with `word`, by the rest of their names."""
        start = f"{word}|"
        return {
            tuple(name.removeprefix(start).split("|")): column
            for name, column in sorted(self._columns.items())
            if name.startswith(start)
        }

    def percentiles(self, name: str, label: str, shares: Sequence[float]) -> Sequence[Sequence[float | None]]:
        """For each share, what so many of the times kept as `name` of `label` do not exceed, one for each step."""
        kept = {place: self._columns.get(f"{name}|{label}|{place}") for place in range(len(BOUNDS) + 1)}
        places = [place for place, column in kept.items() if column]
        columns = [column for column in kept.values() if column]
        if not columns:
            return [[None] * self._points for _ in shares]
        steps = [percentiles(places, counts, shares) for counts in zip(*columns, strict=True)]
        return list(zip(*steps, strict=True))


def added(rows: Iterable[Counts]) -> Tally:
    """All of them in one."""
    sums: Counter[str] = Counter()
    for row in rows:
        sums.update(row)
    return Tally({tuple(name.split("|")): number for name, number in sums.items()})


def percentiles(places: Sequence[int], counts: Sequence[int], shares: Sequence[float]) -> Sequence[float | None]:
    """Milliseconds that each of `shares` of the times do not exceed, which fell into the buckets `places`."""
    sums = list(accumulate(counts))
    if not sums[-1]:
        return [None] * len(shares)
    found: list[float | None] = []
    for share in shares:
        wanted = share * sums[-1]
        at = bisect_left(sums, wanted or 1)
        place = places[at]
        if place >= len(BOUNDS):
            found.append(BOUNDS[-1])
            continue
        below = BOUNDS[place - 1] if place else 0.0
        inside = (wanted - (sums[at] - counts[at])) / counts[at]
        found.append(below + (BOUNDS[place] - below) * inside)
    return found
