"""How many requests a project may send: counted in the record server, so that every web process counts together.

A process counts ahead: it asks for as many requests as came in the last quarter of a second, at most one in 200 of
what a minute may bring, and asks again when they are used up. So nobody ever sends more than the limit, a busy
project is refused at most one in 200 too early for each process, and a limit below 400 is kept to the request.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections import defaultdict
from typing import Any

import structlog
from limits import RateLimitItemPerMinute
from limits.aio.storage import RedisStorage
from limits.aio.strategies import SlidingWindowCounterRateLimiter
from redis.asyncio import Redis
from redis.exceptions import RedisError

from pipeline.errors import RateExceeded
from pipeline.model import Project

AHEAD = 0.25
"""Seconds for which requests are counted ahead."""
SHARE = 200
"""One in so many of a minute's requests is counted ahead at most."""

log = structlog.stdlib.get_logger(__name__)


class Advance:
    """Requests of one project that are counted already, but for those which wait for that."""

    def __init__(self) -> None:
        self.turn = asyncio.Lock()
        self.waiting = 0
        self._left = 0
        self._size = 1
        self._until = 0.0

    def take(self) -> bool:
        """Whether one more of them may come."""
        if not self._left or time.monotonic() > self._until:
            return False
        self._left -= 1
        return True

    def wanted(self, most: int) -> int:
        """How many to count now: twice as many as before when those were used up early, else as many as were used."""
        used = self._size - self._left
        wanted = used * 2 if time.monotonic() <= self._until else used
        return max(min(wanted, most // SHARE), self.waiting, 1)

    def give(self, size: int) -> None:
        """Have so many."""
        self._left = self._size = size
        self._until = time.monotonic() + AHEAD


class Rates:
    """Counts requests by project over the last minute."""

    def __init__(self, redis: Redis, prefix: str) -> None:
        # The address is a form only: the connections are those of `redis`.
        pool: Any = redis.connection_pool
        counted = RedisStorage(
            "async+redis://", implementation="redispy", key_prefix=f"{prefix}rate", connection_pool=pool
        )
        self._limiter = SlidingWindowCounterRateLimiter(counted)
        self._advances: defaultdict[str, Advance] = defaultdict(Advance)

    async def check(self, project: Project) -> None:
        """Count one request; raises `RateExceeded` for one too many.

        When the record server does not answer nobody is refused here: what needs it says so itself.
        """
        advance = self._advances[project.id]
        if advance.take():
            return
        advance.waiting += 1
        try:
            async with advance.turn:
                if not advance.take() and await self._count(project, advance):
                    advance.take()
        finally:
            advance.waiting -= 1

    async def _count(self, project: Project, advance: Advance) -> bool:
        """Count as many as are wanted, or one if there is no room for so many; whether any was."""
        most = project.limits.requests_per_minute
        item = RateLimitItemPerMinute(most)
        try:
            for size in dict.fromkeys((advance.wanted(most), 1)):
                if await self._limiter.hit(item, project.id, cost=size):
                    advance.give(size)
                    return True
            reset = (await self._limiter.get_window_stats(item, project.id)).reset_time
        except (RedisError, OSError) as fault:
            log.warning("requests_uncounted", reason=str(fault))
            return False
        seconds = max(1, math.ceil(reset - time.time()))
        raise RateExceeded(limit=most, seconds=seconds, retry_after=seconds)
