"""What lies ready at a path is given without a look at the records, and forgotten by every process in time."""

from __future__ import annotations

import asyncio
import io
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass

import pytest
from PIL import Image
from yarl import URL

from pipeline.api.dialects.imagekit.delivery.named import KIND
from pipeline.api.shelf import Shelf
from pipeline.model import Edit
from pipeline.signing import signature
from tests.api.dialects.imagekit.desk import Desk
from tests.api.dialects.imagekit.gallery import Gallery
from tests.api.quarters import BLUE, GREEN, RED, at, encoded, near
from tests.api.test_serving import beside, until_standing


@dataclass
class Other:
    """A second web process, and what lies ready there."""

    gallery: Gallery
    base: str
    shelf: Shelf

    async def get(self, path: str) -> tuple[int, bytes]:
        url = URL(f"{self.base}/imagekit/ik/demo{path}", encoded=True)
        async with self.gallery.house.session.get(url) as answer:
            return answer.status, await answer.read()

    async def kept(self, path: str) -> None:
        """Ask until it lies ready."""
        before = len(self.shelf)
        assert (await self.get(path))[0] == 200
        assert len(self.shelf) == before + 1, path
        assert (await self.get(path))[0] == 200

    async def until(self, path: str, fits: Callable[[int, bytes], bool]) -> None:
        async with asyncio.timeout(3):
            while not fits(*await self.get(path)):
                await asyncio.sleep(0.01)


@pytest.fixture
async def other(gallery: Gallery) -> AsyncIterator[Other]:
    async with beside(gallery.house) as (base, shelf):
        await until_standing(shelf)
        yield Other(gallery, base, shelf)


def plain(colour: tuple[int, ...]) -> bytes:
    return encoded(Image.new("RGB", (60, 40), colour))


def is_of(colour: tuple[int, ...]) -> Callable[[int, bytes], bool]:
    return lambda status, body: status == 200 and near(at(Image.open(io.BytesIO(body)), 0.1, 0.1), colour)


async def test_what_lies_ready_asks_no_records(gallery: Gallery, other: Other) -> None:
    await gallery.send(plain(RED), "ready/one.png")
    said = f"ready/one.png?v=3{(later := str(int(time.time()) + 600))}"
    paths = [
        "/ready/one.png",
        "/tr:w-30/ready/one.png",
        "/ready/one.png?tr=w-30%2Cn-thumb&v=1",
        f"/ready/one.png?v=3&ik-t={later}&ik-s={signature(b'private_test_key', said.encode(), 'sha1')}",
    ]
    for path in paths:
        await other.kept(path)
    redis, prefix = gallery.house.redis, gallery.house.core.settings.key_prefix
    await redis.rename(f"{prefix}paths:demo", f"{prefix}away")  # behind everybody's back
    try:
        for path in paths:
            assert (await other.get(path))[0] == 200
        assert (await other.get("/tr:w-31/ready/one.png"))[0] == 404
    finally:
        await redis.rename(f"{prefix}away", f"{prefix}paths:demo")


async def test_another_file_at_the_path_is_shown_at_once(gallery: Gallery, other: Other) -> None:
    core, desk = gallery.house.core, Desk(gallery.house)
    path, made = "/changing/one.png", "/tr:w-30/changing/one.png"
    first = await gallery.send(plain(RED), "changing/one.png")
    for address in (path, made):
        await other.kept(address)
    second = await gallery.send(plain(GREEN), "changing/one.png")
    for address in (path, made):
        await other.until(address, is_of(GREEN))
    await core.files.delete(gallery.grant, second)
    for address in (path, made):
        await other.until(address, is_of(RED))
    moved = await gallery.send(plain(BLUE), "changing/two.png")
    await core.files.edit(gallery.grant, moved, Edit(name="one.png"))
    for address in (path, made):
        await other.until(address, is_of(BLUE))
    version = await desk.upload(plain(GREEN), "one.png", folder="/changing")
    assert version["versionInfo"]["name"] != "Version 1", "the one that lay there was replaced"
    for address in (path, made):
        await other.until(address, is_of(GREEN))
    await core.files.head(gallery.grant, moved)
    for address in (path, made):
        await other.until(address, is_of(BLUE))
    await core.files.edit(gallery.grant, moved, Edit(published=False))
    for address in (path, made):
        await other.until(address, lambda status, _: status == 404)
    await core.files.edit(gallery.grant, moved, Edit(published=True, private=True))
    for address in (path, made):
        await other.until(address, lambda status, _: status == 401)
    for id in (first, moved):
        await core.files.delete(gallery.grant, id)


async def test_what_an_answer_is_made_with_counts_as_much(gallery: Gallery, other: Other) -> None:
    core = gallery.house.core
    await gallery.send(plain(RED), "base.png")
    await gallery.send(plain(GREEN), "marks/mark.png")
    await core.records.sheets.add("demo", KIND, "one", {"transformation": "w-20"}, name="sized")
    laid, named = "/tr:l-image,i-marks@@mark.png,t-false,lx-0,ly-0,l-end/base.png", "/tr:n-sized/base.png"
    for address in (laid, named):
        await other.kept(address)
    await gallery.send(plain(BLUE), "marks/mark.png")
    await other.until(laid, is_of(BLUE))
    await core.records.sheets.change("demo", KIND, "one", lambda body: {"transformation": "tr:w-10"})
    await other.until(named, lambda status, body: Image.open(io.BytesIO(body)).width == 10)
    await core.records.sheets.change("demo", KIND, "one", lambda body: body, lambda name: "other")
    await other.until(named, lambda status, _: status == 400)
    await other.kept("/tr:n-other/base.png")
    await core.records.sheets.change("demo", KIND, "one", lambda body: {**body, "enabled": False})
    await other.until("/tr:n-other/base.png", lambda status, _: status == 400)
    await core.records.sheets.delete("demo", KIND, "one")


async def test_what_stands_in_for_a_missing_picture_is_not_kept(gallery: Gallery, other: Other) -> None:
    path = "/tr:di-photo.png,w-30/late.png"
    before = len(other.shelf)
    assert is_of(RED)(*await other.get(path)) and len(other.shelf) == before
    await gallery.send(plain(BLUE), "late.png")
    assert is_of(BLUE)(*await other.get(path))


async def test_an_address_is_good_for_its_time_only(gallery: Gallery, other: Other) -> None:
    await gallery.send(plain(RED), "short.png")
    expires = int(time.time()) + 2
    said = f"short.png{expires}".encode()
    path = f"/short.png?ik-t={expires}&ik-s={signature(b'private_test_key', said, 'sha1')}"
    await other.kept(path)
    await other.until(path, lambda status, _: status == 401)
    assert time.time() >= expires
