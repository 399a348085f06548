"""A web process killed in every step of an upload: what was acknowledged is there, and nothing else ever seems so."""

from __future__ import annotations

import asyncio
import hashlib
import io
import os
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any
from uuid import uuid4

import aiohttp
import pytest

from pipeline.core import Core, open_core
from pipeline.events import script
from pipeline.model import Grant, now
from pipeline.records.holds import GIVE_BACK_LUA, TAKE_LUA
from pipeline.records.uploads import ADVANCE_LUA, CREATE_LUA, FINISH_LUA, LAND_LUA
from pipeline.scripting import RecordClient
from pipeline.settings import Settings
from tests.api.test_serve import free_port, until_ready

from .ends import LEAST_AGE, held_keys
from .ground import KEY, Program, Server, running, web
from .lines import SIDES, Line, Side, Wanted, Words, line_to

pytestmark = [pytest.mark.faults, pytest.mark.timeout(300)]

MIB = 2**20
PART = 5 * MIB
BODY = random.Random(7).randbytes(2 * PART + 777)
STRETCHES = (PART - 100, PART + 200, 677)
LONG = timedelta(days=9)
MANIFEST = ".json"
KEYED = {"Authorization": f"Bearer {KEY}"}
OCTETS = {"Content-Type": "application/octet-stream"}
TUS = {"Tus-Resumable": "1.0.0"}
CUT = (aiohttp.ClientError, ConnectionError)


