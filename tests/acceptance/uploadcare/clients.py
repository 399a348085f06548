"""The Node builds of Uploadcare's packages, and what the server under test is set to and meets outside."""

from __future__ import annotations

import asyncio
import io
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from aiohttp import web
from PIL import Image

from tests.nodes.studio import PHOTO

CONFIG = """
scanner: "unix://{scanner}"
storages: {{default: "file://{data}/files", bucket: "{bucket}"}}
projects:
  demo:
    public_key: demopublickey
    secret_key: demosecretkey
    api_keys: [uk_live_uploadcaretests]
    allow_private_urls: true
    conversions: {{document/jpg: page, video: film}}
    addons: {{remove_bg: cut-out}}
  signed: {{public_key: signedpublickey, secret_key: signedsecretkey, require_signed_uploads: true}}
  slow: {{public_key: slowpublickey, secret_key: slowsecretkey, limits: {{requests_per_minute: 3}}}}
  slower: {{public_key: slowerpublickey, secret_key: slowersecretkey, limits: {{requests_per_minute: 3}}}}
  slowest: {{public_key: slowestpublickey, secret_key: slowestsecretkey, limits: {{requests_per_minute: 3}}}}
  flowing:
    public_key: flowingpublickey
    secret_key: flowingsecretkey
    api_keys: [uk_live_flowingtests]
    on_upload: [labelled]
  bucket: {{public_key: bucketpublickey, secret_key: bucketsecretkey, storage: bucket}}
  many: {{public_key: manypublickey, secret_key: manysecretkey}}
  scanned: {{public_key: scannedpublickey, secret_key: scannedsecretkey, scan: true}}
"""
MIB = 2**20


def _cut() -> bytes:
    out = io.BytesIO()
    Image.new("RGBA", (32, 24), (200, 30, 30, 128)).save(out, "PNG")
    return out.getvalue()


CUT = _cut()


class ClientError(Exception):
    """What one of the packages rejected with."""

    def __init__(self, told: dict[str, Any]) -> None:
        super().__init__(told["message"])
        self.name, self.code, self.status = told.get("name"), told.get("code"), told.get("status")


@dataclass
class Node:
    """A process that calls the packages."""

    process: asyncio.subprocess.Process
    waiting: dict[int, asyncio.Future[Any]] = field(default_factory=dict)
    number: int = 0

    @classmethod
    @asynccontextmanager
    async def running(cls, script: Path) -> AsyncIterator[Node]:
        pipe = asyncio.subprocess.PIPE
        process = await asyncio.create_subprocess_exec("node", str(script), stdin=pipe, stdout=pipe, limit=8 * MIB)
        node = cls(process)
        reading = asyncio.create_task(node._read())
        try:
            yield node
        finally:
            process.kill()
            await process.wait()
            await reading

    async def _read(self) -> None:
        assert self.process.stdout is not None
        async for line in self.process.stdout:
            told = json.loads(line)
            self.waiting.pop(told["id"]).set_result(told)

    async def call(self, package: str, name: str, *args: Any, **more: Any) -> Any:
        """What a function of a package resolves to; raises `ClientError` for what it rejects with."""
        assert self.process.stdin is not None
        self.number += 1
        future = self.waiting[self.number] = asyncio.get_running_loop().create_future()
        asked = {"id": self.number, "from": package, "name": name, "args": args, **more}
        self.process.stdin.write(json.dumps(asked).encode() + b"\n")
        told = await asyncio.wait_for(future, 60)
        if "error" in told:
            raise ClientError(told["error"])
        return told.get("made")


@dataclass
class Outside:
    """What the server fetches from and tells."""

    address: str = ""
    heard: asyncio.Queue[tuple[dict[str, str], bytes]] = field(default_factory=asyncio.Queue)
    asked: list[str] = field(default_factory=list)

    async def give(self, request: web.Request) -> web.StreamResponse:
        name = request.match_info["name"]
        self.asked.append(name)
        if name.startswith("photo"):
            return web.Response(body=PHOTO.read_bytes(), content_type="image/jpeg")
        if name == "loop":
            raise web.HTTPFound("/loop")
        return web.Response(status=503 if name == "broken" else 404)

    async def hear(self, request: web.Request) -> web.Response:
        self.heard.put_nowait((dict(request.headers), await request.read()))
        return web.Response()

    async def cut(self, request: web.Request) -> web.Response:
        """What stands for a service that removes backgrounds."""
        await request.read()
        return web.Response(body=CUT, content_type="image/png")
