"""Workers in the hands of a test: hired, killed, stopped, deployed anew, and given work that keeps coming."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from functools import partial

from pipeline.core import Core
from pipeline.model import File, Grant, Run
from pipeline.settings import Settings
from tests.faults.ground import Program, started, worker
from tests.faults.wire import Moment, Wire, wire

WORKER = ("workers", "--slots", "2")


async def until_alive(core: Core, *programs: Program) -> None:
    pids = {program.pid for program in programs}
    async with asyncio.timeout(120):
        while not pids <= {beat.pid for beat in await core.records.workers.list()}:
            await asyncio.sleep(0.05)


async def killed(*programs: Program) -> None:
    """Kill -9, all at once."""
    for program in programs:
        program.kill()
    for program in programs:
        await program.program.wait()


async def until_stopped(program: Program) -> None:
    """Stop every thread of it where it is."""
    program.program.send_signal(signal.SIGSTOP)
    await asyncio.to_thread(os.waitid, os.P_PID, program.pid, os.WSTOPPED | os.WNOWAIT)


# Whose line stops


def commit_of(run: Run, answered: bool) -> Moment:
    """When the script that completes the run, which alone names its outputs, is half sent, or has been answered."""
    return Moment(re.compile(rb"EVALSHA\r\n.*?" + run.id.encode() + rb'.*?\[\{"node":"out"', re.DOTALL), 0, answered)


@asynccontextmanager
async def worker_until(settings: Settings, moment: Moment) -> AsyncIterator[tuple[Program, Wire]]:
    """A worker whose line to the records stops at a moment, and that line."""
    dial = partial(asyncio.open_unix_connection, settings.redis_url.removeprefix("unix://"))
    async with wire(dial, moment) as (line, port):
        told = settings.model_copy(update={"redis_url": f"redis://127.0.0.1:{port}"})
        async with worker(told) as program:
            yield program, line


# Several of them


@dataclass
class Crew:
    """Workers over one core, of which any may be replaced."""

    core: Core
    environ: dict[str, str]
    stack: AsyncExitStack
    programs: list[Program] = field(default_factory=list)

    async def hire(self) -> Program:
        program = await self.stack.enter_async_context(started(self.core.settings, *WORKER, **self.environ))
        self.programs.append(program)
        return program

    async def deploy(self, program: Program) -> float:
        """Tell it to leave, and have another one in its place; the seconds it took to leave."""
        self.programs.remove(program)
        began = time.monotonic()
        await program.stop()
        left = time.monotonic() - began
        await until_alive(self.core, await self.hire())
        return left

    async def working(self) -> list[Program]:
        """Those that have told of themselves."""
        pids = {beat.pid for beat in await self.core.records.workers.list()}
        return [program for program in self.programs if program.pid in pids]

    async def leave(self) -> None:
        """Tell everybody to leave, who does so in order."""
        await until_alive(self.core, *self.programs)
        await asyncio.gather(*(program.stop() for program in self.programs))
        self.programs.clear()


@asynccontextmanager
async def crew(core: Core, number: int, **environ: str) -> AsyncIterator[Crew]:
    """So many workers that are there, and that are gone behind the block."""
    quiet = {"SAFELIGHT_LOG_LEVEL": "warning"}  # nobody reads what they say
    async with AsyncExitStack() as stack:
        hired = Crew(core, quiet | environ, stack)
        for _ in range(number):
            await hired.hire()
        await until_alive(core, *hired.programs)
        yield hired


class Load:
    """Runs that keep coming: there always are some that wait."""

    WAITING = 20

    def __init__(self, core: Core, grant: Grant, photo: File) -> None:
        self._core, self._grant, self._photo = core, grant, photo
        self.runs: list[Run] = []

    async def start(self, number: int) -> None:
        """Start so many runs."""
        for _ in range(number):
            self.runs.append(await self._core.runs.start(self._grant, "small", {"photo": [self._photo.id]}))

    async def keep_coming(self) -> None:
        """Start runs for ever."""
        while True:
            queued = (await self._core.records.runs.counts("demo"))["queued"]
            await self.start(max(0, self.WAITING - queued))
            await asyncio.sleep(0.5)


async def holder_of(core: Core, run: Run, hired: Crew) -> Program:
    """Who has begun the run."""
    worker = (await core.records.runs.get(run.id)).tries[-1].worker
    pid = {beat.id: beat.pid for beat in await core.records.workers.list()}[worker]
    return next(program for program in hired.programs if program.pid == pid)
