"""Files and media, lists and pages, and the two shapes that answers have."""

from __future__ import annotations

from typing import Any

import pytest

from tests.api.house import photo

from .desk import BARE, NEWER, OLDER, Desk

SDK = {"X-Fern-Language": "Python", "X-Fern-SDK-Name": "ittybit"}
ENVELOPED = [
    {"Accept-Version": "2024-08-21"},
    OLDER,
    {**SDK, "X-Fern-SDK-Version": "0.9.0"},
    {"User-Agent": "ittybit/0.7.0"},
    {**SDK, "X-Fern-SDK-Version": "0.9.0", "ACCEPT_VERSION": "2025-08-20"},
    {"ACCEPT_VERSION": "2025-01-01"},
]
PLAIN = [
    BARE,
    NEWER,
    {"Accept-Version": "latest"},
    {**SDK, "X-Fern-SDK-Version": "1.0.0"},
    {"User-Agent": "ittybit/1.0.0"},
    {"User-Agent": "ittybit/sdk/1.0.0"},
    {**SDK, "X-Fern-SDK-Version": "1.0.0", "ACCEPT_VERSION": "2025-07-01", **BARE},
    {**SDK, "X-Fern-SDK-Version": "1.0.0", "ACCEPT_VERSION": "2025-07-01"},
    {},
]


async def test_an_envelope_for_those_who_want_one(it: Desk) -> None:
    for headers in ENVELOPED:
        told = await it.ok("GET", "/files?limit=3", headers=headers)
        assert set(told) == {"meta", "data", "error", "links"}, headers
        assert (told["meta"]["type"], told["meta"]["limit"], told["meta"]["page"]) == ("list", 3, 1)
        missing = (await it.ask("GET", "/files/file_" + "0" * 32, headers=headers)).document
        assert (missing["meta"]["type"], missing["data"]) == ("error", None)
        assert missing["error"]["message"] == "File not found."
    for headers in PLAIN:
        assert isinstance(await it.ok("GET", "/files", headers=headers), list), headers
        missing = (await it.ask("GET", "/files/file_" + "0" * 32, headers=headers)).document
        assert missing == {"kind": "not_found", "message": "File not found."}


async def test_pages(it: Desk) -> None:
    other = Desk(it.house, "it-other-key")
    made = [await other.file(photo(20 + n, 20), f"p{n}.jpg", folder="pages") for n in range(5)]
    await other.file(b"text", "t.txt", folder="pages")
    ids = [file["id"] for file in reversed(made)]
    told = await other.ok("GET", "/files?page=2&limit=2&kind=image", headers=OLDER)
    assert [file["id"] for file in told["data"]] == ids[2:4]
    meta = told["meta"]
    assert (meta["total"], meta["limit"], meta["page"], meta["pages"], meta["type"]) == (5, 2, 2, 3, "list")
    base = f"{it.house.base}/ittybit/files?limit=2&kind=image&page="
    places = {"self": 2, "first": 1, "prev": 1, "next": 3, "last": 3}
    assert told["links"] == {name: f"{base}{page}" for name, page in places.items()}
    last = await other.ask("GET", "/files?page=3&limit=2&kind=image")
    assert ([file["id"] for file in last.document], last.headers["Has-More"]) == (ids[4:], "false")
    assert (last.headers["Limit"], 'rel="prev"' in last.headers["Link"]) == ("2", True)
    assert (await other.ok("GET", "/files?page=3", headers=OLDER))["links"]["next"] is None
    sizes = [file["filesize"] for file in await other.ok("GET", "/files?sort=filesize&order=asc")]
    assert sizes == sorted(sizes)
    assert await other.ok("GET", "/files?status=failed") == []
    assert await other.ok("GET", "/files?kind=video") == []
    assert len(await other.ok("GET", "/files?folder=pages")) == 6
    assert (await other.ok("GET", "/media", headers={"Accept-Version": "2024-08-21"}))["meta"]["limit"] == 12
    for query in ("page=0", "page=x", "limit=-1", "sort=name", "order=up", "page=9999&limit=100"):
        assert await other.refused("GET", f"/files?{query}", 400)


