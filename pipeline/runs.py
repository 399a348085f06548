"""The runs of flows: start, get, list, cancel, retry, wait for their end, and find those the queue never heard of.

A run's record is written in one step with its job and is the only truth; a job carries nothing but the run's id and
attempt, so one that was lost is enqueued again by `recover`, and one too many finds nothing to do.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Collection, Container, Iterator, Mapping, Sequence
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid5

import structlog

from pipeline.errors import (
    FetchesTooMany,
    FileNotFound,
    FlowNotFound,
    FlowPaused,
    InputMissing,
    InputNotMany,
    InputUnknown,
    RecordsUnavailable,
    RunNotFed,
    RunNotFound,
    SafelightError,
)
from pipeline.events import EventLog
from pipeline.feeding import Feeding, Given, renewed
from pipeline.flows import FlowRegistry
from pipeline.graph.flow import Flow
from pipeline.jobs import run_slip
from pipeline.letters import DeadLetters
from pipeline.model import (
    ENDED,
    Checkpoint,
    File,
    Grant,
    Hook,
    KeptFile,
    NodeState,
    Page,
    Problem,
    Queue,
    Remote,
    Run,
    RunStatus,
    StandingOrder,
    new_id,
    now,
)
from pipeline.records import Records
from pipeline.storage.base import Storage
from pipeline.stored import delete_bytes

ORDERS = "on_upload"
"""The kind of the sheets that hold a `StandingOrder` as `order`, and whatever else their dialect keeps with it."""
STARTS = UUID("0d6f3c1e-6d7b-5c55-8a0e-5a1f5f0b7a34")
"""In which runs that files start have their ids."""
STRANDED_AFTER = timedelta(seconds=30)
RECOVER_BATCH = 500
PURGE_BATCH = 200
"""Queued runs that one step of a purge looks at, so that the record server is never busy with it for long."""
LOOK_AGAIN = 0.1
"""Seconds between two looks at what is still running in a queue that is drained."""

log = structlog.stdlib.get_logger(__name__)


def run_folder(run: Run) -> str:
    """Where the outputs of this attempt lie in a storage; every attempt has its own, so none can remove another's."""
    attempt = "" if run.attempt == 1 else f"-{run.attempt}"
    return f"{run.project}/runs/{run.id}{attempt}"


