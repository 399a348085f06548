"""A project that tells a receiver on loopback what happens, and one process that does the telling."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from redis.asyncio import Redis
from standardwebhooks import Webhook as Verifier

from pipeline.acts import ended
from pipeline.core import Core, open_core
from pipeline.model import Delivery, DeliveryStatus, File, Grant, Intake, Limits, Project, Route, WebhookTarget
from pipeline.settings import Settings
from tests.outside import Heard, Outside, listening
from workers.errands import errand_reader
from workers.queue import worker_pool
from workers.webhooks import Dispatcher

SECRET = "whsec_" + base64.b64encode(b"a secret of twenty-four b").decode()
FLOW = 'webhook: "{url}/flow"\nnodes:\n  doc: {{type: input}}\n  out: {{type: save, path: "out/{{file.name}}"}}\n'


@dataclass
class Receiver:
    """A server that verifies what it is told, and answers each path as a test wants it to."""

    outside: Outside
    answers: dict[str, list[int]] = field(default_factory=dict)
    """Statuses to answer with, one after the other; then, and anywhere else, 204."""
    secret: str = SECRET

    @property
    def url(self) -> str:
        return self.outside.url

    def heard(self, path: str = "/hook") -> list[Heard]:
        return [heard for heard in self.outside.heard if heard.path == path]

    def told(self, path: str = "/hook") -> list[dict[str, Any]]:
        """What was posted there, each message verified."""
        return [Verifier(self.secret).verify(heard.body, dict(heard.headers)) for heard in self.heard(path)]

    async def answer(self, request: web.Request, body: bytes) -> web.StreamResponse:
        waiting = self.answers.get(request.path)
        return web.Response(status=waiting.pop(0) if waiting else 204)


class Answers(dict[str, Any]):
    """The same answer for every path."""

    def __init__(self, receiver: Receiver) -> None:
        self._receiver = receiver

    def get(self, path: str, default: Any = None) -> Any:
        return self._receiver.answer


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    async with listening() as outside:
        receiver = Receiver(outside)
        outside.answers = Answers(receiver)
        yield receiver


def project_of(receiver: Receiver, **fields: Any) -> Project:
    known: dict[str, Any] = {
        "id": "demo",
        "api_keys": ("demo-key",),
        "allow_private_urls": True,
        "webhooks": (WebhookTarget(url=f"{receiver.url}/hook", secret=SECRET),),
        "webhook_secret": SECRET,
        "routes": {"letters": Route(webhook=f"{receiver.url}/route")},
        "limits": Limits(),
    }
    return Project.model_validate(known | fields)


@dataclass
class House:
    """A core, the project, and ways to wait for what becomes of things."""

    core: Core
    project: Project
    receiver: Receiver

    @property
    def grant(self) -> Grant:
        return Grant(project=self.project)

    async def send(self, **intake: Any) -> File:
        async def body() -> AsyncIterator[bytes]:
            yield b"dear reader"

        return await self.core.uploads.accept(self.grant, Intake(**({"name": "letter.txt"} | intake)), body())

    async def deliveries(self, status: DeliveryStatus | None = None, **which: Any) -> list[Delivery]:
        """The oldest first."""
        page = await self.core.webhooks.deliveries(self.grant, None, 500, status, **which)
        return list(reversed(page.items))

    async def until(self, true: Callable[[], Awaitable[bool]], seconds: float = 10) -> None:
        async with asyncio.timeout(seconds):
            while not await true():
                await asyncio.sleep(0.005)

    async def settled(self, number: int) -> list[Delivery]:
        """The deliveries, once there are so many and none is on its way."""

        async def over() -> bool:
            found = await self.deliveries()
            return len(found) >= number and all(one.status != "waiting" for one in found)

        await self.until(over)
        return await self.deliveries()

    @asynccontextmanager
    async def telling(self) -> AsyncIterator[None]:
        """Dispatch and deliver, as a worker does, while the block runs."""
        settings = self.core.settings
        pool = worker_pool(settings.redis_url)
        reader = errand_reader(self.core, pool, "teller")
        dispatcher = Dispatcher(self.core)
        acts = [asyncio.create_task(reader.main()), asyncio.create_task(dispatcher.work())]
        try:
            yield
        finally:
            await reader.stop(5)
            await ended(acts)
            await dispatcher.leave()
            await pool.aclose(close_connection_pool=True)


@asynccontextmanager
async def opened(
    redis_url: str, folder: Path, receiver: Receiver, fields: Mapping[str, Any], **settings: Any
) -> AsyncIterator[House]:
    project = project_of(receiver, **fields)
    known: dict[str, Any] = {"webhook_retries": (0.02, 0.02, 0.02), "webhook_timeout": 2.0}
    places = {"redis_url": redis_url, "data_dir": folder, "projects": {"demo": project}}
    async with open_core(Settings(**places, **(known | settings))) as core:
        await core.flows.put("letters", FLOW.format(url=receiver.url))
        yield House(core, project, receiver)


@pytest.fixture
async def house(redis_url: str, redis: Redis, tmp_path: Path, receiver: Receiver) -> AsyncIterator[House]:
    async with opened(redis_url, tmp_path, receiver, {}) as house:
        yield house
