"""A client of ImageKit's APIs with nothing but HTTP, and the settings of the server it speaks to."""

from __future__ import annotations

import hashlib
import hmac
import io
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

import aiohttp

from tests.api.house import House, photo

CONFIG = """
key_prefix: "imagekit:"
data_dir: "{data}"
flows_dir: "{data}/flows"
redis_url: "{redis}"
body_timeout: 2s
sandbox_children: 1
worker_slots: 2
webhook_retries: []
projects:
  demo:
    public_key: public_test_key
    secret_key: private_test_key
    api_keys: [ik-demo-key]
    allow_private_urls: true
    extensions: {{google-auto-tagging: tagging, aws-auto-tagging: cut-out, ai-tasks: nowhere}}
    limits: {{max_file_size: 4MB, direct_upload: 2MB}}
    transformations: {{thumb: "tr:w-200,h-100"}}
  other: {{public_key: public_other_key, secret_key: private_other_key, cors_origins: ["https://other.example"]}}
  slow: {{public_key: public_slow_key, secret_key: private_slow_key, limits: {{requests_per_minute: 1}}}}
  pictures:
    public_key: public_pictures_key
    secret_key: private_pictures_key
    allowed_types: ["image/*"]
    limits: {{max_file_size: 100KB, max_files: 2}}
"""
HELP = "What this server speaks of ImageKit, and what not, is told in its docs/dialects/imagekit.md."
UPLOAD = "/imagekit/api/v1/files/upload"
UPLOAD_V2 = "/imagekit/api/v2/files/upload"

Field = tuple[str, str | bytes] | tuple[str, bytes, str]


@dataclass
class Answer:
    """What came back: its document is None where there is no body."""

    status: int
    document: Any
    headers: Mapping[str, str]
    body: bytes


@dataclass
class Desk:
    """Sends forms and documents with a private key, by itself that of `demo`, or with none."""

    house: House

    @property
    def base(self) -> str:
        return f"{self.house.base}/imagekit"

    async def send(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        key: str | None = "private_test_key",
        headers: Mapping[str, str] | None = None,
        query: Mapping[str, str] | None = None,
    ) -> Answer:
        """`path` from `/imagekit` on, or whole from `http`; a body that is no form is sent as JSON."""
        url = path if path.startswith("http") else self.house.base + path
        auth = {"Authorization": aiohttp.encode_basic_auth(key, "do_not_set")} if key else {}
        body = io.BytesIO(body) if isinstance(body, bytes) else body
        told: dict[str, Any] = {"data": body} if isinstance(body, aiohttp.FormData | io.IOBase) else {}
        if body is not None and not told:
            told = {"json": body}
        async with self.house.session.request(
            method, url, params=query or {}, headers={**auth, **(headers or {})}, allow_redirects=False, **told
        ) as answer:
            content = await answer.read()
            is_json = answer.content_type == "application/json" and content
            return Answer(answer.status, json.loads(content) if is_json else None, answer.headers.copy(), content)

    async def ok(self, method: str, path: str, body: Any = None, status: int = 200, **more: Any) -> Any:
        answer = await self.send(method, path, body, **more)
        assert answer.status == status, (answer.status, answer.body[:1000])
        return answer.document

    async def refusal(self, method: str, path: str, body: Any = None, **more: Any) -> tuple[int, str]:
        """Status and message, after a look at what every refusal has."""
        answer = await self.send(method, path, body, **more)
        assert answer.status >= 400, answer.document
        assert answer.document["help"] == HELP
        assert answer.headers["x-ik-requestId"]
        return answer.status, answer.document["message"]

    async def upload(self, content: bytes | None = None, name: str = "photo.jpg", **fields: str) -> dict[str, Any]:
        """A file of this very name, unless the fields say otherwise."""
        given = {"fileName": name, "useUniqueFileName": "false", **fields}
        made: dict[str, Any] = await self.ok(
            "POST", UPLOAD, form([("file", photo() if content is None else content, name), *given.items()])
        )
        return made

    async def fetch(self, path: str, **more: Any) -> Answer:
        """What is delivered at a path behind `/imagekit/ik/demo`, without a key."""
        url = path if path.startswith("http") else f"/imagekit/ik/demo{path}"
        return await self.send("GET", url, key=None, **more)


def form(fields: Sequence[Field]) -> aiohttp.FormData:
    data = aiohttp.FormData(quote_fields=False, default_to_multipart=True)
    for name, value, *filename in fields:
        content = io.BytesIO(value) if isinstance(value, bytes) else value
        data.add_field(name, content, filename=filename[0] if filename else None)
    return data


def signature(token: str, expire: str, key: str = "private_test_key") -> str:
    return hmac.new(key.encode(), f"{token}{expire}".encode(), hashlib.sha1).hexdigest()


def signed(**changed: str) -> dict[str, str]:
    """The fields by which a page sends a file, with a token of their own; those given take their place."""
    token = changed.get("token", str(uuid4()))
    expire = changed.get("expire", str(int(time.time()) + 600))
    told = {"publicKey": "public_test_key", "token": token, "expire": expire, "signature": signature(token, expire)}
    return told | changed
