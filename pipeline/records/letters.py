"""Dead letters: runs that were given up although their input may be sound, kept apart until somebody decides.

A letter is no copy of its run: it says why the run was given up, and goes when the run is begun anew.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from pipeline.errors import LetterNotFound
from pipeline.model import Letter, Page, Problem, Run, Try, now
from pipeline.records.base import DUE_LUA, PAGE_LUA, Room, decode_cursor, paged, score
from pipeline.records.history import LETTERS_LUA
from pipeline.records.shape import RUN_LUA, read_run
from pipeline.records.steps import FAIL_LUA, fail_arguments

LETTER_LUA = """
local function letter(id)
  local fields = redis.call('HGETALL', P .. 'letter:' .. id)
  if #fields == 0 or not known(id) then return false end
  return {fields, whole(id)}
end
"""

GET_LUA = RUN_LUA + LETTER_LUA + "return letter(take())"

LIST_LUA = (
    RUN_LUA
    + PAGE_LUA
    + LETTER_LUA
    + """
local found, rows = page(P .. take(), take(), take(), take()), {}
for i = 1, #found, 2 do rows[#rows + 1] = {found[i], found[i + 1], letter(found[i])} end
return rows
"""
)

DROP_LUA = (
    RUN_LUA
    + LETTERS_LUA
    + """
local at, how, note, dropped = take(), take(), take(), 0
while taken < #ARGV do
  if drop_letter(take(), at, how, note) then dropped = dropped + 1 end
end
return dropped
"""
)

EXPIRE_LUA = (
    RUN_LUA
    + LETTERS_LUA
    + DUE_LUA
    + """
local at, dropped = take(), 0
for _, id in ipairs(due(P .. 'letters', take(), 0, take())) do
  drop_letter(id, at, 'expired', '')
  dropped = dropped + 1
end
return dropped
"""
)

FAILING_LUA = (
    RUN_LUA
    + """
local key, rows = P .. 'failing:' .. take(), {}
for _, id in ipairs(redis.call('ZREVRANGE', key, 0, -1)) do
  local run = known(id)
  if run and not ended[run.status] then rows[#rows + 1] = whole(id) else redis.call('ZREM', key, id) end
end
return rows
"""
)

COUNT_LUA = "return redis.call('ZCARD', P .. take())"


class Letters(Room):
    """The dead letters of every project, each under the id of its run."""

    async def add(
        self, run_id: str, attempt: int, problem: Problem, history: Sequence[Try] = (), at: datetime | None = None
    ) -> Run | None:
        """End a run whose workers died as failed and make it a dead letter, in one step.

        What the record does not know yet of its tries is taken from `history`. None, and nothing happens, when the run
        has ended or another attempt has begun.
        """
        row = await self._call(
            FAIL_LUA, *fail_arguments(run_id, attempt, problem, at or now(), {}, "poisoned", history)
        )
        return read_run(row) if row else None

    async def get(self, run_id: str) -> Letter:
        """The dead letter of this run; raises `LetterNotFound`."""
        row = await self._call(GET_LUA, run_id)
        if not row:
            raise LetterNotFound(id=run_id)
        return _read(row)

    async def list(
        self,
        project: str,
        cursor: str | None = None,
        limit: int = 50,
        flow: str | None = None,
        code: str | None = None,
    ) -> Page[Letter]:
        """A project's dead letters, newest first, of one flow or with one error code; raises `CursorInvalid`."""
        filters = (("flow", flow), ("code", code))
        index = ":".join(["letters", project, *(part for pair in filters if pair[1] for part in pair if part)])
        rows = await self._call(LIST_LUA, index, *decode_cursor(cursor), limit + 1)
        return paged([(id, place, row or None) for id, place, row in rows], limit, _read)

    async def failing(self, project: str) -> Sequence[Run]:
        """The runs of a project that failed and are tried again, a thousand at most, those that failed last first."""
        return [read_run(row) for row in await self._call(FAILING_LUA, project)]

    async def drop(self, run_ids: Sequence[str], how: str, note: str = "") -> int:
        """Let these runs be dead letters no more, logging `letter.resolved`; returns how many were."""
        return int(await self._call(DROP_LUA, now().isoformat(), how, note, *run_ids))

    async def expire(self, before: datetime, limit: int = 100) -> int:
        """Drop at most `limit` of the letters that were added by `before`, the oldest first; returns how many went."""
        return int(await self._call(EXPIRE_LUA, now().isoformat(), score(before), limit))

    async def old(self, before: datetime) -> int:
        """How many letters `expire` would drop."""
        return int(await self._client.zcount(self._key("letters"), "-inf", score(before)))

    async def count(self, project: str | None = None) -> int:
        """How many dead letters there are, of a project or of all."""
        return int(await self._call(COUNT_LUA, "letters" if project is None else f"letters:{project}"))


def _read(row: Any) -> Letter:
    fields, run = row
    told = dict(zip(fields[::2], fields[1::2], strict=True))
    return Letter(run=read_run(run), reason=told[b"reason"].decode(), added_at=told[b"added_at"].decode())
