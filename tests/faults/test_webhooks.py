"""Workers, web processes and Valkey are killed while webhooks are told and uploads finished: all of it, once."""

from __future__ import annotations

import asyncio
import base64
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Any

import aiohttp
import pytest
from aiohttp import web as aio
from standardwebhooks import Webhook as Verifier

from pipeline.core import Core
from pipeline.model import Grant, Intake
from pipeline.settings import Settings
from tests.api.test_serve import free_port, until_ready
from tests.faults.ground import KEY, Server, every_event, every_run, web, worker
from tests.outside import Outside, fixed, listening
from tests.workers.conftest import once, picture

pytestmark = pytest.mark.faults

SECRET = "whsec_" + base64.b64encode(b"a secret of twenty-four b").decode()
RETRIES = "1s,1s,1s,1s,1s,1s,1s,1s,1s,1s"


@pytest.fixture
def settings(settings: Settings, server: Server) -> Settings:
    return settings.model_copy(update={"redis_url": server.url})


@pytest.fixture
async def receiver() -> AsyncIterator[Outside]:
    async with listening() as receiver:
        receiver.answers["/hook"] = fixed(204)
        yield receiver


async def told(core: Core, receiver: Outside) -> None:
    """Have the receiver told of everything."""
    project = core.settings.projects["demo"].model_copy(update={"allow_private_urls": True})
    await core.webhooks.create(Grant(project=project), f"{receiver.url}/hook", (), [SECRET])


def verified(receiver: Outside) -> list[tuple[str, str, str]]:
    """Message id, type and subject of everything heard."""
    found = []
    for heard in receiver.heard:
        document = Verifier(SECRET).verify(heard.body, dict(heard.headers))
        found.append((heard.headers["webhook-id"], document["type"], document["data"]["id"]))
    return found


async def until_heard(core: Core, receiver: Outside, seconds: float = 60) -> list[tuple[str, str, str]]:
    """What was heard, once every event that webhooks are told of is among it; each under one id."""
    kinds = ("file.uploaded", "file.stored", "run.completed", "run.failed")
    wanted = Counter((one.type, one.subject) for one in await every_event(core) if one.type in kinds)
    async with asyncio.timeout(seconds):
        while Counter({(kind, subject) for _, kind, subject in verified(receiver)}) != wanted:
            await asyncio.sleep(0.1)
    found = verified(receiver)
    assert len({id for id, _, _ in found}) == len(wanted), "a message came under two ids"
    return found


async def until_delivered(core: Core, grant: Grant, number: int, seconds: float = 60) -> None:
    """Return once so many deliveries are on record, every one of them delivered."""
    async with asyncio.timeout(seconds):
        while Counter(one.status for one in (await core.webhooks.deliveries(grant, None, 500)).items) != {
            "delivered": number
        }:
            await asyncio.sleep(0.1)


async def test_workers_that_are_killed_while_they_tell_leave_nothing_untold(
    core: Core, settings: Settings, grant: Grant, receiver: Outside
) -> None:
    reached, go_on = asyncio.Event(), asyncio.Event()

    async def held_up(request: aio.Request, body: bytes) -> aio.StreamResponse:
        if len(receiver.heard) >= 20:
            reached.set()
            await go_on.wait()
        return aio.Response(status=204)

    receiver.answers["/hook"] = held_up
    await told(core, receiver)
    async with AsyncExitStack() as stack:
        first = await stack.enter_async_context(worker(settings, SAFELIGHT_WEBHOOK_RETRIES=RETRIES))
        for number in range(40):
            await core.uploads.accept(grant, Intake(name=f"{number}.txt"), once(b"dear reader"))
        await asyncio.wait_for(reached.wait(), 60)
        second = await stack.enter_async_context(worker(settings, SAFELIGHT_WEBHOOK_RETRIES=RETRIES))
        first.kill()  # with messages in its hands, and perhaps in the middle of a batch
        go_on.set()
        for number in range(10):
            await core.uploads.accept(grant, Intake(name=f"late {number}.txt"), once(b"dear reader"))
        heard = await until_heard(core, receiver)
        await until_delivered(core, grant, 100)  # what the lost worker had told is told again once its lease is over
        assert len(heard) <= len(verified(receiver)) <= 100 + 32, "only what the lost worker had begun was sent again"
        await second.stop()


