"""Workers killed at the worst moments: every run ends once, and no output is lost or doubled."""

from __future__ import annotations

import asyncio
import io
import random
import re
import signal
import time
from collections.abc import AsyncIterator, Coroutine, Mapping
from contextlib import AsyncExitStack
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit
from uuid import uuid4

import orjson
import pytest
from PIL import Image

from pipeline.acts import beside
from pipeline.core import Core, open_core
from pipeline.model import File, Grant, Intake, Run
from pipeline.settings import Settings
from tests.faults.crew import WORKER, Crew, Load, commit_of, crew, killed, until_stopped, worker_until
from tests.faults.ends import (
    all_ended_once,
    ended_once,
    folders_of,
    its_only_death,
    left_over,
    swept_clean,
    until_settled,
)
from tests.faults.ground import Program, started, worker
from tests.faults.wire import Moment, wire
from tests.workers.conftest import once
from tests.workers.test_main import noisy
from workers.turn import MOST_DEATHS

pytestmark = [pytest.mark.faults, pytest.mark.timeout(400)]

WHOLE = """
nodes:
  photo: {type: input}
  plain: {type: convert, format: png, effort: 0}
  out: {type: save, path: whole.png}
"""
PAIR = """
nodes:
  photo: {type: input}
  small: {type: resize, width: 32}
  large: {type: resize, from: photo, width: 64}
  out: {type: save, from: [small, large], path: "{node}.webp"}
"""
SMALL, LARGE = (200, 150), (2200, 1500)
"""Sizes of pictures that go to a bucket in one piece, and in two."""


def restless(width: int, height: int) -> bytes:
    """A picture that no lossless format makes smaller."""
    out = io.BytesIO()
    Image.frombytes("RGB", (width, height), random.Random(5).randbytes(width * height * 3)).save(out, "PNG")
    return out.getvalue()


# Mid-save


@pytest.fixture
async def in_bucket(core: Core, settings: Settings, s3_url: str) -> AsyncIterator[Core]:
    """The same core with its files in an empty bucket."""
    url = s3_url.replace("/tests?", f"/{uuid4()}?")
    async with open_core(settings.model_copy(update={"storages": {"default": url}})) as core:
        await core.flows.put("whole", WHOLE)
        yield core


def through(settings: Settings, port: int) -> dict[str, str]:
    """What a worker is told that reaches its storage by way of this port."""
    (url,) = settings.storages.values()
    there = urlsplit(parse_qs(urlsplit(url).query)["endpoint"][0]).port
    return storage_at(url.replace(f"%3A{there}&", f"%3A{port}&"))


def storage_at(url: str) -> dict[str, str]:
    return {"SAFELIGHT_STORAGES": orjson.dumps({"default": url}).decode()}


@pytest.mark.parametrize(
    ("moment", "size", "arrived", "left"),
    [
        pytest.param(Moment(re.compile(rb"PUT \S+/whole\.png "), 20_000), SMALL, False, {}, id="half a body"),
        pytest.param(
            Moment(re.compile(rb"PUT \S+[?&]partNumber=2[& ]"), 90_000),
            LARGE,
            False,
            {"unfinished": 1},
            id="half the parts",
        ),
        pytest.param(
            Moment(re.compile(rb"POST \S+[?&]uploadId="), answered=True), LARGE, True, {}, id="all but the answer"
        ),
    ],
)
async def test_a_worker_killed_while_it_saves_to_a_bucket(
    in_bucket: Core, grant: Grant, moment: Moment, size: tuple[int, int], arrived: bool, left: dict[str, int]
) -> None:
    core, settings = in_bucket, in_bucket.settings
    photo = await core.uploads.accept(grant, Intake(name="restless.png"), once(restless(*size)))
    run = await core.runs.start(grant, "whole", {"photo": [photo.id]})
    endpoint = urlsplit(parse_qs(urlsplit(settings.storages["default"]).query)["endpoint"][0])
    dial = partial(asyncio.open_connection, endpoint.hostname, endpoint.port)
    async with wire(dial, moment) as (line, port), started(settings, *WORKER, **through(settings, port)) as victim:
        await line.until_held()
        await killed(victim)
    assert (await core.runs.get(grant, run.id)).status == "running"
    first = await core.storages["default"].stat(f"demo/runs/{run.id}/out/whole.png")
    assert (first is not None) == arrived
    async with started(settings, *WORKER, **storage_at(settings.storages["default"])) as heir:
        await core.runs.wait(grant, run.id, 60)
        await heir.stop()
    done = await ended_once(core, grant, run)
    await its_only_death(core, done, victim)
    assert await folders_of(core, done) == {f"demo/runs/{run.id}.2"} and done.attempt == 1
    # What could be seen of the first try went with the second; the rest is the sweeps'.
    assert await left_over(core, [done]) == {"folder": 1, **left}
    await swept_clean(core, [done])


