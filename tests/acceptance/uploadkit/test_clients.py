"""Who calls the API as it is documented: curl, fetch and requests, each a process of its own; pages in a browser."""

from __future__ import annotations

import hashlib
import random
from pathlib import Path

import aiohttp
import pytest
from playwright.async_api import Browser

from tests.acceptance.browsing import open_page
from tests.acceptance.uploadkit.kit import KEY, Kit
from tests.nodes.studio import PHOTO

PART = 5 * 2**20
PAGE = {"id", "key", "name", "size", "type", "url", "status", "createdAt"}
"""What the page shows of a file."""


async def test_curl(kit: Kit) -> None:
    size = PHOTO.stat().st_size
    ask = {"fileName": "profile.jpg", "fileSize": size, "contentType": "image/jpeg", "routeSlug": "imageUploader"}
    status, asked = await kit.ask("POST", "/upload/request", ask)
    assert status == 200 and asked.keys() == {"fileId", "uploadUrl", "cdnUrl", "key"}
    assert (await kit.ask("POST", "/upload/complete", {"fileId": asked["fileId"]}))[0] == 422
    assert await kit.put(asked["uploadUrl"], PHOTO, "image/png") == 403
    assert await kit.put(asked["uploadUrl"], PHOTO, "image/jpeg") == 200
    status, file = await kit.ask("POST", "/upload/complete", {"fileId": asked["fileId"]})
    assert status == 200 and file.keys() >= PAGE
    assert (file["name"], file["size"], file["type"], file["status"]) == ("profile.jpg", size, "image/jpeg", "UPLOADED")
    status, told = await kit.ask("GET", "/files?limit=20")
    assert [one["id"] for one in told["files"]][:1] != [] and told["nextCursor"] is None
    escaped = asked["key"].replace("/", "%2F")
    assert (await kit.ask("DELETE", f"/files/{escaped}"))[0] == 200
    assert (await kit.ask("DELETE", f"/files/{escaped}"))[0] == 404
    assert (await kit.curl(file["url"]))[0] == 404


async def test_curl_is_told_what_is_wrong(kit: Kit) -> None:
    ask = {"fileName": "profile.jpg", "fileSize": 2**23, "contentType": "image/jpeg", "routeSlug": "imageUploader"}
    error = {"error": "File size exceeds the 4 MB limit for route imageUploader", "code": "FILE_TOO_LARGE"}
    assert await kit.ask("POST", "/upload/request", ask) == (403, error)
    for document, status, code in (
        (ask | {"fileSize": "big"}, 400, "VALIDATION_ERROR"),
        (ask | {"fileSize": 10, "contentType": "text/csv"}, 403, "INVALID_FILE_TYPE"),
        (ask | {"fileSize": 10, "routeSlug": "unknown"}, 404, "NOT_FOUND"),
    ):
        found, told = await kit.ask("POST", "/upload/request", document)
        assert (found, told["code"]) == (status, code)
    assert (await kit.ask("GET", "/files", key="uk_live_nobody"))[0] == 401
    status, told = await kit.curl(f"{kit.base}/api/v1/files", "-H", "Authorization: Bearer uk_live_nobody")
    assert (status, told["error"]["code"]) == (401, "UNAUTHORIZED")


@pytest.mark.parametrize("key", [KEY, "uk_live_bucket"])
@pytest.mark.parametrize("name", ["upload.mjs", "upload.py"])
async def test_fetch_and_requests(kit: Kit, name: str, key: str) -> None:
    told = await kit.example(name, PHOTO, key)
    statuses = {step: got["status"] for step, got in told.items() if isinstance(got, dict)}
    expected = {"request": 200, "put": 200, "complete": 200, "list": 200, "delete": 200, "deleted": 404}
    more = {"wrong": 403, "again": 404} if name.endswith("mjs") else {}
    streamed = {"request2": 200, "streamed": 200, "complete2": 200} if more and key == KEY else {}
    assert statuses == {**expected, **more, **streamed}
    assert told["put"]["etag"].startswith('"') and told["fetched"] is True and told["gone"] == 404
    if more:
        assert "<Code>SignatureDoesNotMatch</Code>" in told["wrong"]["body"]
    file = told["complete"]["body"]
    assert file.keys() >= PAGE and file["size"] == PHOTO.stat().st_size
    assert told["deleted"]["body"]["code"] == "NOT_FOUND"


# Pages


async def test_a_page_uploads_through_the_handler(kit: Kit, chromium: Browser, tmp_path: Path) -> None:
    words = tmp_path / "words.txt"
    words.write_text("no picture")
    endpoint = {"endpoint": f"{kit.base}/handler/demopublickey", "route": "imageUploader"}
    async with open_page(chromium, "uploadkit") as page:
        await page.set_input_files("input", PHOTO)
        told = await page.evaluate("(asked) => uploadByHandler(asked)", endpoint)
        await page.set_input_files("input", words)
        refused = await page.evaluate("(asked) => uploadByHandler(asked)", endpoint)
    assert told["limits"]["body"] == {"maxFileSize": 2**22, "allowedTypes": ["image/*"]}
    assert told["put"]["status"] == 200 and told["put"]["etag"] and told["put"]["loaded"] == PHOTO.stat().st_size
    complete = told["complete"]["body"]
    assert (complete["ok"], complete["metadata"]) == (True, {"width": 3, "from": "page"})
    async with aiohttp.ClientSession() as stranger, stranger.get(complete["url"]) as answer:
        assert await answer.read() == PHOTO.read_bytes()
    assert (refused["request"]["status"], refused["request"]["body"]["error"]["code"]) == (415, "INVALID_FILE_TYPE")


async def test_a_page_puts_the_parts_of_a_large_file(kit: Kit, chromium: Browser, tmp_path: Path) -> None:
    film = tmp_path / "film.bin"
    film.write_bytes(random.Random(3).randbytes(3 * PART + 11))
    ask = {"fileName": film.name, "fileSize": film.stat().st_size, "contentType": "application/x-film"}
    status, begun = await kit.ask("POST", "/upload/multipart/init", ask | {"routeSlug": "default"})
    assert status == 200 and len(begun["parts"]) == 4
    async with open_page(chromium, "uploadkit") as page:
        await page.set_input_files("input", film)
        asked = {"parts": begun["parts"], "size": PART, "type": "application/x-film"}
        parts = await page.evaluate("(asked) => putParts(asked)", asked)
    assert all(part["etag"] for part in parts), "a page may read it"
    document = {"fileId": begun["fileId"], "uploadId": begun["uploadId"], "parts": parts}
    status, told = await kit.ask("POST", "/upload/multipart/complete", document)
    assert status == 200, told
    async with aiohttp.ClientSession() as stranger, stranger.get(told["file"]["url"]) as answer:
        assert hashlib.sha256(await answer.read()).digest() == hashlib.sha256(film.read_bytes()).digest()
