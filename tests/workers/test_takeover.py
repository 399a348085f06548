"""Who gets a job, and who still holds it: fair shares, pauses, leases, deaths, and workers that come too late."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Any, Protocol

import pytest
from arq.jobs import serialize_job
from redis.asyncio import Redis

from pipeline.core import Core
from pipeline.errors import NodeFailed, StorageUnavailable, WorkerNotFound
from pipeline.events import script
from pipeline.jobs import RUN_FLOW as JOB
from pipeline.jobs import job_bytes, queue_key
from pipeline.model import File, Grant, Run, WorkerBeat, now
from pipeline.records.queue import ENQUEUE_LUA, Death
from pipeline.scripting import RecordClient
from tests.workers.conftest import kept_files, once
from tests.workers.test_jobs import Stand, jobs, started
from tests.workers.test_queue import Act, Bench, Gated
from workers.queue import MOST_DEATHS

FILL_LUA = (
    ENQUEUE_LUA
    + """
local queue, project, body, first = take(), take(), take(), take()
for number = first, first + take() - 1 do
  enqueue({queue = queue, id = project .. '-' .. number, body = body, life = 600000, project = project})
end
"""
)
DEFAULT = queue_key("t:", "default")


async def filled(redis: Redis, project: str, jobs: int) -> None:
    body = serialize_job(JOB, (project, 1), {}, None, 0, serializer=job_bytes)
    fill = script(RecordClient.over(redis), "t:", 0, FILL_LUA)
    for first in range(0, jobs, 5000):
        await fill(args=[DEFAULT, project, body, first, min(5000, jobs - first)])


async def taken(bench: Bench, number: int) -> list[str]:
    """The next jobs, each of them ended before the next one is taken."""
    names: list[str] = []
    for _ in range(number):
        await bench.queues.turn()
        names += list(bench.queues.tasks)
        await asyncio.gather(*bench.queues.tasks.values())
    return names


def at_once() -> Gated:
    act = Gated()
    act.go_on.set()
    return act


async def lost(bench: Bench, name: str) -> None:
    """Let the worker behind `bench` take the job and never speak again."""
    await bench.queues.turn()
    assert list(bench.queues.tasks) == [name]


async def until(known: Callable[[], Awaitable[Any]], bench: Bench) -> None:
    """Let a worker look at the queues until something is true."""
    async with asyncio.timeout(5):
        while not await known():
            await bench.queues.turn()
            await asyncio.sleep(0.02)


class Made(Protocol):
    def __call__(self, act: Act, **more: Any) -> Bench: ...


@pytest.fixture
async def made(redis: Redis, redis_url: str) -> AsyncIterator[Made]:
    """Makes workers, and closes them after the test whatever they are at."""
    benches: list[Bench] = []

    def make(act: Act, **more: Any) -> Bench:
        benches.append(Bench(redis_url, act, **more))
        return benches[-1]

    yield make
    for bench in benches:
        tasks = list(bench.queues.tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await bench.close()


# Fair shares


async def test_one_tenants_ten_thousand_do_not_starve_anothers_one(redis: Redis, made: Made) -> None:
    act = Gated()
    bench = made(act.run, slots=4)
    await filled(redis, "a", 10_000)
    await bench.queues.turn()
    assert len(bench.queues.tasks) == 4
    await filled(redis, "b", 1)
    act.go_on.set()
    await asyncio.gather(*bench.queues.tasks.values())
    act.go_on.clear()
    await bench.queues.turn()
    assert "b-0" in bench.queues.tasks and len(bench.queues.tasks) == 4


async def test_projects_take_turns_and_none_gains_by_coming_back(redis: Redis, made: Made) -> None:
    bench = made(at_once().run, slots=1)
    for number in range(6):
        await bench.put_awake(f"many-{number}", project="many")
    order: list[str] = []
    for number in range(3):  # always one job at a time, put there when the last one is over
        await bench.put_awake(f"one-{number}", project="one")
        order += await taken(bench, 2)
    assert [name.split("-")[0] for name in order] == ["many", "one"] * 3
    assert [name for name in order if name.startswith("many")] == ["many-0", "many-1", "many-2"]
    assert [name for name in await taken(bench, 4) if name] == ["many-3", "many-4", "many-5"]
    assert await redis.keys("t:queue:*") == [b"t:queue:default:clock"] and await redis.keys("arq:*") == []


async def test_the_preferred_queue_goes_before_any_share(redis: Redis, made: Made) -> None:
    bench = made(at_once().run, slots=1)
    await bench.put_awake("waits", "bulk", project="b")
    for number in range(3):
        await bench.put_awake(f"first-{number}", "interactive", project="a")
    assert await taken(bench, 4) == ["first-0", "first-1", "first-2", "waits"]


async def test_the_cost_of_a_claim_does_not_grow_with_the_queue(redis: Redis, made: Made) -> None:
    async def commands(jobs: int) -> int:
        await redis.flushall()
        await filled(redis, "a", jobs)
        bench = made(at_once().run, slots=10)
        await bench.queues.turn()  # the first one also looks around
        await asyncio.gather(*bench.queues.tasks.values())
        await redis.config_resetstat()
        await bench.queues.turn()
        stats = await redis.info("commandstats")
        return sum(stat["calls"] for name, stat in stats.items() if name not in ("cmdstat_info", "cmdstat_config"))

    few, many = await commands(100), await commands(20_000)
    assert few == many and many < 10 * 20


async def test_a_stock_producers_job_is_found_in_a_long_queue(redis: Redis, made: Made) -> None:
    bench = made(at_once().run, slots=1)
    await filled(redis, "a", 20_000)
    await bench.put("stock")
    assert "stock" in await taken(bench, 4)  # it is of no project, and so has a line of its own


async def test_what_others_took_out_is_forgotten(redis: Redis, made: Made) -> None:
    bench = made(at_once().run, slots=1)
    for name in ("gone", "stays"):
        await bench.put_awake(name, project="a")
    await redis.zrem(DEFAULT, "gone")
    assert await taken(bench, 1) == ["stays"]
    await bench.queues.turn()
    assert await redis.hlen(f"{DEFAULT}:of") == 0


# Who may take


async def test_nobody_takes_from_a_paused_queue_until_it_goes_on(
    redis: Redis, made: Made, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("workers.queue.LOOK_AGAIN", 3600)
    act = at_once()
    bench = made(act.run, lease=4 * 3600)
    await bench.records.queues.pause("default")
    assert (await bench.records.queues.gates()).paused == {"default"}
    async with bench.running():
        await bench.until_idle()
        await bench.put_awake("held up")
        await bench.put_awake("passes", "bulk")
        await asyncio.wait_for(act.all_began.wait(), 10)
        assert act.began == [("passes", 1)]
        await bench.until_idle()
        act.all_began.clear()
        await bench.records.queues.resume("default")  # wakes it, as it would look again in an hour
        await asyncio.wait_for(act.all_began.wait(), 10)
    assert act.began[1:] == [("held up", 1)]


async def test_a_drained_worker_takes_nothing_and_finishes_what_it_has(redis: Redis, made: Made) -> None:
    act, other = Gated(), at_once()
    leaving, staying = made(act.run, worker="leaving"), made(other.run, worker="staying")
    for name in ("leaving", "staying"):
        beat = WorkerBeat(id=name, host="h", pid=1, version="1", queues=("default",), slots=2, started_at=now())
        assert await staying.records.workers.beat(beat, 60) is False
    await leaving.put_awake("before")
    await leaving.queues.turn()
    await leaving.records.workers.drain("leaving")
    assert [(beat.id, beat.draining) for beat in await leaving.records.workers.list()] == [
        ("leaving", True),
        ("staying", False),
    ]
    await leaving.put_awake("after")
    await leaving.queues.turn()
    assert list(leaving.queues.tasks) == ["before"]
    assert await taken(staying, 1) == ["after"]
    await leaving.records.workers.undrain("leaving")
    await leaving.put_awake("again")
    await leaving.queues.turn()
    assert set(leaving.queues.tasks) == {"before", "again"}
    with pytest.raises(WorkerNotFound):
        await leaving.records.workers.drain("nobody")


# Leases and deaths


class Telling:
    """Notes which runs were given up."""

    def __init__(self, fault: Exception | None = None) -> None:
        self.told: list[tuple[str, int, Sequence[Death]]] = []
        self.fault = fault

    async def __call__(self, run_id: str, attempt: int, deaths: Sequence[Death]) -> None:
        self.told.append((run_id, attempt, deaths))
        if self.fault:
            raise self.fault


async def until_taken(bench: Bench) -> None:
    async def taken() -> bool:
        return bool(bench.queues.tasks)

    await until(taken, bench)


async def test_a_job_that_outlived_three_workers_is_given_up_with_its_history(redis: Redis, made: Made) -> None:
    telling = Telling()
    dead = [made(Gated().run, lease=0.2, worker=f"w{number}") for number in range(3)]
    last = made((act := at_once()).run, lease=0.2, on_poisoned=telling)
    await last.put_awake("poison")
    for bench in dead:
        await until_taken(bench)

    async def told() -> bool:
        return bool(telling.told)

    await until(told, last)
    await last.queues.turn()
    ((run_id, attempt, deaths),) = telling.told
    assert (run_id, attempt) == ("poison", 1) and act.began == [] and await last.left() == 0
    assert [death.worker for death in deaths] == ["w0", "w1", "w2"] and len(deaths) == MOST_DEATHS
    assert all(death.pid > 0 and death.host and death.error == "worker lost" for death in deaths)
    assert sorted(deaths, key=lambda death: death.at) == list(deaths)
    assert await last.records.queues.deaths("poison") == list(deaths)
    assert await redis.ttl("t:holds:poison") > 86_400
    assert await last.records.queues.lost() == 3


async def test_a_death_that_could_not_be_told_is_told_again(
    redis: Redis, made: Made, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("workers.queue.MOST_DEATHS", 1)
    monkeypatch.setattr("workers.queue.STRANGE_AFTER", 0.05)
    telling = Telling(OSError("away"))
    dead = made(Gated().run, lease=0.1)
    last = made(Gated().run, on_poisoned=telling)
    await last.put_awake("poison")
    await lost(dead, "poison")
    async with last.running():
        async with asyncio.timeout(10):
            while not telling.told:
                await asyncio.sleep(0.01)
            telling.fault = None
            while await last.left():
                await asyncio.sleep(0.01)
    assert len(telling.told) >= 2


async def test_jobs_that_are_given_up_with_the_next_death_are_taken_one_at_a_time(redis: Redis, made: Made) -> None:
    act = Gated()
    heir = made(act.run, slots=2)
    for name in ("poison", "near it"):
        await heir.put_awake(name)
    for number in range(MOST_DEATHS - 1):
        dead = made(Gated().run, slots=2, lease=0.2, worker=f"w{number}")

        async def both(bench: Bench = dead) -> bool:
            return len(bench.queues.tasks) == 2

        await until(both, dead)
    await until_taken(heir)
    await heir.put_awake("fresh")
    for _ in range(3):
        await heir.queues.turn()
    assert len(heir.queues.tasks) == 2 and "fresh" in heir.queues.tasks
    act.go_on.set()

    async def none_left() -> bool:
        return not await heir.left()

    await until(none_left, heir)
    assert sorted(act.began) == [("fresh", 1), ("near it", 3), ("poison", 3)]


async def test_what_was_handed_back_is_no_death(redis: Redis, made: Made) -> None:
    act, telling = Gated(), Telling()
    for _ in range(MOST_DEATHS + 1):
        bench = made(act.run, on_poisoned=telling)
        await bench.put_awake("long")
        await bench.queues.turn()
        await bench.queues.stop(0)
    assert telling.told == []
    assert not await redis.exists("t:holds:long") and not await redis.exists("t:counters")


async def test_who_comes_too_late_lets_go_of_the_job_at_once(redis: Redis, made: Made) -> None:
    late, heir = Gated(), Gated()
    contexts: list[dict[str, Any]] = []

    async def noted(context: dict[str, Any], name: str, attempt: int) -> None:
        contexts.append(context)
        await heir.run(context, name, attempt)

    sleeper, alive = made(late.run, lease=0.3), made(noted)
    await sleeper.put_awake("job")
    await lost(sleeper, "job")
    await until_taken(alive)
    sleeper.queues._renewed = 0.0
    (task,) = sleeper.queues.tasks.values()
    await sleeper.queues.turn()  # it would renew, and hears that it is too late
    fate = await task
    assert fate.verdict == "back" and not late.go_on.is_set()
    await asyncio.sleep(0)
    await sleeper.queues.turn()  # what it says of the job now is not heard
    assert not sleeper.queues.tasks and list(alive.queues.tasks) == ["job"]
    assert await redis.get("arq:in-progress:job") == contexts[0]["claim"].encode()
    assert contexts[0]["job_try"] == 2 and await redis.get("arq:retry:job") == b"2"


async def test_who_comes_too_late_and_alone_goes_on(redis: Redis, made: Made) -> None:
    act = Gated()
    bench = made(act.run, slots=2, lease=0.3)
    await bench.put_awake("job")
    await bench.queues.turn()
    await asyncio.sleep(0.5)  # nobody looked meanwhile
    await bench.queues.turn()
    await bench.queues.turn()
    act.go_on.set()
    await asyncio.gather(*bench.queues.tasks.values())
    await bench.queues.turn()
    assert act.began == [("job", 1)] and await bench.left() == 0 and not await redis.exists("t:counters")


async def test_a_server_that_was_away_is_nobodys_death(redis: Redis, made: Made) -> None:
    act, other = Gated(), Gated()
    holder, rival = made(act.run, lease=1.2), made(other.run, lease=1.2)
    await holder.put_awake("job")
    await holder.queues.turn()
    await redis.client_pause(1500)
    async with rival.running():  # the first to be heard again
        await asyncio.sleep(1.7)
        async with holder.running():
            await asyncio.sleep(2)
            act.go_on.set()
    assert act.began == [("job", 1)] and other.began == [] and await holder.left() == 0
    assert not await redis.exists("t:counters")


async def test_a_job_that_comes_back_to_who_lost_it_waits_until_that_one_let_go(redis: Redis, made: Made) -> None:
    go_on = asyncio.Event()
    began: list[int] = []

    async def stubborn(context: dict[str, Any], name: str, attempt: int) -> None:
        began.append(context["job_try"])
        try:
            await asyncio.Event().wait()
        finally:
            await go_on.wait()

    bench, other = made(stubborn, lease=0.3), made(Gated().run)
    await bench.put_awake("job")
    await lost(bench, "job")
    await bench.records.queues.pause("default")
    await until(lambda: redis.exists("t:holds:job"), other)  # it is taken from `bench`, and nobody takes it
    await bench.records.queues.resume("default")
    await bench.queues.turn()
    await bench.queues.turn()
    assert began == [1]
    go_on.set()
    async with asyncio.timeout(5):
        while len(began) < 2:
            await bench.queues.turn()
            await asyncio.sleep(0.02)
    assert list(bench.queues.tasks) == ["job"] and began[1] > 1


# Two executions of one attempt


async def hold(redis: Redis, run: Run, claim: str) -> None:
    await redis.set(f"arq:in-progress:run:{run.id}:1", claim)


@pytest.mark.parametrize("end", ["completes", "fails", "breaks", "is stopped"])
@pytest.mark.parametrize("first", ["late", "heir"])
async def test_whoever_lost_the_claim_changes_nothing(
    core: Core, grant: Grant, photo: File, redis: Redis, end: str, first: str
) -> None:
    run = await started(core, grant, photo)
    wake, finish = asyncio.Event(), asyncio.Event()

    async def slept() -> None:
        await wake.wait()
        if end == "fails":
            raise NodeFailed(reason="no light", node="small")
        if end == "breaks":
            raise StorageUnavailable()

    late, heir = Stand(slept), Stand(finish.wait)  # type: ignore[arg-type]
    await hold(redis, run, "late 1")
    sleeper = asyncio.create_task(jobs(core, late).run_flow({"job_try": 1, "claim": "late 1"}, run.id, 1))
    await late.began.wait()
    await hold(redis, run, "heir 1")
    successor = asyncio.create_task(jobs(core, heir).run_flow({"job_try": 2, "claim": "heir 1"}, run.id, 1))
    await heir.began.wait()

    async def wake_up() -> None:
        wake.set()
        if end == "is stopped":
            sleeper.cancel()
        await asyncio.gather(sleeper, return_exceptions=True)

    async def finish_up() -> None:
        finish.set()
        await successor

    for act in (wake_up, finish_up) if first == "late" else (finish_up, wake_up):
        await act()
    done = await core.runs.get(grant, run.id)
    assert done.status == "completed", done.error
    file = await core.records.files.get(done.outputs[0].id)
    assert file.key == f"demo/runs/{run.id}.2/out/a/b.txt"
    assert kept_files(core) == [f"files/{file.key}", f"files/{file.key}.json"]
    told = [event.type for event in await core.events.read("demo", run.id, None, 100)]
    assert told.count("run.completed") == 1 and not {"run.failed", "run.cancelled"} & set(told)
    assert told.count("run.queued") == 1


async def test_a_claim_that_was_lost_before_the_run_began_begins_nothing(
    core: Core, grant: Grant, photo: File, redis: Redis
) -> None:
    run = await started(core, grant, photo)
    await hold(redis, run, "heir 1")
    await jobs(core, Stand()).run_flow({"job_try": 1, "claim": "late 1"}, run.id, 1)
    assert (await core.runs.get(grant, run.id)).status == "queued" and kept_files(core) == []


async def test_what_a_killed_worker_left_goes_when_its_successor_is_done(
    core: Core, grant: Grant, photo: File, redis: Redis
) -> None:
    run = await started(core, grant, photo)
    killed = Stand()
    left = f"demo/runs/{run.id}/out/a/b.txt"
    for key in (left, f"{left}.json"):
        await core.storages["default"].put(key, once(b"half"), 4, "text/plain")
    await jobs(core, killed).run_flow({"job_try": 2}, run.id, 1)
    assert [path for path in kept_files(core) if run.id in path] == [
        f"files/demo/runs/{run.id}.2/out/a/b.txt",
        f"files/demo/runs/{run.id}.2/out/a/b.txt.json",
    ]
