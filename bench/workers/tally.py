"""What the worker of any engine counts of its no-op jobs, and how a program is told what to do."""

from __future__ import annotations

import asyncio
import json
import random
import sys
import time
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

SLOTS = 100
"""Jobs at once, for every engine that can do several in a loop."""
CHUNK = 100


class Tally:
    """Counts jobs as they begin: tells of the first one, and when the last one has come what all of them took."""

    def __init__(self, jobs: int) -> None:
        self._jobs, self._begun = jobs, 0
        self._waits: list[float] = []
        self._wall = self._cpu = 0.0

    def begin(self, sent: float) -> None:
        """A job begins that was sent at this moment of the monotonic clock, or at none (0) that matters."""
        now = time.monotonic()
        if sent:
            self._waits.append(now - sent)
        self._begun += 1
        if self._begun == 1:
            self._wall, self._cpu = now, time.process_time()
            _tell({})
        if self._begun == self._jobs:
            _tell({"wall": now - self._wall, "cpu": time.process_time() - self._cpu, "waits": self._waits})


def _tell(found: dict[str, Any]) -> None:
    print(json.dumps(found), flush=True)


def told(work: Callable[[str, Tally], None], send: Callable[[str, int, float], None]) -> None:
    """Do what the arguments of the program say."""
    verb, socket, jobs, *pause = sys.argv[1:]
    if verb == "work":
        work(socket, Tally(int(jobs)))
    else:
        send(socket, int(jobs), float(pause[0]) if pause else 0.0)


def looped(act: Coroutine[Any, Any, None], fast: bool = True) -> None:
    """Run a program on uvloop, or as an engine comes."""
    if not fast:
        return asyncio.run(act)
    import uvloop

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(act)


async def sent(enqueue: Callable[[float], Awaitable[Any]], jobs: int, pause: float) -> None:
    """Enqueue jobs one after the other with pauses, each with the time it is sent at; without, as fast as it goes."""
    for _ in range(jobs if pause else 0):
        await asyncio.sleep(_about(pause))
        await enqueue(time.monotonic())
    for start in range(0, 0 if pause else jobs, CHUNK):
        await asyncio.gather(*(enqueue(0.0) for _ in range(min(CHUNK, jobs - start))))


def sent_by_thread(enqueue: Callable[[float], Any], jobs: int, pause: float) -> None:
    """The same for an engine without a loop."""
    for _ in range(jobs):
        if pause:
            time.sleep(_about(pause))
        enqueue(time.monotonic() if pause else 0.0)


def _about(pause: float) -> float:
    # Never in step with an engine that asks at fixed intervals.
    return random.uniform(0.5, 1.5) * pause
