"""What fault tests stand on: a Valkey to kill and hold up, programs with logs, and the reckoning at the end."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import AsyncIterator, Collection, Iterable, Mapping
from pathlib import Path
from typing import Any

import orjson
from redis.asyncio import Redis

from pipeline.cli import embedded
from pipeline.core import Core
from pipeline.model import ENDED, Event, Run
from pipeline.settings import Settings
from tests.workers.conftest import kept_files

KEY = "demo-key"


class Server:
    """A Valkey as `safelight up` starts it, to be killed, held up and started again; `options` change what they say."""

    def __init__(self, folder: Path, environ: Mapping[str, str] | None = None, **options: str) -> None:
        self.socket = folder / "valkey.sock"
        self.url = embedded.redis_url(self.socket)
        self._log = folder / "valkey" / "appendonlydir" / "appendonly.aof.1.incr.aof"
        self._options = [word for name, value in options.items() for word in (f"--{name}", value)]
        self._environ = os.environ | dict(environ or {})
        self._folder = folder
        self._program: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        assert self._program is not None
        return self._program.pid

    async def start(self) -> None:
        """Return when it answers."""
        self.socket.unlink(missing_ok=True)
        argv = [*embedded.valkey(self._folder, self.socket, 0).argv, *self._options]
        self._program = subprocess.Popen(argv, env=self._environ)
        async with asyncio.timeout(20):
            while not await embedded.answers(self.socket):
                await asyncio.sleep(0.01)

    def kill(self) -> None:
        if self._program is not None:
            self._program.kill()
            self._program.wait()
            self._program = None

    def send(self, number: signal.Signals) -> None:
        os.kill(self.pid, number)

    def written(self) -> int:
        """Bytes of its append-only file."""
        return self._log.stat().st_size

    def forget_beyond(self, size: int) -> None:
        """Cut its append-only file off there, as if the rest had never reached the disk."""
        os.truncate(self._log, size)


@contextlib.asynccontextmanager
async def running(server: Server) -> AsyncIterator[Server]:
    """The server, killed afterwards."""
    try:
        await server.start()
        yield server
    finally:
        server.kill()


class Program:
    """A worker or web process whose log goes into a file: a pipe nobody reads would hold it up."""

    def __init__(self, program: asyncio.subprocess.Process, log: Path) -> None:
        self.program, self.log = program, log
        self.pid = program.pid

    @property
    def alive(self) -> bool:
        return self.program.returncode is None

    def told(self) -> list[dict[str, Any]]:
        """The lines of its log."""
        return [orjson.loads(line) for line in self.log.read_bytes().splitlines() if line.startswith(b"{")]

    def kill(self) -> None:
        self.program.kill()

    async def stop(self) -> list[dict[str, Any]]:
        """Tell it to stop, and return its log once it did."""
        self.program.send_signal(signal.SIGTERM)
        assert await asyncio.wait_for(self.program.wait(), 40) == 0, self.log.read_text()[-3000:]
        return self.told()


@contextlib.asynccontextmanager
async def started(settings: Settings, *arguments: str, **environ: str) -> AsyncIterator[Program]:
    """`python -m ARGUMENTS` with these settings, killed afterwards if it is still there."""
    project = {"api_keys": [KEY], "allow_private_urls": True}
    variables = {
        "SAFELIGHT_REDIS_URL": settings.redis_url,
        "SAFELIGHT_DATA_DIR": str(settings.data_dir),
        "SAFELIGHT_FLOWS_DIR": str(settings.flows_dir),
        "SAFELIGHT_PROJECTS": orjson.dumps(dict.fromkeys(settings.projects, project)).decode(),
        "SAFELIGHT_SANDBOX_CHILDREN": "1",
        "SAFELIGHT_LOG_FORMAT": "json",
    }
    settings.data_dir.mkdir(parents=True, exist_ok=True)
    log = settings.data_dir.parent / f"{arguments[0]}-{len(list(settings.data_dir.parent.glob('*.log')))}.log"
    with log.open("wb") as file:
        command = (sys.executable, "-m", *arguments)
        program = await asyncio.create_subprocess_exec(*command, env=os.environ | variables | environ, stderr=file)
    try:
        yield Program(program, log)
    finally:
        if program.returncode is None:
            program.kill()
        await program.wait()


def worker(settings: Settings, slots: int = 2, **environ: str) -> contextlib.AbstractAsyncContextManager[Program]:
    """A worker process."""
    return started(settings, "workers", "--slots", str(slots), **environ)


def web(settings: Settings, port: int, **environ: str) -> contextlib.AbstractAsyncContextManager[Program]:
    """A web process."""
    return started(settings, "pipeline.cli", "web", "--port", str(port), **environ)


# The reckoning


async def every_event(core: Core, subject: str | None = None) -> list[Event]:
    events: list[Event] = []
    while batch := await core.events.read("demo", subject, events[-1].id if events else None, 500):
        events += batch
    return events


async def every_run(core: Core) -> list[Run]:
    runs: list[Run] = []
    cursor = None
    while True:
        page = await core.records.runs.list("demo", cursor, 100)
        runs += page.items
        if (cursor := page.next) is None:
            return runs


async def until_over(core: Core, seconds: float = 90) -> None:
    """Return when no run is left that has not ended."""
    async with asyncio.timeout(seconds):
        while sum(number for status, number in (await core.records.runs.counts("demo")).items() if status not in ENDED):
            await asyncio.sleep(0.1)


async def bytes_of(core: Core, key: str) -> bytes:
    return b"".join([chunk async for chunk in core.storages["default"].open(key)])


async def each_ended_once(core: Core, acknowledged: Collection[str]) -> list[Run]:
    """Every run, all of them completed once in effect, the acknowledged among them, no output missing or doubled."""
    runs = await every_run(core)
    assert {run.status for run in runs} <= {"completed"}, Counter(run.status for run in runs)
    assert set(acknowledged) <= {run.id for run in runs}
    events = await every_event(core)
    assert_told_once(events, runs)
    ends = (await core.records.series.totals()).items()
    counted = sum(number for name, number in ends if name[0] == "runs")
    assert counted == len(runs), "a run was counted twice, or not at all"
    await assert_outputs(core, runs)
    await assert_nothing_waits(core.redis)
    return runs


def assert_told_once(events: Iterable[Event], runs: Collection[Run]) -> None:
    """One end of each run and one arrival of each output is told, and nothing of a run after its end."""
    told: dict[str, list[str]] = {}
    for event in events:
        told.setdefault(event.subject, []).append(event.type)
    for run in runs:
        types = told[run.id]
        assert types.count("run.completed") == 1 and types[-1] == "run.completed", (run.id, types)
        assert not {"run.failed", "run.cancelled", "letter.added"} & set(types), (run.id, types)
        assert [told[output.id] for output in run.outputs] == [["file.stored"]], run.id


async def assert_outputs(core: Core, runs: Iterable[Run], spared: Collection[str] = ()) -> None:
    """What lies in storage are the outputs of these runs, whole, and nothing else but what of the `spared` runs."""
    expected: set[str] = set()
    for run in runs:
        (output,) = run.outputs
        file = await core.records.files.get(output.id)
        assert hashlib.sha256(await bytes_of(core, file.key)).hexdigest() == output.sha256
        expected |= {f"files/{file.key}", f"files/{file.key}.json"}
    kept = {path for path in kept_files(core) if "/runs/" in path}
    assert expected <= kept
    assert [path for path in kept - expected if not any(id in path for id in spared)] == []


async def assert_nothing_waits(redis: Redis) -> None:
    """Nothing is left in a queue, nor of a job."""
    async with asyncio.timeout(15):  # what ended last is told with the next turn
        while found := await _waiting(redis):
            await asyncio.sleep(0.1)
            assert len(found) < 10_000
    assert await redis.keys("arq:*") == []


async def _waiting(redis: Redis) -> list[str]:
    found: list[str] = []
    for queue in (f"safelight:queue:{name}" for name in ("interactive", "default", "bulk")):
        found += [id.decode() for id in await redis.zrange(queue, 0, -1)]
        found += [id.decode() for part in ("held", "later") for id in await redis.zrange(f"{queue}:{part}", 0, -1)]
        found += [id.decode() for id in await redis.hkeys(f"{queue}:of")]
    return found
