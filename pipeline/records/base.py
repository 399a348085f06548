"""What the rooms of the records share: how a list is paged, how a time becomes a score, how a script is called."""

from __future__ import annotations

from base64 import urlsafe_b64decode, urlsafe_b64encode
from binascii import Error as NotBase64
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

from redis.exceptions import ResponseError
from redis.typing import EncodableT

from pipeline.errors import CursorInvalid
from pipeline.events import script
from pipeline.model import Page
from pipeline.scripting import RecordClient, Script

T = TypeVar("T")
Argument = EncodableT
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
HIGHEST_SCORE = 2**53
"""Scores are doubles; up to here every microsecond is exact."""

BELOW_LUA = """
-- Lua's own `<` follows the locale of the server, sorted sets do not.
local function below(a, b)
  for i = 1, math.min(#a, #b) do
    local x, y = string.byte(a, i), string.byte(b, i)
    if x ~= y then return x < y end
  end
  return #a < #b
end
"""

PAGE_LUA = (
    BELOW_LUA
    + """
local function page(index, score, id, limit)
  local top, skipped = '+inf', 0
  if score ~= '' then
    top = score
    for _, tie in ipairs(redis.call('ZREVRANGEBYSCORE', index, score, score)) do
      if below(tie, id) then break end
      skipped = skipped + 1
    end
  end
  return redis.call('ZREVRANGEBYSCORE', index, top, '-inf', 'WITHSCORES', 'LIMIT', skipped, limit)
end
"""
)

LIST_LUA = (
    PAGE_LUA
    + """
local index, root = P .. take(), P .. take()
local found, rows = page(index, take(), take(), take()), {}
for i = 1, #found, 2 do
  rows[#rows + 1] = {found[i], found[i + 1], redis.call('GET', root .. found[i])}
end
return rows
"""
)

DUE_LUA = """
local function due(index, before, passed, limit)
  return redis.call('ZRANGEBYSCORE', index, '-inf', before, 'LIMIT', passed, limit)
end
"""


class Room:
    """One noun's place among the records."""

    def __init__(self, client: RecordClient, prefix: str, event_cap: int) -> None:
        self._client = client
        self._prefix = prefix
        self._event_cap = event_cap
        self._scripts: dict[str, Script] = {}

    async def _call(self, body: str, *arguments: Argument) -> Any:
        if body not in self._scripts:
            self._scripts[body] = script(self._client, self._prefix, self._event_cap, body)
        return await self._scripts[body](args=arguments)

    async def _ask(self, *words: Argument) -> Any:
        """The reply to a command, which goes to the server together with the scripts of the same moment."""
        reply = await self._client.line.call(*words)
        if isinstance(reply, ResponseError):
            raise reply
        return reply

    def _key(self, *parts: str) -> str:
        return self._prefix + ":".join(parts)


def score(at: datetime) -> int:
    """A time as its place in an index: microseconds since 1970."""
    return (at - EPOCH) // timedelta(microseconds=1)


def flat(rows: Iterable[Sequence[Argument]]) -> list[Argument]:
    """Rows as arguments of a script: how many, then their fields one after the other."""
    listed = list(rows)
    return [len(listed), *(field for row in listed for field in row)]


def cursor_of(text: str) -> str:
    """A place in a list as callers carry it."""
    return urlsafe_b64encode(text.encode()).decode().rstrip("=")


def text_of(cursor: str) -> str:
    """What `cursor_of` was given; raises `CursorInvalid` for what it never made."""
    try:
        text = urlsafe_b64decode(cursor.encode("ascii") + b"=" * (-len(cursor) % 4)).decode()
    except (NotBase64, ValueError) as cause:
        raise CursorInvalid() from cause
    if cursor_of(text) != cursor:
        raise CursorInvalid()
    return text


def is_score(text: str) -> bool:
    """Whether it is a place in an index of scores."""
    return text.isascii() and text.isdigit() and len(text) <= 16 and int(text) <= HIGHEST_SCORE


def encode_cursor(place: str, member: str) -> str:
    return cursor_of(f"{place}:{member}")


def decode_cursor(cursor: str | None) -> tuple[str, str]:
    """Score and id after which a list goes on, two empty strings for its start; raises `CursorInvalid`."""
    if cursor is None:
        return "", ""
    place, colon, member = text_of(cursor).partition(":")
    if not is_score(place) or not colon or not member:
        raise CursorInvalid()
    return place, member


def paged(rows: Sequence[Any], limit: int, parse: Callable[[Any], T]) -> Page[T]:
    """A page of at most `limit` of the `rows` (id, score, record), which hold one more when the list goes on."""
    shown = rows[:limit]
    items = tuple(parse(record) for _, _, record in shown if record is not None)
    if len(rows) <= limit:
        return Page(items=items)
    member, place, _ = shown[-1]
    return Page(items=items, next=encode_cursor(place.decode(), member.decode()))
