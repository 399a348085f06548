"""A client of the vendor's protocol: what its published clients do, step by step, with everything they were told."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

import aiohttp

POLL = 0.5
"""Seconds between two looks at a job, as the vendor's clients have it."""
POLLS = 60
ENDS = ("flow-end", "flow-error", "flow-cancel")
Document = dict[str, Any]


@dataclass
class Socket:
    """A socket and all it said."""

    line: aiohttp.ClientWebSocketResponse
    said: list[Document] = field(default_factory=list)

    async def next(self) -> Document:
        message: Document = await self.line.receive_json(timeout=60)
        self.said.append(message)
        return message

    async def until(self, *names: str, node: str | None = None) -> Document:
        """The payload of the next event of one of these names."""
        while True:
            payload: Document = (await self.next()).get("payload", {})
            if _name(payload) in names and node in (None, payload.get("nodeId")):
                return payload

    async def asked(self) -> None:
        """Everything that was on its way is here: the answer to a question comes behind it."""
        await self.line.send_json({"type": "ping"})
        while (await self.next())["type"] != "pong":
            pass

    @property
    def events(self) -> list[Document]:
        return [message["payload"] for message in self.said if "payload" in message]

    @property
    def names(self) -> list[str]:
        return [_name(event) for event in self.events]


def _name(payload: Mapping[str, Any]) -> str:
    return str(payload.get("eventType") or payload.get("type"))


@dataclass
class Done:
    """A file that went through a flow."""

    job: str
    upload: str
    outputs: list[Document]
    events: list[Document]
    uploading: list[Document]
    """What the upload's own socket told."""
    waited: float
    """Seconds from the answer to the last chunk to the end of the flow."""


@dataclass
class Client:
    """What a page has: an address, and a token."""

    session: aiohttp.ClientSession
    base: str
    token: str
    chunk: int = 64 * 1024

    async def ask(self, method: str, path: str, status: int = 200, **more: Any) -> Any:
        headers = {"Authorization": f"Bearer {self.token}"} | more.pop("headers", {})
        async with self.session.request(method, f"{self.base}/uploadista/api{path}", headers=headers, **more) as answer:
            text = await answer.text()
            assert answer.status == status, (method, path, answer.status, text)
            return await answer.json() if text else None

    @asynccontextmanager
    async def socket(self, kind: str, id: str, token: str | None = None) -> AsyncIterator[Socket]:
        url = f"{self.base.replace('http', 'ws', 1)}/uploadista/ws/{kind}/{id}"
        async with self.session.ws_connect(f"{url}?token={quote(token or self.token)}") as line:
            yield Socket(line)

    async def sent(self, upload: str, body: bytes, offset: int = 0) -> Document:
        """The record once everything behind `offset` is there."""
        record: Document = {"offset": offset}
        while record["offset"] < len(body):
            piece = body[record["offset"] : record["offset"] + self.chunk]
            headers = {"Content-Type": "application/octet-stream"}
            record = await self.ask("PATCH", f"/upload/{upload}", data=piece, headers=headers)
        return record

    async def status(self, job: str) -> Document:
        found: Document = await self.ask("GET", f"/jobs/{job}/status")
        return found

    async def begun(self, flow: str, inputs: Mapping[str, Any], storage: str = "default") -> Document:
        job: Document = await self.ask("POST", f"/flow/{flow}/{storage}", json={"inputs": inputs})
        return job

    async def resumed(self, job: str, node: str, said: Mapping[str, Any]) -> Document:
        found: Document = await self.ask("PATCH", f"/jobs/{job}/resume/{node}", json={"newData": said})
        return found

    async def awaited(self, job: str, node: str) -> Document:
        """The upload that a job waits for at this node."""
        for _ in range(POLLS):
            found = await self.status(job)
            for task in found["tasks"]:
                if task["nodeId"] == node and task["status"] == "paused" and "id" in task.get("result", {}):
                    upload: Document = task["result"]
                    return upload
            await asyncio.sleep(POLL)
        raise AssertionError(f"job {job} never paused: {found}")

    async def through(self, flow: str, body: bytes, name: str = "photo.jpg", media_type: str = "image/jpeg") -> Done:
        """Send a file through a flow, as `uploadWithFlow` does."""
        nodes = (await self.ask("GET", f"/flow/{flow}"))["nodes"]
        entry = next(node["id"] for node in nodes if node["type"] == "input")
        said = {"originalName": name, "mimeType": media_type, "size": len(body)}
        init = {"operation": "init", "storageId": "default", "metadata": said}
        job = (await self.begun(flow, {entry: init}))["id"]
        async with self.socket("flow", job) as told:
            upload = (await self.awaited(job, entry))["id"]
            async with self.socket("upload", upload) as uploading:
                await self.sent(upload, body)
                acknowledged = time.perf_counter()
                await self.resumed(job, entry, {"operation": "finalize", "uploadId": upload})
                end = await told.until(*ENDS)
                waited = time.perf_counter() - acknowledged
                if "upload-complete" not in uploading.names:
                    await uploading.until("upload-complete")
                await asyncio.gather(told.asked(), uploading.asked())
        assert end["eventType"] == "flow-end", end
        return Done(job, upload, end["outputs"], told.events, uploading.events, waited)


async def client_of(session: aiohttp.ClientSession, base: str, key: str, project: str) -> Client:
    """With a token, exchanged for the project's key as its backend does it."""
    query = {"apiKey": key, "clientId": project}
    async with session.get(f"{base}/uploadista/auth/jwt", params=query) as answer:
        found = await answer.json()
        assert answer.status == 200 and found["expiresIn"] > 60, found
        return Client(session, base, found["token"])


def assert_whole(done: Done, entry: str) -> None:
    """The events of one job are its own, in their order, each there once, and the end behind them."""
    names = [event["eventType"] for event in done.events]
    assert {event["jobId"] for event in done.events} == {done.job}
    assert names[0] == "flow-start" and names.count("flow-start") == 1
    assert names[-1] == "flow-end" and [name for name in names if name in ENDS] == ["flow-end"]
    told = [name for name, event in zip(names, done.events, strict=True) if event.get("nodeId") == entry]
    assert told == ["node-start", "node-pause", "node-resume", "node-start", "node-end"], told
    (paused,) = (event for event in done.events if event["eventType"] == "node-pause")
    assert paused["partialData"]["id"] == done.upload and paused["partialData"]["flow"]["jobId"] == done.job
    for node in {event["nodeId"] for event in done.events if "nodeId" in event} - {entry}:
        of_node = [event["eventType"] for event in done.events if event.get("nodeId") == node]
        assert of_node == ["node-start", "node-end"], (node, of_node)


def assert_uploaded(done: Done) -> None:
    """The events of the upload are its own, grow, and end once."""
    names = [event["type"] for event in done.uploading]
    assert {event["data"]["id"] for event in done.uploading} == {done.upload}
    assert names[0] == "upload-started" and names[-1] == "upload-complete" and names.count("upload-complete") == 1
    progress = [event["data"]["progress"] for event in done.uploading if event["type"] == "upload-progress"]
    assert progress == sorted(set(progress)) and progress, names