@dataclass
class Place:
    """A web process on a port, to be killed and started again, at the end of a line to its records."""

    core: Core
    settings: Settings
    line: Line
    stack: AsyncExitStack
    session: aiohttp.ClientSession
    port: int = field(default_factory=free_port)
    program: Program | None = None

    @property
    def base(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def start(self) -> Program:
        """Have another one on the same port, and return when it answers."""
        told = self.settings.model_copy(update={"redis_url": self.line.url})
        storage = {"SAFELIGHT_STORAGES__DEFAULT": self.settings.storages["default"]}
        self.program = await self.stack.enter_async_context(web(told, self.port, **storage))
        await until_ready(self.base)
        return self.program

    async def killed(self) -> None:
        """Kill -9."""
        assert self.program is not None
        with suppress(ProcessLookupError):  # dead already
            self.program.kill()
        await self.program.program.wait()

    def kill_at(self, side: Side, lua: str) -> None:
        """Kill it when it calls this script, before the server gets it or before the answer comes."""
        text = script(RecordClient.over(self.core.redis), "safelight:", self.settings.event_cap, lua).script.encode()
        sha = hashlib.sha1(text).hexdigest().encode()

        async def wanted(words: Words, answer: bytes) -> bool:
            found = words[1:2] in ((sha,), (text,)) and not answer.startswith(b"-NOSCRIPT")
            if found and self.program is not None:
                self.program.kill()
            return found

        chosen: Wanted = wanted
        self.line.cut.clear()
        self.line.cut_at(side, chosen)

    async def ask(self, method: str, path: str, status: int, **more: Any) -> aiohttp.ClientResponse:
        url = path if path.startswith("http") else self.base + path
        headers = KEYED | more.pop("headers", {})
        if isinstance(more.get("data"), bytes):
            more["data"] = io.BytesIO(more["data"])
        async with self.session.request(method, url, headers=headers, **more) as answer:
            text = await answer.read()
            assert answer.status == status, text
            return answer

    async def json(self, method: str, path: str, status: int, **more: Any) -> Any:
        return await (await self.ask(method, path, status, **more)).json()


@pytest.fixture
async def server(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Server]:
    async with running(Server(tmp_path_factory.mktemp("valkey"), appendfsync="always")) as server:
        yield server


@pytest.fixture(params=["here", "cloud"])
def settings(request: pytest.FixtureRequest, settings: Settings, server: Server) -> Settings:
    url = f"file://{settings.data_dir}/files"
    if request.param == "cloud":
        url = request.getfixturevalue("s3_url").replace("/tests?", f"/{uuid4()}?")
    return settings.model_copy(
        update={"redis_url": server.url, "storages": {"default": url}, "orphan_grace": LEAST_AGE}
    )


@pytest.fixture
async def place(settings: Settings, server: Server) -> AsyncIterator[Place]:
    async with AsyncExitStack() as stack:
        core = await stack.enter_async_context(open_core(settings))
        line = await stack.enter_async_context(line_to(str(server.socket)))
        timeout = aiohttp.ClientTimeout(60)
        session = await stack.enter_async_context(aiohttp.ClientSession(timeout=timeout))
        place = Place(core, settings, line, stack, session)
        await place.start()
        yield place


# Clients


@dataclass
class Client:
    """One who sends `BODY`, and knows what it was told and what it has sent."""

    place: Place
    id: str = ""
    told: int = 0
    """Bytes that were acknowledged."""
    sent: int = 0

    async def begin(self) -> None:
        raise NotImplementedError

    async def add(self) -> None:
        """Send the next bytes."""
        raise NotImplementedError

    async def end(self) -> Any:
        """Have the File, if every byte was sent."""
        raise NotImplementedError

    async def standing(self) -> int:
        """How many bytes the server says it has."""
        raise NotImplementedError

    async def go_on(self) -> Any:
        """The File, from wherever it stands."""
        if not self.id:
            await self.begin()
        elif await self.is_open():
            there = await self.standing()
            assert self.told <= there <= self.sent
            self.told = self.sent = there
        else:
            self.told = self.sent = len(BODY)
        while self.told < len(BODY):
            await self.add()
        return await self.end()

    async def is_open(self) -> bool:
        return await self.place.core.records.uploads.known([self.id]) != set()

    def next(self) -> bytes:
        """The bytes that come now."""
        ends = [sum(STRETCHES[: number + 1]) for number in range(len(STRETCHES))]
        return BODY[self.told : next(end for end in ends if end > self.told)]


class Native(Client):
    async def begin(self) -> None:
        self.id = (await self.place.json("POST", "/v1/uploads", 201, json={"name": "a.bin", "size": len(BODY)}))["id"]

    async def add(self) -> None:
        body = self.next()
        self.sent = self.told + len(body)
        headers = {**OCTETS, "Upload-Offset": str(self.told)}
        self.told = (await self.place.json("PATCH", f"/v1/uploads/{self.id}", 200, headers=headers, data=body))[
            "offset"
        ]

    async def end(self) -> Any:
        self.told = len(BODY)
        return await self.place.json("POST", f"/v1/uploads/{self.id}/finish", 201)

    async def standing(self) -> int:
        return int((await self.place.json("GET", f"/v1/uploads/{self.id}", 200))["offset"])


class Tus(Client):
    """The last bytes make the file."""

    async def begin(self) -> None:
        answer = await self.place.ask("POST", "/tus", 201, headers={**TUS, "Upload-Length": str(len(BODY))})
        self.id = answer.headers["Location"].rpartition("/")[2]

    async def add(self) -> None:
        body = self.next()
        self.sent = self.told + len(body)
        headers = {**TUS, "Content-Type": "application/offset+octet-stream", "Upload-Offset": str(self.told)}
        answer = await self.place.ask("PATCH", f"/tus/{self.id}", 204, headers=headers, data=body)
        self.told = int(answer.headers["Upload-Offset"])

    async def end(self) -> Any:
        if self.told < len(BODY):
            await self.add()
        answer = await self.place.ask("HEAD", f"/tus/{self.id}", 200, headers=TUS)
        assert answer.headers["Safelight-File"] == self.id
        self.told = int(answer.headers["Upload-Offset"])
        return await self.place.json("GET", f"/v1/files/{self.id}", 200)

    async def standing(self) -> int:
        return int((await self.place.ask("HEAD", f"/tus/{self.id}", 200, headers=TUS)).headers["Upload-Offset"])


class Parts(Client):
    async def begin(self) -> None:
        ask = {"name": "a.bin", "size": len(BODY), "way": "parts"}
        self.id = (await self.place.json("POST", "/v1/uploads", 201, json=ask))["id"]

    async def add(self) -> None:
        number = self.told // PART
        body = BODY[number * PART : (number + 1) * PART]
        self.sent = self.told + len(body)
        parts = (await self.place.json("GET", f"/v1/uploads/{self.id}/parts", 200))["items"]
        url, content = parts[number]["url"], io.BytesIO(body)
        async with self.place.session.put(url, data=content, skip_auto_headers=["Content-Type"]) as answer:
            assert answer.status == 200, await answer.text()
        self.told = self.sent

    async def end(self) -> Any:
        return await self.place.json("POST", f"/v1/uploads/{self.id}/finish", 201)

    async def standing(self) -> int:
        parts = (await self.place.json("GET", f"/v1/uploads/{self.id}/parts", 200))["items"]
        assert {part["received"] for part in parts} <= {0, *(part["size"] for part in parts)}, "a part is whole or not"
        return int(sum(part["received"] for part in parts))


class Whole(Client):
    """Everything at once: what is not answered is not there, or sent again a second file."""

    async def begin(self) -> None:
        self.id = (await self.place.json("POST", "/v1/files?name=a.bin", 201, data=BODY, headers=OCTETS))["id"]
        self.told = self.sent = len(BODY)

    async def end(self) -> Any:
        return await self.place.json("GET", f"/v1/files/{self.id}", 200)

    async def is_open(self) -> bool:
        return False


# The reckoning


async def assert_only(place: Place, file: Any, others: int = 0, body: bytes = BODY) -> None:
    """The File is there once, whole and told of once; sweeps leave it and up to so many others, and nothing else."""
    assert (file["size"], file["sha256"]) == (len(body), hashlib.sha256(body).hexdigest())
    assert await (await place.session.get(file["url"])).read() == body
    told = [event.type for event in await place.core.events.read("demo", file["id"], None, 100)]
    assert [type for type in told if type.startswith("file.")] == ["file.uploaded", "file.stored"]
    files = (await place.core.records.files.list("demo")).items
    assert file["id"] in {one.id for one in files} and len(files) <= 1 + others
    await swept(place)
    assert set(await held_keys(place.core)) == {key for one in files for key in (one.key, one.key + MANIFEST)}
    assert [key for key in await place.core.redis.keys("safelight:*") if b":upload:" in key] == []


async def swept(place: Place) -> None:
    """What the sweeps would do days later."""
    core, later = place.core, now() + LONG
    for upload in await core.records.uploads.expired(later):
        async with asyncio.timeout(20):
            while not await core.uploads.expire(upload.id, later):  # a turn of the dead lasts some seconds
                await asyncio.sleep(0.1)
    for name in ("orphans", "staged", "folders"):
        assert not (await core.sweeps.sweep(name)).postponed


# Killed at a word

WAYS: dict[str, Callable[[Place], Client]] = {"append": Native, "tus": Tus, "parts": Parts, "whole": Whole}
WORDS = {
    "turn taken": TAKE_LUA,
    "put on record": CREATE_LUA,
    "advanced": ADVANCE_LUA,
    "turn given back": GIVE_BACK_LUA,
    "made a file": FINISH_LUA,
}
MOMENTS = {
    "append": (
        ("begin", "put on record"), ("add", "turn taken"), ("add", "advanced"), ("add", "turn given back"),
        ("end", "turn taken"), ("end", "made a file"), ("end", "turn given back"),
    ),
    "tus": (
        ("begin", "put on record"), ("add", "turn taken"), ("add", "advanced"), ("add", "turn given back"),
        ("end", "made a file"), ("end", "turn given back"),
    ),
    "parts": (("begin", "put on record"), ("end", "made a file"), ("end", "turn given back")),
    "whole": (("begin", "put on record"), ("begin", "made a file")),
}  # fmt: skip
EVERY = [(way, step, word, side) for way, moments in MOMENTS.items() for step, word in moments for side in SIDES]
CASES = [("here", *case) for case in EVERY]
CASES += [("cloud", *case) for case in EVERY if case[2] in ("advanced", "made a file")]


async def until(client: Client, step: str) -> Callable[[], Awaitable[Any]]:
    """The act that is the step, after everything before it."""
    if step == "begin":
        return client.begin
    await client.begin()
    await client.add()
    if step == "add":
        return client.add
    while client.told < len(BODY) - (STRETCHES[-1] if isinstance(client, Tus) else 0):
        await client.add()
    return client.end


@pytest.mark.parametrize(("settings", "way", "step", "word", "side"), CASES, indirect=["settings"])
async def test_a_server_killed_at_a_word(place: Place, way: str, step: str, word: str, side: Side) -> None:
    client = WAYS[way](place)
    act = await until(client, step)
    place.kill_at(side, WORDS[word])
    with pytest.raises(CUT):
        await act()
    await asyncio.wait_for(place.line.cut.wait(), 10)
    await place.killed()
    await place.start()
    file = await client.go_on()
    assert await client.end() == file, "sent again, it answers with the same file"
    await assert_only(place, file, others=1 if way == "whole" else 0)


PUT_WORDS = {"landed": LAND_LUA, **{word: WORDS[word] for word in ("turn taken", "made a file", "turn given back")}}


@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize("word", PUT_WORDS)
@pytest.mark.parametrize("settings", ["here"], indirect=True)
async def test_a_server_killed_while_a_small_file_comes_by_one_put(place: Place, word: str, side: Side) -> None:
    body = BODY[:50_000]
    upload = await place.json("POST", "/v1/uploads", 201, json={"name": "a.bin", "size": len(body), "way": "put"})
    url, finish = upload["put"]["url"].removeprefix(place.base), f"/v1/uploads/{upload['id']}/finish"
    if word != "landed":
        await place.ask("PUT", url, 200, data=body, headers=OCTETS)
    place.kill_at(side, PUT_WORDS[word])
    with pytest.raises(CUT):
        if word == "landed":
            await place.ask("PUT", url, 200, data=body, headers=OCTETS)
        else:
            await place.ask("POST", finish, 201)
    await asyncio.wait_for(place.line.cut.wait(), 10)
    await place.killed()
    await place.start()
    if word == "landed":
        await place.ask("PUT", url, 200, data=body, headers=OCTETS)
    file = await place.json("POST", finish, 201)
    assert await place.json("POST", finish, 201) == file, "sent again, it answers with the same file"
    await assert_only(place, file, body=body)


# Killed while bytes arrive


async def half_sent(place: Place, method: str, path: str, headers: dict[str, str], body: bytes) -> asyncio.StreamWriter:
    """A request of which everything but the last 3 MB has been sent."""
    fields = KEYED | {"Host": "x", "Content-Length": str(len(body))} | headers
    head = f"{method} {path} HTTP/1.1\r\n" + "".join(f"{name}: {value}\r\n" for name, value in fields.items())
    _, writer = await asyncio.open_connection("127.0.0.1", place.port)
    writer.write(head.encode() + b"\r\n" + body[: -3 * MIB])
    await writer.drain()
    return writer


@pytest.mark.parametrize("way", ["append", "tus"])
async def test_a_server_killed_while_bytes_arrive(place: Place, grant: Grant, way: str) -> None:
    client = WAYS[way](place)
    await client.begin()
    headers = {"append": OCTETS, "tus": {**TUS, "Content-Type": "application/offset+octet-stream"}}[way]
    path = {"append": f"/v1/uploads/{client.id}", "tus": f"/tus/{client.id}"}[way]
    writer = await half_sent(place, "PATCH", path, headers | {"Upload-Offset": "0"}, BODY)
    client.sent = len(BODY) - 3 * MIB
    async with asyncio.timeout(20):
        while not (await place.core.uploads.get(grant, client.id)).offset:
            await asyncio.sleep(0.005)
    await place.killed()
    writer.close()
    await place.start()
    file = await client.go_on()
    await assert_only(place, file)


async def test_a_server_killed_while_a_part_arrives(place: Place) -> None:
    client = Parts(place)
    await client.begin()
    await client.add()
    url = (await place.json("GET", f"/v1/uploads/{client.id}/parts", 200))["items"][1]["url"]
    if url.startswith(place.base):  # else it is no matter of the server
        writer = await half_sent(place, "PUT", url.removeprefix(place.base), {}, BODY[PART : 2 * PART])
        folder = place.settings.data_dir / "files" / ".staging" / f"{client.id}.parts"
        async with asyncio.timeout(20):
            while not any(path.stat().st_size for path in folder.glob("arriving-*")):
                await asyncio.sleep(0.005)
        await place.killed()
        writer.close()
    else:
        await place.killed()
    await place.start()
    assert await client.standing() == PART
    file = await client.go_on()
    await assert_only(place, file)


# Left alone


@pytest.mark.parametrize("way", ["append", "tus", "parts"])
async def test_nobody_comes_back_after_a_kill(place: Place, way: str) -> None:
    client = WAYS[way](place)
    await client.begin()
    await client.add()
    await place.killed()
    assert await held_keys(place.core) != []
    await swept(place)
    assert await held_keys(place.core) == []
    redis = place.core.redis
    left = [key for key in await redis.keys("safelight:*") if client.id.encode() in key and await redis.ttl(key) < 0]
    assert left == [], "what stays without an end"


# A reload


async def test_a_reload_in_the_middle_lets_every_request_end(place: Place) -> None:
    clients = [Native(place), Tus(place), Parts(place)]
    for client in clients:
        await client.begin()
    old = place.program
    going, paused = asyncio.Event(), asyncio.Semaphore(0)

    async def halting(body: bytes) -> AsyncIterator[bytes]:
        yield body[: len(body) // 2]
        paused.release()
        await going.wait()
        yield body[len(body) // 2 :]

    native, tus, parts = clients
    octets = {**OCTETS, "Upload-Offset": "0"}
    stretch = {**TUS, "Content-Type": "application/offset+octet-stream", "Upload-Offset": "0"}
    url = (await place.json("GET", f"/v1/uploads/{parts.id}/parts", 200))["items"][0]["url"]
    acts = [
        place.ask("PATCH", f"/v1/uploads/{native.id}", 200, headers=octets, data=halting(BODY)),
        place.ask("PATCH", f"/tus/{tus.id}", 204, headers=stretch, data=halting(BODY)),
    ]
    if url.startswith(place.base):
        acts.append(place.ask("PUT", url, 200, data=halting(BODY[:PART]), skip_auto_headers=["Content-Type"]))
    sending = [asyncio.create_task(act) for act in acts]
    for _ in sending:
        await paused.acquire()
    assert old is not None
    stopping = asyncio.create_task(old.stop())
    place.session = await place.stack.enter_async_context(aiohttp.ClientSession())  # of no connection to the old one
    await place.start()
    going.set()
    await asyncio.gather(*sending)
    await stopping
    await until_ready(place.base)  # now of the new one
    for client in clients:
        client.told, client.sent = 0, len(BODY)
        file = await client.go_on()
        assert (file["id"], file["sha256"]) == (client.id, hashlib.sha256(BODY).hexdigest())
    assert len((await place.core.records.files.list("demo")).items) == len(clients)


# Thousands of tiny requests


@pytest.mark.parametrize("settings", ["here"], indirect=True)
async def test_three_thousand_patches_of_some_bytes(place: Place) -> None:
    sizes = [random.Random(number).randint(1, 9) for number in range(3000)]
    body = random.Random(1).randbytes(sum(sizes))
    created = await place.ask("POST", "/tus", 201, headers={**TUS, "Upload-Length": str(len(body))})
    path = created.headers["Location"].removeprefix(place.base)
    keys, memory, at = 0, 0, 0
    for number, size in enumerate(sizes):
        headers = {**TUS, "Content-Type": "application/offset+octet-stream", "Upload-Offset": str(at)}
        await place.ask("PATCH", path, 204, headers=headers, data=body[at : at + size])
        at += size
        if number == 500:
            keys, memory = await place.core.redis.dbsize(), resident(place)
        if number == len(sizes) - 2:  # the last one makes the file
            assert await place.core.redis.dbsize() == keys and resident(place) < memory + 8 * MIB
    answer = await place.ask("HEAD", path, 200, headers=TUS)
    content = await place.session.get(answer.headers["Safelight-Url"])
    assert await content.read() == body


def resident(place: Place) -> int:
    """Bytes of memory of the web process."""
    assert place.program is not None
    with open(f"/proc/{place.program.pid}/statm", encoding="ascii") as statm:
        return int(statm.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
