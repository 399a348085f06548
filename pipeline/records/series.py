"""What happened how often and how long it took, by the minute: counted inside the steps of runs, so never guessed.

A step leaves one note of all it counts; notes are put into the books some hundred at a time, or when somebody reads.
There each count goes three ways: to its minute and its hour, which are kept for `KEPT_DAYS`, and to the totals, which
stay; times of nodes to the totals only. How many runs of a queue have not ended, and since when the oldest waits, is
read off an index of those runs and of nothing else.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import NamedTuple

import orjson
from pydantic import Field

from pipeline.model import QUEUES, Noun, Page
from pipeline.records.base import EPOCH, PAGE_LUA, Room, decode_cursor, flat, paged
from pipeline.records.tallies import BOUNDS, SHORTEST, Counts, Tally, added

KEPT_DAYS = 7
MINUTE, HOUR = 60, 3600
MOST_NOTES = 200
"""Notes that wait for somebody to put them into the books."""
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
local function whole_number(number) return string.format('%.0f', number) end

-- Microseconds; the same for everything one script counts.
function series.clock()
  if not series.now then
    local time = redis.call('TIME')
    series.now = time[1] * 1000000 + time[2]
  end
  return series.now
end

local function add(span, start, counts)
  local key = P .. 'series:' .. span .. ':' .. whole_number(start)
  local kept = cjson.decode(redis.call('GET', key) or '{{}}')
  for name, by in pairs(counts) do kept[name] = (kept[name] or 0) + by end
  redis.call('SET', key, cjson.encode(kept), 'EX', {KEPT_DAYS * 86400} + 2 * span)
end

local function book(minute, counts)
  local charted = {{}}
  for name, by in pairs(counts) do
    redis.call('HINCRBY', P .. 'totals', name, whole_number(by))
    if string.sub(name, 1, 5) ~= 'node|' then charted[name] = by end
  end
  if next(charted) == nil then return end
  for _, span in ipairs({{{MINUTE}, {HOUR}}}) do add(span, minute - minute % span, charted) end
end

-- Puts what was noted into the books, and forgets the notes last: a server that is full refuses all of it or nothing.
function series.fold()
  local notes, sums = P .. 'series:notes', {{}}
  for _, note in ipairs(redis.call('LRANGE', notes, 0, -1)) do
    local minute, counts = string.match(note, '^(%d+)(.*)$')
    local sum = sums[minute] or {{}}
    sums[minute] = sum
    for name, by in string.gmatch(counts, '\\n([^\\t]+)\\t(%-?%d+)') do sum[name] = (sum[name] or 0) + by end
  end
  for minute, counts in pairs(sums) do book(tonumber(minute), counts) end
  redis.call('DEL', notes)
end

local counted = {{}}

function series.count(name, by) counted[#counted + 1] = '\\n' .. name .. '\\t' .. (by or 1) end

-- To be called when everything that a script counts is counted.
function series.note()
  if #counted == 0 then return end
  local second = math.floor(series.clock() / 1000000)
  local note = whole_number(second - second % {MINUTE}) .. table.concat(counted)
  counted = {{}}
  if redis.call('RPUSH', P .. 'series:notes', note) >= {MOST_NOTES} then series.fold() end
end

function series.took(name, micros)
  local place = 0
  if micros > {SHORTEST * 1000} then
    place = math.ceil(2 * math.log(micros / {SHORTEST * 1000}) / math.log(2) - 1e-9)
  end
  series.count(name .. '|' .. whole_number(math.max(0, math.min({len(BOUNDS)}, place))))
  series.count(name .. '|us', whole_number(micros))
end

-- A name for what is counted by flow: never as many as there can be flows.
function series.flow(flow)
  local key = P .. 'series:flows'
  if redis.call('SISMEMBER', key, flow) == 1 then return flow end
  if redis.call('SCARD', key) >= {MOST_FLOWS} then return 'other' end
  redis.call('SADD', key, flow)
  return flow
end

series.open = {{queued = true, running = true, waiting = true}}

local function depth(run, status) return P .. 'depth:' .. run.queue .. ':' .. status end

function series.join(run, status)
  if not series.open[status] then return end
  if redis.call('ZADD', depth(run, status), whole_number(series.clock()), run.id) == 0 then return end
  redis.call('HINCRBY', P .. 'depths:' .. run.project, run.queue .. '|' .. status, 1)
end

function series.leave(run, status)
  if not series.open[status] or redis.call('ZREM', depth(run, status), run.id) == 0 then return end
  redis.call('HINCRBY', P .. 'depths:' .. run.project, run.queue .. '|' .. status, -1)
end

local marks = {{queued = 'queued_us', running = 'begun_us'}}

-- What the record of a run keeps of the moment it comes to this status, if anything.
function series.mark(status)
  if marks[status] then return marks[status], whole_number(series.clock()) end
end

local function since(mark) return mark and math.max(0, series.clock() - mark) end

local function running(run, before)
  local waited = before == 'queued' and since(run.queued_us)
  if waited then series.took('wait|' .. run.queue, waited) end
  if before == 'running' then series.count('taken_over|' .. run.queue) end
end

local function over(run, before, status)
  series.count('runs|' .. series.flow(run.flow) .. '|' .. status)
  series.count('ended|' .. run.queue .. '|' .. status)
  local ran = before == 'running' and since(run.begun_us)
  if ran then series.took('run|' .. run.queue, ran) end
end

-- To be called when a run comes to be (without `before`) and whenever its status changes, with the marks it had.
function series.moved(run, before, status)
  if before and before ~= status then series.leave(run, before) end
  series.join(run, status)
  if status == 'running' then running(run, before)
  elseif not series.open[status] then over(run, before, status)
  elseif status == 'queued' and before ~= 'running' then series.count('queued|' .. run.queue) end
  series.note()
end

-- To be called for a node whose status is news; `text` is its state. No chart asks for nodes by the minute.
function series.node(text)
  local state = cjson.decode(text)
  if type(state.ms) ~= 'number' then return end
  local ran = state.status == 'completed' or state.status == 'failed'
  if ran then series.took('node|' .. state.type, state.ms * 1000) end
end

function series.stored(run, micros)
  if micros and micros > 0 then series.took('store|' .. run.queue, micros) end
end

local function node_type(run, node)
  if type(node) ~= 'string' then return '' end
  local text = redis.call('HGET', P .. 'run:' .. run.id .. ':nodes', node)
  return text and cjson.decode(text).type or ''
end

-- To be called with the problem a run fails of, before it is moved.
function series.failed(run, text)
  local problem = cjson.decode(text)
  local node = node_type(run, problem.node)
  local print = string.sub(redis.sha1hex(problem.code .. '|' .. node .. '|' .. run.flow), 1, 16)
  local index, key = P .. 'failures:' .. run.project, P .. 'failure:' .. run.project .. ':' .. print
  local now = whole_number(series.clock())
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
for _ = 1, tonumber(take()) do series.count(take(), take()) end
series.note()
"""
)

# A server that takes no writes tells what is in the books.
TOTALS_LUA = SERIES_LUA + "pcall(series.fold) return redis.call('HGETALL', P .. 'totals')"

READ_LUA = (
    SERIES_LUA
    + """
pcall(series.fold)
local span, start, count, keys = take(), tonumber(take()), tonumber(take()), {}
for i = 1, count do keys[i] = P .. 'series:' .. span .. ':' .. string.format('%.0f', start + (i - 1) * span) end
return redis.call('MGET', unpack(keys))
"""
)

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

    async def totals(self) -> Tally:
        """Everything counted since the records began."""
        row = await self._call(TOTALS_LUA)
        return added([{name.decode(): int(number) for name, number in zip(row[::2], row[1::2], strict=True)}])

    async def spans(self, span: int, start: int, count: int) -> list[Counts]:
        """The counts of `count` minutes or hours (`span` in seconds) from `start` on, a multiple of `span`."""
        texts: list[bytes | None] = []
        while len(texts) < count:
            number = min(READ_AT_ONCE, count - len(texts))
            texts += await self._call(READ_LUA, span, start + len(texts) * span, number)
        return [orjson.loads(text) if text else {} for text in texts]

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
