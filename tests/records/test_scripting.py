"""Scripts that are called at about the same time, on the real server."""

from __future__ import annotations

import asyncio

import pytest
from redis.asyncio import Redis
from redis.exceptions import ResponseError

from pipeline.events import script
from pipeline.scripting import RecordClient

ECHO = "return take()"


async def test_calls_that_come_together_go_together(redis: Redis) -> None:
    echo = script(RecordClient.over(redis), "t:", 0, ECHO)
    assert await echo(args=["first"]) == b"first"
    before = await redis.info("stats")
    replies = await asyncio.gather(*(echo(args=[number]) for number in range(500)))
    after = await redis.info("stats")
    assert replies == [str(number).encode() for number in range(500)]
    assert after["total_reads_processed"] - before["total_reads_processed"] < 50


async def test_one_that_is_refused_harms_no_other(redis: Redis) -> None:
    client = RecordClient.over(redis)
    echo, broken = script(client, "t:", 0, ECHO), script(client, "t:", 0, "return redis.call('NOSUCH')")
    calls = echo(args=["a"]), broken(), echo(args=["b", b"\xff", 1, 2.5])
    outcomes = await asyncio.gather(*calls, return_exceptions=True)
    assert outcomes[::2] == [b"a", b"b"] and isinstance(outcomes[1], ResponseError)


async def test_what_nobody_waits_for_any_more_is_not_sent(redis: Redis) -> None:
    count = script(RecordClient.over(redis), "t:", 0, "return redis.call('INCR', P .. take())")
    doomed = asyncio.create_task(count(args=["n"]))
    await asyncio.sleep(0)
    doomed.cancel()
    with pytest.raises(asyncio.CancelledError):
        await doomed
    assert await count(args=["n"]) == 1
