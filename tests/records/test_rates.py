"""How many requests pass, counted by several processes together on the real server."""

from __future__ import annotations

import asyncio

import pytest
from redis.asyncio import Redis

from pipeline.errors import RateExceeded
from pipeline.model import Limits, Project
from pipeline.records.rates import SHARE, Rates
from tests.records.nouns import PREFIX


def a_project(most: int) -> Project:
    return Project(id="demo", secret_key="secret", limits=Limits(requests_per_minute=most))


async def passed(project: Project, *counters: Rates, times: int) -> int:
    """How many of so many requests pass, sent to each counter in turn and eight at once."""
    count = 0
    for start in range(0, times, 8):
        checks = [counters[number % len(counters)].check(project) for number in range(start, min(start + 8, times))]
        outcomes = await asyncio.gather(*checks, return_exceptions=True)
        assert all(outcome is None or isinstance(outcome, RateExceeded) for outcome in outcomes)
        count += outcomes.count(None)
    return count


@pytest.mark.parametrize("most", [1, 7, 2 * SHARE - 1])
async def test_a_low_limit_is_kept_to_the_request(redis: Redis, most: int) -> None:
    assert await passed(a_project(most), Rates(redis, PREFIX), Rates(redis, PREFIX), times=most + 20) == most


async def test_a_high_limit_is_never_passed_and_nearly_reached(redis: Redis) -> None:
    most, counters = 6000, [Rates(redis, PREFIX) for _ in range(3)]
    count = await passed(a_project(most), *counters, times=most + 200)
    assert most - len(counters) * most // SHARE <= count <= most


async def test_who_is_refused_is_told_when_to_come_again(redis: Redis) -> None:
    rates, project = Rates(redis, PREFIX), a_project(1)
    await rates.check(project)
    with pytest.raises(RateExceeded) as refused:
        await rates.check(project)
    assert 1 <= (refused.value.retry_after or 0) <= 60
