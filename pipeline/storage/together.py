"""What is written is put in place together: as many at a time as have come meanwhile share a thread and the syncs."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from collections.abc import Set as AbstractSet
from functools import partial
from pathlib import Path
from typing import Generic, TypeVar

from pipeline.errors import StorageUnavailable
from pipeline.storage.drafts import faults_spoken, finished, sync_folder

SETTLERS = 4
"""Threads in which that happens at once."""

T = TypeVar("T")
Folders = AbstractSet[str] | AbstractSet[Path]


class Together(Generic[T]):
    """Puts things in place so that they survive a power cut.

    `moved` does so with one of them but for the folders that it returns, which have a new entry; it blocks.
    """

    def __init__(self, moved: Callable[[T], Folders]) -> None:
        self._moved = moved
        self._waiting: list[tuple[T, asyncio.Future[Exception | None]]] = []
        self._settlers: set[asyncio.Task[None]] = set()

    async def settle(self, one: T) -> None:
        """Return once it is in place; raises what went wrong with it. A cancelled caller still waits for the end."""
        loop = asyncio.get_running_loop()
        over: asyncio.Future[Exception | None] = loop.create_future()
        self._waiting.append((one, over))
        if len(self._settlers) < SETTLERS:
            settler = loop.create_task(self._settle_waiting())
            self._settlers.add(settler)
        try:
            fault = await asyncio.shield(over)
        except asyncio.CancelledError:
            await asyncio.wait([over])
            raise
        if fault is not None:
            raise fault

    def settle_now(self, one: T) -> None:
        """The same alone; blocks."""
        (fault,) = self._settled([one])
        if fault is not None:
            raise fault

    async def _settle_waiting(self) -> None:
        settler = asyncio.current_task()
        try:
            while self._waiting:
                waiting, self._waiting = self._waiting, []
                faults: Sequence[Exception | None] = [StorageUnavailable()] * len(waiting)
                try:
                    faults = await finished(partial(self._settled, [one for one, _ in waiting]))
                finally:
                    for (_, over), fault in zip(waiting, faults, strict=True):
                        over.set_result(fault)
        finally:
            # In the very step that found nobody waiting: who comes next must not count on us.
            if settler is not None:
                self._settlers.discard(settler)

    def _settled(self, several: Sequence[T]) -> list[Exception | None]:
        """What went wrong with each."""
        changed = [self._tried(one) for one in several]
        folders = {folder for found in changed if not isinstance(found, Exception) for folder in found}
        synced = {folder: _synced(folder) for folder in folders}
        return [
            found if isinstance(found, Exception) else next(filter(None, map(synced.get, found)), None)
            for found in changed
        ]

    def _tried(self, one: T) -> Folders | Exception:
        try:
            return self._moved(one)
        except Exception as fault:
            return fault


def _synced(folder: str | Path) -> Exception | None:
    try:
        with faults_spoken(folder):
            sync_folder(folder)
    except Exception as fault:
        return fault
    return None
