"""A client of the Upload API with nothing but HTTP, and the settings of the server it speaks to."""

from __future__ import annotations

import hashlib
import hmac
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import aiohttp

from tests.api.house import House, photo

CONFIG = """
key_prefix: "uploadcare:"
data_dir: "{data}"
flows_dir: "{data}/flows"
redis_url: "{redis}"
body_timeout: 2s
projects:
  demo:
    public_key: demopublic
    secret_key: demosecret
    api_keys: [uc-demo-key]
    limits: {{max_file_size: 30MB, direct_upload: 1MB}}
  other: {{public_key: otherpublic, secret_key: othersecret}}
  signed: {{public_key: signedpublic, secret_key: signedsecret, require_signed_uploads: true}}
  slow: {{public_key: slowpublic, secret_key: slowsecret, limits: {{requests_per_minute: 1}}}}
  draft:
    public_key: draftpublic
    secret_key: draftsecret
    auto_store: false
    allowed_types: ["image/*"]
    limits: {{max_file_size: 100KB, max_files: 2}}
  large:
    public_key: largepublic
    secret_key: largesecret
    allowed_types: ["image/*"]
    limits: {{max_file_size: 100GB, direct_upload: 1MB}}
  empty: {{secret_key: emptysecret}}
"""
MIB = 2**20
UNKNOWN = "11111111-1111-4111-8111-111111111111"

Field = tuple[str, str | bytes] | tuple[str, bytes, str]


@dataclass
class Desk:
    """Sends forms and queries, and reads answers in either voice."""

    house: House

    async def send(
        self, method: str, path: str, fields: Sequence[Field] = (), query: Mapping[str, str] | None = None
    ) -> tuple[int, Any, Mapping[str, str]]:
        """Status, document or text, and headers."""
        body = form(fields) if method == "POST" else None
        url = self.house.base + path
        async with self.house.session.request(method, url, params=query or {}, data=body) as answer:
            text = await answer.text()
            is_json = answer.content_type == "application/json"
            return answer.status, json.loads(text) if is_json else text, answer.headers.copy()

    async def ok(self, method: str, path: str, fields: Sequence[Field] = (), **query: str) -> Any:
        status, document, _ = await self.send(method, path, fields, query)
        assert status == 200, document
        assert not isinstance(document, dict) or not isinstance(document.get("error"), dict), document
        return document

    async def upload(self, content: bytes | None = None, name: str = "photo.jpg", **fields: str) -> str:
        given = {"UPLOADCARE_PUB_KEY": "demopublic", "UPLOADCARE_STORE": "1", **fields}
        made = await self.ok("POST", "/base/", [("file", content or photo(), name), *given.items()])
        return str(made["file"])

    async def refusal(
        self, method: str, path: str, fields: Sequence[Field] = (), query: Mapping[str, str] | None = None
    ) -> tuple[str, int, str]:
        """Code, status and text, after a look at both voices, which must tell the same."""
        plain_status, plain, _ = await self.send(method, path, fields, query)
        status, document, headers = await self.send(method, path, fields, {**(query or {}), "jsonerrors": "1"})
        assert (status, headers["Content-Type"]) == (200, "application/json"), document
        told = document["error"]
        assert (plain_status, plain) == (told["status_code"], told["content"])
        return told["error_code"], told["status_code"], told["content"]


def form(fields: Sequence[Field]) -> aiohttp.FormData:
    data = aiohttp.FormData(quote_fields=False, default_to_multipart=True)
    for name, value, *filename in fields:
        content = io.BytesIO(value) if isinstance(value, bytes) else value
        data.add_field(name, content, filename=filename[0] if filename else None)
    return data


def signature(secret: str, expire: str) -> str:
    return hmac.new(secret.encode(), expire.encode(), hashlib.sha256).hexdigest()
