"""What lies ready is forgotten in time, and bytes are handed over to the server in front where that is set."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

from pipeline.api.app import create_app
from pipeline.api.shelf import SHELF, Shelf
from pipeline.core import open_core
from tests.api.conftest import answering
from tests.api.house import House, photo


@asynccontextmanager
async def beside(house: House, **said: Any) -> AsyncIterator[tuple[str, Shelf]]:
    """Another web process on the same records and storage: where it is, and what lies ready there."""
    async with open_core(house.core.settings.model_copy(update=said)) as core:
        app = create_app(core)
        async with answering(app) as port:
            yield f"http://127.0.0.1:{port}", app[SHELF]


async def asked(house: House, url: str, **headers: str) -> tuple[int, Mapping[str, str], bytes]:
    async with house.session.get(url, headers=headers) as answer:
        return answer.status, answer.headers, await answer.read()


async def until_standing(shelf: Shelf) -> None:
    async with asyncio.timeout(5):
        while not shelf.standing:
            await asyncio.sleep(0.01)


async def test_a_change_is_seen_by_every_process(house: House) -> None:
    body = photo()
    id = (await house.send(body, "first.jpg"))["id"]
    async with beside(house) as (other, shelf):
        await until_standing(shelf)
        for _ in range(3):
            status, headers, found = await asked(house, f"{other}/{id}/")
            assert (status, found) == (200, body) and "first.jpg" in headers["Content-Disposition"]
        assert len(shelf) == 1
        await house.json("PATCH", f"/v1/files/{id}", json={"name": "second.jpg"})
        async with asyncio.timeout(2):
            while "second.jpg" not in (await asked(house, f"{other}/{id}/"))[1]["Content-Disposition"]:
                await asyncio.sleep(0.01)
        assert len(shelf) == 1
        await house.json("PATCH", f"/v1/files/{id}", json={"private": True})
        async with asyncio.timeout(2):
            while (await asked(house, f"{other}/{id}/"))[0] != 404:
                await asyncio.sleep(0.01)
        assert len(shelf) == 0


async def test_large_answers_and_parts_ask_no_records(house: House) -> None:
    body = bytes(range(256)) * 2000
    id = (await house.send(body, "large.bin"))["id"]
    async with beside(house) as (other, shelf):
        await until_standing(shelf)
        assert (await asked(house, f"{other}/{id}/", Range="bytes=5-9"))[2] == body[5:10]
        await house.redis.delete(f"safelight:file:{id}")  # behind everybody's back
        status, headers, found = await asked(house, f"{other}/{id}/")
        assert (status, found, headers["Content-Length"]) == (200, body, str(len(body)))
        assert "Content-Range" not in headers
        status, headers, found = await asked(house, f"{other}/{id}/", Range="bytes=100-199")
        assert (status, found) == (206, body[100:200])
        (house.data / "files").rename(house.data / "away")
        try:
            assert (await asked(house, f"{other}/{id}/"))[0] == 404 and len(shelf) == 0
        finally:
            (house.data / "away").rename(house.data / "files")


async def test_nothing_lies_ready_while_changes_go_unheard(house: House) -> None:
    id = (await house.send(photo(), "first.jpg"))["id"]
    async with beside(house) as (other, shelf):
        await until_standing(shelf)
        await asked(house, f"{other}/{id}/")
        assert len(shelf) == 1
        await house.redis.client_kill_filter(_type="pubsub")
        async with asyncio.timeout(2):
            while len(shelf):
                await asyncio.sleep(0.01)
        assert (await asked(house, f"{other}/{id}/"))[0] == 200
        await until_standing(shelf)
        await asked(house, f"{other}/{id}/")
        assert len(shelf) == 1


async def test_memory_is_bounded_and_files_are_read_instead(house: House) -> None:
    ids = [(await house.send(photo(300, 200 + number), f"{number}.jpg"))["id"] for number in range(6)]
    async with beside(house, delivery_cache=3000) as (other, shelf):
        await until_standing(shelf)
        for _ in range(2):
            for number, id in enumerate(ids):
                assert (await asked(house, f"{other}/{id}/"))[2] == photo(300, 200 + number)
        assert shelf.held <= 3000 and len(shelf) == 6


async def test_the_server_in_front_sends_the_bytes(house: House) -> None:
    id = (await house.send(photo(), "käse.jpg"))["id"]
    key = (await house.core.records.files.get(id)).key
    for accel, name, told in (
        ("/internal/", "X-Accel-Redirect", f"/internal/default/{key}"),
        ("x-sendfile", "X-Sendfile", str(house.data / "files" / key)),
    ):
        async with beside(house, accel_redirect=accel) as (other, _):
            for path in (f"/{id}/", f"/{id}/", f"/v1/files/{id}/content"):
                status, headers, body = await asked(house, f"{other}{path}")
                assert (status, headers[name].replace("k%C3%A4se", "käse"), body) == (200, told, b""), path
                assert headers["Content-Type"] == "image/jpeg"
                tag = headers["ETag"]
                async with house.session.get(f"{other}{path}", headers={"If-None-Match": tag}) as answer:
                    assert answer.status == 304 and name not in answer.headers


async def test_who_has_waited_long_enough_is_told_when_to_come_back(house: House) -> None:
    id = (await house.send(photo(), "first.jpg"))["id"]
    queues = house.core.records.queues
    await queues.pause("interactive")
    try:
        async with beside(house, delivery_wait=0.2) as (other, _):
            status, headers, body = await asked(house, f"{other}/{id}/-/preview/20x20/", Origin="https://page.example")
    finally:
        await queues.resume("interactive")
    assert (status, headers["Retry-After"], headers["Cache-Control"]) == (504, "2", "no-store")
    assert (headers["Safelight-Error"], headers["Access-Control-Allow-Origin"]) == ("DERIVATIVE_PENDING", "*")
    assert body == b"This is still being made; ask again in a moment.\n"
