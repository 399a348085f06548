"""One server with real workers for Uploadcare's own clients, and a place outside that it fetches from and tells."""

from __future__ import annotations

import asyncio
import hashlib
import random
import shutil
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from aiohttp import web

from pipeline.cli.up import WIDGET
from tests.acceptance.browsing import CACHE, missing, program
from tests.acceptance.conftest import Stack, configured_stack
from tests.acceptance.uploadcare.clients import CONFIG, MIB, Node, Outside
from tests.nodes.clamd import Daemon, speaking

UNTRIED = missing()


@pytest.fixture(scope="package")
async def scanner(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Daemon]:
    async with speaking(tmp_path_factory.mktemp("clamd")) as daemon:
        yield daemon


@pytest.fixture(scope="package")
def server(tmp_path_factory: pytest.TempPathFactory, scanner: Daemon, s3_url: str) -> Iterator[Stack]:
    data = tmp_path_factory.mktemp("uploadcare")
    flows, widget = shutil.copytree(Path(__file__).with_name("flows"), data / "flows"), CACHE / "uploadcare" / WIDGET
    config = CONFIG.format(scanner=scanner.socket, data=data, bucket=s3_url)
    with configured_stack(data, config, SAFELIGHT_FLOWS_DIR=str(flows), SAFELIGHT_DEMO_WIDGET=str(widget)) as stack:
        yield stack


@pytest.fixture(scope="package")
async def node() -> AsyncIterator[Node]:
    """The Node builds, each call answered in turn."""
    if UNTRIED:
        pytest.skip(UNTRIED)
    async with Node.running(await asyncio.to_thread(program, "uploadcare")) as node:
        yield node


@pytest.fixture(scope="package")
async def outside() -> AsyncIterator[Outside]:
    """A server that has files to fetch and hears webhooks."""
    outside = Outside()
    app = web.Application(client_max_size=2**26)
    app.router.add_get("/{name:.+}", outside.give)
    app.router.add_post("/hook", outside.hear)
    app.router.add_post("/cut", outside.cut)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    outside.address = f"http://127.0.0.1:{site.port}"
    yield outside
    await runner.cleanup()


@pytest.fixture(scope="package")
def large(tmp_path_factory: pytest.TempPathFactory) -> dict[int, tuple[Path, str]]:
    """Files of 12 and 40 MiB and their digests."""
    made = {}
    for size in (12, 40):
        path = tmp_path_factory.mktemp("large") / f"film-{size}.bin"
        path.write_bytes(random.Random(size).randbytes(size * MIB + 123))
        made[size] = (path, hashlib.sha256(path.read_bytes()).hexdigest())
    return made
