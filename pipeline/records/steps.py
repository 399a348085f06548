"""The steps of a run from one status to the next, as scripts; each checks status and attempt where it is made."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime

import orjson

from pipeline.events import facts_text
from pipeline.model import LetterReason, NodeState, Problem, Run, Try
from pipeline.records.base import Argument, flat, score
from pipeline.records.files import FILES_LUA
from pipeline.records.history import LETTERS_LUA, LOST, TRIES_LUA
from pipeline.records.queue import ENQUEUE_LUA, LINES_LUA, Slip
from pipeline.records.shape import RUN_LUA
from pipeline.records.waits import RESTING_LUA

NODE_EVENTS = {
    "running": "node.started",
    "completed": "node.completed",
    "failed": "node.failed",
    "skipped": "node.skipped",
}

NODES_LUA = """
local function take_nodes()
  local nodes = {}
  for i = 1, tonumber(take()) do
    nodes[i] = {name = take(), type = take(), status = take(), ms = take(), text = take(), event = take(),
      facts = take()}
  end
  return nodes
end

-- A node that was already in the status it is marked with is not news.
local function merge(run, nodes, at)
  if #nodes == 0 then return end
  local key, names, fields = P .. 'run:' .. run.id .. ':nodes', {}, {}
  for i, node in ipairs(nodes) do names[i], fields[2 * i - 1], fields[2 * i] = node.name, node.name, node.text end
  local known = redis.call('HMGET', key, unpack(names))
  redis.call('HSET', key, unpack(fields))
  for i, node in ipairs(nodes) do
    local news = not known[i] or cjson.decode(known[i]).status ~= node.status
    if news then series.node(node.type, node.status, node.ms) end
    if news and node.event ~= '' then emit(node.event, run.project, run.id, at, node.facts) end
  end
end
"""

CREATING_LUA = (
    RUN_LUA
    + ENQUEUE_LUA
    + """
local function take_run()
  return {id = take(), project = take(), flow = take(), status = take(), attempt = take(), created = take(),
    queue = take(), text = take(), files = take(), awaits = take(), at = take(), heard = take() == '1',
    slip = take_slip()}
end

local function create(run)
  local key = P .. 'run:' .. run.id
  if redis.call('EXISTS', key) == 1 then return 1 end
  redis.call('HSET', key, 'text', run.text, 'project', run.project, 'flow', run.flow, 'status', run.status,
    'attempt', run.attempt, 'created', run.created, 'files', run.files, 'queue', run.queue, series.mark(run.status))
  if run.awaits ~= '' then redis.call('HSET', key, 'awaits', run.awaits) end
  if run.heard then redis.call('HSET', key, 'heard', 1) end
  local place = run.status == 'waiting' and rest_place(run, run.created) or nil
  redis.call('ZADD', P .. 'runs:' .. run.project, run.created, run.id)
  redis.call('ZADD', P .. 'runs:' .. run.project .. ':flow:' .. run.flow, run.created, run.id)
  index('ZADD', run, run.status, place)
  series.moved(run, nil, run.status)
  tell('run.' .. run.status, run, run.at, run.status == 'waiting' and lacking(run.id) or nil)
  -- The run is on record by now, so whatever ails the queue must not be told as a refusal.
  if not run.slip or pcall(enqueue, run.slip) then return 1 end
  return 0
end
"""
)

CREATE_LUA = CREATING_LUA + "return create(take_run())"

# What it had come to stays told, as it will be found again. One that was resumed meanwhile goes into the queue anew.
REST_LUA = (
    RUN_LUA
    + LINES_LUA
    + TRIES_LUA
    + NODES_LUA
    + RESTING_LUA
    + """
local id, attempt, claim, at, place = take(), take(), take(), take(), take()
local run = turn(id, attempt, claim, {running = true})
if not run then return false end
redis.call('HSET', P .. 'run:' .. id, 'rested', 1)
merge(run, take_nodes(), at)
end_try(run, at, '')
if run.paused then
  rest(run, at)
else
  drop_job(run)
  move(run, 'queued', {}, place)
  tell('run.queued', run, at)
end
return whole(id)
"""
)

START_LUA = (
    RUN_LUA
    + LINES_LUA
    + TRIES_LUA
    + RESTING_LUA
    + """
local id, attempt, claim, at, worker, lost = take(), take(), take(), take(), take(), take()
local run = turn(id, attempt, claim, {queued = true, running = true})
if not run then return false end
-- Its worker was lost before it could rest.
if run.paused then
  end_try(run, at, lost)
  redis.call('DEL', P .. 'run:' .. id .. ':nodes')
  rest(run, at)
  return false