async def test_a_file_is_changed_and_deleted(it: Desk) -> None:
    file = await it.file(metadata={"a": "1", "b": "2", "n": 5})
    given = {"folder": "x/y", "filename": "new.jpg", "ref": "hero", "metadata": {"a": None, "c": {"d": 1}, "n": "6"}}
    told = await it.ok("PATCH", f"/files/{file['id']}", given)
    assert (told["folder"], told["filename"], told["ref"]) == ("x/y", "new.jpg", "hero")
    assert told["metadata"] == {"b": "2", "c": {"d": 1}, "n": "6"}
    assert (await it.ok("GET", f"/media/{file['media_id']}"))["urls"]["hero"] == file["url"].replace(
        "photo.jpg", "new.jpg"
    )
    told = await it.ok("PATCH", f"/files/{file['id']}", {"folder": None, "ref": None})
    assert (told["folder"], told["ref"]) == (None, None)
    gone = await it.ask("DELETE", f"/files/{file['id']}")
    assert (gone.status, gone.document) == (202, {"message": "File deleted."})
    for method in ("GET", "PATCH", "DELETE"):
        assert await it.refused(method, f"/files/{file['id']}", 404) == "File not found."
    assert await it.refused("GET", f"/media/{file['media_id']}", 404) == "Media not found."


async def test_a_file_is_got_from_a_url(it: Desk) -> None:
    source = await it.file(photo(70, 30))
    file = await it.ok(
        "POST",
        "/files",
        {"url": source["url"], "folder": "got", "filename": "g.jpg", "ref": "r", "metadata": {"k": 1}},
        201,
    )
    assert (file["folder"], file["filename"], file["ref"], file["metadata"], file["width"], file["status"]) == (
        "got", "g.jpg", "r", {"k": 1}, 70, "ready")  # fmt: skip
    later = await it.ok("POST", "/files", {"url": source["url"], "async": True}, 202)
    assert later["status"] in ("waiting", "processing")
    task = await it.run(kind="image", file_id=later["id"], width=10)
    assert task["output"]["width"] == 10
    there = await it.ok("GET", f"/files/{later['id']}")
    assert (there["id"], there["status"], there["media_id"]) == (later["id"], "ready", later["media_id"])
    assert "404" in await it.refused("POST", "/files", 400, {"url": f"{it.house.base}/nothing"})
    assert await it.refused("POST", "/files", 400, {}) == "`url` is required."
    assert await it.refused("POST", "/files", 400, {"url": "ftp://x/y"})
    other = Desk(it.house, "it-other-key")
    assert await other.refused("POST", "/files", 400, {"url": source["url"]})  # an address inside


async def test_an_empty_media_and_what_is_put_with_it(it: Desk) -> None:
    headers = {**BARE, "Content-Type": "application/json", "Content-Length": "0"}
    empty = await it.ok("POST", "/media", status=201, headers=headers, data=b"")
    assert (empty["files"], empty["urls"], empty["kind"], empty["metadata"], empty["id"][:4]) == (
        [],
        {},
        None,
        {},
        "med_",
    )
    media = await it.ok("POST", "/media", {"title": "T", "alt": "A", "metadata": {"k": "v"}}, 201)
    assert (media["title"], media["alt"], media["metadata"], media["object"]) == ("T", "A", {"k": "v"}, "media")
    source = await it.file()
    file = await it.ok("POST", "/files", {"url": source["url"], "media_id": media["id"], "ref": "cover"}, 201)
    sent = await it.upload(b"some words", "w.txt", media_id=media["id"], ref="words")
    assert (sent["id"], len(sent["files"])) == (media["id"], 2)
    assert file["media_id"] == media["id"]
    task = await it.run(kind="image", file_id=file["id"], width=9, ref="small")
    assert task["output"]["media_id"] == media["id"]
    told = await it.ok("GET", f"/media/{media['id']}")
    assert {file["ref"] for file in told["files"]} == {"cover", "words", "small"}
    assert (told["kind"], told["width"], "media_id" in told["files"][0]) == ("image", 120, False)
    assert told["urls"]["cover"] == file["url"]
    changed = await it.ok(
        "PATCH", f"/media/{media['id']}", {"title": "U", "alt": None, "metadata": {"k": None, "l": 2}}
    )
    assert (changed["title"], changed["alt"], changed["metadata"]) == ("U", None, {"l": 2})
    assert await it.refused("POST", "/uploads", 404, {"media_id": "med_nothing"}) == "Media not found."
    assert {one["kind"] for one in await it.ok("GET", "/media?kind=image&limit=5")} == {"image"}
    listed = await it.ok("GET", "/media?limit=100")
    assert media["id"] in [one["id"] for one in listed]
    assert [one["id"] for one in listed].count(source["media_id"]) == 1
    assert not {file["id"].replace("file", "med") for file in told["files"]} & {one["id"] for one in listed}
    assert (await it.ask("DELETE", f"/media/{media['id']}")).status == 202
    for path in (f"/media/{media['id']}", f"/files/{file['id']}", f"/files/{task['output']['id']}"):
        assert (await it.ask("GET", path)).status == 404
    assert (
        await it.refused("POST", "/files", 404, {"url": source["url"], "media_id": media["id"]}) == "Media not found."
    )


