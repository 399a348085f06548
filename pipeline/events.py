"""The event log: facts in the past tense, kept in Redis streams, read from any point on and followed live.

Each project has one stream and each subject its own; an event has the same id in both, so either can continue the
other. Who waits only for the end of a run does not read along but is rung up. Everything that speaks to the record
server goes through `RecordClient`, which is why a server that is away looks the same from every verb.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterable, Mapping
from contextlib import asynccontextmanager, suppress
from functools import cached_property
from typing import Any, Self

import orjson
import structlog
from redis.asyncio import ConnectionPool, Redis
from redis.exceptions import RedisError, ResponseError

from pipeline.acts import ended
from pipeline.errors import CursorInvalid, RecordsUnavailable
from pipeline.model import HOOK_EVENTS, Event
from pipeline.scripting import AWAY, RETRY_AFTER, Line, Script, is_away

PATIENCE = 5.0
EVENT_CAP = 100_000
SUBJECT_CAP = 1000
SUBJECT_DAYS = 7
FOLLOW_BATCH = 200
LOOK_AGAIN = 10.0
"""Seconds after which one who waits for an end looks for himself; a line can be dead without either side knowing."""
REDIAL = 1.0
"""Seconds between two tries to listen again."""

_POSITION = re.compile(r"^(\d{1,20})(?:-(\d{1,20}))?$", re.ASCII)

OUTGOING = "events::outgoing"
"""Where what webhooks tell of waits until it is dispatched; no project can have this name."""
OUTGOING_CAP = 1_000_000
"""Events that wait there at most, should no worker live for long."""

NEWS = "news:"
"""Before a subject: the channel on which it is said that something is to be read of it."""

EMIT_LUA = """
local taken = 0
local function take()
  taken = taken + 1
  return ARGV[taken]
end

local lasting = {}

-- Apart from the logs, which are cut: what leaves them is forgotten, what leaves this was dispatched.
local function announce(id, type, project, subject, at, facts, noun)
  redis.call('XADD', P .. OUTGOING, 'MAXLEN', '~', OUTGOING_CAP, '*', 'event', id, 'type', type, 'project', project,
    'subject', subject, 'at', at, 'facts', facts, 'noun', noun or '')
end

-- Whoever follows this subject has something to read.
local function news(subject) redis.call('PUBLISH', P .. NEWS .. subject, '') end

-- Whether a webhook made over the API may want what happens in this project.
local function listens(project) return redis.call('EXISTS', P .. 'webhooks:' .. project) == 1 end

-- The `noun` is what the event is about, where its record goes with the same step. One that is `unheard` is named to
-- nobody by the settings nor by what it is about.
local function emit(type, project, subject, at, facts, noun, unheard)
  local own = P .. 'subject:' .. project .. ':' .. subject
  local id = redis.call('XADD', P .. 'events:' .. project, 'MAXLEN', '~', CAP, '*',
    'type', type, 'subject', subject, 'at', at, 'facts', facts)
  redis.call('XADD', own, 'MAXLEN', '~', SUBJECT_CAP, id,
    'type', type, 'subject', subject, 'at', at, 'facts', facts)
  if not lasting[own] then
    redis.call('EXPIRE', own, SUBJECT_SECONDS)
    news(subject)  -- once is enough: nobody can look before the step is done
  end
  lasting[own] = true
  if TOLD[type] and (not unheard or listens(project)) then announce(id, type, project, subject, at, facts, noun) end
  return id
end

