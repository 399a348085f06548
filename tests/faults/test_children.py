"""Pictures that break whoever draws them: each costs its own run, and the runs beside it end as they should."""

from __future__ import annotations

import asyncio
import io
import os
import signal
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, aclosing
from pathlib import Path

import pytest
from PIL import Image

from pipeline.core import Core
from pipeline.model import ENDED, File, Grant, Intake, Run
from pipeline.settings import Settings
from tests.faults.ground import (
    Program,
    assert_nothing_waits,
    assert_outputs,
    assert_told_once,
    every_event,
    until_over,
    worker,
)
from tests.workers.conftest import once
from tests.workers.test_main import SLOW, noisy
from workers.queue import MOST_DEATHS

pytestmark = pytest.mark.faults

HUNGRY = """
nodes:
  photo: {type: input}
  turned: {type: rotate, angle: 10}
  out: {type: save, format: png}
"""
BRIEF = """
nodes:
  photo: {type: input}
  heavy: {type: convert, format: avif, lossless: true, effort: 6}
  out: {type: save, timeout: 5s}
"""
MEMORY = 256_000_000
CHILDREN = 2
CREW = {"SAFELIGHT_SANDBOX_CHILDREN": str(CHILDREN)}
BUSY = 0.1
"""Seconds of CPU by which a child shows that it draws."""


@pytest.fixture
async def large(core: Core, grant: Grant) -> File:
    await core.flows.put("slow", SLOW)
    await core.flows.put("brief", BRIEF)
    await core.flows.put("hungry", HUNGRY)
    return await core.uploads.accept(grant, Intake(name="noise.jpg"), once(noisy(1500, 1000)))


@pytest.fixture
async def program(core: Core, settings: Settings) -> AsyncIterator[Program]:
    """A worker with two children, of which each may have 256 MB."""
    limits = CREW | {"SAFELIGHT_SANDBOX_MEMORY": "256MB"}
    async with worker(settings, slots=4, **limits) as program:
        await until_complete(program)
        yield program


async def until_complete(program: Program) -> None:
    """Return when all its children are there."""
    async with asyncio.timeout(30):
        while len(children_of(program.pid)) < CHILDREN:
            await asyncio.sleep(0.05)


# Children, as the system sees them


def children_of(pid: int) -> set[int]:
    """The sandbox children of a worker: each leads a session of its own."""
    listed = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return {child for child in map(int, listed) if lives(child) and os.getsid(child) == child}


