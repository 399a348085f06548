"""Whose turn it is to write: one request at a time holds an upload or a file, on whichever host it is."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

from pipeline.acts import ended
from pipeline.errors import RecordsUnavailable, UploadBusy
from pipeline.model import new_id
from pipeline.records import Records
from pipeline.uploads.cleaning import Cleaning

LEASE = 15.0
"""Seconds for which a request holds an upload; renewed while it lives, so a dead one blocks no longer than this."""


class Holds:
    """Lets one request at a time have an id."""

    def __init__(self, records: Records, cleaning: Cleaning) -> None:
        self._records = records
        self._cleaning = cleaning

    @contextlib.asynccontextmanager
    async def of(self, id: str) -> AsyncIterator[None]:
        """Hold `id` while the block runs; raises `UploadBusy` when somebody else does."""
        holder = new_id()
        if not await self._records.uploads.lock(id, holder, LEASE):
            raise UploadBusy(id=id, retry_after=1)
        renewal = asyncio.create_task(self._renew(id, holder))
        try:
            yield
        finally:
            await self._cleaning.to_the_end(self._let_go(id, holder, renewal))

    async def _let_go(self, id: str, holder: str, renewal: asyncio.Task[None]) -> None:
        await ended([renewal])
        await self._cleaning.quietly(self._records.uploads.unlock(id, holder))

    async def _renew(self, id: str, holder: str) -> None:
        while True:
            await asyncio.sleep(LEASE / 3)
            with contextlib.suppress(RecordsUnavailable):
                await self._records.uploads.lock(id, holder, LEASE)
