"""Many follow many subjects over one connection, miss nothing and see nothing twice."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing

import pytest
from redis.asyncio import Redis

from pipeline.errors import RecordsUnavailable
from pipeline.events import EventLog
from pipeline.model import Event, new_id
from pipeline.records import Records
from tests.records.nouns import PREFIX

MANY = 100


@pytest.fixture
async def records(redis: Redis) -> AsyncIterator[Records]:
    records = Records(redis, PREFIX)
    yield records
    await records.trails.close()


async def heard(records: Records, run: str, number: int, after: str = "0") -> list[str]:
    """The types of the first so many events of a run."""
    types: list[str] = []
    async with asyncio.timeout(20), aclosing(records.trails.follow("demo", None, run, after)) as told:
        async for one in told:
            if isinstance(one, Event):
                assert one.subject == run
                types.append(one.type)
            if len(types) == number:
                break
    return types


async def tell(events: EventLog, run: str, *types: str) -> str:
    last = ""
    for type in types:
        last = (await events.append(Event(type=type, project="demo", subject=run))).id
    return last


async def listeners(redis: Redis) -> list[dict[str, str]]:
    return list(await redis.client_list(_type="pubsub"))


async def test_all_are_followed_over_one_connection(records: Records, events: EventLog, redis: Redis) -> None:
    runs = [new_id() for _ in range(MANY)]
    for run in runs:
        await tell(events, run, "a", "b")
    following = [asyncio.create_task(heard(records, run, 4)) for run in runs for _ in range(2)]
    async with asyncio.timeout(20):
        while (await redis.pubsub_numsub(f"{PREFIX}news:{runs[-1]}"))[0][1] == 0:
            await asyncio.sleep(0.01)
    assert len(await listeners(redis)) == 1
    for run in runs:
        await tell(events, run, "c", "d")
    assert await asyncio.gather(*following) == [["a", "b", "c", "d"]] * (2 * MANY)
    async with asyncio.timeout(20):  # nobody waits for any of them now
        while len(await redis.pubsub_channels(f"{PREFIX}news:*")) > 1:
            await asyncio.sleep(0.01)


async def test_who_returns_goes_on_where_he_was(records: Records, events: EventLog) -> None:
    run = new_id()
    seen = await tell(events, run, "a", "b")
    await tell(events, run, "c")
    assert await heard(records, run, 1, seen) == ["c"]
    assert await heard(records, run, 3) == ["a", "b", "c"]


async def test_what_is_told_while_one_begins_to_listen_is_heard_once(records: Records, events: EventLog) -> None:
    for _ in range(30):
        run = new_id()
        types = [str(number) for number in range(5)]
        following = asyncio.create_task(heard(records, run, 5))
        await tell(events, run, *types)
        assert await following == types


async def test_a_line_that_was_cut_is_dialled_again(records: Records, events: EventLog, redis: Redis) -> None:
    run = new_id()
    following = asyncio.create_task(heard(records, run, 3))
    await tell(events, run, "a")
    for type in ("b", "c"):
        async with asyncio.timeout(20):
            while not (cut := await listeners(redis)):
                await asyncio.sleep(0.01)
        await redis.client_kill_filter(_id=cut[0]["id"])
        await tell(events, run, type)
    assert await following == ["a", "b", "c"]


async def test_more_than_is_read_at_once_comes_in_order(records: Records, events: EventLog) -> None:
    run = new_id()
    types = [str(number) for number in range(450)]
    await tell(events, run, *types)
    assert await heard(records, run, 450) == types


async def test_silence_is_told_and_so_is_a_server_that_is_away(records: Records) -> None:
    told = records.trails.follow("demo", None, new_id(), idle=0.01)
    assert await anext(told) is None
    await told.aclose()
    away = Records(Redis.from_url("redis://127.0.0.1:1/0"), PREFIX)
    with pytest.raises(RecordsUnavailable):
        await anext(away.trails.follow("demo", None, new_id()))
    await away.trails.close()
