"""Two web processes behind a balancer and two workers, as several hosts that share a disk have them."""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import tempfile
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests.acceptance.conftest import SAFELIGHT
from tests.acceptance.uploadista.client import Client, client_of
from tests.acceptance.uploadista.robin import round_robin
from tests.conftest import running_valkey

KEY = "upl_sk_0123456789abcdef0123456789abcdef"
CONFIG = """
redis_url: "{redis}"
storages: {{default: "file://{folder}/files"}}
data_dir: "{folder}/data"
flows_dir: "{flows}"
public_url: "{address}"
sandbox_children: 1
worker_slots: 2
projects:
  acme:
    secret_key: the-secret-of-acme-for-tests-0123456789
    api_keys: [{key}]
    limits: {{requests_per_minute: 1000000}}
  rival: {{secret_key: the-secret-of-rival-for-tests-012345678, api_keys: [upl_sk_rival]}}
"""
FLOWS = {
    "tint": """
nodes:
  photo: {type: input}
  small: {type: resize, width: 16}
  out: {type: save, path: "{file.stem}.png", format: png}
""",
    "slow": """
nodes:
  photo: {type: input}
  heavy: {type: convert, format: avif, lossless: true, effort: 3}
  out: {type: save, path: "{file.stem}.avif"}
""",
    "pair": """
nodes:
  first: {type: input}
  second: {type: input}
  out: {type: save, from: [first, second], path: "{node}/{file.name}"}
""",
}

GUIDE = ("profile-picture", "product-images", "document-upload", "image-gallery")
"""The flows of the vendor's guide, as they are shipped."""


@dataclass(frozen=True)
class House:
    """Where it is reached, and the programs it consists of."""

    address: str
    webs: Sequence[subprocess.Popen[bytes]]
    workers: Sequence[subprocess.Popen[bytes]]
    session: aiohttp.ClientSession
    ports: Sequence[int]

    async def client(self, key: str = KEY, project: str = "acme") -> Client:
        return await client_of(self.session, self.address, key, project)

    async def native(self, path: str, method: str = "GET", **more: Any) -> Any:
        headers = {"Authorization": f"Bearer {KEY}"}
        async with self.session.request(method, self.address + path, headers=headers, **more) as answer:
            assert answer.status < 300, await answer.text()
            return await answer.json()

    async def at_work(self, job: str) -> subprocess.Popen[bytes]:
        """The worker that has this job in hand."""
        rows = {row["id"]: row["pid"] for row in (await self.native("/v1/workers"))["items"]}
        pid = rows[(await self.native(f"/v1/runs/{job}"))["tries"][-1]["worker"]]
        return next(worker for worker in self.workers if worker.pid == pid)


@asynccontextmanager
async def housed(folder: Path, workers: int = 2) -> AsyncIterator[House]:
    """All of it, started anew and killed at the end."""
    (folder / "flows").mkdir()
    for name, text in FLOWS.items():
        (folder / "flows" / f"{name}.yaml").write_text(text)
    for name in ("assets", *(f"{flow}.yaml" for flow in GUIDE)):
        (folder / "flows" / name).symlink_to(Path("flows", name).resolve())
    ports = [_free_port() for _ in range(2)]
    async with AsyncExitStack() as stack:
        redis = stack.enter_context(running_valkey(Path(stack.enter_context(tempfile.TemporaryDirectory()))))
        address = await stack.enter_async_context(round_robin(ports))
        config = folder / "safelight.yaml"
        config.write_text(CONFIG.format(redis=redis, folder=folder, flows=folder / "flows", address=address, key=KEY))
        log = stack.enter_context((folder / "log").open("wb"))
        commands = [*(("web", "--port", str(port)) for port in ports), *[("worker",)] * workers]
        programs = [_program(config, log, *command) for command in commands]
        stack.callback(_end, programs)
        session = await stack.enter_async_context(aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)))
        house = House(address, programs[:2], programs[2:], session, ports)
        await _until_there(house)
        yield house


def _program(config: Path, log: Any, *command: str) -> subprocess.Popen[bytes]:
    environ = {name: value for name, value in os.environ.items() if not name.startswith("SAFELIGHT_")}
    environ |= {"SAFELIGHT_CONFIG": str(config)}
    return subprocess.Popen([SAFELIGHT, *command], env=environ, stdout=log, stderr=log)


def _end(programs: Sequence[subprocess.Popen[bytes]]) -> None:
    for program in programs:
        program.kill()
        program.wait()


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


async def _until_there(house: House) -> None:
    async with asyncio.timeout(60):
        for port in house.ports:
            while not await _is_ready(house, port):
                await asyncio.sleep(0.05)
        while len((await house.native("/v1/workers"))["items"]) < len(house.workers):
            await asyncio.sleep(0.05)
        while len((await house.native("/v1/flows"))["items"]) < len(FLOWS) + len(GUIDE):
            await asyncio.sleep(0.05)


async def _is_ready(house: House, port: int) -> bool:
    try:
        async with house.session.get(f"http://127.0.0.1:{port}/readyz") as answer:
            return answer.status == 200
    except aiohttp.ClientConnectionError:
        return False


@pytest.fixture(scope="module")
async def house(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[House]:
    async with housed(tmp_path_factory.mktemp("uploadista")) as house:
        yield house
