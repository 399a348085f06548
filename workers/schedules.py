"""What comes again: flows whose tick has come, and the chores that all workers share, each done by one of them."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial

import structlog

from pipeline.core import Core
from pipeline.errors import ProjectUnknown, RecordsUnavailable, SafelightError
from pipeline.graph.flow import Flow
from pipeline.graph.schedule import Schedule, StoredFiles
from pipeline.model import File, Grant, Project
from pipeline.records.schedules import Due, Ticks, Told

SETTLING = timedelta(minutes=1)
"""A file stored shorter before a tick waits for the next one: its host's clock, or its record, may be late."""
LOOKED = 200
"""Stored files that are looked at in one step."""
PAUSE = 1.0
"""Seconds between the steps of a sweep that has more to do."""
SHARE = 0.9
"""For which part of its period a chore is its worker's; less than all, or the next look might just miss the end."""

SWEEP_SECONDS: Mapping[str, float] = {
    "uploads": 60,
    "files": 60,
    "outputs": 600,
    "runs": 600,
    "letters": 600,
    "events": 600,
    "orphans": 3600,
    "usage": 21600,
    "derivatives": 3600,
    "staged": 3600,
    "folders": 3600,
}
OF_A_HOST = {"folders"}
"""Sweeps that every machine needs."""

log = structlog.stdlib.get_logger(__name__)


@dataclass(frozen=True)
class Chore:
    """Something that one of all workers does every so many seconds."""

    name: str
    seconds: float
    act: Callable[[], Awaitable[object]]


class Chores:
    """Does its share of the chores for ever; nothing they meet ends the worker."""

    def __init__(self, core: Core) -> None:
        self._core = core
        self._chores = (
            Chore("schedules", 5, Ticker(core).start_due),
            Chore("recover", 60, self._recover),
            Chore("stored", 60, core.files.catch_up),
            Chore("book", 5, core.records.series.book),
            Chore("breakers", 60, core.records.breakers.forget),
            Chore("deliveries", 60, core.webhooks.sending.recover),
            *(Chore(_sweep_name(name), seconds, partial(self._sweep, name)) for name, seconds in SWEEP_SECONDS.items()),
        )

    async def work(self) -> None:
        """Look at every chore in its time, for ever."""
        await asyncio.gather(*(self._every(chore) for chore in self._chores))

    async def _every(self, chore: Chore) -> None:
        while True:
            try:
                if await self._core.records.schedules.claim(chore.name, chore.seconds * SHARE):
                    await chore.act()
            except SafelightError as error:
                log.warning("chore_waits", chore=chore.name, code=error.code)
            except Exception:
                log.exception("chore_fault", chore=chore.name)
            await asyncio.sleep(chore.seconds)

    async def _recover(self) -> None:
        if recovered := await self._core.runs.recover():
            log.info("recovered", runs=recovered)

    async def _sweep(self, name: str) -> None:
        swept = await self._core.sweeps.sweep(name)
        while swept.more:
            await asyncio.sleep(PAUSE)
            swept = await self._core.sweeps.sweep(name)


def _sweep_name(name: str) -> str:
    return f"sweep:{name}:{socket.gethostname()}" if name in OF_A_HOST else f"sweep:{name}"