class Runs:
    """Starts runs and answers for them; its `letters` are those that were given up."""

    def __init__(
        self,
        *,
        records: Records,
        events: EventLog,
        flows: FlowRegistry,
        feeding: Feeding,
        storages: Mapping[str, Storage],
        prefix: str,
        patience: float,
    ) -> None:
        """`patience` is how many seconds a run waits for what somebody is to give it."""
        self._patience = patience
        self._records = records
        self._events = events
        self._flows = flows
        self._feeding = feeding
        self._storages = storages
        self._prefix = prefix
        self.letters = DeadLetters(records, self.retry)

    async def start(
        self,
        grant: Grant,
        flow: str | Flow,
        inputs: Mapping[str, Sequence[Given]],
        params: Mapping[str, Any] | None = None,
        metadata: Mapping[str, str] | None = None,
        version: str | None = None,
        queue: Queue | None = None,
        id: str | None = None,
        trace: str | None = None,
        promise: str | None = None,
        hooks: Sequence[Hook] = (),
        marks: Mapping[str, str] | None = None,
        awaits: Sequence[str] = (),
    ) -> Run:
        """Start a flow on files, given by their ids for each input node; without `version`, the active one.

        It is given by its id, or itself when it is in no registry; then the run carries it for as long as it is kept.
        Files given by URL are fetched first, while the run is `waiting`; one that cannot be had fails it. It waits as
        well for the inputs that it `awaits`, whose files are given by `feed`. With `id` the run gets it, and a second
        start with the same id starts nothing. `trace` is the traceparent that its spans continue. The first output has
        the id `promise`, if there is one. `hooks` are told how it ends, and `marks` are kept with it.

        Raises `FlowNotFound`, `FlowVersionNotFound`, `FlowPaused`, `InputUnknown`, `InputMissing`, `FileNotFound`,
        `TypeNotAllowed`, `FileTooLarge`, `ImageTooLarge`, `ParamsInvalid`, `UrlInvalid`, `AddressRefused` or
        `FetchesTooMany`.
        """
        graph = None if isinstance(flow, str) else flow.text
        flow = await self.flow(flow, version) if isinstance(flow, str) else flow
        awaits = [name for name in dict.fromkeys(awaits) if not inputs.get(name)]
        check_inputs(flow, inputs, awaits)
        told = {
            "id": id or new_id(),
            "trace": trace,
            "promise": promise,
            "hooks": tuple(hooks),
            "marks": marks or {},
            "graph": graph,
            "queue": queue or flow.queue,
            "params": flow.check_params(dict(params or {})),
            "metadata": metadata or {},
        }
        placed, fetches = await self._placed(grant, flow, inputs, metadata or {})
        run = await self._begun(grant, flow, _made(grant, flow, placed, fetches, awaits, told))
        return await self._records.runs.get(run.id) if awaits else run

    async def _placed(
        self, grant: Grant, flow: Flow, inputs: Mapping[str, Sequence[Given]], metadata: Mapping[str, str]
    ) -> tuple[Mapping[str, tuple[str, ...]], Mapping[str, Remote]]:
        """The ids of what is given, and the fetches among them; what is there already is what the flow accepts."""
        placed, fetches = await self._feeding.place(grant, flow, inputs, metadata)
        for file in await self._files(grant, placed, fetches):
            flow.accept.check(file)
        return placed, fetches

    async def _begun(self, grant: Grant, flow: Flow, run: Run) -> Run:
        """The same run on record: in the queue if it lacks nothing, and its files being fetched."""
        if not await self._records.runs.create(run, None if run.status == "waiting" else run_slip(self._prefix, run)):
            log.warning("enqueue_postponed", run=run.id)
        if run.fetches:
            await self._fetch(grant, flow, run)
        return run

    async def feed(self, grant: Grant, id: str, node: str, files: Sequence[Given]) -> Run:
        """Give a run the files of an input that it awaits, by their ids or URLs; with the last input it is queued.

        The same ids a second time change nothing. Raises `RunNotFound`, `RunEnded`, `InputNotAwaited`, and for the
        files what `start` raises.
        """
        run = await self.get(grant, id)
        flow = await self._flows.of(run)
        check_inputs(flow, {node: files}, set(flow.inputs) - {node})
        placed, fetches = await self._placed(grant, flow, {node: files}, run.metadata)
        slip, ids = run_slip(self._prefix, run), placed.get(node, ())
        fed = await self._records.runs.give(id, run.attempt, node, ids, fetches, now(), slip)
        if fetches:
            await self._fetch(grant, flow, fed)
        return fed

    async def unfit(self, grant: Grant, id: str, node: str, error: SafelightError) -> Run:
        """Fail a run that waits with what was wrong with the file of an input; one that waits no more stays as it is.

        Raises `RunNotFound`.
        """
        run, problem = await self.get(grant, id), Problem(code=error.code, message=error.message, node=node)
        if run.status == "waiting" and await self._records.runs.fail(id, run.attempt, problem, {}, now()):
            await self._feeding.stop(run)
        return await self.get(grant, id)

    async def pause(self, grant: Grant, id: str) -> Run:
        """Let a run rest, behind the step it is in, until it is resumed; raises `RunNotFound` or `RunEnded`.

        One that is paused stays as it is.
        """
        await self.get(grant, id)
        return await self._records.runs.pause(id, now())

    async def resume(self, grant: Grant, id: str) -> Run:
        """Let a paused run go on where it rests; raises `RunNotFound`, `RunEnded` or `RunNotPaused`."""
        await self.get(grant, id)
        run = await self._records.runs.resume(id, now())
        if run.status == "queued":
            await self._enqueue(run)
        return run

    async def _fetch(self, grant: Grant, flow: Flow, run: Run) -> None:
        try:
            await self._feeding.begin(grant, flow, run)
        except FetchesTooMany:
            await self.cancel(grant, run.id)
            raise

    async def flow(self, flow_id: str, version: str | None = None) -> Flow:
        """The flow that a start would run; raises `FlowNotFound`, `FlowVersionNotFound` or `FlowPaused`."""
        pointer = await self._flows.pointer(flow_id)
        if pointer.paused:
            raise FlowPaused(id=flow_id)
        if pointer.active is None and version is None:
            raise FlowNotFound(id=flow_id)
        return await self._flows.get(flow_id, version or pointer.active)

    async def ordered(self, order: StandingOrder) -> Flow:
        """The flow that an order starts; raises `FlowNotFound`, `FlowVersionNotFound` or `FlowPaused`."""
        if order.graph is None:
            return await self.flow(order.flow, order.version)
        return await self._flows.of(order)

    async def get(self, grant: Grant, id: str) -> Run:
        """The run as it stands; raises `RunNotFound`."""
        run = await self._records.runs.get(id)
        if run.project != grant.project.id:
            raise RunNotFound(id=id)
        return run

    async def list(
        self,
        grant: Grant,
        cursor: str | None = None,
        limit: int = 50,
        status: RunStatus | None = None,
        flow: str | None = None,
    ) -> Page[Run]:
        """The project's runs, newest first; raises `CursorInvalid`."""
        return await self._records.runs.list(grant.project.id, cursor, limit, status, flow)

    async def cancel(self, grant: Grant, id: str) -> Run:
        """End a run that has not ended; its worker notices within about a second. Raises `RunNotFound`, `RunEnded`."""
        await self.get(grant, id)
        run = await self._records.runs.cancel(id, now())
        await self._feeding.stop(run)
        return run

    async def purge(self, queue: Queue) -> int:
        """Cancel every run of any project that waits in this queue, some hundred at a time; returns how many."""
        passed, cancelled, seen = 0, 0, PURGE_BATCH
        while seen == PURGE_BATCH:
            seen, gone = await self._records.runs.purge(queue, now(), passed, PURGE_BATCH)
            passed, cancelled = passed + seen - gone, cancelled + gone
        return cancelled

    async def quiet(self, queue: Queue, seconds: float) -> int:
        """Wait until no run of this queue is running, `seconds` at most; returns how many still are."""
        deadline = time.monotonic() + seconds
        # What was taken the moment before the queue was paused shows up as running at the second look.
        calm = 0
        while True:
            running = await self._records.runs.running(queue)
            calm = 0 if running else calm + 1
            if calm == 2 or (time.monotonic() >= deadline and calm != 1):
                return running
            await asyncio.sleep(LOOK_AGAIN)

    async def retry(self, grant: Grant, id: str, resume: bool = False) -> Run:
        """Run an ended run once more as its next attempt; earlier outputs go. Raises `RunNotFound`, `RunNotEnded`.

        With `resume`, steps on whole files that had been completed when it failed are not done again.
        """
        earlier = await self.get(grant, id)
        outputs = await self._records.files.get_many([output.id for output in earlier.outputs])
        kept = [] if resume else await self._records.runs.kept(id)
        run = await self._records.runs.retry(id, now(), resume, renewed(earlier))
        if run.status == "waiting":
            await self._feeding.begin(grant, await self._flows.of(run), run)
        else:
            await self._enqueue(run)
        for checkpoint in kept:
            await self._delete_kept(checkpoint)
        for file in outputs:
            if file is not None and file.run == id:
                await self._delete_output(file)
        return run

    async def wait(self, grant: Grant, id: str, seconds: float) -> Run:
        """The run once it has ended, or as it stands after `seconds`; raises `RunNotFound`."""
        async with self._events.ending(id) as end:
            # Looked at only now: an end between our look and our listening is not missed.
            run = await self.get(grant, id)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    while run.status not in ENDED:
                        await end.wait()
                        run = await self.get(grant, id)
                    return run
        return await self.get(grant, id)

    async def recover(self) -> int:
        """Enqueue again every run that has been queued for a while; a job the queue still has is left alone.

        What waits for a while for files that are fetched is looked after likewise, and what waits in vain for those
        that somebody was to give it is ended.
        """
        await self._give_up()
        for run in await self._records.runs.stranded(now() - STRANDED_AFTER, RECOVER_BATCH, "waiting"):
            await self._feeding.recover(run)
        stranded = await self._records.runs.stranded(now() - STRANDED_AFTER, RECOVER_BATCH)
        return sum([await self._enqueue(run) for run in stranded])

    async def _give_up(self) -> None:
        before = now() - timedelta(seconds=self._patience)
        for run in await self._records.runs.unfed(before, RECOVER_BATCH):
            error = RunNotFed(input=run.awaits[0], seconds=f"{self._patience:g}", node=run.awaits[0])
            problem = Problem(code=error.code, message=error.message, node=error.node)
            if await self._records.runs.starve(run, before, problem, now()):
                log.info("run_unfed", run=run.id, code=error.code)
                await self._feeding.stop(run)

    async def start_stored(self, grant: Grant, file: File, *, ordered: bool = True) -> None:
        """Start the project's `on_upload` flows for a file that was stored; one that refuses it is only logged.

        However often it is called for the same storing, each starts once. Raises `RecordsUnavailable`.

        Those that were ordered over an API too, unless it is known that none was; what is put with something that was
        there before starts none of them.
        """
        for flow_id in grant.project.on_upload:
            with _refusals_logged(flow_id, file):
                flow = await self.flow(flow_id)
                fed, id = {next(iter(flow.inputs)): [file.id]}, _start_id(file, flow_id)
                await self.start(grant, flow_id, fed, metadata=file.metadata, id=id)
        if not ordered or file.root is not None:
            return
        for sheet in await self._records.sheets.every(grant.project.id, ORDERS):
            order = StandingOrder.model_validate(sheet.body["order"])
            if order.active:
                with _refusals_logged(order.flow, file):
                    await self._obey(grant, order, file, _start_id(file, sheet.id))

    async def _obey(self, grant: Grant, order: StandingOrder, file: File, id: str) -> None:
        flow = await self.ordered(order)
        inputs = {next(iter(flow.inputs)): [file.id], **order.inputs}
        await self.start(
            grant,
            flow if order.graph else order.flow,
            inputs,
            metadata=file.metadata,
            version=order.version,
            id=id,
            hooks=order.hooks,
            marks=order.marks,
        )

    async def _files(
        self, grant: Grant, inputs: Mapping[str, Sequence[str]], apart: Container[str] = ()
    ) -> Sequence[File]:
        """The files with these ids, but for those set `apart`; raises `FileNotFound`."""
        ids = list(dict.fromkeys(id for group in inputs.values() for id in group if id not in apart))
        found: list[File] = []
        for id, file in zip(ids, await self._records.files.get_many(ids), strict=True):
            if file is None or file.project != grant.project.id:
                raise FileNotFound(id=id)
            found.append(file)
        return found

    async def _enqueue(self, run: Run) -> bool:
        """Whether the queue took a new job; a queue that cannot be reached gets it from `recover` later."""
        try:
            return await self._records.runs.enqueue(run_slip(self._prefix, run))
        except Exception:  # the run is on record, so whatever ails the queue must not be told as a refusal
            log.warning("enqueue_postponed", run=run.id, exc_info=True)
            return False

    async def _delete_kept(self, checkpoint: Checkpoint) -> None:
        files: Sequence[File | KeptFile] = (*(checkpoint.files or ()), *checkpoint.saved)
        for file in files:
            try:
                await delete_bytes(self._storages[file.storage], file.key)
            except (KeyError, SafelightError):
                log.warning("checkpoint_left_behind", key=file.key, exc_info=True)

    async def _delete_output(self, file: File) -> None:
        try:
            await delete_bytes(self._storages[file.storage], file.key)
        except SafelightError as error:
            log.warning("output_left_behind", file=file.id, key=file.key, code=error.code)


