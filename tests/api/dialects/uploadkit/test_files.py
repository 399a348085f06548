"""List, get, patch, delete one and many by key, fetch; files of every API, and rows whose bytes are awaited."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

from tests.api.dialects.uploadcare.desk import form
from tests.api.house import photo

from .desk import LIVE, Desk, key_path, page, sdk, wish


async def test_files_and_awaited_uploads_are_listed_newest_first(uk: Desk) -> None:
    made = []
    for number in range(5):
        made.append((await uk.upload(name=f"p{number}.jpg"))["id"])
        made.append((await uk.ok("POST", "/upload/request", wish(photo(), f"w{number}.jpg")))["fileId"])
    first = await uk.ok("GET", "/files?limit=4", headers=page())
    assert first.keys() == {"files", "nextCursor", "hasMore"} and first["hasMore"] is True
    rows, cursor = first["files"], first["nextCursor"]
    while cursor:
        following = await uk.ok("GET", f"/files?limit=4&cursor={quote(cursor)}")
        rows, cursor = rows + following["files"], following["nextCursor"]
        assert following["hasMore"] == bool(cursor)
    assert [row["id"] for row in rows] == made[::-1]
    assert [row["status"] for row in rows] == ["UPLOADING", "UPLOADED"] * 5
    names = {
        "id", "_id", "key", "name", "size", "type", "url", "status", "metadata", "createdAt", "updatedAt", "projectId",
    }  # fmt: skip
    assert all(names <= row.keys() and row["projectId"] == "demo" for row in rows)
    assert [row["id"] for row in (await uk.ok("GET", "/files"))["files"]] == made[::-1]
    assert (await uk.ok("GET", "/files", headers=sdk("uk_live_other")))["files"] == []
    exact = await uk.ok("GET", "/files?limit=10")
    assert (exact["nextCursor"], exact["hasMore"]) == (None, False)


async def test_a_file_is_named_by_its_key_as_one_segment(uk: Desk) -> None:
    file = await uk.upload(name="my photo.jpg", metadata={"a": "b"})
    assert file["key"].endswith("/my_photo.jpg") and file["name"] == "my photo.jpg"
    path = key_path(file["key"])
    assert "%2F" in path
    for spelling in (path, path.replace("%2F", "%2f"), f"/files/{file['key']}"):
        assert (await uk.ok("GET", spelling))["file"] == file["file"], spelling
    assert (await uk.ask("GET", path, headers=sdk("uk_live_other"))).status == 404
    changed = await uk.ok("PATCH", path, {"metadata": {"n": 2}}, page())
    assert changed["file"]["metadata"] == changed["metadata"] == {"n": 2}
    assert changed["updatedAt"] > file["updatedAt"] and changed["createdAt"] == file["createdAt"]
    told = await uk.ok("DELETE", path, headers=page())
    assert (told["ok"], told["deleted"]) == (True, True)
    for told in await uk.refusals("DELETE", path):
        assert told[:2] == (404, "NOT_FOUND")
    assert (await uk.send("GET", file["url"], {})).status == 404
    assert (await uk.ask("GET", path)).status == 404
    assert (await uk.ok("GET", "/files"))["files"] == []


async def test_an_awaited_row_is_changed_and_given_up_by_its_key(uk: Desk) -> None:
    asked = await uk.ok("POST", "/upload/request", wish(photo()))
    path = key_path(asked["key"])
    assert (await uk.ok("PATCH", path, {"metadata": {"late": True}}))["file"]["status"] == "UPLOADING"
    assert (await uk.ok("GET", path))["metadata"] == {"late": True}
    await uk.ok("DELETE", path)
    assert (await uk.ask("GET", path)).status == 404
    assert (await uk.put(asked["uploadUrl"], photo())).status == 403
    assert (await uk.ask("POST", "/upload/complete", {"fileId": asked["fileId"]})).status == 404


async def test_many_are_deleted_at_once(uk: Desk) -> None:
    files = [await uk.upload(name=f"{number}.jpg") for number in range(3)]
    keys = [file["key"] for file in files]
    unknown = "demo/anything/11111111-1111-4111-8111-111111111111/x.jpg"

    async def delete(*named: str) -> tuple[int, Any]:
        answer = await uk.ask("DELETE", "/files", {"keys": named})
        return answer.status, answer.json

    status, told = await delete(keys[0], unknown, "uploads/abc/x.jpg")
    assert (status, told["deleted"], told["failed"], told["reclaimedBytes"]) == (207, 1, 2, files[0]["size"])
    assert [(one["key"], one["code"]) for one in told["failures"]] == [
        (unknown, "NOT_FOUND"), ("uploads/abc/x.jpg", "NOT_FOUND")]  # fmt: skip
    assert (await delete(keys[0]))[0] == 404
    status, told = await delete(*keys[1:])
    assert (status, told["deleted"], told["failures"]) == (200, 2, [])
    for odd in ({"keys": []}, {"keys": ["x"] * 101}, {"keys": [1]}, {}, []):
        for told in await uk.refusals("DELETE", "/files", odd):
            assert told[:2] == (400, "VALIDATION_ERROR")


async def test_files_of_other_apis_are_files_here(uk: Desk) -> None:
    native = await uk.house.send(photo(), "native name.jpg", key=LIVE)
    fields = [("UPLOADCARE_PUB_KEY", "demopublic"), ("UPLOADCARE_STORE", "1"), ("file", photo(), "care.jpg")]
    async with uk.house.session.post(f"{uk.house.base}/base/", data=form(fields)) as answer:
        care = (await answer.json())["file"]
    rows = (await uk.ok("GET", "/files"))["files"]
    names = {native["id"]: "native_name.jpg", care: "care.jpg"}
    assert {row["id"]: row["key"] for row in rows} == {id: f"demo/default/{id}/{name}" for id, name in names.items()}
    for row in rows:
        assert (await uk.ok("GET", key_path(row["key"])))["id"] == row["id"]
        assert (await uk.send("GET", row["url"], {})).body == photo()
    await uk.house.json("PATCH", f"/v1/files/{care}", key=LIVE, json={"name": "other.jpg", "private": True})
    row = (await uk.ok("GET", key_path(f"demo/default/{care}/care.jpg")))["file"]
    assert row["name"] == "other.jpg" and "signature=" in row["url"], "the old key names it still"
    assert (await uk.send("GET", row["url"], {})).body == photo()
    assert (await uk.send("GET", f"/uploadkit/cdn/{row['key']}", {})).status == 404
    await uk.house.json("PATCH", f"/v1/files/{native['id']}", key=LIVE, json={"published": False})
    assert (await uk.send("GET", f"/uploadkit/cdn/demo/default/{native['id']}/native_name.jpg", {})).status == 404
    await uk.ok("DELETE", key_path(row["key"]))
    assert (await uk.house.json("GET", "/v1/files", key=LIVE))["items"][0]["id"] == native["id"]
    removed = {"Authorization": "Uploadcare.Simple demopublic:demosecret"}
    assert (await uk.send("GET", f"/files/{care}/", removed)).json["datetime_removed"]


async def test_delivery_is_for_anybody_unless_the_project_signs(uk: Desk) -> None:
    file = await uk.upload(b"<script>alert(1)</script>", "page.html", "text/html")
    answer = await uk.send("GET", file["url"], {"Origin": "https://shop.example"})
    assert answer.headers["Content-Disposition"].startswith("attachment")
    assert answer.headers["Access-Control-Allow-Origin"] == "*"
    part = await uk.send("GET", file["url"], {"Range": "bytes=0-3"})
    assert (part.status, part.body) == (206, b"<scr")
    assert (await uk.send("GET", file["url"], {"If-None-Match": answer.headers["ETag"]})).status == 304
    head = await uk.send("HEAD", file["url"], {})
    assert (head.status, head.headers["Content-Length"]) == (200, str(file["size"]))
    for odd in ("x", "demo/x/y/z", "nobody/default/11111111-1111-4111-8111-111111111111/x.jpg", "%00", "a//b"):
        missing = await uk.send("GET", f"/uploadkit/cdn/{odd}", {})
        assert (missing.status, missing.json["error"]["code"]) == (404, "NOT_FOUND")
    sealed = await uk.upload(headers=sdk("uk_live_sealed"), route="default")
    refused = await uk.send("GET", sealed["url"], {})
    assert (refused.status, refused.json["error"]["code"]) == (403, "INVALID_SIGNATURE")
