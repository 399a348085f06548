"""Messages to webhooks and what became of each: kept for some days, found by project, webhook and event.

A delivery is on record in one step with its job; the job carries its id and round and nothing else.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

import orjson

from pipeline.errors import DeliveryNotFound
from pipeline.model import Delivery, DeliveryStatus, DeliveryTry, Page
from pipeline.records.base import PAGE_LUA, Argument, Room, decode_cursor, paged, score
from pipeline.records.queue import ENQUEUE_LUA, Slip
from pipeline.records.series import SERIES_LUA

MOST_OF_WEBHOOK = 1000
MOST_OF_PROJECT = 10_000
"""Deliveries kept in the list of a webhook and of a project; those on their way beside them."""
MOST_TRIES = 50
LINED = "run."
"""What events are called that are sent in their order, those of one subject to one webhook."""
STRANGER_DAYS = 30
"""How long it is known how a webhook fares that only a request named."""

DELIVERY_LUA = f"""
local life = tonumber(take())
local MOST = {{webhook = {MOST_OF_WEBHOOK}, project = {MOST_OF_PROJECT}, event = {MOST_OF_PROJECT}}}

local function lists(row)
  return {{webhook = P .. 'deliveries:webhook:' .. row.webhook, project = P .. 'deliveries:project:' .. row.project,
    event = P .. 'deliveries:event:' .. row.project .. ':' .. row.event}}
end

local function delivery(id)
  local row = redis.call('HMGET', P .. 'delivery:' .. id, 'project', 'webhook', 'event', 'created', 'status', 'round',
    'tries', 'origin')
  if not row[1] then return nil end
  return {{id = id, project = row[1], webhook = row[2], event = row[3], created = row[4], status = row[5],
    round = tonumber(row[6]), tries = tonumber(row[7]), origin = row[8]}}
end

-- The oldest go when a list is too long, unless they are still on their way.
local function cut(list, most)
  local over = redis.call('ZCARD', list) - most
  if over <= 0 then return end
  for _, id in ipairs(redis.call('ZRANGE', list, 0, over + 9)) do
    if redis.call('HGET', P .. 'delivery:' .. id, 'status') ~= 'waiting' then
      for _, ending in ipairs({{'', ':waiting', ':delivered', ':failed'}}) do redis.call('ZREM', list .. ending, id) end
    end
  end
end

local function shelve(row, status, before)
  for kind, list in pairs(lists(row)) do
    if before then redis.call('ZREM', list .. ':' .. before, row.id) end
    redis.call('ZADD', list, row.created, row.id)
    redis.call('ZADD', list .. ':' .. status, row.created, row.id)
    for _, key in ipairs({{list, list .. ':' .. status}}) do redis.call('PEXPIRE', key, life) end
    cut(list, MOST[kind])
  end
end

local function millisecond()
  local time = redis.call('TIME')
  return time[1] * 1000 + math.floor(time[2] / 1000)
end

local function whole(id)
  local fields = redis.call('HGETALL', P .. 'delivery:' .. id)
  if #fields == 0 then return false end
  return {{fields, redis.call('LRANGE', P .. 'delivery:' .. id .. ':tries', 0, -1)}}
end
"""

CREATING_LUA = (
    ENQUEUE_LUA
    + DELIVERY_LUA
    + """
local function take_delivery()
  return {id = take(), project = take(), webhook = take(), event = take(), created = take(), origin = take(),
    text = take(), body = take(), line = take()}
end

-- What is told of one subject comes in its order: the next is sent when the one before was tried, however that went.
local function stands_behind(row, slip)
  if row.line == '' then return false end
  local line, key = P .. 'deliveries:line:' .. row.line, P .. 'delivery:' .. row.id
  local before = redis.call('GET', line)
  redis.call('SET', line, row.id, 'PX', life)
  redis.call('HSET', key, 'line', row.line)
  if not before or redis.call('HGET', P .. 'delivery:' .. before, 'status') ~= 'waiting' then return false end
  redis.call('HSET', P .. 'delivery:' .. before, 'behind', row.id)
  redis.call('HSET', key, 'slip', cjson.encode({slip.queue, slip.id, slip.body, slip.life, slip.project}))
  return true
end

local function create(row, slip)
  local key = P .. 'delivery:' .. row.id
  if redis.call('EXISTS', key) == 1 then return 0 end
  redis.call('HSET', key, 'text', row.text, 'body', row.body, 'project', row.project, 'webhook', row.webhook,
    'event', row.event, 'created', row.created, 'origin', row.origin, 'status', 'waiting', 'round', 1, 'tries', 0)
  redis.call('PEXPIRE', key, life)
  shelve(row, 'waiting')
  redis.call('ZADD', P .. 'deliveries:due', string.format('%.0f', millisecond()), row.id)
  if not stands_behind(row, slip) then enqueue(slip) end
  return 1
