"""What of the past is kept: ended runs and logged events, forgotten in steps that are short for the server."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import NamedTuple

from pipeline.model import ENDED
from pipeline.records.base import DUE_LUA, Room, score
from pipeline.records.history import LETTERS_LUA
from pipeline.records.shape import RUN_LUA

TRIMMED = 1000
"""Events that one step forgets."""

# The index tells when a run was created; one that was retried may have ended long after.
ENDED_LUA = (
    DUE_LUA
    + """
local rows, index = {}, P .. 'statuses:' .. take()
for _, id in ipairs(due(index, take(), take(), take())) do
  local ended = redis.call('HGET', P .. 'run:' .. id, 'finished_at')
  if redis.call('EXISTS', P .. 'run:' .. id) == 0 then redis.call('ZREM', index, id)
  else rows[#rows + 1] = {id, ended or ''} end
end
return rows
"""
)

FORGET_LUA = (
    RUN_LUA
    + LETTERS_LUA
    + """
local forgotten = 0
while taken < #ARGV do
  local id, seen = take(), take()
  local run = known(id)
  if run and ended[run.status] and (redis.call('HGET', P .. 'run:' .. id, 'finished_at') or '') == seen then
    local key, all = P .. 'run:' .. id, P .. 'runs:' .. run.project
    drop_letter(id, seen, 'forgotten', '')
    index('ZREM', run, run.status)
    redis.call('ZREM', all, id)
    redis.call('ZREM', all .. ':flow:' .. run.flow, id)
    redis.call('UNLINK', key, key .. ':nodes', key .. ':files', P .. 'subject:' .. run.project .. ':' .. id)
    forgotten = forgotten + 1
  end
end
return forgotten
"""
)

STANDING_LUA = """
local rows = {}
for i = 1, #ARGV do rows[i] = redis.call('HMGET', P .. 'run:' .. take(), 'status', 'attempt') end
return rows
"""


# What is left of a project without events: counts of runs that have not ended, failures that go by themselves.
LEAVE_LUA = """
local project = take()
local log, depths = P .. 'events:' .. project, P .. 'depths:' .. project
if redis.call('EXISTS', P .. 'failures:' .. project) == 1 then return 0 end
if redis.call('EXISTS', log) == 1 and redis.call('XLEN', log) > 0 then return 0 end
for _, held in ipairs(redis.call('HVALS', depths)) do
  if held ~= '0' then return 0 end
end
redis.call('UNLINK', log, depths)
return redis.call('SREM', P .. 'projects', project)
"""


class EndedRun(NamedTuple):
    """A run that ended, and when, as its record spells it; empty when it does not say."""

    id: str
    finished_at: str

    def ended_by(self, before: datetime) -> bool:
        return not self.finished_at or datetime.fromisoformat(self.finished_at) <= before


class Standing(NamedTuple):
    """How far a run is."""

    attempt: int
    ended: bool


class Retention(Room):
    """The runs and events that nobody needs any more."""

    async def ended(self, status: str, before: datetime, limit: int = 100, passed: int = 0) -> list[EndedRun]:
        """Runs that were created by `before` and ended as `status`, the oldest first, without the first `passed`.

        One that was run again may have ended later than `before`.
        """
        rows = await self._call(ENDED_LUA, status, score(before), passed, limit)
        return [EndedRun(id.decode(), finished.decode()) for id, finished in rows]

    async def forget(self, runs: Sequence[EndedRun]) -> int:
        """Forget these runs with their events, unless they were begun again meanwhile; returns how many went.

        Their outputs are files of their own and stay.
        """
        return int(await self._call(FORGET_LUA, *(field for run in runs for field in run))) if runs else 0

    async def standing(self, run_ids: Sequence[str]) -> dict[str, Standing]:
        """How far those of the runs are that are on record."""
        rows = await self._call(STANDING_LUA, *run_ids) if run_ids else []
        return {
            id: Standing(int(attempt), status.decode() in ENDED)
            for id, (status, attempt) in zip(run_ids, rows, strict=True)
            if status
        }

    async def trim(self, project: str, before: datetime) -> int:
        """Forget some thousand of a project's events from before `before`; returns how many went, 0 when none is left.

        The log of a single run or file goes by itself, days after its last event.
        """
        stream, oldest = self._key("events", project), _position(before)
        gone = await self._client.xtrim(stream, minid=oldest, approximate=True, limit=TRIMMED)
        # What is left is less than one block of the stream, so that to be exact is quick now.
        return int(gone or await self._client.xtrim(stream, minid=oldest, approximate=False))

    async def note_projects(self, projects: Iterable[str]) -> None:
        """Remember that there are these projects, so that what is theirs is found when no settings name them."""
        await self._client.execute_command("SADD", self._key("projects"), "", *projects)

    async def noted_projects(self) -> set[str]:
        """Every project that was noted and has not left."""
        return {name.decode() for name in await self._client.execute_command("SMEMBERS", self._key("projects"))}

    async def leave(self, project: str) -> bool:
        """Forget a project of which no event, failure or open run is left; whether it was for us to do."""
        return bool(await self._call(LEAVE_LUA, project))

    async def old_events(self, project: str, before: datetime, most: int) -> int:
        """How many events `trim` would forget, counted up to `most`."""
        entries = await self._client.xrange(self._key("events", project), max=f"({_position(before)}", count=most)
        return len(entries)


def _position(at: datetime) -> str:
    return f"{int(at.timestamp() * 1000)}-0"
