"""File routes of the settings and of the API, the handler that pages talk to, logs, usage, projects and keys."""

from __future__ import annotations

import json
from typing import Any

from pipeline.signing import signature
from tests.api.house import photo

from .desk import LIVE, MIB, Desk, key_path, sdk, wish

ROUTERS = "/projects/demo/routers"


async def test_routes_are_made_changed_and_removed(uk: Desk) -> None:
    told = (await uk.ok("GET", ROUTERS))["routers"]
    assert [(one["slug"], one["maxFileSize"]) for one in told] == [
        ("default", 50 * MIB), ("imageUploader", 4 * MIB), ("anything", 60 * MIB)]  # fmt: skip
    ask = {"slug": "docs", "maxFileSize": 2000, "allowedTypes": ["text/*"], "webhookUrl": "https://hook.example/x"}
    answer = await uk.ask("POST", ROUTERS, ask)
    made = answer.json["router"]
    assert answer.status == 201 and {**made, **ask} == made and made["maxFileCount"] == 1
    for slug in ("docs", "imageUploader", "default"):
        for refusal in await uk.refusals("POST", ROUTERS, ask | {"slug": slug}):
            assert refusal[:2] == (409, "DUPLICATE_SLUG")
    for odd in ({"slug": "1a"}, {"slug": "a-b"}, {"slug": ""}, {"maxFileSize": 0}, {"webhookUrl": "ftp://x"}, {}):
        body = (ask | odd | {"slug": odd.get("slug", "fresh")}) if odd else {}
        assert (await uk.refusals("POST", ROUTERS, body))[1][:2] == (400, "VALIDATION_ERROR"), odd

    asked = await uk.ok("POST", "/upload/request", wish(b"some words", "a.txt", "text/plain", "docs"))
    assert asked["key"].startswith("demo/docs/")
    for told, code in (
        (wish(b"x" * 2001, "a.txt", "text/plain", "docs"), "TIER_LIMIT_EXCEEDED"),
        (wish(photo(), route="docs"), "INVALID_FILE_TYPE"),
    ):
        assert (await uk.ask("POST", "/upload/request", told)).json["error"]["code"] == code
    path = f"/routers/{made['id']}"
    changed = (await uk.ok("PATCH", path, {"allowedTypes": ["image/*"], "webhookUrl": None}))["router"]
    assert (changed["allowedTypes"], changed["webhookUrl"], changed["maxFileSize"]) == (["image/*"], None, 2000)
    assert await uk.ok("DELETE", path) == {"ok": True}
    assert (await uk.ask("DELETE", path)).status == 404
    assert (await uk.ask("POST", "/upload/request", wish(b"x", "a.txt", "text/plain", "docs"))).status == 404
    await uk.put(asked["uploadUrl"], b"some words", "text/plain")
    file = await uk.ok("POST", "/upload/complete", {"fileId": asked["fileId"]})
    assert file["key"] == asked["key"], "what was begun by a route goes on without it"

    for id in ("imageUploader", "anything"):
        for refusal in await uk.refusals("DELETE", f"/routers/{id}"):
            assert refusal[:2] == (400, "MANAGED_BY_SETTINGS")
    assert (await uk.ask("GET", "/projects/other/routers")).status == 404


async def test_the_route_every_project_has(uk: Desk) -> None:
    assert (await uk.refusals("DELETE", "/routers/default"))[0][:2] == (400, "MANAGED_BY_SETTINGS")
    changed = (await uk.ok("PATCH", "/routers/default", {"maxFileSize": 100}))["router"]
    assert (changed["slug"], changed["maxFileSize"], changed["maxFileCount"]) == ("default", 100, 100)
    large = await uk.ask("POST", "/upload/request", wish(photo(), route="default"))
    assert large.json["error"]["code"] == "TIER_LIMIT_EXCEEDED"
    assert [one["slug"] for one in (await uk.ok("GET", ROUTERS))["routers"]].count("default") == 1
    await uk.ok("DELETE", f"/routers/{changed['id']}")
    assert (await uk.upload(route="default"))["status"] == "UPLOADED"


# The handler


async def handle(uk: Desk, path: str, document: Any = None, headers: Any = None) -> tuple[int, Any]:
    method = "GET" if document is None else "POST"
    data = None if document is None else json.dumps(document).encode()
    answer = await uk.send(method, f"/uploadkit/handler/{path}", headers or {}, data)
    return answer.status, answer.json


async def test_a_page_uploads_through_the_handler(uk: Desk) -> None:
    status, told = await handle(uk, "demopublic/imageUploader")
    assert (status, told) == (200, {"maxFileSize": 4 * MIB, "allowedTypes": ["image/*"]})
    assert (await handle(uk, "demopublic/default"))[1]["maxFileCount"] == 100
    picture = photo()
    ask = {"action": "request-upload", "fileName": "p.jpg", "contentType": "image/jpeg", "contentLength": len(picture)}
    status, asked = await handle(uk, "demopublic/imageUploader", ask | {"metadata": {"from": "page"}})
    assert status == 200 and {"uploadUrl", "key", "fileId"} <= asked.keys()
    done = {"action": "upload-complete", "key": asked["key"], "fileId": asked["fileId"]}
    assert (await handle(uk, "demopublic/imageUploader", done))[1]["error"]["code"] == "FILE_NOT_IN_STORAGE"
    assert (await uk.put(asked["uploadUrl"], picture)).status == 200
    wrong = done | {"key": asked["key"].replace(asked["fileId"], "11111111-1111-4111-8111-111111111111")}
    assert (await handle(uk, "demopublic/imageUploader", wrong))[0] == 404
    status, told = await handle(uk, "demopublic/imageUploader", done)
    assert (status, told["ok"], told["metadata"]) == (200, True, {"from": "page"})
    assert told["file"]["id"] == asked["fileId"] and (await uk.send("GET", told["url"], {})).body == picture
    row = (await uk.ok("GET", key_path(asked["key"])))["file"]
    assert row == told["file"]


