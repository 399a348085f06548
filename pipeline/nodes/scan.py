"""Look for viruses in a file, with a ClamAV daemon (clamd) that runs somewhere near."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from pipeline.errors import FileInfected
from pipeline.nodes.base import FactNode, Facts
from pipeline.scanning import Scanner

if TYPE_CHECKING:
    from pathlib import Path

    from pipeline.artifacts import Artifact, Tools

BLOCK = 256 * 1024
"""Bytes sent at a time."""


class Scan(FactNode):
    """Looks for viruses with a ClamAV daemon and fails when there is one; what could not be scanned does not pass."""

    type: Literal["scan"]
    host: str = Field(default="127.0.0.1", min_length=1, max_length=253, description="Where clamd listens (TCPAddr).")
    port: int = Field(default=3310, ge=1, le=65_535, description="Its port (TCPSocket).")
    socket: str | None = Field(
        default=None, pattern=r"^/.+", description="Path of its unix socket (LocalSocket), instead of host and port."
    )
    report_only: bool = Field(
        default=False, description="Do not fail on a virus, only tell: `clean` is false and `signature` names it."
    )

    pixels: ClassVar[bool] = False
    side: ClassVar[Literal["sandbox", "worker"]] = "worker"

    async def inquire(self, tools: Tools, file: Artifact) -> Facts:
        """`clean`, `engine` and, when it is not clean, `signature`.

        Raises `FileInfected`, `ScannerUnavailable`, `CircuitOpen`, and `ScanTooLarge` when the daemon does not look at
        all of it.
        """
        scanner = Scanner(self.host, self.port, self.socket)
        async with aclosing(_blocks(file.path)) as blocks, tools.calling(self.type, scanner.place):
            verdict = await scanner.scan(blocks)
        if verdict.signature is None:
            return {"clean": True, "engine": verdict.engine}
        if self.report_only:
            return {"clean": False, "engine": verdict.engine, "signature": verdict.signature}
        raise FileInfected(name=file.name, signature=verdict.signature)


async def _blocks(path: Path) -> AsyncGenerator[bytes, None]:
    with await asyncio.to_thread(path.open, "rb") as opened:
        while block := await asyncio.to_thread(opened.read, BLOCK):
            yield block
