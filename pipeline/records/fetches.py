"""Files that are being got from URLs: each in one status, its try the turn of one worker, and the URLs known already.

What never changes of a fetch is one text; how far it has come are fields beside it. A try holds its `turn`: who comes
with another one changes nothing, so that a worker believed dead ends nothing when it wakes.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any, Literal, NamedTuple

import orjson

from pipeline.errors import FetchEnded, FetchesTooMany, FetchNotFound
from pipeline.events import facts_text
from pipeline.model import Fetch, File, Problem
from pipeline.records.base import Room
from pipeline.records.queue import ENQUEUE_LUA, Slip

OPEN_LIFE = timedelta(days=7)
"""How long a fetch is remembered that did not come to its end."""
URL_LIFE = timedelta(days=30)
"""How long it is remembered which file a URL became."""
MOST_OPEN = 10_000
"""Fetches of one project that wait or are under way."""
HOLD = 15.0
"""Seconds after its last word until a try no longer counts as under way."""

# Of a project: `fetches:<project>:open` those that have not ended by the millisecond they began, `:running` those under
# way by the millisecond that is believed, and `fetched:<project>:<digest>` what a URL became or is becoming.
FETCH_LUA = f"""
local open = {{waiting = true, progress = true}}
local clock = redis.call('TIME')
local moment = clock[1] * 1000 + math.floor(clock[2] / 1000)

local function number(value) return string.format('%.0f', value) end
local function key(id) return P .. 'fetch:' .. id end
local function index(project, name) return P .. 'fetches:' .. project .. ':' .. name end
local function known(project, url) return P .. 'fetched:' .. project .. ':' .. url end

local function look(id)
  local row = redis.call('HMGET', key(id), 'project', 'status', 'turn', 'url', 'save')
  if not row[1] then return nil end
  return {{id = id, project = row[1], status = row[2], turn = row[3] or '', url = row[4], save = row[5] == '1'}}
end

-- The fetch, when it is under way and it is still this turn.
local function turn(id, mine)
  local found = look(id)
  if found and found.status == 'progress' and found.turn == mine then return found end
  return nil
end

local function hold(found)
  redis.call('ZADD', index(found.project, 'running'), number(moment + {int(HOLD * 1000)}), found.id)
end

local function let_go(found) redis.call('ZREM', index(found.project, 'running'), found.id) end

local function whole(id) return redis.call('HGETALL', key(id)) end

-- What the URL is to be known by from now on: a file, or nothing.
local function settle(found, file)
  local place = known(found.project, found.url)
  if file ~= '' and found.save then
    redis.call('SET', place, 'file ' .. file, 'PX', {int(URL_LIFE / timedelta(milliseconds=1))})
  elseif redis.call('GET', place) == 'fetch ' .. found.id then
    redis.call('DEL', place)
  end
end

local function finish(found, status, at, life, file, error)
  redis.call('HSET', key(found.id), 'status', status, 'ended_at', at, 'file', file, 'error', error, 'turn', '')
  redis.call('PEXPIRE', key(found.id), life)
  redis.call('ZREM', index(found.project, 'open'), found.id)
  let_go(found)
  settle(found, file)
  ring(found.id)
end
"""

# A known URL answers with its file, or with the fetch that is under way for it.
CREATE_LUA = (
    FETCH_LUA
    + ENQUEUE_LUA
    + f"""
local id, project, text, url, check, save, life = take(), take(), take(), take(), take(), take(), take()
local slip = take_slip()
if redis.call('EXISTS', key(id)) == 1 then return {{'fetch', id}} end
if check == '1' then
  local kind, other = string.match(redis.call('GET', known(project, url)) or '', '^(%S+) (%S+)$')
  if kind == 'file' and redis.call('EXISTS', P .. 'file:' .. other) == 1 then return {{'file', other}} end
  if kind == 'fetch' and open[redis.call('HGET', key(other), 'status') or ''] then return {{'fetch', other}} end
