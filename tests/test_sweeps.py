"""Sweeps over real records and storages: what they take, what they spare, and three of them at once."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4, uuid5

import pytest
from redis.asyncio import Redis

from pipeline import sweeps as house
from pipeline.core import Core, open_core
from pipeline.errors import FileNotFound, StorageKeyNotFound, UploadExpired
from pipeline.model import File, Grant, Intake, Problem, Project, Run, Upload, WorkerBeat, new_id, now
from pipeline.records.sweeps import Swept
from pipeline.settings import Settings
from pipeline.storage import LocalStorage, S3Storage, Storage
from pipeline.storage.s3 import Multipart
from pipeline.stored import write_manifest
from pipeline.sweeps import SWEEPS
from workers.schedules import SWEEP_SECONDS

LONG_AGO = now() - timedelta(days=40)
GRANT = Grant(project=Project(id="demo"))
MIB = 1024 * 1024


async def pieces(*chunks: bytes) -> AsyncIterator[bytes]:
    for chunk in chunks:
        yield chunk


@pytest.fixture(params=["file", "s3"])
def storage_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    urls: dict[str, Callable[[], str]] = {
        "file": lambda: f"file://{tmp_path}/files",
        "s3": lambda: request.getfixturevalue("s3_url").replace("/tests?", f"/{uuid4()}?"),
    }
    return urls[request.param]()


@pytest.fixture
def settings(redis_url: str, tmp_path: Path) -> Settings:
    return made_settings(redis_url, tmp_path, f"file://{tmp_path}/files")


def made_settings(redis_url: str, folder: Path, storage: str) -> Settings:
    projects = {"demo": Project(id="demo")}
    return Settings(redis_url=redis_url, data_dir=folder, storages={"default": storage}, projects=projects)


@pytest.fixture
async def core(settings: Settings, redis: Redis) -> AsyncIterator[Core]:
    async with open_core(settings) as core:
        yield core


@pytest.fixture
async def stored(storage_url: str, redis_url: str, tmp_path: Path, redis: Redis) -> AsyncIterator[Core]:
    """A core to whose sweeps everything in the storage is old."""
    settings = made_settings(redis_url, tmp_path, storage_url)
    async with open_core(settings.model_copy(update={"orphan_grace": 0.001})) as core:
        yield core


async def three(core: Core, name: str) -> list[Swept]:
    """What the same sweep did in three processes' cores at once."""
    async with AsyncExitStack() as stack:
        cores = [await stack.enter_async_context(open_core(core.settings)) for _ in range(3)]
        return await asyncio.gather(*(each.sweeps.sweep(name) for each in cores))


def total(swept: list[Swept]) -> Swept:
    return sum(swept, Swept())


async def everything(storage: Storage) -> list[str]:
    """Every key, and every unfinished byte."""
    if isinstance(storage, LocalStorage):
        return sorted(path.relative_to(storage.root).as_posix() for path in storage.root.rglob("*") if path.is_file())
    assert isinstance(storage, S3Storage)
    keys = [entry.key async for entry in storage.listed("")]
    return sorted([*keys, *[begun.key async for begun in storage.begun()]])


async def keys_of(redis: Redis, *words: str) -> list[str]:
    keys = [key.decode() for key in await redis.keys("safelight:*")]
    return sorted(key for key in keys if any(word in key for word in words) and ":sweeps:" not in key)


def test_every_sweep_has_its_time() -> None:
    assert set(SWEEPS) == set(SWEEP_SECONDS)


# Uploads and files that expired


async def an_expired_upload(core: Core) -> Upload:
    """An upload with bytes, whose time is over."""
    upload = await core.uploads.begin(GRANT, Intake(name="half.png"))
    await core.uploads.append(GRANT, upload.id, 0, pieces(b"half of it"))
    late = upload.model_copy(update={"expires_at": now() - timedelta(seconds=1)})
    await core.records.uploads.delete(upload.id)
    await core.records.uploads.create(late)
    return late


async def an_unstored_file(core: Core, body: bytes = b"nobody wants me") -> File:
    """A file that nobody stored in time."""
    file = await core.uploads.accept(GRANT, Intake(store=False), pieces(body))
    late = file.model_copy(update={"expires_at": now() - timedelta(seconds=1)})
    await core.records.files.delete(file.id)
    await core.records.files.create(late)
    return late


