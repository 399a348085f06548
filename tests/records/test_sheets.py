"""The documents that dialects keep."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

import pytest
from redis.asyncio import Redis

from pipeline.errors import SheetExists, SheetNotFound, SheetsTooMany
from pipeline.records import Records
from pipeline.records.sheets import ADD_LUA, MOST_SHEETS
from tests.records.nouns import PREFIX, outcome, whole_list

KIND = "imagekit.field"


@pytest.fixture
def records(redis: Redis) -> Records:
    return Records(redis, PREFIX)


async def test_a_sheet_is_kept_found_changed_and_deleted(records: Records) -> None:
    sheets = records.sheets
    made = await sheets.add("demo", KIND, "1", {"label": "Price"}, name="price")
    assert made == await sheets.get("demo", KIND, "1") == await sheets.named("demo", KIND, "price")
    changed = await sheets.change("demo", KIND, "1", lambda body: {**body, "label": "Cost"}, lambda _: "cost")
    assert (changed.body, changed.name, changed.created_at) == ({"label": "Cost"}, "cost", made.created_at)
    assert await sheets.named("demo", KIND, "price") is None
    assert await sheets.named("demo", KIND, "cost") == changed
    assert [await sheets.delete("demo", KIND, "1") for _ in range(2)] == [True, False]
    assert await sheets.named("demo", KIND, "cost") is None
    with pytest.raises(SheetNotFound):
        await sheets.get("demo", KIND, "1")
    with pytest.raises(SheetNotFound):
        await sheets.change("demo", KIND, "1", dict)
    assert await sheets.add("demo", KIND, "1", {}, name="cost")


async def test_an_id_and_a_name_belong_to_one_of_a_kind_and_a_project(records: Records) -> None:
    sheets = records.sheets
    await sheets.add("demo", KIND, "1", {}, name="price")
    await sheets.add("demo", KIND, "2", {}, name="size")
    for id, name in (("1", "other"), ("3", "price")):
        with pytest.raises(SheetExists):
            await sheets.add("demo", KIND, id, {}, name=name)
    with pytest.raises(SheetExists):
        await sheets.change("demo", KIND, "2", dict, lambda _: "price")
    assert (await sheets.get("demo", KIND, "2")).name == "size"
    await sheets.add("demo", "imagekit.transformation", "1", {}, name="price")
    await sheets.add("other", KIND, "1", {}, name="price")
    assert [await sheets.count("demo", kind) for kind in (KIND, "imagekit.transformation", "none")] == [2, 1, 0]


async def test_one_of_many_who_want_a_name_gets_it_and_no_change_is_lost(records: Records) -> None:
    sheets = records.sheets
    racers = [outcome(sheets.add("demo", KIND, str(i), {"count": 0}, name="price")) for i in range(10)]
    assert (await asyncio.gather(*racers)).count(SheetExists) == 9
    (only,) = await sheets.every("demo", KIND)

    def counted(body: Mapping[str, Any]) -> Mapping[str, Any]:
        return {"count": body["count"] + 1}

    await asyncio.gather(*(sheets.change("demo", KIND, only.id, counted) for _ in range(10)))
    assert (await sheets.get("demo", KIND, only.id)).body == {"count": 10}


async def test_sheets_are_listed_newest_first_by_pages(records: Records) -> None:
    made = [await records.sheets.add("demo", KIND, str(i), {}) for i in range(7)]
    assert await records.sheets.every("demo", KIND) == made
    assert await whole_list(lambda cursor: records.sheets.list("demo", KIND, cursor, 3)) == made[::-1]


async def test_a_kind_has_so_many_and_no_more(records: Records, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline.records.sheets.ADD_LUA", ADD_LUA.replace(str(MOST_SHEETS), "1"))
    await records.sheets.add("demo", KIND, "1", {})
    with pytest.raises(SheetsTooMany):
        await records.sheets.add("demo", KIND, "2", {})
