"""The queue engine: arq's jobs, taken the moment they come, several at a time, by a worker with no reason to die.

arq's storage layout is kept: stock tools can look at the queues and stock producers fill them. What differs is how a
worker reads it: it is woken by whoever enqueues instead of asking again and again, and one script tells what ended and
claims what is due. A claimed job is its worker's for a few seconds, renewed while it runs; a worker that comes too late
finds its claim gone and drops the job. The truth about runs is in our records, so arq keeps no results, counts no tries
that matter and gives a job up only when it killed its workers.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import timedelta
from functools import partial
from typing import Any, Literal, NamedTuple
from uuid import uuid4

import orjson
import structlog
from arq import Retry as Later
from arq.connections import ArqRedis
from arq.jobs import DeserializationError, deserialize_job_raw
from arq.worker import Worker, func
from redis.asyncio import ConnectionPool
from redis.asyncio.retry import Retry
from redis.backoff import ExponentialBackoff
from redis.exceptions import BusyLoadingError, RedisError
from redis.exceptions import ConnectionError as Unconnected
from redis.exceptions import TimeoutError as Unanswered
from redis.typing import EncodableT

from pipeline.acts import ended
from pipeline.jobs import JOB_LIFE, job_bytes, job_pool, queue_key
from pipeline.records.queue import WAKE_SUFFIX, Death
from workers.jobs import Job
from workers.turn import MOST_DEATHS, turn_script

LOOK_AGAIN = 1.0
"""Seconds between two looks at the queues when nobody wakes the worker, as stock producers do not."""
BLOCKED = 5.0
"""Seconds one blocking read of the wake lists lasts; less than `SOCKET_TIMEOUT`."""
AHEAD_AFTER = 0.02
"""Seconds a job must have waited before it is taken ahead: by then every worker that had a free slot has it."""
AWAY = 1.0
"""Seconds between two looks at the queues while the queue server does not answer."""
TELL_AGAIN = 0.2
"""Seconds between two tries of a worker that stops to tell what ended."""
STRANGE_AFTER = 10.0
"""Seconds after which a job of a name unknown here is offered again: a newer worker may know it."""
MOST_TRIES = 1_000_000
LEASE = 5.0
"""Seconds after its last word until a worker's jobs are to be had by others."""
TIDY_EVERY = 1.0
"""Seconds between two looks for what others took out of the queues."""
STILL_LEAVING = 0.2
"""Seconds after which a job is offered again whose lost claim this very worker has not yet let go."""
SOCKET_TIMEOUT = 10.0
CONNECT_TIMEOUT = 2.0
RETRIES = 30
"""Tries, at last a second apart, that one command gets: a restarting server costs no job its bookkeeping."""
HANDING_BACK = 5.0
"""Seconds in which jobs that were cancelled must be back in their queues."""

LOST: tuple[type[Any], ...] = (Unconnected, Unanswered, BusyLoadingError, OSError)
"""What a server that is away looks like; OSError is what connecting anew raises."""

Verdict = Literal["held", "done", "later", "back"]

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


class Claim(NamedTuple):
    """A job that is this worker's now: where it was, since when it was due, how often it was begun, and its body.

    It is held under `mark`; `deaths` are those of the workers that were lost over it.
    """

    queue: str
    id: str
    due: str
    tries: int
    body: bytes | None
    mark: str = ""
    deaths: tuple[Death, ...] = ()


class Fate(NamedTuple):
    """What becomes of a claimed job: `held` on, `done`, due `later` (in so many milliseconds), or `back` as it was."""

    claim: Claim
    verdict: Verdict
    number: str = ""

    @property
    def arguments(self) -> tuple[str, ...]:
        return (self.claim.queue, self.claim.id, self.claim.mark, self.verdict, self.number)


class Answer(NamedTuple):
    """What a turn brought: seconds until the next, new claims, those that are lost, and jobs handed over meanwhile."""

    patience: float
    claims: list[Claim]
    gone: list[tuple[str, str]]
    handed: list[bytes]


class Work(NamedTuple):
    """What is done for jobs of one name; `give_up` sees that one whose workers were lost over it is not begun again.

    It is given the arguments of the job, and the deaths.
    """

    act: Job
    give_up: Callable[..., Awaitable[None]] | None = None


