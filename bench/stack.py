"""A whole Safelight for a benchmark: `safelight up` on a free port, its data in a folder that goes away."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp

FLOWS = Path(__file__).parent / "flows"


@dataclass(frozen=True)
class Stack:
    """Where the server is, and how to talk to it."""

    address: str
    pids: dict[str, Any]
    session: aiohttp.ClientSession


@asynccontextmanager
async def running_stack(folder: Path | None = None) -> AsyncIterator[Stack]:
    """A server with the benchmark flows, one web process and one worker; ended afterwards."""
    with tempfile.TemporaryDirectory(dir=folder) as data:
        flows = Path(data) / "flows"
        flows.mkdir()
        for flow in FLOWS.glob("*.yaml"):
            (flows / flow.name).write_text(flow.read_text())
        (flows / "assets").symlink_to(Path("flows/assets").resolve())
        environ = os.environ | {"SAFELIGHT_FLOWS_DIR": str(flows)}
        program = await asyncio.create_subprocess_exec(
            str(Path(sys.executable).with_name("safelight")), "up", "--json", "--port", "0", "--data", data,
            stdout=asyncio.subprocess.PIPE, env=environ,
        )  # fmt: skip
        try:
            assert program.stdout is not None
            ready = json.loads(await asyncio.wait_for(program.stdout.readline(), 60))
            headers = {"Authorization": f"Bearer {ready['api_key']}"}
            async with aiohttp.ClientSession(ready["address"], headers=headers) as session:
                yield Stack(ready["address"], ready["pids"], session)
        finally:
            program.send_signal(signal.SIGTERM)
            await asyncio.wait_for(program.wait(), 60)
