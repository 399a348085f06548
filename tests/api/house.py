"""What the tests of the ingress share: a served application and its client, pictures, forms to break."""

from __future__ import annotations

import asyncio
import io
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
from PIL import Image
from redis.asyncio import Redis

from pipeline.core import Core

CONFIG = """
key_prefix: "safelight:"
data_dir: "{data}"
flows_dir: "{data}/flows"
redis_url: "{redis}"
body_timeout: 2s
sandbox_children: 1
worker_slots: 2
projects:
  demo:
    secret_key: demosecret
    api_keys: [demo-key, demo-second-key]
    limits: {{max_file_size: 3MB}}
  other:
    api_keys: [other-key]
    cors_origins: ["https://other.example"]
  inside:
    api_keys: [inside-key]
    public_key: insidepublic
    allow_private_urls: true
    limits: {{max_file_size: 3MB}}
    routes: {{avatar: {{types: [image/*], max_size: 20KB}}}}
  small:
    api_keys: [small-key]
    limits: {{max_files: 5, max_storage: 10KB}}
  sealed:
    api_keys: [signed-key]
    delivery_secret: "30313233343536373839616263646566"
  draft:
    api_keys: [draft-key]
    auto_store: false
    allowed_types: ["image/*"]
"""

TINY = """
title: Tiny
accept: {types: [image/*], max_size: 2MB, max_pixels: 1MP}
params:
  quality: {type: integer, default: 80, minimum: 1, maximum: 100}
nodes:
  photo: {type: input}
  small: {type: resize, width: 40}
  out: {type: save, path: "tiny/{file.stem}.webp", format: webp, quality: "{params.quality}"}
"""

PAIR = """
nodes:
  first: {type: input}
  second: {type: input}
  out: {type: save, from: [first, second], path: "{node}/{file.name}"}
"""


@dataclass
class House:
    """A served application: where it is, what it stands on, and a client of it."""

    core: Core
    base: str
    data: Path
    config: Path
    redis: Redis
    session: aiohttp.ClientSession
    key: str = "demo-key"

    @property
    def port(self) -> int:
        return int(self.base.rsplit(":", 1)[1])

    def headers(self, key: str | None = "", extra: Mapping[str, str] | None = None) -> dict[str, str]:
        chosen = self.key if key == "" else key
        return ({"Authorization": f"Bearer {chosen}"} if chosen else {}) | dict(extra or {})

    @asynccontextmanager
    async def ask(
        self, method: str, path: str, *, key: str | None = "", headers: Mapping[str, str] | None = None, **body: Any
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        url = path if path.startswith("http") else self.base + path
        if isinstance(body.get("data"), bytes):
            body["data"] = io.BytesIO(body["data"])
        async with self.session.request(method, url, headers=self.headers(key, headers), **body) as answer:
            yield answer

    async def json(self, method: str, path: str, status: int = 200, **body: Any) -> Any:
        async with self.ask(method, path, **body) as answer:
            text = await answer.text()
            assert answer.status == status, text
            return await answer.json() if text else None

    async def problem(self, method: str, path: str, status: int, code: str, **body: Any) -> dict[str, Any]:
        """The problem document of a refused request, after a look at what every such answer must have."""
        async with self.ask(method, path, **body) as answer:
            document: dict[str, Any] = await answer.json(content_type="application/problem+json")
            assert (answer.status, document["code"]) == (status, code), document
            assert document["status"] == status
            assert document["detail"]
            assert document["instance"] == answer.headers["X-Request-Id"]
            return document

    async def send(self, body: bytes, name: str = "file.bin", **more: Any) -> Any:
        return await self.json("POST", f"/v1/files?name={name}", 201, data=body, **more)

    async def leftovers(self) -> tuple[list[str], list[str]]:
        """Files in the storage folder, and keys in Redis that tell of files, uploads or runs."""
        kept = ("file", "upload", "expiring", "run", "lock", "answer", "statuses", "group")
        prefix = self.core.settings.key_prefix
        keys = sorted(key.decode().removeprefix(prefix) for key in await self.redis.keys(f"{prefix}*"))
        files = sorted(str(path.relative_to(self.data)) for path in self.data.rglob("*") if path.is_file())
        mine = [name for name in files if not name.startswith(("flows/", "safelight.yaml"))]
        return mine, [key for key in keys if key.startswith(kept)]

    async def speak(self, *pieces: bytes, close: bool = False) -> bytes:
        """What the server says to these very bytes, until it closes or falls silent."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        try:
            for piece in pieces:
                writer.write(piece)
                await writer.drain()
            if close:
                return b""
            return await asyncio.wait_for(reader.read(), 15)
        finally:
            writer.close()


def photo(width: int = 120, height: int = 80, form: str = "JPEG", colour: str = "#cc2200") -> bytes:
    """A plain picture."""
    out = io.BytesIO()
    Image.new("RGB", (width, height), colour).save(out, form)
    return out.getvalue()


@dataclass
class Multipart:
    """A form as bytes, to be sent as it is or broken."""

    boundary: str = "frontier"
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)

    def field(self, name: str, value: bytes | str, filename: str | None = None, more: str = "") -> Multipart:
        content = value.encode() if isinstance(value, str) else value
        file = f'; filename="{filename}"' if filename is not None else ""
        head = f'--{self.boundary}\r\nContent-Disposition: form-data; name="{name}"{file}\r\n{more}\r\n'
        self.body += head.encode() + content + b"\r\n"
        return self

    def end(self) -> dict[str, Any]:
        return self.open(f"--{self.boundary}--\r\n".encode())

    def open(self, rest: bytes = b"") -> dict[str, Any]:
        """What to give the client; without the closing line unless `rest` has it."""
        return {
            "data": self.body + rest,
            "headers": {"Content-Type": f"multipart/form-data; boundary={self.boundary}", **self.headers},
        }
