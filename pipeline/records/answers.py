"""Answers kept for requests that may be sent twice (Idempotency-Key)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson

from pipeline.errors import IdempotencyInProgress, IdempotencyMismatch
from pipeline.model import Answer, new_id
from pipeline.records.base import Room

HELD_SECONDS = 10.0
"""How long a claim stands without a word from who holds it: a server that died must not hold a key."""

CLAIM_LUA = """
local key, fingerprint, ttl, holder, lease, fresh = P .. take(), take(), take(), take(), take(), take()
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local kept = redis.call('HMGET', key, 'fingerprint', 'holder', 'till', 'id', 'status', 'headers', 'body')
local held = kept[5] or (kept[2] ~= holder and now < tonumber(kept[3] or 0))
if held and kept[1] ~= fingerprint then return 'mismatch' end
if kept[5] then return {kept[5], kept[6], kept[7]} end
if held then return 'unanswered' end
local id = kept[1] == fingerprint and kept[4] or fresh
redis.call('HSET', key, 'fingerprint', fingerprint, 'holder', holder, 'till', string.format('%.0f', now + lease),
  'id', id, 'ttl', ttl)
redis.call('PEXPIRE', key, ttl)
return id
"""

RENEW_LUA = """
local key, holder, lease = P .. take(), take(), take()
if redis.call('HGET', key, 'holder') ~= holder then return end
local time = redis.call('TIME')
redis.call('HSET', key, 'till', string.format('%.0f', time[1] * 1000 + math.floor(time[2] / 1000) + lease))
"""

KEEP_LUA = """
local key = P .. take()
if redis.call('HGET', key, 'holder') ~= take() then return end
redis.call('HSET', key, 'status', take(), 'headers', take(), 'body', take())
redis.call('PEXPIRE', key, redis.call('HGET', key, 'ttl'))
"""

# The id stays: whether something is on record under it the holder may not have heard.
RELEASE_LUA = """
local key = P .. take()
if redis.call('HGET', key, 'holder') == take() then redis.call('HSET', key, 'till', 0) end
"""


class Answers(Room):
    """First answers, to be given again to the same request."""

    async def claim(self, project: str, key: str, fingerprint: str, ttl: float, holder: str) -> Answer | str:
        """The answer kept under `key`, or else the request is the holder's to answer, with `keep` or `release`.

        It is then given the id for what it makes: the same one as whoever held the key before and did not answer. `ttl`
        are the seconds an answer is kept; a claim lapses unless it is renewed. Raises `IdempotencyMismatch` when the
        key belongs to a request with another fingerprint and `IdempotencyInProgress` while somebody else holds it.
        """
        times = (int(ttl * 1000), holder, int(HELD_SECONDS * 1000), new_id())
        found = await self._call(CLAIM_LUA, _name(project, key), fingerprint, *times)
        if found == b"mismatch":
            raise IdempotencyMismatch()
        if found == b"unanswered":
            raise IdempotencyInProgress(retry_after=1)
        return found.decode() if isinstance(found, bytes) else _read(found)

    async def renew(self, project: str, key: str, holder: str) -> None:
        """Hold a claim on; nothing when somebody else has it."""
        await self._call(RENEW_LUA, _name(project, key), holder, int(HELD_SECONDS * 1000))

    async def keep(
        self, project: str, key: str, holder: str, status: int, headers: Mapping[str, str], body: bytes
    ) -> None:
        """Answer a claim; nothing is kept when somebody else has it."""
        await self._call(KEEP_LUA, _name(project, key), holder, status, orjson.dumps(dict(headers)), body)

    async def release(self, project: str, key: str, holder: str) -> None:
        """Give a claim up, so that the same request may be tried again; a kept answer stays."""
        await self._call(RELEASE_LUA, _name(project, key), holder)


def _name(project: str, key: str) -> str:
    return f"answer:{project}:{key}"


def _read(row: Any) -> Answer:
    status, headers, body = row
    return Answer(status=int(status), headers=orjson.loads(headers), body=body)
