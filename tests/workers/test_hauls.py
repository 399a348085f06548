"""Work on many files, done by real jobs: begun by one worker and finished by another, each file once."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from functools import partial
from typing import Any

import orjson
import pytest
from arq import Retry

from pipeline.acts import ended
from pipeline.core import Core
from pipeline.errors import FolderInvalid, HaulNotFound, StorageUnavailable
from pipeline.files import Files
from pipeline.jobs import ERRANDS
from pipeline.model import File, FolderCopy, FolderMove, Grant, Haul, Intake, Project, Reached, Redraw, now
from pipeline.records.lineages import lineage_of
from pipeline.shelving import HAUL, MOST_VERSIONS, carrying
from pipeline.shelving.hauling import Wish
from pipeline.stored import MANIFEST
from workers import hauls as module
from workers.hauls import Attempt, Hauls
from workers.queue import Queues, Work, worker_pool

from .conftest import once

MOVE, COPY = FolderMove(source="x", target="y/x"), FolderCopy(source="x", target="y/x", versions=True)


@pytest.fixture(autouse=True)
def one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(carrying, "BATCH", 1)
    monkeypatch.setattr(module, "FIRST_WAIT", 0.02)


@contextlib.asynccontextmanager
async def worker(core: Core, lease: float = 5) -> AsyncIterator[Queues]:
    """A reader of the errands while the block runs; behind it its process is gone and told nobody."""
    pool = worker_pool(core.settings.redis_url)
    hauls = Hauls(core)
    works = {HAUL: Work(hauls.haul, hauls.give_up)}
    reader = Queues(pool, core.settings.key_prefix, (ERRANDS,), 2, works, job_timeout=60, lease=lease)
    going = asyncio.create_task(reader.main())
    try:
        yield reader
    finally:
        await ended([going])
        await ended(reader.tasks.values())
        await pool.aclose(close_connection_pool=True)


async def stored(core: Core, grant: Grant, path: str, body: bytes, newer: File | None = None) -> File:
    """A file at a path, or the version after another one of it."""
    folder, _, name = path.rpartition("/")
    claims = {"lineage": lineage_of(newer), "version": newer.version + 1} if newer else {}
    return await core.uploads.accept(grant, Intake(name=name, folder=folder, store=True, **claims), once(body))


@pytest.fixture
async def tree(core: Core, grant: Grant) -> list[File]:
    """Two versions of a file, two more files, and a folder in which there is none."""
    first = await stored(core, grant, "x/deep/a.txt", b"1")
    files = [first, await stored(core, grant, "x/deep/a.txt", b"22", first)]
    files += [await stored(core, grant, f"x/{name}.txt", name.encode() * 3) for name in "bc"]
    await core.shelving.folders.make("demo", "x/empty")
    return files


async def lying(core: Core) -> list[tuple[str, int, int]]:
    """Path, version and size of every file."""
    files = (await core.records.files.list("demo", limit=200)).items
    return sorted((f"{file.folder}/{file.name}", file.version, file.size) for file in files)


def at(root: str) -> list[tuple[str, int, int]]:
    return [
        (f"{root}/b.txt", 1, 3),
        (f"{root}/c.txt", 1, 3),
        (f"{root}/deep/a.txt", 1, 1),
        (f"{root}/deep/a.txt", 2, 2),
    ]


async def until(holds: Callable[[], Awaitable[Any]]) -> None:
    async with asyncio.timeout(20):
        while not await holds():
            await asyncio.sleep(0.01)


async def done(core: Core, grant: Grant, haul: Haul) -> Haul:
    haul = await core.shelving.hauling.wait(grant, haul.id, 20)
    assert haul.status == "completed" and haul.ended_at is not None, haul
    return haul


async def hauled(core: Core, grant: Grant, wish: Wish) -> Haul:
    async with worker(core):
        return await done(core, grant, await core.shelving.hauling.begin(grant, wish))


async def manifest_of(core: Core, file: File) -> dict[str, Any]:
    chunks = [chunk async for chunk in core.storages[file.storage].open(file.key + MANIFEST)]
    told: dict[str, Any] = orjson.loads(b"".join(chunks))
    return told


# Another worker goes on with it


@pytest.mark.parametrize("wish", [COPY, MOVE], ids=["copy", "move"])
async def test_what_a_lost_worker_left_is_finished_by_another(
    core: Core, grant: Grant, tree: list[File], wish: Wish
) -> None:
    async with core.shelving.places.turn("demo", "y/x", "b.txt"):  # nobody gets past this file
        async with worker(core, lease=0.3):
            haul = await core.shelving.hauling.begin(grant, wish)

            async def is_in_the_middle() -> bool:
                return (await core.shelving.hauling.get(grant, haul.id)).reached.hand == (tree[2].id,)

            await until(is_in_the_middle)
        left = await core.shelving.hauling.get(grant, haul.id)
        assert left.status == "pending" and ("y/x/deep/a.txt", 2, 2) in await lying(core)
        assert "y/x/b.txt" not in {path for path, _, _ in await lying(core)}
    late = await stored(core, grant, "x/late.txt", b"333")
    async with worker(core):
        haul = await done(core, grant, haul)
    assert (haul.reached.failed, haul.reached.faults, haul.error) == (0, (), None)
    (death,) = await core.records.queues.deaths(f"haul:{haul.id}")
    assert death.error == "worker lost"
    noted = set(await core.shelving.folders.noted("demo"))
    if wish == MOVE:
        assert await lying(core) == sorted([*at("y/x"), ("y/x/late.txt", 1, 3)])
        assert noted == {"y", "y/x", "y/x/empty"}
    else:
        assert await lying(core) == sorted([*at("x"), *at("y/x"), ("x/late.txt", 1, 3)])
        assert noted == {"x", "x/empty", "y", "y/x", "y/x/empty"}
    assert (await core.files.get(grant, late.id)).name == "late.txt"


async def test_versions_that_were_copied_are_not_copied_again(core: Core, grant: Grant, tree: list[File]) -> None:
    alike = await stored(core, grant, "x/deep/a.txt", b"22", tree[1])
    haul = await core.shelving.hauling.begin(grant, COPY)
    await core.shelving.places.copy(grant, tree[:2], "y/x/deep", haul.id)  # here a worker broke off
    async with worker(core):
        await done(core, grant, haul)
    assert await lying(core) == sorted([*at("x"), *at("y/x"), ("x/deep/a.txt", 3, 2), ("y/x/deep/a.txt", 3, 2)])
    current = await core.records.lineages.at("demo", "y/x/deep", "a.txt")
    assert current is not None and current.version == 3 and current.sha256 == alike.sha256
    copies = await core.records.lineages.versions("demo", lineage_of(current))
    assert [copy.version for copy in copies] == [1, 2, 3]


async def test_a_move_that_broke_off_in_a_file_is_told_beside_its_bytes(
    core: Core, grant: Grant, tree: list[File]
) -> None:
    there = await stored(core, grant, "y/x/deep/a.txt", b"0")
    haul = await core.shelving.hauling.begin(grant, MOVE)
    await core.records.hauls.begin(haul.id, "lost")
    await core.records.hauls.mark(haul.id, "lost", Reached(hand=(tree[1].id, tree[2].id)))
    joined = {"folder": "y/x/deep", "lineage": lineage_of(there), "version": 2, "headed_at": now()}
    for file, fields in ((tree[0], joined), (tree[2], {"folder": "y/x"})):
        await core.records.files.change(file.id, partial(File.model_copy, update=fields), now())
        assert (await manifest_of(core, file))["folder"] == file.folder
    async with worker(core):
        await done(core, grant, haul)
    versions = await core.records.lineages.versions("demo", lineage_of(there))
    assert [version.id for version in versions] == [there.id, tree[0].id, tree[1].id]
    for file in (await core.records.files.list("demo")).items:
        told = await manifest_of(core, file)
        assert (told["folder"], told["lineage"]) == (file.folder, file.lineage) and file.folder.startswith("y/x")


async def test_who_is_late_changes_nothing(core: Core, grant: Grant, tree: list[File]) -> None:
    haul = await core.shelving.hauling.begin(grant, COPY)
    begun = await core.records.hauls.begin(haul.id, "late")
    await core.records.hauls.begin(haul.id, "heir")
    await Attempt(core, begun, "late").work()
    assert await lying(core) == at("x")
    async with core.shelving.places.turn("demo", "y/x/deep", "a.txt"):
        late = asyncio.create_task(Hauls(core).haul({}, haul.id))

        async def is_begun() -> bool:
            return bool((await core.shelving.hauling.get(grant, haul.id)).reached.hand)

        await until(is_begun)
        heir = asyncio.create_task(Hauls(core).haul({}, haul.id))
    await asyncio.wait_for(asyncio.gather(late, heir), 20)
    assert (await core.shelving.hauling.get(grant, haul.id)).status == "completed"
    assert await lying(core) == sorted([*at("x"), *at("y/x")])
    await Hauls(core).haul({}, haul.id)  # the job comes once more
    assert await lying(core) == sorted([*at("x"), *at("y/x")])


async def test_what_is_long_lets_others_have_their_turn(
    core: Core, grant: Grant, tree: list[File], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "SHIFT", -1.0)
    haul = await core.shelving.hauling.begin(grant, COPY)
    with pytest.raises(Retry) as raised:
        await Hauls(core).haul({}, haul.id)
    assert raised.value.defer_score == 0
    monkeypatch.undo()
    async with worker(core):
        await done(core, grant, haul)
    assert await lying(core) == sorted([*at("x"), *at("y/x")])


# What cannot be done


async def test_what_cannot_be_moved_stays_and_is_told(core: Core, grant: Grant, tree: list[File]) -> None:
    full = await stored(core, grant, "y/x/b.txt", b"0")
    for number in range(2, MOST_VERSIONS + 1):
        id = f"{number:08x}{full.id[8:]}"
        await core.records.files.create(
            full.model_copy(update={"id": id, "lineage": lineage_of(full), "version": number})
        )
    haul = await hauled(core, grant, MOVE)
    (fault,) = haul.reached.faults
    assert (fault.file, fault.path, fault.error.code) == (tree[2].id, "/x/b.txt", "VERSIONS_TOO_MANY")
    assert haul.reached.failed == 1 and (await core.files.get(grant, tree[2].id)).folder == "x"
    assert {file.folder for file in await core.records.files.get_many([tree[0].id, tree[3].id]) if file} == {
        "y/x/deep",
        "y/x",
    }


async def test_a_fault_that_passes_is_tried_again(
    core: Core, grant: Grant, tree: list[File], monkeypatch: pytest.MonkeyPatch
) -> None:
    edit, failed = Files.edit, list[str]()

    async def edited(files: Files, grant: Grant, id: str, *rest: Any) -> File:
        if id == tree[2].id and len(failed) < 2:
            failed.append(id)
            raise StorageUnavailable
        return await edit(files, grant, id, *rest)

    monkeypatch.setattr(Files, "edit", edited)
    haul = await hauled(core, grant, MOVE)
    assert len(failed) == 2 and haul.tries == 1 and haul.reached.failed == 0
    assert await lying(core) == at("y/x")


async def test_one_that_costs_its_workers_is_given_up(core: Core, grant: Grant) -> None:
    haul = await core.shelving.hauling.begin(grant, MOVE)
    await Hauls(core).give_up(haul.id, [None] * 3)  # type: ignore[list-item]
    failed = await core.shelving.hauling.wait(grant, haul.id, 1)
    assert failed.status == "failed" and failed.error is not None and failed.error.code == "HAUL_GIVEN_UP"
    await Hauls(core).haul({}, haul.id)
    assert (await core.shelving.hauling.get(grant, haul.id)) == failed


async def test_one_of_a_project_that_is_no_more(core: Core) -> None:
    gone = Grant(project=Project(id="gone"))
    haul = await core.shelving.hauling.begin(gone, MOVE)
    await Hauls(core).haul({}, haul.id)
    failed = await core.shelving.hauling.get(gone, haul.id)
    assert failed.error is not None and failed.error.code == "PROJECT_UNKNOWN"


async def test_what_is_refused_at_once(core: Core, grant: Grant) -> None:
    for wish in (
        FolderCopy(source="", target="x"),
        FolderCopy(source="x", target="x"),
        FolderMove(source="", target="x"),
        FolderMove(source="x", target="x/y"),
    ):
        with pytest.raises(FolderInvalid):
            await core.shelving.hauling.begin(grant, wish)
    haul = await core.shelving.hauling.begin(Grant(project=Project(id="other")), Redraw(path="/a"))
    with pytest.raises(HaulNotFound):
        await core.shelving.hauling.get(grant, haul.id)
    await Hauls(core).haul({}, "of long ago")