class Ticker:
    """Starts the flows whose schedule says so.

    A tick is claimed on record with all that its run is given, then the run is started, then the claim is settled. A
    worker that dies in between leaves a claim from which any other starts the very same run, once.
    """

    def __init__(self, core: Core) -> None:
        self._core = core

    async def start_due(self, at: datetime | None = None) -> int:
        """Start a run for every flow whose tick has come by `at` (now); returns how many were started here.

        Of ticks that were missed only the last is made up for. What a schedule has not been seen for has no ticks.
        """
        records = self._core.records.schedules
        at = at or await records.time()
        scheduled, known = await self._core.flows.scheduled(), await records.ticks()
        for flow_id in known.keys() - set(scheduled):
            await records.swap(flow_id, known[flow_id], None)
        return sum([await self._looked(flow_id, known.get(flow_id), at) for flow_id in scheduled])

    async def _looked(self, flow_id: str, ticks: Ticks | None, at: datetime) -> bool:
        try:
            return await self._look(await self._core.flows.get(flow_id), ticks, at)
        except RecordsUnavailable:
            raise
        except SafelightError as error:  # a flow that is no more, or of a newer version than ours
            log.warning("schedule_unread", flow=flow_id, code=error.code)
            return False

    async def _look(self, flow: Flow, ticks: Ticks | None, at: datetime) -> bool:
        """Whether a run was started, by us."""
        schedule = flow.schedule
        if schedule is None:  # another version has just become the active one
            return False
        if ticks is not None and ticks.due is not None:
            return await self._start(flow, schedule, ticks, ticks.due)
        if ticks is None or ticks.spec != schedule.spec:
            await self._begin(flow, schedule, ticks, at)
            return False
        tick = schedule.last_between(ticks.since, at)
        return tick is not None and await self._claim(flow, schedule, ticks, tick)

    async def _begin(self, flow: Flow, schedule: Schedule, ticks: Ticks | None, at: datetime) -> None:
        taken, told = (ticks.taken, ticks.told) if ticks else (at, None)
        fresh = Ticks(spec=schedule.spec, since=at, taken=taken, told=told)
        await self._core.records.schedules.swap(flow.id, ticks, fresh)

    async def _claim(self, flow: Flow, schedule: Schedule, ticks: Ticks, tick: datetime) -> bool:
        paused = (await self._core.flows.pointer(flow.id)).paused
        due = None if paused else await self._due(flow, schedule, ticks, tick)
        claimed = ticks.model_copy(update={"since": tick} if due is None else {"due": due})
        if not await self._core.records.schedules.swap(flow.id, ticks, claimed) or due is None:
            return False
        return await self._start(flow, schedule, claimed, due)

    async def _start(self, flow: Flow, schedule: Schedule, ticks: Ticks, due: Due) -> bool:
        told = await self._told(flow, schedule, due)
        settled = ticks.model_copy(update={"since": due.tick, "taken": due.taken, "due": None, "told": told})
        return await self._core.records.schedules.swap(flow.id, ticks, settled) and told.run is not None

    async def _told(self, flow: Flow, schedule: Schedule, due: Due) -> Told:
        """What becomes of a claimed tick; a run that was started before is not started again."""
        try:
            grant = Grant(project=self._project(schedule))
            inputs = await self._inputs(flow, schedule, due, grant.project)
            if schedule.files and not inputs.get(schedule.fed(flow.inputs) or ""):
                return Told(tick=due.tick)
            said = {"schedule": due.tick.isoformat()}
            run = await self._core.runs.start(
                grant, flow.id, inputs, schedule.params, said, version=flow.version, id=due.run
            )
        except RecordsUnavailable:
            raise
        except SafelightError as error:
            log.warning("schedule_refused", flow=flow.id, code=error.code, reason=error.message)
            return Told(tick=due.tick, refusal=error.code)
        log.info("schedule_started", flow=flow.id, tick=due.tick.isoformat(), run=run.id)
        return Told(tick=due.tick, run=run.id)

    def _project(self, schedule: Schedule) -> Project:
        projects = self._core.settings.projects
        name = schedule.project or next(iter(projects), "")
        if name not in projects:
            raise ProjectUnknown(id=name)
        return projects[name]

    # What a run is given

    async def _inputs(self, flow: Flow, schedule: Schedule, due: Due, project: Project) -> Mapping[str, Sequence[str]]:
        inputs: dict[str, Sequence[str]] = dict(schedule.inputs)
        if name := schedule.fed(flow.inputs):
            found = await self._core.records.files.get_many(due.files)
            there = [file.id for file in found if file is not None and file.project == project.id]
            inputs[name] = [*inputs.get(name, ()), *there] if there else ()
        return inputs

    async def _due(self, flow: Flow, schedule: Schedule, ticks: Ticks, tick: datetime) -> Due:
        wanted, until = schedule.files, tick - SETTLING
        if wanted is None:
            return Due(tick=tick, taken=ticks.taken)
        if wanted.newer_than is not None:
            after = until - timedelta(seconds=wanted.newer_than)
            newest = await self._picked(flow, wanted, self._stored(schedule, after, until, newest=True))
            return Due(tick=tick, files=tuple(file.id for file in reversed(newest)), taken=ticks.taken)
        files = await self._picked(flow, wanted, self._stored(schedule, ticks.taken, until))
        # What is more than a run takes waits for the next tick.
        reached = files[-1].stored_at if len(files) == wanted.most else None
        return Due(tick=tick, files=tuple(file.id for file in files), taken=reached or max(until, ticks.taken))

    async def _picked(self, flow: Flow, wanted: StoredFiles, stored: AsyncGenerator[File, None]) -> Sequence[File]:
        files: list[File] = []
        async with aclosing(stored):
            async for file in stored:
                if _fits(flow, wanted, file):
                    files.append(file)
                if len(files) == wanted.most:
                    break
        return files

    async def _stored(
        self, schedule: Schedule, after: datetime, until: datetime, newest: bool = False
    ) -> AsyncGenerator[File, None]:
        """The project's files that were stored within a time, the oldest or the newest first."""
        projects = self._core.settings.projects
        project, passed = schedule.project or next(iter(projects), ""), 0
        while files := await self._core.records.files.stored(project, after, until, LOOKED, passed, newest):
            for file in files:
                yield file
            passed += len(files)


def _fits(flow: Flow, wanted: StoredFiles, file: File) -> bool:
    try:
        flow.accept.check(file)
    except SafelightError:
        return False
    return wanted.wants(file)
