"""A client of the API with nothing but HTTP, written from the protocol, and the settings of the server it speaks to."""

from __future__ import annotations

import asyncio
import io
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import jwt

from pipeline.model import Grant
from tests.api.house import House, photo

CONFIG = """
key_prefix: "uploadista:"
data_dir: "{data}"
flows_dir: "{flows}"
redis_url: "{redis}"
body_timeout: 2s
sandbox_children: 1
worker_slots: 4
storages:
  default: "file://{data}/files"
  archive: "file://{data}/archive"
  shared: "file://{data}/shared"
  cloud: "{s3}"
projects:
  demo:
    api_keys: [ud-demo-key]
    secret_key: ud-demo-secret-that-is-longer-than-32-bytes
    allow_private_urls: true
    limits: {{max_file_size: 12MB}}
    routes: {{old: {{storage: archive}}}}
    token_check: "{check}"
  other: {{api_keys: [ud-other-key], token_check: open, cors_origins: ["https://other.example"]}}
  small: {{api_keys: [ud-small-key], limits: {{max_files: 1}}}}
  pictures: {{api_keys: [ud-pictures-key], allowed_types: ["image/*"]}}
  cloud: {{api_keys: [ud-cloud-key], storage: cloud}}
  slow: {{api_keys: [ud-slow-key], limits: {{requests_per_minute: 1}}}}
"""
KEY, SECRET = "ud-demo-key", "ud-demo-secret-that-is-longer-than-32-bytes"
BYTES = "application/octet-stream"


@dataclass
class Told:
    """An answer."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    document: Any


@dataclass
class Desk:
    """Asks the API below `/uploadista/api`, and whatever else is named whole."""

    house: House

    async def ask(
        self, method: str, path: str, body: Any = None, *, key: str | None = KEY, **headers: str | None
    ) -> Told:
        """Any request; `body` is JSON unless it is bytes, and headers are spelled `Content_Type`."""
        given = {name.replace("_", "-"): value for name, value in headers.items() if value is not None}
        if key is not None:
            given["Authorization"] = f"Bearer {key}"
        sent: dict[str, Any] = {"json": body} if body is not None else {}
        if isinstance(body, bytes):
            sent = {"data": io.BytesIO(body)}
            given.setdefault("Content-Type", BYTES)
        base = self.house.base + ("" if path.startswith(("/uploadista", "/api", "/v1")) else "/uploadista/api")
        url = path if path.startswith("http") else base + path
        async with self.house.session.request(method, url, headers=given, **sent) as answer:
            raw = await answer.read()
            document = await answer.json() if answer.content_type == "application/json" and raw else None
            return Told(answer.status, answer.headers.copy(), raw, document)

    async def ok(self, method: str, path: str, body: Any = None, **more: Any) -> Any:
        told = await self.ask(method, path, body, **more)
        assert told.status == 200, (told.status, told.document)
        return told.document

    async def refused(self, method: str, path: str, body: Any = None, **more: Any) -> tuple[int, str]:
        """Status and code of a refusal, after a look at its shape."""
        told = await self.ask(method, path, body, **more)
        document = told.document
        assert told.status >= 400, document
        assert document["error"] == document["message"] and document["error"] and document["timestamp"], document
        return told.status, document["code"]

    async def token(self, key: str = KEY, client: str = "demo") -> str:
        told = await self.ok("GET", f"/uploadista/auth/jwt?apiKey={key}&clientId={client}", key=None)
        token: str = told["token"]
        return token

    async def begin(self, size: int | None = None, **more: Any) -> Any:
        sized = {} if size is None else {"size": size}
        return await self.ok(
            "POST", "/upload", {"storageId": "default", "type": "text/plain", "fileName": "a.txt"} | sized | more
        )

    async def chunk(self, id: str, body: bytes, **more: Any) -> Any:
        return await self.ok("PATCH", f"/upload/{id}", body, **more)

    async def fetched(self, url: str) -> bytes:
        told = await self.ask("GET", url, key=None)
        assert told.status == 200, told
        return told.body

    # Flows

    async def run(self, flow: str, inputs: Any, **more: Any) -> Any:
        return await self.ok("POST", f"/flow/{flow}/default", {"inputs": inputs}, **more)

    async def job(self, id: str) -> Any:
        return await self.ok("GET", f"/jobs/{id}/status")

    async def resume(self, id: str, node: str, told: Any) -> Any:
        return await self.ok("PATCH", f"/jobs/{id}/resume/{node}", {"newData": told})

    async def fill(self, job: str, node: str, content: bytes) -> None:
        """What the client does for an input that waits: looks at its task, sends its bytes, says that it did."""
        (told,) = [one for one in (await self.job(job))["tasks"] if one["nodeId"] == node]
        assert told["status"] == "paused", told
        record, step = told["result"], max(1, len(content) // 2)
        while (offset := record["offset"]) < len(content):
            record = await self.chunk(record["id"], content[offset : offset + step])
        await self.resume(job, node, {"operation": "finalize", "uploadId": record["id"]})

    async def ended(self, id: str) -> Any:
        """A job once it has ended."""
        run = await self.house.core.runs.wait(self.grant(), id, 60)
        assert run.finished_at, run
        return await self.job(id)

    def grant(self, project: str = "demo") -> Grant:
        return Grant(project=self.house.core.settings.projects[project])


def init(content: bytes, name: str = "cat.jpg", media_type: str = "image/jpeg", **more: Any) -> dict[str, Any]:
    """What a client says of a file before it sends it."""
    told = {"originalName": name, "mimeType": media_type, "size": len(content), **more}
    return {"operation": "init", "storageId": "default", "metadata": told}


def made(claims: Mapping[str, Any], secret: str = SECRET) -> str:
    """A token of these claims."""
    return jwt.encode(dict(claims), secret, "HS256")


async def at_once(*acts: Any) -> list[Any]:
    return list(await asyncio.gather(*acts))


__all__ = ["BYTES", "CONFIG", "KEY", "SECRET", "Desk", "Told", "at_once", "init", "made", "photo"]
