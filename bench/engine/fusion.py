"""What it saves to encode once, at the end, instead of after every node."""

from __future__ import annotations

import statistics
import sys
from collections.abc import AsyncIterator

from bench.contest import CPU, Contestant, contest
from bench.photos import large
from bench.results import Result

FLOWS = ("product-images", "social-card", "chain")
SINGLE = "profile-picture"
"""One picture step: hardly anything to fuse. It has its row but no part in the mean."""
NAME = "engine.fusion_speedup"
ROUNDS, TIMES = 5, 3
PROGRAM = (sys.executable, "-m", "bench.stepwise")


async def fusion_speedup() -> AsyncIterator[Result]:
    """CPU of flows node by node, JPEG in between (or PNG, which loses nothing), for each of the fused call."""
    ratios: dict[str, list[float]] = {"jpeg": [], "png": []}
    spent = {"jpeg": 0.0, "png": 0.0}
    for flow in (*FLOWS, SINGLE):
        field = [Contestant(way, PROGRAM, f"{way}:{flow}") for way in ("fused", "jpeg", "png")]
        outcome = await contest(field, large(), ROUNDS, TIMES)
        for way in ratios:
            ratio, value = outcome.ratio(way, "fused"), 1000 * outcome.cpu("fused")
            yield Result(f"{NAME}.{flow}.{way}", value, CPU, _versus(way), ratio, ROUNDS)
            if flow != SINGLE:
                ratios[way].append(ratio)
                spent[way] += value
    for way, name in (("jpeg", NAME), ("png", f"{NAME}.png")):
        mean = statistics.geometric_mean(ratios[way])
        yield Result(name, spent[way], f"{CPU}, {len(FLOWS)} flows", _versus(way), mean, ROUNDS)


def _versus(way: str) -> str:
    return f"a call for each node, {way} between"
