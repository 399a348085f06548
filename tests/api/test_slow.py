"""Clients that hardly send anything: each is let go with a code, and nobody else notices them."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Any

import pytest
from redis.asyncio import Redis

from .conftest import serving
from .house import House

PATIENCE = 1.5
CONFIG = """
data_dir: "{data}"
flows_dir: "{data}/flows"
redis_url: "{redis}"
body_timeout: 1500ms
header_timeout: 1500ms
projects: {{demo: {{api_keys: [demo-key], secret_key: demo-secret}}}}
"""
MIB = 2**20
FORM = (
    b'--frontier\r\nContent-Disposition: form-data; name="a"; filename="a.txt"\r\n\r\nfirst\r\n'
    b'--frontier\r\nContent-Disposition: form-data; name="b"; filename="b.txt"\r\n\r\n'
)


@pytest.fixture(scope="module")
async def house(redis_url: str, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[House]:
    async with serving(CONFIG, redis_url, tmp_path_factory.mktemp("slow")) as house:
        yield house


@dataclass(frozen=True)
class Way:
    """A request that brings bytes, and how many of its body come before it slows down."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes
    length: int = 10 * MIB

    def head(self) -> bytes:
        fields = {"Host": "x", "Authorization": "Bearer demo-key", "Content-Length": str(self.length), **self.headers}
        lines = [f"{self.method} {self.path} HTTP/1.1", *(f"{name}: {value}" for name, value in fields.items())]
        return "\r\n".join([*lines, "", ""]).encode()


async def slowly(house: House, said: bytes, pause: float | None = None) -> tuple[bytes, float]:
    """What is answered to who says this, then nothing more, or a byte after each pause; and after how long."""
    reader, writer = await asyncio.open_connection("127.0.0.1", house.port)
    began = time.monotonic()
    try:
        writer.write(said)
        answer = asyncio.create_task(_answer(reader))
        while not answer.done():
            if pause:
                writer.write(b"A")
            await asyncio.wait([answer], timeout=pause)
        return answer.result(), time.monotonic() - began
    finally:
        writer.transport.abort()


async def _answer(reader: asyncio.StreamReader) -> bytes:
    """All of one answer, b"" where the connection was closed without a word."""
    try:
        head = await reader.readuntil(b"\r\n\r\n")
        length = int(head.lower().partition(b"content-length: ")[2].split()[0])
        return head + await reader.readexactly(length)
    except (asyncio.IncompleteReadError, ConnectionError):
        return b""


async def ways(house: House, tus: int = 0) -> dict[str, Way]:
    """Every kind of request that takes bytes; the uploads among them have been begun."""
    octets = {"Content-Type": "application/octet-stream"}
    appended = (await house.json("POST", "/v1/uploads", 201, json={"size": 10 * MIB}))["id"]
    parts = await house.json("POST", "/v1/uploads", 201, json={"size": 10 * MIB, "way": "parts"})
    put = await house.json("POST", "/v1/uploads", 201, json={"size": 10 * MIB, "way": "put"})
    begin = {"Tus-Resumable": "1.0.0", "Upload-Length": str(10 * MIB)}
    async with house.ask("POST", "/tus", headers=begin) as answer:
        place = answer.headers["Location"].removeprefix(house.base)
    patched = {"Tus-Resumable": "1.0.0", "Upload-Offset": "0", "Content-Type": "application/offset+octet-stream"}
    part = parts["parts"][0]
    return {
        "body": Way("POST", "/v1/files", octets, b"x" * 300_000),
        "large body": Way("POST", "/v1/files", octets, b"x" * 3 * MIB),
        "form": Way("POST", "/v1/files", {"Content-Type": "multipart/form-data; boundary=frontier"}, FORM),
        "json": Way("POST", "/v1/uploads", {"Content-Type": "application/json"}, b'{"size": ', 1000),
        "append": Way("PATCH", f"/v1/uploads/{appended}", {**octets, "Upload-Offset": "0"}, b"x" * 300_000),
        "tus": Way("PATCH", place, patched, b"x" * 300_000),
        "part": Way("PUT", part["url"].removeprefix(house.base), {}, b"x" * 300_000, part["size"]),
        "put": Way("PUT", put["put"]["url"].removeprefix(house.base), octets, b"x" * 300_000),
    }


