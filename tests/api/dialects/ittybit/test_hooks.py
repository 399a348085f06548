"""Webhooks: the task that has ended, or how far it has come within an event, signed; and what has happened, listed."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import pytest
from aiohttp import web

from tests.api.house import photo

from .desk import NEWER, Desk

PROJECT_SECRET = "whsec_MDEyMzQ1Njc4OWFiY2RlZg=="


@dataclass
class Ear:
    """A server that is told of things."""

    address: str = ""
    heard: asyncio.Queue[tuple[str, Mapping[str, str], bytes]] = field(default_factory=asyncio.Queue)
    slow: asyncio.Event = field(default_factory=asyncio.Event)
    """What is told at `/slow` is answered once this is set."""

    async def hear(self, request: web.Request) -> web.Response:
        self.heard.put_nowait((request.path, request.headers.copy(), await request.read()))
        if request.path == "/slow":
            await self.slow.wait()
        return web.Response()

    async def next(self, secret: str = PROJECT_SECRET) -> tuple[str, Any]:
        """The path and the document of what is told next, once its signature is right."""
        path, headers, body = await asyncio.wait_for(self.heard.get(), 20)
        parts = dict(part.split("=", 1) for part in headers["Ittybit-Signature"].split(","))
        message = f"{parts['t']}.".encode() + body
        assert parts["v1"] == hmac.new(secret.encode(), message, hashlib.sha256).hexdigest()
        return path, json.loads(body)


@pytest.fixture
async def ear() -> AsyncIterator[Ear]:
    ear, app = Ear(), web.Application()
    app.router.add_post("/{name}", ear.hear)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    ear.address = f"http://127.0.0.1:{site.port}"
    yield ear
    await runner.cleanup()


async def test_a_task_is_posted_when_it_has_ended(it: Desk, ear: Ear) -> None:
    file = await it.file(photo(50, 50))
    task = await it.run(kind="image", file_id=file["id"], width=20, ref="r", webhook_url=f"{ear.address}/done")
    path, told = await ear.next()
    assert path == "/done"
    assert {name: told[name] for name in ("id", "object", "kind", "status", "options", "project_id", "error")} == {
        "id": task["id"], "object": "task", "kind": "image", "status": "completed", "options": {"width": 20},
        "project_id": "prj_demo", "error": None}  # fmt: skip
    assert (told["output"]["id"], told["output"]["ref"], told["input"]["id"]) == (
        task["output"]["id"], "r", file["id"])  # fmt: skip
    assert told["output"]["url"].endswith(task["output"]["url"].partition("/ittybit")[2])
    assert told["created"] < told["completed"]
    await it.run("failed", kind="image", url=f"{it.house.base}/nothing", webhook_url=f"{ear.address}/failed")
    path, told = await ear.next()
    assert (path, told["status"], "404" in told["error"]) == ("/failed", "failed", True)


async def test_steps_tell_of_themselves(it: Desk, ear: Ear) -> None:
    file = await it.file(photo(50, 50))
    post = {"kind": "http", "url": f"{ear.address}/steps"}
    workflow = [
        {"kind": "image", "ref": "a", "width": 10, "next": [post]},
        {"kind": "image", "ref": "b", "width": 11, "next": [{"kind": "webhook", "url": post["url"], "ref": "told"}]},
        {"kind": "image", "ref": "c", "width": 12, "webhook_url": f"{ear.address}/own"},
        {"kind": "conditions", "conditions": [{"prop": "kind", "value": "video"}], "next": [post]},
    ]
    task = await it.run(kind="workflow", file_id=file["id"], workflow=workflow, webhook_url=f"{ear.address}/whole")
    heard = sorted([await ear.next() for _ in range(4)], key=lambda row: (row[0], row[1]["id"]))
    assert [(path, told["kind"], told["status"]) for path, told in heard] == [
        ("/own", "image", "completed"), ("/steps", "http", "completed"), ("/steps", "webhook", "completed"),
        ("/whole", "workflow", "completed"),
    ]  # fmt: skip
    assert {told["parent_id"] for _, told in heard[:3]} == {task["id"]}
    assert [told["output"]["width"] for _, told in heard[:3]] == [12, 10, 11]
    assert heard[3][1]["id"] == task["id"]
    alone = await it.run(kind="http", file_id=file["id"], url=f"{ear.address}/alone")
    path, told = await ear.next()  # and nothing of the branch that was not taken
    assert (path, told["id"], told["kind"], told["input"]["id"]) == ("/alone", alone["id"], "http", file["id"])


async def test_endpoints(it: Desk, ear: Ear) -> None:
    asked = {"url": f"{ear.address}/events", "topics": ["task.succeeded", "task.failed"]}
    made = await it.ok("POST", "/webhooks/endpoints", asked, 201)
    assert {name: made[name] for name in ("object", "url", "topics", "status")} == {
        "object": "webhook_endpoint", **asked, "status": "active"}  # fmt: skip
    assert (made["id"][:3], isinstance(made["created_at"], int)) == ("we_", True)
    shown = await it.ok("GET", f"/webhooks/endpoints/{made['id']}")
    assert shown == {name: value for name, value in made.items() if name != "secret"}
    assert await it.ok("GET", "/webhooks/endpoints") == [shown]
    file = await it.file()
    task = await it.run(kind="image", file_id=file["id"], width=9)
    _, event = await ear.next(made["secret"])
    assert (event["id"][:4], event["object"], event["kind"], event["data"]["id"], event["data"]["status"]) == (
        "evt_", "event", "task.succeeded", task["id"], "succeeded")  # fmt: skip
    assert event["data"]["outputs"][0]["id"] == task["output"]["id"]
    assert isinstance(event["created_at"], int)
    changed = await it.ok("PATCH", f"/webhooks/endpoints/{made['id']}", {"topics": ["media.created"]})
    assert (changed["topics"], changed["url"]) == (["media.created"], asked["url"])
    media = await it.upload()
    await it.run(kind="image", media_id=media["id"], width=9)
    _, event = await ear.next(made["secret"])
    assert (event["kind"], event["data"]["id"], event["data"]["object"]) == ("media.created", media["id"], "media")
    off = await it.ok("PATCH", f"/webhooks/endpoints/{made['id']}", {"status": "disabled"})
    assert off["status"] == "disabled"
    assert (await it.ask("DELETE", f"/webhooks/endpoints/{made['id']}")).status == 202
    assert await it.refused("GET", f"/webhooks/endpoints/{made['id']}", 404) == "Webhook endpoint not found."
    assert ear.heard.empty()
    for body in ({}, {"url": "x"}, {"url": ear.address, "topics": ["nonsense"]}, {"url": ear.address, "topics": "x"}):
        assert await it.refused("POST", "/webhooks/endpoints", 400, body)


async def test_each_change_is_told_once_and_in_order(it: Desk, ear: Ear) -> None:
    topics = ["task.created", "task.updated", "task.succeeded"]
    slow = await it.ok("POST", "/webhooks/endpoints", {"url": f"{ear.address}/slow", "topics": topics}, 201)
    ends = {"url": f"{ear.address}/ends", "topics": ["run.succeeded"]}
    quick = await it.ok("POST", "/webhooks/endpoints", ends, 201)
    source = await it.file(photo(50, 50))
    task = await it.run(kind="image", url=f"{it.house.base}{source['url'].partition(it.house.base)[2]}", width=9)
    first, last = [json.loads((await asyncio.wait_for(ear.heard.get(), 20))[2]) for _ in range(2)]
    assert [(one["kind"], one["data"]["status"]) for one in (first, last)] == [
        ("task.created", "waiting"), ("run.succeeded", "succeeded")]  # fmt: skip
    assert ear.heard.empty()  # all of it waits to be told, and comes one by one
    ear.slow.set()
    told = [first, *[(await ear.next(slow["secret"]))[1] for _ in range(3)]]
    assert [(one["kind"], one["data"]["status"]) for one in told[1:]] == [
        ("task.updated", "pending"), ("task.updated", "processing"), ("task.succeeded", "succeeded")]  # fmt: skip
    assert {one["data"]["id"] for one in (*told, last)} == {task["id"]}
    listed = await it.ok("GET", "/events?limit=50", headers=NEWER)
    mine = [one for one in reversed(listed) if one["data"]["id"] == task["id"]]
    assert [(one["id"], one["kind"], one["data"]["status"]) for one in mine] == [
        (one["id"], one["kind"], one["data"]["status"]) for one in told]  # fmt: skip
    await it.ok("DELETE", f"/webhooks/endpoints/{quick['id']}", status=202)
    run, *_ = (await it.house.core.runs.list(it.grant())).items
    await it.house.core.runs.retry(it.grant(), run.id)  # begins nothing, but changes again
    again = [(await ear.next(slow["secret"]))[1] for _ in range(3)]
    assert [(one["kind"], one["data"]["status"]) for one in again] == [
        (one["kind"], one["data"]["status"]) for one in told[1:]]  # fmt: skip
    await it.ok("DELETE", f"/webhooks/endpoints/{slow['id']}", status=202)


async def test_what_has_happened(it: Desk) -> None:
    media = await it.upload()
    task = await it.run(kind="image", media_id=media["id"], width=9)
    events = await it.ok("GET", "/events?limit=4", headers=NEWER)
    told = [(event["kind"], event["data"]["id"]) for event in events]
    assert told == [
        ("task.succeeded", task["id"]), ("task.updated", task["id"]), ("task.created", task["id"]),
        ("media.created", media["id"]),
    ]  # fmt: skip
    assert events[0]["data"] | {"created": 0, "updated": 0, "created_at": 0, "updated_at": 0} == {
        "id": task["id"], "object": "task", "kind": "image", "status": "succeeded", "created": 0, "updated": 0,
        "created_at": 0, "updated_at": 0}  # fmt: skip
    assert await it.ok("GET", f"/events/{events[1]['id']}") == events[1]
    assert await it.ok("GET", f"/events?before={events[0]['id']}&limit=3") == events[1:]
    assert await it.ok("GET", f"/events?after={events[2]['id']}") == events[:2]
    assert await it.refused("GET", "/events?after=x", 400)
    other = Desk(it.house, "it-other-key")
    assert await other.refused("GET", f"/events/{events[1]['id']}", 404) == "Event not found."
