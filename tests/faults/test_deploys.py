"""Workers that are told to leave under load: they finish or hand back what they have, and no try is spent."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from pipeline.acts import beside
from pipeline.core import Core
from pipeline.model import File, Grant, Run
from tests.faults.crew import Load, crew, holder_of
from tests.faults.ends import all_ended_once, folders_of, left_over, until_settled, until_told
from tests.faults.ground import every_run

pytestmark = [pytest.mark.faults, pytest.mark.timeout(400)]

DEPLOYS = 10
GRACE = 25
"""Seconds, unless a worker is told otherwise."""


async def all_started(core: Core, acknowledged: Sequence[Run]) -> Sequence[Run]:
    """Every run on record, those acknowledged among them: who starts runs for ever is cut off in the middle of one."""
    runs = await every_run(core)
    assert {run.id for run in acknowledged} <= {run.id for run in runs}
    return runs


async def no_try_spent(core: Core, runs: Sequence[Run]) -> None:
    """Nobody died, nothing failed, and to every run its try was the first one."""
    assert await core.records.queues.lost() == 0
    for run in runs:
        assert run.attempt == 1 and {one.error for one in run.tries} == {None}
        assert await folders_of(core, run) == {f"demo/runs/{run.id}"}


async def test_ten_deploys_in_a_row_spend_no_try_of_the_run_they_all_meet(
    core: Core, grant: Grant, photo: File, noise: File
) -> None:
    load = Load(core, grant, photo)
    run = await core.runs.start(grant, "slow", {"photo": [noise.id]})
    async with crew(core, 3, SAFELIGHT_GRACE="0s") as hired:
        async with beside(load.keep_coming()):
            for number in range(1, DEPLOYS + 1):
                await until_told(core, run, "node.started", number, node="out")
                await hired.deploy(await holder_of(core, run, hired))
        await until_settled(core)
        await hired.leave()
    done = await all_ended_once(core, grant, await all_started(core, [run, *load.runs]))
    await no_try_spent(core, done)
    assert len((await core.runs.get(grant, run.id)).tries) == DEPLOYS + 1 and len(load.runs) > Load.WAITING
    assert not await left_over(core, done)


async def test_workers_that_are_told_to_leave_under_load_finish_what_they_have(
    core: Core, grant: Grant, photo: File
) -> None:
    load = Load(core, grant, photo)
    await load.start(Load.WAITING)
    async with crew(core, 3) as hired:
        async with beside(load.keep_coming()):
            left = [await hired.deploy(hired.programs[0]) for _ in range(DEPLOYS // 2)]
        await until_settled(core)
        await hired.leave()
    done = await all_ended_once(core, grant, await all_started(core, load.runs))
    await no_try_spent(core, done)
    assert max(left) < GRACE and {len(run.tries) for run in done} == {1}
    assert not await left_over(core, done)
