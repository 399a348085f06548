"""Uploads through real parts: what is kept, what is refused, and that a refusal leaves nothing anywhere."""

from __future__ import annotations

import asyncio
import hashlib
import io
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from redis.asyncio import Redis

from pipeline.core import Core, open_core
from pipeline.errors import (
    BodyIncomplete,
    BodyTooLong,
    FileEmpty,
    FileNotFound,
    FileTooLarge,
    ImageTooLarge,
    ImageUnreadable,
    OffsetMismatch,
    RecordsUnavailable,
    SafelightError,
    StorageKeyNotFound,
    TypeMismatch,
    TypeNotAllowed,
    UploadBusy,
    UploadNotFound,
    UploadTakenOver,
)
from pipeline.model import File, Grant, Intake, Limits, Project, now
from pipeline.settings import Settings
from pipeline.storage.memory import MemoryStorage

PHOTO = Path(__file__).parent / "photos" / "sunset.jpg"


def picture(size: tuple[int, int] = (64, 48), form: str = "PNG", **options: Any) -> bytes:
    out = io.BytesIO()
    Image.linear_gradient("L").resize(size).convert("RGB").save(out, form, **options)
    return out.getvalue()


async def pieces(body: bytes, size: int = 65536, fault: BaseException | None = None) -> AsyncIterator[bytes]:
    for at in range(0, len(body), size):
        yield body[at : at + size]
    if fault:
        raise fault


class Stall:
    """Sends its bytes and then waits until told to go on."""

    def __init__(self, body: bytes) -> None:
        self.body, self.waits, self.go_on = body, asyncio.Event(), asyncio.Event()

    async def __aiter__(self) -> AsyncIterator[bytes]:
        yield self.body
        self.waits.set()
        await self.go_on.wait()


