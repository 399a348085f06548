"""A whole Safelight for a benchmark: `safelight up` on a free port, its data in a folder that goes away."""

from __future__ import annotations

import asyncio
import io
import json
import os
import signal
import sys
import tempfile
from collections.abc import AsyncIterator, Mapping
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
    pids: Mapping[str, Any]
    session: aiohttp.ClientSession
    note: Mapping[str, Any]
    """What `up` said of itself: `redis_url`, `data`, `flows`, ..."""

    async def stored(self, photo: Path) -> str:
        """The id of the photo, once it is uploaded."""
        async with self.session.post(f"/v1/files?name={photo.name}", data=photo.read_bytes()) as answer:
            file = await answer.json()
            assert answer.status == 201, file
            return str(file["id"])

    async def sent(self, flow: str, photo: bytes) -> None:
        """A run of `flow` on a photo sent along, once it is completed."""
        form = aiohttp.FormData()
        form.add_field("photo", io.BytesIO(photo), filename="photo.jpg", content_type="image/jpeg")
        await self._completed(flow, data=form)

    async def ran(self, flow: str, file: str) -> None:
        """A run of `flow` on a stored file, once it is completed."""
        await self._completed(flow, json={"inputs": {"photo": {"file": file}}})

    async def _completed(self, flow: str, **body: Any) -> None:
        async with self.session.post(f"/v1/flows/{flow}/runs?wait=60", **body) as answer:
            run = await answer.json()
            assert answer.status == 200 and run["status"] == "completed", run


@asynccontextmanager
async def running_stack(
    folder: Path | None = None, workers: int = 1, environ: Mapping[str, str] | None = None
) -> AsyncIterator[Stack]:
    """A server with the benchmark flows, one web process and some workers; ended afterwards."""
    with tempfile.TemporaryDirectory(dir=folder) as data:
        flows = Path(data) / "flows"
        flows.mkdir()
        for flow in FLOWS.glob("*.yaml"):
            (flows / flow.name).write_text(flow.read_text())
        (flows / "assets").symlink_to(Path("flows/assets").resolve())
        command = (str(Path(sys.executable).with_name("safelight")), "up", "--json", "--port", "0", "--data", data)
        program = await asyncio.create_subprocess_exec(
            *command, "--workers", str(workers), stdout=asyncio.subprocess.PIPE,
            env=os.environ | {"SAFELIGHT_FLOWS_DIR": str(flows)} | dict(environ or {}),
        )  # fmt: skip
        try:
            assert program.stdout is not None
            ready = json.loads(await asyncio.wait_for(program.stdout.readline(), 60))
            headers = {"Authorization": f"Bearer {ready['api_key']}"}
            async with aiohttp.ClientSession(ready["address"], headers=headers) as session:
                yield Stack(ready["address"], ready["pids"], session, ready)
        finally:
            program.send_signal(signal.SIGTERM)
            await asyncio.wait_for(program.wait(), 60)
