"""arq as it comes but for `max_jobs`, or tuned: it asks every 5 ms, reads as much as it can do, keeps no results."""

from __future__ import annotations

import sys
from typing import Any

from arq import create_pool
from arq.connections import RedisSettings
from arq.worker import Worker, func

from bench.workers.tally import SLOTS, Tally, looped, sent, told

TUNED = {"poll_delay": 0.005, "queue_read_limit": SLOTS, "keep_result": 0, "log_results": False}


def main(fast: bool, **options: Any) -> None:
    """Work or send with these options of arq's worker, on uvloop when `fast`."""

    def work(socket: str, tally: Tally) -> None:
        async def noop(_: dict[str, Any], at: float) -> None:
            tally.begin(at)

        async def run() -> None:
            settings = RedisSettings(unix_socket_path=socket)
            await Worker([func(noop, name="noop")], redis_settings=settings, max_jobs=SLOTS, **options).async_run()

        looped(run(), fast)

    def send(socket: str, jobs: int, pause: float) -> None:
        async def run() -> None:
            pool = await create_pool(RedisSettings(unix_socket_path=socket))
            await sent(lambda at: pool.enqueue_job("noop", at), jobs, pause)

        looped(run(), fast)

    told(work, send)


if __name__ == "__main__":
    if "tuned" in sys.argv:
        sys.argv.remove("tuned")
        main(True, **TUNED)
    else:
        main(False)
