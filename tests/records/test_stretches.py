"""Stretches of a file: what is there without a gap, what replaces what, and what is known when they were joined."""

from __future__ import annotations

import pytest
from redis.asyncio import Redis

from pipeline.errors import StretchesTooMany
from pipeline.records.stretches import MOST_STRETCHES, Stretches


@pytest.fixture
def stretches(redis: Redis) -> Stretches:
    from pipeline.records import Records

    return Records(redis, "test:").stretches


async def test_how_far_they_reach(stretches: Stretches) -> None:
    assert await stretches.standing("a", 30) == (0, [], set(), [])
    assert await stretches.note("a", 10, 20, "second", 60) is None
    assert (await stretches.standing("a", 30)).reach == 0
    await stretches.note("a", 0, 10, "first", 60)
    await stretches.note("a", 20, 30, "third", 60)
    assert await stretches.note("a", 10, 20, "again", 60) == "second"
    reach, way, pieces, stops = await stretches.standing("a", 30)
    assert (reach, way, pieces) == (30, ["first", "again", "third"], {"first", "again", "third"})
    assert stops == [10, 20, 30]
    assert (await stretches.standing("b", 30)).reach == 0


async def test_what_they_became_is_known_to_the_last_of_them(stretches: Stretches) -> None:
    await stretches.note("a", 0, 10, "first", 60)
    assert await stretches.became("a") is None
    await stretches.settle("a", "file", "0-10", 60)
    assert (await stretches.became("a"), await stretches.became("a", "0-10")) == ("file", "file")
    assert await stretches.became("a", "5-10") is None
    await stretches.note("a", 0, 5, "another", 60)  # of another file
    assert await stretches.became("a") is None
    assert (await stretches.standing("a", 10)).way == ["another"]


async def test_stretches_may_share_a_trunk(stretches: Stretches) -> None:
    assert await stretches.trunk("a") is None
    assert [await stretches.trunk("a", own, 60) for own in ("one", "two")] == ["one", "one"]
    await stretches.note("a", 0, 10, "one", 60)
    await stretches.note("a", 10, 20, "one", 60)
    assert await stretches.standing("a", 20) == (20, ["one", "one"], {"one"}, [10, 20])
    assert await stretches.note("a", 0, 10, "apart", 60) is None  # the rest of the trunk is in use
    assert (await stretches.standing("a", 20)).way == ["apart", "one"]
    await stretches.settle("a", "file", "10-20", 60)
    assert await stretches.trunk("a", "three", 60) == "three"  # of another file
    await stretches.drop("a")
    assert (await stretches.trunk("a"), await stretches.became("a")) == (None, None)


async def test_there_are_not_too_many(stretches: Stretches) -> None:
    for number in range(MOST_STRETCHES):
        await stretches.note("a", number, number + 1, "piece", 60)
    with pytest.raises(StretchesTooMany):
        await stretches.note("a", MOST_STRETCHES, MOST_STRETCHES + 1, "piece", 60)
    assert await stretches.note("a", 0, 1, "again", 60) == "piece"
