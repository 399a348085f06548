"""saq with a hundred jobs at once; a job leaves no result behind."""

from __future__ import annotations

import logging
from typing import Any

from redis.asyncio import Redis
from saq import Worker
from saq.queue.redis import RedisQueue

from bench.workers.tally import SLOTS, Tally, looped, sent, told


def work(socket: str, tally: Tally) -> None:
    async def noop(_: Any, *, at: float) -> None:
        tally.begin(at)

    # Its sweeper complains of jobs that were done meanwhile.
    logging.disable(logging.ERROR)

    async def run() -> None:
        await Worker(_queue(socket), functions=[("noop", noop)], concurrency=SLOTS).start()

    looped(run())


def send(socket: str, jobs: int, pause: float) -> None:
    async def run() -> None:
        queue = _queue(socket)
        await sent(lambda at: queue.enqueue("noop", at=at, ttl=-1), jobs, pause)

    looped(run())


def _queue(socket: str) -> RedisQueue:
    return RedisQueue(Redis.from_url(f"unix://{socket}", max_connections=1000))


if __name__ == "__main__":
    told(work, send)
