"""What files are filed under, over HTTP: labels and their limits, lists, batches, copies, usage and quotas."""

from __future__ import annotations

import asyncio
from typing import Any
from urllib.parse import quote
from uuid import uuid4

import pytest

from .house import House, Multipart, photo

TEXT = b"some words"


async def sent(house: House, name: str = "a.txt", body: bytes = TEXT, query: str = "", **more: Any) -> Any:
    return await house.json("POST", f"/v1/files?name={quote(name)}{query}", 201, data=body, **more)


async def names(house: House, query: str) -> list[str]:
    return [file["name"] for file in (await house.json("GET", f"/v1/files?{query}"))["items"]]


async def patch(house: House, id: str, status: int = 200, **change: Any) -> Any:
    return await house.json("PATCH", f"/v1/files/{id}", status, json=change)


async def test_a_file_can_be_filed_while_it_is_sent(house: House) -> None:
    file = await sent(house, query="&folder=/shop//shoes/&tag=New&tag=sale&tag=new")
    assert (file["folder"], file["tags"], file["region"], file["updated_at"]) == (
        "/shop/shoes",
        ["new", "sale"],
        None,
        None,
    )
    form = Multipart().field("metadata", '{"a": "1"}').field("file", TEXT, "b.txt").end()
    file = await house.json("POST", "/v1/files?folder=x&tag=f", 201, **form)
    assert (file["folder"], file["tags"], file["metadata"]) == ("/x", ["f"], {"a": "1"})
    ask = {"name": "c.txt", "tags": ["C"], "folder": "/y", "metadata": {"k": "v"}, "region": region(0, 0, 5, 5)}
    upload = await house.json("POST", "/v1/uploads", 201, json=ask)
    path = f"/v1/uploads/{upload['id']}"
    await house.json("PATCH", path, data=TEXT, headers={"Upload-Offset": "0"})
    file = await house.json("POST", f"{path}/finish", 201)
    assert (file["folder"], file["tags"], file["region"]) == ("/y", ["c"], region(0, 0, 5, 5))


def region(x: int, y: int, width: int, height: int) -> dict[str, int]:
    return {"x": x, "y": y, "width": width, "height": height}


async def test_a_file_is_changed_as_asked_and_only_so(house: House) -> None:
    file = await house.send(photo(120, 80), "a.jpg")
    changed = await patch(house, file["id"], name="b.jpg", folder="/f", tags=["t"], metadata={"k": "v"}, private=True)
    assert [changed[name] for name in ("name", "folder", "tags", "metadata")] == ["b.jpg", "/f", ["t"], {"k": "v"}]
    assert changed["private"] and "signature=" in changed["url"] and changed["updated_at"]
    async with house.ask("GET", f"/v1/files/{file['id']}/content", key=None) as answer:
        assert answer.status == 403
    async with house.ask("GET", changed["url"], key=None) as answer:
        assert "b.jpg" in answer.headers["Content-Disposition"] and await answer.read() == photo(120, 80)
    changed = await patch(house, file["id"], region=region(20, 0, 100, 80), metadata={"k": None, "l": "w"})
    assert (changed["region"], changed["metadata"], changed["name"]) == (region(20, 0, 100, 80), {"l": "w"}, "b.jpg")
    assert (await patch(house, file["id"], region=None))["region"] is None
    assert (await patch(house, file["id"], private=False, folder="/"))["folder"] == "/"


@pytest.mark.parametrize(
    ("change", "status", "code"),
    [
        ({"name": " ../ "}, 400, "NAME_INVALID"),
        ({"folder": "../up"}, 400, "FOLDER_INVALID"),
        ({"folder": "/".join("x" * 51)}, 400, "FOLDER_INVALID"),
        ({"tags": ["a b"]}, 400, "TAG_INVALID"),
        ({"tags": ["t" * 101]}, 400, "TAG_TOO_LONG"),
        ({"tags": [str(number) for number in range(51)]}, 400, "TAGS_TOO_MANY"),
        ({"metadata": {"": "x"}}, 400, "METADATA_KEY_EMPTY"),
        ({"metadata": {"k" * 65: "x"}}, 400, "METADATA_KEY_TOO_LONG"),
        ({"metadata": {"a b": "x"}}, 400, "METADATA_KEY_FORBIDDEN"),
        ({"metadata": {"a": ""}}, 400, "METADATA_VALUE_EMPTY"),
        ({"metadata": {"a": "x" * 513}}, 400, "METADATA_VALUE_TOO_LONG"),
        ({"metadata": {"a": "\0"}}, 400, "METADATA_VALUE_FORBIDDEN"),
        ({"metadata": {str(number): "x" for number in range(51)}}, 400, "METADATA_TOO_MANY"),
        ({"region": region(21, 0, 100, 80)}, 422, "REGION_INVALID"),
        ({"region": region(-1, 0, 10, 10)}, 400, "REQUEST_INVALID"),
        ({"size": 5}, 400, "REQUEST_INVALID"),
    ],
)
async def test_what_is_beyond_a_limit_has_its_own_code_and_changes_nothing(
    house: House, change: dict[str, Any], status: int, code: str
) -> None:
    file = await house.send(photo(120, 80), "a.jpg")
    path = f"/v1/files/{file['id']}"
    await house.problem("PATCH", path, status, code, json={"private": True} | change)
    assert await house.json("GET", path) == file
    if "METADATA" in code or "TAG" in code or "FOLDER" in code:
        ask = {"name": "a.txt"} | change
        await house.problem("POST", "/v1/uploads", status, code, json=ask)


