"""Turns at writing, as the record server keeps them."""

from __future__ import annotations

import asyncio

from redis.asyncio import Redis

from pipeline.model import new_id
from pipeline.records import Records


async def test_one_of_many_has_the_turn_and_the_others_hear_how_long(records: Records) -> None:
    id = new_id()
    taken = await asyncio.gather(*(records.holds.take(id, 30) for _ in range(20)))
    assert [one.left == 0 for one in taken].count(True) == 1
    assert all(29 < one.left <= 30 for one in taken if one.left)
    assert len({one.turn for one in taken}) == 20
    first = next(one.turn for one in taken if not one.left)
    last = max(one.turn for one in taken)
    await records.holds.give_back(id, last)
    assert (await records.holds.take(id, 30, last)).left > 0
    await records.holds.give_back(id, first)
    assert await records.holds.take(id, 30, last) == (last, 0)


async def test_a_turn_lasts_while_it_is_prolonged_and_passes_on_when_it_is_not(records: Records) -> None:
    id = new_id()
    old, _ = await records.holds.take(id, 0.2)
    for _ in range(5):
        await asyncio.sleep(0.1)
        assert await records.holds.prolong(id, old) == "ours"
    new, left = await records.holds.take(id, 0.2)
    assert 0 < left <= 0.2
    await asyncio.sleep(left)
    assert await records.holds.prolong(id, old) == "ours"  # nobody was faster
    await asyncio.sleep(0.2)
    assert (await records.holds.take(id, 0.2, new)).left == 0
    assert await records.holds.prolong(id, old) == "lost"
    await records.holds.give_back(id, old)
    assert await records.holds.prolong(id, new) == "ours"


async def test_only_a_newer_request_is_wanted_and_only_when_it_asks(records: Records) -> None:
    id = new_id()
    older, _ = await records.holds.take(new_id(), 30)
    holder, _ = await records.holds.take(id, 30)
    assert (await records.holds.take(id, 30, older, asks=True)).left > 0
    assert await records.holds.prolong(id, holder) == "ours"
    newer, _ = await records.holds.take(id, 30)
    assert await records.holds.prolong(id, holder) == "ours"
    await records.holds.take(id, 30, newer, asks=True)
    assert await records.holds.prolong(id, holder) == "wanted"
    await records.holds.give_back(id, holder)
    assert (await records.holds.take(id, 30, newer)).left == 0
    assert await records.holds.prolong(id, newer) == "ours"


async def test_a_turn_leaves_no_trace(records: Records, redis: Redis) -> None:
    id = new_id()
    turn, _ = await records.holds.take(id, 30)
    assert 0 < await redis.pttl(f"test:lock:{id}") <= 60_000
    await records.holds.give_back(id, turn)
    assert await redis.keys("test:lock:*") == []
