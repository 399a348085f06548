"""Answers kept for requests that may be sent twice (Idempotency-Key)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson

from pipeline.errors import IdempotencyInProgress, IdempotencyMismatch
from pipeline.model import Answer
from pipeline.records.base import Room

UNANSWERED_SECONDS = 3600
"""How long a claim without an answer stands, so that a server which died does not hold the key for a day."""

CLAIM_LUA = """
local key, fingerprint, ttl, unanswered = P .. take(), take(), take(), take()
local kept = redis.call('HMGET', key, 'fingerprint', 'status', 'headers', 'body')
if not kept[1] then
  redis.call('HSET', key, 'fingerprint', fingerprint, 'ttl', ttl)
  redis.call('PEXPIRE', key, math.min(tonumber(ttl), tonumber(unanswered)))
  return 'claimed'
end
if kept[1] ~= fingerprint then return 'mismatch' end
if not kept[2] then return 'unanswered' end
return {kept[2], kept[3], kept[4]}
"""

KEEP_LUA = """
local key = P .. take()
local ttl = redis.call('HGET', key, 'ttl')
if not ttl then return end
redis.call('HSET', key, 'status', take(), 'headers', take(), 'body', take())
redis.call('PEXPIRE', key, ttl)
"""

RELEASE_LUA = """
local key = P .. take()
if redis.call('HEXISTS', key, 'status') == 0 then redis.call('DEL', key) end
"""


class Answers(Room):
    """First answers, to be given again to the same request."""

    async def claim(self, project: str, key: str, fingerprint: str, ttl: float) -> Answer | None:
        """The answer kept under `key`, or None: the request is yours to answer, with `keep` or `release`.

        `ttl` are the seconds an answer is kept. Raises `IdempotencyMismatch` when the key belongs to a request with
        another fingerprint and `IdempotencyInProgress` while the first one is unanswered.
        """
        times = (int(ttl * 1000), UNANSWERED_SECONDS * 1000)
        found = await self._call(CLAIM_LUA, _name(project, key), fingerprint, *times)
        if found == b"claimed":
            return None
        if found == b"mismatch":
            raise IdempotencyMismatch()
        if found == b"unanswered":
            raise IdempotencyInProgress(retry_after=1)
        return _read(found)

    async def keep(self, project: str, key: str, status: int, headers: Mapping[str, str], body: bytes) -> None:
        """Answer a claim; nothing is kept when the claim has lapsed."""
        await self._call(KEEP_LUA, _name(project, key), status, orjson.dumps(dict(headers)), body)

    async def release(self, project: str, key: str) -> None:
        """Give a claim up, so that the same request may be tried again; a kept answer stays."""
        await self._call(RELEASE_LUA, _name(project, key))


def _name(project: str, key: str) -> str:
    return f"answer:{project}:{key}"


def _read(row: Any) -> Answer:
    status, headers, body = row
    return Answer(status=int(status), headers=orjson.loads(headers), body=body)
