"""How often a worker asks its server for each job it does."""

from __future__ import annotations

import statistics
from collections.abc import AsyncIterator

from bench.queue.lineup import in_turn, lineup, ratio, seated
from bench.results import Result

FIELD = ("ours", "arq_tuned", "bullmq")
ROUNDS = 3
NAME = "queue.round_trips_per_job"


async def round_trips_per_job() -> AsyncIterator[Result]:
    """Times a server had something to read for each job, while there is always another one; the goal is below 1.

    A script counts once, whatever it does on the server, and so does a pipeline.
    """
    async with seated(lineup(*FIELD)) as seats:
        found: dict[str, list[float]] = {seat.engine.name: [] for seat in seats}
        for turn in range(ROUNDS):
            for seat in in_turn(seats, turn):
                jobs = seat.engine.jobs
                await seat.filled(jobs)
                before = await seat.server.round_trips()
                await seat.drained(jobs)
                found[seat.engine.name].append((await seat.server.round_trips() - before) / jobs)
    ours = found.pop("ours")
    yield Result(NAME, statistics.median(ours), "reads/job", "1", statistics.median(ours), ROUNDS)
    for peer, theirs in found.items():
        versus = f"ours for each of {peer}"
        yield Result(f"{NAME}.{peer}", statistics.median(theirs), "reads/job", versus, ratio(ours, theirs), ROUNDS)
