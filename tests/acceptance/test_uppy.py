"""Uppy's other ways to upload, in a real browser: forms, presigned PUTs, and parts that go to S3 past the server."""

from __future__ import annotations

import asyncio
import hashlib
import io
import random
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, quote_plus, urlsplit
from uuid import uuid4

import aiohttp
import boto3
import pytest
from PIL import Image
from playwright.async_api import Browser, Page

from tests.acceptance.browsing import open_page
from tests.acceptance.conftest import Stack, running_stack
from tests.acceptance.cutting import Line, line_to
from tests.acceptance.test_tus import free_port
from tests.nodes.studio import PHOTO

MIB = 2**20
PART = 5 * MIB
CONFIG = """
public_url: "{line}"
storages: {{default: "file://{data}/files", cloud: "{cloud}"}}
projects:
  here: {{api_keys: [here-key]}}
  cloud: {{api_keys: [cloud-key], storage: cloud}}
"""


@dataclass(frozen=True)
class Lines:
    """How everybody reaches the server and its S3, and the storage that lies behind the latter."""

    server: Line
    s3: Line
    cloud: str


@pytest.fixture(scope="module")
async def up(s3_url: str, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[tuple[Stack, Lines]]:
    """A Safelight whose addresses, those presigned for its S3 too, all lead over our lines."""
    data, config = tmp_path_factory.mktemp("uppy"), tmp_path_factory.mktemp("config") / "safelight.yaml"
    endpoint, port = dict(parse_qsl(urlsplit(s3_url).query))["endpoint"], free_port()
    async with line_to(urlsplit(endpoint).port or 0) as s3, line_to(port) as server:
        cloud = s3_url.replace("/tests?", f"/{uuid4()}?").replace(quote_plus(endpoint), s3.address)
        config.write_text(CONFIG.format(data=data, cloud=cloud, line=server.address))
        running = running_stack(data, port, SAFELIGHT_CONFIG=str(config))
        stack = await asyncio.to_thread(running.__enter__)  # it reaches its S3 over a line that needs this loop
        yield stack, Lines(server, s3, cloud)
        await asyncio.to_thread(running.__exit__, None, None, None)


@dataclass(frozen=True)
class Place:
    """A project: how a page reaches the server, the line that the bytes of parts take, and what lies in its storage."""

    key: str
    server: Line
    bytes: Line
    folder: Path
    bucket: str | None = None

    @property
    def options(self) -> dict[str, Any]:
        return {"server": self.server.address, "headers": {"Authorization": f"Bearer {self.key}"}}

    async def json(self, path: str, status: int = 200) -> Any:
        headers = self.options["headers"]
        async with aiohttp.ClientSession(self.server.address, headers=headers) as session, session.get(path) as answer:
            assert answer.status == status, await answer.text()
            return await answer.json(content_type=None)

    async def content(self, file: dict[str, Any]) -> str:
        """The sha256 of its bytes, as anybody may fetch them."""
        async with aiohttp.ClientSession() as stranger, stranger.get(file["url"]) as answer:
            assert answer.status == 200
            return hashlib.sha256(await answer.read()).hexdigest()

    def kept(self) -> set[str]:
        """Everything in the storage, unfinished bytes too."""
        if self.bucket is None:
            return {str(path) for path in self.folder.rglob("*") if path.is_file()}
        return kept_in(self.bucket)


def kept_in(bucket: str) -> set[str]:
    address = urlsplit(bucket)
    options, at = dict(parse_qsl(address.query)), {"Bucket": address.netloc, "Prefix": address.path.lstrip("/")}
    client = boto3.client(
        "s3", endpoint_url=options["endpoint"], region_name=options["region"],
        aws_access_key_id=options["access_key"], aws_secret_access_key=options["secret_key"],
    )  # fmt: skip
    with closing(client):
        keys = {found["Key"] for found in client.list_objects_v2(**at).get("Contents", [])}
        begun = client.list_multipart_uploads(Bucket=address.netloc).get("Uploads", [])
        return keys | {f"begun {one['Key']}" for one in begun if one["Key"].startswith(at["Prefix"])}


def place_of(name: str, stack: Stack, lines: Lines) -> Place:
    for line in (lines.server, lines.s3):
        line.rate, line.every, line.cuts, line.carried = None, None, 0, 0
    if name == "here":
        return Place("here-key", lines.server, lines.server, stack.data / "files")
    return Place("cloud-key", lines.server, lines.s3, stack.data, lines.cloud)


@pytest.fixture
def here(up: tuple[Stack, Lines]) -> Place:
    return place_of("here", *up)


@pytest.fixture(params=["here", "cloud"])
def place(request: pytest.FixtureRequest, up: tuple[Stack, Lines]) -> Place:
    return place_of(request.param, *up)


@pytest.fixture
async def pages(chromium: Browser) -> AsyncIterator[Any]:
    """Opens pages that are closed behind the test."""
    async with AsyncExitStack() as stack:
        yield lambda name: stack.enter_async_context(open_page(chromium, name))


def noise(path: Path, length: int) -> tuple[Path, str]:
    body = random.Random(length).randbytes(length)
    path.write_bytes(body)
    return path, hashlib.sha256(body).hexdigest()


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


async def until_nothing_but(place: Place, before: set[str]) -> None:
    """Return when the storage holds what it held: a cut connection is noticed in its own time."""
    async with asyncio.timeout(20):
        while await asyncio.to_thread(place.kept) != before:
            await asyncio.sleep(0.05)


# Forms and bodies


async def test_a_form_brings_a_picture_with_its_fields_and_a_flow_runs_on_it(here: Place, pages: Any) -> None:
    page: Page = await pages("whole")
    await page.set_input_files("input", PHOTO)
    endpoint = f"{here.server.address}/v1/files?flow=profile-picture"
    options = {"endpoint": endpoint, "headers": here.options["headers"], "meta": {"album": "Mai", "empty": ""}}
    done = await page.evaluate("formUpload", options)
    (file,) = done["files"]
    assert (done["failed"], done["percentages"], done["urls"]) == ([], [100], [file["url"]])
    assert done["progress"][-1] == file["size"] == PHOTO.stat().st_size
    assert (file["name"], file["sha256"], await here.content(file)) == (PHOTO.name, sha256(PHOTO), sha256(PHOTO))
    assert file["metadata"]["album"] == "Mai" and "empty" not in file["metadata"]
    run = await here.json(f"/v1/runs/{file['follow']}?wait=60")
    assert run["status"] == "completed", run
    async with aiohttp.ClientSession() as stranger, stranger.get(run["outputs"][0]["url"]) as answer:
        with Image.open(io.BytesIO(await answer.read())) as shown:
            assert (shown.format, shown.size) == ("WEBP", (512, 512))


async def test_a_bundle_is_one_form_of_many_files(here: Place, pages: Any, tmp_path: Path) -> None:
    page: Page = await pages("whole")
    sent = [noise(tmp_path / f"{number}.bin", 100_000 + number) for number in range(3)]
    await page.set_input_files("input", [path for path, _ in sent])
    endpoint = f"{here.server.address}/v1/files"
    options = {"endpoint": endpoint, "headers": here.options["headers"], "bundle": True, "meta": {"album": "Mai"}}
    done = await page.evaluate("formUpload", options)
    assert done["failed"] == [] and done["percentages"] == [100] * 3
    files = done["files"][0]["items"]
    assert [(file["name"], file["sha256"]) for file in files] == [(path.name, told) for path, told in sent]
    assert [file["metadata"]["album"] for file in files] == ["Mai"] * 3


async def test_a_body_that_is_the_file(here: Place, pages: Any, tmp_path: Path) -> None:
    page: Page = await pages("whole")
    path, told = noise(tmp_path / "bare.bin", 3 * MIB)
    await page.set_input_files("input", path)
    endpoint = f"{here.server.address}/v1/files?name={path.name}"
    options = {"endpoint": endpoint, "headers": here.options["headers"], "formData": False}
    done = await page.evaluate("formUpload", options)
    (file,) = done["files"]
    assert (file["name"], file["sha256"], done["progress"][-1]) == (path.name, told, 3 * MIB)


async def test_a_page_can_read_why_its_form_is_refused(here: Place, pages: Any) -> None:
    page: Page = await pages("whole")
    await page.set_input_files("input", PHOTO)
    endpoint = f"{here.server.address}/v1/files"
    done = await page.evaluate("formUpload", {"endpoint": endpoint, "headers": {"Authorization": "Bearer wrong"}})
    ((status, _),) = done["failed"]
    assert (done["files"], status) == ([], 401)


async def test_a_cancelled_form_leaves_nothing(here: Place, pages: Any, tmp_path: Path) -> None:
    page: Page = await pages("whole")
    before = here.kept()
    await page.set_input_files("input", noise(tmp_path / "long.bin", 8 * MIB)[0])
    here.server.rate = 4e6
    options = {"endpoint": f"{here.server.address}/v1/files", "headers": here.options["headers"]}
    await page.evaluate("options => { formUpload(options) }", options)
    async with asyncio.timeout(20):
        while here.kept() == before:
            await asyncio.sleep(0.02)
    await page.evaluate("uppy.cancelAll()")
    await until_nothing_but(here, before)


async def test_one_presigned_put(place: Place, pages: Any, tmp_path: Path) -> None:
    page: Page = await pages("whole")
    path, told = noise(tmp_path / "put.bin", 6 * MIB + 1)
    await page.set_input_files("input", path)
    done = await page.evaluate("putUpload", place.options)
    (file,) = done["files"]
    assert (done["failed"], done["percentages"], done["progress"][-1]) == ([], [100], 6 * MIB + 1)
    assert (file["name"], file["sha256"], await place.content(file)) == (path.name, told, told)
    assert place.bytes.carried > 6 * MIB
    assert place.server is place.bytes or place.server.carried < 100_000


# Parts


async def test_parts_over_a_line_that_breaks_become_the_file(place: Place, pages: Any, tmp_path: Path) -> None:
    page: Page = await pages("parts")
    size = 3 * PART + 777
    path, told = noise(tmp_path / "film.bin", size)
    await page.set_input_files("input", path)
    place.bytes.every, place.bytes.cuts = 3 * MIB, 2
    done = await page.evaluate("partsUpload", place.options)
    assert place.bytes.cuts == 0 and place.bytes.carried > size + 5 * MIB
    (file,) = done["files"]
    assert (done["failed"], done["parts"], done["percentages"]) == ([], [1, 2, 3, 4], [100])
    assert (done["progress"], file["size"], file["name"]) == (size, size, path.name)
    assert (file["sha256"], await place.content(file)) == (told, told)
    assert place.server is place.bytes or place.server.carried < 100_000
    assert (await place.json(f"/v1/files/{file['id']}"))["sha256"] == told


async def test_a_page_loaded_anew_sends_only_the_parts_that_are_not_there(
    place: Place, pages: Any, tmp_path: Path
) -> None:
    page: Page = await pages("parts")
    path, told = noise(tmp_path / "film.bin", 3 * PART + 5)
    await page.set_input_files("input", path)
    place.bytes.rate = 2e7
    await page.evaluate("options => { partsUpload(options).catch(() => {}) }", place.options | {"limit": 1})
    await page.wait_for_function("parts.length === 2")
    previous = await page.evaluate("begun")
    await page.reload()
    place.bytes.rate = None
    await page.set_input_files("input", path)
    done = await page.evaluate("partsUpload", place.options | {"previous": previous})
    (file,) = done["files"]
    assert (done["failed"], done["percentages"]) == ([], [100])
    assert done["parts"] in ([3, 4], [4])  # the third may have been on its way whole
    assert (file["id"], file["sha256"], await place.content(file)) == (previous["uploadId"], told, told)


async def test_an_abort_leaves_nothing(place: Place, pages: Any, tmp_path: Path) -> None:
    page: Page = await pages("parts")
    before = await asyncio.to_thread(place.kept)
    await page.set_input_files("input", noise(tmp_path / "film.bin", 2 * PART + 5)[0])
    place.bytes.rate = 6e6
    await page.evaluate("options => { partsUpload(options).catch(() => {}) }", place.options)
    await page.wait_for_function("parts.length > 0")
    id = (await page.evaluate("begun"))["uploadId"]
    assert await asyncio.to_thread(place.kept) > before
    await page.evaluate("uppy.cancelAll()")
    await page.wait_for_function(f"window.aborted === '{id}'")
    place.bytes.rate = None
    assert (await place.json(f"/v1/uploads/{id}", 404))["code"] == "UPLOAD_NOT_FOUND"
    await until_nothing_but(place, before)


async def test_a_page_is_told_why_it_may_not_begin(here: Place, pages: Any) -> None:
    page: Page = await pages("parts")
    await page.set_input_files("input", PHOTO)
    done = await page.evaluate("partsUpload", here.options | {"begin": {"part_size": 9}})
    assert (done["files"], done["failed"]) == ([], ["PART_SIZE_INVALID"])
