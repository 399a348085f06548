"""What a worker does about work on many files: go through them for a while, and let the others have their turn.

A try holds a turn on the record. Who lost it hears of it with the next note on how far he is, and does no more; who
takes over goes on from there.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

import structlog
from arq import Retry

from pipeline.core import Core
from pipeline.errors import HaulGivenUp, HaulNotFound, Internal, ProjectUnknown, RecordsUnavailable, SafelightError
from pipeline.model import Grant, Haul, Problem, Reached, new_id, now
from pipeline.records.queue import Death
from pipeline.shelving.carrying import anew
from pipeline.shelving.hauling import renaming

TRIES = 4
"""Times that it is done for files it could not be done to, where that may pass."""
FIRST_WAIT = 2.0
"""Seconds before the second time; before each further one twice as long."""
AWAY_WAIT = 5.0
"""Seconds before it is gone on with when the records were away."""
SHIFT = 20.0
"""Seconds after which it goes to the end of its queue, so that what is long holds nobody up."""
LONGEST = 1800.0
"""Seconds after which it does so in the middle of a step."""

log = structlog.stdlib.get_logger(__name__)


class TurnLost(Exception):
    """Somebody else does this work."""


class Hauls:
    """The work on many files that this process can do."""

    def __init__(self, core: Core) -> None:
        self._core = core

    async def haul(self, context: Mapping[str, Any], haul_id: str) -> None:
        """Do it, or go on with it; raises `Retry` when there is more to do. Nothing happens when it has ended."""
        with structlog.contextvars.bound_contextvars(haul=haul_id):
            try:
                async with asyncio.timeout(LONGEST):
                    await self._begin(haul_id)
            except RecordsUnavailable as fault:
                raise Retry(defer=AWAY_WAIT) from fault
            except TimeoutError as fault:
                raise Retry(defer=0) from fault

    async def give_up(self, haul_id: str, deaths: Sequence[Death]) -> None:
        """End one over which workers were lost again and again."""
        await self._core.records.hauls.fail(haul_id, "", _problem(HaulGivenUp(times=len(deaths))), now())

    async def _begin(self, haul_id: str) -> None:
        with suppress(HaulNotFound):
            turn = new_id()
            haul = await self._core.records.hauls.begin(haul_id, turn)
            if haul.status == "pending":
                await Attempt(self._core, haul, turn).work()


class Attempt:
    """One try of it under its turn."""

    def __init__(self, core: Core, haul: Haul, turn: str) -> None:
        self._core = core
        self._hauls = core.records.hauls
        self._haul = haul
        self._turn = turn
        self._until = time.monotonic() + SHIFT

    async def work(self) -> None:
        """Bring it to its end; raises `Retry` when that is not reached yet."""
        try:
            await self._ended(await self._core.shelving.carrying.carry(self._grant(), self._haul, self._note))
        except TurnLost:
            log.info("haul_dropped")
        except (Retry, RecordsUnavailable):
            raise
        except SafelightError as error:
            await self._failed(error)
        except Exception:
            log.exception("haul_fault")
            await self._fail(Internal())

    def _grant(self) -> Grant:
        projects = self._core.settings.projects
        if self._haul.project not in projects:
            raise ProjectUnknown(id=self._haul.project)
        return Grant(project=projects[self._haul.project])

    async def _note(self, reached: Reached) -> None:
        if not await self._hauls.mark(self._haul.id, self._turn, reached):
            raise TurnLost
        if time.monotonic() > self._until:
            raise Retry(defer=0)

    async def _ended(self, reached: Reached) -> None:
        if reached.passing and self._is_tried_again:
            await self._again(anew(reached))
        if await self._hauls.complete(self._haul.id, self._turn, reached, now(), renaming(self._haul)):
            log.info("haul_completed", act=self._haul.wish.act, failed=reached.failed)

    async def _failed(self, error: SafelightError) -> None:
        if error.retryable and self._is_tried_again:
            await self._again((await self._hauls.get(self._haul.id)).reached)
        await self._fail(error)

    @property
    def _is_tried_again(self) -> bool:
        return self._haul.tries + 1 < TRIES

    async def _again(self, reached: Reached) -> None:
        """Have it done once more from there, after a while, unless somebody else does it."""
        if await self._hauls.mark(self._haul.id, self._turn, reached, again=True):
            log.info("haul_postponed", tries=self._haul.tries + 1)
            raise Retry(defer=FIRST_WAIT * 2**self._haul.tries)

    async def _fail(self, error: SafelightError) -> None:
        if await self._hauls.fail(self._haul.id, self._turn, _problem(error), now()):
            log.info("haul_failed", act=self._haul.wish.act, code=error.code, exc_info=error.__cause__)


def _problem(error: SafelightError) -> Problem:
    return Problem(code=error.code, message=error.message)
