"""Dialects at the root of a host name."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from .conftest import serving
from .house import CONFIG, House, photo

HOSTS = """
hosts: {{up.example.com: tus, "files.example.com": uploadcare, deep.example.com: imagekit/ik}}
"""


@pytest.fixture(scope="module")
async def bound(redis_url: str, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[House]:
    async with serving(CONFIG + HOSTS, redis_url, tmp_path_factory.mktemp("hosts")) as house:
        yield house


async def status(house: House, method: str, path: str, host: str, **headers: str) -> int:
    async with house.ask(method, path, headers={"Host": host, **headers}) as answer:
        return answer.status


async def test_a_dialect_answers_at_the_root_of_its_host(bound: House) -> None:
    body = photo()
    headers = {"Tus-Resumable": "1.0.0", "Upload-Length": str(len(body)), "Host": "UP.example.com:8080"}
    async with bound.ask("POST", "/", headers=headers) as answer:
        assert answer.status == 201
        place = answer.headers["Location"].removeprefix(bound.base)
    sent = {"Tus-Resumable": "1.0.0", "Upload-Offset": "0", "Content-Type": "application/offset+octet-stream"}
    async with bound.ask("PATCH", place, headers=sent, data=body) as answer:
        assert (answer.status, answer.headers["Upload-Offset"]) == (204, str(len(body)))
    told = {"Tus-Resumable": "1.0.0"}
    for path, host in ((place, "up.example.com"), (place.removeprefix("/tus"), "up.example.com"), (place, "elsewhere")):
        assert await status(bound, "HEAD", path, host, **told) == 200


async def test_other_hosts_are_as_they_were(bound: House) -> None:
    assert await status(bound, "GET", "/v1/files", "files.example.com") == 200
    assert await status(bound, "GET", "/v1/files", "elsewhere.example.com") == 200
    assert await status(bound, "GET", "/v1/files", "up.example.com") == 404
    assert await status(bound, "GET", "/tus-not", "up.example.com") == 405, "below the dialect, where nothing is got"
