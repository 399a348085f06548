"""Runs, how far their nodes have come, and the steps from one status to the next.

What never changes of a run is one text; status, attempt and results are fields beside it, and node states a hash of
their own, so that marking a node costs one small write. Every step checks status and attempt where it is made.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import copy
from datetime import datetime
from typing import Any

import orjson

from pipeline.errors import RunEnded, RunNotEnded, RunNotFound, WorkerLost
from pipeline.events import facts_text
from pipeline.model import (
    ENDED,
    Checkpoint,
    File,
    LetterReason,
    NodeState,
    Output,
    Page,
    Problem,
    Queue,
    Run,
    RunStatus,
    Try,
    now,
)
from pipeline.records.base import PAGE_LUA, Argument, Room, decode_cursor, flat, paged, score
from pipeline.records.files import FILES_LUA, file_arguments, read_file
from pipeline.records.queue import ENQUEUE_LUA, FENCE_LUA, LINES_LUA, Slip
from pipeline.records.series import SERIES_LUA

MOST_TRIES = 20
"""Times a run was begun that are kept."""
NODE_EVENTS = {
    "running": "node.started",
    "completed": "node.completed",
    "failed": "node.failed",
    "skipped": "node.skipped",
}

RUN_LUA = (
    SERIES_LUA
    + FENCE_LUA
    + f"local MOST_TRIES = {MOST_TRIES}\n"
    + """
local function known(id)
  local row = redis.call('HMGET', P .. 'run:' .. id, 'project', 'flow', 'status', 'attempt', 'created')
  if not row[1] then return nil end
  return {id = id, project = row[1], flow = row[2], status = row[3], attempt = row[4], created = row[5]}
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

local function move(run, status, place)
  redis.call('HSET', P .. 'run:' .. run.id, 'status', status)
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

local function whole(id)
  return {redis.call('HGETALL', P .. 'run:' .. id), redis.call('HGETALL', P .. 'run:' .. id .. ':nodes')}
end

-- What is kept of the times the run was begun; the one under way lies apart, in `worker` and `begun`.
local function keep_try(key, try)
  local tries = cjson.decode(redis.call('HGET', key, 'tries') or '[]')
  tries[#tries + 1] = try
  while #tries > MOST_TRIES do table.remove(tries, 1) end
  redis.call('HSET', key, 'tries', cjson.encode(tries))
end

local function end_try(run, at, problem)
  local key = P .. 'run:' .. run.id
  local row = redis.call('HMGET', key, 'worker', 'begun')
  if not row[2] then return end
  local fault = cjson.null
  if problem ~= '' then fault = cjson.decode(problem) end
  keep_try(key, {attempt = tonumber(run.attempt), worker = row[1] or '', started_at = row[2], ended_at = at,
    error = fault})
  redis.call('HDEL', key, 'worker', 'begun')
end

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
    if news then series.node(node.text) end
    if news and node.event ~= '' then emit(node.event, run.project, run.id, at, node.facts) end
  end
end
"""
)

CREATE_LUA = (
    RUN_LUA
    + ENQUEUE_LUA
    + """
local run = {id = take(), project = take(), flow = take(), status = take(), attempt = take(), created = take(),
  queue = take()}
local text, files, at, slip = take(), take(), take(), take_slip()
local key = P .. 'run:' .. run.id
if redis.call('EXISTS', key) == 1 then return 1 end
redis.call('HSET', key, 'text', text, 'project', run.project, 'flow', run.flow, 'status', run.status,
  'attempt', run.attempt, 'created', run.created, 'files', files,
  'queue', run.queue)
redis.call('ZADD', P .. 'runs:' .. run.project, run.created, run.id)
redis.call('ZADD', P .. 'runs:' .. run.project .. ':flow:' .. run.flow, run.created, run.id)
index('ZADD', run, run.status)
series.moved(run, nil, run.status)
tell('run.queued', run, at)
-- The run is on record by now, so whatever ails the queue must not be told as a refusal.
if not slip or pcall(enqueue, slip) then return 1 end
return 0
"""
)

ENQUEUE_ONE_LUA = ENQUEUE_LUA + "return enqueue(take_slip())"

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
local id, attempt, claim, at, worker, lost = take(), take(), take(), take(), take(), take()
local run = turn(id, attempt, claim, {queued = true, running = true})
if not run then return false end
end_try(run, at, lost)
redis.call('HSETNX', P .. 'run:' .. id, 'started_at', at)
redis.call('HSET', P .. 'run:' .. id, 'worker', worker, 'begun', at)
redis.call('DEL', P .. 'run:' .. id .. ':nodes')
move(run, 'running')
tell('run.started', run, at)
local files = {}
for file in string.gmatch(redis.call('HGET', P .. 'run:' .. id, 'files') or '', '%S+') do
  files[#files + 1] = redis.call('GET', P .. 'file:' .. file)
end
return {whole(id), files}
"""
)

