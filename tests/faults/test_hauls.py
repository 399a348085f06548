"""Workers killed in the middle of a folder: another one finishes it, each file is there once."""

from __future__ import annotations

import asyncio
import re
from datetime import timedelta

import orjson
import pytest

from pipeline.core import Core
from pipeline.model import Event, FolderCopy, FolderDelete, FolderMove, Grant, Haul, Intake, StandingOrder
from pipeline.runs import ORDERS
from pipeline.settings import Settings
from pipeline.stored import MANIFEST
from pipeline.uploads import becoming
from tests.workers.conftest import once

from .crew import killed, until_alive, worker_until
from .ground import bytes_of, worker
from .wire import Moment

pytestmark = [pytest.mark.faults, pytest.mark.timeout(120)]

FILES = 250
FOLLOWED = """
nodes:
  file: {type: input}
  out: {type: save, from: file}
"""


async def folder_of(core: Core, grant: Grant) -> list[str]:
    """Files enough for three steps, by name."""
    names = [f"{number:03d}.txt" for number in range(FILES)]
    for name in names:
        await core.uploads.accept(grant, Intake(name=name, folder="x", store=True), once(name.encode()))
    return names


async def until_held_up(core: Core, grant: Grant, haul: Haul, place: str) -> None:
    """Return once the step has begun that the file of this name is in."""
    file = await core.records.lineages.at("demo", "x", place)
    assert file is not None
    async with asyncio.timeout(60):
        while file.id not in (await core.shelving.hauling.get(grant, haul.id)).reached.hand:
            await asyncio.sleep(0.02)


@pytest.mark.parametrize("act", [FolderCopy, FolderMove])
async def test_a_killed_workers_folder_is_finished_by_another(
    core: Core, settings: Settings, grant: Grant, act: type[FolderCopy | FolderMove]
) -> None:
    names = await folder_of(core, grant)
    async with worker(settings) as victim, core.shelving.places.turn("demo", "y/x", "150.txt"):
        await until_alive(core, victim)
        haul = await core.shelving.hauling.begin(grant, act(source="x", target="y/x"))
        await until_held_up(core, grant, haul, "150.txt")
        await killed(victim)
    left = await core.shelving.hauling.get(grant, haul.id)
    assert left.status == "pending" and left.reached.place is not None
    async with worker(settings) as heir:
        await until_alive(core, heir)
        done = await core.shelving.hauling.wait(grant, haul.id, 60)
        await heir.stop()
    assert (done.status, done.reached.failed) == ("completed", 0)
    (death,) = await core.records.queues.deaths(f"haul:{haul.id}")
    assert death.pid == victim.pid
    files = (await core.records.files.list("demo", limit=1000)).items
    folders = ["y/x"] if act is FolderMove else ["x", "y/x"]
    assert sorted((file.folder, file.name) for file in files) == [
        (folder, name) for folder in folders for name in names
    ]
    assert {file.version for file in files} == {1}
    for file in files:
        assert orjson.loads(await bytes_of(core, file.key + MANIFEST))["folder"] == file.folder
        assert await bytes_of(core, file.key) == file.name.encode()


async def test_a_killed_workers_deletion_is_finished_by_another(core: Core, settings: Settings, grant: Grant) -> None:
    names = await folder_of(core, grant)
    await core.shelving.folders.make("demo", "x/empty")
    held = await core.records.lineages.at("demo", "x", "150.txt")
    assert held is not None
    async with worker(settings) as victim, core.holds.of(held.id):
        await until_alive(core, victim)
        haul = await core.shelving.hauling.begin(grant, FolderDelete(source="x"))
        await until_held_up(core, grant, haul, "150.txt")
        await killed(victim)
    late = await core.uploads.accept(grant, Intake(name="late.txt", folder="x", store=True), once(b"late"))
    assert (await core.shelving.hauling.get(grant, haul.id)).status == "pending"
    async with worker(settings) as heir:
        await until_alive(core, heir)
        done = await core.shelving.hauling.wait(grant, haul.id, 60)
        await heir.stop()
    assert (done.status, done.reached.failed) == ("completed", 0)
    assert [file.id for file in (await core.records.files.list("demo", limit=1000)).items] == [late.id]
    assert await core.shelving.folders.noted("demo", "x/empty") == {}
    gone = [event.subject for event in await deleted(core)]
    assert len(gone) == len({*gone}) == len(names)


async def test_a_copy_whose_worker_is_killed_starts_what_follows_it(
    core: Core, settings: Settings, grant: Grant, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = await core.uploads.accept(grant, Intake(name="a.txt", folder="x", store=True), once(b"copied"))
    flow = await core.flows.put("followed", FOLLOWED)
    order = StandingOrder(flow="followed", version=flow.version).model_dump(mode="json")
    await core.records.sheets.add("demo", ORDERS, "order", {"order": order})
    # The step that makes the copy a file is the only one of the worker that says what its bytes are.
    kept = Moment(re.compile(rb"EVALSHA\r\n.*?" + source.sha256.encode(), re.DOTALL), 0, True)
    async with worker_until(settings, kept) as (victim, line):
        await until_alive(core, victim)
        haul = await core.shelving.hauling.begin(grant, FolderCopy(source="x", target="y"))
        await line.until_held()
        await killed(victim)
    copy = await core.records.lineages.at("demo", "y", "a.txt")
    assert copy is not None and not (await core.runs.list(grant)).items
    monkeypatch.setattr(becoming, "STRANDED_AFTER", timedelta(seconds=-5))
    async with worker(settings) as heir:
        await until_alive(core, heir)
        assert (await core.shelving.hauling.wait(grant, haul.id, 60)).status == "completed"
        await core.files.catch_up()  # a chore of the workers, who give a file half a minute
        async with asyncio.timeout(30):
            while not [run for run in (await core.runs.list(grant)).items if run.status == "completed"]:
                await asyncio.sleep(0.02)
        await heir.stop()
    (run,) = (await core.runs.list(grant)).items
    assert run.inputs == {"file": (copy.id,)}


async def deleted(core: Core) -> list[Event]:
    """What the log tells of files that were deleted."""
    return [event for event in await core.events.read("demo", limit=10_000) if event.type == "file.deleted"]