async def test_a_retry_outlives_its_worker_and_the_server(
    core: Core, settings: Settings, grant: Grant, server: Server, receiver: Outside
) -> None:
    refused = asyncio.Event()

    async def away(request: aio.Request, body: bytes) -> aio.StreamResponse:
        refused.set()
        return aio.Response(status=503)

    receiver.answers["/hook"] = away
    await told(core, receiver)
    async with worker(settings, SAFELIGHT_WEBHOOK_RETRIES="2s,2s,2s,2s,2s") as first:
        await core.uploads.accept(grant, Intake(name="a.txt"), once(b"dear reader"))
        await asyncio.wait_for(refused.wait(), 60)
        async with asyncio.timeout(20):
            while [one.tries for one in (await core.webhooks.deliveries(grant)).items] != [1, 1]:
                await asyncio.sleep(0.05)
        first.kill()
    server.kill()
    await server.start()
    receiver.heard.clear()
    receiver.answers["/hook"] = fixed(204)
    async with worker(settings) as heir:
        assert len(await until_heard(core, receiver)) == 2
        await heir.stop()
    deliveries = (await core.webhooks.deliveries(grant)).items
    assert [[tried.status for tried in one.history] for one in deliveries] == [[503, 204]] * 2


async def test_web_processes_killed_while_they_finish_leave_every_file_one_run(
    core: Core, settings: Settings, grant: Grant
) -> None:
    body, ports = picture(64, 48), [free_port(), free_port()]
    async with AsyncExitStack() as stack:
        victim = await stack.enter_async_context(web(settings, ports[0]))
        await until_ready(f"http://127.0.0.1:{ports[0]}")
        session = await stack.enter_async_context(aiohttp.ClientSession(headers={"Authorization": f"Bearer {KEY}"}))
        uploads = [await begun(session, ports[0], body) for _ in range(40)]
        finishes = [asyncio.create_task(finished(session, ports[0], upload)) for upload in uploads]
        await asyncio.wait(finishes, return_when=asyncio.FIRST_COMPLETED)
        victim.kill()
        answers = await asyncio.gather(*finishes)
        assert None in answers, "nothing was cut off"
        await stack.enter_async_context(web(settings, ports[1]))
        await until_ready(f"http://127.0.0.1:{ports[1]}")
        await assert_files_have_their_runs(core, uploads)
        again = await asyncio.gather(*(patiently(session, ports[1], upload) for upload in uploads))
    assert [file["follow"] for file in again] == [upload["run"] for upload in uploads]
    runs = await every_run(core)
    assert sorted(run.id for run in runs) == sorted(upload["run"] for upload in uploads)
    queued = Counter(event.subject for event in await every_event(core) if event.type == "run.queued")
    assert set(queued.values()) == {1} and len(queued) == 40


async def begun(session: aiohttp.ClientSession, port: int, body: bytes) -> dict[str, Any]:
    base = f"http://127.0.0.1:{port}/v1/uploads"
    async with session.post(base, json={"name": "p.png", "size": len(body), "flow": "small"}) as answer:
        upload: dict[str, Any] = await answer.json()
    async with session.patch(f"{base}/{upload['id']}", data=body, headers={"Upload-Offset": "0"}) as answer:
        assert answer.status == 200
    return upload


async def finished(session: aiohttp.ClientSession, port: int, upload: dict[str, Any]) -> dict[str, Any] | None:
    """The file, None when there was no answer or not yet a file."""
    try:
        async with session.post(f"http://127.0.0.1:{port}/v1/uploads/{upload['id']}/finish") as answer:
            return await answer.json() if answer.status == 201 else None
    except aiohttp.ClientError:
        return None


async def patiently(session: aiohttp.ClientSession, port: int, upload: dict[str, Any]) -> dict[str, Any]:
    """The file, once the turn of who was killed is over."""
    async with asyncio.timeout(60):
        while (file := await finished(session, port, upload)) is None:
            await asyncio.sleep(0.5)
    return file


async def assert_files_have_their_runs(core: Core, uploads: list[dict[str, Any]]) -> None:
    files = await core.records.files.get_many([upload["id"] for upload in uploads])
    runs = {run.id for run in await every_run(core)}
    assert runs == {file.follow for file in files if file is not None} and runs
