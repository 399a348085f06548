"""Records made again from storage alone: every file as it was, and nothing that never was one."""

from __future__ import annotations

import asyncio
import tracemalloc
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from datetime import timedelta
from pathlib import Path
from uuid import uuid4

import pytest
from redis.asyncio import Redis

from pipeline import rebuild as house
from pipeline.core import Core, open_core
from pipeline.errors import StorageUnavailable
from pipeline.model import File, Grant, Intake, Project, new_id, now
from pipeline.rebuild import Rebuild, Rebuilt
from pipeline.settings import Settings
from pipeline.storage import STORAGES, LocalStorage
from pipeline.storage.base import Listed
from pipeline.stored import write_manifest
from tests.records.nouns import a_run, an_output, an_upload

GRANT = Grant(project=Project(id="demo"))
UNTRUE = "it does not describe the bytes beside it"


async def pieces(*chunks: bytes) -> AsyncIterator[bytes]:
    for chunk in chunks:
        yield chunk


@pytest.fixture(params=list(STORAGES))
def storage_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    urls: dict[str, Callable[[], str]] = {
        "memory": lambda: "memory://",
        "file": lambda: f"file://{tmp_path}/files",
        "s3": lambda: request.getfixturevalue("s3_url").replace("/tests?", f"/{uuid4()}?"),
    }
    return urls[request.param]()


@pytest.fixture
async def core(storage_url: str, redis_url: str, redis: Redis, tmp_path: Path) -> AsyncIterator[Core]:
    projects = {"demo": Project(id="demo")}
    storages = {"default": storage_url, "second": f"file://{tmp_path}/second"}
    settings = Settings(redis_url=redis_url, data_dir=tmp_path, storages=storages, projects=projects)
    async with open_core(settings) as core:
        yield core


async def rebuilt(core: Core, storage: str = "default") -> tuple[Rebuilt, list[str]]:
    notes: list[str] = []
    found = await Rebuild(core.records, core.storages, notes.append).rebuild(storage)
    assert found.unsound == len(notes)
    return found, notes


async def a_file(core: Core, key: str, body: bytes = b"x", **more: object) -> File:
    """Bytes with their manifest, and no record."""
    at = now()
    fields = {"id": new_id(), "project": "demo", "storage": "default", "key": key, "name": key.rpartition("/")[2]}
    facts = {"mime": "text/plain", "size": len(body), "sha256": "0" * 64, "created_at": at, "stored_at": at}
    file = File.model_validate({**fields, **facts, **more})
    await core.storages["default"].put(key, pieces(body), None, "text/plain")
    await write_manifest(core.storages["default"], file)
    return file


async def test_every_record_comes_back_as_it_was(core: Core, redis: Redis) -> None:
    sent = [
        await core.uploads.accept(GRANT, Intake(name="report.json", private=True), pieces(b'{"a": 1}')),
        await core.uploads.accept(GRANT, Intake(name="einß.txt", metadata={"who": "me"}), pieces(b"two")),
        await core.uploads.accept(GRANT, Intake(name="later.txt", store=False), pieces(b"three")),
        await core.uploads.accept(GRANT, Intake(name="elsewhere.txt", storage="second"), pieces(b"four")),
    ]
    sent.append(await core.files.keep(GRANT, sent.pop(2).id))
    output = await a_file(core, f"demo/runs/{(run := new_id())}/out/a/b.webp", run=run, path="a/b.webp")
    await redis.flushall()

    assert await rebuilt(core) == (Rebuilt("default", restored=4), [])
    assert await rebuilt(core, "second") == (Rebuilt("second", restored=1), [])
    assert [await core.records.files.get(file.id) for file in [*sent, output]] == [*sent, output]
    listed = await core.records.files.list("demo")
    assert {file.id for file in listed.items} == {file.id for file in [*sent, output]}
    assert await rebuilt(core) == (Rebuilt("default", known=4), [])


async def test_a_file_that_nobody_stored_still_expires(core: Core, redis: Redis) -> None:
    file = await core.uploads.accept(GRANT, Intake(store=False), pieces(b"x"))
    await redis.flushall()
    await rebuilt(core)
    assert [one.id for one in await core.records.files.expired(now() + timedelta(days=2))] == [file.id]


async def test_what_is_no_manifest_of_ours_is_left_out(core: Core, redis: Redis) -> None:
    storage = core.storages["default"]
    odd = {"demo/alone.json": b"{}", "demo/odd.txt": b"x", "demo/odd.txt.json": b"{}", "demo/huge": b"x"}
    for key, body in odd.items():
        await storage.put(key, pieces(body), None, "text/plain")
    await storage.put("demo/huge.json", pieces(b" " * (house.LARGEST + 1)), None, "text/plain")
    shorter = await a_file(core, "demo/files/aa/short.txt", b"longer")
    await storage.put(shorter.key, pieces(b"less"), None, "text/plain")
    gone = await a_file(core, "demo/files/aa/gone.txt")
    await storage.delete(gone.key)
    whole = await a_file(core, "demo/files/aa/whole.txt")
    for copy in ("demo/files/aa/copy.txt", "demo/files/aa/no-bytes.txt"):
        await storage.put(f"{copy}.json", pieces(whole.model_dump_json().encode()), None, "application/json")
    await storage.put("demo/files/aa/copy.txt", pieces(b"x"), None, "text/plain")
    strange = await a_file(core, "other/files/aa/strange.txt")

    found, notes = await rebuilt(core)
    unsound = ["demo/odd.txt", "demo/files/aa/copy.txt", *(file.key for file in (shorter, gone, strange))]
    assert sorted(notes) == sorted(f"storage `default`, {key}.json: {UNTRUE}" for key in unsound)
    assert found == Rebuilt("default", restored=1, unsound=5)
    assert [file.id for file in (await core.records.files.list("demo")).items] == [whole.id]


