"""The queue engine against a real server: order, shared slots, an orderly stop, and a server that goes away."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Sequence
from typing import Any

import pytest
from arq import Retry
from arq.connections import ArqRedis
from arq.jobs import Job, JobStatus, serialize_job
from arq.worker import Worker, func
from redis.asyncio import Redis

from pipeline.jobs import RUN_FLOW as JOB
from pipeline.jobs import job_bytes, job_pool, queue_key
from pipeline.model import Queue
from pipeline.records import Records
from pipeline.records.queue import Slip
from tests.workers.conftest import OwnServer
from workers.queue import Fate, Queues, Work, worker_pool

Act = Callable[[dict[str, Any], str, int], Coroutine[Any, Any, None]]
ALL: tuple[Queue, ...] = ("interactive", "default", "bulk")


class Bench:
    """A reader over all queues, fed by hand."""

    def __init__(
        self,
        url: str,
        act: Act,
        slots: int = 2,
        queues: Sequence[Queue] = ALL,
        ahead: int = 0,
        lease: float = 60,
        on_poisoned: Callable[..., Awaitable[None]] | None = None,
        **more: Any,
    ) -> None:
        self.pool = worker_pool(url)
        self.records = Records(self.pool, "t:")
        works = {JOB: Work(act, on_poisoned)}
        self.queues = Queues(self.pool, "t:", queues, slots, works, job_timeout=60, lease=lease, ahead=ahead, **more)

    async def put(self, name: str, queue: Queue = "default") -> None:
        await self.pool.enqueue_job(JOB, name, 1, _job_id=name, _queue_name=queue_key("t:", queue))

    async def put_awake(self, name: str, queue: Queue = "default", job: str = JOB, project: str = "") -> bool:
        """As `Runs` does it."""
        body = serialize_job(job, (name, 1), {}, None, 0, serializer=job_bytes)
        return await self.records.runs.enqueue(Slip(queue_key("t:", queue), name, body, 60_000, project))

    async def until_idle(self) -> None:
        """Return once a worker waits for somebody to enqueue."""
        while not [client for client in await self.pool.client_list() if client["cmd"] == "blpop"]:
            await asyncio.sleep(0.01)

    async def calls(self) -> int:
        """How many scripts the server was asked to run so far."""
        return int((await self.pool.info("commandstats"))["cmdstat_evalsha"]["calls"])

    async def left(self) -> int:
        return sum([await self.pool.zcard(queue_key("t:", queue)) for queue in ALL])

    @contextlib.asynccontextmanager
    async def running(self, grace: float = 10) -> AsyncIterator[None]:
        reading = asyncio.create_task(self.queues.main())
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
        await bench.queues.turn()
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


# Taken at once, several at a time


class Gated:
    """A job that notes who began it, and ends when it is let."""

    def __init__(self, wanted: int = 1) -> None:
        self.began: list[tuple[str, int]] = []
        self.wanted = wanted
        self.all_began, self.go_on = asyncio.Event(), asyncio.Event()

    async def run(self, context: dict[str, Any], name: str, attempt: int) -> None:
        self.began.append((name, context["job_try"]))
        if len(self.began) >= self.wanted:
            self.all_began.set()
        await self.go_on.wait()


async def test_an_idle_worker_is_woken_by_whoever_enqueues(
    redis: Redis, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Whoever is not woken would look again after an hour only.
    monkeypatch.setattr("workers.queue.LOOK_AGAIN", 3600)
    act = Gated()
    act.go_on.set()
    bench = Bench(redis_url, act.run, lease=3 * 3600)
    async with bench.running():
        await bench.until_idle()
        for number in range(3):
            act.all_began.clear()
            assert await bench.put_awake(f"job-{number}")
            await asyncio.wait_for(act.all_began.wait(), 10)
    assert act.began == [(f"job-{number}", 1) for number in range(3)]
    await bench.close()


async def test_the_same_job_is_enqueued_once(redis: Redis, redis_url: str) -> None:
    bench = Bench(redis_url, Gated().run)
    assert [await bench.put_awake("one") for _ in range(3)] == [True, False, False]
    assert await bench.left() == 1
    await bench.close()


async def test_a_job_of_a_stock_producer_is_found(redis: Redis, redis_url: str) -> None:
    act = Gated()
    act.go_on.set()
    bench = Bench(redis_url, act.run)
    async with bench.running():
        await bench.until_idle()
        await bench.put("stock")  # wakes nobody
        await asyncio.wait_for(act.all_began.wait(), 10)
    await bench.close()


async def test_stock_tools_can_read_the_queue_and_stock_workers_empty_it(redis: Redis, redis_url: str) -> None:
    act = Gated()
    bench = Bench(redis_url, act.run, slots=1)
    await bench.put_awake("first")
    await bench.put_awake("second")
    key, stock = queue_key("t:", "default"), job_pool(redis.connection_pool)
    found = await stock.queued_jobs(queue_name=key)
    assert [(job.function, job.args, job.job_id) for job in found] == [
        (JOB, ["first", 1], "first"),
        (JOB, ["second", 1], "second"),
    ]
    await bench.queues.turn()
    statuses = [await Job(name, stock, key).status() for name in ("first", "second")]
    assert statuses == [JobStatus.in_progress, JobStatus.queued]
    done = await emptied(stock, key)
    assert done == ["second"]  # the one that ours holds is not taken
    await act.all_began.wait()
    act.go_on.set()
    await bench.queues.stop(10)
    assert await bench.left() == 0
    await bench.close()


async def emptied(stock: ArqRedis, key: str) -> list[str]:
    """What a stock arq worker does that may take one job."""
    done: list[str] = []

    async def act(_: dict[str, Any], name: str, attempt: int) -> None:
        done.append(name)

    worker = Worker(
        [func(act, name=JOB)], queue_name=key, redis_pool=stock, burst=True, max_burst_jobs=1, handle_signals=False,
        job_serializer=job_bytes, job_deserializer=stock.job_deserializer, keep_result=0,
    )  # fmt: skip
    await worker.main()
    return done


async def test_one_look_claims_as_many_jobs_as_there_are_slots(redis: Redis, redis_url: str) -> None:
    act = Gated(3)
    bench = Bench(redis_url, act.run, slots=3)
    for number in range(5):
        await bench.put_awake(f"job-{number}")
    before = await bench.calls()
    await bench.queues.turn()
    assert await bench.calls() == before + 1
    await act.all_began.wait()
    assert act.began == [(f"job-{number}", 1) for number in range(3)]
    act.go_on.set()
    await asyncio.gather(*bench.queues.tasks.values())
    await bench.queues.turn()  # tells the end of three and claims the other two
    assert await bench.calls() == before + 2
    assert await bench.left() == 2
    await bench.queues.stop(10)
    assert await bench.left() == 0 and len(act.began) == 5
    await bench.close()


async def test_a_claim_whose_answer_was_lost_is_answered_again(redis: Redis, redis_url: str) -> None:
    act = Gated()
    bench = Bench(redis_url, act.run, slots=1)
    await bench.put_awake("first")
    await bench.put_awake("second")
    lost = (await bench.queues._exchange([], 1, 0)).claims
    again = (await bench.queues._exchange([], 1, 0)).claims
    assert [claim.id for claim in lost] == ["first"] and again == lost and lost[0].tries == 1
    await bench.queues.turn()
    await act.all_began.wait()
    assert act.began == [("first", 1)]
    act.go_on.set()
    await bench.queues.stop(10)
    await bench.close()


async def test_an_end_that_was_told_twice_is_told_once(redis: Redis, redis_url: str) -> None:
    bench = Bench(redis_url, Gated().run, slots=1)
    await bench.put_awake("one")
    (claim,) = (await bench.queues._exchange([], 1, 0)).claims
    for _ in range(2):
        await bench.queues._exchange([Fate(claim, "back", claim.due)], 0, 0)
    assert await redis.get("arq:retry:one") == b"0"
    assert await redis.zscore("t:queue:default", "one") == float(claim.due)
    await bench.close()


async def test_a_full_worker_passes_the_word_on(redis: Redis, redis_url: str) -> None:
    act, other = Gated(), Gated()
    full, free = Bench(redis_url, act.run, slots=1), Bench(redis_url, other.run, slots=1)
    await full.put_awake("long")
    await full.queues.turn()
    assert await redis.llen("t:queue:default:wake") == 1
    await redis.delete("t:queue:default:wake")
    await full.queues._heed([b"t:queue:default:wake", b"1"])
    assert await redis.llen("t:queue:default:wake") == 1
    await free.queues.turn()  # finds nothing, so there is no news for anybody
    assert await redis.llen("t:queue:default:wake") == 0 and other.began == []
    act.go_on.set()
    for bench in (full, free):
        await bench.queues.stop(10)
        await bench.close()


async def test_only_jobs_that_nobody_had_a_slot_for_are_taken_ahead(
    redis: Redis, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    act = Gated(2)
    bench = Bench(redis_url, act.run, slots=1, ahead=1)
    for number in range(3):
        await bench.put_awake(f"job-{number}")
    monkeypatch.setattr("workers.queue.AHEAD_AFTER", 3600)
    await bench.queues.turn()
    assert list(bench.queues.tasks) == ["job-0"]
    monkeypatch.setattr("workers.queue.AHEAD_AFTER", 0)
    await bench.queues.turn()
    assert list(bench.queues.tasks) == ["job-0", "job-1"]
    act.go_on.set()
    await bench.queues.stop(10)
    assert await bench.left() == 1
    await bench.close()


async def test_a_delayed_job_begins_when_it_is_due(
    redis: Redis, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("workers.queue.LOOK_AGAIN", 3600)
    act = Gated()
    act.go_on.set()
    bench = Bench(redis_url, act.run, lease=3 * 3600)
    await bench.pool.enqueue_job(JOB, "late", 1, _job_id="late", _queue_name=queue_key("t:", "bulk"), _defer_by=0.3)
    assert await bench.queues.turn() < 1 and not bench.queues.tasks
    async with bench.running():
        await asyncio.wait_for(act.all_began.wait(), 10)
    await bench.close()


async def test_the_job_of_a_lost_worker_is_to_be_had_when_its_lease_is_over(redis: Redis, redis_url: str) -> None:
    lost, heir = Gated(), Gated()
    dead, alive = Bench(redis_url, lost.run, lease=0.3), Bench(redis_url, heir.run)
    await dead.put_awake("orphan")
    await dead.queues.turn()  # and never again
    await lost.all_began.wait()
    async with alive.running():
        await asyncio.wait_for(heir.all_began.wait(), 10)
        lost.go_on.set()
        await asyncio.gather(*dead.queues.tasks.values())
        await dead.queues.turn()  # too late: it is not its job any more
        assert await alive.left() == 1
        heir.go_on.set()
    assert heir.began == [("orphan", 2)] and await alive.left() == 0
    for bench in (dead, alive):
        await bench.close()


async def test_a_job_that_takes_longer_than_its_lease_stays_where_it_is(redis: Redis, redis_url: str) -> None:
    act, other = Gated(), Gated()
    holder, rival = Bench(redis_url, act.run, lease=1.5), Bench(redis_url, other.run)
    await holder.put_awake("long")
    async with holder.running():
        await act.all_began.wait()
        async with rival.running():
            await asyncio.sleep(3)
        act.go_on.set()
    assert len(act.began) == 1 and other.began == [] and await holder.left() == 0
    for bench in (holder, rival):
        await bench.close()


@pytest.mark.parametrize("body", [b"no JSON", None])
async def test_what_is_no_job_is_thrown_away(redis: Redis, redis_url: str, body: bytes | None) -> None:
    act = Gated()
    act.go_on.set()
    bench = Bench(redis_url, act.run)
    await bench.put_awake("broken")
    await redis.delete("arq:job:broken")
    if body is not None:
        await redis.set("arq:job:broken", body)
    await bench.put_awake("sound")
    async with bench.running():
        await asyncio.wait_for(act.all_began.wait(), 10)
    assert await bench.left() == 0 and act.began == [("sound", 1)]
    await bench.close()


async def test_a_job_of_an_unknown_name_is_left_to_a_newer_worker(redis: Redis, redis_url: str) -> None:
    bench = Bench(redis_url, Gated().run)
    await bench.put_awake("new", job="tomorrow")
    await bench.queues.turn()
    await asyncio.gather(*bench.queues.tasks.values())
    await bench.queues.turn()
    assert await bench.left() == 1 and await redis.exists("arq:job:new")
    assert not await redis.exists("arq:in-progress:new")
    await bench.close()
