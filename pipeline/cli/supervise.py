"""A supervised group of child programs: logs prefixed, restarted when they die, stopped in order, never orphaned."""

from __future__ import annotations

import asyncio
import ctypes
import os
import signal
import sys
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field

FIRST_PAUSE = 0.5
LONGEST_PAUSE = 30.0
STEADY = 20.0
"""Seconds a child must have lived for its next death to count as the first."""
PR_SET_PDEATHSIG = 1

Speak = Callable[[str, str], None]


@dataclass
class Child:
    """One program of the group, and what became of it so far."""

    name: str
    argv: tuple[str, ...]
    environ: Mapping[str, str]
    grace: float = 10.0
    """Seconds between the polite signal and the last one."""
    orphan_signal: signal.Signals = signal.SIGKILL
    """What the kernel sends it when we are killed ourselves."""
    descriptors: tuple[int, ...] = ()
    pid: int | None = None
    deaths: int = 0
    tail: deque[str] = field(default_factory=lambda: deque(maxlen=20))
    stopping: asyncio.Event = field(default_factory=asyncio.Event)


class Group:
    """Keeps children alive until they are stopped; `speak(name, line)` is told every line they print."""

    def __init__(self, speak: Speak) -> None:
        self._speak = speak
        self._keepers: dict[str, asyncio.Task[None]] = {}
        self._children: dict[str, Child] = {}
        self._hurry = asyncio.Event()

    def start(self, child: Child) -> Child:
        """Start `child` and start it again, with growing pauses, whenever it dies."""
        self._children[child.name] = child
        self._keepers[child.name] = asyncio.create_task(self._keep(child), name=child.name)
        return child

    async def stop(self, children: Iterable[Child]) -> None:
        """End these children together and wait until they are gone, by force once their grace is over."""
        kept = [child for child in children if child.name in self._keepers]
        for child in kept:
            child.stopping.set()
            _send(child.pid, signal.SIGTERM)
        await asyncio.gather(*(self._await_end(child) for child in kept))

    def hurry(self) -> None:
        """Give no more grace to anyone."""
        self._hurry.set()

    async def _await_end(self, child: Child) -> None:
        keeper = self._keepers.pop(child.name)
        hurried = asyncio.create_task(self._hurry.wait())
        await asyncio.wait({keeper, hurried}, timeout=child.grace, return_when=asyncio.FIRST_COMPLETED)
        hurried.cancel()
        if not keeper.done():
            self._speak(child.name, "did not stop in time and is killed")
            _send_group(child.pid, signal.SIGKILL)
        await keeper

    async def _keep(self, child: Child) -> None:
        while not child.stopping.is_set():
            started = time.monotonic()
            code = await self._live(child)
            if child.stopping.is_set():
                return
            child.deaths = 1 if time.monotonic() - started > STEADY else child.deaths + 1
            pause = min(LONGEST_PAUSE, FIRST_PAUSE * 2 ** (child.deaths - 1))
            self._speak(child.name, f"{_last_words(code)}; starting it again in {pause:g} s")
            with suppress(TimeoutError):
                await asyncio.wait_for(child.stopping.wait(), pause)

    async def _live(self, child: Child) -> int:
        """Run the program once; its exit code, once it and whatever it started are gone."""
        reader, writer = os.pipe()
        listener = asyncio.create_task(self._listen(child, reader))
        try:
            program = await asyncio.create_subprocess_exec(
                *child.argv,
                env=child.environ,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=writer,
                stderr=writer,
                pass_fds=child.descriptors,
                preexec_fn=bound_to_parent(child.orphan_signal),
                process_group=0,
            )
        finally:
            os.close(writer)
        child.pid = program.pid
        if child.stopping.is_set():
            _send(child.pid, signal.SIGTERM)
        code = await program.wait()
        _send_group(child.pid, signal.SIGKILL)
        child.pid = None
        await listener
        return code

    async def _listen(self, child: Child, descriptor: int) -> None:
        loop = asyncio.get_running_loop()
        stream = asyncio.StreamReader()
        transport, _ = await loop.connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(stream), os.fdopen(descriptor, "rb", buffering=0)
        )
        rest = b""
        while chunk := await stream.read(65536):
            *lines, rest = (rest + chunk).split(b"\n")
            for line in lines:
                self._hear(child, line)
        if rest:
            self._hear(child, rest)
        transport.close()

    def _hear(self, child: Child, line: bytes) -> None:
        text = line.decode(errors="replace").rstrip()
        child.tail.append(text)
        self._speak(child.name, text)


def bound_to_parent(last_signal: signal.Signals) -> Callable[[], None] | None:
    """What a child runs before its program so that the kernel ends it with us; None where the kernel cannot."""
    if not sys.platform.startswith("linux"):
        return None
    library = ctypes.CDLL(None)
    parent = os.getpid()

    def bind() -> None:
        library.prctl(PR_SET_PDEATHSIG, int(last_signal))
        if os.getppid() != parent:  # the parent was gone before the kernel knew
            os._exit(1)

    return bind


def _send(pid: int | None, number: signal.Signals) -> None:
    if pid is not None:
        with suppress(ProcessLookupError):
            os.kill(pid, number)


def _send_group(pid: int | None, number: signal.Signals) -> None:
    """Reach also what the child started itself: its children share its process group."""
    if pid is not None:
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(pid, number)


def _last_words(code: int) -> str:
    if code < 0:
        return f"was ended by {signal.Signals(-code).name}"
    return f"ended with exit code {code}"
