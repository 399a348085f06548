"""Whom nodes call outside, and who of those has failed so often of late that he is left alone for a while.

A breaker is closed until there are as many failures within the window as the rules say, then open until the reset is
over, then half open: a few probes go through, and it closes when all of them pass and opens again when one fails. All
of it goes by the record server's clock. Nothing is kept of whom nobody has trouble with.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any, Literal, NamedTuple

import orjson
from pydantic import Field

from pipeline.model import Noun, now
from pipeline.records.base import EPOCH, Room
from pipeline.records.series import SERIES_LUA

CALLERS = ("http", "ask", "notify", "scan")
"""The types of nodes that depend on something outside."""
STATES = ("closed", "open", "half_open")
IDLE = 600.0
"""Seconds after which a breaker is forgotten that nobody came by."""
MOST = 2000
"""Breakers kept at most; of more, those that would be forgotten first go."""
FORGOTTEN_AT_ONCE = 100

State = Literal["closed", "open", "half_open"]
Word = Literal["passed", "failed", "unknown"]

# A breaker is one text. Its `turn` is new whenever its state is, so that what a call met that was begun before counts
# no more; `failed` and `given` (probes on their way) are pairs of a millisecond and the mark of a call, so that a step
# that is said twice counts once.
BREAKER_LUA = f"""
local clock = redis.call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)
local index = P .. 'breakers'

local function kept(id)
  local text = redis.call('GET', P .. 'breaker:' .. id)
  return text and cjson.decode(text)
end

local function keep(id, breaker)
  local quiet = breaker.state == 'closed' and not breaker.opened
  redis.call('SET', P .. 'breaker:' .. id, cjson.encode(breaker))
  redis.call('ZADD', index, string.format('%.0f', now + (quiet and breaker.window or breaker.idle)), id)
end

local function turned(breaker, state)
  breaker.state, breaker.changed, breaker.given, breaker.passed = state, now, {{}}, {{}}
  breaker.turn = clock[1] .. string.format('%06d', clock[2])
  if state == 'closed' then breaker.failed = {{}} end
end