async def test_metadata_is_seen_and_set_key_by_key(house: House) -> None:
    path = f"/v1/files/{(await sent(house))['id']}/metadata"
    assert await house.json("GET", path) == {}
    assert await house.json("PUT", f"{path}/who", json="Zoë 😀") == "Zoë 😀"
    assert await house.json("GET", f"{path}/who") == "Zoë 😀"
    assert await house.json("PATCH", path, json={"a.b:c-d_1": "x", "who": None}) == {"a.b:c-d_1": "x"}
    assert await house.json("PUT", path, json={"n": "1", "m": "2"}) == {"n": "1", "m": "2"}
    await house.json("DELETE", f"{path}/n", 204)
    await house.problem("DELETE", f"{path}/n", 404, "METADATA_KEY_NOT_FOUND")
    await house.problem("GET", f"{path}/n", 404, "METADATA_KEY_NOT_FOUND")
    await house.problem("PUT", f"{path}/bad%20key", 400, "METADATA_KEY_FORBIDDEN", json="x")
    await house.problem("PUT", f"{path}/k", 400, "REQUEST_INVALID", json={"not": "text"})
    await house.problem("PUT", f"{path}/k", 400, "REQUEST_INVALID", data=b'"\\ud800"', headers=JSON)
    await house.problem("GET", path, 404, "FILE_NOT_FOUND", key="other-key")
    assert await house.json("GET", path) == {"m": "2"}


JSON = {"Content-Type": "application/json"}


async def test_tags_are_set_added_and_removed(house: House) -> None:
    path = f"/v1/files/{(await sent(house))['id']}/tags"
    assert await house.json("PUT", path, json={"tags": [" B ", "a", "b", ""]}) == {"tags": ["b", "a"]}
    assert await house.json("PATCH", path, json={"remove": ["b", "none"], "add": ["C", "b"]}) == {
        "tags": ["a", "c", "b"]
    }
    assert await house.json("GET", path) == {"tags": ["a", "c", "b"]}
    await house.problem("PATCH", path, 404, "FILE_NOT_FOUND", key="other-key", json={"add": ["x"]})


async def test_twenty_changes_at_once_over_http(house: House) -> None:
    id = (await sent(house))["id"]
    await asyncio.gather(*(house.json("PUT", f"/v1/files/{id}/metadata/k{n}", json=str(n)) for n in range(20)))
    assert await house.json("GET", f"/v1/files/{id}/metadata") == {f"k{n}": str(n) for n in range(20)}


async def test_storing_is_taken_back(house: House) -> None:
    file = await sent(house)
    let_go = await house.json("DELETE", f"/v1/files/{file['id']}/store")
    assert let_go["stored_at"] is None and let_go["expires_at"]
    assert await names(house, "stored=false") == ["a.txt"] and await names(house, "stored=true") == []
    assert (await house.json("POST", f"/v1/files/{file['id']}/store"))["expires_at"] is None
    await house.problem("DELETE", f"/v1/files/{uuid4()}/store", 404, "FILE_NOT_FOUND")


