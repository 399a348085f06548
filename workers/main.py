"""A worker process: settings, core, queues, a heartbeat, its share of the chores, and an orderly end."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import math
import os
import signal
import socket
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from importlib.metadata import version
from pathlib import Path
from types import ModuleType
from typing import Any, cast

import structlog
from arq.connections import ArqRedis

from pipeline.acts import ended
from pipeline.core import Core, open_core
from pipeline.delivery import AHEAD, DERIVE
from pipeline.errors import RunPoisoned, SafelightError, SettingsInvalid, WorkerLost
from pipeline.jobs import RUN_FLOW
from pipeline.logs import configure_logs
from pipeline.model import QUEUES, Problem, Queue, Try, WorkerBeat, new_id, now
from pipeline.records.queue import Death
from pipeline.settings import Settings, load_settings
from workers.derivatives import Derivatives
from workers.errands import errand_reader
from workers.jobs import Jobs
from workers.memory import held_memory
from workers.queue import Queues, Work, worker_pool
from workers.schedules import Chores
from workers.traces import Traces
from workers.warm import warm
from workers.webhooks import Dispatcher

BEAT = 2.0
BEAT_LIFE = 7.0
TIMEOUT_MARGIN = 120.0
"""Seconds a job may take beyond its flow's timeout, to record how it ended."""

