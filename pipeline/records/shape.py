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
    'queued_us', 'begun_us', 'worker', 'begun', 'paused', 'heard')
  if not row[1] then return nil end
  return {id = id, project = row[1], flow = row[2], status = row[3], attempt = row[4], created = row[5],
    queue = row[6] or 'default', queued_us = row[7], begun_us = row[8], worker = row[9], begun = row[10],
    paused = row[11], heard = row[12]}
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
  if run.status == 'waiting' and status ~= 'waiting' then redis.call('ZREM', P .. 'unfed', run.id) end
  if run.paused and ended[status] then redis.call('HDEL', P .. 'run:' .. run.id, 'paused') end
  index('ZADD', run, status, place)
  if run.status ~= status then index('ZREM', run, run.status) end
  series.moved(run, run.status, status)
  run.status = status
  if ended[status] then ring(run.id) end
end

-- Its steps wait for webhooks only where somebody wants them.
local function tell(type, run, at, facts)
  facts = facts or {}
  facts.flow, facts.attempt = run.flow, tonumber(run.attempt)
  emit(type, run.project, run.id, at, cjson.encode(facts), nil, STEPS[type] and not run.heard)
end

-- How many files it waits for that are fetched, and how many inputs that somebody is to give. What came stands as
-- `fed:<fetch>`, or as `fed:input:<node>`.
local function lacks(id)
  local key, fetches, inputs = P .. 'run:' .. id, 0, 0
  for name in string.gmatch(redis.call('HGET', key, 'awaits') or '', '%S+') do
    local lacking = 1 - redis.call('HEXISTS', key, 'fed:' .. name)
    if string.sub(name, 1, 6) == 'input:' then inputs = inputs + lacking else fetches = fetches + lacking end
  end
  return fetches, inputs
end

local function hungry(id)
  local fetches, inputs = lacks(id)
  return fetches + inputs > 0
end

-- What is told of a run that begins to wait.
local function lacking(id)
  local key, inputs = P .. 'run:' .. id, {}
  for node in string.gmatch(redis.call('HGET', key, 'awaits') or '', 'input:(%S+)') do
    if redis.call('HEXISTS', key, 'fed:input:' .. node) == 0 then inputs[#inputs + 1] = node end
  end
  return #inputs > 0 and {awaits = inputs} or nil
end

-- Where a run that waits stands among its like, if it waits since `place`: nobody looks after one that only people can
-- help on, but that its time runs out.
local FAR = '9007199254740991'
local function rest_place(run, place)
  local fetches, inputs = lacks(run.id)
  if inputs > 0 and not run.paused then
    redis.call('ZADD', P .. 'unfed', place, run.id)
  else
    redis.call('ZREM', P .. 'unfed', run.id)
  end
  return fetches > 0 and place or FAR
end

-- The ids of its files, those that came in the place of what was awaited.
local function given(id)
  local key, files = P .. 'run:' .. id, {}
  local function add(text)
    for one in string.gmatch(text, '%S+') do
      local came = redis.call('HGET', key, 'fed:' .. one)
      if came and came ~= one then add(came) else files[#files + 1] = one end
    end
  end
  add(redis.call('HGET', key, 'files') or '')
  return table.concat(files, ' ')
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
    _give(run, fields)
    run["inputs"] = {name: [_fed(fields, id) for id in ids] for name, ids in run["inputs"].items()}
    run["paused_at"] = fields[b"paused"].decode() if b"paused" in fields else None
    if status == "waiting":
        # One that runs a flow rests with it.
        resting = [name for name, state in states.items() if state["status"] == "running"]
        states |= {name: states[name] | {"status": "waiting"} for name in (*run.get("awaits", ()), *resting)}
    run |= {"status": status, "attempt": int(fields[b"attempt"]), "nodes": _settled(status, states)}
    return Run.model_validate(run)


def _give(run: dict[str, Any], fields: Mapping[bytes, bytes]) -> None:
    """Put what came for announced inputs in its place; of what it `awaits` the rest is left."""
    if not run.get("awaits"):
        return
    came = {name: fields.get(f"fed:input:{name}".encode()) for name in run["awaits"]}
    run["awaits"] = [name for name, ids in came.items() if ids is None]
    run["inputs"] |= {name: ids.decode().split() for name, ids in came.items() if ids is not None}
    for name, text in fields.items():
        if name.startswith(b"fetch:"):
            run["fetches"][name.removeprefix(b"fetch:").decode()] = orjson.loads(text)


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
