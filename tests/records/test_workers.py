from __future__ import annotations

from typing import Any

from redis.asyncio import Redis

from pipeline.model import WorkerBeat
from pipeline.records import Records
from tests.records.nouns import keys, moment


def a_beat(worker_id: str, **fields: Any) -> WorkerBeat:
    known = {"id": worker_id, "host": "h", "pid": 1, "version": "0.1", "queues": ["default"], "slots": 2}
    return WorkerBeat.model_validate(known | {"started_at": moment(0), "beat_at": moment(1)} | fields)


async def test_living_workers_are_listed_with_their_last_beat(records: Records) -> None:
    await records.workers.beat(a_beat("b"), 30)
    await records.workers.beat(a_beat("a"), 30)
    await records.workers.beat(a_beat("a", running=["run"], beat_at=moment(2)), 30)
    assert await records.workers.list() == [a_beat("a", running=["run"], beat_at=moment(2)), a_beat("b")]


async def test_a_worker_that_leaves_or_falls_silent_is_forgotten(records: Records, redis: Redis) -> None:
    await records.workers.beat(a_beat("leaves"), 30)
    await records.workers.beat(a_beat("silent"), 30)
    await records.workers.leave("leaves")
    await redis.pexpire("test:worker:silent", 0)
    assert await records.workers.list() == []
    await redis.zadd("test:workers", {"silent": 1})
    assert await records.workers.list() == []
    assert await keys(redis) == []


async def test_a_beat_has_an_end(records: Records, redis: Redis) -> None:
    await records.workers.beat(a_beat("a"), 3)
    assert 0 < await redis.pttl("test:worker:a") <= 3000
    clock = (await redis.time())[0] * 1000
    assert clock < await redis.zscore("test:workers", "a") <= clock + 4000
