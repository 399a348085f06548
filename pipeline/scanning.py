"""Ask a ClamAV daemon (clamd) whether there is a virus in a file, over TCP or its unix socket.

The file is streamed to it (INSTREAM, see clamd(8)), so the daemon may run on another host. It is asked for its version
first, and no byte of the file is sent to whatever does not answer as ClamAV.
"""

from __future__ import annotations

import asyncio
import re
import socket
from collections.abc import AsyncIterable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Self
from urllib.parse import urlsplit

from pipeline.errors import ScannerUnavailable, ScanTooLarge

GREETING_WITHIN = 5.0
"""Seconds the daemon may take to accept a connection and tell its version."""
SILENCE = 150.0
"""Seconds without a sign of life after which the daemon counts as gone; by default it scans for at most 120."""
LONGEST_REPLY = 4096
REPLY = re.compile(r"\d+: (?P<reply>.*)", re.DOTALL)
FOUND, CLEAN, TOO_LARGE = re.compile(r"stream: (?P<signature>.+) FOUND"), "stream: OK", "size limit exceeded"
NOT_ALL = "Heuristics.Limits.Exceeded"
"""What a daemon with `AlertExceedsMax yes` finds in what it did not scan to the end."""


@dataclass(frozen=True)
class Verdict:
    """What the daemon calls itself, such as `ClamAV 1.4.3/27500/Sun Jan 5 2026`, and the virus it found, if any."""

    engine: str
    signature: str | None = None


class Scanner:
    """A daemon on a port of a host or, when there is a `path`, on that unix socket."""

    def __init__(self, host: str = "127.0.0.1", port: int = 3310, path: str | None = None) -> None:
        self._host, self._port, self._path = host, port, path

    @classmethod
    def at(cls, url: str) -> Self:
        """The daemon at `tcp://host:port` or `unix:///path`."""
        parts = urlsplit(url)
        return cls(path=parts.path) if parts.scheme == "unix" else cls(parts.hostname or "", parts.port or 3310)

    @property
    def place(self) -> str:
        """Its address, as settings spell it."""
        host = f"[{self._host}]" if ":" in self._host else self._host
        return f"unix://{self._path}" if self._path else f"tcp://{host}:{self._port}"

    async def scan(self, chunks: AsyncIterable[bytes]) -> Verdict:
        """What it says of a file; raises `ScannerUnavailable`, or `ScanTooLarge` when it does not look at all of it."""
        try:
            async with asyncio.timeout(GREETING_WITHIN):
                connection = await self._connected()
            with connection:
                session = _Session(connection)
                engine, verdict = await session.version(), await session.scan(chunks)
        except (OSError, UnicodeError) as cause:  # the latter for a host that cannot be a name
            raise ScannerUnavailable from cause
        return _read(engine, verdict)

    async def _connected(self) -> socket.socket:
        """A connection to the daemon, to the first of its addresses that answers."""
        if self._path:
            return await _opened(socket.AF_UNIX, self._path)
        loop = asyncio.get_running_loop()
        addresses = await loop.getaddrinfo(self._host, self._port, type=socket.SOCK_STREAM)
        for family, _, _, _, address in addresses[:-1]:
            with suppress(OSError):
                return await _opened(family, address)
        family, _, _, _, address = addresses[-1]
        return await _opened(family, address)


def _read(engine: str, verdict: str) -> Verdict:
    if verdict == CLEAN:
        return Verdict(engine)
    found = FOUND.fullmatch(verdict)
    if found and not found["signature"].startswith(NOT_ALL):
        return Verdict(engine, found["signature"])
    if found or TOO_LARGE in verdict:
        raise ScanTooLarge from ConnectionError(verdict)
    raise ScannerUnavailable from ConnectionError(verdict)


async def _opened(family: int, address: Any) -> socket.socket:
    connection = socket.socket(family, socket.SOCK_STREAM)
    try:
        connection.setblocking(False)
        await asyncio.get_running_loop().sock_connect(connection, address)
    except BaseException:
        connection.close()
        raise
    return connection


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
        """What the daemon calls itself."""
        await self._say(b"zIDSESSION\0zVERSION\0", GREETING_WITHIN)
        version = await self._reply(GREETING_WITHIN)
        if not version.startswith("ClamAV"):
            raise ConnectionError("what answers is no ClamAV")
        return version

    async def scan(self, chunks: AsyncIterable[bytes]) -> str:
        """The daemon's verdict on the file, in its own words."""
        with suppress(ConnectionError):  # it may have said why before it hung up
            await self._say(b"zINSTREAM\0")
            async for chunk in chunks:
                if chunk:  # a length of 0 would be the end
                    await self._say(len(chunk).to_bytes(4, "big") + chunk)
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
