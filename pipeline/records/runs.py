"""Runs, how far their nodes have come, and the steps from one status to the next.

What never changes of a run is one text; status, attempt and results are fields beside it, and node states a hash of
their own, so that marking a node costs one small write. Every step checks status and attempt where it is made.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import orjson

from pipeline.errors import RunEnded, RunNotEnded, RunNotFound
from pipeline.events import facts_text
from pipeline.model import ENDED, File, NodeState, Output, Page, Problem, Run, RunStatus, now
from pipeline.records.base import PAGE_LUA, Argument, Room, decode_cursor, flat, paged, score
from pipeline.records.files import FILES_LUA, file_arguments

NODE_EVENTS = {
    "running": "node.started",
    "completed": "node.completed",
    "failed": "node.failed",
    "skipped": "node.skipped",
}

RUN_LUA = """
local function known(id)
  local row = redis.call('HMGET', P .. 'run:' .. id, 'project', 'flow', 'status', 'attempt', 'created')
  if not row[1] then return nil end
  return {id = id, project = row[1], flow = row[2], status = row[3], attempt = row[4], created = row[5]}
end

-- The run, when it is still the turn of this attempt and its status is one of the allowed.
local function turn(id, attempt, allowed)
  local run = known(id)
  if run and run.attempt == attempt and allowed[run.status] then return run end
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

local function move(run, status, place)
  redis.call('HSET', P .. 'run:' .. run.id, 'status', status)
  index('ZADD', run, status, place)
  if run.status ~= status then index('ZREM', run, run.status) end
  run.status = status
end

local function tell(type, run, at, facts)
  facts = facts or {}
  facts.flow, facts.attempt = run.flow, tonumber(run.attempt)
  emit(type, run.project, run.id, at, cjson.encode(facts))
end

local function whole(id)
  return {redis.call('HGETALL', P .. 'run:' .. id), redis.call('HGETALL', P .. 'run:' .. id .. ':nodes')}
end

local function take_nodes()
  local nodes = {}
  for i = 1, tonumber(take()) do
    nodes[i] = {name = take(), status = take(), text = take(), event = take(), facts = take()}
  end
  return nodes
end

-- A node that was already in the status it is marked with is not news.
local function merge(run, nodes, at)
  local key = P .. 'run:' .. run.id .. ':nodes'
  for _, node in ipairs(nodes) do
    local before = redis.call('HGET', key, node.name)
    redis.call('HSET', key, node.name, node.text)
    local news = not before or cjson.decode(before).status ~= node.status
    if news and node.event ~= '' then emit(node.event, run.project, run.id, at, node.facts) end
  end
end
"""

CREATE_LUA = (
    RUN_LUA
    + """
local run = {id = take(), project = take(), flow = take(), status = take(), attempt = take(), created = take()}
local text, at = take(), take()
local key = P .. 'run:' .. run.id
if redis.call('EXISTS', key) == 1 then return end
redis.call('HSET', key, 'text', text, 'project', run.project, 'flow', run.flow, 'status', run.status,
  'attempt', run.attempt, 'created', run.created)
redis.call('ZADD', P .. 'runs:' .. run.project, run.created, run.id)
redis.call('ZADD', P .. 'runs:' .. run.project .. ':flow:' .. run.flow, run.created, run.id)
index('ZADD', run, run.status)
tell('run.queued', run, at)
"""
)

GET_LUA = RUN_LUA + "return whole(take())"

LIST_LUA = (
    RUN_LUA
    + PAGE_LUA
    + """
local found, rows = page(P .. take(), take(), take(), take()), {}
for i = 1, #found, 2 do rows[#rows + 1] = {found[i], found[i + 1], whole(found[i])} end
return rows
"""
)

START_LUA = (
    RUN_LUA
    + """
local id, attempt, at = take(), take(), take()
local run = turn(id, attempt, {queued = true, running = true})
if not run then return false end
redis.call('HSETNX', P .. 'run:' .. id, 'started_at', at)
redis.call('DEL', P .. 'run:' .. id .. ':nodes')
move(run, 'running')
tell('run.started', run, at)
return whole(id)
"""
)

MARK_LUA = (
    RUN_LUA
    + """
local run, nodes, at = turn(take(), take(), {running = true}), take_nodes(), take()
if run then merge(run, nodes, at) end
"""
)

COMMIT_LUA = (
    RUN_LUA
    + FILES_LUA
    + """
local id, attempt, at, outputs, facts = take(), take(), take(), take(), take()
local run = turn(id, attempt, {running = true})
if not run then return false end
redis.call('HSET', P .. 'run:' .. id, 'outputs', outputs, 'facts', facts, 'finished_at', at)
merge(run, take_nodes(), at)
for _ = 1, tonumber(take()) do
  local file = take_file()
  put_file(file)
  redis.call('SADD', P .. 'run:' .. id .. ':files', file.id)
  emit('file.stored', file.project, file.id, at, file.facts)
