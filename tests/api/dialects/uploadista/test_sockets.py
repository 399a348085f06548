"""The sockets: what happens is told in its order, each thing once, to who may hear it, whenever he comes."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256
from typing import Any
from urllib.parse import urlencode

import aiohttp
import pytest
from redis.asyncio import Redis

from pipeline.api.app import GATE, create_app
from pipeline.model import Event, Grant, Run, new_id, now
from tests.api.conftest import answering
from tests.api.house import House

ENDS = ("flow-end", "flow-error", "flow-cancel")


@dataclass
class Line:
    """A socket, and what it said."""

    line: aiohttp.ClientWebSocketResponse
    said: list[dict[str, Any]]

    async def next(self) -> dict[str, Any]:
        message: dict[str, Any] = await self.line.receive_json(timeout=20)
        self.said.append(message)
        return message

    async def asked(self) -> list[dict[str, Any]]:
        """The payloads so far: the answer to a question comes behind what was on its way."""
        await self.line.send_json({"type": "ping"})
        while (await self.next())["type"] != "pong":
            pass
        return self.payloads

    async def until(self, *names: str) -> dict[str, Any]:
        while True:
            payload: dict[str, Any] = (await self.next()).get("payload", {})
            if name_of(payload) in names:
                return payload

    @property
    def payloads(self) -> list[dict[str, Any]]:
        return [message["payload"] for message in self.said if "payload" in message]

    @property
    def names(self) -> list[str]:
        return [name_of(payload) for payload in self.payloads]


def name_of(payload: dict[str, Any]) -> str:
    return str(payload.get("eventType") or payload.get("type"))


@asynccontextmanager
async def heard(house: House, path: str, **query: str) -> AsyncIterator[Line]:
    """A socket, with an API key as its token unless the query says otherwise."""
    asked = urlencode({"token": "demo-key"} | query)
    url = f"{house.base.replace('http', 'ws', 1)}/uploadista/ws/{path}?{asked}"
    async with house.session.ws_connect(url) as line:
        yield Line(line, [])


async def begun(house: House) -> Run:
    """A run that waits for its photo."""
    return await house.core.runs.start(grant(house), "tiny", {}, awaits=("photo",))


def grant(house: House) -> Grant:
    return Grant(project=house.core.settings.projects["demo"])


async def told(house: House, run: Run, kind: str, **facts: Any) -> None:
    await house.core.events.append(Event(type=kind, project=run.project, subject=run.id, facts=facts))


async def worked(house: House, run: Run) -> None:
    """What a worker tells of a whole run before its end."""
    await told(house, run, "run.started", attempt=1)
    for node in ("photo", "small", "out"):
        await told(house, run, "node.started", node=node, type="resize")
        await told(house, run, "node.completed", node=node, type="resize", ms=1)


async def failed(house: House, run: Run) -> None:
    await told(house, run, "run.failed", attempt=1, error={"code": "X", "message": "It broke.", "node": "small"})


async def upload(house: House, size: int = 10, **more: Any) -> dict[str, Any]:
    made: dict[str, Any] = await house.json(
        "POST",
        "/uploadista/api/upload",
        200,
        json={"storageId": "default", "type": "text/plain", "size": size, "fileName": "a.txt"} | more,
    )
    return made


async def chunk(house: House, id: str, body: bytes, status: int = 200) -> Any:
    headers = {"Content-Type": "application/octet-stream"}
    return await house.json("PATCH", f"/uploadista/api/upload/{id}", status, data=body, headers=headers)


async def test_a_job_is_told_in_the_order_the_clients_know(house: House) -> None:
    run, sent = await begun(house), await upload(house)
    async with heard(house, f"flow/{run.id}") as line:
        hello = await line.next()
        assert (hello["type"], hello["jobId"]) == ("connection", run.id) and hello["timestamp"]
        assert (await line.until("flow-start")) == {"eventType": "flow-start", "jobId": run.id, "flowId": "tiny"}
        await told(house, run, "run.opened", node="photo", upload=sent["id"])
        paused = await line.until("node-pause")
        assert paused["partialData"]["id"] == sent["id"] and paused["partialData"]["offset"] == 0
        await told(house, run, "run.fed", input="photo")
        await worked(house, run)
        await failed(house, run)
        assert (await line.until(*ENDS))["error"] == "It broke."
        await told(house, run, "node.started", node="out", type="save")
        payloads = await line.asked()
    assert [(name_of(one), one.get("nodeId")) for one in payloads] == [
        ("flow-start", None),
        ("node-start", "photo"),
        ("node-pause", "photo"),
        ("node-resume", "photo"),
        ("node-start", "photo"),
        ("node-end", "photo"),
        ("node-start", "small"),
        ("node-end", "small"),
        ("node-start", "out"),
        ("node-end", "out"),
        ("flow-error", None),
    ]
    assert {one["jobId"] for one in payloads} == {run.id}
    starts = {one["nodeId"]: one["nodeType"] for one in payloads if name_of(one) == "node-start"}
    assert starts == {"photo": "input", "small": "process", "out": "process"}
    async with heard(house, f"flow/{run.id}") as late, heard(house, "flow", jobId=run.id) as by_query:
        for again in (late, by_query):
            await again.until(*ENDS)
            assert await again.asked() == payloads


async def test_a_second_try_is_told_alone(house: House) -> None:
    run = await begun(house)
    await worked(house, run)
    await house.core.runs.cancel(grant(house), run.id)
    await house.core.runs.retry(grant(house), run.id)
    async with heard(house, f"flow/{run.id}") as line:
        await line.until("flow-start")
        await told(house, run, "run.started", attempt=2)
        await told(house, run, "node.started", node="small", type="resize")
        await line.until("node-start")
        assert [name_of(one) for one in await line.asked()] == ["flow-start", "node-start"]


async def test_an_end_whose_log_is_gone_is_told_of_the_record(house: House) -> None:
    run = await begun(house)
    await house.core.runs.cancel(grant(house), run.id)
    prefix = house.core.settings.key_prefix
    await house.redis.delete(f"{prefix}subject:demo:{run.id}")
    async with heard(house, f"flow/{run.id}") as line:
        await line.until(*ENDS)
        assert [name_of(one) for one in await line.asked()] == ["flow-start", "flow-cancel"]


async def test_a_pause_by_a_person_is_told_and_what_was_skipped_has_no_result(house: House) -> None:
    run = await begun(house)
    async with heard(house, f"flow/{run.id}") as line:
        await house.core.runs.pause(grant(house), run.id)
        await told(house, run, "node.skipped", node="small", type="resize")
        await line.until("node-end")
        assert [name_of(one) for one in await line.asked()] == ["flow-start", "flow-pause", "node-start", "node-end"]


async def test_an_upload_is_told_until_it_is_complete(house: House) -> None:
    sent = await upload(house)
    id = sent["id"]
    async with heard(house, f"upload/{id}") as line, heard(house, "upload", uploadId=id) as other:
        assert (await line.until("upload-started"))["data"]["offset"] == 0
        await chunk(house, id, b"hello")
        progress = await line.until("upload-progress")
        assert progress["data"] == {"id": id, "progress": 5, "total": 10}
        record = await chunk(house, id, b"world")
        complete = await line.until("upload-complete")
        await line.asked()
        await other.until("upload-complete")
    assert complete["data"] == record and record["url"]
    assert line.names == ["upload-started", "upload-progress", "upload-progress", "upload-complete"]
    assert line.payloads[2]["data"]["progress"] == 10
    async with heard(house, f"upload/{id}") as late:
        await late.until("upload-complete")
        assert [name_of(one) for one in await late.asked()] == ["upload-started", "upload-complete"]


async def test_each_chunk_is_told_however_soon_the_next_one_comes(house: House) -> None:
    id = (await upload(house, 6))["id"]
    async with heard(house, f"upload/{id}") as line:
        await line.until("upload-started")
        for number in range(1, 6):
            await chunk(house, id, bytes([number]))
            assert (await line.until("upload-progress"))["data"]["progress"] == number


async def test_what_the_bytes_were_held_to_is_told(house: House) -> None:
    told = {"checksum": sha256(b"hello").hexdigest(), "checksumAlgorithm": "sha256"}
    good, bad = [(await upload(house, 5, **told))["id"] for _ in range(2)]
    async with heard(house, f"upload/{good}") as line, heard(house, f"upload/{bad}") as other:
        for one in (line, other):
            await one.until("upload-started")
        await chunk(house, good, b"hello")
        await chunk(house, bad, b"world", 400)
        await line.until("upload-complete")
        await other.until("upload-failed")
        await line.asked()
        await other.asked()
    passed = {"id": good, "validationType": "checksum", "algorithm": "sha256"}
    assert next(one for one in line.payloads if one["type"] == "upload-validation-success")["data"] == passed
    assert other.names[-2:] == ["upload-validation-failed", "upload-failed"]
    failure = other.payloads[-2]["data"]
    assert failure["id"] == bad and failure["reason"] == "checksum_mismatch"
    assert failure["expected"] == sha256(b"hello").hexdigest() and failure["actual"] == sha256(b"world").hexdigest()


async def test_segments_are_complete_when_they_are_the_whole(house: House) -> None:
    place = {"parallelUpload": "true", "totalSegments": 2, "parentFingerprint": "p"}
    told = [{"metadata": json.dumps({**place, "segmentIndex": index})} for index in range(2)]
    first, second = [(await upload(house, 5, **one))["id"] for one in told]
    async with heard(house, f"upload/{first}") as line, heard(house, f"upload/{second}") as other:
        for one in (line, other):
            await one.until("upload-started")
        await chunk(house, first, b"hello")
        await line.until("upload-progress")
        await chunk(house, second, b"world")
        ends = [await one.until("upload-complete", "upload-failed") for one in (line, other)]
    assert [name_of(end) for end in ends] == ["upload-complete"] * 2
    async with house.ask("GET", ends[0]["data"]["url"]) as answer:
        assert await answer.read() == b"helloworld"


async def test_an_upload_that_is_given_up_fails_once(house: House) -> None:
    id = (await upload(house))["id"]
    async with heard(house, f"upload/{id}") as line:
        await line.until("upload-started")
        await house.json("DELETE", f"/uploadista/api/upload/{id}", 204)
        failure = await line.until("upload-failed")
        assert failure["data"]["id"] == id and failure["data"]["error"]
        assert (await line.asked())[-1] == failure and line.names.count("upload-failed") == 1


async def test_what_one_asks_is_answered(house: House) -> None:
    run = await begun(house)
    async with heard(house, f"flow/{run.id}") as line:
        for text in ("no json", "[1]", '"text"', ""):
            await line.line.send_str(text)
            while (said := await line.next())["type"] != "error":
                pass
            assert said["message"] == "Invalid message format"
        await line.line.send_json({"type": "something"})
        await line.asked()
        assert datetime.fromisoformat(line.said[-1]["timestamp"]) <= now()


@pytest.mark.parametrize("token", ["wrong", "", "a.b.c"])
@pytest.mark.parametrize("kind", ["flow", "upload"])
async def test_who_may_not_is_told_so_and_closed_out(house: House, token: str, kind: str) -> None:
    async with heard(house, f"{kind}/{new_id()}", token=token) as line:
        said = await line.next()
        assert (said["type"], said["code"], said["authMethod"]) == ("auth-failed", "AUTH_FAILED", "token")
        await line.line.receive(timeout=10)
        assert line.line.close_code == 4001


async def test_without_a_token_what_was_begun_lately_is_remembered_and_nothing_else(house: House) -> None:
    sent = await upload(house)
    url = f"{house.base.replace('http', 'ws', 1)}/uploadista/ws/upload"
    async with house.session.ws_connect(f"{url}/{sent['id']}") as line:
        assert (await Line(line, []).until("upload-started"))["data"]["id"] == sent["id"]
    async with house.session.ws_connect(f"{url}/{new_id()}") as line:
        assert json.loads(await line.receive_str())["authMethod"] == "cookies"
        await line.receive(timeout=10)
        assert line.close_code == 4001


async def test_what_is_anothers_or_nobodys_is_not_there(house: House) -> None:
    run, sent = await begun(house), await upload(house)
    for path, token, code in (
        (f"flow/{run.id}", "other-key", "FLOW_JOB_NOT_FOUND"),
        (f"flow/{new_id()}", "demo-key", "FLOW_JOB_NOT_FOUND"),
        ("flow/no-id", "demo-key", "FLOW_JOB_NOT_FOUND"),
        (f"upload/{sent['id']}", "other-key", "FILE_NOT_FOUND"),
        ("upload/no-id", "demo-key", "FILE_NOT_FOUND"),
    ):
        async with heard(house, path, token=token) as line:
            said = await line.next()
            assert (said["type"], said["code"]) == ("error", code) and said["message"]
            await line.line.receive(timeout=10)
            assert line.line.close_code == 1000


async def test_other_addresses_are_no_sockets(house: House) -> None:
    async with heard(house, "flows/1/2") as line:
        said = await line.next()
        assert (said["type"], said["expectedPrefix"]) == ("invalid-path", "/uploadista/ws/")
        await line.line.receive(timeout=10)
        assert line.line.close_code == 1000
    async with house.ask("GET", f"/uploadista/ws/flow/{new_id()}") as answer:
        assert answer.status == 400 and "WebSocket" in (await answer.json())["message"]


async def test_sockets_share_one_connection_to_the_records(house: House) -> None:
    runs = [await begun(house) for _ in range(20)]
    async with asyncio.timeout(30), AsyncExitStack() as stack:
        opened = [await stack.enter_async_context(heard(house, f"flow/{run.id}")) for run in runs]
        for line in opened:
            await line.until("flow-start")
        name = f"{house.core.settings.key_prefix}news:"
        channels = [channel async for channel in subscribed(house.redis, name)]
        assert {f"{name}{run.id}" for run in runs} <= set(channels)
        for run in runs:
            await failed(house, run)
        for run, line in zip(runs, opened, strict=True):
            assert (await line.until(*ENDS))["jobId"] == run.id


async def subscribed(redis: Redis, start: str) -> AsyncIterator[str]:
    for channel in await redis.pubsub_channels(f"{start}*"):
        assert (await redis.pubsub_numsub(channel))[0][1] == 1
        yield channel.decode()


async def test_a_server_that_stops_closes_with_1001(house: House) -> None:
    app = create_app(house.core)
    run = await begun(house)
    async with answering(app) as port:
        url = f"ws://127.0.0.1:{port}/uploadista/ws/flow/{run.id}?token=demo-key"
        async with house.session.ws_connect(url) as line:
            await Line(line, []).until("flow-start")
            draining = asyncio.create_task(app[GATE].drain(10))
            await line.receive(timeout=10)
            assert line.close_code == 1001
            await draining
