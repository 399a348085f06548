"""What happens to an upload, as one line: its bytes as they come, the file it becomes, the run that follows.

How many bytes there are is no event: only the last word counts, and it is forgotten with the upload. Events have the
same id in the log of a project and of each subject, so one place in the line serves for the file and its run alike.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from typing import Any, NamedTuple

from pipeline.events import FOLLOW_BATCH, PATIENCE, RecordClient, event_of, position
from pipeline.model import Event
from pipeline.records.base import Room

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
end
"""

NOTE_LUA = (
    BYTES_LUA
    + f"""
local id, offset = take(), take()
if redis.call('EXISTS', P .. 'upload:' .. id) == 1 then told_bytes(id, 'offset', offset, {KEPT}) end
"""
)


class Bytes(NamedTuple):
    """How many bytes of an upload have come; None when it is gone and will never be a file."""

    offset: int | None


class Trails(Room):
    """The lines of uploads."""

    async def note(self, upload_id: str, offset: int) -> None:
        """Tell those who follow the upload how many bytes have come."""
        await self._call(NOTE_LUA, upload_id, offset)

    async def follow(
        self, project: str, upload_id: str, run_id: str | None, after: str = "0", idle: float = 15
    ) -> AsyncGenerator[Event | Bytes | None, None]:
        """The last word on the bytes, every event of the file and its run after `after`, and all that is to come.

        None when `idle` seconds pass. Waits on a connection of its own, given up when the generator is closed. Raises
        `CursorInvalid` and, when the server goes away, `RecordsUnavailable`.
        """
        bytes_key = f"{self._prefix}{BYTES}{upload_id}"
        subjects = [self._key("subject", project, id) for id in (upload_id, run_id) if id]
        last, seen = position(after), "0-0"
        client = RecordClient.beside(self._client, idle + PATIENCE)
        try:
            while True:
                places: dict[Any, Any] = {bytes_key: seen, **dict.fromkeys(subjects, last)}
                answer = await client.xread(places, count=FOLLOW_BATCH, block=max(1, int(idle * 1000)))
                if not answer:
                    yield None
                    continue
                batches = _by_stream(answer)
                for entry in batches.pop(bytes_key, ()):
                    seen = entry[0].decode()
                    yield _bytes(entry)
                for entry in _in_order(list(batches.values())):
                    last = entry[0].decode()
                    yield event_of(project, entry)
        finally:
            await client.aclose()


def _by_stream(answer: Any) -> dict[str, list[Any]]:
    # RESP3 answers a map of lists of batches, RESP2 a list of pairs.
    if isinstance(answer, dict):
        return {key.decode(): [entry for batch in batches for entry in batch] for key, batches in answer.items()}
    return {key.decode(): entries for key, entries in answer or ()}


def _in_order(streams: Sequence[list[Any]]) -> list[Any]:
    """The entries of all, by id, as far as none is left out: a stream read in part may hold more before the others'."""
    ends = [_place(entries[-1]) for entries in streams if len(entries) == FOLLOW_BATCH]
    found = sorted((entry for entries in streams for entry in entries), key=_place)
    return [entry for entry in found if not ends or _place(entry) <= min(ends)]


def _place(entry: Any) -> tuple[int, ...]:
    return tuple(map(int, entry[0].decode().split("-")))


def _bytes(entry: Any) -> Bytes:
    told = entry[1].get(b"offset")
    return Bytes(int(told) if told is not None else None)