end
move(run, 'completed')
tell('run.completed', run, at, {outputs = #cjson.decode(outputs)})
return whole(id)
"""
)

FAIL_LUA = (
    RUN_LUA
    + """
local id, attempt, at, problem = take(), take(), take(), take()
local run = turn(id, attempt, {queued = true, running = true, waiting = true})
if not run then return false end
redis.call('HSET', P .. 'run:' .. id, 'error', problem, 'finished_at', at)
merge(run, take_nodes(), at)
move(run, 'failed')
tell('run.failed', run, at, {error = cjson.decode(problem)})
return whole(id)
"""
)

ENDED_LUA = "local ended = {completed = true, failed = true, cancelled = true}\n"

CANCEL_LUA = (
    RUN_LUA
    + ENDED_LUA
    + """
local id, at = take(), take()
local run = known(id)
if not run then return 'missing' end
if ended[run.status] then return run.status end
redis.call('HSET', P .. 'run:' .. id, 'finished_at', at)
move(run, 'cancelled')
tell('run.cancelled', run, at)
return whole(id)
"""
)

RETRY_LUA = (
    RUN_LUA
    + ENDED_LUA
    + FILES_LUA
    + """
local id, at, place = take(), take(), take()
local run = known(id)
if not run then return 'missing' end
if not ended[run.status] then return run.status end
local key = P .. 'run:' .. id
run.attempt = redis.call('HINCRBY', key, 'attempt', 1)
redis.call('HDEL', key, 'outputs', 'facts', 'error', 'started_at', 'finished_at')
for _, file in ipairs(redis.call('SMEMBERS', key .. ':files')) do drop_file(file) end
redis.call('DEL', key .. ':nodes', key .. ':files')
move(run, 'queued', place)
tell('run.queued', run, at)
return whole(id)
"""
)

RELEASE_LUA = (
    RUN_LUA
    + """
local id, attempt, at, place = take(), take(), take(), take()
local run = turn(id, attempt, {running = true})
if not run then return false end
redis.call('HDEL', P .. 'run:' .. id, 'started_at')
redis.call('DEL', P .. 'run:' .. id .. ':nodes')
move(run, 'queued', place)
tell('run.queued', run, at)
return whole(id)
"""
)

STRANDED_LUA = (
    RUN_LUA
    + """
local rows = {}
for _, id in ipairs(redis.call('ZRANGEBYSCORE', P .. 'statuses:queued', '-inf', take(), 'LIMIT', 0, take())) do
  rows[#rows + 1] = whole(id)
end
return rows
"""
)

COUNT_LUA = """
local root, counts = P .. take(), {}
for i = 2, #ARGV do counts[#counts + 1] = redis.call('ZCARD', root .. take()) end
return counts
"""

STATUSES: tuple[RunStatus, ...] = ("queued", "running", "waiting", "completed", "failed", "cancelled")


class Runs(Room):
    """The runs of every project; None from a step means that it was not its turn, and nothing changed."""

    async def create(self, run: Run) -> None:
        """Keep a new run and log `run.queued`; one of that id which is already there stays as it is."""
        place = score(run.created_at)
        apart = {"status", "attempt", "started_at", "finished_at", "outputs", "facts", "error"}
        text = run.model_dump_json(exclude=apart)
        fields = (run.id, run.project, run.flow, run.status, run.attempt, place)
        await self._call(CREATE_LUA, *fields, text, run.created_at.isoformat())

    async def get(self, run_id: str) -> Run:
        """The run as it stands; raises `RunNotFound`."""
        fields, nodes = await self._call(GET_LUA, run_id)
        if not fields:
            raise RunNotFound(id=run_id)
        return _read((fields, nodes))

    async def start(self, run_id: str, attempt: int, at: datetime) -> Run | None:
        """Begin this attempt, or begin it again after its worker was lost; None when it is no longer its turn."""
        return _step(await self._call(START_LUA, run_id, attempt, at.isoformat()))

    async def mark(self, run_id: str, attempt: int, states: Mapping[str, NodeState]) -> None:
        """Note how far some nodes have come, with an event for each that changed; nothing when it is not its turn."""
        await self._call(MARK_LUA, run_id, attempt, *_node_arguments(states), now().isoformat())

    async def commit(
        self,
        run_id: str,
        attempt: int,
        nodes: Mapping[str, NodeState],
        outputs: Sequence[Output],
        files: Sequence[File],
        at: datetime,
        facts: Mapping[str, Any] | None = None,
    ) -> Run | None:
        """Complete the run and make its output files appear, in one step; None when it is not running this attempt."""
        listed = orjson.dumps([output.model_dump() for output in outputs])
        made = flat(file_arguments(file) for file in files)
        found = orjson.dumps(facts or {})
        arguments = (run_id, attempt, at.isoformat(), listed, found, *_node_arguments(nodes), *made)
        return _step(await self._call(COMMIT_LUA, *arguments))

    async def fail(
        self, run_id: str, attempt: int, problem: Problem, nodes: Mapping[str, NodeState], at: datetime
    ) -> Run | None:
        """End the run with `problem`; None when it has ended or another attempt has begun."""
        arguments = (run_id, attempt, at.isoformat(), problem.model_dump_json(), *_node_arguments(nodes))
        return _step(await self._call(FAIL_LUA, *arguments))

    async def cancel(self, run_id: str, at: datetime) -> Run:
        """End a run that has not ended; raises `RunNotFound` or `RunEnded`."""
        row = await self._call(CANCEL_LUA, run_id, at.isoformat())
        if isinstance(row, bytes):
            raise _refusal(run_id, row.decode())
        return _read(row)

    async def retry(self, run_id: str, at: datetime) -> Run:
        """Queue an ended run again as its next attempt; raises `RunNotFound` or `RunNotEnded`.

        The file records of its earlier outputs are forgotten; their bytes stay until the new ones replace them.
        """
        row = await self._call(RETRY_LUA, run_id, at.isoformat(), score(at))
        if isinstance(row, bytes):
            raise _refusal(run_id, row.decode())
        return _read(row)

    async def release(self, run_id: str, attempt: int, at: datetime) -> Run | None:
        """Hand a running attempt back to the queue, as if it had not begun; None when it is not running."""
        return _step(await self._call(RELEASE_LUA, run_id, attempt, at.isoformat(), score(at)))

    async def stranded(self, before: datetime, limit: int = 100) -> list[Run]:
        """Runs that were queued by `before` and have not begun, the oldest first."""
        rows = await self._call(STRANDED_LUA, score(before), limit)
        return [_read(row) for row in rows if row[0]]

    async def counts(self, project: str | None = None) -> dict[RunStatus, int]:
        """How many runs there are of each status, in a project or in all."""
        root = "statuses:" if project is None else f"runs:{project}:status:"
        numbers = await self._call(COUNT_LUA, root, *STATUSES)
        return dict(zip(STATUSES, numbers, strict=True))

    async def list(
        self,
        project: str,
        cursor: str | None = None,
        limit: int = 50,
        status: RunStatus | None = None,
        flow: str | None = None,
    ) -> Page[Run]:
        """The runs of a project, newest first, of one status or flow if given; raises `CursorInvalid`."""
        filters = (("status", status), ("flow", flow))
        index = ":".join(["runs", project, *(part for pair in filters if pair[1] for part in pair if part)])
        rows = await self._call(LIST_LUA, index, *decode_cursor(cursor), limit + 1)
        return paged(rows, limit, _read)


def _refusal(run_id: str, found: str) -> RunNotFound | RunEnded | RunNotEnded:
    if found == "missing":
        return RunNotFound(id=run_id)
    if found in ENDED:
        return RunEnded(id=run_id, status=found)
    return RunNotEnded(id=run_id, status=found)


def _node_arguments(states: Mapping[str, NodeState]) -> list[Argument]:
    return flat(
        (name, state.status, state.model_dump_json(), NODE_EVENTS.get(state.status, ""), _node_facts(name, state))
        for name, state in states.items()
    )


def _node_facts(name: str, state: NodeState) -> bytes:
    error = state.error.model_dump() if state.error else None
    return facts_text({"node": name, "type": state.type, "ms": state.ms, "error": error})


def _step(row: Any) -> Run | None:
    return _read(row) if row else None


def _read(row: Any) -> Run:
    fields, nodes = (_pairs(flat_pairs) for flat_pairs in row)
    run = orjson.loads(fields[b"text"])
    status = fields[b"status"].decode()
    for name in ("started_at", "finished_at"):
        run[name] = fields[name.encode()].decode() if name.encode() in fields else None
    for name, nothing in (("outputs", b"[]"), ("facts", b"{}"), ("error", b"null")):
        run[name] = orjson.loads(fields.get(name.encode(), nothing))
    states = run["nodes"] | {name.decode(): orjson.loads(text) for name, text in nodes.items()}
    run |= {"status": status, "attempt": int(fields[b"attempt"]), "nodes": _settled(status, states)}
    return Run.model_validate(run)


def _settled(status: str, states: dict[str, Any]) -> dict[str, Any]:
    """Node states as they are told: what a cancelled run left open was cancelled with it."""
    if status != "cancelled":
        return states
    closed = ENDED | {"skipped"}
    return {n: s if s["status"] in closed else s | {"status": "cancelled"} for n, s in states.items()}


def _pairs(flat_pairs: Sequence[bytes]) -> dict[bytes, bytes]:
    return dict(zip(flat_pairs[::2], flat_pairs[1::2], strict=True))
