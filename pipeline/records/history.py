"""What is kept of how a run went: the times it was begun, and why it was given up."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson

from pipeline.errors import WorkerLost
from pipeline.model import Problem

MOST_TRIES = 20
"""Times a run was begun that are kept."""
MOST_FAILING = 1000
"""Runs of a project that are known to be tried again, those that failed last."""
LOST = Problem(code=WorkerLost.code, message=WorkerLost.sentence).model_dump_json()
"""What ails a try that nobody ended."""

# These stand after `RUN_LUA`.
TRIES_LUA = (
    f"local MOST_TRIES, MOST_FAILING = {MOST_TRIES}, {MOST_FAILING}\n"
    + """
-- What is kept of the times the run was begun; the one under way lies apart, in `worker` and `begun`.
local function keep_try(key, try)
  local tries = cjson.decode(redis.call('HGET', key, 'tries') or '[]')
  tries[#tries + 1] = try
  while #tries > MOST_TRIES do table.remove(tries, 1) end
  redis.call('HSET', key, 'tries', cjson.encode(tries))
end

local function end_try(run, at, problem)
  local key = P .. 'run:' .. run.id
  if not run.begun then return end
  local fault = cjson.null
  if problem ~= '' then fault = cjson.decode(problem) end
  keep_try(key, {attempt = tonumber(run.attempt), worker = run.worker or '', started_at = run.begun, ended_at = at,
    error = fault})
  redis.call('HDEL', key, 'worker', 'begun')
end

-- A run that failed and is tried again, until somebody looks and it has ended; the last of them are enough.
local function keep_failing(run, place)
  local key = P .. 'failing:' .. run.project
  redis.call('ZADD', key, place, run.id)
  redis.call('ZREMRANGEBYRANK', key, 0, -MOST_FAILING - 1)
end
"""
)

LETTERS_LUA = """
local function index_letter(verb, id, row, place)
  local all = P .. 'letters:' .. row[1]
  local flow, code = ':flow:' .. row[2], ':code:' .. row[3]
  for _, key in ipairs({P .. 'letters', all, all .. flow, all .. code, all .. flow .. code}) do
    if verb == 'ZADD' then redis.call('ZADD', key, place, id) else redis.call('ZREM', key, id) end
  end
end

local function drop_letter(id, at, how, note)
  local key = P .. 'letter:' .. id
  local row = redis.call('HMGET', key, 'project', 'flow', 'code')
  if not row[1] then return false end
  index_letter('ZREM', id, row)
  redis.call('DEL', key)
  emit('letter.resolved', row[1], id, at, cjson.encode({flow = row[2], code = row[3], how = how, note = note}))
  return true
end

local function keep_letter(run, at, place, reason, problem)
  local key, code = P .. 'letter:' .. run.id, cjson.decode(problem).code
  if redis.call('EXISTS', key) == 1 then return end
  redis.call('HSET', key, 'project', run.project, 'flow', run.flow, 'code', code, 'reason', reason, 'added_at', at)
  index_letter('ZADD', run.id, {run.project, run.flow, code}, place)
  tell('letter.added', run, at, {reason = reason, error = cjson.decode(problem)})
end
"""


def tries_of(fields: Mapping[bytes, bytes], run: Mapping[str, Any]) -> list[Any]:
    """The times a run was begun, as its record tells; the last ends with the run, unless the record says otherwise."""
    tries: list[Any] = orjson.loads(fields.get(b"tries", b"[]"))
    if b"begun" in fields:
        began = {"worker": fields[b"worker"].decode(), "started_at": fields[b"begun"].decode()}
        tries.append({"attempt": int(fields[b"attempt"]), "ended_at": run["finished_at"], **began})
    return tries[-MOST_TRIES:]
