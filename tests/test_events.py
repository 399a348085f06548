from __future__ import annotations

import asyncio
import gc
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from redis.asyncio import Redis

from pipeline.acts import either, ended
from pipeline.errors import CursorInvalid
from pipeline.events import EventLog
from pipeline.model import Event
from pipeline.records import Records
from tests.records.nouns import a_run, moment


@asynccontextmanager
async def log_over(redis: Redis) -> AsyncIterator[EventLog]:
    log = EventLog(redis, "test:")
    try:
        yield log
    finally:
        await log.close()


@pytest.fixture
async def log(redis: Redis) -> AsyncIterator[EventLog]:
    async with log_over(redis) as log:
        yield log


def an_event(number: int, subject: str = "one") -> Event:
    facts = {"number": number, "name": "löwe", "deep": {"list": [1, None, "x"]}}
    return Event(type="file.stored", project="demo", subject=subject, at=moment(number), facts=facts)


async def collect(log: EventLog, count: int, subject: str | None = None, from_id: str | None = "0") -> list[Event]:
    found: list[Event] = []
    async with aclosing(log.follow("demo", subject, from_id, idle=60)) as events:
        async for event in events:
            found += [event] if event else []
            if len(found) == count:
                break
    return found


async def test_an_event_comes_back_whole(log: EventLog) -> None:
    appended = await log.append(an_event(1))
    assert appended == an_event(1).model_copy(update={"id": appended.id})
    assert await log.read("demo") == await log.read("demo", "one") == [appended]
    assert await log.read("other") == await log.read("demo", "two") == []


async def test_reading_goes_on_after_an_id(log: EventLog) -> None:
    events = [await log.append(an_event(number, f"s{number % 2}")) for number in range(20)]
    assert await log.read("demo", None, None, 7) == events[:7]
    assert await log.read("demo", None, events[6].id, 7) == events[7:14]
    assert await log.read("demo", "s1", events[6].id) == events[7::2]
    assert await log.read("demo", "s1", "0", 2) == events[1:4:2]
    assert await log.read("demo", None, events[-1].id) == []


@pytest.mark.parametrize("place", ["x", "-", "+", "$", "1-", "-1", "1-2-3", "1 ", "9" * 20, "1-" + "9" * 20, "(1", "١"])
async def test_rubbish_is_no_place_in_a_log(log: EventLog, place: str) -> None:
    with pytest.raises(CursorInvalid):
        await log.read("demo", None, place)
    with pytest.raises(CursorInvalid):
        await anext(log.follow("demo", None, place))


async def test_replay_runs_into_live_without_a_gap(log: EventLog) -> None:
    early = [await log.append(an_event(number)) for number in range(250)]
    follower = asyncio.create_task(collect(log, 1000))

    async def write(start: int) -> list[Event]:
        return [await log.append(an_event(number)) for number in range(start, start + 250)]

    late = await asyncio.gather(write(250), write(500), write(750))
    found = await follower
    assert found[:250] == early
    assert len({event.id for event in found}) == 1000
    assert found == sorted(found, key=lambda event: tuple(map(int, event.id.split("-"))))
    assert {event.id for event in found[250:]} == {event.id for some in late for event in some}


async def test_a_follower_that_resumes_misses_and_repeats_nothing(log: EventLog) -> None:
    async def write() -> list[Event]:
        return [await log.append(an_event(number)) for number in range(300)]

    writer = asyncio.create_task(write())
    found = await collect(log, 1)
    while len(found) < 300:
        found += await collect(log, min(7, 300 - len(found)), None, found[-1].id)
    assert found == await writer


async def test_from_now_leaves_the_past_out(log: EventLog) -> None:
    await log.append(an_event(1))
    async with aclosing(log.follow("demo", idle=0.01)) as events:
        assert await anext(events) is None
        later = await log.append(an_event(2))
        while (event := await anext(events)) is None:
            pass
        assert event == later


async def test_silence_is_told(log: EventLog) -> None:
    loop = asyncio.get_running_loop()
    async with aclosing(log.follow("demo", "one", "0", idle=0.2)) as events:
        began = loop.time()
        assert await anext(events) is None
        assert await anext(events) is None
        assert 0.35 < loop.time() - began < 3


# Many followers


WISHES: list[tuple[str | None, int]] = [(None, 0), (None, 3), ("s0", 0), ("s1", 3)]
"""The subject, and how many events of the project had been seen."""


async def connections(redis: Redis) -> int:
    return len(await redis.client_list())


async def followed(redis: Redis, *names: str) -> None:
    """Return once all of these are listened for."""
    async with asyncio.timeout(10):
        while not all(count for _, count in await redis.pubsub_numsub(*(f"test:news:{name}" for name in names))):
            await asyncio.sleep(0.005)


