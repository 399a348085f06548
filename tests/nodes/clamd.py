"""ClamAV daemons for tests: a small server that speaks clamd's protocol, and the real one where it is installed."""

from __future__ import annotations

import asyncio
import shutil
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

INSTALLED = shutil.which("clamd")
STREAM_LIMIT = 3 * 2**20
EICAR = "".join(("X5O!P%@AP[4\\PZX54(P^)7CC)7}$", "EICAR-STANDARD-ANTIVIRUS", "-TEST-FILE!$H+H*")).encode()
"""The harmless text every scanner takes for a virus; in pieces, so that none takes this file for one."""
VERSION = "ClamAV 1.4.3"


@dataclass(frozen=True)
class Daemon:
    """Where one listens."""

    port: int
    socket: str


@asynccontextmanager
async def speaking(folder: Path) -> AsyncIterator[Daemon]:
    """A server that answers IDSESSION, VERSION, INSTREAM and END as clamd does, and knows one virus."""
    path = str(folder / "spoken.sock")
    over_tcp = await asyncio.start_server(_converse, "127.0.0.1", 0)
    over_unix = await asyncio.start_unix_server(_converse, path)
    try:
        yield Daemon(over_tcp.sockets[0].getsockname()[1], path)
    finally:
        for server in (over_tcp, over_unix):
            server.close()
            await server.wait_closed()


async def _converse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    number = 0
    try:
        assert await reader.readuntil(b"\0") == b"zIDSESSION\0"
        while (command := await reader.readuntil(b"\0")) != b"zEND\0":
            number += 1
            verdict = VERSION if command == b"zVERSION\0" else await _verdict(reader)
            writer.write(f"{number}: {verdict}\0".encode())
            if "ERROR" in verdict:
                break
    except asyncio.IncompleteReadError:
        pass
    finally:
        writer.close()


async def _verdict(reader: asyncio.StreamReader) -> str:
    seen = b""
    while size := int.from_bytes(await reader.readexactly(4), "big"):
        seen += await reader.readexactly(size)
        if len(seen) > STREAM_LIMIT:
            return "INSTREAM size limit exceeded. ERROR"
    return "stream: Eicar-Test FOUND" if EICAR in seen else "stream: OK"


@asynccontextmanager
async def installed(folder: Path) -> AsyncIterator[Daemon]:
    """The real clamd with a database of one signature: that of EICAR."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    database, path = folder / "signatures", str(folder / "clamd.sock")
    database.mkdir()
    (database / "eicar.ndb").write_text(f"Eicar-Test:0:*:{EICAR.hex()}\n")
    settings = {
        "DatabaseDirectory": database, "LocalSocket": path, "TCPSocket": port, "TCPAddr": "127.0.0.1",
        "Foreground": "yes", "StreamMaxLength": STREAM_LIMIT, "TemporaryDirectory": folder, "LogFile": folder / "log",
    }  # fmt: skip
    (folder / "clamd.conf").write_text("".join(f"{name} {value}\n" for name, value in settings.items()))
    command = [str(INSTALLED), "--config-file", str(folder / "clamd.conf")]
    quiet = asyncio.subprocess.DEVNULL
    daemon = await asyncio.create_subprocess_exec(*command, stdout=quiet, stderr=quiet)
    try:
        await asyncio.wait_for(_listening(daemon, folder, port), 60)
        yield Daemon(port, path)
    finally:
        if daemon.returncode is None:
            daemon.terminate()
        await daemon.wait()


async def _listening(daemon: asyncio.subprocess.Process, folder: Path, port: int) -> None:
    while daemon.returncode is None:
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", port)
        except OSError:
            await asyncio.sleep(0.02)
            continue
        writer.close()
        await writer.wait_closed()
        return
    raise AssertionError(f"clamd did not start: {(folder / 'log').read_text()[-2000:]}")


DAEMONS = {"a server that speaks it": speaking} | ({"the real clamd": installed} if INSTALLED else {})
