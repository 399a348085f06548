"""What a run waits for: the files of its inputs that are given as URLs and are fetched before it is queued."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress

import structlog

from pipeline.errors import FetchEnded, FetchNotFound, RunNotFound, SafelightError
from pipeline.flows import FlowRegistry
from pipeline.graph.flow import Flow
from pipeline.jobs import run_slip
from pipeline.model import Fetch, Grant, Intake, NodeState, Problem, Project, Remote, Run, new_id, now
from pipeline.records import Records
from pipeline.uploads import Fetching

Given = str | Remote
"""A file of an input: the id of one that is there, or where it lies."""

log = structlog.stdlib.get_logger(__name__)


class Feeding:
    """Has the files fetched that runs wait for, and queues the runs when they are there."""

    def __init__(
        self,
        *,
        records: Records,
        flows: FlowRegistry,
        fetching: Fetching,
        projects: Mapping[str, Project],
        prefix: str,
    ) -> None:
        self._records = records
        self._projects = projects
        self._flows = flows
        self._fetching = fetching
        self._prefix = prefix

    async def place(
        self, grant: Grant, flow: Flow, inputs: Mapping[str, Sequence[Given]], metadata: Mapping[str, str]
    ) -> tuple[Mapping[str, tuple[str, ...]], Mapping[str, Remote]]:
        """The inputs with the id of a fetch for each URL, and the fetches; raises what `Fetching.begin` would."""
        fetches = {new_id(): given for group in inputs.values() for given in group if isinstance(given, Remote)}
        for remote in fetches.values():
            await self._fetching.check(grant, remote.url, _intake(flow, metadata))
        ids = iter(fetches)
        placed = {
            name: tuple(given if isinstance(given, str) else next(ids) for given in group)
            for name, group in inputs.items()
            if group
        }
        return placed, fetches

    async def begin(self, grant: Grant, flow: Flow, run: Run) -> None:
        """Begin what a waiting run still waits for; what has begun is left alone."""
        intake = _intake(flow, run.metadata)
        for id, remote in awaited(run).items():
            claimed = intake.model_copy(update=dict(remote.claims))
            await self._fetching.begin(grant, remote.url, claimed, remote.name, run=run.id, id=id)

    async def feed(self, fetch: Fetch) -> None:
        """Give a file that came to the run that waits for it; one that did not come fails the run."""
        if fetch.run is None:
            return
        with suppress(RunNotFound):
            run = await self._records.runs.get(fetch.run)
            if run.status == "waiting" and fetch.id in awaited(run):
                await self._feed(run, fetch)

    async def stop(self, run: Run) -> None:
        """End what is being fetched for a run that does not need it any more."""
        for id in awaited(run):
            with suppress(FetchNotFound, FetchEnded):
                await self._fetching.end(id)

    async def recover(self, run: Run) -> None:
        """Look after a run that waits for long: its fetches may not have begun, or have ended without a word."""
        if run.project not in self._projects:
            return
        grant, flow = Grant(project=self._projects[run.project]), await self._flows.of(run)
        await self.begin(grant, flow, run)
        for id in awaited(run):
            await self.feed(await self._records.fetches.get(id))

    async def _feed(self, run: Run, fetch: Fetch) -> None:
        told, file = fetch.error, None
        try:
            file = await self._file(run, fetch)
        except SafelightError as error:
            if error.retryable:
                raise
            told = Problem(code=error.code, message=error.message)
        if file is not None:
            await self._records.runs.feed(run.id, run.attempt, fetch.id, file, now(), run_slip(self._prefix, run))
        elif told is not None:
            await self._fail(run, fetch, told)

    async def _file(self, run: Run, fetch: Fetch) -> str | None:
        """The file that came, if one did; raises what the flow refuses it for."""
        if fetch.file is None:
            return None
        flow = await self._flows.of(run)
        file = await self._records.files.get(fetch.file)
        flow.accept.check(file)
        return file.id

    async def _fail(self, run: Run, fetch: Fetch, problem: Problem) -> None:
        node = next((name for name, ids in run.inputs.items() if fetch.id in ids), None)
        log.info("run_unfed", run=run.id, code=problem.code)
        told = problem.model_copy(update={"node": node})
        if await self._records.runs.fail(run.id, run.attempt, told, {}, now()):
            await self.stop(run)


def _intake(flow: Flow, metadata: Mapping[str, str]) -> Intake:
    accept = flow.accept
    return Intake(metadata=metadata, types=accept.types, max_size=accept.max_size, max_pixels=accept.max_pixels)


def renewed(run: Run) -> Run | None:
    """An ended run with a new fetch for each file that did not come, None when all of them did."""
    fresh = {id: new_id() for id in awaited(run)}
    inputs = {name: tuple(fresh.get(id, id) for id in ids) for name, ids in run.inputs.items()}
    fetches = {fresh[id]: remote for id, remote in awaited(run).items()}
    nodes = {id: NodeState(type=state.type) for id, state in run.nodes.items()}
    return run.model_copy(update={"inputs": inputs, "fetches": fetches, "nodes": nodes}) if fresh else None


def awaited(run: Run) -> Mapping[str, Remote]:
    """What is still to come of the run's inputs, by fetch: their ids stand where the files will."""
    standing = {id for ids in run.inputs.values() for id in ids}
    return {id: remote for id, remote in run.fetches.items() if id in standing}
