"""Files found as a plain look at all of them finds them, whichever way the server goes."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any

import pytest
from redis.asyncio import Redis

from pipeline.errors import CursorInvalid
from pipeline.labels import folded
from pipeline.model import File, FileQuery, Page, new_id
from pipeline.records import Records, finding
from pipeline.records.finding import NEWEST, Order
from tests.records.nouns import PREFIX, a_file, keys, moment, whole_list

ORDERS = [Order(by, down) for by in ("created", "name", "size") for down in (True, False)]
TAGS = ("sale", "new", "old", "rare")
FOLDERS = ("", "shop", "shop/shoes", "shop/shoes/red", "shopping", "a b")
MIMES = ("image/png", "image/jpeg", "video/mp4", "text/plain")
NAMES = ("Löwe.jpg", "lion.JPG", "invoice-1.pdf", "Invoice-10.pdf", "zebra.png", "straße.txt")


def some_files(count: int, seed: int) -> list[File]:
    pick = random.Random(seed)
    return [
        a_file(
            created_at=moment(pick.randrange(count // 3 + 1)),
            name=pick.choice(NAMES),
            **content(pick.randrange(5)),
            mime=pick.choice(MIMES),
            tags=tuple(tag for tag in TAGS if pick.random() < (0.02 if tag == "rare" else 0.4)),
            folder=pick.choice(FOLDERS),
            metadata={"who": pick.choice(("me", "you"))} if pick.random() < 0.5 else {},
            private=pick.random() < 0.3,
            run=new_id() if pick.random() < 0.2 else None,
            **({"stored_at": moment(0)} if pick.random() < 0.5 else {"expires_at": moment(1e6)}),
        )
        for _ in range(count)
    ]


def content(number: int) -> dict[str, Any]:
    return {"size": number * 1000, "sha256": f"{number:064x}"}


def wanted(query: FileQuery, file: File) -> bool:
    name = folded(file.name)
    kind = file.mime.partition("/")[0] + "/*"
    asked: list[tuple[Any, Callable[[Any], bool]]] = [
        (query.tags, lambda tags: set(tags) <= set(file.tags)),
        (query.any_tags, lambda tags: bool(set(tags) & set(file.tags))),
        (query.types, lambda types: bool({file.mime, kind, "*/*"} & set(types))),
        (query.metadata, lambda told: told.items() <= file.metadata.items()),
        (query.below, lambda folder: (file.folder + "/").startswith(folder + "/")),
        (query.name, lambda text: name == folded(text)),
        (query.prefix, lambda text: name.startswith(folded(text))),
        (query.part, lambda text: folded(text) in name),
        (query.sha256, lambda digest: file.sha256 == digest),
    ]
    given: list[tuple[Any, Callable[[Any], bool]]] = [
        (query.folder, lambda folder: file.folder == folder),
        (query.min_size, lambda least: file.size >= least),
        (query.max_size, lambda most: file.size <= most),
        (query.since, lambda at: file.created_at >= at),
        (query.before, lambda at: file.created_at < at),
        (query.stored, lambda state: (file.stored_at is not None) == state),
        (query.private, lambda state: file.private == state),
        (query.made, lambda state: (file.run is not None) == state),
    ]
    return all(fits(value) for value, fits in asked if value) and all(
        fits(value) for value, fits in given if value is not None
    )


def in_order(files: Sequence[File], order: Order) -> list[File]:
    keys: dict[str, Callable[[File], Any]] = {
        "created": lambda file: file.created_at,
        "name": lambda file: folded(file.name).encode(),
        "size": lambda file: file.size,
    }
    return sorted(files, key=lambda file: (keys[order.by](file), file.id), reverse=order.down)


def a_query(pick: random.Random) -> FileQuery:
    """One to three wishes at once."""
    wishes: list[dict[str, Any]] = [
        {"tags": tuple(pick.sample(TAGS, pick.randint(1, 2)))},
        {"any_tags": tuple(pick.sample(TAGS, pick.randint(1, 3)))},
        {"folder": pick.choice(FOLDERS)},
        {"below": pick.choice(FOLDERS)},
        {"types": tuple(pick.sample([*MIMES, "image/*", "video/*", "*/*"], pick.randint(1, 2)))},
        {"name": pick.choice(NAMES).upper()},
        {"prefix": pick.choice(("l", "LÖ", "inv", "zz"))},
        {"part": pick.choice((".", "RA", "oice-1", "ss", "%"))},
        {"min_size": 1000},
        {"min_size": 1000, "max_size": 2000},
        {"since": moment(30)},
        {"since": moment(10), "before": moment(40)},
        {"stored": pick.random() < 0.5},
        {"private": pick.random() < 0.5},
        {"made": pick.random() < 0.5},
        {"metadata": {"who": "me"}},
        {"sha256": f"{pick.randrange(6):064x}"},
    ]
    return FileQuery(
        **{name: value for wish in pick.sample(wishes, pick.randint(0, 3)) for name, value in wish.items()}
    )


@pytest.fixture(scope="module")
async def shelves(redis_url: str) -> AsyncIterator[tuple[Records, list[File]]]:
    redis = Redis.from_url(redis_url)
    await redis.flushall()
    records, files = Records(redis, PREFIX), some_files(300, 1)
    for file in files:
        await records.files.create(file)
    yield records, files
    await redis.aclose()


@pytest.mark.parametrize("small", [0, 40, 1000], ids=["along", "between", "sorted"])
async def test_every_query_finds_what_a_look_at_all_finds(
    shelves: tuple[Records, list[File]], small: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    records, files = shelves
    monkeypatch.setattr(finding, "LOOKED", 25)
    monkeypatch.setattr(finding, "FIND_LUA", finding.FIND_LUA.replace("SMALL = 1500", f"SMALL = {small}"))
    pick = random.Random(small)
    for _ in range(70):
        query, order = a_query(pick), pick.choice(ORDERS)
        limit = pick.choice((7, 60))

        async def turn(cursor: str | None, query: FileQuery = query, order: Order = order, limit: int = limit) -> Any:
            page = await records.files.find("demo", query, cursor, limit, order)
            assert len(page.items) <= limit
            return page

        expected = in_order([file for file in files if wanted(query, file)], order)
        assert await whole_list(turn) == expected, (query, order)
        assert await records.files.count("demo", query) == (len(expected), True)


async def test_a_page_ends_when_enough_was_looked_at_and_says_where_it_goes_on(
    shelves: tuple[Records, list[File]], monkeypatch: pytest.MonkeyPatch
) -> None:
    records, files = shelves
    monkeypatch.setattr(finding, "LOOKED", 10)
    monkeypatch.setattr(finding, "STEPS", 2)
    query, pages, cursor = FileQuery(part="zebra"), list[Page[File]](), None
    while not pages or cursor:
        pages.append(await records.files.find("demo", query, cursor, 50, NEWEST))
        cursor = pages[-1].next
    assert len(pages) >= len(files) / 20
    found = [file for page in pages for file in page.items]
    assert found == in_order([file for file in files if wanted(query, file)], NEWEST) and found


async def test_a_count_beyond_what_is_looked_at_says_so(
    shelves: tuple[Records, list[File]], monkeypatch: pytest.MonkeyPatch
) -> None:
    records, _ = shelves
    monkeypatch.setattr(finding, "COUNTED", 10)
    monkeypatch.setattr(finding, "COUNT_STEPS", 2)
    assert await records.files.count("demo", FileQuery(part=".")) == (20, False)


@pytest.mark.parametrize("order", ORDERS[2:], ids=str)
async def test_a_cursor_belongs_to_its_order(records: Records, order: Order) -> None:
    for number in range(3):
        await records.files.create(a_file(created_at=moment(number)))
    page = await records.files.find("demo", FileQuery(), None, 1, order)
    assert page.next
    with pytest.raises(CursorInvalid):
        await records.files.find("demo", FileQuery(), page.next, 1, NEWEST)


async def test_a_list_by_any_order_goes_on_when_its_place_is_deleted(records: Records) -> None:
    for order in ORDERS:
        files = [a_file(created_at=moment(0), size=5) for _ in range(6)]
        for file in files:
            await records.files.create(file)
        expected = in_order(files, order)
        page = await records.files.find("demo", FileQuery(), None, 3, order)
        assert list(page.items) == expected[:3]
        await records.files.delete(expected[2].id)
        assert list((await records.files.find("demo", FileQuery(), page.next, 9, order)).items) == expected[3:]
        for file in files:
            await records.files.delete(file.id)


async def test_nothing_of_the_indexes_outlives_a_file(records: Records, redis: Redis) -> None:
    files = some_files(60, 3)
    for file in files:
        await records.files.create(file)
    for file in files:
        await records.files.change(
            file.id, lambda one: one.model_copy(update={"folder": "x/y", "tags": ("n",)}), moment(1)
        )
        await records.files.delete(file.id)
    assert [key for key in await keys(redis) if ":subject:" not in key and "events:" not in key] == []


async def test_folders_are_listed_with_what_is_in_them(records: Records) -> None:
    made = ["", "a", "a/b", "a/b/c", "a b", "a-c/d", "ab", "b"]
    for folder in made:
        await records.files.create(a_file(folder=folder))

    async def all_in(folder: str) -> list[tuple[str, int]]:
        return await whole_list(lambda cursor: records.files.folders("demo", folder, cursor, 2))

    assert await all_in("") == [("a", 3), ("a b", 1), ("a-c", 1), ("ab", 1), ("b", 1)]
    assert await all_in("a") == [("a/b", 2)]
    assert await all_in("a/b/c") == []


async def test_doubles_are_told_by_content(records: Records) -> None:
    files = [a_file(sha256=f"{number % 7:064x}", size=10 + number % 7) for number in range(17)]
    for file in [*files, a_file(sha256="f" * 64)]:
        await records.files.create(file)
    doubles = await whole_list(lambda cursor: records.files.doubles("demo", cursor, 2))
    assert [(double.sha256, double.size, double.count) for double in doubles] == [
        (f"{number:064x}", 10 + number, 3 if number < 3 else 2) for number in range(7)
    ]
    assert {id for double in doubles for id in double.files} == {file.id for file in files}
    usage = await records.usage.get("demo")
    assert (usage.doubles.files, usage.doubles.bytes) == (
        sum(double.count - 1 for double in doubles),
        sum((double.count - 1) * double.size for double in doubles),
    )


async def test_the_same_content_is_found(records: Records) -> None:
    files = [a_file(sha256="a" * 64, created_at=moment(number)) for number in (1, 3, 2)]
    for file in [*files, a_file(sha256="b" * 64)]:
        await records.files.create(file)
    assert await records.files.alike("demo", "a" * 64) == [files[0], files[2], files[1]]
    assert len(await records.files.alike("demo", "a" * 64, 2)) == 2
    assert await records.files.alike("demo", "c" * 64) == await records.files.alike("other", "a" * 64) == []
