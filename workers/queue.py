"""The queue engine: arq reading our queues, with one set of slots for all of them and no reason to die.

arq's worker reads one queue, so each queue has a reader of its own inside one event loop; they are polled in the order
of preference and share sandbox and slots. arq's storage layout is untouched: stock tools can look at the queues. The
truth about runs is in our records, so arq keeps no results, counts no tries that matter and never gives a job up.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import orjson
import structlog
from arq.connections import ArqRedis
from arq.constants import retry_key_prefix
from arq.worker import Worker, func
from redis.asyncio import ConnectionPool
from redis.asyncio.retry import Retry
from redis.backoff import ExponentialBackoff
from redis.exceptions import BusyLoadingError, RedisError
from redis.exceptions import ConnectionError as Unconnected
from redis.exceptions import TimeoutError as Unanswered

from pipeline.model import Queue
from pipeline.runs import JOB, JOB_LIFE, job_bytes, job_pool, queue_key
from workers.jobs import Job

POLL = 0.05
"""Seconds between two looks at the queues."""
AWAY = 1.0
"""Seconds between two looks while the queue server does not answer."""
MOST_TRIES = 1_000_000
READ_AHEAD = 10
SOCKET_TIMEOUT = 10.0
CONNECT_TIMEOUT = 2.0
RETRIES = 30
"""Tries, at last a second apart, that one command gets: a restarting server costs no job its bookkeeping."""
HANDING_BACK = 5.0
"""Seconds in which jobs that were cancelled must be back in their queues."""

LOST: tuple[type[Any], ...] = (Unconnected, Unanswered, BusyLoadingError, OSError)
"""What a server that is away looks like; OSError is what connecting anew raises."""

log = structlog.stdlib.get_logger(__name__)


def worker_pool(redis_url: str) -> ArqRedis:
    """arq's client for a worker; it waits about a minute for a server that went away before a command fails."""
    connections = ConnectionPool.from_url(
        redis_url,
        # The asynchronous Retry: with redis.retry.Retry a reconnect raises and the worker dies.
        retry=Retry(ExponentialBackoff(cap=1.0, base=0.05), RETRIES, LOST),
        retry_on_error=list(LOST),
        socket_connect_timeout=CONNECT_TIMEOUT,
        socket_timeout=SOCKET_TIMEOUT,
    )
    return job_pool(connections)


class Slots:
    """How many jobs run at once in this process, whichever queue they came from."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.taken = 0
        # One beyond the slots: arq holds it while it looks whether a job is still to be had.
        self.room = asyncio.BoundedSemaphore(size + 1)


class QueueReader(Worker):
    """arq's worker for one queue."""

    def __init__(self, key: str, job: Job, slots: Slots, pool: ArqRedis, job_timeout: float) -> None:
        self.slots = slots
        self.handing_back = False
        super().__init__(
            [func(job, name=JOB, keep_result=0, timeout=job_timeout, max_tries=MOST_TRIES)],
            queue_name=key,
            redis_pool=pool,
            handle_signals=False,
            max_jobs=slots.size,
            job_timeout=job_timeout,
            keep_result=0,
            poll_delay=POLL,
            queue_read_limit=max(200, slots.size * READ_AHEAD),
            max_tries=MOST_TRIES,
            job_serializer=job_bytes,
            job_deserializer=orjson.loads,
            expires_extra_ms=int(JOB_LIFE / timedelta(milliseconds=1)),
            log_results=False,
        )
        self.sem = slots.room

    @property
    def job_counter(self) -> int:
        return self.slots.taken

    @job_counter.setter
    def job_counter(self, taken: int) -> None:
        self.slots.taken = taken

    async def heart_beat(self) -> None:
        """Nothing: our own heartbeat tells of the whole process, and there are no cron jobs."""

    async def finish_job(self, job_id: str, finish: bool, *rest: Any) -> None:
        await super().finish_job(job_id, finish, *rest)
        if self.handing_back and not finish:
            await self.pool.decr(retry_key_prefix + job_id)  # a deployment is not the job's fault


class Queues:
    """Takes jobs from several queues, the first before the second, until stopped."""

    def __init__(
        self, pool: ArqRedis, prefix: str, queues: Sequence[Queue], slots: int, job: Job, job_timeout: float
    ) -> None:
        self._pool = pool
        self._slots = Slots(slots)
        self._readers = [QueueReader(queue_key(prefix, q), job, self._slots, pool, job_timeout) for q in queues]
        self._stopping = asyncio.Event()
        self._polling = asyncio.Lock()

    async def run(self) -> None:
        """Pick jobs until `stop`; a queue server that went away is waited for."""
        while not self._stopping.is_set():
            pause = POLL if await self._poll() else AWAY
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stopping.wait(), pause)

    async def stop(self, grace: float) -> None:
        """Pick nothing more, give what runs `grace` seconds, then hand the rest back to the queues."""
        self._stopping.set()
        for reader in self._readers:
            reader.allow_pick_jobs = False
        # A look that is under way may still start jobs.
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._polling.acquire(), HANDING_BACK)
        await self._until_done(grace)
        for reader in self._readers:
            reader.handing_back = True
        for job in self._running():
            job.cancel()
        await self._until_done(HANDING_BACK)

    async def _until_done(self, seconds: float) -> None:
        if running := self._running():
            done, _ = await asyncio.wait(running, timeout=seconds)
            await asyncio.gather(*done, return_exceptions=True)

    async def _poll(self) -> bool:
        try:
            async with self._polling:
                for reader in self._readers:
                    await reader._poll_iteration()
        except (RedisError, OSError, TimeoutError) as fault:
            log.warning("queue_unreachable", reason=str(fault) or type(fault).__name__)
            return False
        except Exception:  # nothing a job or arq does may end the worker
            log.exception("queue_fault")
            return False
        return True

    def _running(self) -> Sequence[asyncio.Task[Any]]:
        return [job for reader in self._readers for job in reader.tasks.values() if not job.done()]
