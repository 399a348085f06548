"""When a breaker opens, lets probes through and closes, for several processes at once; the clock is set by hand."""

from __future__ import annotations

import asyncio

import orjson
import pytest
from redis.asyncio import Redis

from pipeline.events import EventLog
from pipeline.model import new_id
from pipeline.records import Records
from pipeline.records.breakers import IDLE, MOST, Asked, Breaker, Callee, Rules, Word
from tests.records.nouns import PREFIX, all_events, keys

RULES = Rules(failures=3, window=60, reset=30, probes=2)
CALLEE = Callee("http", "demo", "cut.example.com")
TIMES = ("changed", "opened")


class Clock:
    """Moves time on, which is to move back whatever is on record."""

    def __init__(self, redis: Redis, prefix: str = PREFIX) -> None:
        self._redis, self._prefix = redis, prefix

    async def on(self, seconds: float) -> None:
        by = round(seconds * 1000)
        for id in await self._redis.zrange(f"{self._prefix}breakers", 0, -1):
            key = f"{self._prefix}breaker:{id.decode()}"
            found = orjson.loads(await self._redis.get(key))
            found |= {name: found[name] - by for name in TIMES if name in found}
            found |= {name: [[at - by, mark] for at, mark in found[name]] for name in ("failed", "given")}
            await self._redis.set(key, orjson.dumps(found))
            await self._redis.zincrby(f"{self._prefix}breakers", -by, id)


@pytest.fixture
def clock(redis: Redis) -> Clock:
    return Clock(redis)


async def called(records: Records, word: Word, callee: Callee = CALLEE, rules: Rules = RULES) -> Asked:
    """A call as it is made: asked for, and what became of it noted if it went out."""
    mark = new_id()
    asked = await records.breakers.ask(callee, mark, rules)
    if not asked.wait and (word == "failed" or asked.probe):
        await records.breakers.note(callee, mark, asked.turn, word, rules)
    return asked


async def opened(records: Records, callee: Callee = CALLEE) -> None:
    for _ in range(RULES.failures):
        assert (await called(records, "failed", callee)).wait == 0
    assert (await state(records, callee)).state == "open"


async def state(records: Records, callee: Callee = CALLEE) -> Breaker:
    (found,) = [one for one in await records.breakers.list(callee.project) if (one.type, one.place) == callee[::2]]
    return found


async def told(events: EventLog) -> list[str]:
    return [event.type for event in await all_events(events)]


async def test_who_does_not_fail_leaves_no_trace(records: Records, redis: Redis) -> None:
    assert await called(records, "passed") == Asked()
    assert await keys(redis) == [] and await records.breakers.list() == []


async def test_it_opens_after_so_many_failures_and_says_for_how_long(records: Records, events: EventLog) -> None:
    for number in (1, 2):
        await called(records, "failed")
        breaker = await state(records)
        assert (breaker.state, breaker.failures, breaker.opened_at) == ("closed", number, None)
    assert await told(events) == []
    await called(records, "failed")
    refused = await called(records, "passed")
    assert 29 < refused.wait <= 30 and not refused.probe
    breaker = await state(records)
    assert (breaker.state, breaker.failures) == ("open", 3) and breaker.opened_at == breaker.changed_at
    assert breaker.retry_at and (breaker.retry_at - breaker.changed_at).total_seconds() == 30
    (event,) = await all_events(events)
    assert (event.type, event.subject) == ("breaker.opened", "http:cut.example.com")
    assert event.facts == {"type": "http", "place": "cut.example.com", "failures": 3, "seconds": 30}
    assert (await records.series.totals()).by("breakers") == {("http",): 1}


async def test_failures_older_than_the_window_do_not_count(records: Records, clock: Clock) -> None:
    await called(records, "failed")
    await clock.on(31)
    await called(records, "failed")
    await clock.on(30)
    await called(records, "failed")
    assert ((await state(records)).state, (await state(records)).failures) == ("closed", 2)
    await called(records, "failed")
    assert (await state(records)).state == "open"


async def test_it_closes_when_its_probes_pass(records: Records, events: EventLog, clock: Clock) -> None:
    await opened(records)
    await clock.on(29)
    assert 0 < (await called(records, "passed")).wait <= 1
    await clock.on(1)
    assert ((await state(records)).state, (await state(records)).retry_at) == ("half_open", None)
    assert (await called(records, "passed")).probe
    assert (await state(records)).state == "half_open" and await told(events) == ["breaker.opened"]
    assert (await called(records, "passed")).probe
    breaker = await state(records)
    assert (breaker.state, breaker.failures, breaker.opened_at) == ("closed", 0, None)
    *_, event = await all_events(events)
    assert (event.type, event.facts["reason"]) == ("breaker.closed", "passed") and 30 <= event.facts["seconds"] < 40
    assert not (await called(records, "failed")).probe
    assert ((await state(records)).state, (await state(records)).failures) == ("closed", 1)