async def test_what_expired_goes_and_nothing_else(stored: Core, redis: Redis) -> None:
    kept = await stored.uploads.accept(GRANT, Intake(), pieces(b"stored"))
    later = await stored.uploads.accept(GRANT, Intake(store=False), pieces(b"not yet"))
    going = await stored.uploads.begin(GRANT, Intake())
    storage = stored.storages["default"]
    before = (await everything(storage), await keys_of(redis, "file", "upload"))
    upload, file = await an_expired_upload(stored), await an_unstored_file(stored)
    with pytest.raises(UploadExpired):
        await stored.uploads.append(GRANT, upload.id, 10, pieces(b"late"))
    assert total(await three(stored, "uploads")) == Swept(gone=1)
    assert total(await three(stored, "files")) == Swept(gone=1)
    assert await stored.sweeps.uploads() == await stored.sweeps.files() == Swept()
    assert (await everything(storage), await keys_of(redis, "file", "upload")) == before
    with pytest.raises(FileNotFound):
        await stored.records.files.get(file.id)
    for alive in (kept, later):
        assert await stored.records.files.get(alive.id) == alive
    assert (await stored.uploads.append(GRANT, going.id, 0, pieces(b"on"))).offset == 2


async def test_three_workers_remove_many_and_each_once(core: Core, redis: Redis) -> None:
    files = await asyncio.gather(*(an_unstored_file(core, b"%d" % number) for number in range(230)))
    await asyncio.gather(*(an_expired_upload(core) for _ in range(120)))
    swept = [await three(core, name) for name in ("files", "uploads")]
    again = [await core.sweeps.sweep(name) for name in ("files", "uploads")]
    assert [total(done).gone + more.gone for done, more in zip(swept, again, strict=True)] == [230, 120]
    assert await everything(core.storages["default"]) == []
    assert await keys_of(redis, "file:", "upload", "expiring") == []
    told = [event for event in await core.events.read("demo", limit=10_000) if event.type == "file.deleted"]
    once = [event.subject for event in told if event.subject in {file.id for file in files}]
    assert len(once) == 2 * 230  # the fixture's own deletion, and the sweep's


async def test_an_upload_in_use_is_left_alone_and_does_not_stop_the_others(core: Core) -> None:
    used = await an_expired_upload(core)
    turn, _ = await core.records.holds.take(used.id, 60)
    for _ in range(3):
        await an_expired_upload(core)
    assert await core.sweeps.uploads() == Swept(gone=3)
    await core.records.holds.give_back(used.id, turn)
    assert await core.sweeps.uploads() == Swept(gone=1)


async def test_files_of_a_storage_that_is_no_longer_ours_are_spared(core: Core) -> None:
    strange = await an_unstored_file(core)
    await core.records.files.delete(strange.id)
    await core.records.files.create(strange.model_copy(update={"storage": "gone"}))
    await an_unstored_file(core)
    assert await core.sweeps.files() == Swept(gone=1, spared=1)


async def test_a_storage_that_is_away_postpones(settings: Settings, core: Core, tmp_path: Path) -> None:
    file = await an_unstored_file(core)
    away = settings.model_copy(
        update={"storages": {"default": "s3://b/p?endpoint=http://127.0.0.1:1&region=x&access_key=a&secret_key=b"}}
    )
    async with open_core(away) as lost:
        assert await lost.sweeps.sweep("files") == Swept(postponed=1)
    assert await core.records.files.get(file.id) == file
    assert await core.sweeps.sweep("files") == Swept(gone=1)


async def test_an_id_without_a_record_does_not_stand_in_the_way(core: Core, redis: Redis) -> None:
    await redis.zadd("safelight:expiring:uploads", {new_id(): 1})
    await redis.zadd("safelight:expiring:files", {new_id(): 1})
    assert await core.sweeps.uploads() == await core.sweeps.files() == Swept()
    assert await keys_of(redis, "expiring") == []


# Runs, what they made, and events


def an_output(run: Run, path: str = "a.webp", attempt: int = 1, **fields: Any) -> File:
    folder = f"demo/runs/{run.id}" + ("" if attempt == 1 else f"-{attempt}")
    at = run.created_at
    known: dict[str, Any] = {"project": "demo", "storage": "default", "name": path, "mime": "image/webp", "size": 4}
    known |= {"key": f"{folder}/out/{path}", "sha256": "0" * 64, "created_at": at, "stored_at": at, "run": run.id}
    return File.model_validate(known | {"id": str(uuid5(UUID(run.id), f"out/{path}")), "path": path} | fields)


