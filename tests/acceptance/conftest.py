"""One whole Safelight, started as its users start it, for every acceptance test of the session."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from playwright.async_api import Browser

from tests.acceptance.browsing import missing, running_chromium
from tests.nodes.studio import opened

SAFELIGHT = str(Path(sys.executable).with_name("safelight"))


@dataclass(frozen=True)
class Stack:
    """Where it runs, its demo project's key, and the line it asks its user to paste."""

    address: str
    key: str
    data: Path
    pids: dict[str, int]
    curl: str


@contextmanager
def running_stack(data: Path, port: int = 0, web: int = 1, **variables: str) -> Iterator[Stack]:
    """`safelight up` on a port, by itself a free one, with these SAFELIGHT_ variables, ended as Ctrl-C ends it."""
    command = [SAFELIGHT, "up", "--json", "--port", str(port), "--web", str(web), "--data", str(data)]
    environ = os.environ | {"SAFELIGHT_FLOWS_DIR": "flows", "SAFELIGHT_SANDBOX_CHILDREN": "1"} | variables
    program = subprocess.Popen(command, stdout=subprocess.PIPE, env=environ)
    assert program.stdout is not None
    try:
        told = json.loads(program.stdout.readline())
        yield Stack(told["address"], told["api_key"], data, told["pids"], told["curl"])
    finally:
        program.send_signal(signal.SIGINT)
        assert program.wait(40) == 0
        program.stdout.close()


@contextmanager
def configured_stack(data: Path, text: str, web: int = 1, **variables: str) -> Iterator[Stack]:
    """The same with a configuration file of this text."""
    config = data / "own.yaml"
    config.write_text(text)
    with running_stack(data, web=web, SAFELIGHT_CONFIG=str(config), **variables) as stack:
        yield stack


@pytest.fixture(scope="package")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    with running_stack(tmp_path_factory.mktemp("up")) as stack:
        yield stack


@asynccontextmanager
async def client_of(stack: Stack) -> AsyncIterator[Client]:
    headers = {"Authorization": f"Bearer {stack.key}"}
    async with aiohttp.ClientSession(stack.address, headers=headers) as session:
        yield Client(session)


@dataclass(frozen=True)
class Client:
    """A user of the API with nothing but HTTP."""

    session: aiohttp.ClientSession

    async def run(self, flow: str, *photos: Path, field: str = "photo", **fields: Any) -> dict[str, Any]:
        """Trigger a flow with files and wait for its end."""
        form = aiohttp.FormData()
        for name, value in fields.items():
            form.add_field(name, json.dumps(value))
        for photo in photos:
            form.add_field(field, io.BytesIO(photo.read_bytes()), filename=photo.name)
        async with self.session.post(f"/v1/flows/{flow}/runs?wait=60", data=form) as answer:
            run: dict[str, Any] = await answer.json()
            assert answer.status == 200, run
            return run

    async def fetch(self, output: dict[str, Any], folder: Path) -> Path:
        """The output's bytes, fetched by its URL without a key."""
        async with aiohttp.ClientSession() as stranger, stranger.get(output["url"]) as answer:
            assert answer.status == 200
            assert answer.content_type == output["mime"]
            path = folder / Path(output["path"]).name
            path.write_bytes(await answer.read())
            return path

    async def image(self, output: dict[str, Any], folder: Path) -> Any:
        return opened(await self.fetch(output, folder))


@pytest.fixture(scope="package")
async def chromium() -> AsyncIterator[Browser]:
    if reason := missing():
        pytest.skip(reason)
    async with running_chromium() as browser:
        yield browser


@pytest.fixture
async def client(stack: Stack) -> AsyncIterator[Client]:
    async with client_of(stack) as client:
        yield client
