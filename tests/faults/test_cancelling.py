"""Runs that are cancelled: one that waits leaves the queue at once, one that is drawn ends within a second."""

from __future__ import annotations

import asyncio
import time

import pytest
from redis.asyncio import Redis

from pipeline.core import Core
from pipeline.model import File, Grant
from pipeline.settings import Settings
from tests.faults.ends import until_told
from tests.faults.ground import worker
from tests.faults.test_children import artist, lives
from tests.workers.conftest import kept_files

pytestmark = [pytest.mark.faults, pytest.mark.timeout(120)]

SOON = 1.0
"""Seconds in which a cancelled run's child has ended."""


async def test_a_run_that_is_drawn_ends_with_its_child_within_a_second(
    core: Core, settings: Settings, grant: Grant, noise: File, photo: File
) -> None:
    async with worker(settings) as program:
        for _ in range(3):
            run = await core.runs.start(grant, "slow", {"photo": [noise.id]})
            await until_told(core, run, "node.started", node="out")
            child = await artist(program)
            began = time.monotonic()
            assert (await core.runs.cancel(grant, run.id)).status == "cancelled"
            async with asyncio.timeout(SOON):
                while lives(child):
                    await asyncio.sleep(0.005)
            assert time.monotonic() - began < SOON
        after = await core.runs.start(grant, "small", {"photo": [photo.id]})
        assert (await core.runs.wait(grant, after.id, 30)).status == "completed"
        await program.stop()
    assert not [path for path in kept_files(core) if run.id in path]
    assert (await core.runs.get(grant, run.id)).outputs == ()


async def test_a_run_that_waits_leaves_at_once_and_is_never_begun(
    core: Core, settings: Settings, grant: Grant, photo: File, redis: Redis
) -> None:
    runs = [await core.runs.start(grant, "small", {"photo": [photo.id]}) for _ in range(5)]
    for run in runs[:4]:
        await core.runs.cancel(grant, run.id)
    assert await redis.zcard("safelight:queue:default") == 1
    async with worker(settings) as program:
        assert (await core.runs.wait(grant, runs[4].id, 30)).status == "completed"
        await program.stop()
    for run in runs[:4]:
        told = [event.type for event in await core.events.read("demo", run.id)]
        assert told == ["run.queued", "run.cancelled"]
