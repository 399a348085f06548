"""The event log: facts in the past tense, kept in Redis streams, read from any point on and followed live.

Each project has one stream and each subject its own; an event has the same id in both, so either can continue the
other. Nobody waits at the server: whoever follows is told over the one line of his process that there is something to
read, and reads it when he is ready for it. Who waits only for the end of a run does not read along but is rung up.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

import orjson
from redis.asyncio import Redis
from redis.exceptions import ResponseError

from pipeline.errors import CursorInvalid
from pipeline.hearing import Bell, Exchange, Ring
from pipeline.model import HOOK_EVENTS, STEP_EVENTS, Event
from pipeline.scripting import RecordClient, Script

EVENT_CAP = 100_000
SUBJECT_CAP = 1000
SUBJECT_DAYS = 7
FOLLOW_BATCH = 200
_POSITION = re.compile(r"^(\d{1,20})(?:-(\d{1,20}))?$", re.ASCII)

OUTGOING = "events::outgoing"
"""Where what webhooks tell of waits until it is dispatched; no project can have this name."""
OUTGOING_CAP = 1_000_000
"""Events that wait there at most, should no worker live for long."""

NEWS = "news:"
"""Before a subject, or a project after a colon: the channel on which it is said that something is to be read of it."""

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

local called = {}

-- Whoever follows this has something to read. Once is enough: nobody can look before the step is done.
local function news(name)
  if not called[name] then redis.call('PUBLISH', P .. NEWS .. name, '') end
  called[name] = true
end

-- Whether a webhook made over the API may want what happens in this project.
local function listens(project, type)
  return redis.call('EXISTS', P .. 'webhooks:' .. project .. (STEPS[type] and ':steps' or '')) == 1
end

-- The `noun` is what the event is about, where its record goes with the same step. One that is `unheard` is named to
-- nobody by the settings nor by what it is about.
local function emit(type, project, subject, at, facts, noun, unheard)
  local own = P .. 'subject:' .. project .. ':' .. subject
  local id = redis.call('XADD', P .. 'events:' .. project, 'MAXLEN', '~', CAP, '*',
    'type', type, 'subject', subject, 'at', at, 'facts', facts)
  redis.call('XADD', own, 'MAXLEN', '~', SUBJECT_CAP, id,
    'type', type, 'subject', subject, 'at', at, 'facts', facts)
  if not lasting[own] then redis.call('EXPIRE', own, SUBJECT_SECONDS) end
  lasting[own] = true
  news(subject)
  news(':' .. project)
  if TOLD[type] and (not unheard or listens(project, type)) then
    announce(id, type, project, subject, at, facts, noun)
  end
  return id
end

-- Rings up whoever waits for the end of a run.
local function ring(id) redis.call('PUBLISH', P .. 'ended', id) end
"""

APPEND_LUA = "return emit(take(), take(), take(), take(), take())"


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
        "TOLD": _lua_set(HOOK_EVENTS),
        "STEPS": _lua_set(STEP_EVENTS),
    }
    head = "".join(f"local {name} = {value}\n" for name, value in constants.items())
    return Script(client.line, head + EMIT_LUA + body)


def lua_text(text: str) -> str:
    """`text` as a literal of Lua."""
    return '"' + re.sub(r"[^\w:./-]", lambda found: _escaped(found[0]), text, flags=re.ASCII) + '"'


def _lua_set(texts: Iterable[str]) -> str:
    return "{" + ", ".join(f"[{lua_text(text)}] = true" for text in texts) + "}"


def _escaped(character: str) -> str:
    return "".join(f"\\{byte:03d}" for byte in character.encode())


def facts_text(facts: Mapping[str, Any]) -> bytes:
    """The facts of an event as the log keeps them."""
    return orjson.dumps(facts, default=str)


def news_of(client: RecordClient, prefix: str) -> Exchange:
    """The line over which a process hears that there is something to read."""
    return Exchange(client, f"{prefix}{NEWS}")


