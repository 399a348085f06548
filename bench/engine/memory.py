"""How much memory the largest picture takes when it can flow from top to bottom."""

from __future__ import annotations

from collections.abc import AsyncIterator

from bench.contest import contest
from bench.peers import ours, pillow, vips
from bench.photos import vast
from bench.results import Result

NAME = "engine.peak_memory_mib"
LIMIT_MIB = 512
ROUNDS = 3
FLOWS = {"": "streaming", ".sizes": "sizes", ".marked": "marked"}
"""The first reads from top to bottom once; the others have to hold one small picture."""


async def peak_memory_mib() -> AsyncIterator[Result]:
    """Peak resident MiB of a whole process, Python and libvips in it, that draws from 100 MP JPEG; under 1 is within.

    Rows of peers hold what they take for the first flow, and ours for each of theirs.
    """
    for row, flow in FLOWS.items():
        peers = [vips(flow), pillow(flow)] if row == "" else []
        outcome = await contest([ours(flow), *peers], vast(), ROUNDS, times=1)
        mine = outcome.peak_mib("ours")
        yield Result(NAME + row, mine, "MiB", f"limit of {LIMIT_MIB} MiB", mine / LIMIT_MIB, ROUNDS)
        for peer in peers:
            theirs = outcome.peak_mib(peer.name)
            yield Result(f"{NAME}.{peer.name}", theirs, "MiB", f"ours for each of {peer.name}", mine / theirs, ROUNDS)
