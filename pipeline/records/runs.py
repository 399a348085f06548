"""Runs, each from its first step to its end: the verbs that change one, and how they are found, listed and counted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import copy
from datetime import datetime
from typing import Any

import orjson

from pipeline.errors import InputNotAwaited, RunEnded, RunNotEnded, RunNotFound, RunNotPaused
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
    Remote,
    Run,
    RunStatus,
    now,
)
from pipeline.records.base import PAGE_LUA, Room, decode_cursor, flat, paged, score
from pipeline.records.files import file_arguments, read_file
from pipeline.records.history import LOST
from pipeline.records.queue import ENQUEUE_LUA, Slip
from pipeline.records.shape import RUN_LUA, read_run
from pipeline.records.steps import (
    CANCEL_LUA,
    COMMIT_LUA,
    CREATE_LUA,
    FAIL_LUA,
    KEEP_LUA,
    MARK_LUA,
    PURGE_LUA,
    RELEASE_LUA,
    REST_LUA,
    RETRY_LUA,
    START_LUA,
    fail_arguments,
    given_arguments,
    node_arguments,
    run_arguments,
)
from pipeline.records.waits import FEED_LUA, GIVE_LUA, PAUSE_RUN_LUA, RESUME_RUN_LUA, STARVE_LUA, UNFED_LUA

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

RUNNING_LUA = "return redis.call('ZCARD', P .. 'depth:' .. take() .. ':running')"

PAUSING_LUA = "return redis.call('HEXISTS', P .. 'run:' .. take(), 'paused')"

KEPT_LUA = "return redis.call('HGET', P .. 'run:' .. take(), 'kept')"

STRANDED_LUA = (
    RUN_LUA
    + """
