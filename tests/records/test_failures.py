"""What is remembered of uploads that were refused: in one step with forgetting them, for some days, of so many."""

from __future__ import annotations

import asyncio

import pytest
from redis.asyncio import Redis

from pipeline.errors import FileTooLarge, TypeMismatch, UploadNotFound
from pipeline.model import new_id
from pipeline.records import Records
from pipeline.records.base import score
from pipeline.records.failures import KEPT_DAYS, MOST
from tests.records.nouns import an_upload, keys, moment


async def test_a_refused_upload_is_forgotten_and_remembered(records: Records, redis: Redis) -> None:
    upload = an_upload(way="put", created_at=moment(1))
    await records.uploads.create(upload)
    await records.failures.note(upload, TypeMismatch(declared=None, found="text/plain"))
    with pytest.raises(UploadNotFound):
        await records.uploads.get(upload.id)
    failure = await records.failures.get("demo", upload.id)
    assert failure is not None and failure.upload == upload
    assert isinstance(failure.error, TypeMismatch) and failure.error.facts == {"declared": None, "found": "text/plain"}
    assert [one.upload for one in await records.failures.list("demo")] == [upload]
    assert await records.failures.get("other", upload.id) is None and await records.failures.list("other") == []
    (kept,) = [key for key in await keys(redis) if upload.id in key and "failed" in key]
    assert 0 < await redis.pttl(kept) <= KEPT_DAYS * 86_400_000
    assert await records.failures.delete("demo", upload.id)
    assert not await records.failures.delete("demo", upload.id)
    assert await records.failures.list("demo") == [] and not [key for key in await keys(redis) if "failed" in key]


async def test_what_is_gone_did_not_fail(records: Records) -> None:
    await records.failures.note(an_upload(way="put"), FileTooLarge(limit=1))
    assert await records.failures.list("demo") == []


async def test_they_are_listed_newest_first_and_end(records: Records, redis: Redis) -> None:
    uploads = [an_upload(way="parts", created_at=moment(at)) for at in (3, 1, 2, 2)]
    for upload in uploads:
        await records.uploads.create(upload)
        await records.failures.note(upload, FileTooLarge(limit=1))
    ordered = sorted(uploads, key=lambda upload: (upload.created_at, upload.id), reverse=True)
    assert [one.upload for one in await records.failures.list("demo", limit=3)] == ordered[:3]
    spot = (str(score(ordered[1].created_at)), ordered[1].id)
    assert [one.upload for one in await records.failures.list("demo", spot)] == ordered[2:]
    (until,) = [key for key in await keys(redis) if key.endswith(":until")]
    await redis.zadd(until, {ordered[0].id: 1, ordered[2].id: 1})  # as if their days were over
    assert [one.upload for one in await records.failures.list("demo")] == [ordered[1], ordered[3]]
    assert len([key for key in await keys(redis) if "failed:demo:" in key]) == 3


async def test_of_too_many_the_oldest_go(records: Records, redis: Redis) -> None:
    uploads = [an_upload(way="put", id=new_id(), created_at=moment(at)) for at in range(MOST + 3)]
    await asyncio.gather(*map(records.uploads.create, uploads))
    await asyncio.gather(*(records.failures.note(upload, FileTooLarge(limit=1)) for upload in uploads))
    found = await records.failures.list("demo", limit=MOST + 3)
    assert [one.upload.id for one in found] == [upload.id for upload in uploads[:2:-1]]
    assert len([key for key in await keys(redis) if "failed" in key]) == MOST + 2