end
"""
)

CREATE_LUA = CREATING_LUA + "return create(take_delivery(), take_slip())"

GET_LUA = DELIVERY_LUA + "return whole(take())"

BEGIN_LUA = (
    DELIVERY_LUA
    + """
local id, round = take(), tonumber(take())
local row = delivery(id)
if not row or row.status ~= 'waiting' or row.round ~= round then return false end
return {whole(id), redis.call('HGET', P .. 'delivery:' .. id, 'body')}
"""
)

# What is due to be tried later keeps its job; what came to its end counts for or against its webhook.
SETTLE_LUA = (
    SERIES_LUA
    + ENQUEUE_LUA
    + DELIVERY_LUA
    + f"""
local function standing(row, verdict, at, patience)
  local key = P .. 'webhook:' .. row.webhook
  if verdict == 'delivered' then
    redis.call('HDEL', key, 'failing_since', 'failing_ms', 'failures')
    redis.call('HSET', key, 'delivered_at', at)
  else
    redis.call('HINCRBY', key, 'failures', 1)
    redis.call('HSETNX', key, 'failing_since', at)
    redis.call('HSETNX', key, 'failing_ms', string.format('%.0f', millisecond()))
  end
  if row.origin == 'request' then redis.call('EXPIRE', key, {STRANGER_DAYS * 86400}) end
  if verdict == 'gone' then return 'gone' end
  if verdict ~= 'failed' then return nil end
  return millisecond() - redis.call('HGET', key, 'failing_ms') >= patience and 'failing' or nil
end

local function disable(row, reason, at, url)
  local key = P .. 'webhook:' .. row.webhook
  if redis.call('HSETNX', key, 'disabled_at', at) == 0 then return end
  redis.call('HSET', key, 'reason', reason)
  emit('webhook.disabled', row.project, row.webhook, at, cjson.encode({{reason = reason, url = url}}))
end
"""
    + """
-- Whoever stands behind one that was tried is sent now.
local function let_next(id)
  local key = P .. 'delivery:' .. id
  local line, behind = unpack(redis.call('HMGET', key, 'line', 'behind'))
  if not line then return end
  redis.call('HDEL', key, 'line', 'behind')
  local last = P .. 'deliveries:line:' .. line
  if redis.call('GET', last) == id then redis.call('DEL', last) end
  local text = behind and redis.call('HGET', P .. 'delivery:' .. behind, 'slip')
  if not text then return end
  redis.call('HDEL', P .. 'delivery:' .. behind, 'slip')
  local queue, job, body, lasts, project = unpack(cjson.decode(text))
  enqueue({queue = queue, id = job, body = body, life = lasts, project = project})
end
"""
    + f"""
local id, round, verdict, text, wait = take(), tonumber(take()), take(), take(), tonumber(take())
local at, judged, patience, url = take(), take() == '1', tonumber(take()), take()
local row = delivery(id)
if not row or row.status ~= 'waiting' or row.round ~= round then return false end
local key, status = P .. 'delivery:' .. id, verdict
if verdict == 'gone' then status = 'failed' end
redis.call('RPUSH', key .. ':tries', text)
redis.call('LTRIM', key .. ':tries', -{MOST_TRIES}, -1)
redis.call('HINCRBY', key, 'tries', 1)
if verdict == 'later' then
  local due = string.format('%.0f', millisecond() + wait)
  redis.call('HSET', key, 'next', due)
  redis.call('ZADD', P .. 'deliveries:due', due, id)
else
  redis.call('HDEL', key, 'next')
  redis.call('HSET', key, 'status', status)
  redis.call('ZREM', P .. 'deliveries:due', id)
  shelve(row, status, row.status)
end
for _, each in ipairs({{key, key .. ':tries'}}) do redis.call('PEXPIRE', each, life + wait) end
if judged then
  local reason = standing(row, verdict, at, patience)
  if reason then disable(row, reason, at, url) end
end
let_next(id)
series.count('webhooks|' .. (verdict == 'later' and 'retried' or verdict))
series.note()
return 1
"""
)

REPLAY_LUA = (
    ENQUEUE_LUA
    + DELIVERY_LUA
    + """
local id, seen, slip = take(), tonumber(take()), take_slip()
local row = delivery(id)
if not row or row.status == 'waiting' or row.round ~= seen then return 0 end
local key = P .. 'delivery:' .. id
redis.call('HSET', key, 'status', 'waiting', 'round', row.round + 1, 'tries', 0)
for _, each in ipairs({key, key .. ':tries'}) do redis.call('PEXPIRE', each, life) end
shelve(row, 'waiting', row.status)
redis.call('ZADD', P .. 'deliveries:due', string.format('%.0f', millisecond()), id)
enqueue(slip)
return 1
"""
)

LIST_LUA = (
    DELIVERY_LUA
    + PAGE_LUA
    + """
local found, rows = page(P .. take(), take(), take(), take()), {}
for i = 1, #found, 2 do rows[#rows + 1] = {found[i], found[i + 1], whole(found[i])} end
return rows
"""
)

# A delivery that is gone would stand at the head for ever.
OVERDUE_LUA = (
    DELIVERY_LUA
    + """
