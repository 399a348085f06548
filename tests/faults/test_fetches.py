"""Workers killed, stopped or told to leave in the middle of a fetch: one file comes of it, whole, or nothing."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from datetime import timedelta

import pytest
from aiohttp import web

from pipeline.core import Core
from pipeline.model import Fetch, Grant, Intake, Project, Remote, now
from pipeline.settings import Settings
from tests.outside import Outside, fixed, listening
from tests.workers.conftest import picture
from workers.queue import MOST_DEATHS

from .ground import Program, bytes_of, worker

pytestmark = [pytest.mark.faults, pytest.mark.timeout(300)]

BODY = os.urandom(3_000_000)


@pytest.fixture
async def server() -> AsyncIterator[Outside]:
    async with listening() as server:
        yield server


@pytest.fixture
def grant() -> Grant:
    return Grant(project=Project(id="demo", allow_private_urls=True))


class Halting:
    """An answer that stops after each of these many bytes, once for each time it is asked, and then goes through."""

    def __init__(self, body: bytes, *halts: int) -> None:
        self.body = body
        self.halts = list(halts)
        self.asked = 0
        self.halted = asyncio.Event()
        self.go = asyncio.Event()

    async def __call__(self, request: web.Request, sent: bytes) -> web.StreamResponse:
        self.asked += 1
        halt = self.halts.pop(0) if self.halts else None
        response = web.StreamResponse()
        response.content_length = len(self.body)
        await response.prepare(request)
        if halt is not None:
            await response.write(self.body[:halt])
            self.halted.set()
            while not self.go.is_set():
                if request.transport is None or request.transport.is_closing():
                    return response
                await asyncio.sleep(0.02)
        await response.write(self.body[halt or 0 :])
        return response

    async def is_halted(self) -> None:
        """Return when it has stopped once more."""
        await asyncio.wait_for(self.halted.wait(), 60)
        self.halted.clear()
        await asyncio.sleep(0.7)  # a note or two on how far it is


async def ended(core: Core, grant: Grant, fetch: Fetch) -> Fetch:
    done = await core.fetching.wait(grant, fetch.id, 60)
    assert done.ended_at is not None, done
    return done


async def assert_the_only_file(core: Core, fetch: Fetch, body: bytes) -> None:
    assert fetch.status == "success" and fetch.file is not None, fetch.error
    file = await core.records.files.get(fetch.file)
    assert await bytes_of(core, file.key) == body
    assert [one.id for one in (await core.records.files.list("demo")).items] == [file.id]
    events = [event.type for event in await core.events.read("demo", file.id)]
    assert events == ["file.uploaded", "file.stored"]
    told = [event.type for event in await core.events.read("demo", fetch.id)]
    assert told == ["fetch.started", "fetch.completed"]
    await assert_left(core, {file.name, f"{file.name}.json"})


async def assert_left(core: Core, names: set[str]) -> None:
    """That these files are there and no others, no upload waits, and no job."""
    folder = core.settings.data_dir
    async with asyncio.timeout(20):
        while {path.name for path in folder.rglob("*") if path.is_file()} != names:
            await asyncio.sleep(0.1)
        while await core.redis.zrange("safelight:queue:errands", 0, -1):
            await asyncio.sleep(0.1)
    assert await core.records.uploads.expired(now() + timedelta(days=9)) == []
    assert await core.redis.zcard("safelight:fetches:demo:open") == 0
    assert await core.redis.zcard("safelight:fetches:demo:running") == 0


async def test_killed_workers_cost_it_some_seconds(
    core: Core, settings: Settings, grant: Grant, server: Outside
) -> None:
    halting = server.answers["/big.bin"] = Halting(BODY, 0, 2_000_000)
    fetch = await core.fetching.begin(grant, f"{server.url}/big.bin", Intake())
    for _ in range(2):
        async with worker(settings) as killed:
            await halting.is_halted()
            killed.kill()
    async with worker(settings) as last:
        done = await ended(core, grant, fetch)
        await assert_the_only_file(core, done, BODY)
        await last.stop()
    assert (halting.asked, done.tries) == (3, 3)


async def test_one_that_kills_its_workers_is_given_up(
    core: Core, settings: Settings, grant: Grant, server: Outside
) -> None:
    halting = server.answers["/big.bin"] = Halting(BODY, *[1_000_000] * 9)
    fetch = await core.fetching.begin(grant, f"{server.url}/big.bin", Intake())
    for _ in range(MOST_DEATHS):
        async with worker(settings) as killed:
            await halting.is_halted()
            killed.kill()
    async with worker(settings) as last:
        done = await ended(core, grant, fetch)
        await last.stop()
    assert done.error is not None and done.error.code == "FETCH_GIVEN_UP"
    assert halting.asked == MOST_DEATHS
    await assert_left(core, set())


async def test_a_worker_that_slept_changes_nothing(
    core: Core, settings: Settings, grant: Grant, server: Outside
) -> None:
    halting = server.answers["/big.bin"] = Halting(BODY, 2_000_000)
    fetch = await core.fetching.begin(grant, f"{server.url}/big.bin", Intake())
    async with AsyncExitStack() as stack:
        asleep: Program = await stack.enter_async_context(worker(settings))
        await halting.is_halted()
        os.kill(asleep.pid, signal.SIGSTOP)
        awake = await stack.enter_async_context(worker(settings))
        done = await ended(core, grant, fetch)
        halting.go.set()
        os.kill(asleep.pid, signal.SIGCONT)
        log = await asleep.stop()
        await awake.stop()
    assert [line["event"] for line in log if line["event"] in ("fetch_completed", "fetch_failed", "job_fault")] == []
    await assert_the_only_file(core, done, BODY)


async def test_a_worker_told_to_leave_hands_it_on(
    core: Core, settings: Settings, grant: Grant, server: Outside
) -> None:
    halting = server.answers["/big.bin"] = Halting(BODY, *[1_000_000] * 3)
    fetch = await core.fetching.begin(grant, f"{server.url}/big.bin", Intake())
    for _ in range(3):
        async with worker(settings, SAFELIGHT_GRACE="0s") as leaving:
            await halting.is_halted()
            await leaving.stop()
        left = await core.fetching.get(grant, fetch.id)
        assert (left.status, left.tries) == ("waiting", 0)
        await assert_waits(core)
    async with worker(settings) as last:
        await assert_the_only_file(core, await ended(core, grant, fetch), BODY)
        await last.stop()


async def assert_waits(core: Core) -> None:
    assert [path for path in core.settings.data_dir.rglob("*") if path.is_file()] == []
    assert await core.records.uploads.expired(now() + timedelta(days=9)) == []


async def test_a_drained_worker_takes_no_fetch_and_leaves(
    core: Core, settings: Settings, grant: Grant, server: Outside
) -> None:
    halting = server.answers["/big.bin"] = Halting(BODY, 1_000_000)
    server.answers["/small"] = fixed(200, b"small")
    fetch = await core.fetching.begin(grant, f"{server.url}/big.bin", Intake())
    async with worker(settings) as drained:
        await halting.is_halted()
        (beat,) = await core.records.workers.list()
        await core.records.workers.drain(beat.id)
        after = await core.fetching.begin(grant, f"{server.url}/small", Intake())
        async with worker(settings) as other:
            assert (await ended(core, grant, after)).status == "success"
            assert drained.alive and (await core.fetching.get(grant, fetch.id)).status == "progress"
            halting.go.set()
            assert (await ended(core, grant, fetch)).status == "success"
            await asyncio.wait_for(drained.program.wait(), 20)
            assert drained.program.returncode == 0
            assert "fetch_completed" in {line["event"] for line in drained.told()}
            await other.stop()
    assert (await core.fetching.get(grant, fetch.id)).tries == 1


async def test_a_run_gets_its_file_though_workers_die(
    core: Core, settings: Settings, grant: Grant, server: Outside
) -> None:
    body = picture(900, 700)
    halting = server.answers["/sun.png"] = Halting(body, len(body) // 2)
    run = await core.runs.start(grant, "small", {"photo": [Remote(url=f"{server.url}/sun.png")]})
    async with worker(settings) as killed:
        await halting.is_halted()
        killed.kill()
    async with worker(settings) as last:
        done = await core.runs.wait(grant, run.id, 60)
        await last.stop()
    assert (done.status, len(done.outputs)) == ("completed", 1), done.error
    told = [event.type for event in await core.events.read("demo", run.id) if event.type.startswith("run.")]
    assert told == ["run.waiting", "run.queued", "run.started", "run.completed"]
