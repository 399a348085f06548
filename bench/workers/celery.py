"""celery in one process (pool `solo`), without results, gossip and events."""

from __future__ import annotations

from celery import Celery

from bench.workers.tally import Tally, sent_by_thread, told


def work(socket: str, tally: Tally) -> None:
    app = _app(socket)
    app.task(tally.begin, name="noop", shared=False)
    app.Worker(pool="solo", loglevel="ERROR", without_gossip=True, without_mingle=True, quiet=True).start()


def send(socket: str, jobs: int, pause: float) -> None:
    app = _app(socket)
    sent_by_thread(lambda at: app.send_task("noop", (at,)), jobs, pause)


def _app(socket: str) -> Celery:
    app = Celery(broker=f"redis+socket://{socket}", task_ignore_result=True)
    app.conf.worker_redirect_stdouts = False
    return app


if __name__ == "__main__":
    told(work, send)
