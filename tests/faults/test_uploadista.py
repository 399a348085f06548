"""Hundreds send files through flows at once, over two web processes, and some of the house is killed meanwhile."""

from __future__ import annotations

import asyncio
from pathlib import Path

import aiohttp
import pytest
from aiohttp import WSMsgType

from pipeline.core import Core
from pipeline.model import Event, Grant
from pipeline.settings import Settings
from tests.acceptance.uploadista.client import ENDS, Client
from tests.acceptance.uploadista.conftest import housed
from tests.acceptance.uploadista.pictures import given, noise, sent_and_seen
from tests.api.test_serve import free_port, until_ready
from tests.faults.ground import KEY, Server, web

pytestmark = pytest.mark.faults

MANY = 200
SOME = 60


@pytest.fixture
def settings(settings: Settings, server: Server) -> Settings:
    return settings.model_copy(update={"redis_url": server.url})


async def test_two_hundred_at_once_each_get_their_own(tmp_path: Path) -> None:
    async with asyncio.timeout(110), housed(tmp_path) as house:
        client = await house.client()
        done = await asyncio.gather(*(sent_and_seen(house, client, number) for number in range(MANY)))
        assert len({one.job for one in done}) == len({one.upload for one in done}) == MANY


async def test_a_worker_that_is_killed_among_many_costs_none_of_them(tmp_path: Path) -> None:
    async with asyncio.timeout(110), housed(tmp_path) as house:
        client = await house.client()
        sending = asyncio.gather(*(sent_and_seen(house, client, number) for number in range(SOME)))
        job = (await client.begun("slow", {}))["id"]
        async with client.socket("flow", job) as told:
            await given(client, job)
            await told.until("node-start", node="heavy")
            (await house.at_work(job)).kill()
            assert (await told.until(*ENDS))["eventType"] == "flow-end"
            await told.asked()
        assert told.names.count("flow-end") == 1
        assert len({one.job for one in await sending}) == SOME


async def test_who_was_cut_off_with_a_web_process_hears_the_rest_from_the_other(tmp_path: Path) -> None:
    async with asyncio.timeout(110), housed(tmp_path) as house:
        client = await house.client()
        here, there = (Client(client.session, f"http://127.0.0.1:{port}", client.token) for port in house.ports)
        job = (await client.begun("slow", {}))["id"]
        async with here.socket("flow", job) as cut, there.socket("flow", job) as told:
            await given(there, job, noise(1800, 1200))
            for line in (cut, told):
                await line.until("node-start", node="heavy")
            house.webs[0].kill()
            while (await cut.line.receive(timeout=10)).type is WSMsgType.TEXT:
                pass
            assert (await there.status(job))["status"] == "running"
            async with there.socket("flow", job) as back:
                for line in (told, back):
                    assert (await line.until(*ENDS))["eventType"] == "flow-end"
                    await line.asked()
        names = [event["eventType"] for event in back.events]
        assert names == [event["eventType"] for event in told.events] and names.count("flow-end") == 1


async def test_a_socket_outlives_records_that_are_away(
    core: Core, settings: Settings, grant: Grant, server: Server
) -> None:
    port = free_port()
    base = f"http://127.0.0.1:{port}"
    run = await core.runs.start(grant, "small", {}, awaits=("photo",))

    async def tell(type: str) -> None:
        facts = {"node": "small", "type": "resize", "ms": 1}
        await core.events.append(Event(type=type, project="demo", subject=run.id, facts=facts))

    async with web(settings, port), aiohttp.ClientSession() as session, asyncio.timeout(60):
        await until_ready(base)
        async with Client(session, base, KEY).socket("flow", run.id) as told:
            await told.until("flow-start")
            for type, name in (("node.started", "node-start"), ("node.completed", "node-end")):
                server.kill()
                await asyncio.sleep(1.5)  # longer than a command is tried
                await server.start()
                await tell(type)
                await told.until(name)
            await core.runs.cancel(grant, run.id)
            await told.until(*ENDS)
            await told.asked()
        assert told.names == ["flow-start", "node-start", "node-end", "flow-cancel"]