def largest_draft(folder: Path) -> int:
    """Bytes of the largest file that is being put into a storage."""
    sizes = [0]
    for path in folder.glob("put-*"):
        try:
            sizes.append(path.stat().st_size)
        except FileNotFoundError:  # it has just got its name
            continue
    return max(sizes)


async def stopped_while_saving(core: Core, run: Run, program: Program) -> bool:
    """Stop the program as soon as it writes a large file, and look whether it was soon enough."""
    folder = core.settings.data_dir / "files" / ".staging"

    def wait() -> None:
        deadline = time.monotonic() + 60
        while largest_draft(folder) < 2**20 and time.monotonic() < deadline:
            time.sleep(0.0005)

    await asyncio.to_thread(wait)
    await until_stopped(program)
    kept = list((core.settings.data_dir / "files" / "demo" / "runs" / run.id).rglob("whole.png"))
    return largest_draft(folder) >= 2**20 and not kept


async def test_a_worker_killed_while_it_saves_to_a_folder(core: Core, settings: Settings, grant: Grant) -> None:
    await core.flows.put("whole", WHOLE)
    photo = await core.uploads.accept(grant, Intake(name="restless.png"), once(restless(3000, 2500)))
    runs: list[Run] = []
    async with worker(settings) as victim:
        for _ in range(10):
            runs.append(await core.runs.start(grant, "whole", {"photo": [photo.id]}))
            if await stopped_while_saving(core, runs[-1], victim):
                break
            victim.program.send_signal(signal.SIGCONT)
            await core.runs.wait(grant, runs[-1].id, 60)
        else:
            pytest.fail("Ten runs were saved before the worker could be stopped.")
        await killed(victim)
    async with worker(settings) as heir:
        await core.runs.wait(grant, runs[-1].id, 60)
        await heir.stop()
    done = await all_ended_once(core, grant, runs)
    await its_only_death(core, done[-1], victim)
    left = await left_over(core, done)
    assert left.pop("unfinished") in (1, 2) and left == {"folder": 1}  # its manifest may have been on its way too
    await swept_clean(core, done)


# Mid-commit


@pytest.mark.parametrize("arrived", [False, True], ids=["that never arrived", "whose answer was never read"])
async def test_a_worker_killed_in_the_middle_of_a_commit(
    core: Core, settings: Settings, grant: Grant, photo: File, arrived: bool
) -> None:
    await core.flows.put("pair", PAIR)
    run = await core.runs.start(grant, "pair", {"photo": [photo.id]})
    async with worker_until(settings, commit_of(run, arrived)) as (victim, line):
        await line.until_held()
        await killed(victim)
        assert (await core.runs.get(grant, run.id)).status == ("completed" if arrived else "running")
    assert await core.redis.zcard("safelight:queue:default") == 1
    async with worker(settings) as heir:
        await core.runs.wait(grant, run.id, 60)
        await until_settled(core)
        await heir.stop()
    done = await ended_once(core, grant, run, outputs=2)
    await its_only_death(core, done, victim)
    assert await folders_of(core, done) == {f"demo/runs/{run.id}" + ("" if arrived else ".2")}
    await swept_clean(core, [done])


# All of them at once


async def test_every_worker_killed_at_once(core: Core, settings: Settings, grant: Grant, noise: File) -> None:
    runs = [await core.runs.start(grant, "slow", {"photo": [noise.id]}, {"effort": 0}) for _ in range(24)]
    async with AsyncExitStack() as stack:
        programs = [await stack.enter_async_context(worker(settings)) for _ in range(3)]
        async with asyncio.timeout(60):
            while (await core.records.runs.counts("demo"))["running"] < 5:
                await asyncio.sleep(0.02)
        await killed(*programs)
    before = await core.records.runs.counts("demo")
    assert before["running"] >= 5 and before["queued"] >= 5
    async with worker(settings) as last:
        await until_settled(core)
        await last.stop()
    done = await all_ended_once(core, grant, runs)
    lost = await core.records.queues.lost()
    assert before["running"] <= lost <= 9 and {run.attempt for run in done} == {1}
    pids = {death.pid for run in runs for death in await core.records.queues.deaths(f"run:{run.id}:1")}
    assert pids <= {program.pid for program in programs}
    assert sum(len(run.tries) - 1 for run in done) == before["running"]
    await swept_clean(core, done)