end
redis.call('ZREMRANGEBYSCORE', index(project, 'open'), '-inf', number(moment - life))
if redis.call('ZCARD', index(project, 'open')) >= {MOST_OPEN} then return {{'many', ''}} end
redis.call('HSET', key(id), 'text', text, 'project', project, 'status', 'waiting', 'url', url, 'save', save)
redis.call('PEXPIRE', key(id), life)
redis.call('ZADD', index(project, 'open'), number(moment), id)
if save == '1' then redis.call('SET', known(project, url), 'fetch ' .. id, 'PX', life) end
enqueue(slip)
return {{'fetch', id}}
"""
)

KNOWN_LUA = (
    FETCH_LUA
    + """
local id, project, text, url, at, life, file, size = take(), take(), take(), take(), take(), take(), take(), take()
redis.call('HSET', key(id), 'text', text, 'project', project, 'status', 'success', 'url', url, 'save', 0,
  'ended_at', at, 'file', file, 'done', size, 'total', size)
redis.call('PEXPIRE', key(id), life)
"""
)

GET_LUA = FETCH_LUA + "return whole(take())"

BEGIN_LUA = (
    FETCH_LUA
    + """
local id, mine, most, at = take(), take(), tonumber(take()), take()
local found = look(id)
if not found then return 'missing' end
if not open[found.status] then return whole(id) end
local running = index(found.project, 'running')
redis.call('ZREMRANGEBYSCORE', running, '-inf', number(moment))
if not redis.call('ZSCORE', running, id) and redis.call('ZCARD', running) >= most then return 'full' end
redis.call('HSET', key(id), 'status', 'progress', 'turn', mine, 'done', 0, 'total', '')
hold(found)
redis.call('HINCRBY', key(id), 'tries', 1)
if redis.call('HSETNX', key(id), 'started_at', at) == 1 then emit('fetch.started', found.project, id, at, '{}') end
return whole(id)
"""
)

MARK_LUA = (
    FETCH_LUA
    + """
local found, done, total, upload = turn(take(), take()), take(), take(), take()
if not found then return 0 end
redis.call('HSET', key(found.id), 'done', done, 'total', total, 'upload', upload)
hold(found)
return 1
"""
)

POSTPONE_LUA = (
    FETCH_LUA
    + """
local found, counts = turn(take(), take()), take() == '1'
if not found then return 0 end
redis.call('HSET', key(found.id), 'status', 'waiting', 'turn', '', 'done', 0, 'total', '')
if not counts then redis.call('HINCRBY', key(found.id), 'tries', -1) end
let_go(found)
return 1
"""
)

END_LUA = (
    FETCH_LUA
    + """
local id, mine, status, at, life, file, error, facts = take(), take(), take(), take(), take(), take(), take(), take()
local size, found = take(), look(id)
if not found or not open[found.status] or (mine ~= '' and found.turn ~= mine) then return 0 end
finish(found, status, at, life, file, error)
if size ~= '' then redis.call('HSET', key(id), 'done', size, 'total', size) end
emit('fetch.' .. (status == 'success' and 'completed' or status == 'error' and 'failed' or status), found.project, id,
  at, facts)
return 1
"""
)

CANCEL_LUA = (
    FETCH_LUA
    + """
