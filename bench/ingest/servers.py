"""Who takes the bytes: us, nginx, bare aiohttp and two tus servers, all on one file system in memory.

There a sync costs nothing, so that all keep the same promise.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import socket
import sys
import tempfile
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from bench.installed import node_with_tus, python_with_tus
from bench.stack import running_stack

MEMORY = Path("/dev/shm")
PEERS = Path(__file__).parents[1] / "peers"
READY_SECONDS = 30.0
CONFIG = """
projects:
  demo:
    public_key: benchmark-public
    secret_key: benchmark-secret
    api_keys: [benchmark-key]
    limits: {requests_per_minute: 1000000000}
"""
NGINX = """
daemon off; worker_processes 1; pid %(folder)s/nginx.pid; error_log %(folder)s/error.log error;
events { worker_connections 1024; }
http {
  access_log off; client_max_body_size 0; client_body_temp_path %(folder)s/temp; keepalive_requests 100000000;
  server { listen 127.0.0.1:%(port)s; root %(folder)s/files; location / { dav_methods PUT; create_full_put_path on; } }
}
"""
TUS = {"Tus-Resumable": "1.0.0"}
FORM = {"Content-Type": "multipart/form-data; boundary=frontier"}
AROUND = (
    '--frontier\r\nContent-Disposition: form-data; name="file"; filename="a.bin"\r\n\r\n',
    '\r\n--frontier\r\nContent-Disposition: form-data; name="UPLOADCARE_PUB_KEY"\r\n\r\nbenchmark-public'
    '\r\n--frontier\r\nContent-Disposition: form-data; name="UPLOADCARE_STORE"\r\n\r\n1\r\n--frontier--\r\n',
)
"""A form as Uploadcare's clients send it, the file first."""
KEY = {"Authorization": "Bearer benchmark-key"}


@dataclass(frozen=True)
class Server:
    """Where a server listens, and how it wants a file: `{n}` stands for a number of its own."""

    name: str
    port: int
    pid: int
    folder: Path
    verb: str
    path: str
    headers: Mapping[str, str] = field(default_factory=dict)
    around: tuple[str, str] = ("", "")
    """What of a form stands before and behind the file."""

    def emptied(self) -> None:
        """Take away what arrived, so that memory does not fill up."""
        for folder, _, names in os.walk(self.folder):  # which does not mind what goes away meanwhile
            for path in (Path(folder, name) for name in names):
                with suppress(FileNotFoundError):
                    if path.stat().st_size >= 40_000:
                        path.unlink()


@asynccontextmanager
async def serving(*names: str) -> AsyncIterator[list[Server]]:
    """The servers of these names, those that can be had here; `ours` and all `ours_...` are one."""
    async with AsyncExitStack() as stack:
        servers: list[Server] = []
        for name in names:
            if name == "ours_tus":
                ours = next(server for server in servers if server.name == "ours")
                servers.append(Server("ours_tus", ours.port, ours.pid, ours.folder, "POST", "/tus", KEY | TUS))
            elif name == "ours_uploadcare":
                ours = next(server for server in servers if server.name == "ours")
                path = "/base/?jsonerrors=1"
                servers.append(Server(name, ours.port, ours.pid, ours.folder, "POST", path, FORM, AROUND))
            elif (server := await stack.enter_async_context(STARTED[name]())) is not None:
                servers.append(server)
        yield servers


@asynccontextmanager
async def _ours() -> AsyncIterator[Server | None]:
    with tempfile.TemporaryDirectory(dir=MEMORY) as folder:
        config = Path(folder) / "safelight.yaml"
        config.write_text(CONFIG)
        async with running_stack(MEMORY, environ={"SAFELIGHT_CONFIG": str(config)}) as stack:
            port = int(stack.address.rsplit(":", 1)[1])
            pid = next(int(pid) for name, pid in stack.pids.items() if name.startswith("web"))
            yield Server("ours", port, pid, Path(stack.note["data"]), "POST", "/v1/files?name={n}.bin", KEY)


@asynccontextmanager
async def _nginx() -> AsyncIterator[Server | None]:
    program = shutil.which("nginx")
    if program is None:
        yield None
        return
    with tempfile.TemporaryDirectory(dir=MEMORY) as folder:
        Path(folder).chmod(0o777)
        for name in ("files", "temp"):
            (Path(folder) / name).mkdir(mode=0o777)
            (Path(folder) / name).chmod(0o777)
        port = _free_port()
        config = Path(folder) / "nginx.conf"
        config.write_text(NGINX % {"folder": folder, "port": port})
        async with _program(program, "-c", str(config), "-p", folder, port=port) as pid:
            yield Server("nginx", port, pid, Path(folder), "PUT", "/{n}.bin")


@asynccontextmanager
async def _aiohttp() -> AsyncIterator[Server | None]:
    with tempfile.TemporaryDirectory(dir=MEMORY) as folder:
        port = _free_port()
        async with _program(sys.executable, str(PEERS / "stored_by_aiohttp.py"), folder, str(port), port=port) as pid:
            yield Server("aiohttp", port, pid, Path(folder), "PUT", "/{n}.bin")


@asynccontextmanager
async def _tus_server() -> AsyncIterator[Server | None]:
    node = node_with_tus()
    if node is None:
        yield None
        return
    with tempfile.TemporaryDirectory(dir=MEMORY) as folder:
        port = _free_port()
        async with _program(node, str(PEERS / "tus_server.mjs"), folder, str(port), port=port) as pid:
            yield Server("tus_server", port, pid, Path(folder), "POST", "/files", TUS)


@asynccontextmanager
async def _tuspyserver() -> AsyncIterator[Server | None]:
    python = python_with_tus()
    if python is None:
        yield None
        return
    with tempfile.TemporaryDirectory(dir=MEMORY) as folder:
        port = _free_port()
        async with _program(python, str(PEERS / "tuspyserver_app.py"), folder, str(port), port=port) as pid:
            yield Server("tuspyserver", port, pid, Path(folder), "POST", "/files/", TUS)


STARTED = {
    "ours": _ours,
    "nginx": _nginx,
    "aiohttp": _aiohttp,
    "tus_server": _tus_server,
    "tuspyserver": _tuspyserver,
}


@asynccontextmanager
async def _program(*command: str, port: int) -> AsyncIterator[int]:
    quiet = asyncio.subprocess.DEVNULL
    program = await asyncio.create_subprocess_exec(*command, stdout=quiet, stderr=quiet, env=dict(os.environ))
    try:
        async with asyncio.timeout(READY_SECONDS):
            while not await _answers(port):
                assert program.returncode is None, command
                await asyncio.sleep(0.05)
        yield program.pid
    finally:
        program.send_signal(signal.SIGTERM)
        try:
            await asyncio.wait_for(program.wait(), 10)
        except TimeoutError:
            program.kill()
            await program.wait()


async def _answers(port: int) -> bool:
    try:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
    except OSError:
        return False
    writer.close()
    return True


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
        return port
