"""The parts of `safelight up` and the order in which they come and go: Valkey, web, workers, and back."""

from __future__ import annotations

import asyncio
import errno
import json
import signal
import socket
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import typer

from pipeline.cli.console import Exit, Refusal
from pipeline.cli.embedded import LOG, answers, valkey
from pipeline.cli.supervise import Child, Group

if TYPE_CHECKING:
    from pipeline.settings import Settings

START_LIMIT = 60.0
"""Seconds that one part may take to be ready."""
HOPELESS = 3
"""Deaths in a row during the start after which a part is not waited for any longer."""
FLOWS_LIMIT = 5.0
"""Seconds to wait for the last flow of the folder, which may be broken and never come."""
LOOK_AGAIN = 0.05
MARGIN = 5.0
"""Seconds a part may take to end beyond the grace its work has."""
COLOURS = {"valkey": "yellow", "web": "cyan", "worker": "magenta", "up": "white"}


class Parts:
    """Everything that `up` starts, on a socket that is already listening and a data folder that is already ours."""

    def __init__(
        self,
        settings: Settings,
        environ: Mapping[str, str],
        door: socket.socket,
        redis: Path,
        claim: int,
    ) -> None:
        self._settings = settings
        self._environ = environ
        self._door = door
        self._redis = redis
        self._speak = speaker()
        self._group = Group(self._speak)
        self._unready = b""
        self._valkey = valkey(settings.data_dir, redis, claim)
        self._webs: list[Child] = []
        self._workers: list[Child] = []

    @property
    def pids(self) -> dict[str, int | None]:
        """The process id of every part by its name."""
        return {child.name: child.pid for child in (self._valkey, *self._webs, *self._workers)}

    @asynccontextmanager
    async def running(self, webs: int, workers: int) -> AsyncIterator[asyncio.Event]:
        """Everything started and ready; what is yielded is set once a signal asks to stop, be it during the start.

        Raises `Refusal` when a part cannot be started. At the end web, workers and Valkey are stopped in this order.
        """
        stopped = self._stop_on_signals()
        try:
            await self._start(webs, workers, stopped)
            yield stopped
        finally:
            await self._stop()

    async def _start(self, webs: int, workers: int, stopped: asyncio.Event) -> None:
        self._group.start(self._valkey)
        await self._ready(self._valkey, lambda: answers(self._redis), stopped)
        if stopped.is_set():
            return
        self._webs = [self._group.start(self._web(number)) for number in range(1, webs + 1)]
        self._workers = [self._group.start(self._worker(number)) for number in range(1, workers + 1)]
        for web in self._webs:
            await self._ready(web, self._is_ready, stopped)
        await self._wait_for_flows(stopped)

    async def _is_ready(self) -> bool:
        status, body = await asked(self._door.getsockname(), "/readyz")
        if status == 503 and body != self._unready:
            self._unready = body
            self._speak("web", f"is not ready yet: {_reasons(body)}")
        return status == 200

    async def _wait_for_flows(self, stopped: asyncio.Event) -> None:
        """Return once the flows of the folder can be triggered; web processes read them in the order of names."""
        last = max((file.stem for file in Path(self._environ["SAFELIGHT_FLOWS_DIR"]).glob("*.yaml")), default=None)
        keys = [key for project in self._settings.projects.values() for key in project.api_keys]
        if last is None or not keys:
            return
        deadline = time.monotonic() + FLOWS_LIMIT
        path = f"/v1/flows/{quote(last)}"
        while not stopped.is_set() and time.monotonic() < deadline:
            status, _ = await asked(self._door.getsockname(), path, keys[0])
            if status == 200:
                return
            await asyncio.sleep(LOOK_AGAIN)

    async def _stop(self) -> None:
        self._door.close()  # else the kernel goes on taking connections that nobody will answer
        await self._group.stop(self._webs)
        await self._group.stop(self._workers)
        await self._group.stop([self._valkey])

    def _web(self, number: int) -> Child:
        descriptor = self._door.fileno()
        argv = (sys.executable, "-m", "pipeline.cli", "web", "--fd", str(descriptor))
        grace = self._settings.grace + MARGIN
        return Child(f"web-{number}", argv, self._environ, grace=grace, descriptors=(descriptor,))

    def _worker(self, number: int) -> Child:
        argv = (sys.executable, "-m", "workers")
        return Child(f"worker-{number}", argv, self._environ, grace=self._settings.grace + MARGIN)

    async def _ready(self, child: Child, answered: Callable[[], Awaitable[bool]], stopped: asyncio.Event) -> None:
        deadline = time.monotonic() + START_LIMIT
        while not await self._unless(stopped, child, answered):
            if stopped.is_set():
                return
            if child.deaths >= HOPELESS or time.monotonic() > deadline:
                raise Refusal(f"The part {child.name} does not start.", self._last_words(child), Exit.FAILED)
            await asyncio.sleep(LOOK_AGAIN)

    async def _unless(self, stopped: asyncio.Event, child: Child, answered: Callable[[], Awaitable[bool]]) -> bool:
        """What `answered` says; False as soon as we are stopped or the child is beyond hope."""
        asking = asyncio.ensure_future(answered())
        while not asking.done() and not stopped.is_set() and child.deaths < HOPELESS:
            await asyncio.wait({asking}, timeout=LOOK_AGAIN)
        asking.cancel()
        return asking.done() and not asking.cancelled() and asking.result()

    def _last_words(self, child: Child) -> str:
        log = self._settings.data_dir / "valkey" / LOG
        if child is self._valkey and log.is_file():
            return f"its log is {log}."
        return child.tail[-1] if child.tail else "it said nothing."

    def _stop_on_signals(self) -> asyncio.Event:
        stopped = asyncio.Event()

        def ask() -> None:
            if stopped.is_set():
                self._group.hurry()
            stopped.set()

        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            if signal.getsignal(number) is not signal.SIG_IGN:  # as nohup sets it
                loop.add_signal_handler(number, ask)
        return stopped


