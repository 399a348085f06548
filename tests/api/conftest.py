"""A real web application on a loopback socket over a real Valkey, local storage and the header sandbox."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web
from redis.asyncio import Redis

from pipeline.api.app import create_app
from pipeline.api.server import Runner
from pipeline.core import open_core
from pipeline.settings import load_settings
from tests.conftest import running_valkey

from .house import CONFIG, PAIR, TINY, House

LINGERING = 1.0
"""Seconds for which the rest of a refused body is still read: a tenth of what aiohttp gives it by itself."""


@pytest.fixture(scope="package")
def redis_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A Valkey of this package's own: its worker must not take what other tests queue."""
    with running_valkey(tmp_path_factory.mktemp("valkey")) as url:
        yield url


@pytest.fixture(scope="package")
async def served(redis_url: str, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[House]:
    async with serving(CONFIG, redis_url, tmp_path_factory.mktemp("house")) as house:
        yield house


@asynccontextmanager
async def answering(app: web.Application) -> AsyncIterator[int]:
    """The port at which the application answers while the block runs."""
    runner = Runner(app, shutdown_timeout=1, lingering_time=LINGERING)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        yield site.port
    finally:
        await runner.cleanup()


@asynccontextmanager
async def serving(text: str, redis_url: str, data: Path, key: str = "demo-key", **more: str) -> AsyncIterator[House]:
    """An application with the settings that the text becomes with these values, served while the block runs."""
    config = data / "safelight.yaml"
    config.write_text(text.format(data=data, redis=redis_url, **more))
    async with (
        open_core(load_settings(config, {})) as core,
        answering(create_app(core)) as port,
        Redis.from_url(redis_url) as redis,
        aiohttp.ClientSession() as session,
    ):
        yield House(core, f"http://127.0.0.1:{port}", data, config, redis, session, key)


@pytest.fixture
async def house(served: House, redis: Redis) -> House:
    """The served application, emptied, with the flows `tiny` and `pair`."""
    async with asyncio.timeout(30):
        while any((served.data / "tmp").glob("run-*")):  # what a worker still does for an earlier test
            await asyncio.sleep(0.01)
    shutil.rmtree(served.data / "files", ignore_errors=True)
    for name, text in (("tiny", TINY), ("pair", PAIR)):
        await served.json("PUT", f"/v1/flows/{name}", 201, data=text, headers={"Content-Type": "application/yaml"})
    return served


@pytest.fixture(scope="package")
async def worker(served: House) -> AsyncIterator[subprocess.Popen[bytes]]:
    """A real worker process on the same Valkey and storage."""
    environ = {**os.environ, "SAFELIGHT_CONFIG": str(served.config)}
    process = subprocess.Popen([sys.executable, "-m", "workers"], env=environ, stderr=subprocess.DEVNULL)
    yield process
    process.send_signal(signal.SIGTERM)
    process.wait(30)
