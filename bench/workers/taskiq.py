"""taskiq with taskiq-redis on a stream, its broker that knows acknowledgements; a hundred jobs at once."""

from __future__ import annotations

from taskiq.api import run_receiver_task
from taskiq_redis import RedisStreamBroker

from bench.workers.tally import SLOTS, Tally, looped, sent, told


def work(socket: str, tally: Tally) -> None:
    async def run() -> None:
        broker = _broker(socket)

        @broker.task(task_name="noop")
        async def noop(at: float) -> None:
            tally.begin(at)

        await run_receiver_task(broker, max_async_tasks=SLOTS, max_prefetch=SLOTS, run_startup=True)

    looped(run())


def send(socket: str, jobs: int, pause: float) -> None:
    async def run() -> None:
        broker = _broker(socket)
        await broker.startup()

        @broker.task(task_name="noop")
        async def noop(at: float) -> None:
            raise NotImplementedError

        await sent(noop.kiq, jobs, pause)

    looped(run())


def _broker(socket: str) -> RedisStreamBroker:
    return RedisStreamBroker(url=f"unix://{socket}")


if __name__ == "__main__":
    told(work, send)