class Queues(Worker):
    """Takes jobs from several queues, the first before the second, until stopped.

    At most `slots` of them are begun as they come; `ahead` more may be taken when nobody else had a slot for them. A
    job gets `job_timeout` seconds; one whose worker was lost is to be had again `lease` seconds later, and is given up
    after the third time. `works` are the jobs by name, `worker` is the id by which this one is known.
    """

    def __init__(
        self,
        pool: ArqRedis,
        prefix: str,
        queues: Sequence[str],
        slots: int,
        works: Mapping[str, Work],
        job_timeout: float,
        lease: float = LEASE,
        ahead: int = 0,
        worker: str = "",
    ) -> None:
        self._keys = [queue_key(prefix, queue) for queue in queues]
        super().__init__(
            [
                func(work.act, name=name, keep_result=0, timeout=job_timeout, max_tries=MOST_TRIES)
                for name, work in works.items()
            ],
            queue_name=self._keys[0],
            redis_pool=pool,
            handle_signals=False,
            max_jobs=slots + ahead,
            job_timeout=job_timeout,
            keep_result=0,
            max_tries=MOST_TRIES,
            job_serializer=job_bytes,
            job_deserializer=orjson.loads,
            expires_extra_ms=int(JOB_LIFE / timedelta(milliseconds=1)),
            log_results=False,
        )
        self._slots = slots
        self._lease = lease
        self._renewed = 0.0
        self._works = works
        self._script = pool.register_script(turn_script(prefix))
        self._command: Callable[..., Awaitable[Any]] = pool.execute_command
        self._worker = worker or str(uuid4())
        self._name = f"{self._worker} {socket.gethostname()} {os.getpid()}"
        self._answered = f"{prefix}turn:{self._worker}"
        self._hands = f"{prefix}hands:{self._worker}"
        self._known = 0
        self._number = 0
        self._tidied = 0.0
        self._claims: dict[str, Claim] = {}
        self._lost: set[str] = set()
        self._over: list[Fate] = []
        self._news, self._room = asyncio.Event(), asyncio.Event()
        self._turning = asyncio.Lock()
        self._listening = self._offered = self._stopped = False

    async def main(self) -> None:
        """Take jobs until `stop`; a queue server that went away is waited for."""
        self._measure_room()
        self._listening, listening = True, asyncio.create_task(self._listen())
        try:
            while not self._stopped:
                pause = await self.turn()
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(pause):
                        await self._news.wait()
                self._news.clear()
        finally:
            await ended([listening])

    async def stop(self, grace: float) -> None:
        """Pick nothing more, give what runs `grace` seconds, then hand the rest back to the queues."""
        self.allow_pick_jobs = False
        self._measure_room()
        # A look that is under way may still start jobs, and who enqueues must hear that nobody waits here.
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(HANDING_BACK):
                await self.turn()
        await self._until_done(grace)
        for job in self.tasks.values():
            job.cancel()
        await self._until_done(HANDING_BACK)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(HANDING_BACK):
                await self._tell_all()
        self._stopped = True
        self._news.set()

    async def _tell_all(self) -> None:
        while not await self._all_told():
            await self.turn()
            if self._over:
                await asyncio.sleep(TELL_AGAIN)

    async def _all_told(self) -> bool:
        async with self._turning:  # a turn under way may carry some of it, and fail
            return not self._over

    async def turn(self) -> float:
        """Tell what ended and begin what is to be had; returns the seconds until there may be more."""
        async with self._turning:
            free, ahead = self._free(), self._ahead()
            self._renew()
            if not (self._over or free or ahead or self._offered):
                return min(LOOK_AGAIN, self._lease / 3)
            over, self._over = self._over, []
            try:
                answer = await self._exchange(over, free, ahead)
            except asyncio.CancelledError:
                self._over = over + self._over
                raise
            except Exception as fault:  # nothing a queue server says may end the worker
                self._over = over + self._over
                known = isinstance(fault, RedisError | OSError | TimeoutError)
                log.warning("queue_unreachable", reason=str(fault) or type(fault).__name__, exc_info=not known)
                return AWAY
            self._number += 1
            self._take(answer)
            self._measure_room()
            return answer.patience

    def _take(self, answer: Answer) -> None:
        for id, mark in answer.gone:
            self._drop(id, mark)
        for row in answer.handed:
            self._receive(row)
        for claim in answer.claims:
            self._begin(claim)

    def _renew(self) -> None:
        now = asyncio.get_running_loop().time()
        if now - self._renewed > self._lease / 4:
            self._renewed = now
            self._over += [Fate(claim, "held") for claim in self._claims.values() if claim.id not in self._lost]

    def _is_time_to_tidy(self) -> bool:
        now = asyncio.get_running_loop().time()
        if now - self._tidied < TIDY_EVERY:
            return False
        self._tidied = now
        return True

    async def _exchange(self, over: Sequence[Fate], free: int, ahead: int) -> Answer:
        told = orjson.dumps([fate.arguments for fate in over])
        spans = (AHEAD_AFTER, min(LOOK_AGAIN, self._lease / 3))
        waited, patience = (int(seconds * 1000) for seconds in spans)
        slots = self._slots if self._listening and self.allow_pick_jobs else 0
        who: list[EncodableT] = [self._worker, self._name, self._answered, self._number, int(self._lease * 1000)]
        grave = any(len(claim.deaths) == MOST_DEATHS - 1 for claim in self._claims.values())
        asked: list[EncodableT] = [free, ahead, waited, patience, int(self._is_time_to_tidy()), slots, self._known]
        milliseconds, rows, gone, handed = await self._script(keys=self._keys, args=[*who, *asked, int(grave), told])
        self._offered = slots > 0
        lost = [(id.decode(), mark.decode()) for id, mark in gone]
        return Answer(milliseconds / 1000, [_claim(row) for row in rows], lost, handed)

    def _free(self) -> int:
        return max(0, self._slots - len(self.tasks)) if self.allow_pick_jobs else 0

    def _ahead(self) -> int:
        return self.max_jobs - max(self._slots, len(self.tasks)) if self.allow_pick_jobs else 0

    def _measure_room(self) -> None:
        if self._free():
            self._room.set()
        else:
            self._room.clear()

    # What is woken

    async def _listen(self) -> None:
        """Wait for somebody who enqueues, whenever there is a slot for what he brings."""
        wakes = [self._hands, *(key + WAKE_SUFFIX for key in self._keys)]
        while True:
            await self._room.wait()
            try:
                await self._heed(await self._command("BLPOP", *wakes, BLOCKED))
                await asyncio.sleep(0)  # the look goes out before the next wait
            except (RedisError, OSError, TimeoutError):
                await asyncio.sleep(AWAY)

    async def _heed(self, word: Sequence[bytes] | None) -> None:
        if word is None:
            return
        if word[0].decode() == self._hands:
            self._receive(word[1])
            self._measure_room()
            self._news.set()
        elif self._room.is_set():
            self._news.set()
        else:  # the last slot was taken meanwhile; somebody else has one
            await self._command("LPUSH", *word)

    # What is begun

    def _receive(self, row: bytes) -> None:
        """Begin a job that was handed over; its word comes twice when a turn was faster than the list."""
        number, queue, id, due, body, mark = orjson.loads(row)
        if int(number) > self._known:
            self._known = int(number)
            self._begin(Claim(queue, id, due, 1, body.encode(), mark))

    def _begin(self, claim: Claim) -> None:
        if claim.id in self.tasks:
            if self._claims[claim.id].mark != claim.mark:  # it was lost and came back before we had let go of it
                self._over.append(Fate(claim, "later", str(int(STILL_LEAVING * 1000))))
            return
        if not self.allow_pick_jobs:  # the answer to a turn before we were stopped
            self._over.append(Fate(claim, "back", claim.due))
            return
        self._claims[claim.id] = claim
        task = asyncio.create_task(self._work(claim))
        self.tasks[claim.id] = task
        task.add_done_callback(partial(self._ended, claim))

    def _drop(self, id: str, mark: str) -> None:
        """Let go of a job that is somebody else's by now."""
        claim = self._claims.get(id)
        if claim is None or claim.mark != mark or id in self._lost:
            return
        log.warning("claim_lost", job=id)
        self._lost.add(id)
        self.tasks[id].cancel()

    def _ended(self, claim: Claim, task: asyncio.Task[Fate]) -> None:
        del self.tasks[claim.id], self._claims[claim.id]
        self._lost.discard(claim.id)
        self._over.append(Fate(claim, "back", claim.due) if task.cancelled() else task.result())
        if not self._news.is_set():
            self._measure_room()
            self._news.set()

    async def _work(self, claim: Claim) -> Fate:
        """Do a job to its end; nothing it raises gets any further."""
        try:
            async with asyncio.timeout(self.job_timeout_s):
                await self._perform(claim)
        except Later as later:
            return Fate(claim, "later", str(later.defer_score or 0))
        except asyncio.CancelledError:
            return Fate(claim, "back", claim.due)
        except Exception:
            log.exception("job_fault", job=claim.id)
        return Fate(claim, "done")

    async def _perform(self, claim: Claim) -> None:
        if claim.body is None:
            log.warning("job_expired", job=claim.id)
            return
        try:
            name, arguments, named, *_ = deserialize_job_raw(claim.body, deserializer=self.job_deserializer)
        except DeserializationError:
            log.exception("job_unreadable", job=claim.id)
            return
        if name not in self.functions:
            log.warning("job_unknown", job=claim.id, name=name)
            raise Later(defer=STRANGE_AFTER)
        give_up = self._works[name].give_up
        if give_up and len(claim.deaths) >= MOST_DEATHS:
            log.warning("job_poisoned", job=claim.id)
            await self._given_up(give_up(*arguments, claim.deaths))
            return
        context = {**self.ctx, "job_id": claim.id, "job_try": claim.tries, "claim": claim.mark}
        await self.functions[name].coroutine(context, *arguments, **named)

    async def _given_up(self, telling: Awaitable[None]) -> None:
        try:
            await telling
        except Exception as fault:
            log.warning("poison_untold", exc_info=True)
            raise Later(defer=STRANGE_AFTER) from fault

    async def _until_done(self, seconds: float) -> None:
        if running := list(self.tasks.values()):
            await asyncio.wait(running, timeout=seconds)


def _claim(row: Sequence[Any]) -> Claim:
    queue, id, due, tries, body, mark, deaths = row
    known = tuple(Death.read(text) for text in deaths)
    return Claim(queue.decode(), id.decode(), due.decode(), int(tries), body, mark.decode(), known)