local id, at, life, error = take(), take(), take(), take()
local found = look(id)
if not found then return 'missing' end
if not open[found.status] then return found.status end
finish(found, 'cancelled', at, life, '', error)
emit('fetch.cancelled', found.project, id, at, '{}')
return whole(id)
"""
)


class Begun(NamedTuple):
    """What a new fetch came to: `fetch` of this id, its own or one under way for the same URL, or a `file`."""

    kind: Literal["fetch", "file"]
    id: str


class Fetches(Room):
    """The fetches of every project."""

    async def create(self, fetch: Fetch, slip: Slip, *, check: bool = False) -> Begun:
        """Keep a new fetch and put its slip into the queue in one step; raises `FetchesTooMany`.

        One of that id which is already there stays as it is. With `check`, a URL that is known answers with its file,
        or the fetch under way for it, and nothing is kept.
        """
        given = (
            fetch.id,
            fetch.project,
            _text(fetch),
            source_digest(fetch),
            int(check),
            int(fetch.save),
            _milliseconds(OPEN_LIFE),
        )
        kind, id = await self._call(CREATE_LUA, *given, *slip)
        if kind == b"many":
            raise FetchesTooMany(most=MOST_OPEN, retry_after=60)
        return Begun("file" if kind == b"file" else "fetch", id.decode())

    async def known(self, fetch: Fetch, file: File, at: datetime, kept: float) -> None:
        """Keep a fetch that found its file at once, to be told for `kept` seconds."""
        given = (fetch.id, fetch.project, _text(fetch), source_digest(fetch), at.isoformat(), int(kept * 1000))
        await self._call(KNOWN_LUA, *given, file.id, file.size)

    async def get(self, fetch_id: str) -> Fetch:
        """The fetch as it stands; raises `FetchNotFound`, also when it ended some time ago."""
        row = await self._call(GET_LUA, fetch_id)
        if not row:
            raise FetchNotFound(id=fetch_id)
        return _read(row)

    async def begin(self, fetch_id: str, turn: str, most: int, at: datetime) -> Fetch | None:
        """Begin a try under `turn`, which ends that of any other; None while `most` of its project are under way.

        One that has ended is answered as it is. Raises `FetchNotFound`.
        """
        row = await self._call(BEGIN_LUA, fetch_id, turn, most, at.isoformat())
        if row == b"missing":
            raise FetchNotFound(id=fetch_id)
        return None if row == b"full" else _read(row)

    async def mark(self, fetch_id: str, turn: str, done: int, total: int | None, upload: str | None) -> bool:
        """Note how far the try has come; False, and nothing noted, when it is not its turn any more."""
        return bool(await self._call(MARK_LUA, fetch_id, turn, done, "" if total is None else total, upload or ""))

    async def postpone(self, fetch_id: str, turn: str, *, counts: bool = True) -> bool:
        """Let the fetch wait for its next try; False when it is not its turn any more. This one `counts`, or not."""
        return bool(await self._call(POSTPONE_LUA, fetch_id, turn, int(counts)))

    async def succeed(self, fetch_id: str, turn: str, file: File, at: datetime, kept: float) -> bool:
        """End the fetch with the file it became, to be told for `kept` seconds; False when it was ended before."""
        facts = facts_text({"file": file.id})
        given = (fetch_id, turn, "success", at.isoformat(), int(kept * 1000), file.id, "", facts, file.size)
        return bool(await self._call(END_LUA, *given))

    async def fail(self, fetch_id: str, turn: str, problem: Problem, at: datetime, kept: float) -> bool:
        """End the fetch with what ails it; without a turn, whosever it is. False when it was ended before."""
        facts = facts_text({"error": problem.model_dump()})
        text = problem.model_dump_json()
        return bool(
            await self._call(END_LUA, fetch_id, turn, "error", at.isoformat(), int(kept * 1000), "", text, facts, "")
        )

    async def cancel(self, fetch_id: str, problem: Problem, at: datetime, kept: float) -> Fetch:
        """End a fetch that has not ended; raises `FetchNotFound` or `FetchEnded`."""
        row = await self._call(CANCEL_LUA, fetch_id, at.isoformat(), int(kept * 1000), problem.model_dump_json())
        if row == b"missing":
            raise FetchNotFound(id=fetch_id)
        if isinstance(row, bytes):
            raise FetchEnded(id=fetch_id)
        return _read(row)


def source_digest(fetch: Fetch) -> str:
    """What stands for a URL in a key, as it may be long and hold secrets; private files are known apart."""
    return hashlib.sha256(f"{fetch.intake.private} {fetch.intake.storage} {fetch.url}".encode()).hexdigest()


def _text(fetch: Fetch) -> str:
    """What never changes of a fetch."""
    return fetch.model_dump_json(exclude={"status", "done", "total", "upload", "file", "error", "tries", "ended_at"})


def _milliseconds(span: timedelta) -> int:
    return int(span / timedelta(milliseconds=1))


def _read(row: Sequence[bytes]) -> Fetch:
    fields = dict(zip(row[::2], row[1::2], strict=True))
    told: dict[str, Any] = orjson.loads(fields[b"text"])
    for name in ("status", "done", "tries", "total", "upload", "file", "ended_at"):
        if text := fields.get(name.encode()):
            told[name] = text.decode()
    if error := fields.get(b"error"):
        told["error"] = orjson.loads(error)
    return Fetch.model_validate(told)
