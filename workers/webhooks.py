"""Webhooks in a worker: one of all dispatches what waits to be told, each delivers."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Mapping
from contextlib import aclosing
from typing import Any

import structlog
from arq import Retry

from pipeline.core import Core
from pipeline.errors import RecordsUnavailable, SafelightError
from pipeline.model import new_id

LEASE = 4.0
"""Seconds after its last word until another worker dispatches."""
LOOK = 1.0
"""Seconds between two looks whether somebody dispatches, and for which the one that does waits for events."""
AWAY = 1.0

log = structlog.stdlib.get_logger(__name__)


class Dispatcher:
    """Waits its turn to dispatch, and dispatches events the moment they come."""

    def __init__(self, core: Core) -> None:
        self._core = core
        self._me = new_id()

    async def work(self) -> None:
        """Take part for ever; nothing that happens ends the worker."""
        while True:
            pause = await self._taken_part()
            await asyncio.sleep(pause)

    async def leave(self) -> None:
        """Let another take over at once; to be called when `work` has ended."""
        with contextlib.suppress(SafelightError):
            await self._core.records.outgoing.resign(self._me)

    async def _taken_part(self) -> float:
        try:
            await self._dispatch()
            return LOOK
        except SafelightError as error:
            log.warning("dispatcher_waits", code=error.code)
        except Exception:
            log.exception("dispatcher_fault")
        return AWAY

    async def _dispatch(self) -> None:
        """Dispatch for as long as it is our turn."""
        if not await self._leads():
            return
        async with aclosing(self._core.records.outgoing.follow(LOOK)) as batches:
            async for batch in batches:
                if not await self._leads():
                    return
                if batch:
                    await self._core.webhooks.dispatching.dispatch(batch)

    async def _leads(self) -> bool:
        return await self._core.records.outgoing.lead(self._me, LEASE)


class Deliveries:
    """Does the jobs of deliveries."""

    def __init__(self, core: Core) -> None:
        self._core = core

    async def deliver(self, context: Mapping[str, Any], id: str, round: int) -> None:
        """Send a message once; raises `Retry` when it is to be sent again later."""
        with structlog.contextvars.bound_contextvars(delivery=id):
            try:
                pause = await self._core.webhooks.sending.attempt(id, round)
            except RecordsUnavailable as fault:
                raise Retry(defer=AWAY) from fault
            if pause is not None:
                raise Retry(defer=pause)