MARK_LUA = (
    RUN_LUA
    + """
local run, nodes, at = turn(take(), take(), take(), {running = true}), take_nodes(), take()
if run then merge(run, nodes, at) end
"""
)

COMMIT_LUA = (
    RUN_LUA
    + FILES_LUA
    + """
local id, attempt, claim, at, outputs, facts = take(), take(), take(), take(), take(), take()
local run = turn(id, attempt, claim, {running = true})
if not run then return false end
redis.call('HSET', P .. 'run:' .. id, 'outputs', outputs, 'facts', facts, 'finished_at', at)
redis.call('HDEL', P .. 'run:' .. id, 'kept')
merge(run, take_nodes(), at)
for _ = 1, tonumber(take()) do
  local file = take_file()
  put_file(file)
  redis.call('SADD', P .. 'run:' .. id .. ':files', file.id)
  emit('file.stored', file.project, file.id, at, file.facts)
end
move(run, 'completed')
series.stored(run, tonumber(take()))
tell('run.completed', run, at, {outputs = #cjson.decode(outputs)})
return whole(id)
"""
)

FAIL_LUA = (
    RUN_LUA
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
redis.call('HSET', key, 'error', problem, 'finished_at', at)
merge(run, take_nodes(), at)
move(run, 'failed')
series.failed(run, problem)
tell('run.failed', run, at, {error = cjson.decode(problem)})
if reason ~= '' then keep_letter(run, at, place, reason, problem) end
return whole(id)
"""
)

CANCELLING_LUA = """
local function queue_of(id) return cjson.decode(redis.call('HGET', P .. 'run:' .. id, 'text')).queue end

-- The job of a run that has not begun goes with it; that of a running one is its worker's to end.
local function cancel(run, at)
  redis.call('HSET', P .. 'run:' .. run.id, 'finished_at', at)
  if run.status == 'queued' then
    local job = 'run:' .. run.id .. ':' .. run.attempt
    dequeue(P .. 'queue:' .. queue_of(run.id), job)
    redis.call('DEL', 'arq:job:' .. job, 'arq:retry:' .. job)
  end
  move(run, 'cancelled')
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
  if run and run.status == 'queued' and queue_of(id) == queue then
    cancel(run, at)
    gone = gone + 1
  end
end
return {seen, gone}
"""
)

RUNNING_LUA = (
    RUN_LUA
    + LINES_LUA
    + CANCELLING_LUA
    + """
local queue, count = take(), 0
for _, id in ipairs(redis.call('ZRANGE', P .. 'statuses:running', 0, -1)) do
  if known(id) and queue_of(id) == queue then count = count + 1 end
end
return count
"""
)

RETRY_LUA = (
    RUN_LUA
    + FILES_LUA
    + """
local id, at, place, whole_again = take(), take(), take(), take()
local run = known(id)
if not run then return 'missing' end
if not ended[run.status] then return run.status end
local key = P .. 'run:' .. id
-- First what a server that is full refuses: a step that has begun is not refused any more.
local attempt = redis.call('HINCRBY', key, 'attempt', 1)
if whole_again == '1' then redis.call('HDEL', key, 'kept') end
drop_letter(id, at, 'retried', '')
end_try(run, redis.call('HGET', key, 'finished_at') or at, '')
run.attempt = attempt
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
local id, attempt, claim, at, place, problem = take(), take(), take(), take(), take(), take()
local run = turn(id, attempt, claim, {running = true})
if not run then return false end
end_try(run, at, problem)
redis.call('HDEL', P .. 'run:' .. id, 'started_at')
redis.call('DEL', P .. 'run:' .. id .. ':nodes')
move(run, 'queued', place)
tell('run.queued', run, at)
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

KEPT_LUA = "return redis.call('HGET', P .. 'run:' .. take(), 'kept')"

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

LOST = Problem(code=WorkerLost.code, message=WorkerLost.sentence).model_dump_json()
"""What ails a try that nobody ended."""
STATUSES: tuple[RunStatus, ...] = ("queued", "running", "waiting", "completed", "failed", "cancelled")


class Runs(Room):
    """The runs of every project; None from a step means that it was not its turn, and nothing changed."""

    _claim = ""

    def under(self, claim: str) -> Runs:
        """The same for who holds a run's job under `claim`: once that is lost it is not its turn any more."""
        runs = copy(self)
        runs._claim = claim
        return runs

    async def create(self, run: Run, slip: Slip | None = None) -> bool:
        """Keep a new run, log `run.queued` and put its slip into the queue, all in one step.

        One of that id which is already there stays as it is. False when the run is kept and the queue took nothing.
        """
        place = score(run.created_at)
        apart = {"tries", "status", "attempt", "started_at", "finished_at", "outputs", "facts", "error"}
        text = run.model_dump_json(exclude=apart)
        fields = (run.id, run.project, run.flow, run.status, run.attempt, place, run.queue)
        files = " ".join(run_files(run))
        return bool(await self._call(CREATE_LUA, *fields, text, files, run.created_at.isoformat(), *(slip or ("",))))

    async def enqueue(self, slip: Slip) -> bool:
        """Put a slip into the queue; False when it is there already."""
        return bool(await self._call(ENQUEUE_ONE_LUA, *slip))

    async def get(self, run_id: str) -> Run:
        """The run as it stands; raises `RunNotFound`."""
        fields, nodes = await self._call(GET_LUA, run_id)
        if not fields:
            raise RunNotFound(id=run_id)
        return read_run((fields, nodes))

    async def start(self, run_id: str, attempt: int, at: datetime, worker: str = "") -> Run | None:
        """Begin this attempt, or begin it again after its worker was lost; None when it is no longer its turn."""
        begun = await self.begin(run_id, attempt, at, worker)
        return begun[0] if begun else None

    async def begin(
        self, run_id: str, attempt: int, at: datetime, worker: str = ""
    ) -> tuple[Run, Mapping[str, File]] | None:
        """The same as `start`, with those of its input files that are there, by id."""
        found = await self._call(START_LUA, run_id, attempt, self._claim, at.isoformat(), worker, LOST)
        if not found:
            return None
        files = [read_file(text) for text in found[1] if text]
        return read_run(found[0]), {file.id: file for file in files}

    async def mark(self, run_id: str, attempt: int, states: Mapping[str, NodeState]) -> None:
        """Note how far some nodes have come, with an event for each that changed; nothing when it is not its turn."""
        await self._call(MARK_LUA, run_id, attempt, self._claim, *_node_arguments(states), now().isoformat())

    async def commit(
        self,
        run_id: str,
        attempt: int,
        nodes: Mapping[str, NodeState],
        outputs: Sequence[Output],
        files: Sequence[File],
        at: datetime,
        facts: Mapping[str, Any] | None = None,
        stored: float = 0,
    ) -> Run | None:
        """Complete the run and make its output files appear, in one step; None when it is not running this attempt.

        `stored` is how many seconds it took to put their bytes into storage.
        """
        listed = orjson.dumps([output.model_dump() for output in outputs])
        made = flat(file_arguments(file) for file in files)
        found = orjson.dumps(facts or {})
        arguments = (
            run_id,
            attempt,
            self._claim,
            at.isoformat(),
            listed,
            found,
            *_node_arguments(nodes),
            *made,
            round(stored * 1e6),
        )
        return _step(await self._call(COMMIT_LUA, *arguments))

    async def fail(
        self,
        run_id: str,
        attempt: int,
        problem: Problem,
        nodes: Mapping[str, NodeState],
        at: datetime,
        letter: LetterReason | None = None,
    ) -> Run | None:
        """End the run with `problem`, as a dead letter if told why; None when it ended or another attempt has begun."""
        return _step(
            await self._call(FAIL_LUA, *fail_arguments(run_id, attempt, problem, at, nodes, letter, claim=self._claim))
        )

    async def cancel(self, run_id: str, at: datetime) -> Run:
        """End a run that has not ended; raises `RunNotFound` or `RunEnded`."""
        row = await self._call(CANCEL_LUA, run_id, at.isoformat())
        if isinstance(row, bytes):
            raise _refusal(run_id, row.decode())
        return read_run(row)

    async def purge(self, queue: Queue, at: datetime, passed: int = 0, limit: int = 200) -> tuple[int, int]:
        """Cancel those of the next `limit` queued runs, after the first `passed`, that are in this queue.

        Returns how many were looked at and how many were cancelled.
        """
        seen, gone = await self._call(PURGE_LUA, queue, at.isoformat(), passed, limit)
        return int(seen), int(gone)

    async def running(self, queue: Queue) -> int:
        """How many runs of this queue are running now, of all projects."""
        return int(await self._call(RUNNING_LUA, queue))

    async def keep(self, run_id: str, attempt: int, checkpoints: Sequence[Checkpoint]) -> bool:
        """Note what a running attempt had made, for the next try; False, and nothing noted, when it is not its turn."""
        text = orjson.dumps([one.model_dump() for one in checkpoints])
        return bool(await self._call(KEEP_LUA, run_id, attempt, self._claim, text))

    async def kept(self, run_id: str) -> Sequence[Checkpoint]:
        """What earlier tries of this run had made, until it is completed or begun anew as a whole."""
        text = await self._call(KEPT_LUA, run_id)
        return [Checkpoint.model_validate(one) for one in orjson.loads(text or b"[]")]

    async def retry(self, run_id: str, at: datetime, resume: bool = False) -> Run:
        """Queue an ended run again as its next attempt; raises `RunNotFound` or `RunNotEnded`.

        What is `kept` of it stays only if it is to `resume`.
        The file records of its earlier outputs are forgotten; their bytes stay until the new ones replace them.
        """
        row = await self._call(RETRY_LUA, run_id, at.isoformat(), score(at), int(not resume))
        if isinstance(row, bytes):
            raise _refusal(run_id, row.decode())
        return read_run(row)

    async def release(self, run_id: str, attempt: int, at: datetime, problem: Problem | None = None) -> Run | None:
        """Hand a running attempt back to the queue, `problem` being why; None when it is not running."""
        fault = problem.model_dump_json() if problem else ""
        return _step(await self._call(RELEASE_LUA, run_id, attempt, self._claim, at.isoformat(), score(at), fault))

    async def stranded(self, before: datetime, limit: int = 100) -> list[Run]:
        """Runs that were queued by `before` and have not begun, the oldest first."""
        rows = await self._call(STRANDED_LUA, score(before), limit)
        return [read_run(row) for row in rows if row[0]]

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
        return paged(rows, limit, read_run)


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
    return [*head, *_node_arguments(nodes)]


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
    return read_run(row) if row else None


def read_run(row: Any) -> Run:
    """A run as a script of these records answers it."""
    fields, nodes = (_pairs(flat_pairs) for flat_pairs in row)
    run = orjson.loads(fields[b"text"])
    status = fields[b"status"].decode()
    for name in ("started_at", "finished_at"):
        run[name] = fields[name.encode()].decode() if name.encode() in fields else None
    for name, nothing in (("outputs", b"[]"), ("facts", b"{}"), ("error", b"null")):
        run[name] = orjson.loads(fields.get(name.encode(), nothing))
    run["tries"] = _tries(fields, run)
    states = run["nodes"] | {name.decode(): orjson.loads(text) for name, text in nodes.items()}
    run |= {"status": status, "attempt": int(fields[b"attempt"]), "nodes": _settled(status, states)}
    return Run.model_validate(run)


def _tries(fields: Mapping[bytes, bytes], run: Mapping[str, Any]) -> list[Any]:
    """The times it was begun; the last one ends with the run, unless the record says otherwise."""
    tries: list[Any] = orjson.loads(fields.get(b"tries", b"[]"))
    if b"begun" in fields:
        began = {"worker": fields[b"worker"].decode(), "started_at": fields[b"begun"].decode()}
        tries.append({"attempt": int(fields[b"attempt"]), "ended_at": run["finished_at"], **began})
    return tries[-MOST_TRIES:]


def _settled(status: str, states: dict[str, Any]) -> dict[str, Any]:
    """Node states as they are told: what a run left open when it ended was cancelled with it."""
    if status not in ("cancelled", "failed"):
        return states
    closed = ENDED | {"skipped"}
    return {n: s if s["status"] in closed else s | {"status": "cancelled"} for n, s in states.items()}


def _pairs(flat_pairs: Sequence[bytes]) -> dict[bytes, bytes]:
    return dict(zip(flat_pairs[::2], flat_pairs[1::2], strict=True))