async def unfollowed(redis: Redis) -> None:
    """Return once nothing is listened for any more; the line itself stays."""
    async with asyncio.timeout(10):
        while len(await redis.pubsub_channels("test:news:*")) > 1:
            await asyncio.sleep(0.005)


async def test_any_number_of_followers_share_two_connections_and_see_everything_once(
    redis_url: str, redis: Redis
) -> None:
    narrow, before = Redis.from_url(redis_url, max_connections=1), await connections(redis)
    subjects = [f"s{number % 2}" for number in range(126)]
    async with log_over(narrow) as log:
        early = [await log.append(an_event(number, subjects[number])) for number in range(6)]
        places = [(subject, early[seen - 1].id if seen else "0", seen) for subject, seen in WISHES * 50]
        counts = [sum(wish in (None, subject) for subject in subjects[seen:]) for wish, _, seen in places]
        following = [
            asyncio.create_task(collect(log, count, subject, after))
            for count, (subject, after, _) in zip(counts, places, strict=True)
        ]
        await followed(redis, ":demo", "s0", "s1")
        whole = early + [await log.append(an_event(number, subjects[number])) for number in range(6, 126)]
        assert await connections(redis) <= before + 2
        for (subject, _, seen), found in zip(places, await asyncio.gather(*following), strict=True):
            assert found == [event for event in whole[seen:] if subject in (None, event.subject)]
        await unfollowed(redis)
    await narrow.aclose()


async def ids_of(log: EventLog, count: int, subject: str) -> list[str]:
    async with aclosing(log.follow("demo", subject, "0", idle=60)) as events:
        return [(await anext(events)).id for _ in range(count)]


async def test_who_is_slow_holds_nobody_up_and_has_nothing_kept_for_him(log: EventLog) -> None:
    first = await log.append(an_event(0, "slow"))
    async with aclosing(log.follow("demo", "slow", "0", idle=60)) as slow:
        assert await anext(slow) == first
        quick = asyncio.create_task(ids_of(log, 700, "slow"))
        ids = [first.id, *[(await log.append(an_event(number, "slow"))).id for number in range(1, 700)]]
        assert await quick == ids
        gc.collect()
        assert sum(type(one) is Event and one.subject == "slow" for one in gc.get_objects()) <= 2
        assert [(await anext(slow)).id for _ in range(699)] == ids[1:]


async def test_those_who_leave_take_nothing_from_those_who_stay(log: EventLog, redis: Redis) -> None:
    staying = asyncio.create_task(collect(log, 50, "one"))
    for number in range(50):
        leaving = [asyncio.create_task(collect(log, 1000, "one")) for _ in range(3)]
        await asyncio.sleep(0)
        await log.append(an_event(number))
        for one in leaving:
            one.cancel()
        await asyncio.wait(leaving)
    assert len(await staying) == 50
    await unfollowed(redis)