async def test_what_is_not_yet_or_never_was_a_file_stays_without_a_record(core: Core, redis: Redis) -> None:
    upload = an_upload()
    await core.records.uploads.create(upload)
    run, ended = a_run(), a_run()
    for one in (run, ended):
        await core.records.runs.create(one)
        await core.records.runs.start(one.id, 1, now())
    arriving = await a_file(core, "demo/files/aa/arriving.txt", id=upload.id)
    left = [await a_file(core, f"demo/runs/{one.id}/out/left.txt", run=one.id, path="left.txt") for one in (run, ended)]
    made = await a_file(core, f"demo/runs/{ended.id}/out/made.txt", run=ended.id, path="made.txt")
    await core.records.runs.commit(ended.id, 1, {}, [an_output(made)], [made], now())

    assert await rebuilt(core) == (Rebuilt("default", known=1, pending=3), [])
    assert await redis.delete(f"safelight:file:{made.id}")
    assert await rebuilt(core) == (Rebuilt("default", restored=1, pending=3), [])
    assert await core.records.files.get_many([file.id for file in (arriving, *left, made)]) == [None, None, None, made]
    await core.records.uploads.delete(upload.id)
    assert await rebuilt(core) == (Rebuilt("default", restored=1, known=1, pending=2), [])


async def test_of_two_tries_of_an_output_the_newer_is_taken(core: Core) -> None:
    run, id = new_id(), new_id()
    older, newer = (f"demo/runs/{run}{attempt}/out/a.txt" for attempt in ("", "-2"))
    await a_file(core, older, id=id, run=run, path="a.txt", created_at=now() - timedelta(hours=1))
    await a_file(core, newer, id=id, run=run, path="a.txt")
    assert await rebuilt(core) == (Rebuilt("default", restored=1, known=1), [])
    assert (await core.records.files.get(id)).key == newer


async def test_two_at_once_restore_each_file_once(core: Core) -> None:
    files = [await a_file(core, f"demo/files/aa/{number}.txt") for number in range(house.BATCH + 5)]
    found = [rebuild for rebuild, _ in await asyncio.gather(rebuilt(core), rebuilt(core))]
    assert [one.restored + one.known for one in found] == [len(files)] * 2
    assert sum(one.restored for one in found) == len(files)
    page = await core.records.files.list("demo", limit=200)
    assert {file.id for file in page.items} == {file.id for file in files}


class Failing(LocalStorage):
    """A storage of which one file cannot be read, or which is away from some key on."""

    unread: str | None = None
    away_after: int | None = None

    async def open(self, key: str, part: object = None) -> AsyncIterator[bytes]:
        if key == self.unread:
            raise StorageUnavailable
        async for piece in super().open(key):
            yield piece

    async def listing(self, after: str | None = None) -> AsyncGenerator[Listed, None]:
        told = 0
        async for listed in super().listing(after):
            if told == self.away_after:
                raise StorageUnavailable
            told += 1
            yield listed


@pytest.mark.parametrize("storage_url", ["file"], indirect=True)
async def test_what_cannot_be_read_is_named_and_a_storage_that_goes_away_loses_nothing(core: Core) -> None:
    files = [await a_file(core, f"demo/files/aa/{number:03}.txt") for number in range(house.BATCH + 20)]
    local = core.storages["default"]
    assert isinstance(local, LocalStorage)
    failing = Failing(local.root)
    going = Rebuild(core.records, {"default": failing}, (notes := list[str]()).append)
    failing.away_after = 2 * house.BATCH + 10
    assert await going.rebuild("default") == Rebuilt("default", restored=house.BATCH, away=True)
    failing.away_after, failing.unread = None, f"{files[-1].key}.json"
    assert await going.rebuild("default") == Rebuilt("default", restored=19, known=house.BATCH, unsound=1)
    assert notes == [f"storage `default`, {files[-1].key}.json: it cannot be read"]
    failing.unread = None
    assert await going.rebuild("default") == Rebuilt("default", restored=1, known=len(files) - 1)


@pytest.mark.parametrize("storage_url", ["memory"], indirect=True)
async def test_memory_does_not_grow_with_the_number_of_files(core: Core) -> None:
    async def peak(first: int, number: int) -> int:
        for place in range(first, first + number):
            await a_file(core, f"demo/files/aa/{place:05}.txt", metadata={"words": "x" * 5000})
        tracemalloc.start()
        try:
            found, _ = await rebuilt(core)
            assert found.restored == number
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    few = await peak(0, 2 * house.BATCH)
    assert await peak(2 * house.BATCH, 10 * house.BATCH) < 1.5 * few