local function without(pairs_, mark, since)
  local rest, found = {{}}, false
  for _, pair in ipairs(pairs_) do
    if pair[2] == mark then found = true elseif pair[1] > since then rest[#rest + 1] = pair end
  end
  return rest, found
end

local function tell(what, breaker, at, facts)
  facts.type, facts.place = breaker.type, breaker.place
  emit('breaker.' .. what, breaker.project, breaker.type .. ':' .. breaker.place, at, cjson.encode(facts))
end

local function forget(id, at)
  local breaker = kept(id)
  if breaker and breaker.state ~= 'closed' then tell('closed', breaker, at, {{reason = 'idle'}}) end
  redis.call('DEL', P .. 'breaker:' .. id)
  redis.call('ZREM', index, id)
end

local function forget_idle(at)
  local idle = redis.call('ZRANGEBYSCORE', index, '-inf', string.format('%.0f', now), 'LIMIT', 0, {FORGOTTEN_AT_ONCE})
  for _, id in ipairs(idle) do forget(id, at) end
  local over = redis.call('ZCARD', index) - {MOST}
  if over > 0 then
    for _, id in ipairs(redis.call('ZRANGE', index, 0, over - 1)) do forget(id, at) end
  end
  return #idle
end
"""

ASK_LUA = (
    BREAKER_LUA
    + """
local id, mark, reset, probes = take(), take(), tonumber(take()), tonumber(take())
local breaker = kept(id)
if not breaker then return {'', 0, 0} end
if breaker.state == 'closed' then return {breaker.turn, 0, 0} end
if breaker.state == 'open' then
  local left = breaker.changed + reset - now
  if left > 0 then return {breaker.turn, left, 0} end
  turned(breaker, 'half_open')
end
-- A probe of which nothing was heard for so long is given up.
local given = without(breaker.given, mark, now - reset)
if #given > 0 and #given + #breaker.passed >= probes then return {breaker.turn, given[1][1] + reset - now, 0} end
given[#given + 1] = {now, mark}
breaker.given = given
keep(id, breaker)
return {breaker.turn, 0, 1}
"""
)

NOTE_LUA = (
    BREAKER_LUA
    + SERIES_LUA
    + """
local type, project, place, mark, turn, word = take(), take(), take(), take(), take(), take()
local failures, window, reset, probes = tonumber(take()), tonumber(take()), tonumber(take()), tonumber(take())
local idle, at = tonumber(take()), take()
local id = type .. '|' .. project .. '|' .. place
local breaker = kept(id)
if not breaker then
  if word ~= 'failed' then return end
  breaker, turn = {type = type, project = project, place = place, turn = '', failed = {}}, ''
  turned(breaker, 'closed')
  breaker.turn = ''
end
if breaker.turn ~= turn or breaker.state == 'open' then return end
breaker.window, breaker.reset, breaker.idle = window, reset, idle
if breaker.state == 'closed' then
  if word ~= 'failed' then return end
  local failed = without(breaker.failed, mark, now - window)
  failed[#failed + 1] = {now, mark}
  breaker.failed = failed
  if #failed >= failures then
    turned(breaker, 'open')
    breaker.opened = now
    series.count('breakers|' .. type)
    series.note()
    tell('opened', breaker, at, {failures = #failed, seconds = reset / 1000})
  end
elseif word == 'failed' then
  turned(breaker, 'open')
else
  local probed
  breaker.given, probed = without(breaker.given, mark, 0)
  if probed and word == 'passed' then breaker.passed[#breaker.passed + 1] = mark end
  if #breaker.passed >= probes then
    turned(breaker, 'closed')
    tell('closed', breaker, at, {reason = 'passed', seconds = (now - breaker.opened) / 1000})
  end
end
keep(id, breaker)
forget_idle(at)
"""
)

LIST_LUA = (
    BREAKER_LUA
    + """
local rows = {}
for _, id in ipairs(redis.call('ZRANGEBYSCORE', index, string.format('(%.0f', now), '+inf')) do
  rows[#rows + 1] = redis.call('GET', P .. 'breaker:' .. id) or nil
end
return {string.format('%.0f', now), rows}
"""
)

FORGET_LUA = BREAKER_LUA + "return forget_idle(take())"


class Callee(NamedTuple):
    """Whom nodes of one type call for a project."""

    type: str
    project: str
    place: str
    """Host and port, or the address of a scanner."""


class Rules(NamedTuple):
    """When a breaker opens and closes; times in seconds."""

    failures: int = 5
    window: float = 60.0
    reset: float = 30.0
    probes: int = 3


class Asked(NamedTuple):
    """Whether a call may go out: not before `wait` seconds have passed, if there are any."""

    turn: str = ""
    wait: float = 0.0
    probe: bool = False
    """Whether what becomes of it decides if the breaker closes."""


class Breaker(Noun):
    """Somebody outside who failed of late."""

    type: str
    project: str
    place: str
    state: State
    failures: int
    """Those within the window; of one that is not closed, those that opened it."""
    changed_at: datetime
    opened_at: datetime | None = Field(default=None, description="When it opened, unless it is closed.")
    retry_at: datetime | None = Field(default=None, description="When the first probe goes, while it is open.")


class Breakers(Room):
    """The breakers of all projects, the same for every process."""

    async def ask(self, callee: Callee, mark: str, rules: Rules) -> Asked:
        """Whether a call, known by its `mark`, may go out now."""
        turn, wait, probe = await self._call(ASK_LUA, "|".join(callee), mark, _ms(rules.reset), rules.probes)
        return Asked(turn.decode(), int(wait) / 1000, bool(probe))

    async def note(self, callee: Callee, mark: str, turn: str, word: Word, rules: Rules) -> None:
        """Say what became of a call that was asked for in this `turn`: a failure, of a probe also anything else."""
        times = (_ms(rules.window), _ms(rules.reset), rules.probes, _ms(max(IDLE, 2 * rules.reset)))
        await self._call(NOTE_LUA, *callee, mark, turn, word, rules.failures, *times, now().isoformat())

    async def list(self, project: str | None = None) -> Sequence[Breaker]:
        """Whoever failed of late, of one project or of all; who is called and does not fail is not among them."""
        at, rows = await self._call(LIST_LUA)
        found = [_breaker(orjson.loads(row), int(at)) for row in rows]
        return sorted(
            (breaker for breaker in found if project in (None, breaker.project)),
            key=lambda breaker: (breaker.type, breaker.place, breaker.project),
        )

    async def forget(self) -> int:
        """Forget those that nobody came by for long; returns how many."""
        return int(await self._call(FORGET_LUA, now().isoformat()))


def _ms(seconds: float) -> int:
    return round(seconds * 1000)


def _time(milliseconds: float) -> datetime:
    return EPOCH + timedelta(milliseconds=milliseconds)


def _breaker(row: dict[str, Any], at: int) -> Breaker:
    state, due = row["state"], row["changed"] + row["reset"]
    shut = state == "closed"
    return Breaker(
        type=row["type"],
        project=row["project"],
        place=row["place"],
        state="half_open" if state == "open" and at >= due else state,
        failures=sum(not shut or since > at - row["window"] for since, _ in row["failed"]),
        changed_at=_time(row["changed"]),
        opened_at=None if shut else _time(row["opened"]),
        retry_at=_time(due) if state == "open" and at < due else None,
    )
