"""Work on many files: workers do it, the answer waits a while for its end, and whoever asks is told how far it is."""

from __future__ import annotations

from collections.abc import Collection
from contextlib import suppress

from pipeline.api.dialects.imagekit.errors import refused
from pipeline.api.dialects.imagekit.manage.ask import Ask, new_id
from pipeline.errors import HaulNotFound, RecordsUnavailable
from pipeline.model import Haul
from pipeline.shelving.hauling import Wish

TYPE, PURGE_ID = "type", "purge"
"""Marks: the vendor's word for it, and the purge that was asked for with it."""
PATIENCE = 5.0
"""Seconds that the request which asks for it waits for its end."""


async def begun(ask: Ask, type: str, wish: Wish, **marks: str) -> Haul:
    """Have it done; once it is on record no fault is told any more, for clients would ask for it anew."""
    haul = await ask.shelving.hauling.begin(ask.grant, wish, {TYPE: type, **marks}, id=new_id())
    return await awaited(ask, haul, PATIENCE)


async def awaited(ask: Ask, haul: Haul, seconds: float) -> Haul:
    """The haul once it has ended, or as it stands after so long."""
    with suppress(RecordsUnavailable):
        return await ask.shelving.hauling.wait(ask.grant, haul.id, seconds)
    return haul


async def found(ask: Ask, types: Collection[str], text: str, status: int = 400) -> Haul:
    """The one in the path, of one of these types; refused in these words."""
    with suppress(HaulNotFound):
        haul = await ask.shelving.hauling.get(ask.grant, ask.call.place("id")[:64])
        if haul.marks.get(TYPE) in types:
            return haul
    raise refused(text, status)


def status_of(haul: Haul) -> str:
    return "Pending" if haul.status == "pending" else "Completed"
