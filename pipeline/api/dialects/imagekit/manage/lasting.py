"""Work on many files: it goes on beside its request, and whoever asks how far it is takes it up where it was left.

What is to be done is noted first, so that no end of a process loses it; the answer waits a while for its end.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

import orjson

from pipeline.api.dialects.imagekit.manage.ask import Ask, new_id
from pipeline.errors import UploadBusy

KEPT = 7 * 86_400.0
"""Seconds for which is known what became of it."""
PATIENCE = 10.0
"""Seconds that the request which began it waits for its end."""
LOOK = 0.5
"""The same of one that only asks."""

Status = Literal["Pending", "Completed"]


@dataclass(frozen=True)
class Work:
    """What is to be done, and whether it is done."""

    id: str
    type: str
    said: Mapping[str, Any]
    status: Status = "Pending"


class Interrupted(Exception):
    """The process is about to end; the rest is for whoever asks next."""


Doing = Callable[[Ask, Work], Awaitable[None]]
"""Does it, or what is left of it; to be safe to begin again."""


async def begin(ask: Ask, type: str, said: Mapping[str, Any], do: Doing) -> Work:
    """Have it done; raises what kept it from being done while the request still waits."""
    work = Work(new_id(), type, said)
    await _keep(ask, work)
    return await _go_on(ask, work, do, PATIENCE)


async def look(ask: Ask, id: str, types: Mapping[str, Doing]) -> Work | None:
    """How far one of these types is, gone on with if nobody does; None for what is not known."""
    text = await ask.records.notes.get(ask.project, f"imagekit.work:{id}")
    work = Work(**orjson.loads(text)) if text else None
    if work is None or work.type not in types or work.status == "Completed":
        return work if work and work.type in types else None
    return await _go_on(ask, work, types[work.type], LOOK)


def pause(ask: Ask) -> None:
    """To be called where it can be left; raises `Interrupted` when the process is about to end."""
    if ask.core.cleaning.closing:
        raise Interrupted


async def _go_on(ask: Ask, work: Work, do: Doing, patience: float) -> Work:
    done: list[Work] = []

    async def act() -> None:
        with suppress(UploadBusy, Interrupted):  # somebody does it already, or will
            async with ask.core.holds.of(f"imagekit:{work.id}", patience=0):
                await do(ask, work)
                done.append(replace(work, status="Completed"))
                await _keep(ask, done[0])

    with suppress(TimeoutError):
        async with asyncio.timeout(patience):
            await ask.core.cleaning.to_the_end(act())
    return done[0] if done else work


async def _keep(ask: Ask, work: Work) -> None:
    name = f"imagekit.work:{work.id}"
    await ask.records.notes.keep(ask.project, name, orjson.dumps(asdict(work)).decode(), KEPT)
