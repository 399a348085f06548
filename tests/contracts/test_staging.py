"""What every staging promises, run over each member of the room's index."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from datetime import timedelta
from pathlib import Path
from random import Random
from uuid import uuid4

import pytest

from pipeline.errors import OffsetMismatch, UploadTakenOver
from pipeline.model import Intake, Upload, new_id, now
from pipeline.staging import STAGINGS, Staging, staging_for
from pipeline.storage import STORAGES, LocalStorage, MemoryStorage, S3Storage, Storage, open_storage
from pipeline.storage.s3 import Multipart

from .test_storage import bytes_of, leftovers, pieces

MIB = 1024 * 1024
TYPE = "image/webp"


@pytest.fixture(params=list(STORAGES))
async def address(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    urls: dict[str, Callable[[], str]] = {
        "memory": lambda: "memory://",
        "file": lambda: f"file://{tmp_path}/files",
        "s3": lambda: request.getfixturevalue("s3_url").replace("/tests?", f"/{uuid4()}?"),
    }
    return urls[request.param]()


@pytest.fixture
async def storage(address: str) -> AsyncIterator[Storage]:
    opened = open_storage(address)
    yield opened
    await opened.close()


@pytest.fixture
def staging(storage: Storage) -> Staging:
    return staging_for(storage)


@pytest.fixture
async def elsewhere(address: str, storage: Storage) -> AsyncIterator[Staging]:
    """The staging as another process has it: nothing shared but what lies in the storage."""
    other = storage if isinstance(storage, MemoryStorage) else open_storage(address)
    yield staging_for(other)
    await other.close()


@pytest.fixture
def upload() -> Upload:
    id = new_id()
    key = f"demo/files/{id[:2]}/{id}/photo.webp"
    return Upload(id=id, project="demo", storage="default", key=key, intake=Intake(), expires_at=now() + timedelta(1))


def noise(length: int, seed: int = 1) -> bytes:
    return Random(seed).randbytes(length)


async def cut_off(*chunks: bytes) -> AsyncIterator[bytes]:
    for chunk in chunks:
        yield chunk
    raise ConnectionResetError("the client went away")


def test_every_storage_has_its_staging() -> None:
    assert set(STAGINGS) == {MemoryStorage, LocalStorage, S3Storage}
    assert len(STAGINGS) == len(STORAGES)


async def test_pieces_become_the_bytes(storage: Storage, staging: Staging, upload: Upload) -> None:
    assert await staging.offset(upload) == 0
    assert await staging.append(upload, 0, pieces(b"one ", b"two ")) == 8
    assert await staging.append(upload, 8, pieces(b"three")) == 13
    assert await staging.offset(upload) == 13
    assert await storage.stat(upload.key) is None
    await staging.promote(upload, TYPE)
    assert await bytes_of(storage, upload.key) == b"one two three"
    found = await storage.stat(upload.key)
    assert found and (found.size, found.media_type) == (13, TYPE)
    assert await leftovers(storage) == [upload.key]


async def test_a_whole_body_takes_the_place_of_another(
    storage: Storage, staging: Staging, elsewhere: Staging, upload: Upload
) -> None:
    assert not await staging.read(upload, 10)
    for body in (noise(300_000), b"the second"):
        await staging.replace(upload, body)
        assert await elsewhere.offset(upload) == len(body)
        assert await elsewhere.read(upload, len(body)) in (body, None)
    assert await staging.read(upload, 9) is None
    bodies = [noise(1000, seed) for seed in range(8)]
    await asyncio.gather(*((elsewhere if seed % 2 else staging).replace(upload, bodies[seed]) for seed in range(8)))
    await staging.promote(upload, TYPE)
    assert await bytes_of(storage, upload.key) in bodies
    assert await leftovers(storage) == [upload.key]
    await staging.replace(upload, b"late")
    await elsewhere.drop(upload)
    assert await leftovers(storage) == [upload.key]


@pytest.mark.parametrize("wrong", [0, 5, 8])
async def test_a_wrong_offset_changes_nothing(staging: Staging, upload: Upload, wrong: int) -> None:
    await staging.append(upload, 0, pieces(b"staged"))
    for final in (False, True):
        with pytest.raises(OffsetMismatch) as refused:
            await staging.append(upload, wrong, pieces(b"more"), final=final)
        assert refused.value.facts == {"expected": 6, "given": wrong}
    assert await staging.offset(upload) == 6


async def test_nothing_can_be_appended_beyond_nothing(staging: Staging, upload: Upload) -> None:
    with pytest.raises(OffsetMismatch):
        await staging.append(upload, 1, pieces(b"x"))
    assert await staging.offset(upload) == 0


@pytest.mark.parametrize("lengths", [(3, 4), (3 * MIB, 100), (5 * MIB, 0), (4 * MIB, 9 * MIB)])
async def test_what_came_before_a_cut_stays(
    storage: Storage, staging: Staging, elsewhere: Staging, upload: Upload, lengths: tuple[int, int]
) -> None:
    first, second = noise(lengths[0]), noise(lengths[1], 2)
    await staging.append(upload, 0, pieces(first))
    with pytest.raises(ConnectionResetError):
        await staging.append(upload, len(first), cut_off(second))
    assert await elsewhere.offset(upload) == len(first) + len(second)
    await elsewhere.append(upload, len(first) + len(second), pieces(b"rest"))
    await staging.promote(upload, TYPE)
    assert await bytes_of(storage, upload.key) == first + second + b"rest"


@pytest.mark.parametrize("length", [100, 7 * MIB])
async def test_a_cancelled_append_keeps_what_came(
    staging: Staging, elsewhere: Staging, upload: Upload, length: int
) -> None:
    arrived = asyncio.Event()

    async def stalls() -> AsyncIterator[bytes]:
        yield noise(length)
        arrived.set()
        await asyncio.Event().wait()

    appending = asyncio.create_task(staging.append(upload, 0, stalls()))
    await arrived.wait()
    appending.cancel()
    with pytest.raises(asyncio.CancelledError):
        await appending
    assert await elsewhere.offset(upload) == length


async def test_a_cut_in_the_last_append_keeps_what_came(staging: Staging, elsewhere: Staging, upload: Upload) -> None:
    with pytest.raises(ConnectionResetError):
        await staging.append(upload, 0, cut_off(noise(6 * MIB)), final=True)
    assert await elsewhere.offset(upload) == 6 * MIB


class Turn:
    """A turn at writing that can be lost."""

    def __init__(self) -> None:
        self.lost = False

    def check(self) -> None:
        if self.lost:
            raise UploadTakenOver(id="this")


@pytest.mark.parametrize("length", [100, 6 * MIB])
async def test_who_has_lost_his_turn_writes_nothing_more(
    staging: Staging, elsewhere: Staging, upload: Upload, length: int
) -> None:
    turn = Turn()

    async def chunks() -> AsyncIterator[bytes]:
        yield noise(length)
        turn.lost = True
        yield noise(length)

    await staging.append(upload, 0, pieces(b"before"))
    with pytest.raises(UploadTakenOver):
        await staging.append(upload, 6, chunks(), check=turn.check)
    kept = await elsewhere.offset(upload)
    assert 6 <= kept <= 6 + length  # what was under way, never what came after
    with pytest.raises((UploadTakenOver, ConnectionResetError)):
        await staging.append(upload, kept, cut_off(noise(length)), check=turn.check)
    assert await elsewhere.offset(upload) == kept


@pytest.mark.parametrize("length", [100, 6 * MIB])
async def test_who_wakes_too_late_takes_nothing_away(
    storage: Storage, staging: Staging, elsewhere: Staging, upload: Upload, length: int
) -> None:
    """It had passed its check, and writes when somebody else has gone on from where the bytes ended."""
    arrived, woken = asyncio.Event(), asyncio.Event()

    async def stalls() -> AsyncIterator[bytes]:
        arrived.set()
        await woken.wait()
        yield b"late"

    await staging.append(upload, 0, pieces(b"before"))
    late = asyncio.create_task(staging.append(upload, 6, stalls()))
    await arrived.wait()
    await elsewhere.append(upload, 6, pieces(noise(length)))
    woken.set()
    await asyncio.wait([late])
    assert await elsewhere.offset(upload) == 6 + length
    await elsewhere.append(upload, 6 + length, pieces(b"end"))
    await elsewhere.promote(upload, TYPE)
    assert await bytes_of(storage, upload.key) == b"before" + noise(length) + b"end"


async def test_any_process_takes_the_next_append_and_the_promotion(
    storage: Storage, staging: Staging, elsewhere: Staging, upload: Upload
) -> None:
    body, position = noise(12 * MIB + 345), 0
    steps = [1, 70_001, 5 * MIB, 5 * MIB - 70_002, 1, 1_234_567, len(body)]
    for turn, step in enumerate(steps):
        chunk = body[position : position + step]
        chunks = pieces(*(chunk[start : start + 99_991] for start in range(0, len(chunk), 99_991)))
        position = await (staging, elsewhere)[turn % 2].append(upload, position, chunks)
        assert await (elsewhere, staging)[turn % 2].offset(upload) == position
    assert position == len(body)
    await elsewhere.promote(upload, TYPE)
    assert await bytes_of(storage, upload.key) == body
    assert await leftovers(storage) == [upload.key]


@pytest.mark.parametrize("length", [0, 10, 5 * MIB, 12 * MIB + 1])
async def test_a_file_in_one_go(storage: Storage, staging: Staging, upload: Upload, length: int) -> None:
    body = noise(length)
    assert await staging.append(upload, 0, pieces(body[:7], body[7:]), final=True) == length
    await staging.promote(upload, TYPE)
    assert await bytes_of(storage, upload.key) == body
    assert await leftovers(storage) == [upload.key]


async def test_the_last_append_after_others(storage: Storage, staging: Staging, upload: Upload) -> None:
    body = noise(8 * MIB)
    await staging.append(upload, 0, pieces(body[: 2 * MIB]))
    await staging.append(upload, 2 * MIB, pieces(body[2 * MIB :]), final=True)
    await staging.promote(upload, TYPE)
    assert await bytes_of(storage, upload.key) == body
    assert await leftovers(storage) == [upload.key]


async def test_nothing_at_all_becomes_an_empty_file(storage: Storage, staging: Staging, upload: Upload) -> None:
    await staging.promote(upload, TYPE)
    assert await bytes_of(storage, upload.key) == b""
    assert await leftovers(storage) == [upload.key]


@pytest.mark.parametrize("length", [4, 6 * MIB])
async def test_a_second_promotion_changes_nothing(
    storage: Storage, staging: Staging, elsewhere: Staging, upload: Upload, length: int
) -> None:
    await staging.append(upload, 0, pieces(noise(length)))
    await staging.promote(upload, TYPE)
    await elsewhere.promote(upload, TYPE)
    assert await bytes_of(storage, upload.key) == noise(length)


async def test_parts_in_any_order_and_sent_again(
    storage: Storage, staging: Staging, elsewhere: Staging, upload: Upload
) -> None:
    first, second, third = noise(5 * MIB, 1), noise(6 * MIB, 2), noise(70_000, 3)
    assert await elsewhere.part(upload, 3, pieces(third)) == len(third)
    assert await staging.part(upload, 1, pieces(noise(6 * MIB, 9))) == 6 * MIB
    assert await elsewhere.part(upload, 2, pieces(second[:1000], second[1000:])) == len(second)
    assert await elsewhere.part(upload, 1, pieces(first)) == len(first)
    for one in (staging, elsewhere):
        assert await one.offset(upload) == len(first) + len(second) + len(third)
    await staging.promote(upload, TYPE)
    assert await bytes_of(storage, upload.key) == first + second + third
    assert await leftovers(storage) == [upload.key]


async def test_parts_written_at_once(storage: Storage, staging: Staging, elsewhere: Staging, upload: Upload) -> None:
    bodies = [noise(5 * MIB, seed) for seed in range(4)]
    turns = [(staging, elsewhere)[number % 2].part(upload, number + 1, pieces(b)) for number, b in enumerate(bodies)]
    await asyncio.gather(*turns)
    await elsewhere.promote(upload, TYPE)
    assert await bytes_of(storage, upload.key) == b"".join(bodies)
    assert await leftovers(storage) == [upload.key]


async def test_a_part_that_was_cut_does_not_count(storage: Storage, staging: Staging, upload: Upload) -> None:
    await staging.part(upload, 1, pieces(b"whole"))
    with pytest.raises(ConnectionResetError):
        await staging.part(upload, 1, cut_off(b"broken"))
    with pytest.raises(ConnectionResetError):
        await staging.part(upload, 2, cut_off(b"broken"))
    assert await staging.offset(upload) == 5
    await staging.promote(upload, TYPE)
    assert await bytes_of(storage, upload.key) == b"whole"


async def test_one_small_part_is_the_last(storage: Storage, staging: Staging, upload: Upload) -> None:
    await staging.part(upload, 1, pieces(b"all of it"))
    await staging.promote(upload, TYPE)
    assert await bytes_of(storage, upload.key) == b"all of it"


async def test_drop_leaves_nothing(storage: Storage, staging: Staging, elsewhere: Staging, upload: Upload) -> None:
    await staging.append(upload, 0, pieces(noise(6 * MIB)))
    parts = upload.model_copy(update={"id": new_id(), "key": f"{upload.key}.parts"})
    await staging.part(parts, 1, pieces(noise(5 * MIB)))
    assert await leftovers(storage) != []
    for dropped in (upload, parts):
        await elsewhere.drop(dropped)
        await elsewhere.drop(dropped)
        assert await staging.offset(dropped) == 0
    assert await leftovers(storage) == []


async def test_drop_after_a_last_append_leaves_nothing(storage: Storage, staging: Staging, upload: Upload) -> None:
    await staging.append(upload, 0, pieces(noise(6 * MIB)), final=True)
    await staging.drop(upload)
    assert await leftovers(storage) == []
    assert await staging.append(upload, 0, pieces(b"anew")) == 4


async def test_drop_spares_what_was_promoted_and_other_uploads(
    storage: Storage, staging: Staging, upload: Upload
) -> None:
    other = upload.model_copy(update={"id": new_id(), "key": f"{upload.key}2"})
    await staging.append(other, 0, pieces(noise(6 * MIB)))
    await staging.append(upload, 0, pieces(b"kept"))
    await staging.promote(upload, TYPE)
    await staging.drop(upload)
    assert await bytes_of(storage, upload.key) == b"kept"
    assert await staging.offset(other) == 6 * MIB
    await staging.drop(other)


async def test_a_declared_size_changes_nothing(storage: Storage, staging: Staging, upload: Upload) -> None:
    sized = upload.model_copy(update={"intake": Intake(declared_size=6 * MIB, declared_type="image/png")})
    await staging.append(sized, 0, pieces(noise(6 * MIB)))
    await staging.promote(sized, TYPE)
    assert await bytes_of(storage, upload.key) == noise(6 * MIB)


async def test_what_is_left_can_be_found_and_discarded(
    storage: Storage, staging: Staging, elsewhere: Staging, upload: Upload
) -> None:
    parts = upload.model_copy(update={"id": new_id(), "key": f"{upload.key}.parts"})
    await staging.append(upload, 0, pieces(noise(6 * MIB)))
    await staging.part(parts, 1, pieces(noise(5 * MIB)))
    assert [left async for left in elsewhere.left(now() - timedelta(hours=1))] == []
    found = [left async for left in elsewhere.left(now() + timedelta(hours=1))]
    assert {left.upload for left in found if left.upload} == {upload.id, parts.id}
    assert {left.key for left in found if left.key} <= {upload.key, parts.key}
    for left in found:
        await asyncio.gather(staging.discard(left), elsewhere.discard(left))
    await elsewhere.discard(found[0])
    assert await leftovers(storage) == []


async def test_a_put_that_was_killed_is_left_to_be_found(
    storage: Storage, staging: Staging, elsewhere: Staging
) -> None:
    match storage:
        case LocalStorage():
            await storage.prepare()
            (storage.staging / "put-of-a-process-that-died").write_bytes(b"half")
        case S3Storage():
            multipart = await Multipart.begin(storage, storage.place("demo/runs/half"), TYPE)
            await multipart.send(1, noise(5 * MIB))
        case _:
            return  # a memory goes with its process
    (left,) = [left async for left in staging.left(now() + timedelta(hours=1))]
    assert left.upload is None
    await elsewhere.discard(left)
    assert await leftovers(storage) == []


async def test_discarding_spares_other_uploads(storage: Storage, staging: Staging, upload: Upload) -> None:
    other = upload.model_copy(update={"id": new_id(), "key": f"{upload.key}2"})
    await staging.append(upload, 0, pieces(noise(6 * MIB)))
    await staging.append(other, 0, pieces(noise(6 * MIB)))
    async for left in staging.left(now() + timedelta(hours=1)):
        if upload.id == left.upload or upload.key == left.key:
            await staging.discard(left)
    assert await staging.offset(upload) == 0 and await staging.offset(other) == 6 * MIB
    await staging.drop(other)
    assert await leftovers(storage) == []
