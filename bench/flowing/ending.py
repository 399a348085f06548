"""How soon a page hears that its flow is done."""

from __future__ import annotations

import json
import time
from collections.abc import AsyncIterator
from datetime import datetime
from statistics import median
from typing import Any

import aiohttp

from bench.photos import large
from bench.results import Result
from bench.stack import Stack, running_stack

FLOW = "thumbnail"
ROUNDS = 30
CHUNK = 2**20
FILE = "application/octet-stream"


async def end_after_last_chunk() -> AsyncIterator[Result]:
    """Ms from the answer to the last chunk of a 24 MP photograph to `flow-end`, beside the run's own time."""
    body = large().read_bytes()
    async with running_stack() as stack:
        rounds = [await _round(stack, body) for _ in range(ROUNDS + 1)][1:]
    waited, worked = (median(one[place] for one in rounds) for place in (0, 1))
    yield Result("flowing.end_after_last_chunk_ms", waited, "ms", "processing alone", waited / worked, ROUNDS)


async def _round(stack: Stack, body: bytes) -> tuple[float, float]:
    """Both in ms; the run's own time goes from its beginning to its end, as the worker noted them."""
    said = {"originalName": "photo.jpg", "mimeType": "image/jpeg", "size": len(body)}
    init = {"operation": "init", "storageId": "default", "metadata": said}
    job = (await _asked(stack, "POST", f"/flow/{FLOW}/default", json={"inputs": {"photo": init}}))["id"]
    async with stack.session.ws_connect(f"/uploadista/ws/flow/{job}?token={stack.note['api_key']}") as socket:
        upload = (await _until(socket, "node-pause"))["partialData"]["id"]
        offset = 0
        while offset < len(body):
            piece, headers = body[offset : offset + CHUNK], {"Content-Type": FILE}
            offset = (await _asked(stack, "PATCH", f"/upload/{upload}", data=piece, headers=headers))["offset"]
        acknowledged = time.perf_counter()
        done = {"operation": "finalize", "uploadId": upload}
        await _asked(stack, "PATCH", f"/jobs/{job}/resume/photo", json={"newData": done})
        await _until(socket, "flow-end")
        waited = time.perf_counter() - acknowledged
    async with stack.session.get(f"/v1/runs/{job}") as answer:
        run = await answer.json()
    began, ended = (datetime.fromisoformat(run[name]) for name in ("started_at", "finished_at"))
    return waited * 1000, (ended - began).total_seconds() * 1000


async def _asked(stack: Stack, method: str, path: str, **more: Any) -> Any:
    async with stack.session.request(method, f"/uploadista/api{path}", **more) as answer:
        found = await answer.json()
        assert answer.status == 200, found
        return found


async def _until(socket: aiohttp.ClientWebSocketResponse, name: str) -> Any:
    while True:
        payload = json.loads(await socket.receive_str()).get("payload", {})
        if payload.get("eventType") == name:
            return payload
