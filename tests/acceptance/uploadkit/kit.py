"""What the server under test is set to, and the documented ways to call it as processes of their own."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

SECRET = "whsec_dXBsb2Fka2l0IHdlYmhvb2sgc2VjcmV0IG9mIHRoZSB0ZXN0cw"
CONFIG = """
storages: {{default: "file://{data}/files", bucket: "{bucket}"}}
projects:
  demo:
    public_key: demopublickey
    secret_key: demosecretkey
    api_keys: [uk_live_0123456789abcdef0123456789abcdef]
    allow_private_urls: true
    webhook_secret: {secret}
    routes:
      imageUploader: {{max_size: 4MiB, types: [image/*], flow: avatar, webhook: "{hook}"}}
  bucket: {{api_keys: [uk_live_bucket], storage: bucket}}
"""
FLOW = """
nodes:
  photo: {type: input}
  square: {type: resize, width: 64, height: 64, fit: cover}
  out: {type: save, path: "avatars/{metadata.userId}.webp", format: webp}
"""
KEY = "uk_live_0123456789abcdef0123456789abcdef"
EXAMPLES = Path(__file__).with_name("examples")


@dataclass(frozen=True)
class Kit:
    """Where a client's base is, and its key."""

    base: str
    key: str = KEY

    async def curl(self, *arguments: str) -> tuple[int, Any]:
        """The status and the document, or text, that curl is answered with."""
        end = "%{stderr}%{http_code}"
        told, status = await process("curl", "--silent", "--show-error", "--write-out", end, *arguments)
        return int(status), json.loads(told) if told.startswith("{") else told

    async def ask(self, method: str, path: str, document: Any = None, key: str | None = None) -> tuple[int, Any]:
        """One request of the API, as the reference page's curl examples have it."""
        body = () if document is None else ("-H", "Content-Type: application/json", "-d", json.dumps(document))
        url = f"{self.base}/api/v1{path}"
        return await self.curl("-X", method, url, "-H", f"x-api-key: {key or self.key}", *body)

    async def put(self, url: str, path: Path, media_type: str) -> int:
        headers = ("-H", f"Content-Type: {media_type}")
        return (await self.curl("-X", "PUT", url, *headers, "--data-binary", f"@{path}"))[0]

    async def upload(
        self, path: Path, media_type: str, route: str = "default", late: Any = None, **more: Any
    ) -> Mapping[str, Any]:
        """A whole upload, with the metadata `late` told at its end; the file as it is told then."""
        asked = await self.put_up(path, media_type, route, **more)
        done = {"fileId": asked["fileId"]} | ({"metadata": late} if late else {})
        status, file = await self.ask("POST", "/upload/complete", done)
        assert status == 200, file
        return dict(file)

    async def put_up(self, path: Path, media_type: str, route: str = "default", **more: Any) -> Mapping[str, Any]:
        """An upload whose bytes are there and which is not complete, as its beginning was answered."""
        ask = {"fileName": path.name, "fileSize": path.stat().st_size, "contentType": media_type, "routeSlug": route}
        status, asked = await self.ask("POST", "/upload/request", ask | more)
        assert status == 200, asked
        assert await self.put(asked["uploadUrl"], path, media_type) == 200
        return dict(asked)

    async def example(self, name: str, path: Path, key: str | None = None) -> Any:
        """What one of the example programs printed: every answer it got."""
        program = ("node",) if name.endswith(".mjs") else (sys.executable, "-W", "error")
        told, _ = await process(*program, str(EXAMPLES / name), self.base, key or self.key, str(path))
        return json.loads(told)


async def process(*command: str) -> tuple[str, str]:
    """What a program that ends well wrote to its two ends."""
    pipe = asyncio.subprocess.PIPE
    running = await asyncio.create_subprocess_exec(*command, stdout=pipe, stderr=pipe)
    out, err = await asyncio.wait_for(running.communicate(), 60)
    assert running.returncode == 0, err.decode()
    return out.decode(), err.decode()
