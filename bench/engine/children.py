"""What a second core brings: two sandbox children against one, two workers of one child each against one."""

from __future__ import annotations

import asyncio
import statistics
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path

from bench.contest import run
from bench.ours import FLOWS, Draw, caught
from bench.peers import vips
from bench.photos import DEMO
from bench.results import Result
from bench.stack import Stack, running_stack
from pipeline.imaging.sandbox import Sandbox
from workers.warm import warm

NAME = "engine.children_scaling"
JOB = "sizes"
ROUNDS = 5
IMAGES = 12
IN_FLIGHT = 4
MEMORY = 2 * 2**30
Rate = Callable[[], Awaitable[float]]


async def children_scaling() -> AsyncIterator[Result]:
    """Images a second of two sandbox children for each of one child; `.workers` the same of whole workers over HTTP.

    `.machine` is what two processes of bare pyvips reach: the most this machine gives.
    """
    async with AsyncExitStack() as stack:
        children = [await _sandbox(stack, number) for number in (1, 2)]
        workers = [await _workers(stack, number) for number in (1, 2)]
        machine = [partial(_pyvips, number) for number in (1, 2)]
        found = await _rounds({"": children, ".workers": workers, ".machine": machine})
    for row, rates in found.items():
        value, ratio = statistics.median(two for _, two in rates), statistics.median(two / one for one, two in rates)
        yield Result(NAME + row, value, "images/s", "one of them", ratio, ROUNDS)


async def _rounds(pairs: dict[str, Sequence[Rate]]) -> dict[str, list[tuple[float, float]]]:
    """The rates of one and of two, everything once in every round; the first is thrown away."""
    found: dict[str, list[tuple[float, float]]] = {row: [] for row in pairs}
    for number in range(ROUNDS + 1):
        for row, (one, two) in pairs.items():
            # Who is first changes, so that neither always meets a machine warmed up by the other.
            rates = (await one(), await two()) if number % 2 else tuple(reversed((await two(), await one())))
            if number:
                found[row].append((rates[0], rates[1]))
    return found


async def _sandbox(stack: AsyncExitStack, children: int) -> Rate:
    sandbox = Sandbox(children, MEMORY, warm)
    stack.push_async_callback(sandbox.close)
    await sandbox.start()
    draws = []
    for _ in range(children):
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        draw, _ = await caught((FLOWS / f"{JOB}.yaml").read_text(), DEMO, Path(folder))
        draws.append(draw)
    return partial(_rate_of_sandbox, sandbox, draws)


async def _rate_of_sandbox(sandbox: Sandbox, draws: Sequence[Draw]) -> float:
    async def keep_busy(draw: Draw) -> None:
        for _ in range(IMAGES // len(draws)):
            await sandbox.call(draw, timeout=60)

    started = time.perf_counter()
    await asyncio.gather(*(keep_busy(draw) for draw in draws))
    return IMAGES / (time.perf_counter() - started)


async def _workers(stack: AsyncExitStack, workers: int) -> Rate:
    alone = {"SAFELIGHT_SANDBOX_CHILDREN": "1", "SAFELIGHT_WORKER_SLOTS": "2"}
    server = await stack.enter_async_context(running_stack(workers=workers, environ=alone))
    return partial(_rate_of_server, server, await server.stored(DEMO))


async def _rate_of_server(server: Stack, file: str) -> float:
    gate = asyncio.Semaphore(IN_FLIGHT)

    async def one() -> None:
        async with gate:
            await server.ran(JOB, file)

    started = time.perf_counter()
    await asyncio.gather(*(one() for _ in range(IMAGES)))
    return IMAGES / (time.perf_counter() - started)


async def _pyvips(processes: int) -> float:
    with tempfile.TemporaryDirectory() as folder:
        places = [Path(folder) / str(number) for number in range(processes)]
        spent = await asyncio.gather(*(run(vips(JOB), DEMO, place, IMAGES // processes) for place in places))
    return processes / statistics.mean(found.wall for found in spent)
