"""How many requests a project may send: counted in the record server, so that every web process counts together."""

from __future__ import annotations

import math
import time
from typing import Any

import structlog
from limits import RateLimitItemPerMinute
from limits.aio.storage import RedisStorage
from limits.aio.strategies import SlidingWindowCounterRateLimiter
from redis.asyncio import Redis
from redis.exceptions import RedisError

from pipeline.errors import RateExceeded
from pipeline.model import Project

log = structlog.stdlib.get_logger(__name__)


class Rates:
    """Counts requests by project over the last minute."""

    def __init__(self, redis: Redis, prefix: str) -> None:
        # The address is a form only: the connections are those of `redis`.
        pool: Any = redis.connection_pool
        counted = RedisStorage(
            "async+redis://", implementation="redispy", key_prefix=f"{prefix}rate", connection_pool=pool
        )
        self._limiter = SlidingWindowCounterRateLimiter(counted)

    async def check(self, project: Project) -> None:
        """Count one request; raises `RateExceeded` for one too many.

        When the record server does not answer nobody is refused here: what needs it says so itself.
        """
        most = project.limits.requests_per_minute
        item = RateLimitItemPerMinute(most)
        try:
            if await self._limiter.hit(item, project.id):
                return
            reset = (await self._limiter.get_window_stats(item, project.id)).reset_time
        except (RedisError, OSError) as fault:
            log.warning("requests_uncounted", reason=str(fault))
            return
        seconds = max(1, math.ceil(reset - time.time()))
        raise RateExceeded(limit=most, seconds=seconds, retry_after=seconds)
