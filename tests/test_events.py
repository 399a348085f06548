from __future__ import annotations

import asyncio
from contextlib import aclosing

import pytest
from redis.asyncio import Redis

from pipeline.errors import CursorInvalid
from pipeline.events import EventLog
from pipeline.model import Event
from pipeline.records import Records
from tests.records.nouns import a_run, moment


@pytest.fixture
def log(redis: Redis) -> EventLog:
    return EventLog(redis, "test:")


def an_event(number: int, subject: str = "one") -> Event:
    facts = {"number": number, "name": "löwe", "deep": {"list": [1, None, "x"]}}
    return Event(type="file.stored", project="demo", subject=subject, at=moment(number), facts=facts)


async def collect(log: EventLog, count: int, subject: str | None = None, from_id: str | None = "0") -> list[Event]:
    found: list[Event] = []
    async with aclosing(log.follow("demo", subject, from_id, idle=0.05)) as events:
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


async def connections(redis: Redis) -> int:
    return int((await redis.info("clients"))["connected_clients"])


async def test_waiting_followers_block_nobody_and_give_their_connections_back(redis_url: str, redis: Redis) -> None:
    narrow = Redis.from_url(redis_url, max_connections=1)
    log = EventLog(narrow, "test:")
    before = await connections(redis)
    followers = [asyncio.create_task(collect_forever(log)) for _ in range(30)]
    while int((await redis.info("clients"))["blocked_clients"]) < 30:
        await asyncio.sleep(0)
    appended = await asyncio.wait_for(log.append(an_event(1)), 2)
    assert appended.id
    for follower in followers:
        follower.cancel()
    ended = await asyncio.gather(*followers, return_exceptions=True)
    assert all(isinstance(each, asyncio.CancelledError) for each in ended)
    while await connections(redis) > before + 1:
        await asyncio.sleep(0)
    await narrow.aclose()


async def collect_forever(log: EventLog) -> None:
    async with aclosing(log.follow("demo", from_id="0", idle=60)) as events:
        async for _ in events:
            pass


async def test_waiting_longer_than_the_socket_timeout_is_no_outage(redis_url: str, redis: Redis) -> None:
    impatient = Redis.from_url(redis_url, socket_timeout=0.1)
    async with aclosing(EventLog(impatient, "test:").follow("demo", idle=0.4)) as events:
        assert await anext(events) is None
    await impatient.aclose()


@pytest.mark.parametrize("protocol", [2, 3])
async def test_both_protocols_read_the_same(redis_url: str, redis: Redis, protocol: int) -> None:
    client = Redis.from_url(redis_url, protocol=protocol)
    log = EventLog(client, "test:")
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
    monkeypatch.setattr("pipeline.events.LOOK_AGAIN", 3600)
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
    monkeypatch.setattr("pipeline.events.LOOK_AGAIN", 3600)
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
    monkeypatch.setattr("pipeline.events.LOOK_AGAIN", 0.01)
    async with log.ending("nothing") as ring:
        for _ in range(3):
            await asyncio.wait_for(ring.wait(), 10)
    await log.close()
