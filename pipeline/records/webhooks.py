"""Webhooks made over the API, one address and event once in a project; and how every webhook fares."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pipeline.errors import WebhookExists, WebhookNotFound, WebhooksTooMany
from pipeline.model import COMMON_EVENTS, HookStanding, Webhook, has_steps, now
from pipeline.records.base import Argument, Room, flat

MOST_WEBHOOKS = 100
"""Of one project."""

# A pair of event and address belongs to one webhook.
PAIRS_LUA = """
local project = take()
local all = P .. 'webhooks:' .. project
local pairs_of, steps = all .. ':pairs', all .. ':steps'

local function take_pairs()
  local pairs = {}
  for i = 1, tonumber(take()) do pairs[i] = take() end
  return pairs
end

local function owner_of(id, pairs)
  for _, pair in ipairs(pairs) do
    local owner = redis.call('HGET', pairs_of, pair)
    if owner and owner ~= id then return {owner, pair} end
  end
end

-- Nothing waits to be told of the steps of runs where nobody wants them.
local function keep_steps(id, wanted) redis.call(wanted == '1' and 'SADD' or 'SREM', steps, id) end
"""

CREATE_LUA = (
    PAIRS_LUA
    + f"""
local id, text, wanted, follows = take(), take(), take_pairs(), take()
if redis.call('HEXISTS', all, id) == 1 then return 1 end
if redis.call('HLEN', all) >= {MOST_WEBHOOKS} then return 0 end
local owner = owner_of(id, wanted)
if owner then return owner end
redis.call('HSET', all, id, text)
for _, pair in ipairs(wanted) do redis.call('HSET', pairs_of, pair, id) end
keep_steps(id, follows)
return 1
"""
)

SWAP_LUA = (
    PAIRS_LUA
    + """
local id, seen, text, before, wanted, follows = take(), take(), take(), take_pairs(), take_pairs(), take()
if redis.call('HGET', all, id) ~= seen then return 0 end
local owner = owner_of(id, wanted)
if owner then return owner end
redis.call('HSET', all, id, text)
for _, pair in ipairs(before) do redis.call('HDEL', pairs_of, pair) end
for _, pair in ipairs(wanted) do redis.call('HSET', pairs_of, pair, id) end
keep_steps(id, follows)
return 1
"""
)

DELETE_LUA = (
    PAIRS_LUA
    + """
local id, seen, before = take(), take(), take_pairs()
if redis.call('HGET', all, id) ~= seen then return 0 end
redis.call('HDEL', all, id)
redis.call('DEL', P .. 'webhook:' .. id)
keep_steps(id, '0')
for _, pair in ipairs(before) do redis.call('HDEL', pairs_of, pair) end
return 1
"""
)

ENABLE_LUA = """
local project, id, at = take(), take(), take()
redis.call('HDEL', P .. 'webhook:' .. id, 'reason', 'failing_since', 'failing_ms', 'failures')
if redis.call('HDEL', P .. 'webhook:' .. id, 'disabled_at') == 0 then return 0 end
emit('webhook.enabled', project, id, at, '{}')
return 1
"""

DISABLE_LUA = """
local project, id, at = take(), take(), take()
if redis.call('HSETNX', P .. 'webhook:' .. id, 'disabled_at', at) == 0 then return 0 end
redis.call('HSET', P .. 'webhook:' .. id, 'reason', 'asked')
emit('webhook.disabled', project, id, at, '{"reason": "asked"}')
return 1
"""

STANDINGS_LUA = """
local rows = {}
for i = 1, #ARGV do rows[i] = redis.call('HGETALL', P .. 'webhook:' .. take()) end
return rows
"""


class Webhooks(Room):
    """The webhooks that were made over the API, and how they and all others fare."""

    async def create(self, webhook: Webhook) -> Webhook:
        """Keep a new webhook and return it with its number; raises `WebhookExists` or `WebhooksTooMany`."""
        numbered = webhook.model_copy(update={"number": await self._client.incr(self._key("webhooks", "", "number"))})
        text = numbered.model_dump_json()
        wanted = (*_pairs(webhook), int(has_steps(webhook.events)))
        made = await self._call(CREATE_LUA, webhook.project, webhook.id, text, *wanted)
        _refuse(made)
        if not made:
            raise WebhooksTooMany(most=MOST_WEBHOOKS)
        return numbered

    async def of(self, project: str) -> list[Webhook]:
        """Those of a project, the oldest first."""
        rows: Mapping[bytes, bytes] = await self._client.execute_command("HGETALL", self._key("webhooks", project))
        return sorted(map(Webhook.model_validate_json, rows.values()), key=lambda webhook: webhook.number)

    async def get(self, project: str, id: str) -> Webhook:
        """The webhook; raises `WebhookNotFound`."""
        return Webhook.model_validate_json(await self._text(project, id))

    async def change(self, project: str, id: str, **fields: Any) -> Webhook:
        """Give it other values; raises `WebhookNotFound` or `WebhookExists`."""
        while True:
            seen = await self._text(project, id)
            before = Webhook.model_validate_json(seen)
            changed = before.model_copy(update={**fields, "updated_at": now()})
            wanted = (*_pairs(before), *_pairs(changed), int(has_steps(changed.events)))
            told = await self._call(SWAP_LUA, project, id, seen, changed.model_dump_json(), *wanted)
            _refuse(told)
            if told:
                return changed

    async def delete(self, project: str, id: str) -> Webhook:
        """Forget it and return what it was; raises `WebhookNotFound`."""
        while True:
            seen = await self._text(project, id)
            webhook = Webhook.model_validate_json(seen)
            if await self._call(DELETE_LUA, project, id, seen, *_pairs(webhook)):
                return webhook

    async def enable(self, project: str, id: str) -> bool:
        """Tell it of events again; False when nothing stood against that."""
        return bool(await self._call(ENABLE_LUA, project, id, now().isoformat()))

    async def disable(self, project: str, id: str) -> bool:
        """Tell it of nothing more; False when it is so already."""
        return bool(await self._call(DISABLE_LUA, project, id, now().isoformat()))

    async def standings(self, ids: Sequence[str]) -> list[HookStanding]:
        """How these fare."""
        rows = await self._call(STANDINGS_LUA, *ids) if ids else []
        return [_standing(row) for row in rows]

    async def _text(self, project: str, id: str) -> bytes:
        text: bytes | None = await self._client.execute_command("HGET", self._key("webhooks", project), id)
        if text is None:
            raise WebhookNotFound(id=id)
        return text


def _pairs(webhook: Webhook) -> list[Argument]:
    events = webhook.events or COMMON_EVENTS
    return flat([f"{event} {webhook.url}"] for event in events)


def _refuse(told: Any) -> None:
    if isinstance(told, list):
        owner, pair = told
        raise WebhookExists(id=owner.decode(), event=pair.decode().partition(" ")[0])


def _standing(row: Sequence[bytes]) -> HookStanding:
    known = {name.decode(): value.decode() for name, value in zip(row[::2], row[1::2], strict=True)}
    known.pop("failing_ms", None)
    return HookStanding.model_validate(known)
