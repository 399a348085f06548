"""A worker process whose event loop is watched: when it ends it prints every delay, `[[monotonic time, seconds]]`."""

from __future__ import annotations

import asyncio
import json
import sys
import time

PERIOD = 0.005


async def watch(delays: list[tuple[float, float]]) -> None:
    """Sleep again and again, and write down by how much each sleep was too long; timers tick in milliseconds."""
    while True:
        started = time.monotonic()
        await asyncio.sleep(PERIOD)
        woken = time.monotonic()
        delays.append((woken, woken - started - PERIOD))


async def watched() -> None:
    """A worker as `python -m workers` starts it, until SIGTERM."""
    from pipeline.logs import configure_logs
    from pipeline.settings import load_settings
    from workers.main import serve

    settings = load_settings()
    configure_logs(settings.log_format, "warning")
    delays: list[tuple[float, float]] = []
    watching = asyncio.create_task(watch(delays))
    await serve(settings, settings.worker_queues, settings.worker_slots)
    watching.cancel()
    json.dump(delays, sys.stdout)


if __name__ == "__main__":
    from workers.main import _loop_factory

    with asyncio.Runner(loop_factory=_loop_factory()) as runner:
        runner.run(watched())
