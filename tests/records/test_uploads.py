from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest
from redis.asyncio import Redis

from pipeline.errors import UploadNotFound
from pipeline.events import EventLog
from pipeline.model import Follow, Intake, new_id, now
from pipeline.records import Records
from pipeline.records.base import score
from tests.records.nouns import a_file, all_events, an_upload, keys, logged, moment, outcome


async def test_an_upload_comes_back_with_its_offset(records: Records) -> None:
    upload = an_upload()
    await records.uploads.create(upload)
    assert await records.uploads.get(upload.id) == upload
    await records.uploads.advance(upload.id, 7_000_000_000)
    assert (await records.uploads.get(upload.id)).offset == 7_000_000_000


async def test_the_offset_never_goes_down(records: Records) -> None:
    upload = an_upload()
    await records.uploads.create(upload)
    await asyncio.gather(*(records.uploads.advance(upload.id, offset) for offset in (5, 9, 3, 10, 1)))
    assert (await records.uploads.get(upload.id)).offset == 10


async def test_what_is_gone_cannot_advance_finish_or_come_back(records: Records, redis: Redis) -> None:
    missing = new_id()
    with pytest.raises(UploadNotFound):
        await records.uploads.get(missing)
    with pytest.raises(UploadNotFound):
        await records.uploads.advance(missing, 1)
    with pytest.raises(UploadNotFound):
        await records.uploads.finish(missing, a_file(id=missing))
    assert not await records.uploads.delete(missing)
    assert await keys(redis) == []


async def test_finishing_turns_the_upload_into_the_file(records: Records, redis: Redis, events: EventLog) -> None:
    upload = an_upload()
    await records.uploads.create(upload)
    file = a_file(id=upload.id, expires_at=moment(5))
    await records.uploads.finish(upload.id, file)
    assert await records.files.get(file.id) == file
    assert (await records.files.list("demo")).items == (file,)
    assert await records.files.expired(moment(5)) == [file]
    with pytest.raises(UploadNotFound):
        await records.uploads.get(upload.id)
    assert not [key for key in await keys(redis) if "upload" in key]
    assert await logged(events) == await logged(events, file.id) == ["file.uploaded"]


async def test_finishing_a_stored_file_logs_both_facts(records: Records, events: EventLog) -> None:
    upload = an_upload()
    await records.uploads.create(upload)
    await records.uploads.finish(upload.id, a_file(id=upload.id, stored_at=moment(1)))
    found = await all_events(events)
    assert [event.type for event in found] == ["file.uploaded", "file.stored"]
    assert found[0].facts == {"name": "löwe.jpg", "mime": "image/jpeg", "size": 12_345_678}


async def test_of_many_finishes_and_deletes_one_wins(records: Records, events: EventLog) -> None:
    for _ in range(10):
        upload = an_upload()
        await records.uploads.create(upload)
        file = a_file(id=upload.id)
        finishes = [outcome(records.uploads.finish(upload.id, file)) for _ in range(10)]
        deletes = [outcome(records.uploads.delete(upload.id)) for _ in range(10)]
        raced = await asyncio.gather(*(one for pair in zip(finishes, deletes, strict=True) for one in pair))
        finished = [each for each in raced[::2] if each is not UploadNotFound]
        deleted = [each for each in raced[1::2] if each]
        assert len(finished) + len(deleted) == 1
        assert await records.files.get_many([file.id]) == ([file] if finished else [None])
        assert await logged(events, file.id) == ["file.uploaded"] * len(finished)
        assert await records.uploads.expired(moment(10**6)) == []


async def test_expired_uploads_are_listed_longest_overdue_first(records: Records) -> None:
    uploads = [an_upload(expires_at=moment(number)) for number in range(10)]
    for upload in reversed(uploads):
        await records.uploads.create(upload)
    await records.uploads.advance(uploads[0].id, 3)
    first = uploads[0].model_copy(update={"offset": 3})
    assert await records.uploads.expired(moment(3)) == [first, *uploads[1:4]]
    assert await records.uploads.expired(moment(99), 1) == [first]


async def test_uploads_that_wait_for_bytes_are_listed_until_they_end(records: Records, redis: Redis) -> None:
    waiting = [an_upload(way="put", created_at=moment(at)) for at in (1, 2, 2, 3)]
    for upload in (*waiting, an_upload(), an_upload(way="parts", project="other")):
        await records.uploads.create(upload)
    newest = sorted(waiting, key=lambda upload: (upload.created_at, upload.id), reverse=True)
    found = await records.uploads.waiting("demo", limit=2)
    assert found == newest[:2]
    place = str(score(found[1].created_at)), found[1].id
    assert await records.uploads.waiting("demo", place) == newest[2:]
    marked = newest[1].intake.model_copy(update={"marks": {"a": "b"}})
    for upload, end in zip(newest, ("finish", "delete", "finish", "delete"), strict=True):
        if end == "finish":
            await records.uploads.finish(upload.id, a_file(id=upload.id))
        else:
            await records.uploads.delete(upload.id)
    kept = an_upload(way="put", intake=marked, expires_at=now() + timedelta(hours=1))
    await records.uploads.create(kept)
    await records.uploads.finish(kept.id, a_file(id=kept.id))
    assert (await records.uploads.ended(kept.id)).id == kept.id
    assert await records.uploads.waiting("demo") == [] and "uploads:demo" not in await keys(redis)


async def test_an_upload_is_given_other_metadata(records: Records) -> None:
    intake = Intake(metadata={"a": "1"}, follow=Follow(flow="tiny", metadata={"a": "1"}))
    upload = an_upload(intake=intake)
    await records.uploads.create(upload)
    await records.uploads.describe(upload.id, {"b": "2"})
    found = (await records.uploads.get(upload.id)).intake
    assert found.follow is not None and found.metadata == found.follow.metadata == {"b": "2"}
    with pytest.raises(UploadNotFound):
        await records.uploads.describe(new_id(), {})