async def test_a_media_of_a_url_as_it_was_earlier(it: Desk) -> None:
    source = await it.file()
    told = await it.ok("POST", "/media", {"url": source["url"], "title": "T", "label": "L"}, 201, headers=OLDER)
    media = told["data"]
    assert (media["title"], media["label"], media["kind"], media["live_mode"]) == ("T", "L", "image", True)
    changed = await it.ok("PATCH", f"/media/{media['id']}", {"alt": "A", "metadata": {"n": 1}})
    assert (changed["title"], changed["alt"], changed["metadata"], changed["files"][0]["metadata"]) == (
        "T", "A", {"n": 1}, {"n": 1})  # fmt: skip


async def test_every_file_of_the_project_is_read_here(it: Desk) -> None:
    sent = await it.house.send(photo(31, 17), "native.jpg", key="it-demo-key")
    id = sent["id"].replace("-", "")
    file = await it.ok("GET", f"/files/file_{id}")
    assert (file["media_id"], file["filename"], file["width"]) == (f"med_{id}", "native.jpg", 31)
    assert (await it.ok("GET", f"/media/med_{id}"))["files"][0]["id"] == file["id"]
    assert (await it.ok("GET", "/files?limit=1"))[0]["id"] == file["id"]
    assert (await it.ok("GET", "/media?limit=1"))[0]["id"] == f"med_{id}"
    assert await Desk(it.house, "it-other-key").refused("GET", f"/files/file_{id}", 404) == "File not found."
    assert await Desk(it.house, "it-other-key").refused("GET", f"/media/med_{id}", 404) == "Media not found."


NOWHERE = ["file_x", "file_" + "0" * 31, "med_" + "0" * 32, "%00", "..", "x" * 300, "file_" + "g" * 32]


@pytest.mark.parametrize("id", NOWHERE)
async def test_odd_ids(it: Desk, id: str) -> None:
    for path in ("/files", "/media", "/tasks", "/automations", "/webhooks/endpoints", "/events", "/jobs"):
        for method in ("GET", "DELETE", "PATCH"):
            told = await it.ask(method, f"{path}/{id}")
            assert told.status in (404, 405), (method, path)
            assert told.document["message"]


BODIES: list[Any] = [[], "text", 7, {"metadata": []}, {"url": {}}, {"workflow": {}}, {"kind": 1}, {"topics": "x"}]


async def test_odd_bodies(it: Desk) -> None:
    for path in ("/files", "/tasks", "/automations", "/signatures", "/webhooks/endpoints", "/uploads"):
        for body in BODIES:
            told = await it.ask("POST", path, body)
            assert told.status == 400 or (path == "/uploads" and told.status == 200), (path, body, told)
        assert (await it.ask("POST", path, data=b"{" * 5000)).status == 400
    told = await it.ask("PUT", "/files")
    assert (told.status, told.headers["Allow"], told.document["kind"]) == (405, "GET, HEAD, POST", "method_not_allowed")
    assert (await it.ask("GET", "/nothing")).document == {
        "kind": "not_found", "message": "Nothing is served at this address."}  # fmt: skip
    assert (await it.ask("GET", "/files/")).status == 200
