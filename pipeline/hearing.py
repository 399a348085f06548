"""What is called out on the record server, heard over one connection for everybody in this process who waits for it.

A ring is a reason to look, may come for nothing, and is never the only reason: what it rang for stands in the records.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from typing import Any

import structlog
from redis.asyncio.client import PubSub
from redis.exceptions import RedisError
from redis.exceptions import TimeoutError as Unanswered

from pipeline.acts import either, ended
from pipeline.errors import RecordsUnavailable
from pipeline.scripting import RETRY_AFTER, RecordClient

LOOK_AGAIN = 10.0
"""Seconds after which one who waits for an end looks for himself; a line can be dead without either side knowing."""
REDIAL = 1.0
"""Seconds between two tries to listen again."""
PULSE = 5.0
"""Seconds of silence after which an exchange is asked whether its line still stands, and within which it has to say."""

log = structlog.stdlib.get_logger(__name__)


class Ring:
    """What one waits on for something to be called out: it may ring for nothing, but that always makes it ring."""

    def __init__(self) -> None:
        self._rung = asyncio.Event()

    def ring(self) -> None:
        self._rung.set()

    def heard(self) -> bool:
        """Whether it has rung since that was last asked."""
        rung = self._rung.is_set()
        self._rung.clear()
        return rung

    async def wait(self, seconds: float | None = None) -> bool:
        """Return when it is time to look, at the latest after `seconds`, or `LOOK_AGAIN`; whether it has rung."""
        with suppress(TimeoutError):
            async with asyncio.timeout(LOOK_AGAIN if seconds is None else seconds):
                await self._rung.wait()
        return self.heard()


class Bell:
    """What is called out on one channel, heard over one connection for everybody in this process who waits for it."""

    def __init__(self, client: RecordClient, channel: str) -> None:
        self._client = client
        self._channel = channel
        self._rings: dict[str, set[Ring]] = {}
        self._listening: asyncio.Task[None] | None = None
        self._standing: asyncio.Future[Exception | None]

    @asynccontextmanager
    async def heard(self, name: str) -> AsyncIterator[Ring]:
        """A ring that rings when `name` is called out; raises `RecordsUnavailable`."""
        ring = Ring()
        self._rings.setdefault(name, set()).add(ring)
        try:
            await self._stand()
            yield ring
        finally:
            self._rings[name].discard(ring)
            if not self._rings[name]:
                del self._rings[name]

    async def close(self) -> None:
        if self._listening is not None:
            await ended([self._listening])

    async def _stand(self) -> None:
        """Return once the line stands."""
        if self._listening is None:
            self._standing = asyncio.get_running_loop().create_future()
            self._listening = asyncio.create_task(self._listen())
        line = self._standing
        if not line.done():
            await asyncio.wait([line], timeout=self._client.patience)
        fault = line.result() if line.done() else TimeoutError()
        if fault is not None:
            raise RecordsUnavailable(retry_after=RETRY_AFTER) from fault

    async def _listen(self) -> None:
        while True:
            client = RecordClient.beside(self._client, self._client.patience)
            try:
                async with client.pubsub() as line:
                    await line.subscribe(self._channel)
                    async for message in line.listen():
                        self._hear(message)
            except (RedisError, OSError) as fault:
                self._lost(fault)
            finally:
                await client.aclose()
            await asyncio.sleep(REDIAL)

    def _hear(self, message: Mapping[str, Any]) -> None:
        if message["type"] == "message":
            self._ring(self._rings.get(message["data"].decode(), ()))
        elif message["type"] == "subscribe":
            # Said again after every reconnection, before which something may have been missed.
            if not self._standing.done():
                self._standing.set_result(None)
            self._ring_all()

    def _lost(self, fault: Exception) -> None:
        log.warning("bell_lost", reason=str(fault) or type(fault).__name__)
        if not self._standing.done():
            self._standing.set_result(fault)
        self._standing = asyncio.get_running_loop().create_future()
        self._ring_all()

    def _ring_all(self) -> None:
        for rings in self._rings.values():
            self._ring(rings)

    def _ring(self, rings: Iterable[Ring]) -> None:
        for ring in rings:
            ring.ring()


class Exchange:
    """One line over which it is heard of each of thousands of names, every one a channel, that it has news."""

    def __init__(self, client: RecordClient, root: str) -> None:
        self._client = client
        self._root = root
        self._rings: dict[str, set[Ring]] = {}
        self._standing: set[str] = set()  # of these nothing is missed
        self._come: set[str] = set()
        self._gone: set[str] = set()
        self._wished = asyncio.Event()
        self._listening: asyncio.Task[None] | None = None

    @contextmanager
    def heard(self, names: Sequence[str]) -> Iterator[Ring]:
        """A ring that rings at news of one of them, and whenever something may have been missed until then.

        Who looks after he has it, and each time it rings, sees everything.
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
        if name not in self._standing:
            self._gone.discard(name)
            self._come.add(name)
            self._wished.set()
        if self._listening is None:
            self._listening = asyncio.create_task(self._listen())

    def _leave(self, name: str, ring: Ring) -> None:
        self._rings[name].discard(ring)
        if not self._rings[name]:
            del self._rings[name]
            self._standing.discard(name)
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
                self._standing.clear()
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
        asked = False
        while True:
            message: Mapping[str, Any] | None = await line.get_message(timeout=PULSE)
            if message is not None:
                self._told(message)
            elif asked:
                raise Unanswered("no answer")
            else:
                await line.ping()
            asked = message is None

    def _told(self, message: Mapping[str, Any]) -> None:
        if message["type"] not in ("message", "subscribe"):
            return
        name = message["channel"].decode().removeprefix(self._root)
        rings = self._rings.get(name, ())
        if rings and message["type"] == "subscribe":  # said again after every reconnection
            self._standing.add(name)
        _ring(rings)

    def _channel(self, name: str) -> str:
        return f"{self._root}{name}"


def _ring(rings: Iterable[Ring]) -> None:
    for ring in rings:
        ring.ring()
