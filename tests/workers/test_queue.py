"""The queue engine against a real server: order, shared slots, an orderly stop, and a server that goes away."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from typing import Any

from arq import Retry
from redis.asyncio import Redis

from pipeline.model import Queue
from pipeline.runs import JOB, queue_key
from tests.workers.conftest import OwnServer
from workers.queue import Queues, worker_pool

Act = Callable[[dict[str, Any], str, int], Coroutine[Any, Any, None]]
ALL: tuple[Queue, ...] = ("interactive", "default", "bulk")


class Bench:
    """A reader over all queues, fed by hand."""

    def __init__(self, url: str, act: Act, slots: int = 2, queues: Sequence[Queue] = ALL) -> None:
        self.pool = worker_pool(url)
        self.queues = Queues(self.pool, "t:", queues, slots, act, 60.0)

    async def put(self, name: str, queue: Queue = "default") -> None:
        await self.pool.enqueue_job(JOB, name, 1, _job_id=name, _queue_name=queue_key("t:", queue))

    async def left(self) -> int:
        return sum([await self.pool.zcard(queue_key("t:", queue)) for queue in ALL])

    @contextlib.asynccontextmanager
    async def running(self, grace: float = 10) -> AsyncIterator[None]:
        reading = asyncio.create_task(self.queues.run())
        try:
            yield
        finally:
            await self.queues.stop(grace)
            await reading

    async def close(self) -> None:
        await self.pool.aclose(close_connection_pool=True)


async def test_the_preferred_queue_comes_first(redis: Redis, redis_url: str) -> None:
    done: list[str] = []
    over = asyncio.Event()

    async def act(_: dict[str, Any], name: str, attempt: int) -> None:
        done.append(name)
        if len(done) == 6:
            over.set()

    bench = Bench(redis_url, act, slots=1)
    for queue in reversed(ALL):
        await bench.put(f"{queue}-1", queue)
        await bench.put(f"{queue}-2", queue)
    async with bench.running():
        await asyncio.wait_for(over.wait(), 10)
    assert done == [f"{queue}-{n}" for queue in ALL for n in (1, 2)]
    assert await bench.left() == 0
    assert await redis.keys("arq:*") == []
    await bench.close()


async def test_slots_are_shared_by_all_queues(redis: Redis, redis_url: str) -> None:
    running: set[str] = set()
    most = 0
    three, go_on = asyncio.Event(), asyncio.Event()

    async def act(_: dict[str, Any], name: str, attempt: int) -> None:
        nonlocal most
        running.add(name)
        most = max(most, len(running))
        if len(running) == 3:
            three.set()
        await go_on.wait()
        running.discard(name)

    bench = Bench(redis_url, act, slots=3)
    for number in range(9):
        await bench.put(f"job-{number}", ALL[number % 3])
    async with bench.running():
        await asyncio.wait_for(three.wait(), 10)
        await bench.queues._poll()
        assert len(running) == 3
        go_on.set()
        while await bench.left():
            await asyncio.sleep(0.01)
    assert most == 3
    await bench.close()


async def test_a_job_that_asks_for_it_is_tried_again(redis: Redis, redis_url: str) -> None:
    tries: list[int] = []
    over = asyncio.Event()

    async def act(context: dict[str, Any], name: str, attempt: int) -> None:
        tries.append(context["job_try"])
        if len(tries) < 3:
            raise Retry(defer=0.01)
        over.set()

    bench = Bench(redis_url, act)
    await bench.put("again")
    async with bench.running():
        await asyncio.wait_for(over.wait(), 10)
    assert tries == [1, 2, 3] and await bench.left() == 0
    await bench.close()


async def test_stopping_lets_a_short_job_end(redis: Redis, redis_url: str) -> None:
    began, go_on = asyncio.Event(), asyncio.Event()
    ended: list[str] = []

    async def act(_: dict[str, Any], name: str, attempt: int) -> None:
        began.set()
        await go_on.wait()
        ended.append(name)

    bench = Bench(redis_url, act, slots=1)
    await bench.put("first")
    await bench.put("second")
    async with bench.running(grace=30):
        await asyncio.wait_for(began.wait(), 10)
        asyncio.get_running_loop().call_later(0.1, go_on.set)
    assert ended == ["first"] and await bench.left() == 1
    await bench.close()


async def test_any_number_of_deployments_costs_a_job_no_try(redis: Redis, redis_url: str) -> None:
    tries: list[int] = []
    began = asyncio.Event()

    async def act(context: dict[str, Any], name: str, attempt: int) -> None:
        tries.append(context["job_try"])
        began.set()
        await asyncio.Event().wait()

    for _ in range(4):
        bench = Bench(redis_url, act)
        if not tries:
            await bench.put("long")
        began.clear()
        async with bench.running(grace=0):
            await asyncio.wait_for(began.wait(), 10)
        assert await bench.left() == 1 and await redis.keys("arq:in-progress:*") == []
        await bench.close()
    assert tries == [1, 1, 1, 1]


async def test_a_server_that_goes_away_is_waited_for(own_server: OwnServer) -> None:
    done: list[str] = []
    began, go_on, over = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def act(_: dict[str, Any], name: str, attempt: int) -> None:
        began.set()
        if name == "during":
            await go_on.wait()
        done.append(name)
        if name == "after":
            over.set()

    bench = Bench(own_server.url, act)
    own_server.start()
    await bench.put("during")
    async with bench.running():
        await asyncio.wait_for(began.wait(), 10)
        own_server.kill()
        go_on.set()
        asyncio.get_running_loop().call_later(1.0, own_server.start)
        await bench.put("after")
        await asyncio.wait_for(over.wait(), 30)
    assert done == ["during", "after"]
    assert await bench.left() == 0
    await bench.close()
