"""Whose turn it is to write: one request at a time holds an upload or a file, on whichever host it is.

A newer request is worth more than an older one, whose client may be gone without either side knowing: the holder is
told, keeps what it has and leaves. One that does not hear it (dead, stopped, cut off) loses its turn after `LEASE`, and
checks before each write that it still has it.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator

from pipeline.acts import ended
from pipeline.errors import RecordsUnavailable, UploadBusy, UploadTakenOver
from pipeline.hearing import Bell, Ring
from pipeline.records import Records
from pipeline.uploads.cleaning import Cleaning

LEASE = 4.0
"""Seconds for which a request has its turn; prolonged while it lives, so a dead one blocks no longer than this."""
MARGIN = 0.1
"""So many seconds before its end nothing is written any more."""
PATIENCE = LEASE + 2
"""Seconds that a request waits for its turn."""


class Hold:
    """A turn at one id; `check` before each write."""

    def __init__(self, id: str, turn: int, until: float) -> None:
        self.id = id
        self.turn = turn
        self._until = until
        self._leaves = False
        self._block: asyncio.Timeout | None = None

    @property
    def is_ours(self) -> bool:
        """Whether nobody else can be writing by now."""
        return time.monotonic() < self._until

    def check(self) -> None:
        """Raise `UploadTakenOver` unless it is still ours."""
        if not self.is_ours:
            raise UploadTakenOver(id=self.id)

    @contextlib.asynccontextmanager
    async def yielding(self) -> AsyncIterator[None]:
        """Leave the block as soon as a newer request asks for it: it is cancelled and ends in `UploadTakenOver`."""
        try:
            async with asyncio.timeout(0 if self._leaves else None) as self._block:
                yield
        except TimeoutError as cause:
            if self._block is None or not self._block.expired():
                raise
            raise UploadTakenOver(id=self.id) from cause
        finally:
            self._block = None

    def last(self, until: float) -> None:
        """Have it until then."""
        self._until = until

    def leave(self) -> None:
        """End what yields."""
        self._leaves = True
        if self._block is not None and not self._block.expired():
            self._block.reschedule(asyncio.get_running_loop().time())

    def lose(self) -> None:
        """It is another's."""
        self._until = 0.0
        self.leave()


class Holds:
    """Lets one request at a time have an id; `bell` calls out who waits and what is free."""

    def __init__(self, records: Records, cleaning: Cleaning, bell: Bell) -> None:
        self._records = records
        self._cleaning = cleaning
        self._bell = bell

    @contextlib.asynccontextmanager
    async def of(self, id: str, patience: float = PATIENCE) -> AsyncIterator[Hold]:
        """Hold `id` while the block runs, once older requests have left; raises `UploadBusy` after `patience` seconds.

        Without patience nobody is asked to leave.
        """
        async with self._bell.heard(f"wanted:{id}") as ring:
            hold = await self._taken(id, patience)
            keeping = asyncio.create_task(self._keep(hold, ring))
            try:
                yield hold
            finally:
                await self._cleaning.to_the_end(self._give_back(hold, keeping))

    async def _taken(self, id: str, patience: float) -> Hold:
        began = time.monotonic()
        turn, left = await self._records.holds.take(id, LEASE, asks=patience > 0)
        if not left:
            return Hold(id, turn, began + LEASE - MARGIN)
        async with self._bell.heard(f"free:{id}") as free:
            while (rest := began + patience - time.monotonic()) > 0:
                await free.wait(min(left, rest))
                asked = time.monotonic()
                _, left = await self._records.holds.take(id, LEASE, turn, asks=True)
                if not left:
                    return Hold(id, turn, asked + LEASE - MARGIN)
        raise UploadBusy(id=id, retry_after=1)

    async def _keep(self, hold: Hold, ring: Ring) -> None:
        while True:
            await ring.wait(LEASE / 4)
            asked = time.monotonic()
            with contextlib.suppress(RecordsUnavailable):
                standing = await self._records.holds.prolong(hold.id, hold.turn)
                if standing == "lost":
                    return hold.lose()
                hold.last(asked + LEASE - MARGIN)
                if standing == "wanted":
                    hold.leave()

    async def _give_back(self, hold: Hold, keeping: asyncio.Task[None]) -> None:
        await ended([keeping])
        await self._cleaning.quietly(self._records.holds.give_back(hold.id, hold.turn))
