"""Runs that are paused and go on, over HTTP and executed by a real worker process."""

from __future__ import annotations

import asyncio
import subprocess
from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiohttp import web

from tests.outside import Outside, fixed, listening

from .house import House, photo
from .test_runs import events_of

Worker = subprocess.Popen[bytes]
KEY: dict[str, Any] = {"key": "inside-key"}
STEPS = """
nodes:
  photo: {{type: input}}
  small: {{type: resize, width: 40}}
  first: {{type: save, path: "first.webp"}}
  better: {{type: http, from: small, url: "{url}/better"}}
  grey: {{type: grayscale}}
  tell: {{type: notify, url: "{url}/hook", message: "{{file.name}}"}}
  out: {{type: save, path: "out.png"}}
"""


class Gate:
    """An answer that is given once it is opened."""

    def __init__(self) -> None:
        self.asked, self.open = asyncio.Event(), asyncio.Event()

    async def __call__(self, request: web.Request, sent: bytes) -> web.StreamResponse:
        self.asked.set()
        await self.open.wait()
        return web.Response(body=photo(64, 48, "PNG"), content_type="image/png")


@pytest.fixture
async def server(house: House) -> AsyncIterator[Outside]:
    async with listening() as server:
        server.answers["/hook"] = fixed(204)
        await house.json("PUT", "/v1/flows/steps", 201, data=STEPS.format(url=server.url), **KEY)
        yield server


async def started(house: House, flow: str = "steps") -> str:
    """The path of a run that was just started."""
    file = await house.send(photo(), "a.jpg", **KEY)
    ask = {"inputs": {"photo": {"file": file["id"]}}}
    run = await house.json("POST", f"/v1/flows/{flow}/runs", 202, json=ask, **KEY)
    return f"/v1/runs/{run['id']}"


async def until(house: House, path: str, type: str) -> list[dict[str, Any]]:
    """The events of a run as far as the first of this type."""
    seen: list[dict[str, Any]] = []
    async with asyncio.timeout(30):
        events = events_of(house, f"{path}/events", house.headers("inside-key"))
        async for event in events:
            seen.append(event)
            if event["event"] == type:
                break
        await events.aclose()  # type: ignore[attr-defined]
    return seen


async def test_it_stops_behind_the_step_it_is_in_and_does_nothing_twice(
    house: House, worker: Worker, server: Outside
) -> None:
    gate = server.answers["/better"] = Gate()
    path = await started(house)
    await asyncio.wait_for(gate.asked.wait(), 30)
    pausing = await house.json("POST", f"{path}/pause", **KEY)
    assert pausing["status"] == "running" and pausing["paused_at"]
    assert (await house.json("POST", f"{path}/pause", **KEY))["paused_at"] == pausing["paused_at"]
    gate.open.set()
    await until(house, path, "run.paused")
    paused = await house.json("GET", path, **KEY)
    assert (paused["status"], paused["paused_at"], paused["error"]) == ("waiting", pausing["paused_at"], None)
    assert {name: state["status"] for name, state in paused["nodes"].items()} == {
        "photo": "completed", "small": "completed", "first": "completed", "better": "completed",
        "grey": "queued", "tell": "queued", "out": "queued",
    }  # fmt: skip
    assert [heard.path for heard in server.heard] == ["/better"] and paused["outputs"] == []
    resumed = await house.json("POST", f"{path}/resume", **KEY)
    assert resumed["paused_at"] is None
    done = await house.json("GET", f"{path}?wait=60", **KEY)
    assert (done["status"], done["error"], done["attempt"]) == ("completed", None, 1)
    assert [heard.path for heard in server.heard] == ["/better", "/hook"]
    assert sorted(output["path"] for output in done["outputs"]) == ["first.webp", "out.png"]
    kinds = [event["event"] for event in await until(house, path, "run.completed")]
    assert [kind for kind in kinds if kind.startswith("run.")] == [
        "run.queued", "run.started", "run.paused", "run.resumed", "run.queued", "run.started", "run.completed",
    ]  # fmt: skip
    assert kinds.count("node.completed") == len(done["nodes"])


