"""Real workers that are killed, stopped or told to leave while they work: every run ends once, no output is missing."""

from __future__ import annotations

import asyncio
import hashlib
import io
import os
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, aclosing, asynccontextmanager

import pytest
from PIL import Image

from pipeline.core import Core
from pipeline.model import Event, File, Grant, Intake, Run
from pipeline.settings import Settings
from tests.workers.conftest import kept_files, once
from tests.workers.test_main import SLOW, noisy, stopped, worker
from workers.queue import LEASE, MOST_DEATHS

pytestmark = pytest.mark.faults

Program = asyncio.subprocess.Process


@pytest.fixture
async def large(core: Core, grant: Grant) -> File:
    await core.flows.put("slow", SLOW)
    return await core.uploads.accept(grant, Intake(name="noise.jpg"), once(noisy(1500, 1000)))


@asynccontextmanager
async def workers(settings: Settings) -> AsyncIterator[Callable[[], Awaitable[Program]]]:
    """Starts workers, and ends those that are still there."""
    async with AsyncExitStack() as stack:
        yield lambda: stack.enter_async_context(worker(settings))


async def until_told(core: Core, run: Run, type: str, times: int = 1) -> Event:
    """The event of that type that is told of the run for the `times`-th time."""
    seen = 0
    async with asyncio.timeout(60), aclosing(core.events.follow(run.project, run.id, "0")) as events:
        async for event in events:
            if event is not None and event.type == type:
                seen += 1
                if seen == times:
                    return event
    raise AssertionError


async def until_drawing(core: Core, run: Run, times: int = 1) -> None:
    async with asyncio.timeout(60), aclosing(core.events.follow(run.project, run.id, "0")) as events:
        async for event in events:
            if event is not None and event.type == "node.started" and event.facts["node"] == "out":
                times -= 1
                if not times:
                    return


async def until_alive(core: Core, number: int) -> None:
    async with asyncio.timeout(30):
        while len(await core.records.workers.list()) < number:
            await asyncio.sleep(0.05)


async def the_only_output(core: Core, grant: Grant, run: Run) -> Run:
    """The run, completed once with an output that is there, whole, and not a second time."""
    done = await core.runs.get(grant, run.id)
    assert done.status == "completed", done.error
    (output,) = done.outputs
    file = await core.records.files.get(output.id)
    body = b"".join([chunk async for chunk in core.storages["default"].open(file.key)])
    assert hashlib.sha256(body).hexdigest() == output.sha256
    with Image.open(io.BytesIO(body)) as shown:
        assert shown.size == (1500, 1000)
    assert [path for path in kept_files(core) if "/runs/" in path] == [f"files/{file.key}", f"files/{file.key}.json"]
    told = [event.type for event in await core.events.read(run.project, run.id, None, 500)]
    assert told.count("run.completed") == 1 and told[-1] == "run.completed"
    stored = [event.type for event in await core.events.read(run.project, output.id, None, 500)]
    assert stored == ["file.stored"]
    return done


async def holder_of(core: Core, run: Run, programs: Sequence[Program]) -> tuple[Program, Program]:
    """The program that has begun the run, and the other one."""
    await until_drawing(core, run)
    begun = (await core.records.runs.get(run.id)).tries[-1]
    pid = {beat.id: beat.pid for beat in await core.records.workers.list()}[begun.worker]
    first, second = programs
    return (first, second) if first.pid == pid else (second, first)


async def test_a_killed_workers_run_is_finished_by_another(
    core: Core, settings: Settings, grant: Grant, large: File
) -> None:
    async with workers(settings) as start:
        programs = [await start(), await start()]
        await until_alive(core, 2)
        run = await core.runs.start(grant, "slow", {"photo": [large.id]}, {"effort": 2})
        victim, heir = await holder_of(core, run, programs)
        victim.send_signal(signal.SIGKILL)
        loop = asyncio.get_running_loop()
        killed = loop.time()
        await until_told(core, run, "run.started", 2)
        waited = loop.time() - killed
        await core.runs.wait(grant, run.id, 60)
        await stopped(heir)
    done = await the_only_output(core, grant, run)
    assert waited <= LEASE + 1 and done.attempt == 1
    (death,) = await core.records.queues.deaths(f"run:{run.id}:1")
    assert death.pid == victim.pid and await core.records.queues.lost() == 1


async def test_a_worker_that_slept_spoils_nothing_when_it_wakes(
    core: Core, settings: Settings, grant: Grant, large: File
) -> None:
    async with workers(settings) as start:
        programs = [await start(), await start()]
        await until_alive(core, 2)
        run = await core.runs.start(grant, "slow", {"photo": [large.id]}, {"effort": 2})
        sleeper, heir = await holder_of(core, run, programs)
        sleeper.send_signal(signal.SIGSTOP)
        await asyncio.sleep(8)
        await until_told(core, run, "run.started", 2)
        sleeper.send_signal(signal.SIGCONT)
        await core.runs.wait(grant, run.id, 60)
        log = await stopped(sleeper)
        await the_only_output(core, grant, run)
        await stopped(heir)
    assert [line["job"] for line in log if line["event"] == "claim_lost"] == [f"run:{run.id}:1"]
    await the_only_output(core, grant, run)


@pytest.mark.timeout(300)  # four workers start one after the other, and three leases run out
async def test_a_run_that_kills_its_workers_is_given_up(
    core: Core, settings: Settings, grant: Grant, large: File
) -> None:
    killed: list[int] = []
    run = await core.runs.start(grant, "slow", {"photo": [large.id]})
    async with workers(settings) as start:
        for number in range(1, MOST_DEATHS + 1):
            victim = await start()
            await until_told(core, run, "run.started", number)
            victim.send_signal(signal.SIGKILL)
            killed.append(victim.pid)
        last = await start()
        failed = await core.runs.wait(grant, run.id, 60)
        await stopped(last)
    assert failed.status == "failed" and failed.error is not None and failed.error.code == "RUN_POISONED"
    assert failed.error.message == "The run was given up: its worker died 3 times while it ran."
    assert [death.pid for death in await core.records.queues.deaths(f"run:{run.id}:1")] == killed
    letter = await core.records.letters.get(run.id)
    assert letter.reason == "poisoned" and len({one.worker for one in letter.run.tries}) == MOST_DEATHS
    assert not [path for path in kept_files(core) if "/runs/" in path]


async def test_a_worker_that_is_drained_finishes_and_leaves(
    core: Core, settings: Settings, grant: Grant, large: File
) -> None:
    async with workers(settings) as start:
        leaving = await start()
        run = await core.runs.start(grant, "slow", {"photo": [large.id]}, {"effort": 2})
        await until_drawing(core, run)
        (beat,) = await core.records.workers.list()
        assert beat.pid == leaving.pid and not beat.draining and beat.memory > 20_000_000
        await core.records.workers.drain(beat.id)
        later = await core.runs.start(grant, "slow", {"photo": [large.id]}, {"effort": 2})
        assert (await core.records.workers.list())[0].draining
        assert await asyncio.wait_for(leaving.wait(), 60) == 0
        await the_only_output(core, grant, run)
    assert (await core.runs.get(grant, later.id)).status == "queued"
    assert await core.records.workers.list() == [] and (await core.records.queues.gates()).draining == frozenset()
    with pytest.raises(ProcessLookupError):
        os.kill(leaving.pid, 0)
