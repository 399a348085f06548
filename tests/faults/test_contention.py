"""Two workers at the same job: only one of them begins it, and who comes too late changes nothing."""

from __future__ import annotations

import asyncio
import re
import signal
from contextlib import AsyncExitStack

import pytest
from redis.asyncio import Redis

from pipeline.core import Core
from pipeline.model import File, Grant
from pipeline.settings import Settings
from tests.faults.crew import commit_of, until_stopped, worker_until
from tests.faults.ends import ended_once, folders_of, its_only_death, left_over, until_settled, until_told
from tests.faults.ground import worker
from tests.faults.wire import Moment
from tests.workers.test_queue import Bench

pytestmark = [pytest.mark.faults, pytest.mark.timeout(400)]

TOLD = Moment(re.compile(rb":turn:.*?\r\n\$16\r\n\d{16}\r\n", re.DOTALL))
"""When a worker tells which of the jobs that it was handed it knows of."""


@pytest.mark.parametrize("late", ["while the other one draws", "when the other one is done"])
async def test_a_commit_that_comes_too_late_changes_nothing(
    core: Core, settings: Settings, grant: Grant, noise: File, late: str
) -> None:
    run = await core.runs.start(grant, "slow", {"photo": [noise.id]}, {"effort": 2})
    async with worker_until(settings, commit_of(run, answered=False)) as (sleeper, line):
        await line.until_held()
        await until_stopped(sleeper)
        async with worker(settings) as heir:
            await until_told(core, run, "run.started", 2)
            if late == "when the other one is done":
                await core.runs.wait(grant, run.id, 60)
            line.go_on()
            sleeper.program.send_signal(signal.SIGCONT)
            await core.runs.wait(grant, run.id, 60)
            await until_settled(core)
            await sleeper.stop()
            await heir.stop()
    done = await ended_once(core, grant, run)
    await its_only_death(core, done, sleeper)
    assert await folders_of(core, done) == {f"demo/runs/{run.id}.2"}
    assert not await left_over(core, [done])


async def test_a_worker_that_never_told_of_its_job_takes_nothing_from_its_heir(
    core: Core, settings: Settings, grant: Grant, noise: File
) -> None:
    async with worker_until(settings, TOLD) as (sleeper, line):
        async with asyncio.timeout(30):
            while not await core.redis.zcard("safelight:queue:default:offers"):
                await asyncio.sleep(0.02)
        run = await core.runs.start(grant, "slow", {"photo": [noise.id]}, {"effort": 2})
        await line.until_held()
        await until_told(core, run, "node.started", node="out")
        await until_stopped(sleeper)
        assert (await core.runs.get(grant, run.id)).status == "running"
        async with worker_until(settings, commit_of(run, answered=False)) as (heir, last):
            await last.until_held()
            line.go_on()
            sleeper.program.send_signal(signal.SIGCONT)
            async with asyncio.timeout(30):
                while not {said["event"] for said in sleeper.told()} & {"claim_lost", "run_ended"}:
                    await asyncio.sleep(0.02)
            last.go_on()
            await sleeper.stop()
            await until_settled(core)
            await heir.stop()
    done = await ended_once(core, grant, run)
    assert not await left_over(core, [done])


async def test_no_job_is_begun_by_two_who_look_at_the_same_time(redis: Redis, redis_url: str) -> None:
    began: list[str] = []

    async def act(context: dict[str, object], name: str, attempt: int) -> None:
        assert context["job_try"] == 1
        began.append(name)

    crowd = [Bench(redis_url, act, slots=3, ahead=2, worker=f"w{number}") for number in range(4)]
    for number in range(200):  # one job, and all of them want it
        await crowd[0].put_awake(f"one-{number}")
        await asyncio.gather(*(bench.queues.turn() for bench in crowd))
        await asyncio.gather(*(task for bench in crowd for task in bench.queues.tasks.values()))
        assert len(began) == number + 1
    many = [f"many-{number}" for number in range(500)]
    for name in many:
        await crowd[0].put_awake(name, project=f"p{len(name)}")
    async with AsyncExitStack() as stack:
        for bench in crowd:
            await stack.enter_async_context(bench.running())
        async with asyncio.timeout(60):
            while await crowd[0].left():
                await asyncio.sleep(0.01)
    assert sorted(began) == sorted([*(f"one-{number}" for number in range(200)), *many])
    assert await redis.keys("arq:*") == []
    for bench in crowd:
        await bench.close()
