"""Files fetched from URLs over HTTP, by a real worker process, from real servers on loopback."""

from __future__ import annotations

import asyncio
import json
import subprocess
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from tests.outside import Outside, fixed, listening

from .house import House, photo
from .test_runs import events_of

KEY = {"key": "inside-key"}
FETCHES = "/v1/fetches"
Worker = subprocess.Popen[bytes]


@pytest.fixture(scope="module")
async def server() -> AsyncIterator[Outside]:
    async with listening() as server:
        yield server


class Gate:
    """An answer whose second half waits for `open`."""

    def __init__(self, body: bytes) -> None:
        self._body = body
        self.open = asyncio.Event()

    async def __call__(self, request: web.Request, sent: bytes) -> web.StreamResponse:
        response = web.StreamResponse()
        response.content_length = len(self._body)
        await response.prepare(request)
        await response.write(self._body[:1000])
        await self.open.wait()
        await response.write(self._body[1000:])
        return response


async def until_begun(house: House, id: str) -> None:
    async with asyncio.timeout(20):
        while (await house.json("GET", f"{FETCHES}/{id}", **KEY))["done"] < 1000:
            await asyncio.sleep(0.05)


async def test_fetched_file(house: House, worker: Worker, server: Outside) -> None:
    body = photo(form="PNG")
    server.answers["/holiday/beach.png"] = fixed(200, body)
    url = f"{server.url}/holiday/beach.png"
    ask = {"url": url, "metadata": {"album": "summer"}, "tags": ["sea"], "folder": "trips"}
    fetch = await house.json("POST", f"{FETCHES}?wait=30", 200, json=ask, **KEY)
    assert set(fetch) == {
        "id", "url", "status", "done", "total", "tries", "file", "error", "created_at", "ended_at"
    }  # fmt: skip
    assert (fetch["status"], fetch["url"], fetch["error"], fetch["tries"]) == ("success", url, None, 1)
    assert fetch["done"] == fetch["total"] == len(body)
    file = fetch["file"]
    assert (file["name"], file["mime"], file["size"]) == ("beach.png", "image/png", len(body))
    assert file["metadata"] == {"album": "summer"}
    async with house.ask("GET", file["url"], key=None) as answer:
        assert await answer.read() == body
    assert await house.json("GET", f"{FETCHES}/{fetch['id']}", **KEY) == fetch
    await house.json("DELETE", f"/v1/files/{file['id']}", 204, **KEY)
    assert (await house.json("GET", f"{FETCHES}/{fetch['id']}", **KEY))["file"] is None


async def test_fetch_is_answered_at_once_and_followed(house: House, worker: Worker, server: Outside) -> None:
    body = photo(900, 900, "PNG", "#123456") + bytes(100_000)
    gate = server.answers["/slow.png"] = Gate(body)
    async with house.ask("POST", FETCHES, json={"url": f"{server.url}/slow.png", "name": "own.png"}, **KEY) as answer:
        fetch = await answer.json()
        assert answer.status == 202
        assert answer.headers["Location"] == f"{house.base}{FETCHES}/{fetch['id']}"
    assert (fetch["status"], fetch["file"]) == ("waiting", None)
    seen = []
    headers = house.headers("inside-key")
    async for event in events_of(house, f"{FETCHES}/{fetch['id']}/events", headers):
        seen.append(event)
        if event["data"]["done"] == 1000:
            assert (event["event"], event["data"]["total"]) == ("progress", len(body))
            gate.open.set()
    assert (seen[-1]["event"], seen[-1]["data"]["file"]["name"]) == ("success", "own.png")
    assert [event["data"]["done"] for event in seen] == sorted(event["data"]["done"] for event in seen)
    path, last = f"{FETCHES}/{fetch['id']}/events", {"Last-Event-ID": seen[-1]["id"]}
    async with house.ask("GET", path, headers=last, **KEY) as answer:
        assert answer.status == 204


async def test_fetch_by_a_route_keeps_to_its_rules(house: House, worker: Worker, server: Outside) -> None:
    server.answers |= {
        "/a.png": fixed(200, photo(form="PNG")),
        "/a.txt": fixed(200, b"a"),
        "/b": fixed(200, bytes(30_000)),
    }
    ask = {"url": f"{server.url}/a.png", "route": "avatar"}
    file = (await house.json("POST", f"{FETCHES}?wait=30", 200, json=ask, **KEY))["file"]
    assert (await house.core.records.files.get(file["id"])).route == "avatar"
    for name, code in (("a.txt", "TYPE_NOT_ALLOWED"), ("b", "FILE_TOO_LARGE")):
        refused = await house.json("POST", f"{FETCHES}?wait=30", 200, json=ask | {"url": f"{server.url}/{name}"}, **KEY)
        assert (refused["status"], refused["error"]["code"], refused["file"]) == ("error", code, None)
    await house.problem("POST", FETCHES, 422, "ROUTE_UNKNOWN", json=ask | {"route": "none"}, **KEY)


