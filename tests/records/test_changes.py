"""What is called out to those who remember things, and that nothing is for those whom nobody remembers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from pipeline.model import File
from pipeline.records import Records
from pipeline.records.changes import path_word, sheet_word
from tests.records.nouns import a_file


@pytest.fixture
async def heard(records: Records) -> AsyncIterator[list[str]]:
    """Everything that is called out, in order."""
    words: list[str] = []
    stands = asyncio.Event()
    following = asyncio.create_task(
        records.changes.follow(words.append, lambda standing: stands.set() if standing else None)
    )
    await asyncio.wait_for(stands.wait(), 5)
    yield words
    following.cancel()


async def settled(records: Records, heard: list[str]) -> list[str]:
    """What was heard until now, files by their ids left out."""
    marker = a_file(name="marker")
    await records.files.create(marker)
    await records.files.delete(marker.id)
    async with asyncio.timeout(5):
        while marker.id not in heard:
            await asyncio.sleep(0.005)
    found = [word for word in heard if "/" in word]
    heard.clear()
    return found


def lying(name: str) -> File:
    return a_file(name=name, folder="a")


async def test_a_path_is_called_out_once_for_each_time_it_was_looked_up(records: Records, heard: list[str]) -> None:
    one = lying("one.png")
    word = path_word(one.project, "a/one.png")
    await records.files.create(one)
    await records.lineages.at(one.project, "a", "one.png")
    await records.files.create(lying("one.png"))
    assert await settled(records, heard) == [], "nobody remembers it"
    await records.lineages.at(one.project, "a", "one.png", heeded=True)
    await records.lineages.at(one.project, "a", "one.png", heeded=True)
    await records.files.create(lying("two.png"))
    assert await settled(records, heard) == []
    await records.files.create(lying("one.png"))
    await records.files.create(lying("one.png"))
    assert await settled(records, heard) == [word]
    assert await records.lineages.at(one.project, "a", "none.png", heeded=True) is None
    await records.files.create(lying("none.png"))
    assert await settled(records, heard) == []


async def test_a_named_document_is_called_out_when_it_says_something_else(records: Records, heard: list[str]) -> None:
    sheets, word = records.sheets, sheet_word("demo", "kind", "small")
    await sheets.add("demo", "kind", "1", {"w": 1}, name="small")
    await sheets.change("demo", "kind", "1", lambda body: {"w": 2})
    assert await settled(records, heard) == []
    for act in (
        lambda: sheets.change("demo", "kind", "1", lambda body: {"w": 3}),
        lambda: sheets.change("demo", "kind", "1", lambda body: body, lambda name: "small"),
        lambda: sheets.delete("demo", "kind", "1"),
    ):
        await sheets.named("demo", "kind", "small", heeded=True)
        await act()
        assert await settled(records, heard) == [word]
