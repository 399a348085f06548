"""The verb of delivery: have what a recipe makes, made now if nobody has made it yet.

Within a process all who ask for the same wait together, and among processes the queue has one job for it. Who waits is
rung up when it is there or has failed, and looks himself now and then: a worker that was lost is replaced meanwhile.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import Any

from pipeline.delivery.ahead import ahead_slip
from pipeline.delivery.order import order_slip
from pipeline.delivery.recipe import Recipe
from pipeline.errors import DerivativePending, FileNotFound, StorageKeyNotFound
from pipeline.hearing import Bell
from pipeline.model import Derivative, now
from pipeline.records import Records
from pipeline.records.queue import Slip
from pipeline.retold import read
from pipeline.settings import Settings
from pipeline.storage.base import Storage

LOOK_AGAIN = 2.0
"""Seconds after which one who waits looks for himself."""
KNOWN = 10_000
"""Recipes that are remembered to be sound, and to have been made."""
TRIES = 2
"""Times that bytes which were not as recorded are made anew for one request."""
RETRY_AFTER = 2
"""Seconds a caller is asked to wait who has waited long enough here."""


class Delivering:
    """Has derivatives made and finds those that were."""

    def __init__(
        self, *, settings: Settings, records: Records, storages: Mapping[str, Storage], drawn: Bell, prefix: str
    ) -> None:
        self._settings = settings
        self._records = records
        self._storages = storages
        self._drawn = drawn
        self._prefix = prefix
        self._going: dict[str, asyncio.Task[Derivative]] = {}
        self._used: dict[tuple[str, str], None] = {}
        self._sound: dict[str, None] = {}
        self._made: dict[str, None] = {}

    async def derivative(self, recipe: Recipe, telling: Mapping[str, Any] | None = None) -> Derivative:
        """What the recipe makes, in storage, and listed with its file.

        When it has to be made and there are facts to tell, events tell them: `derivative.ordered` that it will be,
        `derivative.made` or `derivative.failed` what came of it.

        Raises what making it came to (`ImageUnreadable`, `NodeInvalid`, ...), `FileNotFound` when the file is gone,
        `FlowInvalid` for nodes that are none, and `DerivativePending` when it takes longer than `delivery_wait`.
        """
        going = self._going.get(recipe.key)
        if going is None:
            self._check(recipe)
            going = self._going[recipe.key] = asyncio.create_task(self._within_time(recipe, telling))
            going.add_done_callback(lambda done: self._over(recipe.key, done))
        # One who leaves takes nothing from the others.
        found = await asyncio.shield(going)
        self.used(recipe.file.id, found.key)
        return found

    async def ahead(self, recipe: Recipe, telling: Mapping[str, Any]) -> None:
        """Have it made without waiting for it; `derivative.made` or `derivative.failed` tells of its end, with these.

        Raises `FlowInvalid` for nodes that are none.
        """
        self._check(recipe)
        await self._records.runs.enqueue(ahead_slip(self._prefix, recipe, telling))

    def _check(self, recipe: Recipe) -> None:
        """Raise `FlowInvalid` for nodes that are none; what was found sound lately is not looked at again."""
        if recipe.key not in self._sound:
            recipe.flow()
            _remember(self._sound, recipe.key)

    async def whole(self, recipe: Recipe, telling: Mapping[str, Any] | None = None) -> Derivative:
        """The same, whose bytes are sure to be those that were recorded; also raises `StorageKeyNotFound`."""
        for _ in range(TRIES):
            found = await self.derivative(recipe, telling)
            if not found.mime or await self.is_whole(found):
                return found
            await self.forget(recipe.file.id, found)
        raise StorageKeyNotFound(key=recipe.key)

    async def is_whole(self, derivative: Derivative) -> bool:
        """Whether its bytes are those that were recorded: a power cut may have left fewer."""
        storage = self._storages[derivative.storage]
        path = storage.local_path(derivative.key)
        if path is not None:
            try:
                return path.stat().st_size == derivative.size
            except FileNotFoundError:
                return False
        known = await storage.stat(derivative.key)
        return known is not None and known.size == derivative.size

    async def forget(self, file_id: str, derivative: Derivative) -> None:
        """Have it made anew when it is asked for next: its bytes are not what the record says."""
        await self._records.derivatives.forget(file_id, [derivative.key])
        await self._storages[derivative.storage].delete(derivative.key)

    def used(self, file_id: str, key: str) -> None:
        """Note that a derivative is asked for; `tell_used` tells of it."""
        self._used[file_id, key] = None

    async def tell_used(self) -> None:
        """Put on record what was used since the last time; raises `RecordsUnavailable`."""
        used, self._used = self._used, {}
        await self._records.derivatives.use(now(), used)

    def _over(self, key: str, done: asyncio.Task[Derivative]) -> None:
        del self._going[key]
        if not done.cancelled():
            done.exception()  # all who waited may be gone

    async def _within_time(self, recipe: Recipe, telling: Mapping[str, Any] | None) -> Derivative:
        ask = partial(self._asked, recipe, order_slip(self._prefix, recipe), telling)
        if recipe.key in self._made and (found := await ask()):
            return found
        try:
            async with asyncio.timeout(self._settings.delivery_wait):
                return await self._awaited(recipe, ask)
        except TimeoutError as cause:
            raise DerivativePending(retry_after=RETRY_AFTER) from cause

    async def _awaited(self, recipe: Recipe, ask: Callable[[], Awaitable[Derivative | None]]) -> Derivative:
        # Listened to before it is asked for: it may be there a moment later.
        async with self._drawn.heard(recipe.key) as ring:
            while True:
                found = await ask()
                if found is not None:
                    _remember(self._made, recipe.key)
                    return found
                await ring.wait(LOOK_AGAIN)

    async def _asked(self, recipe: Recipe, slip: Slip, telling: Mapping[str, Any] | None) -> Derivative | None:
        """What is there, None while it is being made; raises why it cannot be."""
        answer = await self._records.derivatives.order(recipe.file.id, recipe.key, slip, telling)
        if answer.gone:
            raise FileNotFound(id=recipe.file.id)
        if answer.fault is not None:
            raise read(answer.fault)
        return answer.derivative


def _remember(known: dict[str, None], key: str) -> None:
    known[key] = None
    if len(known) > KNOWN:
        del known[next(iter(known))]