async def test_one_in_the_queue_gives_its_place_away(house: House, worker: Worker) -> None:
    await house.core.records.queues.pause("bulk")
    file = await house.send(photo(), "a.jpg")
    ask = {"inputs": {"photo": {"file": file["id"]}}, "queue": "bulk"}
    run, other = [await house.json("POST", "/v1/flows/tiny/runs", 202, json=ask) for _ in range(2)]
    path = f"/v1/runs/{run['id']}"
    paused = await house.json("POST", f"{path}/pause")
    assert (paused["status"], paused["started_at"]) == ("waiting", None) and paused["paused_at"]
    await house.core.records.queues.resume("bulk")
    assert (await house.json("GET", f"/v1/runs/{other['id']}?wait=60"))["status"] == "completed"
    assert await house.json("GET", path) == paused
    assert await house.json("POST", f"{path}/pause") == paused
    assert (await house.json("POST", f"{path}/resume"))["status"] in ("queued", "running")
    done = await house.json("GET", f"{path}?wait=60")
    assert (done["status"], done["attempt"], len(done["tries"])) == ("completed", 1, 1)
    kinds = [event["event"] async for event in events_of(house, f"{path}/events")]
    assert [kind for kind in kinds if kind.startswith("run.")] == [
        "run.queued", "run.paused", "run.resumed", "run.queued", "run.started", "run.completed"
    ]  # fmt: skip


async def test_one_that_waits_is_fed_while_it_is_paused(house: House, worker: Worker) -> None:
    file = await house.send(photo(), "a.jpg")
    run = await house.json("POST", "/v1/flows/tiny/runs", 202, json={"inputs": {"photo": {"later": True}}})
    path = f"/v1/runs/{run['id']}"
    assert (await house.json("POST", f"{path}/pause"))["status"] == "waiting"
    fed = await house.json("PUT", f"{path}/inputs/photo", 202, json={"file": file["id"]})
    assert (fed["status"], fed["awaits"]) == ("waiting", []) and fed["paused_at"]
    await house.json("POST", f"{path}/resume")
    done = await house.json("GET", f"{path}?wait=60")
    assert (done["status"], done["inputs"]) == ("completed", {"photo": [file["id"]]})
    kinds = [event["event"] async for event in events_of(house, f"{path}/events")]
    assert [kind for kind in kinds if kind.startswith("run.")] == [
        "run.waiting", "run.paused", "run.fed", "run.resumed", "run.queued", "run.started", "run.completed"
    ]  # fmt: skip


async def test_paused_and_resumed_again_and_again_it_ends_once(house: House, worker: Worker, server: Outside) -> None:
    server.answers["/better"] = fixed(200, photo(64, 48, "PNG"), Content_Type="image/png")
    paths = [await started(house) for _ in range(4)]

    async def toggle(path: str) -> None:
        for _ in range(10):
            for act in ("pause", "resume"):
                async with house.ask("POST", f"{path}/{act}", **KEY) as answer:
                    assert answer.status in (200, 409), await answer.text()

    await asyncio.gather(*(toggle(path) for path in paths))
    for path in paths:
        async with house.ask("POST", f"{path}/resume", **KEY) as answer:
            assert answer.status == 409
        done = await house.json("GET", f"{path}?wait=20", **KEY)
        assert (done["status"], done["error"]) == ("completed", None)
        kinds = [event["event"] for event in await until(house, path, "run.completed")]
        assert kinds.count("run.completed") == 1 and kinds.count("run.paused") == kinds.count("run.resumed")
    assert sorted(heard.path for heard in server.heard) == ["/better"] * 4 + ["/hook"] * 4


async def test_what_cannot_be_paused_or_resumed(house: House, worker: Worker, server: Outside) -> None:
    gate = server.answers["/better"] = Gate()
    path = await started(house)
    await asyncio.wait_for(gate.asked.wait(), 30)
    going = await house.problem("POST", f"{path}/resume", 409, "RUN_NOT_PAUSED", **KEY)
    assert "running" in going["detail"]
    for act in ("pause", "resume"):
        await house.problem("POST", f"{path}/{act}", 404, "RUN_NOT_FOUND", key="other-key")
        await house.problem("POST", f"/v1/runs/nothing/{act}", 404, "RUN_NOT_FOUND", **KEY)
    await house.json("POST", f"{path}/pause", **KEY)
    ended = await house.json("POST", f"{path}/cancel", **KEY)
    assert (ended["status"], ended["paused_at"]) == ("cancelled", None)
    gate.open.set()
    for act in ("pause", "resume"):
        await house.problem("POST", f"{path}/{act}", 409, "RUN_ENDED", **KEY)
    waits = await house.json("POST", "/v1/flows/tiny/runs", 202, json={"inputs": {"photo": {"later": True}}}, **KEY)
    await house.problem("POST", f"/v1/runs/{waits['id']}/resume", 409, "RUN_NOT_PAUSED", **KEY)
    await house.json("POST", f"/v1/runs/{waits['id']}/pause", **KEY)
    assert (await house.json("POST", f"/v1/runs/{waits['id']}/cancel", **KEY))["status"] == "cancelled"
