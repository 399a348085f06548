"""What a worker makes for those who wait: once, in storage, told to all; and why not."""

from __future__ import annotations

import asyncio
import hashlib
import io
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import cv2
import pytest
from PIL import Image, ImageChops
from redis.asyncio import Redis

from pipeline.api.dialects.uploadcare.delivery import making as uploadcare
from pipeline.api.dialects.uploadcare.delivery import operations, told
from pipeline.api.dialects.uploadcare.delivery.urls import target_of
from pipeline.core import Core, open_core
from pipeline.delivery import AHEAD, DERIVE, Order, Recipe
from pipeline.errors import DerivativePending, FileNotFound, FlowInvalid, ImageUnreadable
from pipeline.jobs import job_pool
from pipeline.model import Event, File, Grant, Intake, now
from pipeline.records.sweeps import Swept
from pipeline.settings import Settings
from tests.workers.conftest import once, picture
from workers.derivatives import Derivatives
from workers.queue import Queues, Work, worker_pool

CASCADE = Path(cv2.data.haarcascades) / "haarcascade_frontalface_alt2.xml"
PORTRAIT = Path("docs/demo/portrait.jpg")


def small(file: File, width: int = 32, **more: Any) -> Recipe:
    nodes = {"small": {"type": "resize", "from": "source", "width": width}, "out": {"type": "save", "from": "small"}}
    return Recipe(file, nodes, **more)


class Counting(Derivatives):
    """One that tells how often it began."""

    begun = 0

    async def derive(self, context: Mapping[str, Any], told: Mapping[str, Any]) -> None:
        self.begun += 1
        await super().derive(context, told)


@asynccontextmanager
async def making(core: Core) -> AsyncIterator[Counting]:
    """A worker of derivatives in this process, with a real sandbox."""
    async with open_core(core.settings, sandbox_children=1) as own:
        assert own.sandbox is not None
        await own.sandbox.start()
        made = Counting(own, own.sandbox, asyncio.Semaphore(1))
        pool = worker_pool(core.settings.redis_url)
        works = {DERIVE: Work(made.derive, made.give_up), AHEAD: Work(made.derive_ahead, made.give_up_ahead)}
        reader = Queues(pool, core.settings.key_prefix, ("interactive", "default"), 2, works, job_timeout=60)
        reading = asyncio.create_task(reader.main())
        try:
            yield made
        finally:
            await reader.stop(5)
            await reading
            await pool.aclose(close_connection_pool=True)


async def test_it_is_made_once_and_found_from_then_on(core: Core, photo: File, redis: Redis) -> None:
    async with making(core) as worker, open_core(core.settings) as other:
        found = await asyncio.gather(*(one.delivering.derivative(small(photo)) for one in (core, other) * 5))
        assert worker.begun == 1 and len({one.sha256 for one in found}) == 1
        assert (found[0].mime, found[0].image and found[0].image.width) == ("image/png", 32)
        assert await core.delivering.derivative(small(photo)) == found[0]
        wider = await core.delivering.derivative(small(photo, 33))
        assert worker.begun == 2 and wider.key != found[0].key
        assert {one.key for one in await core.records.derivatives.of(photo.id)} == {wider.key, found[0].key}
        hashed = Recipe(photo, {"seen": {"type": "hash", "from": "source"}})
        known = await core.delivering.derivative(hashed)
        assert known.mime == "" and known.facts["seen"]["sha256"] == photo.sha256
        folder = core.settings.data_dir / "tmp"
        async with asyncio.timeout(5):
            while any(folder.iterdir()):
                await asyncio.sleep(0.01)


async def test_another_version_of_a_file_beside_makes_another_key(core: Core, grant: Grant, photo: File) -> None:
    other = await core.uploads.accept(grant, Intake(name="other.png"), once(picture(20, 20)))
    one = small(photo, beside={"mark": photo})
    assert one.key != small(photo, beside={"mark": other}).key != small(photo).key
    assert small(photo).key != small(photo, orient=False).key


async def test_a_bad_picture_fails_all_who_wait_and_is_remembered(core: Core, grant: Grant, redis: Redis) -> None:
    bad = await core.uploads.accept(grant, Intake(name="bad.txt"), once(b"no picture at all"))
    async with making(core) as worker:
        asked = [core.delivering.derivative(small(bad)) for _ in range(4)]
        for fault in await asyncio.gather(*asked, return_exceptions=True):
            assert isinstance(fault, ImageUnreadable) and "not an image" in fault.message
        with pytest.raises(ImageUnreadable):
            await core.delivering.derivative(small(bad))
        assert worker.begun == 1
    assert 50_000 < await redis.pttl(f"safelight:undrawn:{small(bad).key}") <= 60_000


async def test_who_has_waited_long_enough_is_told_to_come_back(core: Core, photo: File) -> None:
    hasty = core.settings.model_copy(update={"delivery_wait": 0.05})
    async with open_core(hasty) as impatient:
        with pytest.raises(DerivativePending) as caught:
            await impatient.delivering.derivative(small(photo))
        assert caught.value.retry_after == 2
        async with making(core) as worker:  # the job went on waiting
            found = await core.delivering.derivative(small(photo))
            assert await impatient.delivering.derivative(small(photo)) == found
            assert worker.begun == 1


