"""Whether the pages of a busy server stay quick when it remembers a lot."""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import AsyncIterator, Mapping, Sequence

from bench.queue.filling import DAY, filled
from bench.results import Result
from bench.stack import Stack, running_stack
from pipeline.settings import Settings

NAME = "records.page_vs_1000"
FEW, MANY = 1_000, 100_000
SAMPLES = 100
FAR = 10
"""Pages that are turned before the one that is measured as `far`."""
LIMIT_MS = 50.0
PAGES: Mapping[str, str] = {
    "newest": "/v1/runs",
    "queued": "/v1/runs?status=queued",
    "completed_of_flow": "/v1/runs?status=completed&flow=sizes",
    "of_flow": "/v1/runs?flow=thumbnail",
    "none": "/v1/runs?status=failed",
    "longest": "/v1/runs?limit=200",
    "queues": "/v1/queues",
    "workers": "/v1/workers",
    "metrics": "/metrics",
}


async def page_vs_1000() -> AsyncIterator[Result]:
    """95th percentile of a page, ms, with 10^5 finished and 10^5 queued runs, against the same with 10^3 of each.

    A row for every page; the main row is the slowest one of them, `.limit` is that for each of the 50 ms it may take.
    """
    few, many = await _times()
    worst = max(many, key=lambda page: _p95(many[page]))
    yield Result(NAME, _p95(many[worst]), "ms", f"{worst} with {FEW}", _p95(many[worst]) / _p95(few[worst]), SAMPLES)
    slowest = _p95(many[worst])
    yield Result(f"{NAME}.limit", slowest, "ms", f"limit of {LIMIT_MS:g} ms", slowest / LIMIT_MS, SAMPLES)
    for page in many:
        ratio = _p95(many[page]) / _p95(few[page])
        yield Result(f"{NAME}.{page}", _p95(many[page]), "ms", f"with {FEW}", ratio, SAMPLES)


async def _times() -> tuple[Mapping[str, Sequence[float]], Mapping[str, Sequence[float]]]:
    async with running_stack(workers=0) as small, running_stack(workers=0) as large:
        await asyncio.gather(_fill(small, FEW), _fill(large, MANY))
        stacks = (small, large)
        pages = [{**PAGES, "far": await _far(stack), "day": _day()} for stack in stacks]
        found: tuple[dict[str, list[float]], dict[str, list[float]]] = ({}, {})
        for turn in range(SAMPLES + 1):
            for page in pages[0]:
                for stack, addresses, times in zip(stacks, pages, found, strict=True):
                    taken = await _seconds(stack, addresses[page])
                    if turn:
                        times.setdefault(page, []).append(taken)
    return found


async def _fill(stack: Stack, each: int) -> None:
    await filled(stack.note["redis_url"], Settings.model_fields["key_prefix"].default, each)


async def _seconds(stack: Stack, page: str) -> float:
    started = time.perf_counter()
    async with stack.session.get(page) as answer:
        body = await answer.read()
    assert answer.status == 200 and body, page
    return time.perf_counter() - started


async def _far(stack: Stack) -> str:
    """The address of a page that is found by turning many."""
    address = "/v1/runs"
    for _ in range(FAR):
        async with stack.session.get(address) as answer:
            address = f"/v1/runs?cursor={(await answer.json())['next']}"
    return address


def _day() -> str:
    """The address of a whole day minute by minute."""
    return f"/v1/stats?from={time.time() - DAY + 60:.0f}"


def _p95(seconds: Sequence[float]) -> float:
    return 1000 * statistics.quantiles(seconds, n=20)[18]
