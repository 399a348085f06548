"""Jobs that are handed to a waiting worker by whoever enqueues them: once, to the least busy, and never lost."""

from __future__ import annotations

import asyncio

import pytest
from redis.asyncio import Redis

from tests.workers.test_queue import Bench, Gated
from tests.workers.test_takeover import Made, at_once, until
from tests.workers.test_takeover import made as made


async def offering(bench: Bench) -> None:
    """Let a worker wait for a job, though nothing reads the list it is handed over."""
    bench.queues._listening = True
    await bench.queues.turn()


async def word(redis: Redis, worker: str) -> list[bytes]:
    """What the list of a worker says next, as it would read it."""
    key = f"t:hands:{worker}"
    row = await redis.rpop(key)
    assert isinstance(row, bytes)
    return [key.encode(), row]


async def test_a_waiting_worker_is_handed_the_job(redis: Redis, made: Made) -> None:
    act = at_once()
    bench = made(act.run, worker="w")
    await offering(bench)
    assert await bench.put_awake("one", project="p")
    assert await redis.exists("t:queue:default:wake", "t:offer:w") == 0
    assert (await redis.get("arq:in-progress:one") or b"").startswith(b"w ")
    assert await redis.zscore("t:queue:default:lines", "p") == 1
    turns = await bench.calls()
    await bench.queues._heed(await word(redis, "w"))
    await asyncio.gather(*bench.queues.tasks.values())
    assert act.began == [("one", 1)] and await bench.calls() == turns
    await bench.queues.turn()
    assert await bench.left() == 0 and await redis.exists("t:handed:w") == 0 and await redis.keys("arq:*") == []


async def test_an_offer_is_good_for_one_job_and_the_next_waits_in_its_line(redis: Redis, made: Made) -> None:
    bench = made(at_once().run, worker="w")
    await offering(bench)
    await bench.put_awake("one", project="p")
    await bench.put_awake("two", project="p")
    assert await redis.zrange("t:queue:default:line:p", 0, -1) == [b"two"]
    assert await redis.llen("t:queue:default:wake") == 1


async def test_the_least_busy_worker_is_handed_the_job(redis: Redis, made: Made) -> None:
    long = Gated()
    busy, idle = made(long.run, worker="a", slots=2), made(at_once().run, worker="z", slots=2)
    await busy.put_awake("long")
    await offering(busy)
    await long.all_began.wait()
    await offering(idle)
    await offering(busy)
    await busy.put_awake("one")
    assert await redis.llen("t:hands:z") == 1 and await redis.llen("t:hands:a") == 0
    await busy.put_awake("two")
    assert await redis.llen("t:hands:a") == 1
    long.go_on.set()


async def test_a_word_that_was_lost_is_told_again_by_the_next_turn(redis: Redis, made: Made) -> None:
    act = at_once()
    bench = made(act.run, worker="w", slots=1)
    await offering(bench)
    await bench.put_awake("one")
    late = await word(redis, "w")  # read from the server, and lost on its way
    await bench.queues.turn()
    await asyncio.gather(*bench.queues.tasks.values())
    await bench.queues.turn()
    assert act.began == [("one", 1)] and await bench.left() == 0
    await bench.queues._heed(late)
    await bench.queues.turn()
    assert act.began == [("one", 1)] and not bench.queues.tasks


async def test_a_word_that_a_turn_overtook_begins_the_job_once(redis: Redis, made: Made) -> None:
    act = at_once()
    bench = made(act.run, worker="w", slots=1)
    await offering(bench)
    await bench.put_awake("one")
    answer = await bench.queues._exchange([], 1, 0)
    await bench.queues._heed(await word(redis, "w"))
    await asyncio.gather(*bench.queues.tasks.values())
    bench.queues._take(answer)
    await bench.queues.turn()
    await bench.queues.turn()
    assert act.began == [("one", 1)] and await bench.left() == 0


async def test_a_worker_that_died_before_it_read_of_the_job_did_not_die_of_it(redis: Redis, made: Made) -> None:
    act = at_once()
    dead, heir = made(Gated().run, worker="dead", lease=0.2), made(act.run, worker="heir", lease=0.2)
    await offering(dead)
    await dead.put_awake("one")

    async def begun() -> bool:
        return bool(act.began)

    await until(begun, heir)
    assert act.began == [("one", 2)]  # as that one may only be slow, and then draws into the folder of the first try
    assert await heir.records.queues.lost() == 0 and await heir.records.queues.deaths("one") == []


async def test_a_worker_that_died_with_a_job_it_knew_of_is_counted(redis: Redis, made: Made) -> None:
    held, act = Gated(), at_once()
    dead, heir = made(held.run, worker="dead", lease=0.2, slots=1), made(act.run, worker="heir", lease=0.2)
    await offering(dead)
    await dead.put_awake("one")
    await dead.queues._heed(await word(redis, "dead"))
    await held.all_began.wait()
    dead.queues._renewed = asyncio.get_running_loop().time()
    await dead.queues.turn()

    async def begun() -> bool:
        return bool(act.began)

    await until(begun, heir)
    assert act.began == [("one", 2)] and [death.worker for death in await heir.records.queues.deaths("one")] == ["dead"]


async def test_nothing_is_handed_over_while_a_queue_is_paused_or_to_one_that_leaves(redis: Redis, made: Made) -> None:
    bench = made(at_once().run, worker="w")
    await bench.records.queues.pause("default")
    await offering(bench)
    await bench.put_awake("one")
    assert await redis.exists("t:hands:w") == 0 and await redis.exists("t:offer:w") == 1
    await bench.records.queues.resume("default")
    await redis.sadd("t:draining", "w")
    await bench.put_awake("two")
    assert await redis.exists("t:hands:w") == 0 and await redis.zcard("t:queue:default:line:") == 2
    await redis.delete("t:draining")


async def test_a_job_begun_before_goes_through_its_line(redis: Redis, made: Made) -> None:
    bench = made(at_once().run, worker="w")
    await offering(bench)
    await redis.set("arq:retry:one", 1)
    await bench.put_awake("one")
    assert await redis.exists("t:hands:w") == 0 and await redis.zcard("t:queue:default:line:") == 1


async def test_a_worker_that_stops_waits_for_no_job_and_hands_back_what_it_was_given(redis: Redis, made: Made) -> None:
    act = Gated()
    bench = made(act.run, worker="w")
    await offering(bench)
    await bench.put_awake("one")
    await bench.queues.stop(0)
    assert act.began == [] and await redis.exists("t:offer:w") == 0
    await bench.put_awake("two")
    assert await redis.zcard("t:queue:default:line:") == 2 and await redis.exists("arq:in-progress:one") == 0
    assert await redis.get("arq:retry:one") in (None, b"0")


@pytest.mark.parametrize("slots", [1, 3])
async def test_jobs_that_come_one_by_one_are_each_begun_once(redis: Redis, made: Made, slots: int) -> None:
    act = Gated(200)
    act.go_on.set()
    bench = made(act.run, worker="w", slots=slots)
    async with bench.running():
        await bench.until_idle()
        for number in range(200):
            await bench.put_awake(f"job-{number}", project=f"p{number % 3}")
        await asyncio.wait_for(act.all_began.wait(), 20)
    assert sorted(act.began) == sorted((f"job-{number}", 1) for number in range(200))
    assert await bench.left() == 0 and await redis.keys("arq:*") == []
