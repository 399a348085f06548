"""Small files by each vendor's requests beside as many of our own, sent by wrk."""

from __future__ import annotations

import asyncio
import re
import statistics
from collections.abc import AsyncIterator
from pathlib import Path

from bench.ingest.servers import Server, serving
from bench.results import Result

CONNECTIONS, SECONDS = 16, 4
ROUNDS = 5
RATE = re.compile(r"Requests/sec:\s+([\d.]+)")
STEPS = Path(__file__).with_name("steps.lua")
REQUESTS = {"native": 1, "native_ticket": 2, "native_put": 3, "imagekit": 1, "ittybit": 2, "uploadkit": 3}
"""Of each way for one file."""
PEERS = {"imagekit": "native", "ittybit": "native_ticket", "uploadkit": "native_put"}


async def dialects_vs_native() -> AsyncIterator[Result]:
    """Files of 50 KB a second; a ratio over 1 is faster than our own requests."""
    rates: dict[str, list[float]] = {name: [] for name in REQUESTS}
    async with serving("ours") as (ours,):
        for turn in range(ROUNDS + 1):
            names = list(REQUESTS)
            for name in names[turn:] + names[:turn]:
                rate = await _rate(ours, name)
                ours.emptied()
                if turn:  # the first round warms everybody up
                    rates[name].append(rate)
    for name, peer in PEERS.items():
        ratio = statistics.median(one / other for one, other in zip(rates[name], rates[peer], strict=True))
        versus = f"our own API, {REQUESTS[peer]} request{'s' * (REQUESTS[peer] > 1)} a file"
        yield Result(f"ingest.{name}_vs_native", statistics.median(rates[name]), "files/s", versus, ratio, ROUNDS)


async def _rate(server: Server, name: str) -> float:
    program = await asyncio.create_subprocess_exec(
        "wrk", f"-t{CONNECTIONS}", f"-c{CONNECTIONS}", f"-d{SECONDS}s", "-s", str(STEPS),
        f"http://127.0.0.1:{server.port}", "--", name,
        stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    counted = (await program.communicate())[0].decode()
    assert "Non-2xx" not in counted, (name, counted)
    return float(RATE.search(counted)[1]) / REQUESTS[name]  # type: ignore[index]