async def test_a_probe_that_fails_opens_it_again_and_is_no_further_opening(
    records: Records, events: EventLog, clock: Clock
) -> None:
    await opened(records)
    since = (await state(records)).opened_at
    await clock.on(30)
    await called(records, "passed")
    assert (await called(records, "failed")).probe
    assert 29 < (await called(records, "passed")).wait <= 30
    breaker = await state(records)
    assert breaker.state == "open" and since and breaker.opened_at
    assert (since - breaker.opened_at).total_seconds() == 30, "as long as the clock was moved on"
    assert await told(events) == ["breaker.opened"]
    assert (await records.series.totals()).by("breakers") == {("http",): 1}


async def test_no_more_probes_go_out_than_are_to_pass(records: Records, redis: Redis, clock: Clock) -> None:
    await opened(records)
    await clock.on(30)
    processes = [Records(redis, PREFIX) for _ in range(4)]
    asks = [process.breakers.ask(CALLEE, new_id(), RULES) for process in processes for _ in range(5)]
    answers = await asyncio.gather(*asks)
    assert [sum(answer.probe for answer in answers), sum(answer.wait > 29 for answer in answers)] == [2, 18]


async def test_a_probe_that_is_never_heard_of_again_makes_room(records: Records, clock: Clock) -> None:
    await opened(records)
    await clock.on(30)
    lost = [await records.breakers.ask(CALLEE, new_id(), RULES) for _ in range(RULES.probes)]
    assert all(asked.probe for asked in lost)
    await clock.on(29)
    assert 0 < (await called(records, "passed")).wait <= 1
    await clock.on(1)
    for _ in range(RULES.probes):
        assert (await called(records, "passed")).probe
    assert (await state(records)).state == "closed"


async def test_a_probe_that_says_nothing_gives_its_place_back(records: Records, clock: Clock) -> None:
    await opened(records)
    await clock.on(30)
    for _ in range(5):
        assert (await called(records, "unknown")).probe
    assert (await state(records)).state == "half_open"


async def test_what_was_begun_before_says_nothing_about_now(records: Records, clock: Clock) -> None:
    early = await records.breakers.ask(CALLEE, "early", RULES)
    await opened(records)
    await records.breakers.note(CALLEE, "early", early.turn, "failed", RULES)
    assert (await state(records)).failures == 3
    await clock.on(30)
    assert (await called(records, "passed")).probe
    await records.breakers.note(CALLEE, "early", early.turn, "failed", RULES)
    assert (await state(records)).state == "half_open"


async def test_a_step_that_is_said_twice_counts_once(records: Records, clock: Clock) -> None:
    asked = await records.breakers.ask(CALLEE, "once", RULES)
    for _ in range(5):
        await records.breakers.note(CALLEE, "once", asked.turn, "failed", RULES)
    assert ((await state(records)).state, (await state(records)).failures) == ("closed", 1)
    await opened_from(records, 1)
    await clock.on(30)
    for _ in range(5):
        asked = await records.breakers.ask(CALLEE, "probe", RULES)
        assert asked.probe
    for _ in range(5):
        await records.breakers.note(CALLEE, "probe", asked.turn, "passed", RULES)
    assert (await state(records)).state == "half_open"


async def opened_from(records: Records, failures: int) -> None:
    for _ in range(RULES.failures - failures):
        await called(records, "failed")
    assert (await state(records)).state == "open"


async def test_processes_count_together_and_others_go_their_own_way(records: Records, redis: Redis) -> None:
    processes = [Records(redis, PREFIX) for _ in range(3)]
    await asyncio.gather(*(called(process, "failed") for process in processes))
    assert [(await called(process, "passed")).wait > 0 for process in processes] == [True] * 3
    others = (
        CALLEE._replace(type="notify"),
        CALLEE._replace(project="other"),
        CALLEE._replace(place="cut.example.com:8443"),
    )
    assert [await called(records, "passed", other) for other in others] == [Asked()] * 3
    await called(records, "failed", others[1])
    assert [breaker.project for breaker in await records.breakers.list("demo")] == ["demo"]
    assert [breaker.project for breaker in await records.breakers.list()] == ["demo", "other"]


async def test_who_is_called_no_more_is_forgotten(
    records: Records, events: EventLog, redis: Redis, clock: Clock
) -> None:
    await called(records, "failed", CALLEE._replace(place="once.example.com"))
    await opened(records)
    await clock.on(60)
    assert [breaker.place for breaker in await records.breakers.list()] == ["cut.example.com"]
    assert await records.breakers.forget() == 1
    await clock.on(IDLE - 60)
    assert await records.breakers.list() == []
    assert await records.breakers.forget() == 1
    assert [key for key in await keys(redis) if "breaker" in key and "subject" not in key] == []
    assert [event.facts.get("reason") for event in await all_events(events)] == [None, "idle"]
    assert await called(records, "failed") == Asked()


async def test_there_are_never_more_than_so_many(records: Records, redis: Redis) -> None:
    callees = [Callee("ask", "demo", f"{number}.example.com") for number in range(MOST + 20)]
    for start in range(0, len(callees), 200):
        await asyncio.gather(*(called(records, "failed", callee) for callee in callees[start : start + 200]))
    assert len(await records.breakers.list()) == MOST == await redis.zcard(f"{PREFIX}breakers")
