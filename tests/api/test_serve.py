"""The serving process: several on one port, an orderly end, hot flows."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from copy import copy
from pathlib import Path

import aiohttp
from aiohttp import web

from pipeline.api.app import create_app
from pipeline.api.server import Runner

from .house import CONFIG, TINY, House

SERVE = """
import asyncio, uvloop
from pipeline.api.app import serve
from pipeline.logs import configure_logs
from pipeline.settings import load_settings
configure_logs("console", "info")
asyncio.Runner(loop_factory=uvloop.new_event_loop).run(serve(load_settings()))
"""

CAUGHT = re.compile(r"^SigCgt:\s*([0-9a-f]+)", re.MULTILINE)
"""The signals that a process has something to do at, a bit each (proc_pid_status(5))."""


@contextmanager
def process(folder: Path, redis_url: str, port: int) -> Iterator[subprocess.Popen[bytes]]:
    config = folder / "safelight.yaml"
    config.write_text(
        CONFIG.format(data=folder, redis=redis_url).replace('"safelight:"', '"served:"') + f"port: {port}\n"
    )
    environ = {**os.environ, "SAFELIGHT_CONFIG": str(config)}
    started = subprocess.Popen(
        [sys.executable, "-c", SERVE], env=environ, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    )
    try:
        yield started
    finally:
        started.kill()
        said, _ = started.communicate()
    assert said == b""


async def until_ready(base: str) -> None:
    async with aiohttp.ClientSession() as session, asyncio.timeout(60):
        while True:
            try:
                async with session.get(f"{base}/readyz") as answer:
                    if answer.status == 200:
                        return
            except aiohttp.ClientError:
                pass
            await asyncio.sleep(0.1)


async def until_heeding(one: subprocess.Popen[bytes]) -> None:
    """Return when SIGTERM asks it to end; before that it is ended by it."""
    async with asyncio.timeout(60):
        while not int(CAUGHT.findall(Path(f"/proc/{one.pid}/status").read_text())[0], 16) >> signal.SIGTERM - 1 & 1:
            await asyncio.sleep(0.05)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


async def test_two_processes_share_a_port_and_flows_are_hot(redis_url: str, redis: object, tmp_path: Path) -> None:
    (tmp_path / "flows").mkdir()
    (tmp_path / "flows" / "early.yaml").write_text(TINY)
    port = free_port()
    base = f"http://127.0.0.1:{port}"
    headers = {"Authorization": "Bearer demo-key"}
    with process(tmp_path, redis_url, port) as first, process(tmp_path, redis_url, port) as second:
        await until_ready(base)
        await until_heeding(first)
        await until_heeding(second)
        async with aiohttp.ClientSession(headers=headers) as session, asyncio.timeout(60):
            await _known(session, f"{base}/v1/flows/early")
            (tmp_path / "flows" / "late.yaml").write_text(TINY)
            await _known(session, f"{base}/v1/flows/late")
        for one in (first, second):
            one.send_signal(signal.SIGTERM)
        assert [await asyncio.to_thread(one.wait, 30) for one in (first, second)] == [0, 0]


async def _known(session: aiohttp.ClientSession, url: str) -> None:
    while True:
        async with session.get(url) as answer:
            if answer.status == 200:
                return
        await asyncio.sleep(0.1)


async def test_stopping_server_ends_streams_and_lets_requests_end(
    redis_url: str, redis: object, tmp_path: Path
) -> None:
    (tmp_path / "flows").mkdir()
    port = free_port()
    base = f"http://127.0.0.1:{port}"
    headers = {"Authorization": "Bearer demo-key"}
    with process(tmp_path, redis_url, port) as server:
        await until_ready(base)
        async with aiohttp.ClientSession(headers=headers) as session, session.get(f"{base}/v1/events") as stream:
            assert await stream.content.readline() == b"retry: 2000\n"
            begun = asyncio.Event()

            async def slow():
                yield b"first half, "
                begun.set()
                await asyncio.sleep(0.5)
                yield b"second half"

            sending = asyncio.create_task(session.post(f"{base}/v1/files", data=slow()))
            await begun.wait()
            server.send_signal(signal.SIGTERM)
            async with await sending as answer:
                assert answer.status == 201
            async with asyncio.timeout(20):
                await stream.content.read()
        assert await asyncio.to_thread(server.wait, 30) == 0


async def test_addresses_are_those_of_the_setting(house: House) -> None:
    core = copy(house.core)
    core.settings = house.core.settings.model_copy(update={"public_url": "https://img.example/safelight"})
    runner = Runner(create_app(core))
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    file = await house.json("POST", f"http://127.0.0.1:{site.port}/v1/files", 201, data=b"text")
    assert file["url"] == f"https://img.example/safelight/v1/files/{file['id']}/content"
    await runner.cleanup()