async def test_followers_hear_on_when_their_line_was_cut(
    log: EventLog, redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipeline.hearing.REDIAL", 0.05)
    following = [asyncio.create_task(collect(log, 3, subject)) for subject in (None, "one")]
    appended = []
    for number in range(3):
        await followed(redis, ":demo", "one")
        appended.append(await log.append(an_event(number)))
        (line,) = await redis.client_list(_type="pubsub")
        await redis.client_kill_filter(_id=line["id"])
    assert await asyncio.gather(*following) == [appended, appended]


@dataclass
class Relay:
    """What passes between the log and the server, until it is told to keep the news to itself."""

    url: str
    listeners: set[asyncio.StreamWriter] = field(default_factory=set)
    mute: set[asyncio.StreamWriter] = field(default_factory=set)
    taking: set[asyncio.Task[None]] = field(default_factory=set)

    def connect(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.taking.add(asyncio.create_task(self._take(reader, writer)))

    async def _take(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        back, forth = await asyncio.open_unix_connection(self.url.removeprefix("unix://"))
        try:
            await either(self._pass(reader, forth, writer), self._pass(back, writer, writer))
        finally:
            for one in (forth, writer):
                one.close()

    async def _pass(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, caller: asyncio.StreamWriter
    ) -> None:
        while piece := await reader.read(65536):
            if b"SUBSCRIBE" in piece:
                self.listeners.add(caller)
            if caller not in self.mute:
                writer.write(piece)


async def test_followers_hear_on_when_their_line_is_dead_and_nobody_says_so(
    redis_url: str, redis: Redis, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipeline.hearing.PULSE", 0.05)
    monkeypatch.setattr("pipeline.hearing.REDIAL", 0.05)
    relay, path = Relay(redis_url), str(tmp_path / "relay.sock")
    async with await asyncio.start_unix_server(relay.connect, path), Redis(unix_socket_path=path) as through:
        async with log_over(through) as log, aclosing(log.follow("demo", "one", "0", idle=60)) as events:
            for number in range(5):  # what rang before is used up by then
                appended = await log.append(an_event(number))
                assert await asyncio.wait_for(anext(events), 20) == appended
                relay.mute |= relay.listeners
        assert relay.mute
    await ended(relay.taking)


async def test_what_was_cut_off_the_log_is_passed_over(log: EventLog, redis: Redis) -> None:
    appended = [await log.append(an_event(number)) for number in range(10)]
    async with aclosing(log.follow("demo", from_id=appended[2].id, idle=60)) as events:
        assert await anext(events) == appended[3]
        await redis.xtrim("test:events:demo", 2, approximate=False)
        last = [await anext(events) for _ in range(6)]
    assert last == appended[4:]
    assert await collect(log, 2, None, appended[2].id) == appended[8:]


async def test_waiting_longer_than_the_socket_timeout_is_no_outage(redis_url: str, redis: Redis) -> None:
    impatient = Redis.from_url(redis_url, socket_timeout=0.1)
    async with log_over(impatient) as log, aclosing(log.follow("demo", idle=0.4)) as events:
        assert await anext(events) is None
    await impatient.aclose()


@pytest.mark.parametrize("protocol", [2, 3])
async def test_both_protocols_read_the_same(redis_url: str, redis: Redis, protocol: int) -> None:
    client = Redis.from_url(redis_url, protocol=protocol)
    async with log_over(client) as log:
        appended = [await log.append(an_event(number)) for number in range(3)]
        assert await collect(log, 3) == await log.read("demo") == appended
    records = Records(client, "test:")
    run = a_run()
    await records.runs.create(run)
    assert await records.runs.get(run.id) == run
    assert (await records.runs.list("demo")).items == (run,)
    await client.aclose()


async def test_streams_are_capped_and_those_of_subjects_expire(redis: Redis) -> None:
    log = EventLog(redis, "test:", cap=500)
    for number in range(2500):
        await log.append(an_event(number))
    assert 500 <= await redis.xlen("test:events:demo") < 700
    assert 1000 <= await redis.xlen("test:subject:demo:one") < 1200
    assert 6 * 86400 < await redis.ttl("test:subject:demo:one") <= 7 * 86400
    assert await redis.ttl("test:events:demo") == -1
    (last,) = (await log.read("demo", limit=10_000))[-1:]
    assert last.facts["number"] == 2499


async def test_records_write_to_the_same_log_with_the_same_ids(log: EventLog, redis: Redis) -> None:
    records = Records(redis, "test:", event_cap=50)
    runs = [a_run() for _ in range(300)]
    for run in runs:
        await records.runs.create(run)
    (last,) = (await log.read("demo", limit=1000))[-1:]
    assert await log.read("demo", runs[-1].id) == [last]
    assert await redis.xlen("test:events:demo") < 250


# The ends of runs


async def test_an_end_rings_up_those_who_wait_for_it(
    log: EventLog, redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipeline.hearing.LOOK_AGAIN", 3600)
    records = Records(redis, "test:")
    one, other = a_run(), a_run()
    for run in (one, other):
        await records.runs.create(run)
    async with log.ending(one.id) as ring, log.ending(one.id) as twin, log.ending(other.id) as silent:
        assert len(await redis.client_list(_type="pubsub")) == 1
        await records.runs.cancel(one.id, moment(1))
        await asyncio.wait_for(asyncio.gather(ring.wait(), twin.wait()), 10)
        waiting = asyncio.create_task(silent.wait())
        await records.runs.cancel(other.id, moment(1))
        await asyncio.wait_for(waiting, 10)
    await log.close()
    async with asyncio.timeout(10):  # the server hears of it when it reads from the closed line
        while await redis.client_list(_type="pubsub"):
            await asyncio.sleep(0)


async def test_a_line_that_was_cut_rings_and_is_restored(
    log: EventLog, redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipeline.hearing.LOOK_AGAIN", 3600)
    records, run = Records(redis, "test:"), a_run()
    await records.runs.create(run)
    async with log.ending(run.id) as ring:
        await ring.wait()  # it rang when the line stood
        (line,) = await redis.client_list(_type="pubsub")
        await redis.client_kill_filter(_id=line["id"])
        await asyncio.wait_for(ring.wait(), 10)
        await records.runs.cancel(run.id, moment(1))
        await asyncio.wait_for(ring.wait(), 10)
    async with log.ending(run.id):
        assert [line["id"] for line in await redis.client_list(_type="pubsub")] != [line["id"]]
    await log.close()


async def test_who_waits_looks_again_even_when_nothing_rings(log: EventLog, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline.hearing.LOOK_AGAIN", 0.01)
    async with log.ending("nothing") as ring:
        for _ in range(3):
            await asyncio.wait_for(ring.wait(), 10)
    await log.close()
