"""What lies ready is forgotten in time, and bytes are handed over to the server in front where that is set."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

from aiohttp import web

from pipeline.api.app import create_app
from pipeline.api.server import Runner
from pipeline.api.shelf import SHELF, Shelf
from pipeline.core import open_core
from tests.api.house import House, photo


@asynccontextmanager
async def beside(house: House, **said: Any) -> AsyncIterator[tuple[str, Shelf]]:
    """Another web process on the same records and storage: where it is, and what lies ready there."""
    async with open_core(house.core.settings.model_copy(update=said)) as core:
        app = create_app(core)
        runner = Runner(app, shutdown_timeout=1)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        try:
            yield f"http://127.0.0.1:{site.port}", app[SHELF]
        finally:
            await runner.cleanup()


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
            for path in (f"/{id}/", f"/v1/files/{id}/content"):
                status, headers, body = await asked(house, f"{other}{path}", Authorization="Bearer demo-key")
                assert (status, headers[name].replace("k%C3%A4se", "käse"), body) == (200, told, b""), path
                assert headers["Content-Type"] == "image/jpeg"
                tag = headers["ETag"]
                async with house.session.get(f"{other}{path}", headers={"If-None-Match": tag}) as answer:
                    assert answer.status == 304 and name not in answer.headers