async def test_what_the_handler_refuses(uk: Desk) -> None:
    ask = {"action": "request-upload", "fileName": "p.jpg", "contentType": "image/jpeg", "contentLength": 10}
    for path, document, expected in (
        ("demopublic/nowhere", None, (404, "ROUTE_NOT_FOUND")),
        ("demopublic/nowhere", ask, (404, "ROUTE_NOT_FOUND")),
        ("demopublic/imageUploader", ask | {"contentLength": 5 * MIB}, (413, "FILE_TOO_LARGE")),
        ("demopublic/imageUploader", ask | {"contentType": "text/plain"}, (415, "INVALID_FILE_TYPE")),
        ("demopublic/imageUploader", ask | {"contentType": ""}, (415, "INVALID_FILE_TYPE")),
        ("demopublic/imageUploader", {"action": "dance"}, (400, "UNKNOWN_ACTION")),
        ("demopublic/imageUploader", {}, (400, "UNKNOWN_ACTION")),
        ("demopublic/imageUploader", [], (400, "VALIDATION_ERROR")),
        ("demopublic/imageUploader", ask | {"contentLength": 0}, (400, "VALIDATION_ERROR")),
        ("demopublic/imageUploader", {"action": "upload-complete", "fileId": "x"}, (404, "NOT_FOUND")),
        ("nobody/imageUploader", ask, (401, "UNAUTHORIZED")),
        ("strictpublic/default", ask, (403, "INVALID_SIGNATURE")),
        ("strictpublic/99999999999/abc/default", ask, (403, "INVALID_SIGNATURE")),
    ):
        status, told = await handle(uk, path, document)
        assert (status, told["error"]["code"]) == expected, (path, document)
        assert told["error"]["message"]
    signed = signature(b"strictsecret", b"strictpublic\n99999999999\n")
    assert (await handle(uk, f"strictpublic/99999999999/{signed}/default", ask))[0] == 200
    late = signature(b"strictsecret", b"strictpublic\n999999999\n")
    assert (await handle(uk, f"strictpublic/999999999/{late}/default", ask))[0] == 403


async def test_who_decides_that_a_file_stays(uk: Desk) -> None:
    by_server = await uk.upload(route="default", headers=sdk("uk_live_draft"))
    native = await uk.house.json("GET", f"/v1/files/{by_server['id']}", key="uk_live_draft")
    assert native["stored_at"] is not None
    ask = {"action": "request-upload", "fileName": "p", "contentType": "image/jpeg", "contentLength": len(photo())}
    _, asked = await handle(uk, "draftpublic/default", ask)
    await uk.put(asked["uploadUrl"], photo())
    await handle(uk, "draftpublic/default", {"action": "upload-complete", "fileId": asked["fileId"]})
    native = await uk.house.json("GET", f"/v1/files/{asked['fileId']}", key="uk_live_draft")
    assert native["stored_at"] is None and native["expires_at"]


# The account


async def test_logs_usage_projects_and_keys(uk: Desk) -> None:
    kept, gone = await uk.upload(name="kept.jpg"), await uk.upload(name="gone.jpg")
    await uk.ok("DELETE", key_path(gone["key"]))
    awaited = await uk.ok("POST", "/upload/request", wish(photo(), "awaited.jpg"))
    told = await uk.ok("GET", "/logs?since=2020-01-01T00:00:00.000Z")
    assert told["count"] == 3
    assert [(row["id"], row["status"]) for row in told["logs"]] == [
        (awaited["fileId"], "UPLOADING"), (gone["id"], "DELETED"), (kept["id"], "UPLOADED")]  # fmt: skip
    assert await uk.ok("GET", "/logs?since=2100-01-01") == {"logs": [], "count": 0}
    since = kept["createdAt"].replace("+", "%2B")
    assert kept["id"] not in [row["id"] for row in (await uk.ok("GET", f"/logs?since={since}&limit=2"))["logs"][:2]]

    used = await uk.ok("GET", "/usage")
    assert used["usage"]["storageUsed"] == kept["size"] and used["usage"]["uploads"] == 1
    assert used["limits"]["maxFileSizeBytes"] == 60 * MIB
    assert (await uk.ok("GET", "/usage/history"))["history"] == [used["usage"]]

    assert [one["id"] for one in (await uk.ok("GET", "/projects"))["projects"]] == ["demo"]
    assert (await uk.ok("GET", "/projects/demo"))["project"]["slug"] == "demo"
    keys = (await uk.ok("GET", "/projects/demo/keys"))["keys"]
    assert [(one["keyPrefix"], one["isTest"]) for one in keys] == [("uk_live_0123", False), ("uk_test_0123", True)]
    assert LIVE not in str(keys)
    for method, path, document in (
        ("POST", "/projects", {"name": "x"}), ("PATCH", "/projects/demo", {"name": "x"}),
        ("DELETE", "/projects/demo", None), ("POST", "/projects/demo/keys", {"name": "x"}),
        ("DELETE", f"/keys/{keys[0]['id']}", None),
    ):  # fmt: skip
        for refusal in await uk.refusals(method, path, document):
            assert refusal[:2] == (400, "MANAGED_BY_SETTINGS")
    assert (await uk.ask("GET", "/projects/other/keys")).status == 404