# A storm

RUNS = 1000
KILL_EVERY = 1.0
LEAST_KILLS = 9


async def test_a_thousand_runs_with_a_worker_killed_every_second(
    core: Core, grant: Grant, capsys: pytest.CaptureFixture[str]
) -> None:
    photo = await core.uploads.accept(grant, Intake(name="noise.jpg"), once(noisy(1200, 900)))
    load = Load(core, grant, photo)
    await load.start(RUNS)
    with capsys.disabled():
        print("\nat once:", await outlived(core, grant, load, until_done(core, RUNS)))


async def test_runs_that_come_one_by_one_with_a_worker_killed_every_second(
    core: Core, grant: Grant, photo: File, capsys: pytest.CaptureFixture[str]
) -> None:
    load = Load(core, grant, photo)  # workers wait for them, and are handed each as it comes
    with capsys.disabled():
        print("\none by one:", await outlived(core, grant, load, trickled(core, load, RUNS // 2)))


async def until_done(core: Core, number: int) -> None:
    """Return once so many runs have ended."""
    async with asyncio.timeout(300):
        while (counts := await core.records.runs.counts("demo"))["completed"] + counts["failed"] < number:
            await asyncio.sleep(0.1)


async def trickled(core: Core, load: Load, number: int) -> None:
    """Start so many runs, one after the other, and return once they have ended."""
    for _ in range(number):
        await load.start(1)
        await asyncio.sleep(0.06)
    await until_done(core, number)


async def outlived(core: Core, grant: Grant, load: Load, act: Coroutine[Any, Any, None]) -> str:
    """Do `act` in a storm, after which every run has ended once and nothing else is left; the figures."""
    dead, began = dict[int, datetime](), time.monotonic()
    async with crew(core, 5) as hired:
        async with beside(storm(hired, dead)):
            await act
        took = time.monotonic() - began
        letters = await given_up(core, grant, dead)
        await until_settled(core)
        await hired.leave()
    assert len(dead) > LEAST_KILLS
    done = await all_ended_once(core, grant, load.runs)
    assert {run.attempt for run in done if run.id not in letters} == {1}
    left = await left_over(core, done)
    await swept_clean(core, done)
    again, lost = sum(len(run.tries) - run.attempt for run in done), await core.records.queues.lost()
    figures = f"{len(dead)} kills, {again} runs begun again, {lost} jobs taken over, {len(letters)} given up"
    return f"{len(done)} runs in {took:.0f} s, {figures}, left to the sweeps: {dict(left)}"


async def storm(hired: Crew, dead: dict[int, datetime]) -> None:
    """Kill one of those at work every second, unless it is the last, and have another one in its place at once.

    At odd times: kills at a beat to which leases run out too would meet the same run again and again.
    """
    chance, due = random.Random(20_261), time.monotonic()
    while True:
        due += KILL_EVERY * chance.uniform(0.5, 1.5)
        await asyncio.sleep(due - time.monotonic())
        if len(working := await hired.working()) > 1:
            victim = chance.choice(working)
            dead[victim.pid] = await hired.core.records.schedules.time()
            hired.programs.remove(victim)
            await killed(victim)
            await hired.hire()


async def given_up(core: Core, grant: Grant, dead: Mapping[int, datetime]) -> set[str]:
    """The runs that met so many deaths that they count as the reason, each of them real; they are begun anew."""
    letters = (await core.runs.letters.list(grant, limit=RUNS)).items
    for letter in letters:
        deaths = await core.records.queues.deaths(f"run:{letter.run.id}:1")
        assert letter.reason == "poisoned" and len({death.pid for death in deaths}) == MOST_DEATHS
        assert all(dead[death.pid] < death.at for death in deaths)
    failed = (await core.records.runs.counts("demo"))["failed"]
    assert failed == len(letters) == await core.runs.letters.retry_all(grant)
    return {letter.run.id for letter in letters}