end
-- The same word a second time, because its answer was lost, begins nothing.
if run.status ~= 'running' or run.worker ~= worker or run.begun ~= at then
  end_try(run, at, lost)
  redis.call('HSETNX', P .. 'run:' .. id, 'started_at', at)
  if redis.call('HDEL', P .. 'run:' .. id, 'rested') == 0 then redis.call('DEL', P .. 'run:' .. id .. ':nodes') end
  move(run, 'running', {'worker', worker, 'begun', at})
  tell('run.started', run, at)
end
local files = {}
for file in string.gmatch(redis.call('HGET', P .. 'run:' .. id, 'files') or '', '%S+') do
  files[#files + 1] = redis.call('GET', P .. 'file:' .. file)
end
return {whole(id), files}
"""
)

MARK_LUA = (
    RUN_LUA
    + NODES_LUA
    + """
local run, nodes, at = turn(take(), take(), take(), {running = true}), take_nodes(), take()
if run then
  merge(run, nodes, at)
  series.note()
end
"""
)

COMMIT_LUA = (
    RUN_LUA
    + NODES_LUA
    + FILES_LUA
    + """
local id, attempt, claim, at, outputs, facts = take(), take(), take(), take(), take(), take()
local run = turn(id, attempt, claim, {running = true})
if not run then return false end
merge(run, take_nodes(), at)
for _ = 1, tonumber(take()) do
  local file = take_file()
  put_file(file)
  redis.call('SADD', P .. 'run:' .. id .. ':files', file.id)
  emit('file.stored', file.project, file.id, at, file.facts)
  tell_folders(file.project, at)
end
series.stored(run, tonumber(take()))
move(run, 'completed', {'outputs', outputs, 'facts', facts, 'finished_at', at})
redis.call('HDEL', P .. 'run:' .. id, 'kept')
tell('run.completed', run, at, {outputs = #cjson.decode(outputs)})
return whole(id)
"""
)

FAIL_LUA = (
    RUN_LUA
    + TRIES_LUA
    + LETTERS_LUA
    + NODES_LUA
    + """
local id, attempt, claim, at, problem, place = take(), take(), take(), take(), take(), take()
local reason, lost, history = take(), take(), cjson.decode(take())
local run = turn(id, attempt, claim, {queued = true, running = true, waiting = true})
if not run then return false end
local key, seen = P .. 'run:' .. id, {}
end_try(run, at, lost)
for _, try in ipairs(cjson.decode(redis.call('HGET', key, 'tries') or '[]')) do
  seen[try.attempt .. ':' .. try.worker] = true
end
for _, try in ipairs(history) do
  if not seen[try.attempt .. ':' .. try.worker] then keep_try(key, try) end
end
merge(run, take_nodes(), at)
series.failed(run, problem)
move(run, 'failed', {'error', problem, 'finished_at', at})
tell('run.failed', run, at, {error = cjson.decode(problem)})
if reason ~= '' then keep_letter(run, at, place, reason, problem) end
return whole(id)
"""
)

CANCELLING_LUA = """
-- The job of a run that has not begun goes with it; that of a running one is its worker's to end.
local function cancel(run, at)
  local waits = run.status == 'queued'
  move(run, 'cancelled', {'finished_at', at})
  if waits then
    local job = 'run:' .. run.id .. ':' .. run.attempt
    dequeue(P .. 'queue:' .. run.queue, job)
    redis.call('DEL', 'arq:job:' .. job, 'arq:retry:' .. job)
  end
  tell('run.cancelled', run, at)
end
"""

CANCEL_LUA = (
    RUN_LUA
    + LINES_LUA
    + CANCELLING_LUA
    + """
local id, at = take(), take()
local run = known(id)
if not run then return 'missing' end
if ended[run.status] then return run.status end
cancel(run, at)
return whole(id)
"""
)

PURGE_LUA = (
    RUN_LUA
    + LINES_LUA
    + CANCELLING_LUA
    + """
local queue, at, passed, limit, seen, gone = take(), take(), tonumber(take()), tonumber(take()), 0, 0
for _, id in ipairs(redis.call('ZRANGE', P .. 'statuses:queued', passed, passed + limit - 1)) do
  local run = known(id)
  seen = seen + 1
  if run and run.status == 'queued' and run.queue == queue then
    cancel(run, at)
    gone = gone + 1
  end
end
return {seen, gone}
"""
)

RETRY_LUA = (
    RUN_LUA
    + TRIES_LUA
    + LETTERS_LUA
    + FILES_LUA
    + """
local id, at, place, whole_again, text, files, awaits = take(), take(), take(), take(), take(), take(), take()
local run = known(id)
if not run then return 'missing' end
if not ended[run.status] then return run.status end
local key = P .. 'run:' .. id
-- First what a server that is full refuses: a step that has begun is not refused any more.
local attempt = redis.call('HINCRBY', key, 'attempt', 1)
if whole_again == '1' then redis.call('HDEL', key, 'kept') end
if text ~= '' then redis.call('HSET', key, 'text', text, 'files', files, 'awaits', awaits) end
if drop_letter(id, at, 'retried', '') then keep_failing(run, place) end
end_try(run, redis.call('HGET', key, 'finished_at') or at, '')
run.attempt = attempt
redis.call('HDEL', key, 'outputs', 'facts', 'error', 'started_at', 'finished_at', 'rested')
for _, file in ipairs(redis.call('SMEMBERS', key .. ':files')) do drop_file(file) end
tell_folders(run.project, at)
redis.call('DEL', key .. ':nodes', key .. ':files')
local waits = hungry(id)
if waits then move(run, 'waiting', {}, rest_place(run, place)) else move(run, 'queued', {}, place) end
tell('run.' .. run.status, run, at, waits and lacking(id) or nil)
return whole(id)
"""
)

RELEASE_LUA = (
    RUN_LUA
    + LINES_LUA
    + TRIES_LUA
    + RESTING_LUA
    + """
local id, attempt, claim, at, place, problem = take(), take(), take(), take(), take(), take()
local run = turn(id, attempt, claim, {running = true})
if not run then return false end
end_try(run, at, problem)
redis.call('HDEL', P .. 'run:' .. id, 'started_at')
redis.call('DEL', P .. 'run:' .. id .. ':nodes')
if run.paused then
  rest(run, at)
else
  move(run, 'queued', {}, place)
  tell('run.queued', run, at)
end
if problem ~= '' then keep_failing(run, place) end
return whole(id)
"""
)

KEEP_LUA = (
    RUN_LUA
    + """
local id, attempt, claim, text = take(), take(), take(), take()
local run = turn(id, attempt, claim, {running = true})
if not run then return 0 end
redis.call('HSET', P .. 'run:' .. id, 'kept', text)
return 1
"""
)


def run_arguments(run: Run, slip: Slip | None) -> tuple[Argument, ...]:
    """A new run and its job, if it has one yet, as `take_run` of the scripts takes them."""
    fields = (run.id, run.project, run.flow, run.status, run.attempt, score(run.created_at), run.queue)
    return (*fields, *given_arguments(run), run.created_at.isoformat(), int(run.heard), *(slip or ("",)))


def given_arguments(run: Run) -> tuple[str, str, str]:
    """What never changes of a run, the ids of its files, and what it waits for: fetches and announced inputs."""
    apart = {"tries", "status", "attempt", "started_at", "finished_at", "outputs", "facts", "error", "paused_at"}
    announced = [f"input:{name}" for name in run.awaits]
    files, awaits = [*run_files(run), *announced], [*run.fetches, *announced]
    return run.model_dump_json(exclude=apart), " ".join(files), " ".join(awaits)


def run_files(run: Run) -> Sequence[str]:
    """The ids of its input files, each once."""
    return list(dict.fromkeys(id for group in run.inputs.values() for id in group))


def fail_arguments(
    run_id: str,
    attempt: int,
    problem: Problem,
    at: datetime,
    nodes: Mapping[str, NodeState],
    letter: LetterReason | None,
    history: Sequence[Try] | None = None,
    claim: str = "",
) -> list[Argument]:
    """What `FAIL_LUA` takes; with a `history`, the try under way was lost with its worker."""
    text = problem.model_dump_json()
    lost, known = text if history is None else LOST, orjson.dumps([one.model_dump() for one in history or ()])
    head = (run_id, attempt, claim, at.isoformat(), text, score(at), letter or "", lost, known)
    return [*head, *node_arguments(nodes)]


def node_arguments(states: Mapping[str, NodeState]) -> list[Argument]:
    """Node states as `take_nodes` of the scripts takes them."""
    return flat(_node_row(name, state) for name, state in states.items())


def _node_row(name: str, state: NodeState) -> Sequence[Argument]:
    ms = "" if state.ms is None else state.ms
    told = (state.model_dump_json(), NODE_EVENTS.get(state.status, ""), _node_facts(name, state))
    return (name, state.type, state.status, ms, *told)


def _node_facts(name: str, state: NodeState) -> bytes:
    error = state.error.model_dump() if state.error else None
    return facts_text({"node": name, "type": state.type, "ms": state.ms, "error": error})
