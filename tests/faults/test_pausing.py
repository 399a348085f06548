"""Runs that rest and wait while what is around them dies: they stand as they were, and go on to one end."""

from __future__ import annotations

import os
import signal

import pytest

from pipeline.core import Core, open_core
from pipeline.model import File, Grant
from pipeline.settings import Settings
from tests.faults.crew import killed, until_alive
from tests.faults.ends import until_told
from tests.faults.ground import Server, assert_outputs, each_ended_once, every_event, worker

pytestmark = [pytest.mark.faults, pytest.mark.timeout(120)]

PAIR = """
nodes:
  one: {type: input}
  two: {type: input}
  both: {type: zip, from: [one, two]}
  out: {type: save, path: "both.zip"}
"""


@pytest.fixture
def settings(settings: Settings, server: Server) -> Settings:
    return settings.model_copy(update={"redis_url": server.url})


async def test_a_run_whose_worker_is_killed_while_it_was_to_pause_rests_and_goes_on(
    core: Core, settings: Settings, grant: Grant, noise: File
) -> None:
    async with worker(settings) as first, worker(settings) as second:
        await until_alive(core, first, second)
        run = await core.runs.start(grant, "slow", {"photo": [noise.id]}, {"effort": 5})
        await until_told(core, run, "node.started", node="out")
        begun = (await core.runs.get(grant, run.id)).tries[-1]
        pids = {beat.id: beat.pid for beat in await core.records.workers.list()}
        assert (await core.runs.pause(grant, run.id)).status == "running"
        os.kill(pids[begun.worker], signal.SIGKILL)
        await until_told(core, run, "run.paused")
        rests = await core.runs.get(grant, run.id)
        assert rests.status == "waiting" and rests.paused_at is not None
        assert rests.tries[-1].error is not None and rests.tries[-1].error.code == "WORKER_LOST"
        await core.runs.resume(grant, run.id)
        done = await core.runs.wait(grant, run.id, 60)
        assert (done.status, done.attempt, len(done.outputs)) == ("completed", 1, 1)
    await assert_outputs(core, [done])
    told = [event.type for event in await every_event(core, run.id)]
    assert [kind for kind in told if kind.startswith("run.")] == [
        "run.queued", "run.started", "run.paused", "run.resumed", "run.queued", "run.started", "run.completed"
    ]  # fmt: skip


async def test_runs_wait_on_through_a_restart_of_everything(
    core: Core, settings: Settings, grant: Grant, photo: File, noise: File, server: Server
) -> None:
    await core.flows.put("pair", PAIR)
    async with worker(settings) as program:
        await until_alive(core, program)
        hungry = await core.runs.start(grant, "pair", {}, awaits=["one", "two"])
        await core.runs.feed(grant, hungry.id, "one", [photo.id])
        drawn = await core.runs.start(grant, "slow", {"photo": [noise.id]}, {"effort": 3})
        await until_told(core, drawn, "node.started", node="out")
        await core.runs.pause(grant, drawn.id)
        await until_told(core, drawn, "run.paused")
        before = [await core.runs.get(grant, id) for id in (hungry.id, drawn.id)]
        await killed(program)
    server.kill()
    await server.start()
    async with open_core(settings) as again, worker(settings) as program:
        await until_alive(again, program)
        assert [await again.runs.get(grant, run.id) for run in before] == before
        assert before[0].awaits == ("two",) and {run.status for run in before} == {"waiting"}
        await again.runs.recover()
        await again.runs.feed(grant, hungry.id, "two", [noise.id])
        await again.runs.resume(grant, drawn.id)
        done = [await again.runs.wait(grant, run.id, 60) for run in before]
        assert [(run.status, run.error) for run in done] == [("completed", None)] * 2
        await each_ended_once(again, {run.id for run in done})
        await assert_outputs(again, done)