async def test_files_are_found_by_what_is_known_of_them(house: House) -> None:
    await sent(house, "Zebra.txt", b"1234", "&folder=/a&tag=x&tag=y&private=true")
    await sent(house, "apple.txt", b"123456", "&folder=/a/b&tag=x")
    picture = await house.send(photo(), "photo.jpg")
    await patch(house, picture["id"], metadata={"who": "a=b"})
    other = await sent(house, "zebra.txt", b"other project", key="other-key")
    for query, found in (
        ("tag=x", ["apple.txt", "Zebra.txt"]),
        ("tag=x&tag=y", ["Zebra.txt"]),
        ("any_tag=y&any_tag=none", ["Zebra.txt"]),
        ("folder=/a", ["Zebra.txt"]),
        ("folder=/", ["photo.jpg"]),
        ("below=/a&sort=name", ["apple.txt", "Zebra.txt"]),
        ("type=image/*", ["photo.jpg"]),
        ("type=text/plain&sort=-size", ["apple.txt", "Zebra.txt"]),
        ("search=EBR", ["Zebra.txt"]),
        ("prefix=app", ["apple.txt"]),
        ("name=zebra.TXT", ["Zebra.txt"]),
        ("min_size=5&max_size=1KB&type=text/*", ["apple.txt"]),
        ("private=true", ["Zebra.txt"]),
        (f"metadata={quote('who=a=b')}", ["photo.jpg"]),
        (f"sha256={picture['sha256']}", ["photo.jpg"]),
        (f"since={quote(picture['created_at'])}", ["photo.jpg"]),
        (f"before={quote(picture['created_at'])}&sort=created", ["Zebra.txt", "apple.txt"]),
        ("made=true", []),
        ("sort=name", ["apple.txt", "photo.jpg", "Zebra.txt"]),
    ):
        assert await names(house, query) == found, query
        count = await house.json("GET", f"/v1/files/count?{query.split('sort=')[0].rstrip('&')}")
        assert count == {"count": len(found), "exact": True}, query
    assert other["id"] not in str(await house.json("GET", "/v1/files"))


@pytest.mark.parametrize("query", ["tag=a%20b", "folder=../x", "metadata=novalue", "sort=colour", "since=yesterday",
                                   "sha256=xyz", "min_size=-1", "limit=0", "colour=red", "cursor=abc",
                                   "cursor=Y3JlYXRlZAAxAAAx", "since=2026-13-01",
                                   "min_size=1e9", "min_size=99999999999999999", "&".join(["tag=t"] * 21)])  # fmt: skip
async def test_what_cannot_be_looked_for_is_refused(house: House, query: str) -> None:
    async with house.ask("GET", f"/v1/files?{query}") as answer:
        assert answer.status == 400, await answer.text()


async def test_pages_of_any_order_go_on_while_files_come_and_go(house: House) -> None:
    for number in range(7):
        await sent(house, f"n{number}.txt", b"x" * (number % 3 + 1), "&tag=page")
    for sort in ("created", "-created", "name", "-name", "size", "-size"):
        found, cursor = [], ""
        while True:
            page = await house.json("GET", f"/v1/files?tag=page&limit=3&sort={sort}{cursor}")
            found += [file["name"] for file in page["items"]]
            if page["next"] is None:
                break
            cursor = f"&cursor={page['next']}"
            late = await sent(house, "late.txt", b"xxxxxxx")
            await house.json("DELETE", f"/v1/files/{late['id']}", 204)
        assert sorted(found) == [f"n{number}.txt" for number in range(7)], sort
    await house.problem("GET", f"/v1/files?sort=name{cursor}", 400, "CURSOR_INVALID")


async def test_folders_doubles_and_usage_are_told(house: House) -> None:
    for folder, body in (("/a", b"one"), ("/a/b", b"one"), ("/c", b"twos"), ("", b"one")):
        await sent(house, body=body, query=f"&folder={folder or '/'}")
    tree = await house.json("GET", "/v1/folders")
    assert tree == {"items": [{"folder": "/a", "files": 2}, {"folder": "/c", "files": 1}], "next": None}
    assert (await house.json("GET", "/v1/folders?folder=/a"))["items"] == [{"folder": "/a/b", "files": 1}]
    (double,) = (await house.json("GET", "/v1/files/doubles"))["items"]
    assert (double["size"], double["count"], double["wasted"], len(double["files"])) == (3, 3, 6, 3)
    assert await house.json("GET", "/v1/usage") == {
        "files": 4,
        "bytes": 13,
        "max_files": None,
        "max_storage": None,
        "doubles": {"files": 2, "bytes": 6},
        "storages": {"default": {"files": 4, "bytes": 13}},
    }
    assert (await house.json("GET", "/v1/usage", key="other-key"))["files"] == 0


