"""Work that must come to its end although the request that began it is gone."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

import structlog

from pipeline.errors import SafelightError

log = structlog.stdlib.get_logger(__name__)


class Cleaning:
    """What is being put in order behind requests; closed when all of it is."""

    def __init__(self) -> None:
        self._going: set[asyncio.Future[Any]] = set()

    async def to_the_end(self, act: Coroutine[Any, Any, None]) -> None:
        """Do `act`, all of it even if the caller is cancelled meanwhile."""
        work = asyncio.ensure_future(act)
        self._going.add(work)
        work.add_done_callback(self._ended)
        await asyncio.shield(work)

    async def quietly(self, act: Coroutine[Any, Any, None]) -> None:
        """Do `act` to the end after an error that says more than what goes wrong here; the sweep comes back to it."""
        await self.to_the_end(_quiet(act))

    async def close(self) -> None:
        """Wait until everything that was begun has ended."""
        while self._going:
            await asyncio.wait(self._going)

    def _ended(self, work: asyncio.Future[Any]) -> None:
        self._going.discard(work)
        if not work.cancelled():
            work.exception()  # its caller may be gone


async def _quiet(act: Coroutine[Any, Any, None]) -> None:
    try:
        await act
    except SafelightError as error:
        log.warning("clean_up_postponed", code=error.code, exc_info=error)