def lives(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def cpu_of(pid: int) -> float:
    """Seconds of CPU it has used."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


async def until_drawing(core: Core, run: Run, times: int = 1) -> None:
    async with asyncio.timeout(60), aclosing(core.events.follow(run.project, run.id, "0")) as events:
        async for event in events:
            times -= event is not None and event.type == "node.started" and event.facts["node"] == "out"
            if not times:
                return


async def artist(program: Program) -> int:
    """The child that draws, when all are warm and it is the only one that does."""
    async with asyncio.timeout(20):
        before = {child: cpu_of(child) for child in children_of(program.pid)}
        while True:
            await asyncio.sleep(0.02)
            for child in children_of(program.pid):
                if cpu_of(child) - before.get(child, cpu_of(child)) > BUSY:
                    return child


async def crash_until_over(core: Core, program: Program, run: Run) -> None:
    """Whatever child draws the run, which nothing but the start of a new child goes on beside, crashes."""
    before = {child: cpu_of(child) for child in children_of(program.pid)}
    async with asyncio.timeout(40):
        while (await core.records.runs.get(run.id)).status not in ENDED:
            for child in children_of(program.pid):
                if cpu_of(child) - before.setdefault(child, cpu_of(child)) > BUSY:
                    os.kill(child, signal.SIGSEGV)
            await asyncio.sleep(0.02)


# What becomes of it


async def begun_alone(core: Core, grant: Grant, program: Program, large: File, flow: str = "slow") -> tuple[Run, int]:
    """A run that is being drawn, and the child that draws it; nothing else is going on."""
    run = await core.runs.start(grant, flow, {"photo": [large.id]}, {"effort": 4} if flow == "slow" else {})
    await until_drawing(core, run)
    return run, await artist(program)


async def others(core: Core, grant: Grant, photo: File, large: File) -> list[Run]:
    """Runs for the other child: one that takes a while, and four that do not."""
    long = await core.runs.start(grant, "slow", {"photo": [large.id]}, {"effort": 0})
    short = [await core.runs.start(grant, "small", {"photo": [photo.id]}) for _ in range(4)]
    await until_drawing(core, long)
    return [long, *short]


async def fates(core: Core, grant: Grant, program: Program, doomed: Run, beside: list[Run], photo: File) -> Run:
    """The doomed run once it failed, when everything else completed once and the worker goes on."""
    await until_over(core)
    later = await core.runs.start(grant, "small", {"photo": [photo.id]})
    assert (await core.runs.wait(grant, later.id, 20)).status == "completed"
    completed = [await core.runs.get(grant, run.id) for run in (*beside, later)]
    assert [(run.status, len(run.tries)) for run in completed] == [("completed", 1)] * len(completed)
    assert_told_once(await every_event(core), completed)
    await assert_outputs(core, completed)
    await assert_nothing_waits(core.redis)
    assert program.alive and await core.records.queues.lost() == 0
    await until_complete(program)
    failed = await core.runs.get(grant, doomed.id)
    told = [event.type for event in await every_event(core, doomed.id)]
    assert failed.status == "failed" and told.count("run.failed") == 1 and "run.completed" not in told
    await program.stop()
    return failed


async def test_a_child_that_segfaults_at_every_try_costs_its_own_run(
    core: Core, grant: Grant, program: Program, large: File, photo: File
) -> None:
    run, child = await begun_alone(core, grant, program, large)
    beside = await others(core, grant, photo, large)
    os.kill(child, signal.SIGSEGV)
    for one in beside:
        await core.runs.wait(grant, one.id, 20)
    await until_drawing(core, run, 2)
    await crash_until_over(core, program, run)
    failed = await fates(core, grant, program, run, beside, photo)
    assert failed.error is not None and failed.error.code == "IMAGE_CRASHED"
    assert failed.error.message.endswith(f"(exit code {-signal.SIGSEGV}).")
    assert [one.error and one.error.code for one in failed.tries] == ["IMAGE_CRASHED"] * 2
    assert (await core.records.letters.get(run.id)).reason == "exhausted"


async def test_a_child_that_segfaults_once_costs_nothing(
    core: Core, grant: Grant, program: Program, large: File, photo: File
) -> None:
    run, child = await begun_alone(core, grant, program, large)
    os.kill(child, signal.SIGSEGV)
    done = await core.runs.wait(grant, run.id, 40)
    assert done.status == "completed" and [one.error and one.error.code for one in done.tries] == [
        "IMAGE_CRASHED",
        None,
    ]
    assert_told_once(await every_event(core), [done])
    await assert_outputs(core, [done])
    await program.stop()


async def test_a_child_that_hangs_costs_its_own_run(
    core: Core, grant: Grant, program: Program, large: File, photo: File
) -> None:
    run, child = await begun_alone(core, grant, program, large, "brief")
    beside = await others(core, grant, photo, large)
    os.kill(child, signal.SIGSTOP)
    failed = await fates(core, grant, program, run, beside, photo)
    assert failed.error is not None and failed.error.code == "IMAGE_TIMEOUT" and len(failed.tries) == 1
    assert not lives(child)


async def test_a_picture_that_needs_more_memory_than_its_child_may_have_costs_its_own_run(
    core: Core, grant: Grant, program: Program, large: File, photo: File
) -> None:
    vast = await core.uploads.accept(grant, Intake(name="vast.png"), once(plain(9000, 9000)))
    run = await core.runs.start(grant, "hungry", {"photo": [vast.id]})
    beside = await others(core, grant, photo, large)
    failed = await fates(core, grant, program, run, beside, photo)
    assert failed.error is not None and failed.error.code == "IMAGE_TOO_LARGE", failed.error
    assert failed.error.message == f"The image work needs more than the {MEMORY} bytes of memory it may have."


def plain(width: int, height: int) -> bytes:
    out = io.BytesIO()
    Image.new("RGB", (width, height), "teal").save(out, "PNG")
    return out.getvalue()


# The worker itself


async def test_a_run_that_kills_its_workers_takes_no_other_run_with_it(
    core: Core, settings: Settings, grant: Grant, large: File, photo: File
) -> None:
    """Whenever the run begins, its worker is killed in the middle of all that it does."""
    poison, *beside = [await core.runs.start(grant, "slow", {"photo": [large.id]}, {"effort": 2}) for _ in range(4)]
    killed: list[int] = []
    async with AsyncExitStack() as stack:
        for number in range(1, MOST_DEATHS + 1):
            victim = await stack.enter_async_context(worker(settings, slots=4, **CREW))
            await until_drawing(core, poison, number)
            victim.kill()
            killed.append(victim.pid)
        heir = await stack.enter_async_context(worker(settings, slots=4, **CREW))
        await until_over(core)
        failed = await core.runs.get(grant, poison.id)
        assert failed.error is not None and failed.error.code == "RUN_POISONED"
        assert [death.pid for death in await core.records.queues.deaths(f"run:{poison.id}:1")] == killed
        completed = [await core.runs.get(grant, run.id) for run in beside]
        assert [run.status for run in completed] == ["completed"] * len(beside)
        assert any(run.tries[0].worker == failed.tries[0].worker for run in completed)
        assert_told_once(await every_event(core), completed)
        await assert_outputs(core, completed)
        await assert_nothing_waits(core.redis)
        await heir.stop()
