"""What only one kind of staging has: S3's own rules, and the disk's."""

from __future__ import annotations

import os
import subprocess
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from uuid import uuid4

import pytest

from pipeline.errors import OffsetMismatch, PartTooSmall, StorageFull, StorageKeyNotFound, StorageUnavailable
from pipeline.model import Intake, Upload, new_id, now
from pipeline.staging import LocalStaging, S3Staging
from pipeline.storage import LocalStorage, S3Storage, open_storage
from pipeline.storage.s3 import LEAST_PART

MIB = 1024 * 1024


@pytest.fixture
async def bucket(s3_url: str) -> AsyncIterator[S3Storage]:
    opened = open_storage(s3_url.replace("/tests?", f"/{uuid4()}?"))
    assert isinstance(opened, S3Storage)
    yield opened
    await opened.close()


@pytest.fixture
def upload() -> Upload:
    id = new_id()
    intake = Intake(name="photo.png")
    return Upload(
        id=id, project="demo", storage="default", key=f"demo/{id}", intake=intake, expires_at=now() + timedelta(1)
    )


async def pieces(*chunks: bytes) -> AsyncIterator[bytes]:
    for chunk in chunks:
        yield chunk


async def test_s3_holds_equal_parts_and_a_tail_below_a_part(bucket: S3Storage, upload: Upload) -> None:
    staging = S3Staging(bucket)
    await staging.append(upload, 0, pieces(bytes(3 * MIB)))
    assert await bucket.multiparts(bucket.place(upload.key)) == []
    await staging.append(upload, 3 * MIB, pieces(bytes(9 * MIB)))
    (multipart,) = await bucket.multiparts(bucket.place(upload.key))
    parts = await multipart.parts()
    assert parts and [(part.number, part.size) for part in parts] == [(1, LEAST_PART), (2, LEAST_PART)]
    kept = await bucket.below(bucket.staged(upload.id))
    assert {name.rpartition("/")[2]: size for name, size in kept.items() if "tail" in name} == {
        f"tail-{10 * MIB}-{2 * MIB}": 2 * MIB
    }


async def test_s3_gives_a_large_upload_the_type_of_its_first_bytes(bucket: S3Storage, upload: Upload) -> None:
    staging = S3Staging(bucket)
    png = bytes.fromhex("89504e470d0a1a0a0000000d49484452") + bytes(6 * MIB)
    await staging.append(upload, 0, pieces(png), final=True)
    await staging.promote(upload, "application/octet-stream")
    found = await bucket.stat(upload.key)
    assert found and (found.size, found.media_type) == (len(png), "image/png")


async def test_s3_refuses_a_small_part_in_the_middle_and_takes_its_replacement(
    bucket: S3Storage, upload: Upload
) -> None:
    staging = S3Staging(bucket)
    await staging.part(upload, 1, pieces(b"small"))
    await staging.part(upload, 2, pieces(b"last"))
    with pytest.raises(PartTooSmall):
        await staging.promote(upload, "image/png")
    await staging.part(upload, 1, pieces(bytes(LEAST_PART)))
    await staging.promote(upload, "image/png")
    found = await bucket.stat(upload.key)
    assert found and found.size == LEAST_PART + 4


async def test_s3_says_when_a_lifecycle_rule_took_the_parts(bucket: S3Storage, upload: Upload) -> None:
    staging = S3Staging(bucket)
    await staging.append(upload, 0, pieces(bytes(6 * MIB)))
    for multipart in await bucket.multiparts(bucket.place(upload.key)):
        await multipart.abort()
    for verb in (staging.offset(upload), staging.append(upload, 6 * MIB, pieces(b"x")), staging.promote(upload, "a/b")):
        with pytest.raises(StorageKeyNotFound):
            await verb
    await staging.drop(upload)
    assert await bucket.below(bucket.place("demo")) == {} == await bucket.below(bucket.staged(""))


async def test_s3_forgets_a_promotion_that_was_cut_off(bucket: S3Storage, upload: Upload) -> None:
    """The process died after the bytes became visible and before the notes were removed."""
    staging = S3Staging(bucket)
    await staging.append(upload, 0, pieces(bytes(6 * MIB)))
    notes = {name: await bucket.read(name) for name in await bucket.below(bucket.staged(upload.id))}
    await staging.promote(upload, "image/png")
    for name, note in notes.items():
        await bucket.write(name, note or b"", "text/plain")
    assert await staging.offset(upload) == 6 * MIB
    with pytest.raises(OffsetMismatch):
        await staging.append(upload, 0, pieces(b"x"))
    await staging.promote(upload, "image/png")
    found = await bucket.stat(upload.key)
    assert found and found.size == 6 * MIB
    assert await bucket.below(bucket.staged(upload.id)) == {}


