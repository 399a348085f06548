"""What happened how often and how long it took, by the minute: counted inside the steps of runs, so never guessed.

A step leaves a note of each thing it counts, with its minute; a chore, and whoever reads, puts notes into the books.
There each count goes three ways: to its minute and its hour, which are kept for `KEPT_DAYS`, and to the totals, which
stay; times of nodes to the totals only. How many runs of a queue have not ended, and since when the oldest waits, is
read off an index of those runs and of nothing else.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import datetime, timedelta
from typing import NamedTuple

from pydantic import Field

from pipeline.errors import RecordsUnavailable
from pipeline.model import QUEUES, Noun, Page
from pipeline.records.base import EPOCH, PAGE_LUA, Room, decode_cursor, flat, paged
from pipeline.records.tallies import Book, Tally, added, bucket, tallied

KEPT_DAYS = 7
MINUTE, HOUR = 60, 3600
UNCHARTED = "node|"
"""How the names of what goes to the totals only begin."""
BOOKED_AT_ONCE = 2000
"""Notes that one step puts into the books."""
MOST_FLOWS = 300
"""Flows counted under their own names; further ones are `other`."""
MOST_FAILURES = 500
"""Groups of failures kept of each project."""
FAILURE_DAYS = 30
READ_AT_ONCE = 480
"""Minutes that one step reads, so that the record server is never busy with it for long."""
SEEN_SECONDS = 900
"""How long a worker that was lost without a word is told as down."""

SERIES_LUA = f"""
local series = {{}}

do
local now, now_text
local counted = {{}}

local function whole_number(number) return string.format('%.0f', number) end

-- Microseconds, and the same as a text; one moment for everything that one script counts.
local function clock()
  if not now then
    local time = redis.call('TIME')
    now, now_text = time[1] * 1000000 + time[2], time[1] .. string.format('%06d', time[2])
  end
  return now, now_text
end

