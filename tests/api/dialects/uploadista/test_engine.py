"""Dead letters and health, for those who run the server."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from typing import Any

import pytest
from aiohttp import web

from pipeline.model import Letter, Problem, Run, now
from pipeline.records.breakers import Callee, Rules
from tests.api.conftest import serving
from tests.api.dialects.uploadista.desk import CONFIG, Desk, photo
from tests.outside import Outside

UNKNOWN = "00000000-0000-4000-8000-000000000000"
TEXT = {"Accept": "text/plain"}
STATUSES = ("pending", "retrying", "exhausted", "resolved")


async def dead(ud: Desk, flow: str = "tiny", project: str = "demo") -> Run:
    """A run that was given up."""
    core, grant = ud.house.core, ud.grant(project)
    run = await core.runs.start(grant, flow, {}, awaits=tuple((await core.runs.flow(flow)).inputs))
    problem = Problem(code="RUN_POISONED", message="The worker died three times.", node="small")
    given_up = await core.records.letters.add(run.id, run.attempt, problem)
    assert given_up is not None
    return given_up


async def test_dead_letters_are_looked_at(ud: Desk) -> None:
    first, second, foreign = await dead(ud), await dead(ud, "pair"), await dead(ud, project="other")
    told = await ud.ok("GET", "/dlq")
    assert [item["id"] for item in told["items"]] == [second.id, first.id]
    assert (told["total"], told["limit"], told["offset"]) == (2, 50, 0)
    item = told["items"][1]
    assert item == await ud.ok("GET", f"/dlq/{first.id}")
    assert (item["jobId"], item["flowId"], item["clientId"], item["status"]) == (first.id, "tiny", "demo", "exhausted")
    assert item["error"] == {"code": "RUN_POISONED", "message": "The worker died three times.", "nodeId": "small"}
    assert item["failedAtNodeId"] == "small" and item["createdAt"] and item["nodeResults"]["small"]
    for query, count in (
        ("flowId=tiny", 1),
        ("status=exhausted", 2),
        ("status=pending", 0),
        ("clientId=other", 0),
        ("clientId=demo&limit=1", 1),
        ("offset=1", 1),
    ):
        assert len((await ud.ok("GET", f"/dlq?{query}"))["items"]) == count, query
    stats = await ud.ok("GET", "/dlq/stats")
    assert stats["totalItems"] == 2 and stats["byFlow"] == {"tiny": 1, "pair": 1} and stats["oldestItem"]
    assert stats["byStatus"] == {"pending": 0, "retrying": 0, "exhausted": 2, "resolved": 0}
    assert await ud.refused("GET", "/dlq?limit=none") == (400, "VALIDATION_ERROR")
    for id in (foreign.id, UNKNOWN, "no-id"):
        for method, path in (("GET", id), ("POST", f"{id}/retry"), ("POST", f"{id}/resolve"), ("DELETE", id)):
            assert await ud.refused(method, f"/dlq/{path}") == (404, "QUEUE_ITEM_NOT_FOUND")


async def test_dead_letters_are_settled(ud: Desk) -> None:
    again, aside, gone = [await dead(ud) for _ in range(3)]
    assert await ud.ok("POST", f"/dlq/{again.id}/retry") == {"success": True}
    assert (await ud.ok("GET", f"/jobs/{again.id}/status"))["status"] == "paused"  # it waits for its file once more
    assert (await ud.ok("POST", f"/dlq/{aside.id}/resolve"))["status"] == "resolved"
    assert await ud.ok("DELETE", f"/dlq/{gone.id}") == {"success": True}
    assert (await ud.ok("GET", "/dlq"))["items"] == []
    assert (await ud.ok("GET", f"/jobs/{aside.id}/status"))["status"] == "failed"


async def test_dead_letters_are_settled_all_together(ud: Desk) -> None:
    tiny, _, foreign = await dead(ud), await dead(ud, "pair"), await dead(ud, project="other")
    assert await ud.ok("POST", "/dlq/retry-all", {"flowId": "tiny"}) == {"retried": 1, "succeeded": 1, "failed": 0}
    assert (await ud.job(tiny.id))["status"] == "paused"
    assert await ud.ok("POST", "/dlq/cleanup", {"olderThan": "2020-01-01T00:00:00Z"}) == {"deleted": 0}
    assert await ud.ok("POST", "/dlq/cleanup", {"status": "pending"}) == {"deleted": 0}
    assert await ud.ok("POST", "/dlq/cleanup") == {"deleted": 1}
    assert await ud.ok("POST", "/dlq/retry-all") == {"retried": 0, "succeeded": 0, "failed": 0}
    letter: Letter = await ud.house.core.runs.letters.get(ud.grant("other"), foreign.id)
    assert letter.added_at <= now()


CALLING = """
retry: {{times: 2, first: 0s}}
nodes: {{photo: {{type: input}}, far: {{type: http, url: "{url}/far"}}, out: {{type: save, path: "a.png"}}}}
"""


async def test_what_is_tried_again_stands_beside_them(ud: Desk, busy: Any, application: Outside) -> None:
    core, calls, gates = ud.house.core, asyncio.Semaphore(0), asyncio.Semaphore(0)

    async def held(request: web.Request, body: bytes) -> web.Response:
        calls.release()
        await gates.acquire()
        return web.Response(status=503)

    async def standing(status: str, retries: int) -> None:
        (item,) = (await ud.ok("GET", f"/dlq?status={status}"))["items"]
        assert item == await ud.ok("GET", f"/dlq/{id}")
        assert (item["retryCount"], item["maxRetries"], item["error"]["nodeId"]) == (retries, 1, "far")
        assert (await ud.ok("GET", "/dlq/stats"))["byStatus"] == dict.fromkeys(STATUSES, 0) | {status: 1}
        parts = (await ud.ok("GET", "/uploadista/health/components"))["components"]["deadLetterQueue"]
        assert parts["pendingItems"] + parts["exhaustedItems"] == 1
        assert parts["exhaustedItems"] == (status == "exhausted")

    await core.flows.put("calling", CALLING.format(url=application.url))
    application.answers["/far"], content = held, photo()
    sent = await ud.begin(len(content), type="image/jpeg", fileName="b.jpg")
    await ud.chunk(sent["id"], content)
    id = (await ud.run("calling", {"photo": {"operation": "finalize", "uploadId": sent["id"]}}))["id"]
    await asyncio.wait_for(calls.acquire(), 30)
    assert await ud.refused("GET", f"/dlq/{id}") == (404, "QUEUE_ITEM_NOT_FOUND")
    await core.records.queues.pause("default")
    async with heard_of(ud, id) as told:
        gates.release()
        assert [await anext(told), await anext(told)] == ["run.queued", "run.queued"]
        await standing("pending", 0)
        for method, path in (("POST", f"{id}/resolve"), ("DELETE", id)):
            assert await ud.refused(method, f"/dlq/{path}") == (400, "FLOW_JOB_ERROR")
        assert await ud.ok("POST", f"/dlq/{id}/retry") == {"success": True}  # it is, in its turn
        await core.records.queues.resume("default")
        await asyncio.wait_for(calls.acquire(), 30)
        await standing("retrying", 1)
        gates.release()
        await ud.ended(id)
    await standing("exhausted", 1)


@asynccontextmanager
async def heard_of(ud: Desk, id: str) -> AsyncIterator[AsyncIterator[str]]:
    """When a run came into the queue, from its beginning on."""
    async with aclosing(ud.house.core.events.follow("demo", id, "0")) as events:
        yield (event.type async for event in events if event and event.type == "run.queued")


async def test_health_as_json_and_as_text(ud: Desk) -> None:
    for path in ("/uploadista/health", "/uploadista/healthz"):
        told = await ud.ok("GET", path, key=None)
        assert told["status"] == "healthy" and told["uptime"] > 0 and told["version"] and told["timestamp"]
    for path in ("/uploadista/ready", "/uploadista/readyz"):
        told = await ud.ok("GET", path, key=None)
        assert told["status"] == "healthy" and told["components"].keys() == {"storage", "kvStore", "eventBroadcaster"}
        assert all(part["status"] == "healthy" and part["latency"] >= 0 for part in told["components"].values())
    for path in ("health", "ready", "health/components"):
        text = await ud.ask("GET", f"/uploadista/{path}", **TEXT)
        assert (text.status, text.body) == (200, b"OK") and text.headers["Content-Type"].startswith("text/plain")


async def test_components_tell_of_letters_and_circuits(ud: Desk) -> None:
    assert await ud.refused("GET", "/uploadista/health/components", key=None) == (401, "AUTHENTICATION_REQUIRED")
    told = await ud.ok("GET", "/uploadista/health/components")
    assert told["status"] == "healthy" and told["components"]["deadLetterQueue"]["exhaustedItems"] == 0
    assert told["components"]["circuitBreaker"] == {
        "status": "healthy",
        "openCircuits": 0,
        "totalCircuits": 0,
        "circuits": [],
    }
    await dead(ud)
    told = await ud.ok("GET", "/uploadista/health/components")
    queue = told["components"]["deadLetterQueue"]
    assert (told["status"], queue["status"], queue["exhaustedItems"]) == ("degraded", "degraded", 1)
    assert queue["oldestItem"]
    assert (await ud.ask("GET", "/uploadista/health/components", **TEXT)).body == b"Degraded"


async def test_an_open_circuit_is_told(ud: Desk) -> None:
    breakers, callee, rules = ud.house.core.records.breakers, Callee("scan", "demo", "host:1"), Rules(failures=1)
    for project in ("demo", "other"):
        called = callee._replace(project=project)
        asked = await breakers.ask(called, "a call", rules)
        await breakers.note(called, "a call", asked.turn, "failed", rules)
    told = await ud.ok("GET", "/uploadista/health/components")
    circuits = told["components"]["circuitBreaker"]
    assert (told["status"], circuits["openCircuits"], circuits["totalCircuits"]) == ("degraded", 1, 1)
    (circuit,) = circuits["circuits"]
    assert (circuit["nodeType"], circuit["state"], circuit["failureCount"]) == ("scan-virus", "open", 1)
    assert circuit["timeSinceLastStateChange"] >= 0


async def test_a_server_without_its_records_is_alive_and_not_ready(tmp_path_factory: pytest.TempPathFactory) -> None:
    data = tmp_path_factory.mktemp("away")
    more = {"flows": str(data), "check": "open", "s3": f"file://{data}/cloud"}
    async with serving(CONFIG, f"unix://{data}/nobody.sock", data, "ud-demo-key", **more) as house:
        away = Desk(house)
        assert (await away.ok("GET", "/uploadista/health", key=None))["status"] == "healthy"
        told = await away.ask("GET", "/uploadista/ready", key=None)
        assert (told.status, told.document["status"]) == (503, "unhealthy")
        assert told.document["components"]["kvStore"]["status"] == "unhealthy"
        assert told.document["components"]["storage"]["status"] == "healthy"
        text = await away.ask("GET", "/uploadista/readyz", key=None, **TEXT)
        assert (text.status, text.body) == (503, b"Service Unavailable")
        refusal = await away.refused("PATCH", f"/upload/{UNKNOWN}", photo())
        assert refusal == (503, "UNAVAILABLE")