async def test_s3_a_part_that_was_thought_lost_does_no_harm(bucket: S3Storage, upload: Upload) -> None:
    """The part landed, its answer did not; the tail that was kept instead is overtaken by it."""
    staging = S3Staging(bucket)
    await staging.append(upload, 0, pieces(b"a" * LEAST_PART, b"b" * (2 * MIB)))
    (multipart,) = await bucket.multiparts(bucket.place(upload.key))
    await multipart.send(2, b"b" * (2 * MIB) + b"c" * (3 * MIB))
    assert await staging.offset(upload) == 2 * LEAST_PART
    await staging.append(upload, 2 * LEAST_PART, pieces(b"d"))
    await staging.promote(upload, "image/png")
    body = b"".join([piece async for piece in bucket.open(upload.key)])
    assert body == b"a" * LEAST_PART + b"b" * (2 * MIB) + b"c" * (3 * MIB) + b"d"


async def test_s3_out_of_reach_is_unavailable(upload: Upload) -> None:
    storage = open_storage("s3://bucket?endpoint=http://127.0.0.1:9&access_key=a&secret_key=s")
    assert isinstance(storage, S3Storage)
    staging = S3Staging(storage)
    for verb in (staging.append(upload, 0, pieces(b"x")), staging.offset(upload), staging.drop(upload)):
        with pytest.raises(StorageUnavailable):
            await verb
    await storage.close()


async def test_local_bytes_are_synced_when_a_cut_is_told(
    tmp_path: Path, upload: Upload, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[int] = []
    fsync = os.fsync

    def noted(descriptor: int) -> None:
        fsync(descriptor)
        synced.append(os.fstat(descriptor).st_size)

    async def breaks_off() -> AsyncIterator[bytes]:
        yield b"arrived"
        raise ConnectionResetError("the client went away")

    staging = LocalStaging(LocalStorage(tmp_path))
    monkeypatch.setattr(os, "fsync", noted)
    for final in (False, True):
        synced.clear()
        with pytest.raises(ConnectionResetError):
            await staging.append(upload, await staging.offset(upload), breaks_off(), final=final)
        assert await staging.offset(upload) in synced


async def test_local_promotion_copies_nothing(tmp_path: Path, upload: Upload) -> None:
    storage = LocalStorage(tmp_path)
    staging = LocalStaging(storage)
    await staging.append(upload, 0, pieces(bytes(MIB)))
    before = (storage.staging / upload.id).stat().st_ino
    await staging.promote(upload, "image/png")
    assert (tmp_path / upload.key).stat().st_ino == before


async def test_local_promotion_of_parts_survives_being_cut_off(tmp_path: Path, upload: Upload) -> None:
    storage = LocalStorage(tmp_path)
    staging = LocalStaging(storage)
    await staging.part(upload, 1, pieces(b"one "))
    await staging.part(upload, 2, pieces(b"two"))
    (storage.staging / upload.id).write_bytes(b"one t")
    assert await staging.offset(upload) == 7
    await staging.promote(upload, "image/png")
    assert (tmp_path / upload.key).read_bytes() == b"one two"


async def test_local_a_full_disk_keeps_the_offset_true_and_recovers(tmp_path: Path, upload: Upload) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(disk)], capture_output=True).returncode:
        pytest.skip("mounting is not allowed here")
    try:
        staging = LocalStaging(LocalStorage(disk))
        filler = disk / "filler"
        filler.write_bytes(bytes(2 * MIB))
        body = os.urandom(3 * MIB)
        with pytest.raises(StorageFull):
            await staging.append(upload, 0, pieces(*(body[i : i + 100_000] for i in range(0, len(body), 100_000))))
        offset = await staging.offset(upload)
        assert 0 < offset <= 2 * MIB
        filler.unlink()
        await staging.append(upload, offset, pieces(body[offset:]))
        await staging.promote(upload, "image/png")
        assert (disk / upload.key).read_bytes() == body
    finally:
        subprocess.run(["umount", str(disk)], check=True)