def _made(
    grant: Grant,
    flow: Flow,
    placed: Mapping[str, tuple[str, ...]],
    fetches: Mapping[str, Remote],
    awaits: Sequence[str],
    told: Mapping[str, Any],
) -> Run:
    """A run of this flow on what was given, and what else was `told` of it, in the status it begins with."""
    return Run(
        project=grant.project.id,
        flow=flow.id,
        version=flow.version,
        inputs=placed,
        fetches=fetches,
        awaits=tuple(awaits),
        status="waiting" if fetches or awaits else "queued",
        heard=grant.project.names_steps(*told["hooks"]),
        nodes={id: NodeState(type=node.type) for id, node in flow.nodes.items()},
        **told,
    )


def _start_id(file: File, by: str) -> str:
    """The id of the run that `by` starts because this file was stored, the same whoever starts it."""
    return str(uuid5(STARTS, f"{file.id} {file.stored_at} {by}"))


@contextlib.contextmanager
def _refusals_logged(flow: str, file: File) -> Iterator[None]:
    try:
        yield
    except RecordsUnavailable:
        raise
    except SafelightError as error:
        log.warning("on_upload_refused", flow=flow, file=file.id, code=error.code, reason=error.message)


def check_inputs(flow: Flow, inputs: Mapping[str, Sequence[Given]], awaits: Collection[str] = ()) -> None:
    """Raise `InputUnknown`, `InputNotMany` or `InputMissing` unless `inputs` are what the flow's input nodes ask for.

    Those that it `awaits` are given later.
    """
    for name in (*inputs, *awaits):
        if name not in flow.inputs:
            raise InputUnknown(input=name[:64], known=", ".join(flow.inputs))
    for name, ids in inputs.items():
        if len(ids) > 1 and not flow.inputs[name].many:
            raise InputNotMany(input=name)
    for name, node in flow.inputs.items():
        if name not in awaits and node.required and not inputs.get(name):
            raise InputMissing(input=name)
