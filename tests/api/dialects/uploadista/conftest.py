"""A served application with a real worker, whose projects differ in what the API refuses."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from uuid import uuid4

import pytest
from redis.asyncio import Redis

from tests.api.conftest import serving
from tests.api.dialects.uploadista.desk import CONFIG, Desk
from tests.api.house import PAIR, TINY
from tests.outside import Outside, listening

FLOWS = Path(__file__).parents[4] / "flows"


@pytest.fixture(scope="package")
async def application() -> AsyncIterator[Outside]:
    """The application that knows its users."""
    async with listening() as outside:
        yield outside


@pytest.fixture(scope="package")
async def opened(
    redis_url: str, s3_url: str, application: Outside, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Desk]:
    data = tmp_path_factory.mktemp("uploadista")
    s3 = s3_url.replace("/tests?", f"/tests/{uuid4()}?")
    more = {"flows": str(FLOWS), "check": f"{application.url}/session", "s3": s3}
    async with serving(CONFIG, redis_url, data, "ud-demo-key", **more) as house:
        yield Desk(house)


@pytest.fixture
async def ud(opened: Desk, redis: Redis) -> Desk:
    """The API of a server whose records are empty but for two flows."""
    for name, text in (("tiny", TINY), ("pair", PAIR)):
        await opened.house.core.flows.put(name, text)
    return opened


@pytest.fixture(scope="package")
async def busy(opened: Desk) -> AsyncIterator[subprocess.Popen[bytes]]:
    """A real worker process on the same records and storage."""
    environ = {**os.environ, "SAFELIGHT_CONFIG": str(opened.house.config)}
    worker = subprocess.Popen([sys.executable, "-m", "workers"], env=environ, stderr=subprocess.DEVNULL)
    try:
        yield worker
    finally:
        worker.send_signal(signal.SIGTERM)
        worker.wait(30)
