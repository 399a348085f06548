"""Lists of the media library: sorted, a part at a time, and searched."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from pipeline.api.dialects.imagekit.manage import listing
from pipeline.model import now
from tests.api.dialects.imagekit.desk import Desk
from tests.api.house import photo

V1 = "/imagekit/v1"
FILES = f"{V1}/files"

NIKE = '{"brand": "Nike", "price": 12.5}'
LIBRARY: dict[str, tuple[bytes, dict[str, str]]] = {
    "red-dress-summer.jpg": (photo(120, 80), {"tags": "summer-sale,dress", "folder": "/shop/dresses"}),
    "red-dress-winter.jpg": (photo(600, 300), {"tags": "dress", "folder": "/shop", "isPrivateFile": "true"}),
    "Blue-Hat.png": (photo(60, 90, "PNG"), {"tags": "hat,banner", "customMetadata": NIKE}),
    "note.txt": (b"n" * 3000, {"folder": "/shop", "isPublished": "false", "description": "a note"}),
    "logo.svg": (b'<svg xmlns="http://www.w3.org/2000/svg" width="10" height="10"/>', {"folder": "/shop logos"}),
}


async def stock(ik: Desk) -> dict[str, dict[str, Any]]:
    """The library, by the names of its files."""
    for name, kind in (("brand", "Text"), ("price", "Number")):
        body = {"name": name, "label": name, "schema": {"type": kind}}
        await ik.ok("POST", f"{V1}/customMetadataFields", body, 201)
    return {name: await ik.upload(content, name, **fields) for name, (content, fields) in LIBRARY.items()}


async def names(ik: Desk, **query: str) -> list[str]:
    return [one["name"] for one in await ik.ok("GET", FILES, query=query)]


SEARCHES = {
    'name = "red-dress-summer.jpg"': "summer",
    'name = "RED-dress-summer.jpg"': "",
    'name : "red-dress"': "summer winter",
    'name : "blue"': "",
    'name IN ["note.txt", "logo.svg"]': "note logo",
    'NOT name = "note.txt" AND size > 1kb': None,
    'name NOT = "note.txt" AND tags NOT IN ["dress"]': "hat logo",
    'name HAS "DRESS red"': "summer winter",
    'name HAS "red sum"': "summer",
    'tags HAS "summer"': "summer",
    'tags EXISTS AND name NOT = "x"': "summer winter hat",
    "tags NOT EXISTS": "note logo",
    'tags IN ["summer-sale","banner"]': "summer hat",
    'tags = "dress" AND path = "/shop"': "winter",
    'path : "/shop/"': "summer winter note",
    'path = "shop logos"': "",
    'path = "/shop_logos/"': "logo",
    'path : "/"': "summer winter hat note logo",
    'size < "1kb"': "summer hat logo",
    'size >= "2kb" AND size <= 3000': "note",
    "(size < \"1kb\" AND width > 100) OR (tags IN ['hat'])": "summer hat",
    "width > 100 AND height < 300": "summer",
    "height IN [300, 90]": "winter hat",
    'format = "jpg"': "summer winter",
    'format IN ["png", "svg"]': "hat logo",
    'format = "txt"': "note",
    "private = true": "winter",
    "private = false AND published = true AND transparency = false": "summer hat",
    "published = false": "note",
    'createdAt > "7d"': "summer winter hat note logo",
    "createdAt < 2020-01-01": "",
    'createdAt > "2020-01-01T12:12:12" AND updatedAt > "1h"': "summer winter hat note logo",
    '"customMetadata.brand" = "Nike"': "hat",
    '"customMetadata.price" > 12 AND "customMetadata.price" <= 12.5': "hat",
    '"customMetadata.brand" NOT = "Nike" AND type = "file"': "summer winter note logo",
    '"customMetadata.none" = 1': "",
    '"embeddedMetadata.Orientation" = "x"': "",
    'description : "a no"': "note",
    'type = "folder"': "shop dresses shop_logos",
    'type = "folder" AND name : "shop"': "shop shop_logos",
    'type IN ["file", "folder"] AND path = "/shop"': "dresses winter note",
}
"""Queries and what of each name or, of folders, which names they find; None for one that cannot be read."""


async def test_searches(ik: Desk) -> None:
    made = await stock(ik)
    short = {"summer": "red-dress-summer.jpg", "winter": "red-dress-winter.jpg", "hat": "Blue-Hat.png"}
    short |= {"note": "note.txt", "logo": "logo.svg"}
    for query, wanted in SEARCHES.items():
        if wanted is None:
            assert (await ik.refusal("GET", FILES, query={"searchQuery": query}))[0] == 400, query
            continue
        found = await names(ik, searchQuery=query)
        assert sorted(found) == sorted(short.get(word, word) for word in wanted.split()), query
    ids = [file["fileId"] for file in made.values()]
    assert len(await names(ik, searchQuery=f'id IN ["{ids[0]}", "{ids[3]}"]')) == 2
    # Beside a search these mean nothing, and these do (reference, List and search).
    beside = {"tags": "none", "type": "folder", "name": "none"}
    assert await names(ik, searchQuery='name : "red"', sort="DESC_NAME", limit="1", **beside) == [short["winter"]]
    assert await names(ik, searchQuery='name : "red"', path="/shop", fileType="image") == [short["winter"]]
    assert await names(ik, searchQuery="size > 1", fileType="non-image") == ["note.txt"]


@pytest.mark.parametrize(
    ("query", "told"),
    [
        ("createdAt > soon", "createdAt field"),
        ("size > big", "size field"),
        ("width = wide", "width field"),
        ("private = yes", "private field"),
        ("colour = red", "There is no field colour"),
        ("name", "operator"),
        ('name = "a" AND', "It ends"),
        ("(name = a", "`)` is expected"),
        ('tags IN "a"', "`[` is expected"),
        ("videoDuration > long", "duration"),
    ],
)
async def test_searches_that_cannot_be_read(ik: Desk, query: str, told: str) -> None:
    status, message = await ik.refusal("GET", FILES, query={"searchQuery": query})
    assert (status, message.startswith("Invalid search query - ")) == (400, True)
    assert told in message and message.endswith("documentation for syntax specification.")


async def test_lists_by_what_clients_ask_for_without_a_search(ik: Desk) -> None:
    await stock(ik)
    in_order = list(LIBRARY)
    assert await names(ik) == in_order
    assert await names(ik, sort="DESC_CREATED", limit="2", skip="1") == in_order[::-1][1:3]
    assert await names(ik, path="/shop/") == ["red-dress-winter.jpg", "note.txt"]
    assert await names(ik, path="/") == ["Blue-Hat.png"]
    assert await names(ik, fileType="non-image") == ["note.txt"]
    assert len(await names(ik, fileType="image")) == 4
    assert await names(ik, tags="hat, summer-sale") == ["red-dress-summer.jpg", "Blue-Hat.png"]  # as 4.x joins them
    assert await names(ik, name="note.txt") == ["note.txt"]
    assert await names(ik, type="folder") == ["shop", "dresses", "shop_logos"]
    assert sorted(await names(ik, type="folder", sort="DESC_NAME")) == ["dresses", "shop", "shop_logos"]
    whole = await names(ik, type="all")
    assert len(whole) == 8 and await names(ik, includeFolder="true") == whole
    assert [name for n in range(8) for name in await names(ik, type="all", skip=str(n), limit="1")] == whole
    assert await names(ik, type="file-version") == []
    await ik.upload(b"changed", "note.txt", folder="/shop")
    (old,) = await ik.ok("GET", FILES, query={"type": "file-version"})
    assert (old["type"], old["name"], old["size"]) == ("file-version", "note.txt", 3000)
    assert (await names(ik)).count("note.txt") == 1
    assert await names(ik, searchQuery='type = "file-version" AND size > 1') == ["note.txt"]
    for query in (
        {"limit": "0"},
        {"limit": "1001"},
        {"skip": "-1"},
        {"sort": "NAME"},
        {"type": "x"},
        {"fileType": "x"},
    ):
        (name,) = query
        status, message = await ik.refusal("GET", FILES, query=query)
        assert (status, message.startswith(f"Your request contains invalid {name} parameter.")) == (400, True)


async def test_lists_are_sorted(ik: Desk) -> None:
    made = await stock(ik)
    sizes = {name: file["size"] for name, file in made.items()}
    by_size = sorted(sizes, key=lambda name: sizes[name])
    assert await names(ik, sort="ASC_SIZE") == by_size
    assert await names(ik, sort="DESC_SIZE") == by_size[::-1]
    by_name = sorted(LIBRARY, key=str.casefold)
    assert await names(ik, sort="ASC_NAME") == by_name
    assert await names(ik, sort="DESC_NAME", skip="1", limit="2") == by_name[::-1][1:3]
    tall = ["logo.svg", "red-dress-summer.jpg", "Blue-Hat.png", "red-dress-winter.jpg"]
    assert await names(ik, sort="ASC_HEIGHT") == [*tall, "note.txt"]
    assert await names(ik, sort="DESC_HEIGHT") == [*tall[::-1], "note.txt"]
    id = made["logo.svg"]["fileId"]
    await ik.ok("PATCH", f"{FILES}/{id}/details", {"description": "changed"})
    assert (await names(ik, sort="DESC_UPDATED"))[0] == "logo.svg"
    assert await names(ik, sort="ASC_RELEVANCE") == list(LIBRARY)


async def test_far_down_a_list_it_goes_on_where_it_ended(ik: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    await ik.upload(b"x", "first.txt")
    records = ik.house.core.records
    (first,) = (await records.files.list("demo")).items
    start = now()
    for number in range(59):
        id = f"00000000-0000-4000-8000-{number:012d}"
        update = {"id": id, "name": f"{number:03d}.txt", "created_at": start + timedelta(microseconds=number // 3)}
        assert await records.files.create(first.model_copy(update=update))
    monkeypatch.setattr(listing, "FAR", 20)
    monkeypatch.setattr(listing, "AT_ONCE", 7)
    monkeypatch.setattr(listing, "MOST", 10)
    for sort in ("ASC_CREATED", "DESC_CREATED", "ASC_NAME", "DESC_SIZE"):
        found = [name for skip in range(0, 70, 10) for name in await names(ik, sort=sort, skip=str(skip), limit="10")]
        assert len(found) == len(set(found)) == 60, sort
    # What was deleted before the place changes nothing behind it.
    for part in await ik.ok("GET", FILES, query={"limit": "20"}):
        await ik.ok("DELETE", f"{FILES}/{part['fileId']}", status=204)
    assert await names(ik, skip="20", limit="2") == ["019.txt", "020.txt"]
    # More than may be looked at in vain, or held to be sorted, is told.
    for query in ({"searchQuery": "height > 5"}, {"sort": "DESC_UPDATED"}):
        status, message = await ik.refusal("GET", FILES, query={**query, "limit": "1"})
        assert (status, "narrow it down" in message) == (400, True)
    assert await names(ik, searchQuery='height > 5 AND name : "none"') == []
