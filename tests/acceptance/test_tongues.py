"""One store, five tongues: what one vendor's client sends, every other vendor's API tells of and delivers."""

from __future__ import annotations

import asyncio
import io
import sys
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import httpx
import pytest
from ittybit import Ittybit
from PIL import Image
from pyuploadcare import Uploadcare
from tusclient.client import TusClient

from tests.acceptance.browsing import CLIENTS
from tests.acceptance.conftest import Stack, configured_stack
from tests.acceptance.packages import installed, told

SECRET, KEY = "demosecretkey", "uk_live_0123456789abcdef0123456789abcdef"
CONFIG = f"""
projects:
  demo: {{public_key: demopublickey, secret_key: {SECRET}, api_keys: [{KEY}]}}
"""
SIDES = (64, 48)
IMAGEKIT = "imagekitio==5.11.0"
SCRIPT = CLIENTS / "imagekit" / "tongue.py"


@dataclass(frozen=True)
class Told:
    """What an API tells of a file, and what it delivers."""

    name: str
    mime: str
    size: int
    sides: tuple[int, int] | None
    body: bytes


class Tongue(Protocol):
    """A client that sends a file as its vendor documents it, and finds files by their names."""

    async def send(self, path: Path) -> None: ...

    async def find(self, names: Sequence[str]) -> Mapping[str, Told]: ...


@dataclass(frozen=True)
class UploadcareTongue:
    """pyuploadcare."""

    address: str

    async def send(self, path: Path) -> None:
        await asyncio.to_thread(self._send, path)

    def _send(self, path: Path) -> None:
        with self._client() as client, path.open("rb") as opened:
            client.upload(opened, store=True)

    async def find(self, names: Sequence[str]) -> Mapping[str, Told]:
        return await asyncio.to_thread(self._find, names)

    def _find(self, names: Sequence[str]) -> Mapping[str, Told]:
        with self._client() as client:
            infos = [file.info for file in client.list_files()]
        return {info["original_filename"]: _of_uploadcare(info) for info in infos if info["original_filename"] in names}

    @contextmanager
    def _client(self) -> Iterator[Uploadcare]:
        base = f"{self.address}/"
        client = Uploadcare("demopublickey", SECRET, upload_base=base, api_base=base, cdn_base=base)
        yield client
        for one in (client.rest_client, client.upload_client, client.cdn_client):
            one.close()


def _of_uploadcare(info: Mapping[str, Any]) -> Told:
    image = info["content_info"]["image"]
    sides, body = (image["width"], image["height"]), _fetched(info["original_file_url"])
    return Told(info["original_filename"], info["mime_type"], info["size"], sides, body)


@dataclass(frozen=True)
class ImagekitTongue:
    """imagekitio 5."""

    address: str

    async def send(self, path: Path) -> None:
        await self._ask([str(path)], [])

    async def find(self, names: Sequence[str]) -> Mapping[str, Told]:
        return {
            name: Told(one["name"], one["mime"], one["size"], tuple(one["sides"]), bytes.fromhex(one["body"]))
            for name, one in (await self._ask([], names)).items()
        }

    async def _ask(self, send: Sequence[str], find: Sequence[str]) -> Mapping[str, Mapping[str, Any]]:
        packages = await asyncio.to_thread(installed, IMAGEKIT)
        asked = {"address": self.address, "key": SECRET, "send": list(send), "find": list(find)}
        found: dict[str, Any] = await told(sys.executable, str(SCRIPT), asked=asked, PYTHONPATH=str(packages))
        return found


@dataclass(frozen=True)
class UploadkitTongue:
    """UploadKit's documented requests."""

    base: str

    async def send(self, path: Path) -> None:
        async with self._session() as session:
            ask = {"fileName": path.name, "fileSize": path.stat().st_size, "contentType": "image/png"}
            asked = (await session.post("/upload/request", json=ask | {"routeSlug": "default"})).json()
            put = httpx.put(asked["uploadUrl"], content=path.read_bytes(), headers={"Content-Type": "image/png"})
            assert put.status_code == 200
            done = await session.post("/upload/complete", json={"fileId": asked["fileId"]})
            assert done.status_code == 200

    async def find(self, names: Sequence[str]) -> Mapping[str, Told]:
        async with self._session() as session:
            files = (await session.get("/files?limit=100")).json()["files"]
        return {
            file["name"]: Told(file["name"], file["type"], file["size"], None, _fetched(file["url"]))
            for file in files
            if file["name"] in names
        }

    def _session(self) -> httpx.AsyncClient:
        return httpx.AsyncClient(base_url=f"{self.base}/api/v1", headers={"x-api-key": KEY})


