"""What lies at a path, and which files are versions of one another."""

from __future__ import annotations

from typing import Any

import pytest
from redis.asyncio import Redis

from pipeline.errors import FileNotFound
from pipeline.model import File
from pipeline.records import Records
from pipeline.records.lineages import lineage_of, version_id
from tests.records.nouns import PREFIX, a_file, moment


@pytest.fixture
def records(redis: Redis) -> Records:
    return Records(redis, PREFIX)


async def put(records: Records, second: float, **fields: Any) -> File:
    file = a_file(**{"folder": "shop", "name": "a.jpg", "created_at": moment(second)} | fields)
    assert await records.files.create(file)
    return file


def newer(file: File) -> dict[str, Any]:
    return {"lineage": lineage_of(file), "version": file.version + 1}


async def test_a_file_is_found_by_its_path_and_by_the_beginning_of_its_id(records: Records) -> None:
    file, rooted = await put(records, 1), await put(records, 2, folder="", name="b.jpg")
    assert await records.lineages.at("demo", "shop", "a.jpg") == file
    assert await records.lineages.at("demo", "", "b.jpg") == rooted
    assert await records.lineages.get("demo", file.id.replace("-", "")[:24]) == file
    for folder, name in (("", "a.jpg"), ("shop", "a.jp"), ("shop", "A.jpg"), ("shop", "b.jpg"), ("sho", "p/a.jpg")):
        assert await records.lineages.at("demo", folder, name) is None
    assert await records.lineages.at("other", "shop", "a.jpg") is None
    for unknown in ("0" * 24, "x" * 24, "", file.id):
        with pytest.raises(FileNotFound):
            await records.lineages.get("demo", unknown)


async def test_of_files_that_came_to_one_path_on_their_own_the_newest_is_there(records: Records) -> None:
    late, early = await put(records, 9), await put(records, 1)
    assert await records.lineages.at("demo", "shop", "a.jpg") == late
    assert await records.lineages.current([late, early]) == [late, early]
    await records.files.delete(late.id)
    assert await records.lineages.at("demo", "shop", "a.jpg") == early


async def test_a_version_takes_the_place_of_the_one_before(records: Records) -> None:
    first = await put(records, 1)
    second = await put(records, 2, **newer(first))
    third = await put(records, 3, **newer(second))
    lineage = version_id(first)
    assert {lineage_of(file) for file in (first, second, third)} == {lineage}
    assert await records.lineages.versions("demo", lineage) == [first, second, third]
    assert await records.lineages.get("demo", lineage) == third
    assert await records.lineages.at("demo", "shop", "a.jpg") == third
    assert await records.lineages.current([third, first, second]) == [third]
    await records.files.delete(third.id)
    assert await records.lineages.get("demo", lineage) == second
    await records.files.delete(first.id)
    assert await records.lineages.versions("demo", lineage) == [second]


async def test_an_older_version_becomes_the_current_one_again(records: Records) -> None:
    first = await put(records, 1)
    second = await put(records, 2, **newer(first))
    heads = {"lineage": lineage_of(first), "headed_at": moment(3)}
    again = await records.files.change(first.id, lambda file: file.model_copy(update=heads), moment(3))
    assert await records.lineages.versions("demo", lineage_of(first)) == [second, again]
    assert await records.lineages.at("demo", "shop", "a.jpg") == again


async def test_what_moved_away_leaves_no_older_version_behind_at_its_path(records: Records) -> None:
    first = await put(records, 1)
    second = await put(records, 2, **newer(first))
    moved = await records.files.change(second.id, lambda file: file.model_copy(update={"name": "b.jpg"}), moment(3))
    assert await records.lineages.at("demo", "shop", "a.jpg") is None
    assert await records.lineages.at("demo", "shop", "b.jpg") == moved


async def test_nothing_is_left_of_what_is_gone(records: Records, redis: Redis) -> None:
    first = await put(records, 1)
    second = await put(records, 2, **newer(first))
    for file in (first, second):
        await records.files.delete(file.id)
    assert await redis.keys(f"{PREFIX}lineage*") + await redis.keys(f"{PREFIX}paths*") == []
    assert await redis.keys(f"{PREFIX}ids*") == []
