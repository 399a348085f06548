"""Programs that do the same work, one after the other in every round, so that all meet the same machine.

A program is called with `JOB PHOTO FOLDER TIMES`, writes its results into the folder, and prints what it spent.
"""

from __future__ import annotations

import asyncio
import json
import os
import statistics
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pyvips

from bench.fidelity import difference
from bench.results import Result

CPU = "ms CPU/image"
ROUNDS = 7
TIMES = 5
CLOSE = 4.0
"""Mean difference of a channel, 0 to 255, up to which two contestants are said to have drawn the same picture."""


@dataclass(frozen=True)
class Contestant:
    """A program and the job it is asked to do."""

    name: str
    program: tuple[str, ...]
    job: str
    compared: bool = True
    """Whether it draws the pictures the others draw."""


@dataclass(frozen=True)
class Spent:
    """What a contestant needed for an image, seconds and MiB."""

    cpu: float
    wall: float
    peak_mib: float


@dataclass(frozen=True)
class Outcome:
    """What everybody spent in every round; the first contestant is the one the others are held against."""

    rounds: Sequence[Mapping[str, Spent]]

    def cpu(self, name: str) -> float:
        return statistics.median(spent[name].cpu for spent in self.rounds)

    def peak_mib(self, name: str) -> float:
        return statistics.median(spent[name].peak_mib for spent in self.rounds)

    def ratio(self, name: str, versus: str) -> float:
        """CPU of `name` for each of `versus`: the median of the ratios within the rounds."""
        return statistics.median(spent[name].cpu / spent[versus].cpu for spent in self.rounds)

    def results(self, benchmark: str, versus: str) -> Iterator[Result]:
        """A row for us against `versus`, and one for every peer: its own CPU, and ours for each of its."""
        names = list(self.rounds[0])
        runs = len(self.rounds)
        yield Result(benchmark, 1000 * self.cpu("ours"), CPU, versus, self.ratio("ours", versus), runs)
        for peer in sorted(set(names) - {"ours"}):
            ratio = self.ratio("ours", peer)
            yield Result(f"{benchmark}.{peer}", 1000 * self.cpu(peer), CPU, f"ours for each of {peer}", ratio, runs)


async def contest(
    contestants: Sequence[Contestant], photo: Path, rounds: int = ROUNDS, times: int = TIMES, close: float = CLOSE
) -> Outcome:
    """Let all do the same; a warm-up round is thrown away, and the pictures are compared before times are."""
    found: list[dict[str, Spent]] = []
    with tempfile.TemporaryDirectory() as folder:
        for turn in range(rounds + 1):
            # Everybody is first once, as what ran before leaves caches and clock rates behind.
            order = [contestants[(turn + place) % len(contestants)] for place in range(len(contestants))]
            spent = {one.name: await run(one, photo, Path(folder) / one.name, times if turn else 1) for one in order}
            if turn == 0:
                compare(contestants, Path(folder), close)
            else:
                found.append(spent)
    return Outcome(found)


async def run(contestant: Contestant, photo: Path, folder: Path, times: int) -> Spent:
    """One process of a contestant, from start to end."""
    folder.mkdir(parents=True, exist_ok=True)
    command = (*contestant.program, contestant.job, str(photo), str(folder), str(times))
    # One thread each: threads of one image cost CPU, and a server has other images for its other cores.
    environ = os.environ | {"VIPS_CONCURRENCY": "1"}
    program = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE, env=environ)
    told, _ = await program.communicate()
    if program.returncode != 0:
        raise RuntimeError(f"{contestant.name} failed at {contestant.job}")
    return Spent(**json.loads(told))


def compare(contestants: Sequence[Contestant], folder: Path, close: float) -> None:
    """Raise unless everybody's pictures have the names, the sizes and nearly the pixels of the first one's."""
    first, *others = [one for one in contestants if one.compared]
    expected = sorted(path.name for path in (folder / first.name).iterdir())
    for other in others:
        assert sorted(path.name for path in (folder / other.name).iterdir()) == expected, other.name
        for name in expected:
            pair = [pyvips.Image.new_from_file(str(folder / one.name / name)) for one in (first, other)]
            apart = difference(*pair)
            if apart > close:
                raise RuntimeError(f"{other.name} draws another {name} than {first.name}: {apart:.1f} of 255 apart")