local late, rows = string.format('%.0f', millisecond() - tonumber(take())), {}
for _, id in ipairs(redis.call('ZRANGEBYSCORE', P .. 'deliveries:due', '-inf', late, 'LIMIT', 0, take())) do
  local row = delivery(id)
  if row and row.status == 'waiting' then rows[#rows + 1] = {id, row.round, row.project}
  else redis.call('ZREM', P .. 'deliveries:due', id) end
end
return rows
"""
)

Verdict = Literal["delivered", "later", "failed", "gone"]


class Outcome(NamedTuple):
    """What a try came to: a verdict, the try, and in how many seconds it is made again if `later`.

    `judged` tells whether it counts for its webhook, which is disabled after `patience` seconds without success.
    """

    verdict: Verdict
    tried: DeliveryTry
    wait: float = 0.0
    judged: bool = True
    patience: float = 0.0


class Overdue(NamedTuple):
    """A delivery whose time has come and gone."""

    id: str
    round: int
    project: str


class Deliveries(Room):
    """The messages to webhooks of every project."""

    async def create(self, delivery: Delivery, body: bytes, slip: Slip, life: float) -> bool:
        """Keep a new delivery for `life` seconds and enqueue it; False for one of that id that is there already."""
        return bool(await self._call(CREATE_LUA, _milliseconds(life), *creation(delivery, body, slip)))

    async def get(self, id: str) -> Delivery:
        """The delivery as it stands; raises `DeliveryNotFound`."""
        row = await self._call(GET_LUA, 0, id)
        if not row:
            raise DeliveryNotFound(id=id)
        return _read(row)

    async def begin(self, id: str, round: int) -> tuple[Delivery, bytes] | None:
        """The delivery and its body, None when it is not on its way in this round."""
        found = await self._call(BEGIN_LUA, 0, id, round)
        return (_read(found[0]), found[1]) if found else None

    async def settle(self, delivery: Delivery, outcome: Outcome, life: float) -> bool:
        """Note a try and what it came to, for its webhook too; False when it was not its round any more."""
        words = (outcome.verdict, outcome.tried.model_dump_json(), _milliseconds(outcome.wait))
        judging = (int(outcome.judged), _milliseconds(outcome.patience), delivery.url)
        at = outcome.tried.at.isoformat()
        return bool(
            await self._call(SETTLE_LUA, _milliseconds(life), delivery.id, delivery.round, *words, at, *judging)
        )

    async def replay(self, delivery: Delivery, slip: Slip, life: float) -> bool:
        """Send one that came to its end again, as its next round; False when another was faster."""
        return bool(await self._call(REPLAY_LUA, _milliseconds(life), delivery.id, delivery.round, *slip))

    async def list(
        self,
        scope: str,
        cursor: str | None = None,
        limit: int = 50,
        status: DeliveryStatus | None = None,
    ) -> Page[Delivery]:
        """Those of a `scope` (`project:<id>`, `webhook:<id>`, `event:<project>:<id>`), newest first.

        Raises `CursorInvalid`.
        """
        index = f"deliveries:{scope}" + (f":{status}" if status else "")
        rows = await self._call(LIST_LUA, 0, index, *decode_cursor(cursor), limit + 1)
        return paged([(id, place, row or None) for id, place, row in rows], limit, _read)

    async def overdue(self, seconds: float, limit: int = 100) -> Sequence[Overdue]:
        """Those that should have been tried `seconds` ago, the longest overdue first."""
        rows = await self._call(OVERDUE_LUA, 0, _milliseconds(seconds), limit)
        return [Overdue(id.decode(), int(round), project.decode()) for id, round, project in rows]


def creation(delivery: Delivery, body: bytes, slip: Slip) -> tuple[Argument, ...]:
    """A delivery and its job as `take_delivery` and `take_slip` of the scripts take them."""
    apart = {"status", "round", "tries", "next_at", "history"}
    head = (delivery.id, delivery.project, delivery.webhook, delivery.event, score(delivery.created_at))
    line = f"{delivery.webhook}:{delivery.subject}" if delivery.type.startswith(LINED) else ""
    return (*head, delivery.origin, delivery.model_dump_json(exclude=apart), body, line, *slip)


def _read(row: Any) -> Delivery:
    pairs, tries = row
    fields = dict(zip(pairs[::2], pairs[1::2], strict=True))
    told = orjson.loads(fields[b"text"]) | {name: fields[name.encode()].decode() for name in ("status",)}
    told |= {name: int(fields[name.encode()]) for name in ("round", "tries")}
    told["next_at"] = int(fields[b"next"]) / 1000 if b"next" in fields else None
    told["history"] = [orjson.loads(text) for text in tries]
    return Delivery.model_validate(told)


def _milliseconds(seconds: float) -> int:
    return int(seconds * 1000)
