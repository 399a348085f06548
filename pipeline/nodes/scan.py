"""Look for viruses in a file, with a ClamAV daemon (clamd) that runs somewhere near.

The file is streamed to it (INSTREAM, see clamd(8)), so the daemon may run on another host. It is asked for its version
first, and no byte of the file is sent to whatever does not answer as ClamAV.
"""

from __future__ import annotations

import asyncio
import re
import socket
from contextlib import suppress
from typing import TYPE_CHECKING, Any, BinaryIO, ClassVar, Literal

from pydantic import Field

from pipeline.errors import FileInfected, NodeFailed, ScannerUnavailable
from pipeline.nodes.base import FactNode, Facts

if TYPE_CHECKING:
    from pipeline.artifacts import Artifact, Tools

GREETING_WITHIN = 5.0
"""Seconds the daemon may take to accept a connection and tell its version."""
SILENCE = 150.0
"""Seconds without a sign of life after which the daemon counts as gone; by default it scans for at most 120."""
BLOCK = 256 * 1024
"""Bytes sent at a time."""
LONGEST_REPLY = 4096
REPLY = re.compile(r"\d+: (?P<reply>.*)", re.DOTALL)
FOUND, CLEAN, TOO_LARGE = re.compile(r"stream: (?P<signature>.+) FOUND"), "stream: OK", "size limit exceeded"


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

        Raises `FileInfected`, `ScannerUnavailable`, and `NodeFailed` when the daemon refuses the file.
        """
        with await asyncio.to_thread(file.path.open, "rb") as opened:
            engine, verdict = await self._asked(opened)
        if verdict == CLEAN:
            return {"clean": True, "engine": engine}
        found = FOUND.fullmatch(verdict)
        if found and self.report_only:
            return {"clean": False, "engine": engine, "signature": found["signature"]}
        if found:
            raise FileInfected(name=file.name, signature=found["signature"])
        raise _refusal(verdict) from ConnectionError(verdict)

    async def _asked(self, file: BinaryIO) -> tuple[str, str]:
        """The daemon's version and its verdict, in its own words."""
        try:
            async with asyncio.timeout(GREETING_WITHIN):
                connection = await _connected(self)
            with connection:
                session = _Session(connection)
                return await session.version(), await session.scan(file)
        except (OSError, UnicodeError) as cause:  # the latter for a host that cannot be a name
            raise ScannerUnavailable from cause


async def _connected(node: Scan) -> socket.socket:
    """A connection to the daemon, to the first of its addresses that answers."""
    if node.socket:
        return await _opened(socket.AF_UNIX, node.socket)
    loop = asyncio.get_running_loop()
    addresses = await loop.getaddrinfo(node.host, node.port, type=socket.SOCK_STREAM)
    for family, _, _, _, address in addresses[:-1]:
        with suppress(OSError):
            return await _opened(family, address)
    family, _, _, _, address = addresses[-1]
    return await _opened(family, address)


async def _opened(family: int, address: Any) -> socket.socket:
    connection = socket.socket(family, socket.SOCK_STREAM)
    try:
        connection.setblocking(False)
        await asyncio.get_running_loop().sock_connect(connection, address)
    except BaseException:
        connection.close()
        raise
    return connection


def _refusal(verdict: str) -> NodeFailed | ScannerUnavailable:
    """Why there is no verdict; a file that was not scanned is never let through."""
    if TOO_LARGE in verdict:
        return NodeFailed(reason="the file is larger than the virus scanner accepts (its StreamMaxLength)")
    return ScannerUnavailable()


class _Session:
    """One connection to clamd, on which commands follow each other.

    A bare socket: asyncio's streams drop what has arrived when they cannot send, and the daemon, when a file is too
    large for it, says so and hangs up.
    """

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._loop = asyncio.get_running_loop()
        self._heard = b""

    async def version(self) -> str:
        """What the daemon calls itself, such as `ClamAV 1.4.3/27500/Sun Jan 5 2026`."""
        await self._say(b"zIDSESSION\0zVERSION\0", GREETING_WITHIN)
        version = await self._reply(GREETING_WITHIN)
        if not version.startswith("ClamAV"):
            raise ConnectionError("what answers is no ClamAV")
        return version

    async def scan(self, file: BinaryIO) -> str:
        """The daemon's verdict on the file, in its own words."""
        with suppress(ConnectionError):
            await self._say(b"zINSTREAM\0")
            while block := await asyncio.to_thread(file.read, BLOCK):
                await self._say(len(block).to_bytes(4, "big") + block)
            await self._say(bytes(4) + b"zEND\0")
        return await self._reply()

    async def _say(self, words: bytes, within: float = SILENCE) -> None:
        async with asyncio.timeout(within):
            await self._loop.sock_sendall(self._connection, words)

    async def _reply(self, within: float = SILENCE) -> str:
        async with asyncio.timeout(within):
            while b"\0" not in self._heard:
                more = await self._loop.sock_recv(self._connection, LONGEST_REPLY)
                if not more or len(self._heard) > LONGEST_REPLY:
                    raise ConnectionError("the daemon hung up")
                self._heard += more
        line, _, self._heard = self._heard.partition(b"\0")
        match = REPLY.fullmatch(line.decode("utf-8", "replace").rstrip())
        if not match:
            raise ConnectionError("what answers is no ClamAV")
        return match["reply"]