@pytest.mark.parametrize(("code", "pause"), [(b"BODY_TIMEOUT", None), (b"BODY_TOO_SLOW", 0.1)])
async def test_every_body_must_keep_coming(house: House, code: bytes, pause: float | None, redis: Redis) -> None:
    before = await house.leftovers()
    asked = await ways(house)
    told = await asyncio.gather(*(slowly(house, way.head() + way.body, pause) for way in asked.values()))
    for name, (answer, lasted) in zip(asked, told, strict=True):
        assert answer.startswith(b"HTTP/1.1 408 ") and code in answer and b"Connection: close" in answer, (name, answer)
        assert PATIENCE - 0.1 < lasted < 15, name
    native, tus = asked["append"].path, asked["tus"].path
    kept = (await house.json("GET", native))["offset"]
    async with house.ask("HEAD", tus, headers={"Tus-Resumable": "1.0.0"}) as answer:
        assert kept >= 300_000 <= int(answer.headers["Upload-Offset"])
    for path in (
        native,
        *(f"/v1/uploads/{id.decode()}" for id in await redis.zrange("safelight:expiring:uploads", 0, -1)),
    ):
        async with house.ask("DELETE", path) as answer:
            assert answer.status in (204, 404)
    assert await house.leftovers() == before


async def test_a_header_must_come_whole_in_its_time(house: House) -> None:
    head = Way("POST", "/v1/files", {}, b"").head()
    dribbled = [slowly(house, head[:length], 0.1) for length in (6, 30, 60)]
    for answer, lasted in await asyncio.gather(*dribbled, slowly(house, b""), slowly(house, head[:-2])):
        assert (answer, PATIENCE - 0.1 < lasted < 15) == (b"", True)
    reader, writer = await asyncio.open_connection("127.0.0.1", house.port)
    writer.write(b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\nGET /live")  # the second one no more than the first
    said = await asyncio.wait_for(reader.read(), 15)
    assert said.startswith(b"HTTP/1.1 200 ") and said.count(b"HTTP/1.1 ") == 1
    writer.close()


async def test_nobody_notices_hundreds_of_them(house: House, redis: Redis) -> None:
    before, files = await house.leftovers(), len(os.listdir("/proc/self/fd"))
    body = Way("POST", "/v1/files", {"Content-Type": "text/plain"}, b"x" * 2000)
    form = Way("POST", "/v1/files", {"Content-Type": "multipart/form-data; boundary=frontier"}, FORM)
    said: list[Any] = [(body.head() + body.body, None), (body.head() + body.body, 0.3), (body.head()[:50], 0.3)]
    said += [(form.head() + form.body, None)]
    slow = [asyncio.create_task(slowly(house, *said[number % len(said)])) for number in range(300)]
    async with asyncio.timeout(30):
        while len(os.listdir("/proc/self/fd")) < files + 600:  # both ends of each
            await asyncio.sleep(0.01)
    began = time.monotonic()
    sent = await house.send(b"y" * 2 * MIB, "quick.txt")
    assert time.monotonic() - began < 2 and sent["size"] == 2 * MIB
    told = await asyncio.gather(*slow)
    assert {answer[:13] for answer, _ in told} == {b"HTTP/1.1 408 ", b""}
    assert sum(answer == b"" for answer, _ in told) == 75, "those whose header never came"
    await house.json("DELETE", f"/v1/files/{sent['id']}", 204)
    async with asyncio.timeout(30):
        while await house.leftovers() != before or len(os.listdir("/proc/self/fd")) > files + 10:
            await asyncio.sleep(0.02)
