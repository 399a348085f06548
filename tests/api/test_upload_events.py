"""One stream shows an upload's bytes, the file and the run that follows, over whichever web process."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import aiohttp
import pytest

from pipeline.model import Event

from .house import House, photo


@dataclass
class Stream:
    """An event stream being read."""

    answer: aiohttp.ClientResponse
    seen: list[tuple[str | None, str, dict[str, Any]]] = field(default_factory=list)
    """Id, type and document of every event so far."""

    async def until(self, type: str) -> dict[str, Any]:
        """The next event of this type."""
        async for event in self.events():
            if event[1] == type:
                return event[2]
        raise AssertionError(f"the stream ended without {type}: {self.types}")

    async def rest(self) -> list[str]:
        """All types, once the stream has ended."""
        async for _ in self.events():
            pass
        return self.types

    async def events(self) -> AsyncIterator[tuple[str | None, str, dict[str, Any]]]:
        fields: dict[str, str] = {}
        async with asyncio.timeout(60):
            async for raw in self.answer.content:
                line = raw.decode().rstrip("\n")
                name, _, value = line.partition(": ")
                if not line and "data" in fields:
                    event = (fields.get("id"), fields["event"], json.loads(fields["data"]))
                    self.seen.append(event)
                    yield event
                fields = fields | {name: value} if line else {}

    @property
    def types(self) -> list[str]:
        return [type for _, type, _ in self.seen]


@asynccontextmanager
async def stream(house: House, base: str, upload: str, last: str | None = None) -> AsyncIterator[Stream]:
    headers = {"Last-Event-ID": last} if last else {}
    async with house.ask("GET", f"{base}/v1/uploads/{upload}/events", headers=headers) as answer:
        assert answer.status == 200 and answer.content_type == "text/event-stream"
        yield Stream(answer)


@pytest.fixture(scope="module")
def other(served: House) -> Iterator[str]:
    """The address of another web process on the same Valkey and storage."""
    with socket.create_server(("127.0.0.1", 0)) as door:
        port = door.getsockname()[1]
    environ = {**os.environ, "SAFELIGHT_CONFIG": str(served.config), "SAFELIGHT_PORT": str(port)}
    process = subprocess.Popen([sys.executable, "-m", "pipeline.cli", "web"], env=environ, stderr=subprocess.DEVNULL)
    yield f"http://127.0.0.1:{port}"
    process.send_signal(signal.SIGTERM)
    process.wait(30)


async def awake(house: House, base: str) -> None:
    async with asyncio.timeout(60):
        while True:
            try:
                async with house.ask("GET", f"{base}/livez", key=None) as answer:
                    assert answer.status == 200
                    return
            except aiohttp.ClientConnectorError:
                await asyncio.sleep(0.05)


class Slow:
    """A body that goes on when it is told to."""

    def __init__(self, *pieces: bytes) -> None:
        self.pieces, self.go_on = pieces, asyncio.Event()

    async def __aiter__(self) -> AsyncIterator[bytes]:
        yield self.pieces[0]
        for piece in self.pieces[1:]:
            await self.go_on.wait()
            yield piece


def at(offset: int) -> dict[str, str]:
    return {"Upload-Offset": str(offset)}


async def begun(house: House, size: int, **more: Any) -> dict[str, Any]:
    made: dict[str, Any] = await house.json("POST", "/v1/uploads", 201, json={"name": "p.jpg", "size": size} | more)
    return made


async def test_one_stream_shows_bytes_then_nodes_over_two_processes(
    house: House, other: str, worker: subprocess.Popen[bytes]
) -> None:
    await awake(house, other)
    body = photo(900, 700, "PNG") + bytes(200_000)
    upload = await begun(house, len(body), flow="tiny", params={"quality": 70}, metadata={"for": "you"})
    path, run = f"/v1/uploads/{upload['id']}", upload["run"]
    slow = Slow(body[:60_000], body[60_000:90_000])
    async with stream(house, other, upload["id"]) as shown:
        first = await shown.until("upload.progressed")
        assert first["facts"] == {"offset": 0, "size": len(body)} and first["subject"] == upload["id"]
        sending = asyncio.create_task(house.json("PATCH", path, 200, data=slow, headers=at(0)))
        while (told := await shown.until("upload.progressed"))["facts"]["offset"] == 0:
            pass
        assert told["facts"] == {"offset": 60_000, "size": len(body)} and not sending.done()
        slow.go_on.set()
        assert (await sending)["offset"] == 90_000
        await house.json("PATCH", other + path, 200, data=body[90_000:], headers=at(90_000))
        file = await house.json("POST", path + "/finish", 201)
        types = await shown.rest()
    assert (file["id"], file["follow"]) == (upload["id"], run)
    wanted = ["file.uploaded", "file.stored", "run.queued", "run.started"]
    said = [type for type in types if type != "upload.progressed"]
    assert said[:4] == wanted and said[-1] == "run.completed" and said.count("node.completed") == 3
    assert types.index("file.uploaded") > max(place for place, type in enumerate(types) if type == "upload.progressed")
    ids = [id for id, type, _ in shown.seen if type != "upload.progressed"]
    assert all(ids) and not any(id for id, type, _ in shown.seen if type == "upload.progressed")
    done = await house.json("GET", f"/v1/runs/{run}")
    assert (done["status"], done["params"], done["inputs"]) == ("completed", {"quality": 70}, {"photo": [file["id"]]})
    assert (await house.json("GET", "/v1/runs"))["items"] == [done], "one run"
    # Whoever comes late, or again, misses and repeats nothing.
    async with stream(house, house.base, upload["id"]) as late:
        assert await late.rest() == said
    async with stream(house, other, upload["id"], ids[2]) as again:
        assert await again.rest() == said[3:]
    async with house.ask("GET", f"{other}{path}/events", headers={"Last-Event-ID": ids[-1] or ""}) as over:
        assert over.status == 204


async def test_without_a_flow_the_stream_ends_with_the_file(house: House) -> None:
    upload = await begun(house, 5)
    assert upload["run"] is None
    async with stream(house, house.base, upload["id"]) as shown:
        await shown.until("upload.progressed")
        await house.json("PATCH", f"/v1/uploads/{upload['id']}", 200, data=b"hello", headers=at(0))
        await house.json("POST", f"/v1/uploads/{upload['id']}/finish", 201)
        assert await shown.rest() == ["upload.progressed", "file.uploaded", "file.stored"]
    await house.problem("GET", f"/v1/uploads/{upload['id']}/events", 404, "UPLOAD_NOT_FOUND", key="other-key")


async def test_a_file_that_is_not_stored_ends_the_stream_too(house: House) -> None:
    upload = await begun(house, 5, store=False)
    await house.json("PATCH", f"/v1/uploads/{upload['id']}", 200, data=b"hello", headers=at(0))
    await house.json("POST", f"/v1/uploads/{upload['id']}/finish", 201)
    async with stream(house, house.base, upload["id"]) as shown:
        assert await shown.rest() == ["file.uploaded"]


async def test_an_upload_that_is_given_up_ends_the_stream(house: House) -> None:
    upload = await begun(house, 5, flow="tiny")
    async with stream(house, house.base, upload["id"]) as shown:
        await shown.until("upload.progressed")
        await house.json("DELETE", f"/v1/uploads/{upload['id']}", 204)
        assert await shown.rest() == ["upload.progressed", "upload.dropped"]
    await house.problem("GET", f"/v1/uploads/{upload['id']}/events", 404, "UPLOAD_NOT_FOUND")
    assert (await house.json("GET", "/v1/runs"))["items"] == []


async def test_what_its_flow_refuses_is_no_file_and_no_run(house: House) -> None:
    upload = await begun(house, 11, flow="tiny", name="a.txt")
    async with stream(house, house.base, upload["id"]) as shown:
        await shown.until("upload.progressed")
        await house.problem(
            "PATCH", f"/v1/uploads/{upload['id']}", 415, "TYPE_NOT_ALLOWED", data=b"no picture.", headers=at(0)
        )
        assert (await shown.rest())[-1] == "upload.dropped"
    await house.problem("GET", f"/v1/runs/{upload['run']}", 404, "RUN_NOT_FOUND")


async def test_finishing_again_and_at_once_starts_one_run(house: House, other: str) -> None:
    await awake(house, other)
    body = photo()
    upload = await begun(house, len(body), flow="tiny")
    path = f"/v1/uploads/{upload['id']}"
    await house.json("PATCH", path, 200, data=body, headers=at(0))
    finishes = [house.ask("POST", base + path + "/finish") for base in (house.base, other) * 4]

    async def status(finish: Any) -> int:
        async with finish as answer:
            return int(answer.status)

    answers = await asyncio.gather(*map(status, finishes))
    assert 201 in answers and set(answers) <= {201, 423}
    assert (await house.json("POST", path + "/finish", 201))["follow"] == upload["run"]
    assert [run["id"] for run in (await house.json("GET", "/v1/runs"))["items"]] == [upload["run"]]
    assert await events(house, upload["run"], "run.queued") == 1


async def events(house: House, subject: str, type: str) -> int:
    return [event.type for event in await house.core.events.read("demo", subject)].count(type)


async def test_a_file_sent_whole_may_name_a_flow(house: House, worker: subprocess.Popen[bytes]) -> None:
    query = "/v1/files?name=p.jpg&flow=tiny&params=%7B%22quality%22:50%7D"
    file = await house.json("POST", query, 201, data=photo())
    run = await house.json("GET", f"/v1/runs/{file['follow']}?wait=30")
    assert (run["status"], run["params"], run["inputs"]) == ("completed", {"quality": 50}, {"photo": [file["id"]]})
    async with stream(house, house.base, file["id"]) as shown:
        types = await shown.rest()
    assert types[0] == "file.uploaded" and types[-1] == "run.completed"
    await house.core.events.append(Event(type="letter.made", project="demo", subject=run["id"]))
    async with asyncio.timeout(10), stream(house, house.base, file["id"]) as shown:
        assert (await shown.rest())[-2:] == ["run.completed", "letter.made"]


@pytest.mark.parametrize(
    ("asked", "status", "code"),
    [
        ({"flow": "unheard-of"}, 404, "FLOW_NOT_FOUND"),
        ({"flow": "tiny", "params": {"quality": 500}}, 422, "PARAMS_INVALID"),
        ({"flow": "tiny", "params": {"colour": 1}}, 422, "PARAMS_INVALID"),
        ({"flow": "tiny", "input": "sound"}, 422, "INPUT_UNKNOWN"),
        ({"flow": "pair"}, 422, "INPUT_MISSING"),
        ({"flow": "tiny", "size": 2_500_000}, 413, "FILE_TOO_LARGE"),
    ],
)
async def test_what_a_flow_cannot_take_is_refused_before_a_byte(
    house: House, asked: dict[str, Any], status: int, code: str
) -> None:
    await house.problem("POST", "/v1/uploads", status, code, json={"name": "p.jpg", "size": 100} | asked)
    assert (await house.leftovers())[1] == []


async def test_a_paused_flow_is_refused_but_an_upload_that_was_begun_goes_on(house: House) -> None:
    body = photo()
    upload = await begun(house, len(body), flow="tiny")
    await house.core.flows.pause("tiny")
    await house.problem("POST", "/v1/uploads", 409, "FLOW_PAUSED", json={"flow": "tiny"})
    await house.json("PATCH", f"/v1/uploads/{upload['id']}", 200, data=body, headers=at(0))
    file = await house.json("POST", f"/v1/uploads/{upload['id']}/finish", 201)
    assert (await house.json("GET", f"/v1/runs/{file['follow']}"))["id"] == upload["run"]
    await house.core.flows.resume("tiny")
