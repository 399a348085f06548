"""What nobody's client sends: every answer is a refusal of the vendor's kind, and none tells of the inside."""

from __future__ import annotations

import json
import random
from collections.abc import Mapping

import pytest
from yarl import URL

from .desk import UNKNOWN, Desk
from .test_rest import SIMPLE

ODD = [
    "%00", "%ff%fe", "..%2f..%2fetc", "%2F%2F", "9" * 400, "-1", "1e9", "[]", "{}", "null", "🐈" * 50, "%F0%9F",
    "'\"--", "a%0d%0aX-Evil:1", "x" * 3000,
]  # fmt: skip
NAMES = (
    "pub_key", "file_id", "group_id", "token", "source_url", "store", "uuid", "size", "part_size", "expire",
    "signature", "files[]", "files[99999999999]", "metadata[x]", "metadata[[]", "tags", "jsonerrors",
    "check_URL_duplicates",
)  # fmt: skip
PATHS = (
    "/base/", "/info/", "/multipart/start/", "/multipart/complete/", "/from_url/", "/from_url/status/", "/group/",
    "/group/info/",
)  # fmt: skip
REST = (
    "/files/{}/", "/files/{}/storage/", "/files/{}/metadata/", f"/files/{UNKNOWN}/metadata/{{}}/", "/files/{}/tags/",
    "/groups/{}/", "/webhooks/{}/", "/convert/{}/", "/convert/document/status/{}/", "/addons/{}/execute/",
)  # fmt: skip


async def told(
    uc: Desk, method: str, url: str, headers: Mapping[str, str], body: bytes | None = None
) -> tuple[int, str]:
    address = URL(uc.house.base + url, encoded=True)
    async with uc.house.session.request(method, address, data=body, headers=headers) as answer:
        return answer.status, (await answer.read()).decode()


def sound(status: int, text: str) -> bool:
    return status < 500 and not any(word in text for word in ("Traceback", "pipeline", ".py", "redis"))


@pytest.mark.parametrize("path", PATHS)
async def test_odd_parameters(uc: Desk, path: str) -> None:
    draw = random.Random(path)
    for _ in range(60):
        chosen = draw.sample(NAMES, 4)
        query = "&".join(f"{name}={draw.choice(ODD)}" for name in chosen)
        key = draw.choice(["pub_key=demopublic&UPLOADCARE_PUB_KEY=demopublic&", ""])
        for method in ("GET", "POST"):
            assert sound(*await told(uc, method, f"{path}?{key}{query}", {})), query
        form = {"Content-Type": "application/x-www-form-urlencoded"}
        status, text = await told(uc, "POST", f"{path}?jsonerrors=1", form, f"{key}{query}".encode())
        assert status == 200 and sound(status, text)
        assert path == "/from_url/status/" or "error_code" in json.loads(text)["error"]


@pytest.mark.parametrize("path", REST)
async def test_odd_addresses_of_the_rest_api(uc: Desk, path: str) -> None:
    for odd in (*ODD, "x", UNKNOWN):
        for method in ("GET", "POST", "PUT", "PATCH", "DELETE"):
            status, text = await told(uc, method, path.format(odd), SIMPLE)
            assert sound(status, text), (method, odd, text)


@pytest.mark.parametrize("body", [b"{", b"[1]", b"\xff", b'{"paths": [{}]}', b'"text"', b"[" * 5000, b'{"target": 1}'])
async def test_odd_bodies_of_the_rest_api(uc: Desk, body: bytes) -> None:
    headers = SIMPLE | {"Content-Type": "application/json"}
    for method, path in (
        ("PUT", "/files/storage/"), ("POST", "/files/local_copy/"), ("POST", "/files/remote_copy/"),
        ("POST", "/webhooks/"), ("POST", "/convert/document/"),
        ("POST", "/files/search/"), ("POST", "/addons/remove_bg/execute/"),
        ("PUT", f"/files/{UNKNOWN}/tags/"), ("PUT", f"/files/{UNKNOWN}/metadata/k/"),
    ):  # fmt: skip
        status, text = await told(uc, method, path, headers, body)
        assert 400 <= status < 500 or (status == 200 and "problems" in text), (path, text)
        assert sound(status, text)