async def test_cancelled_fetch(house: House, worker: Worker, server: Outside) -> None:
    server.answers["/stuck"] = Gate(bytes(50_000))
    fetch = await house.json("POST", FETCHES, 202, json={"url": f"{server.url}/stuck"}, **KEY)
    await until_begun(house, fetch["id"])
    path = f"{FETCHES}/{fetch['id']}"
    await house.problem("DELETE", path, 404, "FETCH_NOT_FOUND", key="other-key")
    await house.json("DELETE", path, 204, **KEY)
    await house.json("DELETE", path, 204, **KEY)
    ended = await house.json("GET", path, **KEY)
    assert (ended["status"], ended["error"]["code"]) == ("cancelled", "FETCH_CANCELLED")
    async with asyncio.timeout(20):
        while [key for key in (await house.leftovers())[1] if key.startswith(("upload", "expiring"))]:
            await asyncio.sleep(0.05)
    assert (await house.leftovers())[0] == []


async def test_failed_fetch(house: House, worker: Worker, server: Outside) -> None:
    server.answers["/gone"] = fixed(410)
    fetch = await house.json("POST", f"{FETCHES}?wait=30", 200, json={"url": f"{server.url}/gone"}, **KEY)
    assert (fetch["status"], fetch["file"]) == ("error", None)
    assert fetch["error"]["code"] == "SOURCE_NOT_FOUND" and server.url not in json.dumps(fetch["error"])
    await house.problem("DELETE", f"{FETCHES}/{fetch['id']}", 409, "FETCH_ENDED", **KEY)


async def test_size_limit_of_the_project(house: House, worker: Worker, server: Outside) -> None:
    server.answers["/large"] = fixed(200, bytes(3_000_001))
    fetch = await house.json("POST", f"{FETCHES}?wait=30", 200, json={"url": f"{server.url}/large"}, **KEY)
    assert fetch["error"]["code"] == "FILE_TOO_LARGE"
    assert (await house.leftovers())[0] == []


async def test_duplicates(house: House, worker: Worker, server: Outside) -> None:
    server.answers["/same"] = fixed(200, photo())
    before = len(server.heard)
    ask = {"url": f"{server.url}/same", "check_duplicates": True}
    first = await house.json("POST", f"{FETCHES}?wait=30", 200, json=ask, **KEY)
    second = await house.json("POST", FETCHES, 200, json=ask, **KEY)
    assert second["file"]["id"] == first["file"]["id"] and second["id"] != first["id"]
    assert len(server.heard) == before + 1
    third = await house.json("POST", f"{FETCHES}?wait=30", 200, json={"url": ask["url"], "reuse": True}, **KEY)
    assert third["file"]["id"] == first["file"]["id"] and len(server.heard) == before + 2


async def test_idempotency_key(house: House, worker: Worker, server: Outside) -> None:
    server.answers["/once"] = fixed(200, photo())
    ask: dict[str, Any] = {"json": {"url": f"{server.url}/once"}, "headers": {"Idempotency-Key": "fetch-1"}, **KEY}
    before = len(server.heard)
    ids = {(await house.json("POST", f"{FETCHES}?wait=30", 200, **ask))["id"] for _ in range(3)}
    assert len(ids) == 1 and len(server.heard) == before + 1


async def test_flow_that_follows(house: House, worker: Worker, server: Outside) -> None:
    server.answers["/red.jpg"] = fixed(200, photo())
    ask = {"url": f"{server.url}/red.jpg", "flow": "tiny", "params": {"quality": 50}}
    await house.json("POST", f"{FETCHES}?wait=30", 200, json=ask, **KEY)
    (run,) = (await house.json("GET", "/v1/runs", **KEY))["items"]
    done = await house.json("GET", f"/v1/runs/{run['id']}?wait=60", **KEY)
    assert (done["status"], done["params"]) == ("completed", {"quality": 50})
    assert done["outputs"][0]["path"] == "tiny/red.webp"
    await house.problem("POST", FETCHES, 404, "FLOW_NOT_FOUND", json={**ask, "flow": "nope"}, **KEY)


