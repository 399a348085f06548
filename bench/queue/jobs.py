"""How fast one worker process empties a queue of jobs that do nothing."""

from __future__ import annotations

import statistics
from collections.abc import AsyncIterator, Mapping, Sequence

from bench.queue.lineup import in_turn, lineup, ratio, seated
from bench.results import Result

FIELD = ("ours", "arq", "arq_tuned", "saq", "taskiq", "dramatiq", "celery", "bullmq", "blpop")
ROUNDS = 3
DUEL_ROUNDS = 5
UNIT = "jobs/s"


async def jobs_vs_arq() -> AsyncIterator[Result]:
    """No-op jobs a second, a hundred at once, against stock arq; a row for every other engine, `blpop` is the wall."""
    name, rates = "queue.jobs_vs_arq", await _rates(FIELD, ROUNDS)
    yield _row(name, rates, "ours", "arq")
    for peer in sorted(set(rates) - {"ours"}):
        value = statistics.median(rates[peer])
        yield Result(
            f"{name}.{peer}", value, UNIT, f"ours for each of {peer}", ratio(rates["ours"], rates[peer]), ROUNDS
        )


async def jobs_vs_bullmq() -> AsyncIterator[Result]:
    """The same against BullMQ alone; nothing where Node is not there."""
    rates = await _rates(("ours", "bullmq"), DUEL_ROUNDS)
    if "bullmq" in rates:
        yield _row("queue.jobs_vs_bullmq", rates, "ours", "bullmq")


def _row(name: str, rates: Mapping[str, Sequence[float]], who: str, versus: str) -> Result:
    value = statistics.median(rates[who])
    return Result(name, value, UNIT, versus, ratio(rates[who], rates[versus]), len(rates[who]))


async def _rates(names: Sequence[str], rounds: int) -> dict[str, list[float]]:
    async with seated(lineup(*names)) as seats:
        rates: dict[str, list[float]] = {seat.engine.name: [] for seat in seats}
        for turn in range(rounds):
            for seat in in_turn(seats, turn):
                await seat.filled(seat.engine.jobs)
                spent = await seat.drained(seat.engine.jobs)
                rates[seat.engine.name].append(seat.engine.jobs / spent.wall)
    return rates