local rows = {}
for _, id in ipairs(redis.call('ZRANGEBYSCORE', P .. 'statuses:' .. take(), '-inf', take(), 'LIMIT', 0, take())) do
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
        return bool(await self._call(CREATE_LUA, *run_arguments(run, slip)))

    async def feed(self, run_id: str, attempt: int, fetch: str, file: str, at: datetime, slip: Slip) -> Run | None:
        """Give a waiting run the file that a fetch became; with the last one it is queued. None when it waits no more.

        A second time changes nothing.
        """
        return _step(await self._call(FEED_LUA, run_id, attempt, fetch, file, at.isoformat(), score(at), *slip))

    async def give(
        self,
        run_id: str,
        attempt: int,
        node: str,
        files: Sequence[str],
        fetches: Mapping[str, Remote],
        at: datetime,
        slip: Slip,
    ) -> Run:
        """Give a waiting run the files of an input it awaits; those among them that are `fetches` are still to come.

        With the last of all it is queued. The same files a second time change nothing. Raises `RunNotFound`,
        `RunEnded` or `InputNotAwaited`.
        """
        remotes = flat((id, remote.model_dump_json()) for id, remote in fetches.items())
        arguments = (run_id, attempt, node, " ".join(files), *remotes, at.isoformat(), score(at), *slip)
        row = await self._call(GIVE_LUA, *arguments)
        if row == b"sated":
            raise InputNotAwaited(id=run_id, input=node)
        return _read(run_id, row)

    async def pause(self, run_id: str, at: datetime) -> Run:
        """Let a run rest, one that is running as soon as its worker says; raises `RunNotFound` or `RunEnded`.

        One that is paused stays as it is.
        """
        return _read(run_id, await self._call(PAUSE_RUN_LUA, run_id, at.isoformat()))

    async def resume(self, run_id: str, at: datetime) -> Run:
        """Let a paused run go on: one that lacks nothing is queued, and its job is to be enqueued.

        Raises `RunNotFound`, `RunEnded` or `RunNotPaused`.
        """
        row = await self._call(RESUME_RUN_LUA, run_id, at.isoformat(), score(at))
        if row == b"going":
            run = await self.get(run_id)
            raise RunNotPaused(id=run_id, status=run.status)
        return _read(run_id, row)

    async def is_pausing(self, run_id: str) -> bool:
        """Whether the run was asked to pause."""
        return bool(await self._call(PAUSING_LUA, run_id))

    async def rest(self, run_id: str, attempt: int, nodes: Mapping[str, NodeState], at: datetime) -> Run | None:
        """Lay a running attempt down that is to pause, and its job with it; None when it is not its turn.

        One that was resumed meanwhile is queued instead, and its job is to be enqueued.
        """
        arguments = (run_id, attempt, self._claim, at.isoformat(), score(at), *node_arguments(nodes))
        return _step(await self._call(REST_LUA, *arguments))

    async def unfed(self, before: datetime, limit: int = 100) -> list[Run]:
        """Runs to which nobody has given anything since before `before` that await it, the oldest first."""
        rows = await self._call(UNFED_LUA, score(before), limit)
        return [read_run(row) for row in rows if row[0]]

    async def starve(self, run: Run, before: datetime, problem: Problem, at: datetime) -> Run | None:
        """End such a run with `problem`; None when something has come meanwhile."""
        arguments = (run.id, run.attempt, score(before), problem.model_dump_json(), at.isoformat())
        return _step(await self._call(STARVE_LUA, *arguments))

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
        await self._call(MARK_LUA, run_id, attempt, self._claim, *node_arguments(states), now().isoformat())

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
            *node_arguments(nodes),
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
        return _read(run_id, await self._call(CANCEL_LUA, run_id, at.isoformat()))

    async def purge(self, queue: Queue, at: datetime, passed: int = 0, limit: int = 200) -> tuple[int, int]:
        """Cancel those of the next `limit` queued runs, after the first `passed`, that are in this queue.

        Returns how many were looked at and how many were cancelled.
        """
        seen, gone = await self._call(PURGE_LUA, queue, at.isoformat(), passed, limit)
        return int(seen), int(gone)

    async def total(self, project: str, status: RunStatus | None = None) -> int:
        """How many runs of a project there are, of one status if given."""
        return int(await self._client.zcard(self._key("runs", project, *(("status", status) if status else ()))))

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

    async def retry(self, run_id: str, at: datetime, resume: bool = False, renewed: Run | None = None) -> Run:
        """Queue an ended run again as its next attempt; raises `RunNotFound` or `RunNotEnded`.

        What is `kept` of it stays only if it is to `resume`. With what it is given `renewed`, it waits for its fetches.
        The file records of its earlier outputs are forgotten; their bytes stay until the new ones replace them.
        """
        given = given_arguments(renewed) if renewed else ("", "", "")
        return _read(run_id, await self._call(RETRY_LUA, run_id, at.isoformat(), score(at), int(not resume), *given))

    async def release(self, run_id: str, attempt: int, at: datetime, problem: Problem | None = None) -> Run | None:
        """Hand a running attempt back to the queue, `problem` being why; None when it is not running."""
        fault = problem.model_dump_json() if problem else ""
        return _step(await self._call(RELEASE_LUA, run_id, attempt, self._claim, at.isoformat(), score(at), fault))

    async def stranded(self, before: datetime, limit: int = 100, status: RunStatus = "queued") -> list[Run]:
        """Runs that are queued (or waiting) since before `before`, the oldest first."""
        rows = await self._call(STRANDED_LUA, status, score(before), limit)
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


def _read(run_id: str, row: Any) -> Run:
    if isinstance(row, bytes):
        raise _refusal(run_id, row.decode())
    return read_run(row)


def _refusal(run_id: str, found: str) -> RunNotFound | RunEnded | RunNotEnded:
    if found == "missing":
        return RunNotFound(id=run_id)
    if found in ENDED:
        return RunEnded(id=run_id, status=found)
    return RunNotEnded(id=run_id, status=found)


def _step(row: Any) -> Run | None:
    return read_run(row) if row else None
