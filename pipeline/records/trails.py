"""What happens to an upload, as one line: its bytes as they come, the file it becomes, the run that follows.

How many bytes there are is no event: only the last word counts, and it is forgotten with the upload. Events have the
same id in the log of a project and of each subject, so one place in the line serves for the file and its run alike.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from typing import Any, NamedTuple

from pipeline.events import FOLLOW_BATCH, event_of, fields_of, news_of, position
from pipeline.hearing import Exchange
from pipeline.model import Event
from pipeline.records.base import Room, flat
from pipeline.scripting import RecordClient

BYTES = "subject::bytes:"
"""Before the id of an upload: the last word on its bytes."""
KEPT = 3600
"""Seconds that it is kept; each is renewed while bytes come."""
LAST_WORD = 60
"""Seconds for which it is known that an upload is gone."""

BYTES_LUA = f"""
local function told_bytes(id, name, value, seconds)
  redis.call('XADD', P .. '{BYTES}' .. id, 'MAXLEN', 1, '*', name, value)
  redis.call('EXPIRE', P .. '{BYTES}' .. id, seconds)
  news(id)
end
"""

NOTE_LUA = (
    BYTES_LUA
    + f"""
local id, offset = take(), take()
if redis.call('EXISTS', P .. 'upload:' .. id) == 1 then told_bytes(id, 'offset', offset, {KEPT}) end
"""
)

READ_LUA = f"""
local bytes, seen, last, streams = take(), take(), take(), {{}}
streams[1] = bytes ~= '' and redis.call('XRANGE', P .. '{BYTES}' .. bytes, '(' .. seen, '+') or {{}}
for i = 1, tonumber(take()) do
  streams[i + 1] = redis.call('XRANGE', P .. 'subject:' .. take(), '(' .. last, '+', 'COUNT', {FOLLOW_BATCH})
end
return streams
"""


class Bytes(NamedTuple):
    """How many bytes of an upload have come; None when it is gone and will never be a file."""

    offset: int | None


class Trails(Room):
    """The lines of uploads and runs, all of them followed over one connection for the whole process."""

    def __init__(self, client: RecordClient, prefix: str, event_cap: int, news: Exchange | None = None) -> None:
        super().__init__(client, prefix, event_cap)
        self._news = news or news_of(client, prefix)

    async def note(self, upload_id: str, offset: int) -> None:
        """Tell those who follow the upload how many bytes have come."""
        await self._call(NOTE_LUA, upload_id, offset)

    async def follow(
        self, project: str, upload_id: str | None, run_id: str | None, after: str = "0", idle: float = 15
    ) -> AsyncGenerator[Event | Bytes | None, None]:
        """The last word on the bytes, every event of the file and its run after `after`, and all that is to come.

        None when `idle` seconds pass. Raises `CursorInvalid` and, when the server goes away, `RecordsUnavailable`.
        """
        subjects = [id for id in (upload_id, run_id) if id]
        places = [(f"{project}:{id}",) for id in subjects]
        last, seen = position(after), "0-0"
        with self._news.heard(subjects) as ring:
            while True:
                told, *streams = await self._call(READ_LUA, upload_id or "", seen, last, *flat(places))
                for entry in told:
                    seen = entry[0].decode()
                    yield _bytes(entry)
                for entry in _in_order(streams):
                    last = entry[0].decode()
                    yield event_of(project, entry)
                if not any(len(stream) == FOLLOW_BATCH for stream in streams) and not await ring.wait(idle):
                    yield None

    async def close(self) -> None:
        """Follow nothing any more."""
        await self._news.close()


def _in_order(streams: Sequence[list[Any]]) -> list[Any]:
    """The entries of all, by id, as far as none is left out: a stream read in part may hold more before the others'."""
    ends = [_place(entries[-1]) for entries in streams if len(entries) == FOLLOW_BATCH]
    found = sorted((entry for entries in streams for entry in entries), key=_place)
    return [entry for entry in found if not ends or _place(entry) <= min(ends)]


def _place(entry: Any) -> tuple[int, ...]:
    return tuple(map(int, entry[0].decode().split("-")))


def _bytes(entry: Any) -> Bytes:
    told = fields_of(entry).get(b"offset")
    return Bytes(int(told) if told is not None else None)
