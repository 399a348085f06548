"""Workers killed in the middle of a folder: another one finishes it, each file is there once."""

from __future__ import annotations

import asyncio

import orjson
import pytest

from pipeline.core import Core
from pipeline.model import FolderCopy, FolderMove, Grant, Haul, Intake
from pipeline.settings import Settings
from pipeline.stored import MANIFEST
from tests.workers.conftest import once

from .crew import killed, until_alive
from .ground import bytes_of, worker

pytestmark = [pytest.mark.faults, pytest.mark.timeout(120)]

FILES = 250


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
