"""tus with its users' own clients, over two web processes that share nothing but Valkey and the storage."""

from __future__ import annotations

import asyncio
import hashlib
import io
import os
import random
import signal
import socket
import subprocess
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import ExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import aiohttp
import pytest
from playwright.async_api import Browser, Page
from tusclient.client import TusClient

from pipeline.uploads.holds import PATIENCE
from tests.acceptance.browsing import open_page
from tests.acceptance.conftest import SAFELIGHT
from tests.acceptance.cutting import line_to
from tests.conftest import running_valkey
from tests.nodes.studio import PHOTO

KEY = {"Authorization": "Bearer tus-clients-key"}
TUS = {**KEY, "Tus-Resumable": "1.0.0"}
BYTES = {**TUS, "Content-Type": "application/offset+octet-stream"}
CONFIG = """
redis_url: "{redis}"
data_dir: "{data}"
flows_dir: "{data}"
storages: {{default: "{storage}"}}
grace: 1s
projects: {{demo: {{secret_key: tus-clients-secret, api_keys: [tus-clients-key]}}}}
"""
MIB = 2**20


@dataclass(frozen=True)
class Pair:
    """Two web processes by their ports."""

    ports: tuple[int, int]
    programs: tuple[subprocess.Popen[bytes], subprocess.Popen[bytes]]
    session: aiohttp.ClientSession

    @asynccontextmanager
    async def ask(self, web: int, method: str, path: str, **more: Any) -> AsyncIterator[aiohttp.ClientResponse]:
        async with self.session.request(method, f"http://127.0.0.1:{self.ports[web]}{path}", **more) as answer:
            yield answer

    async def create(self, web: int, length: int) -> str:
        async with self.ask(web, "POST", "/tus", headers=TUS | {"Upload-Length": str(length)}) as answer:
            assert answer.status == 201, await answer.text()
            return answer.headers["Location"]

    async def patch(self, web: int, place: str, offset: int, body: bytes) -> Mapping[str, str]:
        headers = BYTES | {"Upload-Offset": str(offset)}
        async with self.ask(web, "PATCH", place, headers=headers, data=io.BytesIO(body)) as answer:
            assert answer.status == 204, await answer.text()
            return answer.headers.copy()

    async def offset(self, web: int, place: str) -> int:
        async with self.ask(web, "HEAD", place, headers=TUS) as answer:
            assert answer.status == 200
            return int(answer.headers["Upload-Offset"])

    async def file(self, place: str) -> Any:
        async with self.ask(1, "GET", f"/v1/files/{place.rpartition('/')[2]}", headers=KEY) as answer:
            assert answer.status == 200, await answer.text()
            return await answer.json()

    async def ready(self) -> None:
        async with asyncio.timeout(40):
            for web in (0, 1):
                while not await self._answers(web):
                    assert self.programs[web].poll() is None
                    await asyncio.sleep(0.05)

    async def _answers(self, web: int) -> bool:
        try:
            async with self.ask(web, "GET", "/readyz") as answer:
                return answer.status == 200
        except aiohttp.ClientConnectionError:
            return False


@contextmanager
def web_process(folder: Path, port: int) -> Iterator[subprocess.Popen[bytes]]:
    environ = {name: value for name, value in os.environ.items() if not name.startswith("SAFELIGHT_")}
    command = [SAFELIGHT, "web", "--port", str(port)]
    with (folder / "log").open("wb") as log:
        program = subprocess.Popen(command, cwd=folder, env=environ, stdout=log, stderr=log)
    try:
        yield program
    finally:
        program.kill()
        program.wait()


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


@asynccontextmanager
async def running_pair(storage: str, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Pair]:
    with ExitStack() as stack:
        redis = stack.enter_context(running_valkey(tmp_path_factory.mktemp("valkey")))
        ports, programs = (free_port(), free_port()), []
        for port in ports:
            folder = tmp_path_factory.mktemp("web")
            config = CONFIG.format(redis=redis, data=folder, storage=storage)
            (folder / "safelight.yaml").write_text(config)
            programs.append(stack.enter_context(web_process(folder, port)))
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(60)) as session:
            pair = Pair(ports, (programs[0], programs[1]), session)
            await pair.ready()
            yield pair


@pytest.fixture(scope="module")
async def local(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Pair]:
    async with running_pair(f"file://{tmp_path_factory.mktemp('files')}", tmp_path_factory) as pair:
        yield pair


@pytest.fixture(scope="module")
async def remote(s3_url: str, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Pair]:
    async with running_pair(s3_url.replace("/tests?", f"/{uuid4()}?"), tmp_path_factory) as pair:
        yield pair


