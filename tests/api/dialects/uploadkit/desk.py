"""A client of the API with nothing but HTTP, in the words of both documents, and the settings of its server."""

from __future__ import annotations

import io
import json
from collections.abc import AsyncIterable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote
from xml.etree import ElementTree

from yarl import URL

from tests.api.house import House, photo

CONFIG = """
key_prefix: "uploadkit:"
data_dir: "{data}"
flows_dir: "{data}/flows"
redis_url: "{redis}"
body_timeout: 2s
storages: {{default: "file://{data}/files", cloud: "{s3}"}}
projects:
  demo:
    public_key: demopublic
    secret_key: demosecret
    api_keys: [uk_live_0123456789abcdef0123456789abcdef, uk_test_0123456789abcdef0123456789abcdef]
    allow_private_urls: true
    webhook_secret: whsec_dXBsb2Fka2l0IHdlYmhvb2sgc2VjcmV0IG9mIHRoZSB0ZXN0cw
    limits: {{max_file_size: 60MiB}}
    routes:
      imageUploader: {{max_size: 4MiB, types: [image/*], webhook: "{hook}"}}
      anything: {{}}
  other: {{api_keys: [uk_live_other], cors_origins: ["https://other.example"]}}
  cloud: {{api_keys: [uk_live_cloud], storage: cloud}}
  slow: {{api_keys: [uk_live_slow], limits: {{requests_per_minute: 2}}}}
  full: {{api_keys: [uk_live_full], limits: {{max_storage: 2KB}}}}
  strict: {{public_key: strictpublic, secret_key: strictsecret, require_signed_uploads: true}}
  sealed: {{api_keys: [uk_live_sealed], delivery_secret: "30313233343536373839616263646566"}}
  draft: {{public_key: draftpublic, api_keys: [uk_live_draft], auto_store: false}}
"""
LIVE = "uk_live_0123456789abcdef0123456789abcdef"
MIB = 2**20

Headers = Mapping[str, str]


def page(key: str = LIVE) -> Headers:
    """As the reference page says."""
    return {"x-api-key": key}


def sdk(key: str = LIVE) -> Headers:
    """As the shipped SDK does."""
    return {"Authorization": f"Bearer {key}"}


@dataclass
class Answer:
    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass
class Desk:
    """Asks the API below `/uploadkit`."""

    house: House

    async def send(self, method: str, url: str, headers: Headers, data: Any = None) -> Answer:
        """Any request; `url` is absolute, or goes on behind the host, percent-encoded as it is to be sent."""
        whole = URL(url if url.startswith("http") else self.house.base + url, encoded=True)
        body = io.BytesIO(data) if isinstance(data, bytes) else data
        given = {"skip_auto_headers": ["Content-Type"], "headers": headers}
        async with self.house.session.request(method, whole, data=body, **given) as answer:
            return Answer(answer.status, answer.headers.copy(), await answer.read())

    async def ask(self, method: str, path: str, document: Any = None, headers: Headers | None = None) -> Answer:
        """A request of the API, by the SDK's key unless `headers` say otherwise."""
        data = None if document is None else document if isinstance(document, bytes) else json.dumps(document).encode()
        return await self.send(method, f"/uploadkit/api/v1{path}", sdk() if headers is None else headers, data)

    async def ok(self, method: str, path: str, document: Any = None, headers: Headers | None = None) -> Any:
        answer = await self.ask(method, path, document, headers)
        assert answer.status in (200, 201), answer.body
        return answer.json

    async def refusals(self, method: str, path: str, document: Any = None, key: str = LIVE) -> tuple[Any, Any]:
        """(status, code, text) as the reference page's clients and the SDK's are told, after a look at both shapes."""
        flat = await self.ask(method, path, document, page(key))
        nested = await self.ask(method, path, document, sdk(key))
        assert flat.json.keys() == {"error", "code"} and isinstance(flat.json["error"], str), flat.body
        error = nested.json["error"]
        assert nested.json.keys() == {"error"} and {"type", "code", "message"} <= error.keys(), nested.body
        assert error.keys() <= {"type", "code", "message", "suggestion", "details"}
        return (
            (flat.status, flat.json["code"], flat.json["error"]),
            (nested.status, error["code"], error["message"]),
        )

    async def put(self, url: str, body: bytes | AsyncIterable[bytes], media_type: str | None = "image/jpeg") -> Answer:
        headers = {} if media_type is None else {"Content-Type": media_type}
        return await self.send("PUT", url, headers, body)

    async def upload(
        self,
        content: bytes | None = None,
        name: str = "profile.jpg",
        media_type: str = "image/jpeg",
        route: str = "anything",
        headers: Headers | None = None,
        **more: Any,
    ) -> Any:
        """A whole upload in its three steps; the file as it is told at the end."""
        content = photo() if content is None else content
        asked = await self.ok("POST", "/upload/request", wish(content, name, media_type, route, **more), headers)
        answer = await self.put(asked["uploadUrl"], content, media_type)
        assert answer.status == 200, answer.body
        return await self.ok("POST", "/upload/complete", {"fileId": asked["fileId"]}, headers)


def wish(
    content: bytes, name: str = "profile.jpg", media_type: str = "image/jpeg", route: str = "anything", **more: Any
) -> dict[str, Any]:
    """The body of a request for an address."""
    return {"fileName": name, "fileSize": len(content), "contentType": media_type, "routeSlug": route, **more}


def key_path(key: str) -> str:
    """The address of a file in the API, its key one segment."""
    return f"/files/{quote(key, safe='')}"


def xml(answer: Answer) -> tuple[int, str, str]:
    """Status, code and text of an answer as S3 gives them."""
    assert answer.headers["Content-Type"].startswith("application/xml"), answer.headers
    document = ElementTree.fromstring(answer.body)
    assert document.tag == "Error" and document.findtext("RequestId")
    return answer.status, document.findtext("Code") or "", document.findtext("Message") or ""


__all__ = ["CONFIG", "LIVE", "MIB", "Answer", "Desk", "key_path", "page", "photo", "sdk", "wish", "xml"]
