"""The verb by which work is done to many files: asked for here, done by a worker, told of from its record."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Mapping

from pipeline.errors import FolderInvalid, HaulNotFound
from pipeline.events import EventLog
from pipeline.jobs import ERRANDS, slip
from pipeline.model import Event, FolderCopy, FolderDelete, FolderMove, Grant, Haul, Redraw, new_id
from pipeline.records import Records
from pipeline.records.queue import Slip
from pipeline.shelving.folders import is_within

HAUL = "haul"
"""The job that does the work of a haul, or goes on with it."""

Wish = FolderCopy | FolderMove | FolderDelete | Redraw


def haul_slip(prefix: str, haul: Haul) -> Slip:
    """The job of a haul, as arq would enqueue it."""
    return slip(prefix, ERRANDS, HAUL, f"haul:{haul.id}", (haul.id,), haul.project)


def renaming(haul: Haul) -> Event | None:
    """What is told with the end of a haul: that a folder has another name; what comes and goes is told by itself."""
    wish = haul.wish
    if not isinstance(wish, FolderMove) or wish.source == wish.target or _outer(wish.source) != _outer(wish.target):
        return None
    facts = {"folder": wish.target, "previous": wish.source}
    return Event(type="folder.updated", project=haul.project, subject=wish.target, facts=facts)


def _outer(folder: str) -> str:
    return folder.rpartition("/")[0]


class Hauling:
    """Begins hauls and answers for them, a worker does them."""

    def __init__(self, records: Records, events: EventLog, prefix: str) -> None:
        self._records = records
        self._events = events
        self._prefix = prefix

    async def begin(
        self, grant: Grant, wish: Wish, marks: Mapping[str, str] | None = None, *, id: str | None = None
    ) -> Haul:
        """Have it done; from then on no end of a process keeps it from being done.

        Raises `FolderInvalid` for the root, and for a folder that cannot be its own target.
        """
        _check(wish)
        haul = Haul(id=id or new_id(), project=grant.project.id, wish=wish, marks=marks or {})
        await self._records.hauls.create(haul, haul_slip(self._prefix, haul))
        return haul

    async def get(self, grant: Grant, id: str) -> Haul:
        """The haul as it stands; raises `HaulNotFound`, also some days after it ended."""
        haul = await self._records.hauls.get(id)
        if haul.project != grant.project.id:
            raise HaulNotFound(id=id[:64])
        return haul

    async def wait(self, grant: Grant, id: str, seconds: float) -> Haul:
        """The haul once it has ended, or as it stands after `seconds`; raises `HaulNotFound`."""
        async with self._events.ending(id) as end:
            # Looked at only now: an end between our look and our listening is not missed.
            haul = await self.get(grant, id)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    while haul.status == "pending":
                        await end.wait()
                        haul = await self.get(grant, id)
            return haul


def _check(wish: Wish) -> None:
    if isinstance(wish, Redraw):
        return
    if not wish.source:
        raise FolderInvalid(folder="/", reason="it is the root")
    if isinstance(wish, FolderDelete):
        return
    if wish.source == wish.target and isinstance(wish, FolderCopy):
        raise FolderInvalid(folder=wish.target, reason="it is the folder that is copied")
    if wish.source != wish.target and isinstance(wish, FolderMove) and is_within(wish.target, wish.source):
        raise FolderInvalid(folder=wish.target, reason="it lies in the folder that is moved")