log = structlog.stdlib.get_logger(__name__)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a worker until SIGTERM or SIGINT; returns the exit code, 2 for wrong settings."""
    parser = _parser()
    options = parser.parse_args(arguments)
    try:
        settings = load_settings(options.config)
    except SettingsInvalid as error:
        parser.exit(2, f"{error.message}\n")
    configure_logs(settings.log_format, settings.log_level)
    queues = options.queues or settings.worker_queues
    with asyncio.Runner(loop_factory=_loop_factory()) as runner:
        runner.run(serve(settings, queues, options.slots or settings.worker_slots))
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m workers", description="Executes runs of flows.")
    parser.add_argument("--config", type=Path, help="path of safelight.yaml")
    parser.add_argument("--queues", type=_queues, help="comma-separated, the preferred first: " + ",".join(QUEUES))
    parser.add_argument("--slots", type=_slots, help="how many runs are executed at once")
    return parser


def _queues(text: str) -> tuple[Queue, ...]:
    names = tuple(dict.fromkeys(name.strip() for name in text.split(",")))
    unknown = [name for name in names if name not in QUEUES]
    if unknown:
        raise argparse.ArgumentTypeError(f"unknown queue {unknown[0]!r}; there are {', '.join(QUEUES)}")
    return cast("tuple[Queue, ...]", names)


def _slots(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError("slots are a whole number from 1")
    return int(text)


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    uvloop: ModuleType
    try:
        import uvloop
    except ImportError:
        return None
    return cast("Callable[[], asyncio.AbstractEventLoop]", uvloop.new_event_loop)


async def serve(settings: Settings, queues: Sequence[Queue], slots: int) -> None:
    """Work on `queues` until a signal; what runs then gets `settings.grace` seconds, the rest is handed back."""
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.set)
    async with open_core(settings, sandbox_children=settings.sandbox_children, warm=warm) as core:
        await Worker(core, queues, slots).work(stopping)


class Worker:
    """One worker process over an open core."""

    def __init__(self, core: Core, queues: Sequence[Queue], slots: int) -> None:
        self._core = core
        assert core.sandbox is not None
        self._sandbox = core.sandbox
        self._id = new_id()
        self._traces = Traces.to(core.settings.otlp_endpoint)
        self._jobs = Jobs(core, core.sandbox, worker=self._id, traces=self._traces)
        self._derivatives = Derivatives(core, core.sandbox, self._jobs.seats)
        self._queues = tuple(queues)
        self._slots = slots
        self._started_at = now()

    async def work(self, stopping: asyncio.Event) -> None:
        """Take jobs until `stopping` is set, then end in order."""
        settings = self._core.settings
        await self._sandbox.start()
        async with _closing_pool(settings) as pool:
            readers = self._readers(pool)

            async def beat() -> None:
                if await self._beat() and not any(reader.tasks for reader in readers):
                    stopping.set()

            with contextlib.suppress(SafelightError):
                await beat()  # so that whoever holds a job is known
            reading = [reader.main() for reader in readers]
            dispatcher = Dispatcher(self._core)
            shared = (Chores(self._core).work(), dispatcher.work())
            async with _beside(*reading, self._every(BEAT, beat), *shared):
                log.info("worker_started", worker=self._id, queues=self._queues, slots=self._slots)
                await stopping.wait()
                log.info("worker_stopping", worker=self._id, running=len(self._jobs.running))
                await asyncio.gather(*(reader.stop(settings.grace) for reader in readers))
            await dispatcher.leave()
        with contextlib.suppress(SafelightError):
            await self._core.records.workers.leave(self._id)
        await self._traces.close()
        log.info("worker_stopped", worker=self._id)

    def _readers(self, pool: ArqRedis) -> Sequence[Queues]:
        """Who takes the runs and who takes the errands."""
        return [self._reader(pool), errand_reader(self._core, pool, self._id)]

    def _reader(self, pool: ArqRedis) -> Queues:
        settings = self._core.settings
        # While a run saves what it drew, the next one must be there for its child.
        ahead = max(1, self._slots // 2)
        turns = math.ceil((self._slots + ahead) / settings.sandbox_children)
        longest = settings.flow_timeout + TIMEOUT_MARGIN
        return Queues(
            pool,
            settings.key_prefix,
            self._queues,
            self._slots,
            {
                RUN_FLOW: Work(self._jobs.run_flow, self._give_up),
                DERIVE: Work(self._derivatives.derive, self._derivatives.give_up),
                AHEAD: Work(self._derivatives.derive_ahead, self._derivatives.give_up_ahead),
            },
            job_timeout=turns * longest,
            ahead=ahead,
            worker=self._id,
        )

    async def _give_up(self, run_id: str, attempt: int, deaths: Sequence[Death]) -> None:
        """Fail a run over which workers were lost again and again, and put it among the dead letters."""
        error, lost = RunPoisoned(times=len(deaths)), _problem(WorkerLost())
        tries = [Try(attempt=attempt, worker=death.worker, ended_at=death.at, error=lost) for death in deaths]
        await self._core.records.letters.add(run_id, attempt, _problem(error), tries)

    async def _every(self, seconds: float, act: Callable[[], Coroutine[Any, Any, None]]) -> None:
        while True:
            try:
                await act()
            except SafelightError as error:
                log.warning("worker_waits", act=act.__name__.strip("_"), code=error.code)
            except Exception:  # nothing these acts meet may end the worker
                log.exception("worker_fault", act=act.__name__.strip("_"))
            await asyncio.sleep(seconds)

    async def _beat(self) -> bool:
        """Tell that this worker lives; whether it is to leave."""
        beat = WorkerBeat(
            id=self._id,
            host=socket.gethostname(),
            pid=os.getpid(),
            version=version("safelight"),
            queues=self._queues,
            slots=self._slots,
            running=tuple(sorted(self._jobs.running)),
            load=round(os.getloadavg()[0], 2),
            memory=await asyncio.to_thread(held_memory),
            started_at=self._started_at,
        )
        return await self._core.records.workers.beat(beat, BEAT_LIFE)


def _problem(error: SafelightError) -> Problem:
    return Problem(code=error.code, message=error.message)


@contextlib.asynccontextmanager
async def _closing_pool(settings: Settings) -> AsyncIterator[ArqRedis]:
    pool = worker_pool(settings.redis_url)
    try:
        yield pool
    finally:
        await pool.aclose(close_connection_pool=True)


@contextlib.asynccontextmanager
async def _beside(*acts: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    """Run `acts` beside the block and end them with it."""
    tasks = [asyncio.create_task(act) for act in acts]
    try:
        yield
    finally:
        await ended(tasks)
