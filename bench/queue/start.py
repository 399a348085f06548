"""How long a job waits that finds a worker with nothing to do."""

from __future__ import annotations

import statistics
from collections.abc import AsyncIterator, Sequence

from bench.queue.lineup import Seat, in_turn, lineup, ratio, seated
from bench.results import Result

FIELD = ("ours", "blpop", "arq", "arq_tuned", "saq", "taskiq", "dramatiq", "bullmq")
ROUNDS = 3
DUEL_ROUNDS = 5
SAMPLES = 200
PAUSE = 0.02
WARM = 5
LIMIT_MS = 2.0
Waits = dict[str, list[Sequence[float]]]


async def start_p50_ms() -> AsyncIterator[Result]:
    """Milliseconds from enqueue to start, median; a ratio under 1 is within the limit, the peers' is ours to theirs."""
    name, waits = "queue.start_p50_ms", await _waits(FIELD, ROUNDS)
    ours = _medians(waits["ours"])
    value = statistics.median(ours)
    yield Result(name, value, "ms", f"limit of {LIMIT_MS:g} ms", value / LIMIT_MS, ROUNDS)
    for peer in sorted(set(waits) - {"ours"}):
        theirs = _medians(waits[peer])
        versus = f"ours for each of {peer}"
        yield Result(f"{name}.{peer}", statistics.median(theirs), "ms", versus, ratio(ours, theirs), ROUNDS)


async def start_vs_blpop() -> AsyncIterator[Result]:
    """The same against the bare hand-over from one client to another; `.p95` is that of the slow ones."""
    name, waits = "queue.start_vs_blpop", await _waits(("ours", "blpop"), DUEL_ROUNDS)
    for row, place in ((name, 50), (f"{name}.p95", 95)):
        ours, theirs = ([_percentile(found, place) for found in waits[who]] for who in ("ours", "blpop"))
        yield Result(row, statistics.median(ours), "ms", "raw BLPOP", ratio(ours, theirs), DUEL_ROUNDS)


async def _waits(names: Sequence[str], rounds: int) -> Waits:
    async with seated(lineup(*names)) as seats:
        waits: Waits = {seat.engine.name: [] for seat in seats}
        for turn in range(rounds):
            for seat in in_turn(seats, turn):
                waits[seat.engine.name].append(await _round(seat, SAMPLES // rounds))
    return waits


async def _round(seat: Seat, samples: int) -> Sequence[float]:
    """The first of all jobs is there when the worker comes, and says that it listens; the next few are for warmth."""
    await seat.filled(1)
    async with seat.working(1 + WARM + samples) as worker:
        await seat.sent(WARM + samples, PAUSE)
        return (await worker.spent()).waits[WARM:]


def _medians(rounds: Sequence[Sequence[float]]) -> list[float]:
    return [_percentile(waits, 50) for waits in rounds]


def _percentile(waits: Sequence[float], place: int) -> float:
    return 1000 * statistics.quantiles(waits, n=100)[place - 1]