async def test_nothing_is_ordered_for_what_cannot_be_made(core: Core, grant: Grant, photo: File) -> None:
    with pytest.raises(FlowInvalid):
        await core.delivering.derivative(Recipe(photo, {"small": {"type": "resize", "from": "source"}}))
    await core.files.delete(grant, photo.id)
    with pytest.raises(FileNotFound):
        await core.delivering.derivative(small(photo))
    pool = job_pool(core.redis.connection_pool)
    assert await pool.zcard(f"{core.settings.key_prefix}queue:interactive") == 0


async def test_what_is_made_before_it_is_asked_for_is_told(core: Core, grant: Grant, photo: File) -> None:
    bad = await core.uploads.accept(grant, Intake(name="bad.txt"), once(b"no picture at all"))
    async with making(core) as worker:
        for number, file in enumerate((photo, bad, photo)):
            await core.delivering.ahead(small(file), {"number": number, "for": "a test"})
        told: list[Event] = []
        async with asyncio.timeout(20):
            while len(told) < 3:
                events = await core.events.read(grant.project.id, None, None, 100)
                told = [event for event in events if event.type.startswith("derivative.")]
                await asyncio.sleep(0.02)
        assert worker.begun == 0
        await core.delivering.derivative(small(photo))
        assert worker.begun == 0  # for it was there
        await worker.give_up_ahead(Order.of(small(photo, 40)).model_dump(mode="json"), {"number": 9}, [])
    made = {event.facts["number"]: event for event in told}
    assert [made[number].type for number in range(3)] == ["derivative.made", "derivative.failed", "derivative.made"]
    assert (made[0].subject, made[0].facts["mime"], made[0].facts["for"]) == (photo.id, "image/png", "a test")
    assert (made[1].subject, made[1].facts["code"]) == (bad.id, "IMAGE_UNREADABLE")
    last = (await core.events.read(grant.project.id, None, None, 100))[-1]
    assert (last.type, last.facts["code"], last.facts["number"]) == ("derivative.failed", "DERIVATIVE_POISONED", 9)


async def test_what_nobody_asks_for_goes(core: Core, photo: File, redis: Redis) -> None:
    async with making(core):
        kept, left = [await core.delivering.derivative(small(photo, width)) for width in (30, 31)]
    at = now() + timedelta(days=20)
    core.delivering.used(photo.id, kept.key)
    await core.delivering.tell_used()
    await core.records.derivatives.use(at, [(photo.id, kept.key)])
    await redis.zadd("safelight:used:derivatives", {f"{photo.id} {left.key}": 1})
    assert await core.sweeps.sweep("derivatives", dry=True) == Swept(gone=1)
    assert await core.sweeps.sweep("derivatives") == Swept(gone=1)
    assert await core.records.derivatives.of(photo.id) == [kept]
    assert await core.delivering.is_whole(kept) and not await core.delivering.is_whole(left)
    await core.files.drop_derivatives(photo.id)
    assert not await redis.exists("safelight:used:derivatives")


async def test_it_lies_in_the_bucket_of_its_file(settings: Settings, redis: Redis, grant: Grant, s3_url: str) -> None:
    url = s3_url.replace("/tests?", f"/{uuid4()}?")
    async with open_core(settings.model_copy(update={"storages": {"default": url}})) as core:
        photo = await core.uploads.accept(grant, Intake(name="photo.png"), once(picture()))
        async with making(core):
            found = await core.delivering.derivative(small(photo))
        body = b"".join([piece async for piece in core.storages["default"].open(found.key)])
        assert hashlib.sha256(body).hexdigest() == found.sha256 and await core.delivering.is_whole(found)
        await core.files.delete(grant, photo.id)
        assert not await core.delivering.is_whole(found)


async def test_faces_are_found_kept_and_hidden(settings: Settings, redis: Redis, grant: Grant) -> None:
    async with open_core(settings.model_copy(update={"face_model": CASCADE})) as core, making(core):
        portrait = await core.uploads.accept(grant, Intake(name="portrait.jpg"), once(PORTRAIT.read_bytes()))
        assert portrait.image is not None

        async def image(path: str) -> Image.Image:
            draft = operations.read(target_of(path, operations.WANTING).steps)
            found = await core.delivering.derivative(uploadcare.picture(draft, portrait, {}, "").recipe)
            body = b"".join([piece async for piece in core.storages["default"].open(found.key)])
            return Image.open(io.BytesIO(body)).convert("RGB")

        facts = (await core.delivering.derivative(uploadcare.fact(portrait, "faces"))).facts["fact"]
        ((left, top, width, height), *_) = told.with_faces(portrait, facts)["faces"]
        assert 0 < left < left + width < portrait.image.width and 0 < top < top + height < portrait.image.height
        for path in (f"/-/crop/face/{2 * width}x{2 * height}/-/preview/", "/-/scale_crop/300x300/smart_faces/"):
            cut = await image(path)
            assert len(await faces_in(core, grant, cut)) == 1, path
        plain, hidden = await image("/-/preview/"), await image("/-/blur_region/faces/500/-/preview/")
        box = ImageChops.difference(plain, hidden).point(lambda v: 255 * (v > 30)).getbbox()
        scale = plain.width / portrait.image.width
        assert box is not None and box[0] < (left + width / 2) * scale < box[2]
        assert await faces_in(core, grant, hidden) == []


async def faces_in(core: Core, grant: Grant, image: Image.Image) -> list[Any]:
    out = io.BytesIO()
    image.save(out, "PNG")
    file = await core.uploads.accept(grant, Intake(name="cut.png"), once(out.getvalue()))
    facts = (await core.delivering.derivative(uploadcare.fact(file, "faces"))).facts["fact"]
    return list(facts["faces"])