async def test_a_copy_over_http(house: House) -> None:
    file = await house.send(photo(), "a.jpg")
    path = f"/v1/files/{file['id']}/copies"
    headers = {"Idempotency-Key": "one copy"}
    first = await house.json("POST", path, 201, json={"name": "b.jpg", "tags": ["c"]}, headers=headers)
    again = await house.json("POST", path, 201, json={"name": "b.jpg", "tags": ["c"]}, headers=headers)
    assert again["id"] == first["id"] != file["id"]
    assert (first["name"], first["tags"], first["image"], first["sha256"]) == (
        "b.jpg",
        ["c"],
        file["image"],
        file["sha256"],
    )
    assert (await house.json("POST", path, 201))["name"] == "a.jpg"
    await house.json("DELETE", f"/v1/files/{file['id']}", 204)
    async with house.ask("GET", first["url"], key=None) as answer:
        assert await answer.read() == photo()
    await house.problem("POST", path, 404, "FILE_NOT_FOUND")
    await house.problem("POST", f"/v1/files/{first['id']}/copies", 400, "REQUEST_INVALID", json={"storage": "nowhere"})


async def test_a_batch_tells_of_every_file(house: House) -> None:
    files = [await sent(house, f"{number}.txt") for number in range(3)]
    foreign = await sent(house, key="other-key")
    ids = [files[0]["id"], foreign["id"], "no id at all", files[1]["id"].upper()]
    told = await house.json("POST", "/v1/files/batch", json={"act": "unstore", "ids": ids})
    assert [row["id"] for row in told["items"]] == ids and told["next"] is None
    assert [row["error"] and row["error"]["code"] for row in told["items"]] == [None, *["FILE_NOT_FOUND"] * 2, None]
    assert sorted(await names(house, "stored=false")) == ["0.txt", "1.txt"]
    edit = {"act": "edit", "filter": {"stored": False}, "edit": {"add_tags": ["Late"], "folder": "/old"}}
    told = await house.json("POST", "/v1/files/batch", json=edit)
    assert {row["file"]["folder"] for row in told["items"]} == {"/old"} and len(told["items"]) == 2
    told = await house.json("POST", "/v1/files/batch", json={"act": "delete", "filter": {"tag": ["late"]}})
    assert [row["error"] for row in told["items"]] == [None, None]
    assert await names(house, "") == ["2.txt"]
    assert (await house.json("GET", f"/v1/files/{foreign['id']}", key="other-key"))["id"] == foreign["id"]


@pytest.mark.parametrize(
    "ask",
    [
        {},
        {"act": "delete"},
        {"act": "delete", "ids": []},
        {"act": "delete", "ids": ["x"] * 101},
        {"act": "delete", "ids": ["x"], "filter": {}},
        {"act": "edit", "ids": ["x"]},
        {"act": "delete", "ids": ["x"], "edit": {}},
        {"act": "burn", "ids": ["x"]},
        {"act": "delete", "filter": {"colour": "red"}},
    ],
)
async def test_a_batch_that_is_not_sound_does_nothing(house: House, ask: dict[str, Any]) -> None:
    await sent(house)
    await house.problem("POST", "/v1/files/batch", 400, "REQUEST_INVALID", json=ask)
    assert await names(house, "") == ["a.txt"]


async def test_no_more_comes_in_than_the_project_may_have(house: House) -> None:
    async def one(number: int) -> int:
        async with house.ask("POST", f"/v1/files?name={number}.txt", key="small-key", data=b"x" * 100) as answer:
            return answer.status

    statuses = await asyncio.gather(*(one(number) for number in range(20)))
    assert sorted(statuses) == [201] * 5 + [413] * 15
    problem = await house.problem("POST", "/v1/files?name=a.txt", 413, "QUOTA_EXCEEDED", key="small-key", data=b"x")
    assert "5 files" in problem["detail"]
    used = await house.json("GET", "/v1/usage", key="small-key")
    assert (used["files"], used["bytes"], used["max_files"], used["max_storage"]) == (5, 500, 5, 10_000)
    (first, *_) = (await house.json("GET", "/v1/files", key="small-key"))["items"]
    await house.json("DELETE", f"/v1/files/{first['id']}", 204, key="small-key")
    ask = {"name": "a.txt", "size": 9_601}
    await house.problem("POST", "/v1/uploads", 413, "QUOTA_EXCEEDED", key="small-key", json=ask)
    await house.problem("POST", "/v1/files?name=a.txt", 413, "QUOTA_EXCEEDED", key="small-key", data=b"x" * 9_601)
    await house.json("POST", "/v1/files?name=a.txt", 201, key="small-key", data=b"x" * 9_600)
    kept, _ = await house.leftovers()
    assert len(kept) == 10
