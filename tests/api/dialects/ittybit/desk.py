"""A client of the API with nothing but HTTP, and the settings of the server it speaks to."""

from __future__ import annotations

import asyncio
import io
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import aiohttp

from pipeline.model import Grant
from tests.api.house import House, Multipart, photo

CONFIG = """
key_prefix: "ittybit:"
data_dir: "{data}"
flows_dir: "{data}/flows"
redis_url: "{redis}"
body_timeout: 2s
sandbox_children: 1
worker_slots: 4
projects:
  demo:
    api_keys: [it-demo-key]
    secret_key: it-demo-secret
    allow_private_urls: true
    webhook_secret: whsec_MDEyMzQ1Njc4OWFiY2RlZg==
    workflows: {{wf_12345678: two-sizes, wf_gone: not-there}}
    kinds: {{nsfw: judged, description: judged}}
  other:
    api_keys: [it-other-key]
    workflows: {{wf_other: two-sizes}}
  small:
    api_keys: [it-small-key]
    limits: {{direct_upload: 20KB, max_file_size: 50KB}}
  slow: {{api_keys: [it-slow-key], limits: {{requests_per_minute: 1}}}}
  sealed: {{api_keys: [it-sealed-key], delivery_secret: "30313233343536373839616263646566"}}
"""

TWO_SIZES = """
nodes:
  photo: {type: input}
  thumb: {type: resize, width: 40}
  wide: {type: resize, from: photo, width: 80}
  out: {type: save, from: [thumb, wide], path: "{node}.webp", format: webp}
"""

JUDGED = """
params:
  detail: {type: string, default: low}
nodes:
  photo: {type: input}
  verdict: {type: info}
"""

BARE = {"Accept-Version": "2025-08-20"}
OLDER = {"Accept-Version": "2025-07-01"}
NEWER = {"Accept-Version": "2025-12-01"}
MIB = 2**20


@dataclass
class Told:
    """An answer: its status, its document, and its headers."""

    status: int
    document: Any
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass
class Desk:
    """Asks as a server with a key does."""

    house: House
    key: str = "it-demo-key"

    async def ask(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        key: str | None = "",
        headers: Mapping[str, str] | None = None,
        data: Any = None,
    ) -> Told:
        given = self.key if key == "" else key
        sent = ({"Authorization": f"Bearer {given}"} if given else {}) | dict(headers or BARE)
        url = path if path.startswith("http") else f"{self.house.base}/ittybit{path}"
        if body is not None:
            data, sent = json.dumps(body).encode(), {"Content-Type": "application/json"} | sent
        if isinstance(data, bytes):
            data = io.BytesIO(data)
        async with self.house.session.request(method, url, data=data, headers=sent) as answer:
            text = await answer.read()
            document = json.loads(text) if answer.content_type == "application/json" and text else text
            return Told(answer.status, document, answer.headers.copy())

    async def ok(self, method: str, path: str, body: Any = None, status: int = 200, **more: Any) -> Any:
        told = await self.ask(method, path, body, **more)
        assert told.status == status, told
        return told.document

    async def refused(self, method: str, path: str, status: int, body: Any = None, **more: Any) -> str:
        """The message of a refusal, after a look at its shape."""
        told = await self.ask(method, path, body, **more)
        assert told.status == status, told
        if "meta" in told.document:
            assert told.document["data"] is None
            assert told.document["meta"]["status"] == status
            return str(told.document["error"]["message"])
        assert set(told.document) == {"kind", "message"}
        return str(told.document["message"])

    def grant(self, project: str = "demo") -> Grant:
        return Grant(project=self.house.core.settings.projects[project])

    # Uploads

    async def url(self, **props: Any) -> str:
        """A fresh upload address."""
        told = await self.ok("POST", "/uploads", props or None)
        assert told["error"] is None
        return str(told["data"]["url"])

    async def send(self, url: str, content: bytes | None = None, name: str = "photo.jpg") -> Told:
        """Post a file in a form, as a page without a key."""
        form = aiohttp.FormData(default_to_multipart=True)
        form.add_field("file", io.BytesIO(content or photo()), filename=name)
        return await self.ask("POST", url, data=form, key=None, headers={"Accept": "*/*"})

    async def upload(self, content: bytes | None = None, name: str = "photo.jpg", **props: Any) -> Any:
        """The media that an upload begins."""
        told = await self.send(await self.url(**props), content, name)
        assert told.status == 200, told
        return told.document["data"]

    async def file(self, content: bytes | None = None, name: str = "photo.jpg", **props: Any) -> Any:
        """The file that an upload becomes."""
        media = await self.upload(content, name, **props)
        return await self.ok("GET", f"/files/{media['files'][0]['id']}")

    # Tasks

    async def finished(self, task: Mapping[str, Any], **more: Any) -> Any:
        """A task once it has ended."""
        id = str(task["id"])
        plain = id.partition("_")[2].partition("-")[0]
        uuid = f"{plain[:8]}-{plain[8:12]}-{plain[12:16]}-{plain[16:20]}-{plain[20:]}"
        await self.house.core.runs.wait(self.grant("other" if "other" in self.key else "demo"), uuid, 40)
        return await self.ok("GET", f"/tasks/{id}", **more)

    async def run(self, status: str = "completed", **task: Any) -> Any:
        """A task, created and done."""
        made = await self.ok("POST", "/tasks", task, 201)
        ended = await self.finished(made)
        assert ended["status"] == status, ended
        return ended

    async def settled(self) -> None:
        """Return when no run is waiting or running."""
        records = self.house.core.records
        async with asyncio.timeout(40):
            for status in ("queued", "waiting", "running"):
                while await records.runs.total("demo", status):  # type: ignore[arg-type]
                    await asyncio.sleep(0.02)


def boundaryless(content: bytes, name: str = "photo.jpg", boundary: str = "----WebKitFormBoundary7Ma4") -> Multipart:
    """A form whose boundary nobody told."""
    form = Multipart(boundary).field("file", content, name, "Content-Type: image/jpeg\r\n")
    form.body += f"--{boundary}--\r\n".encode()
    return form
