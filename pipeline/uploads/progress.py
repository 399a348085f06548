"""How far uploads have come, told while they come: at most twice a second, and not at all of those over sooner."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from contextlib import contextmanager
from typing import Any

import structlog

from pipeline.acts import ended
from pipeline.arrival import Arrival
from pipeline.errors import SafelightError
from pipeline.model import Upload
from pipeline.records import Records

PACE = 0.5
"""Seconds between two notes on one upload."""
MOST = 1000
"""Uploads whose last note is remembered, at least."""

log = structlog.stdlib.get_logger(__name__)


class Progress:
    """Tells whoever follows an upload; no request waits for that."""

    def __init__(self, records: Records) -> None:
        self._records = records
        self._told: dict[str, float] = {}
        self._going: set[asyncio.Task[None]] = set()

    @contextmanager
    def of(self, upload: Upload, arrival: Arrival) -> Iterator[None]:
        """Tell of what arrives while the block runs."""
        loop = asyncio.get_running_loop()

        ticks: list[asyncio.TimerHandle] = []

        def tick() -> None:
            self.landed(upload, arrival.size)
            ticks[:] = [loop.call_later(PACE, tick)]

        ticks.append(loop.call_later(PACE, tick))
        try:
            yield
        finally:
            ticks[0].cancel()

    def landed(self, upload: Upload, offset: int) -> None:
        """Tell that bytes up to `offset` are here, unless that are all or something was told a moment ago."""
        if offset != upload.intake.declared_size and self._is_time(upload.id):
            self._begin(self._records.trails.note(upload.id, offset))

    def gathered(self, upload: Upload, count: Callable[[], Awaitable[int]]) -> None:
        """The same of bytes that must be counted first."""
        if self._is_time(upload.id):
            self._begin(self._counted(upload, count))

    async def close(self) -> None:
        """Tell no more."""
        await ended(self._going)

    async def _counted(self, upload: Upload, count: Callable[[], Awaitable[int]]) -> None:
        await self._records.trails.note(upload.id, await count())

    def _is_time(self, id: str) -> bool:
        now = asyncio.get_running_loop().time()
        if now - self._told.get(id, 0.0) < PACE * 0.9:  # a tick may be a little early
            return False
        if len(self._told) > MOST:
            self._told = {known: at for known, at in self._told.items() if now - at < PACE}
        self._told[id] = now
        return True

    def _begin(self, telling: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(_quiet(telling))
        self._going.add(task)
        task.add_done_callback(self._going.discard)


async def _quiet(telling: Coroutine[Any, Any, None]) -> None:
    try:
        await telling
    except SafelightError as error:
        log.info("progress_untold", code=error.code)