class EventLog:
    """What happened, in order, for one project or one subject."""

    def __init__(self, redis: Redis, prefix: str, cap: int = EVENT_CAP, news: Exchange | None = None) -> None:
        self._prefix = prefix
        self._client = RecordClient.over(redis)
        self._news = news or news_of(self._client, prefix)
        self._reads: dict[tuple[str, str], asyncio.Task[Sequence[Event]]] = {}
        self._append = script(self._client, prefix, cap, APPEND_LUA)
        self._bell = Bell(self._client, f"{prefix}ended")
        self._halts = Bell(self._client, f"{prefix}pausing")

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
        entries = await self._asked("XRANGE", self._stream(project, subject), start, "+", limit)
        return [event_of(project, entry) for entry in entries]

    async def recent(self, project: str, before_id: str | None = None, limit: int = 100) -> list[Event]:
        """At most `limit` events of a project before `before_id`, or up to now, the newest first.

        Raises `CursorInvalid`.
        """
        end = f"({position(before_id)}" if before_id else "+"
        entries = await self._asked("XREVRANGE", self._stream(project, None), end, "-", limit)
        return [event_of(project, entry) for entry in entries]

    async def follow(
        self, project: str, subject: str | None = None, from_id: str | None = None, idle: float = 15
    ) -> AsyncGenerator[Event | None, None]:
        """Every event after `from_id` ("0": from the start, None: from now) and to come; None when `idle` seconds pass.

        Any number of them share one connection. Nothing is read ahead of who takes it. Raises `CursorInvalid` and, when
        the server goes away, `RecordsUnavailable`: following again from the last id seen misses and repeats nothing.
        """
        last = position(from_id) if from_id else await self._newest(project, subject)
        with self._news.heard([f":{project}" if subject is None else subject]) as ring:
            while True:
                events = await self._next(project, subject, last)
                for event in events:
                    last = event.id
                    yield event
                if len(events) < FOLLOW_BATCH and not await ring.wait(idle):
                    yield None

    @asynccontextmanager
    async def ending(self, run_id: str) -> AsyncIterator[Ring]:
        """Hear of an end of this run from now on; one that came before must be looked for inside the block.

        Raises `RecordsUnavailable` when the server is away.
        """
        async with self._bell.heard(run_id) as ring:
            yield ring

    @asynccontextmanager
    async def pausing(self, run_id: str) -> AsyncIterator[Ring]:
        """Hear when this run is asked to pause, from now on; one that was asked before must be looked for inside.

        Nobody is asked for it once the line stands. Raises `RecordsUnavailable` when the server is away.
        """
        async with self._halts.heard(run_id) as ring:
            yield ring

    async def close(self) -> None:
        """Hear of no more ends, and of nobody who is to pause, and follow nothing any more."""
        await self._bell.close()
        await self._news.close()
        await self._halts.close()

    async def _next(self, project: str, subject: str | None, last: str) -> Sequence[Event]:
        """Some of what follows `last`; those who want the same when the same news come read it once, together."""
        place = self._stream(project, subject), last
        reading = self._reads.get(place)
        if reading is None:
            reading = self._reads[place] = asyncio.create_task(self._reading(project, place))
            reading.add_done_callback(_looked_at)
        return await asyncio.shield(reading)

    async def _reading(self, project: str, place: tuple[str, str]) -> Sequence[Event]:
        del self._reads[place]  # who comes from now on may know of more than this will find
        entries = await self._asked("XRANGE", place[0], f"({place[1]}", "+", FOLLOW_BATCH)
        return [event_of(project, entry) for entry in entries]

    async def _newest(self, project: str, subject: str | None) -> str:
        entries = await self._asked("XREVRANGE", self._stream(project, subject), "+", "-", 1)
        return entries[0][0].decode() if entries else "0-0"

    async def _asked(self, command: str, stream: str, start: str, end: str, limit: int) -> list[Any]:
        """Entries of a stream; what many ask for at about the same time goes over one connection."""
        found = await self._client.line.call(command, stream, start, end, "COUNT", limit)
        if isinstance(found, ResponseError):
            raise found
        return list(found)

    def _stream(self, project: str, subject: str | None) -> str:
        if subject is None:
            return f"{self._prefix}events:{project}"
        return f"{self._prefix}subject:{project}:{subject}"


def position(text: str) -> str:
    """A place in a log as the server spells it; raises `CursorInvalid` for anything that is none."""
    match = _POSITION.match(text)
    parts = [int(part) for part in match.groups("0")] if match else [2**64]
    if max(parts) >= 2**64:
        raise CursorInvalid()
    return f"{parts[0]}-{parts[1]}"


def _looked_at(reading: asyncio.Task[Any]) -> None:
    """Whatever it has met: all who asked for it may be gone."""
    if not reading.cancelled():
        reading.exception()


def fields_of(entry: Any) -> dict[bytes, bytes]:
    """The fields of a stream's entry by name, which the server answers one after the other."""
    return dict(zip(entry[1][::2], entry[1][1::2], strict=True))


def event_of(project: str, entry: Any) -> Event:
    """An entry of a project's stream as the event it is."""
    entry_id, fields = entry[0], fields_of(entry)
    return Event(
        id=entry_id.decode(),
        type=fields[b"type"].decode(),
        project=project,
        subject=fields[b"subject"].decode(),
        at=fields[b"at"].decode(),
        facts=orjson.loads(fields[b"facts"]),
    )
