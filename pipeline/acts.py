"""Acts that go on beside others: done to the end, ended for certain, waited for one or the other."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Coroutine, Iterable
from contextlib import asynccontextmanager
from typing import Any, TypeVar

T = TypeVar("T")
AGAIN = 0.2
"""Seconds after which a cancellation that had no effect is repeated."""


async def settled(act: Coroutine[Any, Any, T]) -> T:
    """Do `act` to its end even when the caller is cancelled meanwhile: half of it would leave something behind."""
    going = asyncio.ensure_future(act)
    try:
        return await asyncio.shield(going)
    except asyncio.CancelledError:
        await asyncio.wait([going])
        raise


async def ended(acts: Iterable[asyncio.Task[Any]]) -> None:
    """Cancel `acts` until they are done.

    Once is not enough: before Python 3.12 `asyncio.wait_for`, which the Redis client uses, can swallow a cancellation.
    """
    going = set(acts)
    while going:
        for act in going:
            act.cancel()
        _, going = await asyncio.wait(going, timeout=AGAIN)


async def either(first: Coroutine[Any, Any, Any], second: Coroutine[Any, Any, Any]) -> None:
    """Wait for one of two acts and end the other; raises what the one that was done has met."""
    acts = [asyncio.create_task(first), asyncio.create_task(second)]
    try:
        done, _ = await asyncio.wait(acts, return_when=asyncio.FIRST_COMPLETED)
    finally:
        await ended(act for act in acts if not act.done())
    for act in done:
        act.result()


@asynccontextmanager
async def beside(act: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    """Do `act` while the block runs."""
    going = asyncio.create_task(act)
    try:
        yield
    finally:
        await ended([going])