async def test_run_of_a_url(house: House, worker: Worker, server: Outside) -> None:
    server.answers["/p/blue.jpg"] = fixed(200, photo(colour="#0022cc"))
    ask = {"inputs": {"photo": {"url": f"{server.url}/p/blue.jpg"}}}
    run = await house.json("POST", "/v1/flows/tiny/runs?wait=60", 200, json=ask, **KEY)
    assert (run["status"], run["error"]) == ("completed", None)
    assert run["outputs"][0]["path"] == "tiny/blue.webp"
    (fetch,) = [await house.json("GET", f"{FETCHES}/{id}", **KEY) for id in run["fetches"]]
    assert run["inputs"]["photo"] == [fetch["file"]["id"]]


async def test_run_of_a_url_that_is_no_picture(house: House, worker: Worker, server: Outside) -> None:
    server.answers["/words"] = fixed(200, b"only words")
    ask = {"inputs": {"photo": {"url": f"{server.url}/words"}}}
    run = await house.json("POST", "/v1/flows/tiny/runs?wait=60", 200, json=ask, **KEY)
    assert (run["status"], run["error"]["code"], run["error"]["node"]) == ("failed", "TYPE_NOT_ALLOWED", "photo")


async def test_page_without_a_key(house: House, worker: Worker, server: Outside) -> None:
    server.answers["/page.jpg"] = fixed(200, photo())
    page: dict[str, Any] = {"key": None, "headers": {"X-Public-Key": "insidepublic"}}
    fetch = await house.json("POST", f"{FETCHES}?wait=30", 200, json={"url": f"{server.url}/page.jpg"}, **page)
    assert fetch["status"] == "success"
    assert (await house.json("GET", f"{FETCHES}/{fetch['id']}", **page))["file"]["name"] == "page.jpg"
    ask = {"url": f"{server.url}/page.jpg", "flow": "tiny"}  # the project speaks of no flow
    await house.problem("POST", FETCHES, 404, "FLOW_NOT_FOUND", json=ask, **page)
    await house.problem("POST", FETCHES, 401, "KEY_REQUIRED", json=ask, key=None)


@pytest.mark.parametrize(
    ("url", "code"),
    [
        ("http://127.0.0.1/", "ADDRESS_REFUSED"),
        ("http://2130706433/", "ADDRESS_REFUSED"),
        ("http://0x7f.1/", "ADDRESS_REFUSED"),
        ("http://[::ffff:127.0.0.1]/", "ADDRESS_REFUSED"),
        ("http://169.254.169.254/latest/meta-data/", "ADDRESS_REFUSED"),
        ("http://localhost:22/", "ADDRESS_REFUSED"),
        ("https://example.com:8443/", "ADDRESS_REFUSED"),
        ("file:///etc/passwd", "URL_SCHEME_UNKNOWN"),
        ("example.com/a.jpg", "URL_SCHEME_MISSING"),
        ("https:///a.jpg", "URL_HOST_MISSING"),
        ("https://exa mple.com/", "URL_INVALID"),
        ("https://user:word@example.com/", "URL_INVALID"),
        ("https://example..com/", "URL_HOST_MALFORMED"),
        ("", "URL_INVALID"),
    ],
)
async def test_bad_url(url: str, code: str, house: House) -> None:
    document = await house.problem("POST", FETCHES, 422, code, json={"url": url})
    assert "user" not in document["detail"] or "user name" in document["detail"]
    assert await house.redis.keys("safelight:fetch*") == []


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        ({}, 400, "REQUEST_INVALID"),
        ({"url": 7}, 400, "REQUEST_INVALID"),
        ({"url": "https://example.com/", "nodes": 1}, 400, "REQUEST_INVALID"),
        ({"url": "https://example.com/" + "x" * 9000}, 400, "REQUEST_INVALID"),
        ({"url": "https://example.com/", "metadata": {"k": "v" * 10_000}}, 400, "METADATA_VALUE_TOO_LONG"),
    ],
)
async def test_bad_ask(body: Any, status: int, code: str, house: House) -> None:
    document = await house.problem("POST", FETCHES, status, code, json=body)
    assert document["detail"]


async def test_unknown_fetch(house: House) -> None:
    for path in (f"{FETCHES}/nothing", f"{FETCHES}/3f0c8a51-0000-4000-8000-000000000000"):
        for method, tail in (("GET", ""), ("DELETE", ""), ("GET", "/events")):
            await house.problem(method, path + tail, 404, "FETCH_NOT_FOUND")


async def test_metrics_count_fetches(house: House, worker: Worker, server: Outside) -> None:
    server.answers["/counted"] = fixed(200, b"counted")
    await house.json("POST", f"{FETCHES}?wait=30", 200, json={"url": f"{server.url}/counted"}, **KEY)
    async with aiohttp.ClientSession() as session, session.get(f"{house.base}/metrics") as answer:
        text = await answer.text()
    assert 'safelight_uploads_total{dialect="fetch",outcome="accepted"} 1.0' in text