@contextmanager
def listening(host: str, port: int) -> Iterator[socket.socket]:
    """A socket that listens at this address and is shared by all web processes; raises `Refusal`."""
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        door = socket.create_server(address[:2], family=family, backlog=1024)
    except OSError as cause:
        raise refused_address(host, port, cause) from cause
    with door:
        yield door


def refused_address(host: str, port: int, cause: OSError) -> Refusal:
    """Why nothing can listen at an address, for people."""
    if cause.errno == errno.EADDRINUSE:
        return Refusal(
            f"The port {port} on {host} is taken by another program.",
            "choose one with --port, or --port 0.",
            Exit.FAILED,
        )
    return Refusal(f"Nothing can listen on {host}:{port}: {cause.strerror}.", code=Exit.FAILED)


async def asked(address: Any, path: str, key: str | None = None) -> tuple[int, bytes]:
    """Status and body with which the web server at a socket's address answers a GET; status 0 when it does not."""
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(address[0], address[0])  # noqa: S104
    lines = [f"GET {path} HTTP/1.1", "Host: localhost", "Connection: close"]
    lines += [f"Authorization: Bearer {key}"] if key else []
    try:
        async with asyncio.timeout(START_LIMIT):
            reader, writer = await asyncio.open_connection(host, address[1])
            try:
                writer.write("\r\n".join([*lines, "", ""]).encode())
                head, _, body = (await reader.read()).partition(b"\r\n\r\n")
            finally:
                writer.close()
    except (OSError, TimeoutError):
        return 0, b""
    return (int(head.split()[1]), body) if head.startswith(b"HTTP/") else (0, b"")


def _reasons(body: bytes) -> str:
    try:
        return " ".join(json.loads(body)["reasons"])
    except (ValueError, KeyError, TypeError):
        return "it gives no reason"


def speaker() -> Callable[[str, str], None]:
    """Prints what a part says on stderr, behind its name in its colour."""

    def speak(name: str, line: str) -> None:
        colour = COLOURS[name.partition("-")[0]]
        typer.echo(typer.style(f"{name:<9}| ", fg=colour) + line, err=True)

    return speak
