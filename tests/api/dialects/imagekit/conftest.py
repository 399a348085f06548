"""A served application and a real worker behind it, for all tests of this dialect."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator

import pytest
from aiohttp import web
from redis.asyncio import Redis

from tests.api.conftest import answering, serving
from tests.api.dialects.imagekit.desk import CONFIG, Desk
from tests.api.dialects.imagekit.gallery import Gallery, filled
from tests.api.dialects.imagekit.outside import Outside


@pytest.fixture(scope="package")
async def opened(redis_url: str, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Desk]:
    async with serving(CONFIG, redis_url, tmp_path_factory.mktemp("imagekit")) as house:
        yield Desk(house)


@pytest.fixture
async def ik(opened: Desk, redis: Redis) -> Desk:
    """ImageKit's APIs on a server whose records are empty."""
    return opened


@pytest.fixture(scope="package")
async def working(opened: Desk) -> AsyncIterator[subprocess.Popen[bytes]]:
    """A real worker process on the same records and storage."""
    environ = {**os.environ, "SAFELIGHT_CONFIG": str(opened.house.config)}
    process = subprocess.Popen([sys.executable, "-m", "workers"], env=environ, stderr=subprocess.DEVNULL)
    yield process
    process.send_signal(signal.SIGTERM)
    process.wait(30)


@pytest.fixture(scope="package")
async def hearing() -> AsyncIterator[Outside]:
    outside, app = Outside(), web.Application()
    app.router.add_post("/hook", outside.hear)
    app.router.add_post("/find", outside.find)
    async with answering(app) as port:
        outside.address = f"http://127.0.0.1:{port}"
        yield outside


@pytest.fixture
async def outside(hearing: Outside) -> Outside:
    hearing.heard = asyncio.Queue()
    return hearing


@pytest.fixture(scope="module")
async def gallery(opened: Desk, working: subprocess.Popen[bytes]) -> Gallery:
    """Pictures to be delivered; for tests that do not empty the records."""
    return await filled(opened.house)