-- Rings up whoever waits for the end of a run.
local function ring(id) redis.call('PUBLISH', P .. 'ended', id) end
"""

APPEND_LUA = "return emit(take(), take(), take(), take(), take())"


log = structlog.stdlib.get_logger(__name__)


class RecordClient(Redis):
    """A Redis client to which a server that is away, full, read-only or silent for too long is `RecordsUnavailable`."""

    patience: float = PATIENCE

    @classmethod
    def over(cls, redis: Redis) -> Self:
        """A client on the connections of `redis`."""
        return cls(connection_pool=redis.connection_pool)

    @classmethod
    def beside(cls, redis: Redis, patience: float) -> Self:
        """A client of the same server, with connections of its own, that waits up to `patience` seconds; close it."""
        pool = redis.connection_pool
        settings = pool.connection_kwargs | {"socket_timeout": None}
        client = cls(connection_pool=ConnectionPool(connection_class=pool.connection_class, **settings))
        client.auto_close_connection_pool = True
        client.patience = patience
        return client

    async def execute_command(self, *args: Any, **options: Any) -> Any:
        execute: Callable[..., Awaitable[Any]] = super().execute_command
        try:
            async with asyncio.timeout(self.patience):
                return await execute(*args, **options)
        except (*AWAY, ResponseError) as cause:
            if is_away(cause):
                raise RecordsUnavailable(retry_after=RETRY_AFTER) from cause
            raise

    @cached_property
    def line(self) -> Line:
        """The way of its scripts."""
        return Line(self, self.patience)


def script(client: RecordClient, prefix: str, cap: int, body: str) -> Script:
    """`body` as a script on the server that may call `take()` for its next argument and `emit(...)` for an event."""
    constants = {
        "P": lua_text(prefix),
        "CAP": cap,
        "SUBJECT_CAP": SUBJECT_CAP,
        "SUBJECT_SECONDS": SUBJECT_DAYS * 86400,
        "OUTGOING": lua_text(OUTGOING),
        "OUTGOING_CAP": OUTGOING_CAP,
        "NEWS": lua_text(NEWS),
        "TOLD": "{" + ", ".join(f"[{lua_text(type)}] = true" for type in HOOK_EVENTS) + "}",
    }
    head = "".join(f"local {name} = {value}\n" for name, value in constants.items())
    return Script(client.line, head + EMIT_LUA + body)


def lua_text(text: str) -> str:
    """`text` as a literal of Lua."""
    return '"' + re.sub(r"[^\w:./-]", lambda found: _escaped(found[0]), text, flags=re.ASCII) + '"'


def _escaped(character: str) -> str:
    return "".join(f"\\{byte:03d}" for byte in character.encode())


def facts_text(facts: Mapping[str, Any]) -> bytes:
    """The facts of an event as the log keeps them."""
    return orjson.dumps(facts, default=str)


class EventLog:
    """What happened, in order, for one project or one subject."""

    def __init__(self, redis: Redis, prefix: str, cap: int = EVENT_CAP) -> None:
        self._prefix = prefix
        self._client = RecordClient.over(redis)
        self._append = script(self._client, prefix, cap, APPEND_LUA)
        self._bell = Bell(self._client, f"{prefix}ended")

    async def append(self, event: Event) -> Event:
        """Log `event` and return it with the id it got."""
        facts = facts_text(event.facts)
        arguments = (event.type, event.project, event.subject, event.at.isoformat(), facts)
        entry: bytes = await self._append(args=arguments)
        return event.model_copy(update={"id": entry.decode()})

    async def read(
        self, project: str, subject: str | None = None, from_id: str | None = None, limit: int = 100
    ) -> list[Event]:
        """At most `limit` events after `from_id`, or from the start; raises `CursorInvalid`."""
        start = f"({position(from_id)}" if from_id else "-"
        entries = await self._client.xrange(self._stream(project, subject), min=start, count=limit)
        return [event_of(project, entry) for entry in entries]

    async def recent(self, project: str, before_id: str | None = None, limit: int = 100) -> list[Event]:
        """At most `limit` events of a project before `before_id`, or up to now, the newest first.

        Raises `CursorInvalid`.
        """
        end = f"({position(before_id)}" if before_id else "+"
        entries = await self._client.xrevrange(self._stream(project, None), max=end, count=limit)
        return [event_of(project, entry) for entry in entries]

    async def follow(
        self, project: str, subject: str | None = None, from_id: str | None = None, idle: float = 15
    ) -> AsyncGenerator[Event | None, None]:
        """Every event after `from_id` ("0": from the start, None: from now) and to come; None when `idle` seconds pass.

        Waits on a connection of its own, given up when the generator is closed. Raises `CursorInvalid` and, when the
        server goes away, `RecordsUnavailable`: following again from the last id seen misses and repeats nothing.
        """
        stream = self._stream(project, subject)
        last = position(from_id) if from_id else await self._newest(stream)
        client = RecordClient.beside(self._client, idle + PATIENCE)
        try:
            while True:
                answer = await client.xread({stream: last}, count=FOLLOW_BATCH, block=max(1, int(idle * 1000)))
                if not answer:
                    yield None
                    continue
                for entry in _entries(answer):
                    event = event_of(project, entry)
                    last = event.id
                    yield event
        finally:
            await client.aclose()

    @asynccontextmanager
    async def ending(self, run_id: str) -> AsyncIterator[Ring]:
        """Hear of an end of this run from now on; one that came before must be looked for inside the block.

        Raises `RecordsUnavailable` when the server is away.
        """
        async with self._bell.heard(run_id) as ring:
            yield ring

    async def close(self) -> None:
        """Hear of no more ends."""
        await self._bell.close()

    async def _newest(self, stream: str) -> str:
        entries = await self._client.xrevrange(stream, count=1)
        return entries[0][0].decode() if entries else "0-0"

    def _stream(self, project: str, subject: str | None) -> str:
        if subject is None:
            return f"{self._prefix}events:{project}"
        return f"{self._prefix}subject:{project}:{subject}"


class Ring:
    """What one waits on for something to be called out: it may ring for nothing, but that always makes it ring."""

    def __init__(self) -> None:
        self._rung = asyncio.Event()

    def ring(self) -> None:
        self._rung.set()

    async def wait(self, seconds: float | None = None) -> bool:
        """Return when it is time to look, at the latest after `seconds`, or `LOOK_AGAIN`; whether it has rung."""
        with suppress(TimeoutError):
            async with asyncio.timeout(LOOK_AGAIN if seconds is None else seconds):
                await self._rung.wait()
        rung = self._rung.is_set()
        self._rung.clear()
        return rung


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


def position(text: str) -> str:
    """A place in a log as the server spells it; raises `CursorInvalid` for anything that is none."""
    match = _POSITION.match(text)
    parts = [int(part) for part in match.groups("0")] if match else [2**64]
    if max(parts) >= 2**64:
        raise CursorInvalid()
    return f"{parts[0]}-{parts[1]}"


def _entries(answer: Any) -> list[Any]:
    # RESP3 answers a map of lists of batches, RESP2 a list of pairs; there is always exactly one stream.
    if isinstance(answer, dict):
        return [entry for batch in next(iter(answer.values())) for entry in batch]
    entries: list[Any] = answer[0][1]
    return entries


def event_of(project: str, entry: Any) -> Event:
    """An entry of a project's stream as the event it is."""
    entry_id, fields = entry
    return Event(
        id=entry_id.decode(),
        type=fields[b"type"].decode(),
        project=project,
        subject=fields[b"subject"].decode(),
        at=fields[b"at"].decode(),
        facts=orjson.loads(fields[b"facts"]),
    )
