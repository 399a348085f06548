"""One line to the record server over which a whole process hears, of each of thousands of subjects, that it has news.

What the news are is read in the log: a ring is a reason to look, may come for nothing, and is never the only reason.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import structlog
from redis.asyncio.client import PubSub
from redis.exceptions import RedisError

from pipeline.acts import either, ended
from pipeline.events import REDIAL, RecordClient, Ring

log = structlog.stdlib.get_logger(__name__)


class Exchange:
    """Who in this process waits for news of which subject."""

    def __init__(self, client: RecordClient, root: str) -> None:
        self._client = client
        self._root = root
        self._rings: dict[str, set[Ring]] = {}
        self._come: set[str] = set()
        self._gone: set[str] = set()
        self._wished = asyncio.Event()
        self._listening: asyncio.Task[None] | None = None

    @contextmanager
    def heard(self, names: Sequence[str]) -> Iterator[Ring]:
        """A ring that rings at news of one of them, and once more as soon as nothing can be missed any more.

        Who has looked before that and looks then has seen everything.
        """
        ring = Ring()
        for name in names:
            self._join(name, ring)
        try:
            yield ring
        finally:
            for name in names:
                self._leave(name, ring)

    async def close(self) -> None:
        """Hear of nothing any more."""
        if self._listening is not None:
            await ended([self._listening])

    def _join(self, name: str, ring: Ring) -> None:
        self._rings.setdefault(name, set()).add(ring)
        self._gone.discard(name)
        self._come.add(name)  # also when others wait for it already: it is said again that it is heard
        self._wished.set()
        if self._listening is None:
            self._listening = asyncio.create_task(self._listen())

    def _leave(self, name: str, ring: Ring) -> None:
        self._rings[name].discard(ring)
        if not self._rings[name]:
            del self._rings[name]
            self._come.discard(name)
            self._gone.add(name)
            self._wished.set()

    async def _listen(self) -> None:
        while True:
            client = RecordClient.beside(self._client, self._client.patience)
            try:
                async with client.pubsub() as line:
                    await line.subscribe(self._root)  # of nothing at all one cannot listen
                    self._come, self._gone = set(self._rings), set()
                    self._wished.set()
                    await either(self._keep(line), self._hear(line))
            except (RedisError, OSError) as fault:
                log.warning("exchange_lost", reason=str(fault) or type(fault).__name__)
            finally:
                await client.aclose()
            for rings in tuple(self._rings.values()):
                _ring(rings)
            await asyncio.sleep(REDIAL)

    async def _keep(self, line: PubSub) -> None:
        """Have the line tell of what is waited for, and of nothing else."""
        while True:
            await self._wished.wait()
            self._wished.clear()
            come, gone = self._come, self._gone
            self._come, self._gone = set(), set()
            if come:
                await line.subscribe(*map(self._channel, come))
            if gone:
                await line.unsubscribe(*map(self._channel, gone))

    async def _hear(self, line: PubSub) -> None:
        async for message in line.listen():
            if message["type"] in ("message", "subscribe"):
                _ring(self._rings.get(self._name(message), ()))

    def _channel(self, name: str) -> str:
        return f"{self._root}{name}"

    def _name(self, message: Mapping[str, Any]) -> str:
        name: str = message["channel"].decode()
        return name.removeprefix(self._root)


def _ring(rings: Iterable[Ring]) -> None:
    for ring in rings:
        ring.ring()