async def kept_bytes(core: Core, file: File, manifest: bool = True) -> File:
    await core.storages["default"].put(file.key, pieces(b"made"), 4, file.mime)
    if manifest:
        await write_manifest(core.storages["default"], file)
    return file


async def a_run(core: Core, **fields: Any) -> Run:
    known = {"project": "demo", "flow": "thumb", "version": "0" * 16, "inputs": {}, "created_at": LONG_AGO}
    run = Run.model_validate(known | fields)
    await core.records.runs.create(run)
    return run


async def ended(core: Core, run: Run, *files: File, failed: bool = False, at: Any = LONG_AGO) -> Run:
    await core.records.runs.begin(run.id, run.attempt, at)
    problem = Problem(code="X", message="x")
    if failed:
        await core.records.runs.fail(run.id, run.attempt, problem, {}, at)
    else:
        await core.records.runs.commit(run.id, run.attempt, {}, [], files, at)
    return run


async def test_old_runs_go_with_their_events_and_what_they_made_stays(core: Core, redis: Redis) -> None:
    old = await a_run(core)
    made = await kept_bytes(core, an_output(old))
    await ended(core, old, made)
    failed = await ended(core, await a_run(core), failed=True)
    cancelled = await a_run(core)
    await core.records.runs.cancel(cancelled.id, LONG_AGO)
    stays = [
        await ended(core, await a_run(core, created_at=now()), at=now()),
        await ended(core, await a_run(core), at=now()),  # begun long ago, ended today
        await a_run(core),
    ]
    await core.records.runs.begin(stays[2].id, 1, now())
    assert await core.sweeps.sweep("runs", dry=True) == Swept(gone=3)
    assert total(await three(core, "runs")) == Swept(gone=3)
    assert await core.sweeps.runs() == Swept()
    assert await keys_of(redis, f"run:{old.id}", f":{old.id}", failed.id, cancelled.id) == []
    listed = (await core.records.runs.list("demo")).items
    assert {run.id for run in listed} == {run.id for run in stays}
    assert {run.id for run in (await core.records.runs.list("demo", flow="thumb")).items} == {run.id for run in stays}
    assert {run.id for run in (await core.records.runs.list("demo", status="completed")).items} == {
        run.id for run in stays[:2]
    }
    counts = await core.records.runs.counts()
    assert (counts["completed"], counts["failed"], counts["cancelled"], counts["running"]) == (2, 0, 0, 1)
    assert await core.records.files.get(made.id) == made
    assert b"".join([piece async for piece in core.storages["default"].open(made.key)]) == b"made"


