"""dramatiq with its eight threads."""

from __future__ import annotations

import signal

import dramatiq
from dramatiq.brokers.redis import RedisBroker

from bench.workers.tally import Tally, sent_by_thread, told


def work(socket: str, tally: Tally) -> None:
    broker = RedisBroker(url=f"unix://{socket}")
    dramatiq.actor(tally.begin, actor_name="noop", broker=broker)
    dramatiq.Worker(broker).start()
    signal.pause()


def send(socket: str, jobs: int, pause: float) -> None:
    broker = RedisBroker(url=f"unix://{socket}")
    noop = dramatiq.actor(lambda at: None, actor_name="noop", broker=broker)
    sent_by_thread(noop.send, jobs, pause)


if __name__ == "__main__":
    told(work, send)