@pytest.fixture(scope="module", params=["local", "memory"])
async def core(request: pytest.FixtureRequest, redis_url: str, tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder = tmp_path_factory.mktemp("uploads")
    storages = {"default": f"file://{folder}/files" if request.param == "local" else "memory://"}
    settings = Settings(redis_url=redis_url, data_dir=folder, storages=storages, max_pixels=1_000_000)
    async with open_core(settings) as core:
        yield core


@pytest.fixture
async def grant(core: Core, redis: Redis) -> AsyncIterator[Grant]:
    yield Grant(project=Project(id="demo", limits=Limits(max_file_size=3_000_000)))
    await left_behind(core, redis)


async def left_behind(core: Core, redis: Redis) -> tuple[list[str], list[str]]:
    """Files of the data folder or the memory storage, and keys in Redis, events and counts aside."""
    storage = core.storages["default"]
    if isinstance(storage, MemoryStorage):
        files = list(storage.kept)
    else:
        files = [str(path) for path in core.settings.data_dir.rglob("*") if path.is_file()]
    keys = [key.decode() for key in await redis.keys("safelight:*")]
    told = ("safelight:events:", "safelight:subject:", "safelight:series:")
    return files, [key for key in keys if not key.startswith(told)]


@pytest.fixture(autouse=True)
async def clean(core: Core, redis: Redis) -> None:
    storage = core.storages["default"]
    if isinstance(storage, MemoryStorage):
        storage.kept.clear()
    for path in core.settings.data_dir.rglob("*"):
        if path.is_file():
            path.unlink()


async def read(core: Core, file: File) -> bytes:
    return b"".join([chunk async for chunk in core.storages[file.storage].open(file.key)])


async def events(core: Core, subject: str) -> list[str]:
    return [event.type for event in await core.events.read("demo", subject, None, 100)]


# accept


async def test_a_photograph_becomes_a_file_with_measured_facts(core: Core, grant: Grant) -> None:
    body = picture((640, 480), "JPEG")
    intake = Intake(name="../holiday/Ünï.jpg", declared_type="image/jpeg", declared_size=len(body), metadata={"a": "b"})
    file = await core.uploads.accept(grant, intake, pieces(body))
    assert (file.name, file.mime, file.size) == ("Ünï.jpg", "image/jpeg", len(body))
    assert file.sha256 == hashlib.sha256(body).hexdigest()
    assert file.key == f"demo/files/{file.id[:2]}/{file.id}/Ünï.jpg"
    assert file.image is not None and (file.image.format, file.image.width, file.image.height) == ("jpeg", 640, 480)
    assert file.metadata == {"a": "b"} and file.stored_at is not None and file.expires_at is None
    assert await read(core, file) == body
    assert await core.records.files.get(file.id) == file
    manifest = b"".join([chunk async for chunk in core.storages["default"].open(file.key + ".json")])
    assert File.model_validate_json(manifest) == file
    assert await events(core, file.id) == ["file.uploaded", "file.stored"]
    with pytest.raises(UploadNotFound):
        await core.uploads.get(grant, file.id)


async def test_a_real_photograph_of_several_chunks(core: Core) -> None:
    grant = Grant(project=Project(id="demo"))
    body = PHOTO.read_bytes()
    with Image.open(PHOTO) as photo:
        pixels = photo.width * photo.height
    intake = Intake(name="sunset.jpg")
    if pixels > core.settings.max_pixels:
        with pytest.raises(ImageTooLarge):
            await core.uploads.accept(grant, intake, pieces(body))
    else:
        assert (await core.uploads.accept(grant, intake, pieces(body))).size == len(body)


async def test_any_other_file_is_just_a_file(core: Core, grant: Grant) -> None:
    file = await core.uploads.accept(grant, Intake(name="notes.txt"), pieces(b"hello, darkroom"))
    assert (file.mime, file.image, file.name) == ("text/plain", None, "notes.txt")


async def test_a_file_without_a_name_gets_one(core: Core, grant: Grant) -> None:
    file = await core.uploads.accept(grant, Intake(name="\u202e/"), pieces(picture()))
    assert file.name == "file.png" and file.key.endswith("/file.png")


async def test_a_file_that_is_not_stored_expires(core: Core, grant: Grant) -> None:
    file = await core.uploads.accept(grant, Intake(store=False), pieces(b"for a day"))
    assert file.stored_at is None and file.expires_at is not None
    assert timedelta(hours=23) < file.expires_at - now() < timedelta(hours=25)
    assert await events(core, file.id) == ["file.uploaded"]


REFUSED: list[tuple[str, type[SafelightError], Intake, bytes]] = [
    ("too large", FileTooLarge, Intake(), b"x" * 3_000_001),
    ("too large for the flow", FileTooLarge, Intake(max_size=100), b"x" * 101),
    ("declared too large", FileTooLarge, Intake(declared_size=3_000_001), b"x"),
    ("longer", BodyTooLong, Intake(declared_size=99), b"x" * 100),
    ("shorter", BodyIncomplete, Intake(declared_size=200_000), b"x" * 100_000),
    ("empty", FileEmpty, Intake(), b""),
    ("wrong type", TypeNotAllowed, Intake(types=("image/*",)), b"just text"),
    ("lying type", TypeMismatch, Intake(declared_type="image/png"), b"just text"),
    ("truncated", ImageUnreadable, Intake(), picture((600, 600), "JPEG")[:-5000]),
    ("damaged header", ImageUnreadable, Intake(), b"\x89PNG\r\n\x1a\n" + b"nonsense" * 2000),
    ("bomb", ImageTooLarge, Intake(), picture((2000, 2000))),
    ("too many pixels for the flow", ImageTooLarge, Intake(max_pixels=100), picture()),
]


@pytest.mark.parametrize(("error", "intake", "body"), [r[1:] for r in REFUSED], ids=[r[0] for r in REFUSED])
async def test_a_refusal_leaves_nothing_behind(
    core: Core, grant: Grant, redis: Redis, error: type[SafelightError], intake: Intake, body: bytes
) -> None:
    with pytest.raises(error):
        await core.uploads.accept(grant, intake, pieces(body))
    assert await left_behind(core, redis) == ([], [])


async def test_the_same_refusals_end_a_resumable_upload(core: Core, grant: Grant, redis: Redis) -> None:
    for name, error, intake, body in REFUSED:
        if name == "shorter":
            continue
        with pytest.raises(error):
            upload = await core.uploads.begin(grant, intake)
            await core.uploads.append(grant, upload.id, 0, pieces(body))
            await core.uploads.finish(grant, upload.id)
        assert await left_behind(core, redis) == ([], []), name


async def test_a_type_the_project_forbids_is_refused(core: Core, redis: Redis) -> None:
    grant = Grant(project=Project(id="demo", allowed_types=("text/*",)))
    with pytest.raises(TypeNotAllowed):
        await core.uploads.accept(grant, Intake(), pieces(picture()))
    assert await left_behind(core, redis) == ([], [])


async def test_a_client_that_is_cut_off_leaves_nothing(core: Core, grant: Grant, redis: Redis) -> None:
    with pytest.raises(ConnectionResetError):
        await core.uploads.accept(grant, Intake(), pieces(b"x" * 300_000, fault=ConnectionResetError()))
    assert await left_behind(core, redis) == ([], [])


async def test_a_request_that_is_cancelled_leaves_nothing(core: Core, grant: Grant, redis: Redis) -> None:
    body = Stall(b"x" * 300_000)
    request = asyncio.create_task(core.uploads.accept(grant, Intake(), body))
    await body.waits.wait()
    request.cancel()
    with pytest.raises(asyncio.CancelledError):
        await request
    await core.cleaning.close()
    assert await left_behind(core, redis) == ([], [])


# begin, append, finish, abort


async def test_an_upload_in_parts_becomes_the_same_file(core: Core, grant: Grant) -> None:
    body = picture((500, 400), "WEBP", lossless=True)
    upload = await core.uploads.begin(grant, Intake(name="a.webp", declared_size=len(body)))
    middle = len(body) // 2
    assert (await core.uploads.append(grant, upload.id, 0, pieces(body[:middle]))).offset == middle
    assert (await core.uploads.get(grant, upload.id)).offset == middle
    await core.uploads.append(grant, upload.id, middle, pieces(body[middle:]))
    file = await core.uploads.finish(grant, upload.id)
    assert file.id == upload.id and file.mime == "image/webp" and await read(core, file) == body
    assert file.sha256 == hashlib.sha256(body).hexdigest()
    assert file.image is not None and file.image.width == 500
    assert await core.uploads.finish(grant, upload.id) == file  # the answer was lost, the client asks again
    assert await events(core, file.id) == ["file.uploaded", "file.stored"]


async def test_parts_of_a_few_bytes(core: Core, grant: Grant) -> None:
    body = picture((8, 8))
    upload = await core.uploads.begin(grant, Intake())
    for at in range(0, len(body), 7):
        await core.uploads.append(grant, upload.id, at, pieces(body[at : at + 7]))
    file = await core.uploads.finish(grant, upload.id)
    assert file.mime == "image/png" and file.name == "file" and await read(core, file) == body


async def test_what_came_before_a_cut_is_kept(core: Core, grant: Grant) -> None:
    body = b"y" * 500_000
    upload = await core.uploads.begin(grant, Intake(declared_size=len(body)))
    with pytest.raises(ConnectionResetError):
        await core.uploads.append(grant, upload.id, 0, pieces(body[:200_000], fault=ConnectionResetError()))
    stands = (await core.uploads.get(grant, upload.id)).offset
    assert 0 < stands <= 200_000
    assert (await core.records.uploads.get(upload.id)).offset == stands
    with pytest.raises(BodyIncomplete):
        await core.uploads.finish(grant, upload.id)
    await core.uploads.append(grant, upload.id, stands, pieces(body[stands:]))
    assert await read(core, await core.uploads.finish(grant, upload.id)) == body


async def test_a_cancelled_part_is_kept_too(core: Core, grant: Grant) -> None:
    upload = await core.uploads.begin(grant, Intake())
    body = Stall(b"z" * 300_000)
    request = asyncio.create_task(core.uploads.append(grant, upload.id, 0, body))
    await body.waits.wait()
    request.cancel()
    with pytest.raises(asyncio.CancelledError):
        await request
    await core.cleaning.close()
    stands = (await core.uploads.get(grant, upload.id)).offset
    assert (await core.records.uploads.get(upload.id)).offset == stands
    await core.uploads.append(grant, upload.id, stands, pieces(b"z" * (400_000 - stands)))
    assert (await core.uploads.finish(grant, upload.id)).size == 400_000


async def test_a_part_at_the_wrong_offset_changes_nothing(core: Core, grant: Grant) -> None:
    upload = await core.uploads.begin(grant, Intake())
    await core.uploads.append(grant, upload.id, 0, pieces(b"12345"))
    for wrong in (0, 3, 9):
        with pytest.raises(OffsetMismatch, match="stands at 5"):
            await core.uploads.append(grant, upload.id, wrong, pieces(b"abc"))
    assert (await core.uploads.get(grant, upload.id)).offset == 5


@pytest.mark.parametrize("verb", ["append", "finish", "abort", "standing"])
async def test_a_newer_request_ends_an_older_one_that_still_writes(core: Core, grant: Grant, verb: str) -> None:
    upload = await core.uploads.begin(grant, Intake())
    body = Stall(b"x" * 10_000)
    older = asyncio.create_task(core.uploads.append(grant, upload.id, 0, body))
    await body.waits.wait()
    if verb == "append":
        newer = core.uploads.append(grant, upload.id, 10_000, pieces(b"y" * 5))
        assert (await newer).offset == 10_005
        await core.uploads.abort(grant, upload.id)
    elif verb == "standing":
        assert (await core.growing.standing(grant, upload.id)).upload.offset == 10_000
        await core.uploads.abort(grant, upload.id)
    elif verb == "finish":
        file = await core.uploads.finish(grant, upload.id)
        assert await read(core, file) == b"x" * 10_000
        await core.files.delete(grant, file.id)
    else:
        await core.uploads.abort(grant, upload.id)
        assert await core.records.uploads.known([upload.id]) == set()
    with pytest.raises(UploadTakenOver):
        await older
    assert not body.go_on.is_set()


async def test_a_holder_that_does_not_yield_is_waited_for_and_then_left_alone(core: Core, grant: Grant) -> None:
    upload = await core.uploads.begin(grant, Intake())
    holds = core.uploads._holds
    async with holds.of(upload.id):
        with pytest.raises(UploadBusy):
            async with holds.of(upload.id, patience=0.3):
                raise AssertionError
        waiting = asyncio.create_task(core.uploads.abort(grant, upload.id))
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(asyncio.shield(waiting), 0.3)
    await waiting


async def test_an_aborted_upload_is_gone(core: Core, grant: Grant, redis: Redis) -> None:
    upload = await core.uploads.begin(grant, Intake())
    await core.uploads.append(grant, upload.id, 0, pieces(b"x" * 10_000))
    await core.uploads.abort(grant, upload.id)
    assert await left_behind(core, redis) == ([], [])
    for act in (
        core.uploads.append(grant, upload.id, 0, pieces(b"x")),
        core.uploads.finish(grant, upload.id),
        core.uploads.abort(grant, upload.id),
        core.uploads.get(grant, upload.id),
    ):
        with pytest.raises(UploadNotFound):
            await act


async def test_another_project_sees_neither_upload_nor_file(core: Core, grant: Grant) -> None:
    stranger = Grant(project=Project(id="other"))
    upload = await core.uploads.begin(grant, Intake())
    for act in (
        core.uploads.append(stranger, upload.id, 0, pieces(b"x")),
        core.uploads.finish(stranger, upload.id),
        core.uploads.abort(stranger, upload.id),
        core.uploads.get(stranger, upload.id),
    ):
        with pytest.raises(UploadNotFound):
            await act
    file = await core.uploads.accept(grant, Intake(), pieces(b"mine"))
    for act in (core.files.keep(stranger, file.id), core.files.delete(stranger, file.id)):
        with pytest.raises(FileNotFound):
            await act
    with pytest.raises(UploadNotFound):
        await core.uploads.finish(stranger, file.id)


async def test_a_finish_that_broke_off_after_the_promotion_can_be_sent_again(core: Core, grant: Grant) -> None:
    body = picture()
    upload = await core.uploads.begin(grant, Intake(name="p.png"))
    await core.uploads.append(grant, upload.id, 0, pieces(body))
    await core.stagings["default"].promote(await core.uploads.get(grant, upload.id), "image/png")
    file = await core.uploads.finish(grant, upload.id)
    assert await read(core, file) == body and file.sha256 == hashlib.sha256(body).hexdigest()


async def test_two_finishes_at_once_make_one_file(core: Core, grant: Grant) -> None:
    upload = await core.uploads.begin(grant, Intake())
    await core.uploads.append(grant, upload.id, 0, pieces(picture()))
    answers = await asyncio.gather(*(core.uploads.finish(grant, upload.id) for _ in range(4)), return_exceptions=True)
    files = [answer for answer in answers if not isinstance(answer, UploadBusy)]
    made = await core.records.files.get(upload.id)
    assert files and files == [made] * len(files)
    assert await events(core, upload.id) == ["file.uploaded", "file.stored"]


# keep, delete


async def test_keeping_a_file_stores_it_once(core: Core, grant: Grant) -> None:
    file = await core.uploads.accept(grant, Intake(store=False), pieces(b"keep me"))
    kept = await core.files.keep(grant, file.id)
    assert kept.stored_at is not None and kept.expires_at is None
    assert await core.files.keep(grant, file.id) == kept
    assert await events(core, file.id) == ["file.uploaded", "file.stored"]
    manifest = b"".join([chunk async for chunk in core.storages["default"].open(file.key + ".json")])
    assert File.model_validate_json(manifest) == kept


async def test_a_deleted_file_leaves_nothing(core: Core, grant: Grant, redis: Redis) -> None:
    file = await core.uploads.accept(grant, Intake(), pieces(picture()))
    await core.files.delete(grant, file.id)
    assert await left_behind(core, redis) == ([], [])
    with pytest.raises(FileNotFound):
        await core.files.delete(grant, file.id)
    with pytest.raises(StorageKeyNotFound):
        await read(core, file)
    assert (await events(core, file.id))[-1] == "file.deleted"


# What it stands on


async def test_without_redis_nothing_is_accepted_and_nothing_left(core: Core, grant: Grant, tmp_path: Path) -> None:
    away = Settings(redis_url=f"unix://{tmp_path}/nobody.sock", data_dir=tmp_path)
    async with open_core(away) as lost:
        with pytest.raises(RecordsUnavailable):
            await lost.uploads.accept(grant, Intake(), pieces(picture()))
        with pytest.raises(RecordsUnavailable):
            await lost.uploads.begin(grant, Intake())
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


async def test_a_whole_file_costs_two_round_trips(core: Core, grant: Grant, redis: Redis) -> None:
    await core.uploads.accept(grant, Intake(), pieces(b"the scripts are known now"))
    await redis.config_resetstat()
    await core.uploads.accept(grant, Intake(name="p.png"), pieces(picture()))
    calls = {name: facts["calls"] for name, facts in (await redis.info("commandstats")).items()}
    assert calls["cmdstat_evalsha"] == 2
    assert {name for name in calls if name.removeprefix("cmdstat_") in ("mget", "hgetall", "watch")} == set()


async def test_a_delete_that_cannot_be_recorded_is_not_told_as_done(core: Core, grant: Grant, redis: Redis) -> None:
    file = await core.uploads.accept(grant, Intake(), pieces(b"still on record"))
    upload = await core.uploads.begin(grant, Intake())
    await redis.config_set("maxmemory", 1)  # a server that takes no more writes
    try:
        for act in (core.files.delete(grant, file.id), core.uploads.abort(grant, upload.id)):
            with pytest.raises(RecordsUnavailable):
                await act
    finally:
        await redis.config_set("maxmemory", 0)
    assert await core.records.files.get(file.id) == file
    await core.files.delete(grant, file.id)
    await core.uploads.abort(grant, upload.id)