async def test_three_workers_forget_many_runs_in_steps(
    core: Core, redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(house, "MOST", 100)
    for _ in range(350):
        await ended(core, await a_run(core, inputs={}))
    await ended(core, again := await a_run(core))
    await core.records.runs.retry(again.id, now())
    done = total(await three(core, "runs"))
    assert done.more and 100 <= done.gone <= 350
    while (step := await core.sweeps.sweep("runs")).more:
        done += step
    assert (done + step).gone == 350
    assert (await core.records.runs.counts())["completed"] == 0
    assert [run.id for run in (await core.records.runs.list("demo")).items] == [again.id]
    assert [key for key in await keys_of(redis, ":run:") if again.id not in key] == []


async def test_letters_go_when_their_time_is_over_and_their_runs_stay(core: Core, redis: Redis) -> None:
    old, new = [Run(project="demo", flow="thumb", version="0" * 16, inputs={}) for _ in range(2)]
    for run, at in ((old, LONG_AGO), (new, now())):
        await core.records.runs.create(run)
        assert await core.records.letters.add(run.id, 1, Problem(code="POISONED", message="Too often."), at=at)
    assert await core.sweeps.sweep("letters", dry=True) == Swept(gone=1)
    assert total(await three(core, "letters")) == Swept(gone=1)
    assert [letter.run.id for letter in (await core.records.letters.list("demo")).items] == [new.id]
    assert (await core.records.runs.get(old.id)).status == "failed"
    told = [event for event in await core.events.read("demo", old.id) if event.type == "letter.resolved"]
    assert [event.facts["how"] for event in told] == ["expired"]


async def test_what_runs_made_goes_only_when_it_is_to_be(settings: Settings, core: Core, redis: Redis) -> None:
    old, fresh = await a_run(core), await a_run(core, created_at=now())
    made = [await kept_bytes(core, an_output(old, f"{number}.webp")) for number in range(150)]
    await ended(core, old, *made)
    new = await kept_bytes(core, an_output(fresh))
    await ended(core, fresh, new, at=now())
    sent = await core.uploads.accept(GRANT, Intake(), pieces(b"sent"))
    await core.records.files.delete(sent.id)
    await core.records.files.create(sent.model_copy(update={"created_at": LONG_AGO}))
    assert await core.sweeps.outputs() == Swept()
    brief = settings.model_copy(update={"output_retention": 86_400})
    async with open_core(brief) as strict:
        assert await strict.sweeps.sweep("outputs", dry=True) == Swept(gone=150)
        # Of files made in one moment a sweep may leave some to whoever it met there, and to the next.
        done = [*await three(strict, "outputs"), await strict.sweeps.sweep("outputs")]
        assert total(done).gone == 150
        assert await strict.sweeps.sweep("outputs") == Swept()
        later = await kept_bytes(core, an_output(old, "later.webp", created_at=now() - timedelta(days=2)))
        await core.records.files.create(later)
        assert await strict.sweeps.sweep("outputs") == Swept(gone=1)
    assert sorted(await everything(core.storages["default"])) == sorted(
        [new.key, f"{new.key}.json", sent.key, f"{sent.key}.json"]
    )
    assert {file.id for file in (await core.records.files.list("demo")).items} == {new.id, sent.id}


async def test_old_events_go_and_new_ones_stay(core: Core, redis: Redis) -> None:
    entry: dict[Any, Any] = {"type": "file.stored", "subject": "x", "at": LONG_AGO.isoformat(), "facts": "{}"}
    for project in ("demo", ""):
        async with redis.pipeline(transaction=False) as pipe:
            for number in range(2530):
                pipe.xadd(f"safelight:events:{project}", entry, id=f"{1000 + number}-0")
            await pipe.execute()
    file = await core.uploads.accept(GRANT, Intake(), pieces(b"today"))
    assert await core.sweeps.sweep("events", dry=True) == Swept(gone=2 * 2530)
    assert total(await three(core, "events")) == Swept(gone=2 * 2530)
    assert await core.sweeps.events() == Swept()
    assert [event.subject for event in await core.events.read("demo", limit=10)] == [file.id, file.id]
    assert await core.events.read("", limit=10) == []


async def test_projects_that_left_the_settings_are_swept_until_nothing_is_left_of_them(
    core: Core, redis: Redis
) -> None:
    old = core.settings.model_copy(update={"projects": {name: Project(id=name) for name in ("demo", "former", "busy")}})
    async with open_core(old) as earlier:
        await earlier.sweeps.sweep("events")
    for project in ("former", "busy", "demo"):
        entry: dict[Any, Any] = {"type": "file.stored", "subject": "x", "at": LONG_AGO.isoformat(), "facts": "{}"}
        await redis.xadd(f"safelight:events:{project}", entry, id="1000-0")
    ended = Run(project="former", flow="thumb", version="0" * 16, inputs={})
    await core.records.runs.create(ended)
    await core.records.runs.cancel(ended.id, now())
    await core.records.runs.create(Run(project="busy", flow="thumb", version="0" * 16, inputs={}))

    dry = await core.sweeps.sweep("events", dry=True)
    assert total(await three(core, "events")) == dry == Swept(gone=3)
    # Who has a new event or an open run stays, and is looked at again.
    assert await core.records.retention.noted_projects() == {"", "demo", "former", "busy"}
    await redis.delete("safelight:events:former")
    assert total(await three(core, "events")) == Swept()
    assert await core.records.retention.noted_projects() == {"", "demo", "busy"}
    assert await redis.exists("safelight:depths:former") == 0 != await redis.exists("safelight:depths:busy")


# Bytes that belong to nothing


async def test_only_bytes_that_belong_to_nothing_go(stored: Core, redis: Redis) -> None:
    storage, records = stored.storages["default"], stored.records
    file = await stored.uploads.accept(GRANT, Intake(name="kept.png"), pieces(b"kept"))
    going = await stored.uploads.begin(GRANT, Intake(name="going.png"))
    await storage.put(going.key, pieces(b"promoted, not yet a file"), None, "image/png")
    running, broken = await a_run(stored), await a_run(stored)
    await records.runs.begin(running.id, 1, now())
    await ended(stored, broken, failed=True)
    completed = await a_run(stored)
    made = await kept_bytes(stored, an_output(completed, "info.json"))
    await ended(stored, completed, made)
    lost = new_id()
    stays = [
        *[file.key, f"{file.key}.json", going.key],
        *[made.key, f"{made.key}.json"],
        (await kept_bytes(stored, an_output(running))).key,
        (await kept_bytes(stored, an_output(broken, "next.webp", attempt=2))).key,  # of a retry that is to come
        (await kept_bytes(stored, an_output(Run(project="demo", flow="f", version="0", inputs={})))).key,
        "demo/notes.txt",
        f"demo/files/{lost[:3]}/{lost}/x.png",
    ]
    for key in stays[-2:]:
        await storage.put(key, pieces(b"of another program"), None, "text/plain")
    lost_file = file.model_copy(update={"id": lost, "key": f"demo/files/{lost[:2]}/{lost}/kept.png"})
    await kept_bytes(stored, lost_file)
    orphan = new_id()
    goes = [
        f"demo/files/{orphan[:2]}/{orphan}/x.png",
        f"demo/files/{orphan[2:4]}/{orphan}/alone.png.json",
        (await kept_bytes(stored, an_output(broken))).key,
        f"demo/runs/{completed.id}/out/other.webp",
    ]
    for key in (goes[0], goes[1], goes[3]):
        await storage.put(key, pieces(b"x"), None, "image/png")
    everyone = set(await everything(storage))
    dry = await stored.sweeps.sweep("orphans", dry=True)
    assert (dry.gone, dry.spared) == (5, 4)  # four and a manifest; the two lost files, each with its manifest
    assert set(await everything(storage)) == everyone
    swept = total(await three(stored, "orphans"))
    assert swept.gone >= 5 and swept.postponed == 0  # deleting twice is no harm, and counted by each
    left = set(await everything(storage))
    assert everyone - left == {*goes, f"{goes[2]}.json"}
    assert {*stays, lost_file.key, f"{lost_file.key}.json"} <= left
    assert await stored.sweeps.orphans() == Swept(spared=4)


async def test_young_bytes_are_spared(core: Core) -> None:
    orphan = new_id()
    key = f"demo/files/{orphan[:2]}/{orphan}/x.png"
    await core.storages["default"].put(key, pieces(b"x"), None, "image/png")
    assert await core.sweeps.orphans() == Swept()
    os.utime(core.storages["default"].local_path(key) or "", (LONG_AGO.timestamp(),) * 2)
    assert await core.sweeps.orphans() == Swept(gone=1)


async def test_a_long_listing_is_gone_through_in_steps_by_whoever_comes(
    stored: Core, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(house, "MOST_KEYS", 5)
    storage = stored.storages["default"]
    for number in range(23):
        orphan = new_id()
        await storage.put(f"demo/files/{orphan[:2]}/{orphan}/x.png", pieces(b"x"), None, "image/png")
        await storage.put(f"kept/{number}", pieces(b"x"), None, "text/plain")
    steps = []
    async with open_core(stored.settings) as other:
        for number in range(10):
            steps.append(await (stored, other)[number % 2].sweeps.sweep("orphans"))
            if not steps[-1].more:
                break
    assert len(steps) == 10 and [step.more for step in steps] == [True] * 9 + [False]
    assert total(steps).gone == 23
    assert [key for key in await everything(storage) if not key.startswith("kept/")] == []
    assert await stored.records.sweeps.places("orphans") == {}


async def test_unfinished_bytes_without_an_upload_go(stored: Core) -> None:
    storage = stored.storages["default"]
    going = await stored.uploads.begin(GRANT, Intake(name="going.bin"))
    await stored.uploads.append(GRANT, going.id, 0, pieces(bytes(6 * MIB)))
    gone = await stored.uploads.begin(GRANT, Intake(name="gone.bin"))
    await stored.uploads.append(GRANT, gone.id, 0, pieces(bytes(6 * MIB)))
    before = set(await everything(storage))
    await stored.records.uploads.delete(gone.id)
    running = await a_run(stored)
    await stored.records.runs.begin(running.id, 1, now())
    if isinstance(storage, S3Storage):
        spared = ["another/program.bin", f"demo/runs/{running.id}/out/large.webp"]
        for key in [*spared, f"demo/runs/{new_id()}/out/killed.webp"]:
            await (await Multipart.begin(storage, storage.place(key), "image/webp")).send(1, bytes(MIB))
    else:
        spared = []
        assert isinstance(storage, LocalStorage)
        draft = storage.staging / "put-of-a-dead-process"
        draft.write_bytes(b"half")
        os.utime(draft, (LONG_AGO.timestamp(),) * 2)
    dry = await stored.sweeps.sweep("staged", dry=True)
    swept = total(await three(stored, "staged"))
    assert swept.gone >= dry.gone >= 2 and swept.postponed == 0
    left = await everything(storage)
    assert set(left) == {key for key in before if gone.id not in key} | set(spared)
    assert await stored.sweeps.staged() == Swept()
    assert (await stored.uploads.get(GRANT, going.id)).offset == 6 * MIB


async def test_young_unfinished_bytes_are_spared(core: Core) -> None:
    upload = await core.uploads.begin(GRANT, Intake())
    await core.uploads.append(GRANT, upload.id, 0, pieces(b"half"))
    await core.records.uploads.delete(upload.id)
    assert await core.sweeps.staged() == Swept()


# Temporary files


def folder_of(core: Core, run: str, attempt: int = 1, old: bool = True) -> Path:
    folder = core.settings.data_dir / "tmp" / f"run-{run}-{attempt}-7f00ab"
    folder.mkdir(parents=True)
    (folder / "input").write_bytes(b"x")
    if old:
        os.utime(folder, (LONG_AGO.timestamp(),) * 2)
    return folder


async def test_temporary_files_that_nobody_works_on_go(core: Core) -> None:
    done, working, held = (
        (await ended(core, await a_run(core))),
        await a_run(core),
        await ended(core, await a_run(core)),
    )
    await core.records.runs.begin(working.id, 1, now())
    beat = WorkerBeat(id="w", host="h", pid=1, version="1", queues=(), slots=1, running=(held.id,), started_at=now())
    await core.records.workers.beat(beat, 60)
    goes = [folder_of(core, done.id), folder_of(core, new_id()), folder_of(core, working.id, attempt=3)]
    stays = [folder_of(core, working.id), folder_of(core, held.id), folder_of(core, new_id(), old=False)]
    copies = [core.settings.data_dir / "tmp" / name for name in (new_id(), new_id(), "somebody's")]
    for copy in copies:
        copy.write_bytes(b"x")
    os.utime(copies[0], (LONG_AGO.timestamp(),) * 2)
    os.utime(copies[2], (LONG_AGO.timestamp(),) * 2)
    assert await core.sweeps.sweep("folders", dry=True) == Swept(gone=4)
    swept = total(await three(core, "folders"))
    assert swept.gone >= 4
    assert [path.exists() for path in [*goes, copies[0]]] == [False] * 4
    assert [path.exists() for path in [*stays, copies[1], copies[2]]] == [True] * 5


# Reports


async def test_a_report_tells_the_last_sweep_and_the_sum(core: Core) -> None:
    assert await core.records.sweeps.report("files") is None
    for count in (2, 1, 0):
        for _ in range(count):
            await an_unstored_file(core)
        await core.sweeps.sweep("files")
    report = await core.records.sweeps.report("files")
    assert report and (report.gone, report.total, report.times) == (0, 3, 3)
    assert abs(report.at - now()) < timedelta(minutes=1) and report.seconds < 60


async def test_a_dry_sweep_removes_and_reports_nothing(core: Core) -> None:
    file, upload = await an_unstored_file(core), await an_expired_upload(core)
    before = await everything(core.storages["default"])
    assert [await core.sweeps.sweep(name, dry=True) for name in ("files", "uploads")] == [Swept(gone=1)] * 2
    assert await everything(core.storages["default"]) == before
    assert await core.records.files.get(file.id) == file
    assert await core.records.uploads.get(upload.id)
    assert await core.records.sweeps.report("files") is None
    with pytest.raises(StorageKeyNotFound):
        await anext(core.storages["default"].open("demo/nothing"))