@dataclass(frozen=True)
class IttybitTongue:
    """Ittybit's documented upload URLs, and its package for the rest."""

    base: str

    async def send(self, path: Path) -> None:
        headers = {"Authorization": f"Bearer {KEY}"}
        asked = httpx.post(f"{self.base}/uploads", headers=headers, json={"filename": path.name}).json()
        assert httpx.post(asked["data"]["url"], files={"file": (path.name, path.read_bytes())}).status_code == 200

    async def find(self, names: Sequence[str]) -> Mapping[str, Told]:
        return await asyncio.to_thread(self._find, names)

    def _find(self, names: Sequence[str]) -> Mapping[str, Told]:
        with httpx.Client() as http:
            files = Ittybit(api_key=KEY, base_url=self.base, httpx_client=http).files.list(limit=100)
        return {
            file.filename: Told(file.filename, file.type, file.filesize, (file.width, file.height), _fetched(file.url))
            for file in files
            if file.filename in names
        }


@dataclass(frozen=True)
class NativeTongue:
    """tuspy, and our own API."""

    address: str

    async def send(self, path: Path) -> None:
        await asyncio.to_thread(self._send, path)

    def _send(self, path: Path) -> None:
        client = TusClient(f"{self.address}/tus", headers={"Authorization": f"Bearer {KEY}"})
        with path.open("rb") as opened:
            client.uploader(file_stream=opened, metadata={"filename": path.name}).upload()

    async def find(self, names: Sequence[str]) -> Mapping[str, Told]:
        headers = {"Authorization": f"Bearer {KEY}"}
        async with httpx.AsyncClient(base_url=self.address, headers=headers) as session:
            files = (await session.get("/v1/files?limit=100")).json()["items"]
        return {
            file["name"]: Told(
                file["name"],
                file["mime"],
                file["size"],
                (file["image"]["width"], file["image"]["height"]),
                _fetched(file["url"]),
            )
            for file in files
            if file["name"] in names
        }


def _fetched(url: str) -> bytes:
    answer = httpx.get(url)
    assert answer.status_code == 200, (url, answer.status_code)
    return answer.content


@pytest.fixture(scope="module")
async def server(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stack]:
    running = configured_stack(tmp_path_factory.mktemp("tongues"), CONFIG)
    yield await asyncio.to_thread(running.__enter__)
    await asyncio.to_thread(running.__exit__, None, None, None)


def _picture(path: Path, colour: tuple[int, int, int]) -> Path:
    out = io.BytesIO()
    Image.new("RGB", SIDES, colour).save(out, "PNG")
    path.write_bytes(out.getvalue())
    return path


async def test_what_one_sends_every_other_reads(server: Stack, tmp_path: Path) -> None:
    tongues: Mapping[str, Tongue] = {
        "uploadcare": UploadcareTongue(server.address),
        "imagekit": ImagekitTongue(server.address),
        "uploadkit": UploadkitTongue(f"{server.address}/uploadkit"),
        "ittybit": IttybitTongue(f"{server.address}/ittybit"),
        "native": NativeTongue(server.address),
    }
    names = [f"from{name}.png" for name in tongues]
    sent = {name: _picture(tmp_path / name, (40 * i, 200, 9)) for i, name in enumerate(names)}
    for tongue, path in zip(tongues.values(), sent.values(), strict=True):
        await tongue.send(path)
    for name, tongue in tongues.items():
        found = await tongue.find(list(sent))
        assert found.keys() == sent.keys(), name
        for file, path in sent.items():
            told, body = found[file], path.read_bytes()
            assert (told.name, told.mime, told.size, told.body) == (file, "image/png", len(body), body), (name, file)
            assert told.sides in (SIDES, None), (name, file)