function series.count(name, by) counted[#counted + 1] = ' n ' .. (by or 1) .. ' ' .. name end

local function took(name, micros) counted[#counted + 1] = ' t ' .. whole_number(micros) .. ' ' .. name end

-- To be called when everything that a script counts is counted.
function series.note()
  if #counted == 0 then return end
  local second = math.floor(clock() / 1000000)
  local minute = whole_number(second - second % {MINUTE})
  for place, count in ipairs(counted) do counted[place] = minute .. count end
  redis.call('RPUSH', P .. 'series:notes', unpack(counted))
  counted = {{}}
end

-- A name for what is counted by flow: never as many as there can be flows.
local function known_flow(flow)
  local key = P .. 'series:flows'
  if redis.call('SISMEMBER', key, flow) == 1 then return flow end
  if redis.call('SCARD', key) >= {MOST_FLOWS} then return 'other' end
  redis.call('SADD', key, flow)
  return flow
end

local open = {{queued = true, running = true, waiting = true}}

local function held(verb, run, status, by, ...)
  if redis.call(verb, P .. 'depth:' .. run.queue .. ':' .. status, ...) == 0 then return end
  redis.call('HINCRBY', P .. 'depths:' .. run.project, run.queue .. '|' .. status, by)
end

local function since(mark) return mark and math.max(0, clock() - mark) end

local function over(run, before, status)
  series.count('runs|' .. known_flow(run.flow) .. '|' .. status)
  series.count('ended|' .. run.queue .. '|' .. status)
  local ran = before == 'running' and since(run.begun_us)
  if ran then took('run|' .. run.queue, ran) end
end

-- What the record of a run keeps of the moment it comes to this status, if anything.
function series.mark(status)
  local mark = status == 'queued' and 'queued_us' or status == 'running' and 'begun_us'
  if mark then return mark, select(2, clock()) end
end

-- To be called when a run comes to be (without `before`) and whenever its status changes, with the marks it had.
function series.moved(run, before, status)
  if before ~= status and open[before] then held('ZREM', run, before, -1, run.id) end
  if open[status] then held('ZADD', run, status, 1, select(2, clock()), run.id) end
  if status == 'running' then
    local waited = before == 'queued' and since(run.queued_us)
    if waited then took('wait|' .. run.queue, waited) end
    if before == 'running' then series.count('taken_over|' .. run.queue) end
  elseif not open[status] then
    over(run, before, status)
  elseif status == 'queued' and before ~= 'running' then
    series.count('queued|' .. run.queue)
  end
  series.note()
end

-- To be called for a node whose status is news; `ms` may be empty. No chart asks for nodes by the minute.
function series.node(type, status, ms)
  local ran = status == 'completed' or status == 'failed'
  if ran and ms ~= '' then took('node|' .. type, ms * 1000) end
end

function series.stored(run, micros)
  if micros and micros > 0 then took('store|' .. run.queue, micros) end
end

-- To be called with the problem a run fails of, before it is moved.
function series.failed(run, text)
  local problem, node, now = cjson.decode(text), '', select(2, clock())
  if type(problem.node) == 'string' then
    local state = redis.call('HGET', P .. 'run:' .. run.id .. ':nodes', problem.node)
    node = state and cjson.decode(state).type or ''
  end
  local print = string.sub(redis.sha1hex(problem.code .. '|' .. node .. '|' .. run.flow), 1, 16)
  local index, key = P .. 'failures:' .. run.project, P .. 'failure:' .. run.project .. ':' .. print
  series.count('failures|' .. problem.code)
  redis.call('HSET', key, 'code', problem.code, 'type', node, 'flow', run.flow, 'message', problem.message,
    'run', run.id, 'last', now)
  redis.call('HSETNX', key, 'first', now)
  redis.call('HINCRBY', key, 'count', 1)
  redis.call('EXPIRE', key, {FAILURE_DAYS * 86400})
  redis.call('ZADD', index, now, print)
  redis.call('EXPIRE', index, {FAILURE_DAYS * 86400})
  for _ = {MOST_FAILURES + 1}, redis.call('ZCARD', index) do
    redis.call('DEL', P .. 'failure:' .. run.project .. ':' .. redis.call('ZPOPMIN', index)[1])
  end
end
end
"""

COUNT_LUA = (
    SERIES_LUA
    + """
for _ = 1, tonumber(take()) do series.count(take(), tonumber(take())) end
series.note()
"""
)

NOTES_LUA = """
return {redis.call('GET', P .. 'series:booked') or '0', redis.call('LRANGE', P .. 'series:notes', 0, take() - 1)}
"""

# What somebody else has put into the books meanwhile is not put there again. The notes go last: a server that is full
# refuses all of it or nothing.
BOOK_LUA = f"""
local booked, notes = take(), take()
if (redis.call('GET', P .. 'series:booked') or '0') ~= booked then return 0 end
redis.call('INCR', P .. 'series:booked')
for _ = 1, tonumber(take()) do redis.call('HINCRBY', P .. 'totals', take(), take()) end
for _ = 1, tonumber(take()) do
  local span, start, text = take(), take(), take()
  redis.call('SET', P .. 'series:' .. span .. ':' .. start, text, 'EX', {KEPT_DAYS * 86400} + 2 * span)
end
redis.call('LTRIM', P .. 'series:notes', notes, -1)
return 1
"""

TOTALS_LUA = "return redis.call('HGETALL', P .. 'totals')"

READ_LUA = """
local span, start, count, keys = take(), tonumber(take()), tonumber(take()), {}
for i = 1, count do keys[i] = P .. 'series:' .. span .. ':' .. string.format('%.0f', start + (i - 1) * span) end
return redis.call('MGET', unpack(keys))
"""

CLOCK_LUA = "return redis.call('TIME')"

DEPTHS_LUA = """
local time = redis.call('TIME')
local now, rows = time[1] * 1000000 + time[2], {}
for i = 2, #ARGV do
  local queue = ARGV[i]
  local index = P .. 'depth:' .. queue .. ':'
  local head = redis.call('ZRANGE', index .. 'queued', 0, 0, 'WITHSCORES')
  local row = {queue, head[2] and string.format('%.0f', math.max(0, now - head[2])) or '0'}
  row[3] = redis.call('ZCOUNT', P .. 'queue:' .. queue .. ':later', string.format('(%.0f', now / 1000), '+inf')
  row[4] = redis.call('SISMEMBER', P .. 'paused', queue)
  for _, status in ipairs({'queued', 'running', 'waiting'}) do
    row[#row + 1] = redis.call('ZCARD', index .. status)
    row[#row + 1] = redis.call('HGET', P .. 'depths:' .. ARGV[1], queue .. '|' .. status) or 0
  end
  rows[#rows + 1] = row
end
return rows
"""

FAILURES_LUA = (
    PAGE_LUA
    + """
local project = take()
local found, rows = page(P .. 'failures:' .. project, take(), take(), take()), {}
for i = 1, #found, 2 do
  local kept = redis.call('HGETALL', P .. 'failure:' .. project .. ':' .. found[i])
  rows[#rows + 1] = {found[i], found[i + 1], #kept > 0 and {found[i], kept} or false}
end
return rows
"""
)

# Whoever asks remembers who was there, so that one that is gone without having left can be told as down.
PRESENT_LUA = f"""
local time = redis.call('TIME')
local moment = time[1] * 1000 + math.floor(time[2] / 1000)
local seen = P .. 'series:workers'
local rows, alive = {{}}, {{}}
for _, id in ipairs(redis.call('ZRANGEBYSCORE', P .. 'workers', string.format('(%.0f', moment), '+inf')) do
  alive[id] = true
  redis.call('ZADD', seen, string.format('%.0f', moment), id)
end
redis.call('ZREMRANGEBYSCORE', seen, '-inf', string.format('%.0f', moment - {SEEN_SECONDS * 1000}))
for _, id in ipairs(redis.call('ZRANGE', seen, 0, -1)) do rows[#rows + 1] = {{id, alive[id] and 1 or 0}} end
return rows
"""


class Depth(NamedTuple):
    """How many runs of a queue have not ended; `own` are those of one project."""

    queue: str
    oldest: float
    """Seconds for which the first of the queued waits."""
    delayed: int
    """Those of the queued that are due later."""
    paused: bool
    counts: Mapping[str, int]
    own: Mapping[str, int]

    @property
    def states(self) -> Mapping[str, int]:
        """The counts with those apart that are due later."""
        return {**self.counts, "queued": self.counts["queued"] - self.delayed, "delayed": self.delayed}


class Failure(Noun):
    """Runs that failed of the same error, in the same type of node, of the same flow."""

    fingerprint: str
    code: str
    type: str = Field(description="Type of the node that failed; empty when it was none.")
    flow: str
    message: str = Field(description="Of the last one.")
    count: int
    first_at: datetime
    last_at: datetime
    run: str = Field(description="The last run that failed so.")


class Series(Room):
    """The counts of all projects together, and the failures of each."""

    async def count(self, counts: Mapping[tuple[str, ...], int]) -> None:
        """Add `counts` to those of this minute."""
        if counts:
            await self._call(COUNT_LUA, *flat(("|".join(name), number) for name, number in counts.items()))

    async def now(self) -> int:
        """The time of the records' server in seconds since 1970."""
        second, _ = await self._call(CLOCK_LUA)
        return int(second)

    async def book(self) -> int:
        """Put what was noted into the books; returns how many notes that were.

        Done by many at a time, or by one that dies over it, every note is counted once.
        """
        done = 0
        while True:
            booked, notes = await self._call(NOTES_LUA, BOOKED_AT_ONCE)
            if not notes:
                return done
            totals, more = booking(notes)
            texts = await self._added(more)
            if await self._call(BOOK_LUA, booked, len(notes), *flat(totals.items()), *flat(texts)):
                done += len(notes)

    async def _added(self, more: Mapping[tuple[int, int], Book]) -> list[tuple[int, int, bytes]]:
        if not more:
            return []
        texts = await self._client.mget([self._key("series", str(span), str(start)) for span, start in more])
        found = zip(more.items(), texts, strict=True)
        return [(*place, Book.read(text).with_more(book.counts, book.times).text()) for (place, book), text in found]

    async def totals(self) -> Tally:
        """Everything counted since the records began."""
        await self._settle()
        row = await self._call(TOTALS_LUA)
        return tallied({name.decode(): int(number) for name, number in zip(row[::2], row[1::2], strict=True)})

    async def spans(self, span: int, start: int, count: int) -> list[Book]:
        """The books of `count` minutes or hours (`span` in seconds) from `start` on, a multiple of `span`."""
        await self._settle()
        texts: list[bytes | None] = []
        while len(texts) < count:
            number = min(READ_AT_ONCE, count - len(texts))
            texts += await self._call(READ_LUA, span, start + len(texts) * span, number)
        return [Book.read(text) for text in texts]

    async def _settle(self) -> None:
        with suppress(RecordsUnavailable):  # a server that takes no writes tells what is in the books
            await self.book()

    async def last(self, minutes: int) -> tuple[Tally, float]:
        """The counts of this minute and those before it, `minutes` in all, and how many seconds that is by now."""
        now = await self.now()
        start = now - now % MINUTE - (minutes - 1) * MINUTE
        rows = await self.spans(MINUTE, start, minutes)
        return added(rows), max(1.0, now - start)

    async def depths(self, project: str = "") -> list[Depth]:
        """What each queue holds, exact and without a look at any run; `own` is for `project`."""
        return [_depth(row) for row in await self._call(DEPTHS_LUA, project, *QUEUES)]

    async def failures(self, project: str, cursor: str | None = None, limit: int = 50) -> Page[Failure]:
        """The groups of a project's failures, the last seen first; raises `CursorInvalid`."""
        rows = await self._call(FAILURES_LUA, project, *decode_cursor(cursor), limit + 1)
        return paged(rows, limit, _failure)

    async def present(self) -> dict[str, bool]:
        """Workers by id: True for one that is alive, False for one that was lost within the last quarter of an hour."""
        return {id.decode(): bool(alive) for id, alive in await self._call(PRESENT_LUA)}


def booking(notes: Sequence[bytes]) -> tuple[Mapping[str, int], Mapping[tuple[int, int], Book]]:
    """What the notes add up to: in all, and what goes into the books, by span and start of each."""
    totals, books = Counter[str](), dict[tuple[int, int], Book]()
    for start, noted in _minutes(notes).items():
        totals.update(noted.counts)
        totals.update(noted.times)
        charted = {name: number for name, number in noted.times.items() if not name.startswith(UNCHARTED)}
        for span in (MINUTE, HOUR) if noted.counts or charted else ():
            place = (span, start - start % span)
            books[place] = books.get(place, Book()).with_more(noted.counts, charted)
    return totals, books


def _minutes(notes: Sequence[bytes]) -> Mapping[int, Book]:
    minutes: dict[int, tuple[Counter[str], Counter[str]]] = {}
    for note in notes:
        start, kind, number, name = note.decode().split(" ", 3)
        counts, times = minutes.setdefault(int(start), (Counter(), Counter()))
        if kind == "n":
            counts[name] += int(number)
        else:
            times[f"{name}|{bucket(int(number))}"] += 1
            times[f"{name}|us"] += int(number)
    return {start: Book(*parts) for start, parts in minutes.items()}


def _depth(row: Sequence[bytes | int]) -> Depth:
    queue, oldest, later, paused, *numbers = row
    assert isinstance(queue, bytes)
    counts = dict(zip(("queued", "running", "waiting"), map(int, numbers[::2]), strict=True))
    own = dict(zip(("queued", "running", "waiting"), map(int, numbers[1::2]), strict=True))
    return Depth(queue.decode(), int(oldest) / 1e6, min(counts["queued"], int(later)), bool(paused), counts, own)


def _failure(row: tuple[bytes, Sequence[bytes]]) -> Failure:
    print, kept = row
    fields = {name.decode(): value.decode() for name, value in zip(kept[::2], kept[1::2], strict=True)}
    times = {f"{name}_at": EPOCH + timedelta(microseconds=int(fields.pop(name))) for name in ("first", "last")}
    return Failure.model_validate(fields | times | {"fingerprint": print.decode()})
