"""Counts as they are kept and read: added up, put into columns for charts, times in buckets with their percentiles.

The words of a name are parted by `|`.
Times fall into buckets whose bounds grow by the square root of two.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import NamedTuple

import orjson

SHORTEST = 0.25
"""Milliseconds: the bound of the first bucket."""
BOUNDS = tuple(SHORTEST * 2 ** (place / 2) for place in range(47))
"""Upper bounds of the buckets in milliseconds, up to 35 minutes; one more bucket takes what is longer."""
SHARES = (0.5, 0.95, 0.99)
"""The percentiles that are kept."""
NONE = (None,) * len(SHARES)


def bucket(micros: int) -> int:
    """The place among `BOUNDS` of so many microseconds; the place after the last for what is longer."""
    return bisect_left(BOUNDS, micros / 1000)


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
        return percentiles(range(len(self.counts)), [self.counts], [share])[0][0]

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


class Book(NamedTuple):
    """What was counted in one minute or hour: counts by their names, times by name and bucket, and their percentiles.

    Times are kept as `run|default|15`, how many fell into that bucket of `BOUNDS`, and `run|default|us`, their sum in
    microseconds; the percentiles of `run|default` are those of `SHARES`, in milliseconds.
    """

    counts: Mapping[str, int] = {}
    times: Mapping[str, int] = {}
    percentiles: Mapping[str, Sequence[float | None]] = {}

    @classmethod
    def read(cls, text: bytes | None) -> Book:
        """A book as it is kept, an empty one if there is none."""
        return cls(*orjson.loads(text)) if text else cls()

    def with_more(self, counts: Mapping[str, int], times: Mapping[str, int]) -> Book:
        """The same with these added."""
        added_times = _summed(self.times, times)
        kinds = sorted({name.rpartition("|")[0] for name in added_times})
        found = {kind: [_rounded(column[0]) for column in _columns_of(kind, [added_times])] for kind in kinds}
        return Book(_summed(self.counts, counts), added_times, found)

    def text(self) -> bytes:
        return orjson.dumps(tuple(self))


class Columns:
    """The counts of `books` in equal steps of `size` books each, a column for every name."""

    def __init__(self, books: Sequence[Book], size: int = 1) -> None:
        self._points = len(books) // size
        self._steps = [books[place : place + size] for place in range(0, len(books), size)]
        self._columns: dict[str, list[int]] = {}
        for point, step in enumerate(self._steps):
            for book in step:
                for name, number in book.counts.items():
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

    def percentiles(self, name: str, label: str) -> Sequence[Sequence[float | None]]:
        """For each of `SHARES`, the milliseconds of the times kept as `name` of `label`, one for each step."""
        kind = f"{name}|{label}"
        if all(len(step) == 1 for step in self._steps):
            return list(zip(*(step[0].percentiles.get(kind, NONE) for step in self._steps), strict=True))
        sums = [_summed(*(book.times for book in step)) for step in self._steps]
        return [[_rounded(found) for found in column] for column in _columns_of(kind, sums)]


def added(books: Iterable[Book]) -> Tally:
    """All of them in one."""
    return tallied(_summed(*(part for book in books for part in (book.counts, book.times))))


def tallied(counts: Mapping[str, int]) -> Tally:
    """The counts by the words of their names."""
    return Tally({tuple(name.split("|")): number for name, number in counts.items()})


def _summed(*parts: Mapping[str, int]) -> dict[str, int]:
    sums: Counter[str] = Counter()
    for part in parts:
        sums.update(part)
    return dict(sums)


def _rounded(milliseconds: float | None) -> float | None:
    return None if milliseconds is None else round(milliseconds, 3)


def _columns_of(kind: str, steps: Sequence[Mapping[str, int]]) -> list[list[float | None]]:
    """The percentiles of the times kept as `kind`, for each of `SHARES` and each step."""
    names = [f"{kind}|{place}" for place in range(len(BOUNDS) + 1)]
    places = [place for place, name in enumerate(names) if any(name in step for step in steps)]
    counts = ([step.get(names[place], 0) for place in places] for step in steps)
    return percentiles(places, counts, SHARES)


def percentiles(
    places: Sequence[int], steps: Iterable[Sequence[int]], shares: Sequence[float]
) -> list[list[float | None]]:
    """For each share, for each step, what so many of its times do not exceed; `steps` count those of the `places`."""
    lows = [0.0, *BOUNDS]
    edges = [(lows[place], lows[min(place + 1, len(BOUNDS))] - lows[place]) for place in places]
    found: list[list[float | None]] = [[] for _ in shares]
    for counts in steps:
        sums = [*accumulate(counts)] or [0]
        for share, column in zip(shares, found, strict=True):
            wanted = share * sums[-1]
            if not sums[-1]:
                column.append(None)
                continue
            at = bisect_left(sums, wanted or 1)
            low, width = edges[at]
            column.append(low + width * (1 + (wanted - sums[at]) / counts[at]))
    return found
