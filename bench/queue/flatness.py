"""Whether a job costs more when many others wait."""

from __future__ import annotations

import asyncio
import statistics
from collections.abc import AsyncIterator, Mapping

from bench.queue.lineup import Seat, lineup, ratio, seated
from bench.results import Result
from bench.workers.ours import filled, queued

NAME = "queue.cost_flatness"
DEPTHS = (100, 10_000, 100_000, 1_000_000)
DONE = 10_000
"""Jobs that are done of those that wait; a queue with fewer is filled again and again."""
ROUNDS = 3
LOOK_AGAIN = 0.005


async def cost_flatness() -> AsyncIterator[Result]:
    """Microseconds a job costs, CPU of the worker and scripts of the server, with 10^2 to 10^6 jobs queued.

    The main row is the fullest queue against the emptiest one; a ratio under 1 is cheaper.
    """
    costs = await _costs()
    for depth, found in costs.items():
        row = NAME if depth == DEPTHS[-1] else f"{NAME}.{depth}"
        versus = f"{DEPTHS[0]} queued"
        yield Result(row, statistics.median(found), "us/job", versus, ratio(found, costs[DEPTHS[0]]), ROUNDS)


async def _costs() -> Mapping[int, list[float]]:
    costs: dict[int, list[float]] = {depth: [] for depth in DEPTHS}
    async with seated(lineup("ours") * len(DEPTHS)) as seats:
        for _ in range(ROUNDS):
            for depth, seat in zip(DEPTHS, seats, strict=True):
                await filled(seat.server.client, depth - await queued(seat.server.client))
                costs[depth].append(await _cost(seat))
    return costs


async def _cost(seat: Seat) -> float:
    before = await seat.server.script_seconds()
    async with seat.working(DONE) as worker:
        spending = asyncio.create_task(worker.spent())
        while not spending.done():
            await _again(seat)
            await asyncio.wait([spending], timeout=LOOK_AGAIN)
        scripts = await seat.server.script_seconds() - before
    return 1e6 * ((await spending).cpu + scripts) / DONE


async def _again(seat: Seat) -> None:
    if not await queued(seat.server.client):
        await filled(seat.server.client, DEPTHS[0])
