"""Files after they arrived, over real storages: changed, copied, counted, deleted, and brought back from storage."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Callable
from datetime import timedelta
from pathlib import Path
from uuid import uuid4

import pytest
from redis.asyncio import Redis

from pipeline.core import Core, open_core
from pipeline.errors import (
    FileNotFound,
    MetadataTooMany,
    QuotaExceeded,
    RequestInvalid,
    SafelightError,
    StorageUnavailable,
    TagsTooMany,
)
from pipeline.files import Copying
from pipeline.model import Derivative, Edit, File, FileQuery, Grant, Intake, Limits, Project, Region, Sum, Usage, now
from pipeline.rebuild import Rebuild
from pipeline.settings import Settings
from pipeline.storage import LocalStorage, S3Storage
from pipeline.storage.base import Listed
from pipeline.stored import MANIFEST, derivative_key
from tests.records.nouns import outcome

GRANT = Grant(project=Project(id="demo"))
BODY = b"some words, no picture"


async def pieces(*chunks: bytes) -> AsyncIterator[bytes]:
    for chunk in chunks:
        yield chunk


@pytest.fixture(params=["file", "s3", "memory"])
def storage_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    urls: dict[str, Callable[[], str]] = {
        "memory": lambda: "memory://",
        "file": lambda: f"file://{tmp_path}/files",
        "s3": lambda: request.getfixturevalue("s3_url").replace("/tests?", f"/{uuid4()}?"),
    }
    return urls[request.param]()


def made_settings(redis_url: str, folder: Path, storage: str) -> Settings:
    storages = {"default": storage, "second": f"file://{folder}/second"}
    projects = {"demo": Project(id="demo")}
    return Settings(redis_url=redis_url, data_dir=folder, storages=storages, projects=projects, unstored_expiry=3600)


@pytest.fixture
async def core(storage_url: str, redis_url: str, redis: Redis, tmp_path: Path) -> AsyncIterator[Core]:
    async with open_core(made_settings(redis_url, tmp_path, storage_url)) as core:
        yield core


@pytest.fixture
async def local(redis_url: str, redis: Redis, tmp_path: Path) -> AsyncIterator[Core]:
    async with open_core(made_settings(redis_url, tmp_path, f"file://{tmp_path}/files")) as core:
        yield core


async def sent(core: Core, body: bytes = BODY, grant: Grant = GRANT, **claims: object) -> File:
    return await core.uploads.accept(grant, Intake.model_validate({"name": "words.txt"} | claims), pieces(body))


async def bytes_of(core: Core, file: File) -> bytes:
    return b"".join([piece async for piece in core.storages[file.storage].open(file.key)])


async def manifest(core: Core, file: File) -> File:
    storage = core.storages[file.storage]
    return File.model_validate_json(b"".join([piece async for piece in storage.open(file.key + MANIFEST)]))


async def everything(core: Core) -> list[str]:
    found: list[Listed] = []
    for storage in core.storages.values():
        found += [listed async for listed in storage.listing()]
    return sorted(listed.key for listed in found)


async def events(core: Core, subject: str) -> list[str]:
    return [event.type for event in await core.events.read("demo", subject)]


# Changing


async def test_an_edit_changes_everything_but_the_bytes_and_where_they_lie(core: Core) -> None:
    file = await sent(core, tags=("old",), metadata={"a": "1", "b": "2"})
    edit = Edit(
        name="../neue Wörter.txt",
        folder="//shop/ shoes/",
        add_tags=("New",),
        remove_tags=("old",),
        merge_metadata={"a": None, "c": "3"},
        private=True,
        region=Region(x=1, y=2, width=3, height=4),
    )
    changed = await core.files.edit(GRANT, file.id, edit)
    assert (changed.name, changed.folder, changed.tags) == ("neue Wörter.txt", "shop/shoes", ("new",))
    assert changed.metadata == {"b": "2", "c": "3"} and changed.private and changed.region == edit.region
    assert (changed.key, changed.id, changed.sha256) == (file.key, file.id, file.sha256)
    assert await core.files.get(GRANT, file.id) == changed == await manifest(core, changed)
    assert await bytes_of(core, changed) == BODY
    (told,) = [event for event in await core.events.read("demo", file.id) if event.type == "file.updated"]
    assert set(told.facts["changed"]) == {"name", "folder", "tags", "metadata", "private", "region"}
    assert told.facts["previous"]["metadata"] == {"a": "1", "b": "2"} and told.facts["previous"]["name"] == "words.txt"
    assert (await core.files.edit(GRANT, file.id, Edit(region=None))).region is None


async def test_an_edit_that_changes_nothing_is_no_news(local: Core) -> None:
    file = await sent(local, tags=("a",))
    assert await local.files.edit(GRANT, file.id, Edit(tags=("A ",), private=False, folder="/")) == file
    assert "file.updated" not in await events(local, file.id)


@pytest.mark.parametrize(
    ("edit", "refused"),
    [
        (Edit(name="ok.txt", merge_metadata={str(number): "x" for number in range(51)}), MetadataTooMany),
        (Edit(name="ok.txt", add_tags=tuple(map(str, range(51)))), TagsTooMany),
    ],
)
async def test_an_edit_is_done_whole_or_not_at_all(local: Core, edit: Edit, refused: type[SafelightError]) -> None:
    file = await sent(local)
    with pytest.raises(refused):
        await local.files.edit(GRANT, file.id, edit)
    assert await local.files.get(GRANT, file.id) == file == await manifest(local, file)


async def test_twenty_changes_at_once_all_come_about(core: Core) -> None:
    file = await sent(core, metadata={"seed": "x"})
    edits = [Edit(merge_metadata={f"k{number}": str(number)}, add_tags=(f"t{number}",)) for number in range(20)]
    await asyncio.gather(*(core.files.edit(GRANT, file.id, edit) for edit in edits))
    changed = await core.files.get(GRANT, file.id)
    assert changed.metadata == {"seed": "x"} | {f"k{number}": str(number) for number in range(20)}
    assert set(changed.tags) == {f"t{number}" for number in range(20)}
    assert await manifest(core, changed) == changed
    assert (await events(core, file.id)).count("file.updated") == 20
    for number in range(20):
        assert [one.id for one in (await core.records.files.find("demo", FileQuery(tags=(f"t{number}",)))).items] == [
            file.id
        ]


async def test_of_fifty_one_keys_at_once_fifty_are_kept(local: Core) -> None:
    file = await sent(local, metadata={f"k{number}": "x" for number in range(40)})
    edits = [Edit(merge_metadata={f"n{number}": "y"}) for number in range(20)]
    told = await asyncio.gather(*(outcome(local.files.edit(GRANT, file.id, edit)) for edit in edits))
    assert told.count(MetadataTooMany) == 10
    changed = await local.files.get(GRANT, file.id)
    assert len(changed.metadata) == 50 and await manifest(local, changed) == changed


async def test_a_change_and_a_delete_at_once_leave_nothing_half(local: Core) -> None:
    for _ in range(15):
        file = await sent(local)
        edit, gone = Edit(add_tags=("late",)), local.files.delete(GRANT, file.id)
        told = await asyncio.gather(outcome(local.files.edit(GRANT, file.id, edit)), outcome(gone))
        assert told[0] is FileNotFound or isinstance(told[0], File)
        assert isinstance(told[1], File)
    assert await everything(local) == []
    assert await local.records.usage.get("demo") == Usage()


async def test_a_change_whose_manifest_failed_is_made_good_when_it_is_sent_again(
    local: Core, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = await sent(local, store=False)

    async def away(*_: object) -> int:
        raise StorageUnavailable

    with monkeypatch.context() as broken:
        broken.setattr(local.storages["default"], "put", away)
        for act in (local.files.edit(GRANT, file.id, Edit(name="new.txt")), local.files.keep(GRANT, file.id)):
            with pytest.raises(StorageUnavailable):
                await act
    assert (await manifest(local, file)).name == "words.txt"
    kept = await local.files.keep(GRANT, file.id)
    assert await manifest(local, file) == kept and kept.name == "new.txt" and kept.stored_at is not None


async def test_what_is_no_longer_stored_expires_after_its_time(core: Core) -> None:
    file = await sent(core)
    let_go = await core.files.unkeep(GRANT, file.id)
    assert let_go.stored_at is None and let_go.expires_at is not None
    assert abs(let_go.expires_at - now() - timedelta(hours=1)) < timedelta(minutes=1)
    assert await core.files.unkeep(GRANT, file.id) == let_go == await manifest(core, let_go)
    assert [one.id for one in await core.records.files.expired(now() + timedelta(hours=2))] == [file.id]
    kept = await core.files.keep(GRANT, file.id)
    assert kept.expires_at is None and await core.records.files.expired(now() + timedelta(hours=2)) == []
    assert (await events(core, file.id))[-3:] == ["file.stored", "file.unstored", "file.stored"]
    await core.files.unkeep(GRANT, file.id)
    assert await core.files.expire(file.id, now() + timedelta(hours=2))
    assert await everything(core) == []


# Copying


@pytest.mark.parametrize("target", ["default", "second"])
async def test_a_copy_is_a_file_of_its_own(core: Core, target: str) -> None:
    file = await sent(core, tags=("a",), metadata={"k": "v"}, folder="x", private=True)
    made = await core.files.copy(GRANT, file.id, Copying(storage=target))
    assert made.id != file.id and made.storage == target and made.key != file.key
    same = {"name", "mime", "size", "sha256", "tags", "metadata", "folder", "private"}
    assert made.model_dump(include=same) == file.model_dump(include=same)
    assert await manifest(core, made) == made == await core.files.get(GRANT, made.id)
    await core.files.delete(GRANT, file.id)
    assert await bytes_of(core, made) == BODY
    assert await events(core, made.id) == ["file.uploaded", "file.stored"]
    await core.files.delete(GRANT, made.id)
    assert await everything(core) == []


async def test_a_copy_differs_where_it_is_wished(local: Core) -> None:
    file = await sent(local, tags=("a",), metadata={"k": "v"})
    wish = Copying(name="b.txt", folder="/new", store=False, private=True, metadata={}, tags=())
    made = await local.files.copy(GRANT, file.id, wish)
    assert (made.name, made.folder, made.stored_at, made.private) == ("b.txt", "new", None, True)
    assert made.metadata == {} and made.tags == () and made.expires_at is not None


async def test_a_copy_that_cannot_be_leaves_nothing(core: Core) -> None:
    file = await sent(core)
    before = await everything(core)
    await core.storages["default"].delete(file.key)
    with pytest.raises(FileNotFound):
        await core.files.copy(GRANT, file.id)
    with pytest.raises(FileNotFound):
        await core.files.copy(GRANT, file.id, Copying(storage="second"))
    with pytest.raises(RequestInvalid):
        await core.files.copy(GRANT, file.id, Copying(storage="nowhere"))
    assert await everything(core) == [key for key in before if key != file.key]
    assert (await core.records.usage.get("demo")).files == 1


async def test_a_sweep_leaves_a_copy_that_is_being_made(local: Core, monkeypatch: pytest.MonkeyPatch) -> None:
    file = await sent(local)
    storage, swept = local.storages["default"], []
    assert isinstance(storage, LocalStorage)
    copy = storage.copy

    async def swept_over(source: str, target: str) -> None:
        await copy(source, target)
        await asyncio.sleep(0.01)
        swept.append(await local.sweeps.sweep("orphans"))

    monkeypatch.setattr(storage, "copy", swept_over)
    object.__setattr__(local.settings, "orphan_grace", 0.001)
    made = await local.files.copy(GRANT, file.id)
    assert await bytes_of(local, made) == BODY and swept[0].gone == 0


# What it takes


def allowed(**limits: int) -> Grant:
    return Grant(project=Project(id="demo", limits=Limits(**limits)))


async def test_of_twenty_uploads_at_once_as_many_come_in_as_there_is_room_for(core: Core) -> None:
    for grant in (allowed(max_files=7), allowed(max_storage=7 * len(BODY) + 5)):
        told = await asyncio.gather(*(outcome(sent(core, grant=grant)) for _ in range(20)))
        kept = [one for one in told if isinstance(one, File)]
        assert len(kept) == 7 and told.count(QuotaExceeded) == 13
        assert len(await everything(core)) == 14  # bytes and manifests
        used = await core.records.usage.get("demo")
        assert (used.files, used.bytes) == (7, 7 * len(BODY))
        await core.files.delete(GRANT, kept[0].id)
        await sent(core, grant=grant)
        for file in (await core.records.files.find("demo", FileQuery())).items:
            await core.files.delete(GRANT, file.id)


async def test_a_full_project_is_refused_before_a_byte_is_taken(local: Core) -> None:
    grant = allowed(max_storage=100)
    with pytest.raises(QuotaExceeded) as refused:
        await local.uploads.begin(grant, Intake(name="big.bin", declared_size=101))
    assert (refused.value.status, refused.value.facts) == (413, {"limit": 100, "unit": "bytes"})
    begun = [await local.uploads.begin(grant, Intake(name="x.bin", declared_size=60)) for _ in range(2)]
    for upload in begun:
        await local.uploads.append(grant, upload.id, 0, pieces(b"x" * 60))
    told = await asyncio.gather(*(outcome(local.uploads.finish(grant, upload.id)) for upload in begun))
    assert sum(isinstance(one, File) for one in told) == 1 and QuotaExceeded in told
    with pytest.raises(QuotaExceeded):
        await local.files.copy(grant, next(one.id for one in told if isinstance(one, File)))
    assert (await local.records.usage.get("demo")).bytes == 60


async def counted(core: Core) -> Usage:
    """The sums as a plain look at every record finds them."""
    texts = await core.redis.mget(await core.redis.keys(f"{core.settings.key_prefix}file:*") or ["none"])
    files = [File.model_validate_json(text) for text in texts if text]
    contents = {file.sha256: file.size for file in files}
    total = sum(file.size for file in files)
    spots = {
        name: Sum(
            files=sum(file.storage == name for file in files),
            bytes=sum(file.size for file in files if file.storage == name),
        )
        for name in sorted({file.storage for file in files})
    }
    doubles = Sum(files=len(files) - len(contents), bytes=total - sum(contents.values()))
    return Usage(files=len(files), bytes=total, doubles=doubles, storages=spots)


async def coming_and_going(core: Core, pick: random.Random, times: int) -> None:
    for _ in range(times):
        files = (await core.records.files.find("demo", FileQuery())).items
        act = pick.choice(("send", "send", "copy", "delete", "edit", "unstore"))
        if act == "send" or not files:
            await sent(core, b"x" * pick.randint(1, 4), storage=pick.choice(("default", "second")))
            continue
        id = pick.choice(files).id
        acts = {
            "copy": lambda id: core.files.copy(GRANT, id, Copying(storage="second")),
            "delete": lambda id: core.files.delete(GRANT, id),
            "edit": lambda id: core.files.edit(GRANT, id, Edit(folder=f"f{pick.randint(0, 3)}")),
            "unstore": lambda id: core.files.unkeep(GRANT, id),
        }
        await outcome(acts[act](id))


async def test_the_sums_are_exact_after_whatever_came_and_went(local: Core) -> None:
    await asyncio.gather(*(coming_and_going(local, random.Random(seed), 25) for seed in range(4)))
    assert await local.records.usage.get("demo") == await counted(local)


async def test_a_count_puts_wrong_sums_right_while_files_come_and_go(local: Core, redis: Redis) -> None:
    await coming_and_going(local, random.Random(5), 30)
    prefix = local.settings.key_prefix
    await redis.hset(f"{prefix}usage:demo", "bytes", 999_999)
    await redis.hset(f"{prefix}usage:demo", "files:gone", 3)
    done = False

    async def count() -> int:
        nonlocal done
        wrong = 0
        while not done:
            step = await local.records.usage.count("demo", 2)
            wrong, done = wrong + step.wrong, step.done
            await asyncio.sleep(0.002)
        return wrong

    wrong, *_ = await asyncio.gather(count(), coming_and_going(local, random.Random(6), 25))
    assert wrong == 1
    assert await local.records.usage.get("demo") == await counted(local)
    assert (await local.sweeps.sweep("usage")).gone == 0
    assert not await redis.exists(f"{prefix}count:demo")


async def test_the_sweep_puts_files_of_an_older_version_into_the_indexes(local: Core, redis: Redis) -> None:
    file = await sent(local, tags=("a",), folder="old")
    prefix = local.settings.key_prefix
    keep = (f"{prefix}file:{file.id}", f"{prefix}files:demo")
    for key in await redis.keys(f"{prefix}*"):
        if key.decode() not in keep:
            await redis.delete(key)
    await redis.zadd(f"{prefix}files:demo", {"11111111-1111-4111-8111-111111111111": 5})
    assert (await local.sweeps.sweep("usage", dry=True)).gone == 0
    swept = await local.sweeps.sweep("usage")
    assert swept.gone == 1
    assert (await local.records.files.find("demo", FileQuery(tags=("a",), folder="old"))).items == (file,)
    assert await local.records.usage.get("demo") == await counted(local)


async def test_everything_comes_back_from_storage_alone(core: Core, redis: Redis) -> None:
    file = await sent(core, tags=("a",), metadata={"k": "v"}, folder="x")
    await core.files.edit(GRANT, file.id, Edit(name="new.txt", add_tags=("b",), merge_metadata={"k": "w"}))
    await core.files.unkeep(GRANT, (await core.files.copy(GRANT, file.id)).id)
    await core.files.copy(GRANT, file.id, Copying(storage="second"))
    before = (await core.records.files.find("demo", FileQuery(), None, 9)).items, await core.records.usage.get("demo")
    await redis.flushall()
    for name in core.storages:
        await Rebuild(core.records, core.storages, print).rebuild(name)
    files = (await core.records.files.find("demo", FileQuery(), None, 9)).items
    assert (files, await core.records.usage.get("demo")) == before
    assert (await core.records.files.count("demo", FileQuery(tags=("b",), metadata={"k": "w"}))) == (3, True)
    assert (await core.records.files.count("demo", FileQuery(stored=False))) == (1, True)


# What is made of it


async def derived(core: Core, file: File, name: str) -> Derivative:
    derivative = Derivative(storage=file.storage, key=derivative_key(file, name), size=1)
    await core.storages[file.storage].put(derivative.key, pieces(b"x"), 1, "image/webp")
    return derivative


async def test_a_file_takes_what_was_made_of_it_along(core: Core) -> None:
    file, other = await sent(core), await sent(core)
    mine = [await derived(core, file, f"{number}.webp") for number in range(3)]
    theirs = await derived(core, other, "a.webp")
    assert all([await core.records.derivatives.add(file.id, one) for one in mine])
    assert await core.records.derivatives.add(other.id, theirs)
    assert await core.records.derivatives.of(file.id) == mine
    await core.files.delete(GRANT, file.id)
    assert await core.records.derivatives.of(file.id) == []
    assert not await core.records.derivatives.add(file.id, mine[0])
    assert sorted(await everything(core)) == sorted([other.key, other.key + MANIFEST, theirs.key])


async def test_what_was_made_of_a_file_is_swept_when_nobody_lists_it(core: Core) -> None:
    file, gone = await sent(core), await sent(core)
    listed, unlisted, late = [await derived(core, *of) for of in ((file, "a"), (file, "b"), (gone, "c"))]
    await core.records.derivatives.add(file.id, listed)
    await core.records.derivatives.add(gone.id, late)
    await core.records.files.delete(gone.id)
    await core.storages["default"].delete(gone.key)
    await core.storages["default"].delete(gone.key + MANIFEST)
    if isinstance(core.storages["default"], S3Storage):
        await asyncio.sleep(1.1)  # its listing tells whole seconds
    object.__setattr__(core.settings, "orphan_grace", 0.001)
    await asyncio.sleep(0.01)
    swept = await core.sweeps.sweep("orphans")
    assert swept.gone == 2, unlisted
    assert await everything(core) == sorted([file.key, file.key + MANIFEST, listed.key])
    assert await core.records.derivatives.of(gone.id) == []


# Many at once


async def test_a_batch_tells_of_each_file_and_stops_at_none(core: Core) -> None:
    files = [await sent(core, store=False) for _ in range(5)]
    strange = str(uuid4())
    ids = [files[0].id, strange, files[1].id, files[0].id]
    told = await core.files.each(GRANT, ids, core.files.keep)
    assert [one.id for one in told] == ids
    assert [type(one.error) for one in told] == [type(None), FileNotFound, type(None), type(None)]
    assert all(one.file and one.file.stored_at for one in told if one.error is None)
    assert (await core.records.files.count("demo", FileQuery(stored=True)))[0] == 2
    for none in ([], ids * 26):
        with pytest.raises(RequestInvalid):
            await core.files.each(GRANT, none, core.files.keep)


async def test_a_batch_by_query_goes_on_until_all_are_seen(local: Core, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline.files.BATCH", 4)
    for number in range(11):
        await sent(local, tags=("odd",) if number % 2 else ())
    query, cursor, gone = FileQuery(tags=("odd",)), None, 0
    while True:
        told, cursor = await local.files.each_of(GRANT, query, local.files.delete, cursor)
        gone += sum(one.error is None for one in told)
        if cursor is None:
            break
    assert gone == 5 and (await local.records.usage.get("demo")).files == 6