@pytest.fixture(params=["local", "remote"])
def pair(request: pytest.FixtureRequest) -> Pair:
    return request.getfixturevalue(request.param)


def noise(length: int) -> bytes:
    return random.Random(length).randbytes(length)


def sha256(body: bytes) -> str:
    return hashlib.sha256(body).hexdigest()


# Two processes


async def test_any_process_takes_the_next_patch(pair: Pair) -> None:
    body, at = noise(13 * MIB + 17), 0
    place = await pair.create(0, len(body))
    for number, length in enumerate((1, 70_000, 5 * MIB, 5 * MIB - 70_000, 100, len(body))):
        assert await pair.offset(number % 2, place) == at
        told = await pair.patch((number + 1) % 2, place, at, body[at : at + length])
        at = min(at + length, len(body))
        assert told["Upload-Offset"] == str(at)
    assert await pair.offset(0, place) == len(body)
    assert (await pair.file(place))["sha256"] == sha256(body)


@dataclass
class Held:
    """A PATCH whose client has sent a part of it and is silent."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    @classmethod
    async def begin(cls, pair: Pair, place: str, offset: int, length: int, body: bytes) -> Held:
        reader, writer = await asyncio.open_connection("127.0.0.1", pair.ports[0])
        fields = "".join(f"{name}: {value}\r\n" for name, value in (BYTES | {"Upload-Offset": str(offset)}).items())
        head = f"PATCH {place} HTTP/1.1\r\nHost: x\r\n{fields}Content-Length: {length}\r\n\r\n"
        writer.write(head.encode() + body)
        await writer.drain()
        return cls(reader, writer)

    async def answer(self) -> bytes:
        async with asyncio.timeout(20):
            return await self.reader.readuntil(b"}")


async def test_a_request_at_the_other_process_ends_a_silent_one_at_once(pair: Pair) -> None:
    body = noise(6 * MIB)
    place = await pair.create(0, len(body))
    held = await Held.begin(pair, place, 0, len(body), body[:-MIB])
    await asyncio.sleep(0.3)
    began = time.monotonic()
    offset = await pair.offset(1, place)
    assert time.monotonic() - began < 2
    assert (await held.answer()).startswith(b"HTTP/1.1 423 ")
    held.writer.close()
    assert offset == len(body) - MIB
    await pair.patch(1, place, offset, body[offset:])
    assert (await pair.file(place))["sha256"] == sha256(body)


async def test_a_stopped_process_blocks_no_longer_than_its_lease_and_writes_nothing_when_it_wakes(pair: Pair) -> None:
    body, other = noise(3 * MIB), bytes(MIB)
    place = await pair.create(0, len(body))
    await pair.patch(0, place, 0, body[:MIB])
    held = await Held.begin(pair, place, MIB, 2 * MIB, other[: MIB // 2])
    await asyncio.sleep(0.3)
    os.kill(pair.programs[0].pid, signal.SIGSTOP)
    try:
        held.writer.write(other[MIB // 2 :])  # lies ready for when it wakes
        began = time.monotonic()
        offset = await pair.offset(1, place)
        assert time.monotonic() - began < PATIENCE
        assert MIB <= offset <= MIB + MIB // 2
        kept = body[:MIB] + other[: offset - MIB]
        await pair.patch(1, place, offset, body[offset : offset + 1000])
        reached = offset + 1000
    finally:
        os.kill(pair.programs[0].pid, signal.SIGCONT)
    assert (await held.answer()).startswith(b"HTTP/1.1 423 ")
    held.writer.close()
    assert await pair.offset(1, place) == reached
    assert await pair.offset(0, place) == reached
    await pair.patch(0, place, reached, body[reached:])
    assert (await pair.file(place))["sha256"] == sha256(kept + body[offset:])


# Clients


async def test_tuspy_uploads_with_checksums_and_goes_on_after_a_break(local: Pair, tmp_path: Path) -> None:
    body = noise(3 * MIB + 5)
    (tmp_path / "noise.bin").write_bytes(body)
    options = {"chunk_size": MIB, "upload_checksum": True, "metadata": {"filename": "Ünï.bin"}}

    def upload(web: int, url: str | None = None, stop_at: int | None = None) -> Any:
        client = TusClient(f"http://127.0.0.1:{local.ports[web]}/tus", headers=dict(KEY))
        with (tmp_path / "noise.bin").open("rb") as stream:
            uploader = client.uploader(file_stream=stream, url=url, **options)
            began = uploader.offset
            uploader.upload(stop_at)
            return uploader.url, began

    url, began = await asyncio.to_thread(upload, 0, None, 2 * MIB)
    assert began == 0
    elsewhere = url.replace(str(local.ports[0]), str(local.ports[1]))
    assert await asyncio.to_thread(upload, 1, elsewhere) == (elsewhere, 2 * MIB)
    file = await local.file(url)
    assert (file["name"], file["sha256"]) == ("Ünï.bin", sha256(body))


@pytest.fixture
async def page(chromium: Browser) -> AsyncIterator[Page]:
    async with open_page(chromium, "tus") as page:
        yield page


async def pick(page: Page, path: Path) -> None:
    await page.set_input_files("input", path)


async def test_tus_js_client_in_a_browser_survives_a_line_that_is_cut_again_and_again(
    local: Pair, page: Page, tmp_path: Path
) -> None:
    body = noise(3 * MIB)
    (tmp_path / "noise.bin").write_bytes(body)
    await pick(page, tmp_path / "noise.bin")
    async with line_to(local.ports[0]) as line:
        line.every, line.cuts = 400_000, 5
        done = await page.evaluate("tusUpload", {"endpoint": f"{line.address}/tus", "headers": dict(KEY)})
        assert line.cuts == 0
    assert [method for method, _ in done["sent"]].count("POST") == 1
    assert [method for method, _ in done["sent"]].count("PATCH") > 1  # the browser itself repeats some
    assert done["file"] == done["url"].rpartition("/")[2]
    assert (await local.file(done["url"]))["sha256"] == sha256(body)


async def test_tus_js_client_sends_pieces_in_parallel_and_joins_them(local: Pair, page: Page) -> None:
    await pick(page, PHOTO)
    options = {"headers": dict(KEY), "parallelUploads": 3, "endpoint": f"http://127.0.0.1:{local.ports[0]}/tus/"}
    done = await page.evaluate("tusUpload", options)
    file = await local.file(done["url"])
    assert (file["sha256"], file["name"], file["mime"]) == (sha256(PHOTO.read_bytes()), PHOTO.name, "image/jpeg")
    assert [method for method, _ in done["sent"]].count("POST") == 4


@pytest.mark.parametrize(
    "options", [{"uploadDataDuringCreation": True}, {"chunkSize": 100_000}, {"overridePatchMethod": True}],
    ids=lambda options: next(iter(options)),
)  # fmt: skip
async def test_tus_js_client_with_other_options(local: Pair, page: Page, options: dict[str, Any]) -> None:
    await pick(page, PHOTO)
    more = {"headers": dict(KEY), "endpoint": f"http://127.0.0.1:{local.ports[1]}/tus"}
    done = await page.evaluate("tusUpload", options | more)
    assert (await local.file(done["url"]))["sha256"] == sha256(PHOTO.read_bytes())


async def test_uppy_goes_on_where_it_was_when_the_page_is_loaded_anew(local: Pair, page: Page, tmp_path: Path) -> None:
    body = noise(2 * MIB)
    (tmp_path / "noise.bin").write_bytes(body)
    await pick(page, tmp_path / "noise.bin")
    async with line_to(local.ports[0]) as line:
        line.rate = 1_500_000
        options = {"endpoint": f"{line.address}/tus", "headers": dict(KEY), "chunkSize": 256 * 1024}
        await page.evaluate("options => { uppyUpload(options).catch(() => {}) }", options)
        await page.wait_for_function("window.progress > 600000")
        await page.reload()
        line.rate, before = None, line.carried
        await pick(page, tmp_path / "noise.bin")
        done = await page.evaluate("uppyUpload", options)
        assert line.carried - before < len(body) - 500_000
    assert done["failed"] == []
    assert [method for method, _ in done["sent"]][:2] == ["HEAD", "PATCH"]
    file = await local.file(done["urls"][0])
    assert (file["sha256"], file["metadata"]["album"]) == (sha256(body), "May")


async def test_uppy_sends_a_picture(remote: Pair, page: Page) -> None:
    await pick(page, PHOTO)
    options = {"endpoint": f"http://127.0.0.1:{remote.ports[0]}/tus", "headers": dict(KEY)}
    done = await page.evaluate("uppyUpload", options)
    file = await remote.file(done["urls"][0])
    assert (file["sha256"], file["name"], file["image"]["format"]) == (sha256(PHOTO.read_bytes()), PHOTO.name, "jpeg")


async def test_a_page_is_told_why_it_is_refused(local: Pair, page: Page) -> None:
    await pick(page, PHOTO)
    wrong = {"headers": {"Authorization": "Bearer wrong"}, "endpoint": f"http://127.0.0.1:{local.ports[0]}/tus"}
    with pytest.raises(Exception, match="KEY_INVALID"):
        await page.evaluate("tusUpload", wrong)
