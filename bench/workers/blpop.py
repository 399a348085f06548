"""No engine at all: one client pushes, the other waits. The wall."""

from __future__ import annotations

from redis.asyncio import Redis

from bench.workers.tally import Tally, looped, sent, told


def work(socket: str, tally: Tally) -> None:
    async def run() -> None:
        client = Redis.from_url(f"unix://{socket}")
        while True:
            _, at = await client.blpop(["noop"])
            tally.begin(float(at))

    looped(run())


def send(socket: str, jobs: int, pause: float) -> None:
    async def run() -> None:
        client = Redis.from_url(f"unix://{socket}")
        await sent(lambda at: client.lpush("noop", repr(at)), jobs, pause)

    looped(run())


if __name__ == "__main__":
    told(work, send)
