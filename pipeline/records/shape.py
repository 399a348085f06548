"""How a run lies on record: what every script on runs looks up, moves and tells, and how its answer becomes a run.

What never changes of a run is one text; status, attempt and results are fields beside it, and node states a hash of
their own, so that marking a node costs one small write.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import orjson

from pipeline.model import ENDED, Run
from pipeline.records.history import tries_of
from pipeline.records.queue import FENCE_LUA
from pipeline.records.series import SERIES_LUA

RUN_LUA = (
    SERIES_LUA
    + FENCE_LUA
    + """
local function known(id)
  local row = redis.call('HMGET', P .. 'run:' .. id, 'project', 'flow', 'status', 'attempt', 'created', 'queue',
    'queued_us', 'begun_us', 'worker', 'begun')
  if not row[1] then return nil end
  return {id = id, project = row[1], flow = row[2], status = row[3], attempt = row[4], created = row[5],
    queue = row[6] or 'default', queued_us = row[7], begun_us = row[8], worker = row[9], begun = row[10]}
end

-- The run, when it is still the turn of this attempt and claim, and its status is one of the allowed.
local function turn(id, attempt, claim, allowed)
  local run = known(id)
  if run and run.attempt == attempt and allowed[run.status] and holds(id, attempt, claim) then return run end
  return nil
end

local function index(verb, run, status, place)
  local own = P .. 'runs:' .. run.project .. ':status:' .. status
  for _, key in ipairs({own, own .. ':flow:' .. run.flow}) do
    if verb == 'ZADD' then redis.call('ZADD', key, run.created, run.id) else redis.call('ZREM', key, run.id) end
  end
  if verb == 'ZADD' then
    redis.call('ZADD', P .. 'statuses:' .. status, place or run.created, run.id)
  else
    redis.call('ZREM', P .. 'statuses:' .. status, run.id)
  end
end

local ended = {completed = true, failed = true, cancelled = true}

-- With the status it changes other `fields` of the record, names and values one after the other.
local function move(run, status, fields, place)
  fields[#fields + 1], fields[#fields + 2] = 'status', status
  fields[#fields + 1], fields[#fields + 2] = series.mark(status)
  redis.call('HSET', P .. 'run:' .. run.id, unpack(fields))
  index('ZADD', run, status, place)
  if run.status ~= status then index('ZREM', run, run.status) end
  series.moved(run, run.status, status)
  run.status = status
  if ended[status] then ring(run.id) end
end

local function tell(type, run, at, facts)
  facts = facts or {}
  facts.flow, facts.attempt = run.flow, tonumber(run.attempt)
  emit(type, run.project, run.id, at, cjson.encode(facts))
end

-- Whether it waits for a file that is being fetched; those that came stand as `fed:<fetch>`.
local function hungry(id)
  local key = P .. 'run:' .. id
  for fetch in string.gmatch(redis.call('HGET', key, 'awaits') or '', '%S+') do
    if redis.call('HEXISTS', key, 'fed:' .. fetch) == 0 then return true end
  end
  return false
end

local function whole(id)
  return {redis.call('HGETALL', P .. 'run:' .. id), redis.call('HGETALL', P .. 'run:' .. id .. ':nodes')}
end
"""
)


def read_run(row: Any) -> Run:
    """A run as a script of these records answers it."""
    fields, nodes = (_pairs(flat_pairs) for flat_pairs in row)
    run = orjson.loads(fields[b"text"])
    status = fields[b"status"].decode()
    for name in ("started_at", "finished_at"):
        run[name] = fields[name.encode()].decode() if name.encode() in fields else None
    for name, nothing in (("outputs", b"[]"), ("facts", b"{}"), ("error", b"null")):
        run[name] = orjson.loads(fields.get(name.encode(), nothing))
    run["tries"] = tries_of(fields, run)
    states = run["nodes"] | {name.decode(): orjson.loads(text) for name, text in nodes.items()}
    run["inputs"] = {name: [_fed(fields, id) for id in ids] for name, ids in run["inputs"].items()}
    run |= {"status": status, "attempt": int(fields[b"attempt"]), "nodes": _settled(status, states)}
    return Run.model_validate(run)


def _fed(fields: Mapping[bytes, bytes], id: str) -> str:
    """The file that a fetch became, when this is the id of one."""
    return fields.get(f"fed:{id}".encode(), id.encode()).decode()


def _settled(status: str, states: dict[str, Any]) -> dict[str, Any]:
    """Node states as they are told: what a run left open when it ended was cancelled with it."""
    if status not in ("cancelled", "failed"):
        return states
    closed = ENDED | {"skipped"}
    return {n: s if s["status"] in closed else s | {"status": "cancelled"} for n, s in states.items()}


def _pairs(flat_pairs: Sequence[bytes]) -> dict[bytes, bytes]:
    return dict(zip(flat_pairs[::2], flat_pairs[1::2], strict=True))
