"""What a job does: execute one attempt of a run with real tools, and see that exactly one end of it is recorded.

A job may be delivered twice, late, or never come to its end; the record decides whose turn it is. Outputs are
invisible until the commit, and whatever ends otherwise takes its bytes away again.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import shutil
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from time import perf_counter
from typing import Any, TypeVar, cast
from uuid import UUID, uuid5

import structlog
from arq import Retry

from pipeline.acts import ended, settled
from pipeline.artifacts import About, Artifact, Made
from pipeline.calls import Call, Reply
from pipeline.core import Core
from pipeline.errors import (
    FileNotFound,
    ImageCrashed,
    ImageMemoryExceeded,
    ImageTimeout,
    Internal,
    NodeInvalid,
    PathInvalid,
    RecordsUnavailable,
    RunCancelled,
    RunPaused,
    RunTimeout,
    SafelightError,
    StorageKeyNotFound,
)
from pipeline.graph.execute import Outcome, execute
from pipeline.graph.flow import Flow
from pipeline.graph.flow import Retry as Policy
from pipeline.hearing import Ring
from pipeline.imaging.sandbox import Sandbox
from pipeline.jobs import run_slip
from pipeline.model import ENDED, File, LetterReason, NodeState, Output, Problem, Project, Run, now
from pipeline.records import Records
from pipeline.records.steps import run_files
from pipeline.runs import run_folder
from pipeline.storage.base import Storage, checked_key
from pipeline.stored import MANIFEST, copy_to, delete_bytes, describe, write_manifest
from workers.checkpoints import Checkpoints
from workers.pauses import Pause
from workers.seats import Seat
from workers.tools import WorkerTools
from workers.traces import Trace, Traces

CRASH_TRIES = 2
"""Tries of a run whose pictures end the process that draws them; its flow may allow fewer."""
CHILD_FAULTS = (ImageCrashed, ImageMemoryExceeded, ImageTimeout)
"""What costs the sandbox a child."""
WATCH_AFTER = 0.5
"""Seconds before a run is watched for its cancellation; most have ended by then."""
PACE = 0.2
"""Seconds between two notes on how far a run is; what happens in the last of them is told with its end."""
CHUNK = 1 << 20
EARLIER = 5
"""Tries of lost workers whose bytes are looked for; older ones are left to the sweep of orphans."""

T = TypeVar("T")
Job = Callable[..., Coroutine[Any, Any, None]]
Execute = Callable[..., Awaitable[Outcome]]
"""`pipeline.graph.execute.execute`, or a stand-in of the same shape."""

log = structlog.stdlib.get_logger(__name__)


class Jobs:
    """The jobs this process can do, on what it was given once."""

    def __init__(
        self, core: Core, sandbox: Sandbox, execute: Execute = execute, worker: str = "", traces: Traces | None = None
    ) -> None:
        self._core = core
        self._worker = worker
        self._traces = traces or Traces()
        self._sandbox = sandbox
        self._execute = execute
        self.seats = asyncio.Semaphore(core.settings.sandbox_children)
        """The places at the sandbox, for all who draw in it."""
        self.running: set[str] = set()
        """Ids of the runs that are being executed now."""

    async def run_flow(self, context: Mapping[str, Any], run_id: str, attempt: int) -> None:
        """Execute this attempt of a run; nothing happens when it is not its turn any more."""
        with structlog.contextvars.bound_contextvars(run=run_id, attempt=attempt):
            try:
                # Heard from before it is begun: what is asked earlier, its record tells then.
                async with self._core.events.pausing(run_id) as ring:
                    turn = Turn(context["job_try"], ring, context.get("claim", ""))
                    runs = self._core.records.runs.under(turn.claim)
                    begun = await runs.begin(run_id, attempt, now(), self._worker)
                    if begun is not None:
                        await self._work(*begun, turn)
            except RecordsUnavailable as fault:
                # Without records not even a failure can be told, so this one is tried for ever.
                raise _later(context["job_try"], Policy()) from fault

    async def _work(self, run: Run, files: Mapping[str, File], turn: Turn) -> None:
        self.running.add(run.id)
        seat = Seat(self._sandbox, self.seats)
        try:
            with self._traces.over(run) as trace:
                await Attempt(self._core, seat, self._execute, run, files, turn, trace).work()
        finally:
            self.running.discard(run.id)


@dataclass(frozen=True)
class Turn:
    """How often the attempt was begun, and the claim under which its job is held; without one nobody else may be.

    The `ring` rings when the run is asked to pause.
    """

    tries: int
    ring: Ring
    claim: str = ""


def _later(tries: int, policy: Policy, at_least: float | None = None) -> Retry:
    return Retry(defer=(at_least or 0) + policy.wait(tries))


class Attempt:
    """One attempt of one run in this process."""

    def __init__(
        self, core: Core, seat: Seat, execute: Execute, run: Run, files: Mapping[str, File], turn: Turn, trace: Trace
    ) -> None:
        self._core = core
        self._seat = seat
        self._execute = execute
        self._run = run
        self._files = files
        self._tries = turn.tries
        self._runs = core.records.runs.under(turn.claim)
        self._trace = trace
        self._marks = Marks(core.records, run, turn.claim)
        self._tools = RunTools(core, run, cast(Sandbox, seat), turn.tries)
        self._policy = Policy()
        self._checkpoints = Checkpoints(core, self._runs, run, self._tools.folder)
        self._pause = Pause(self._runs, run.id, turn.ring)
        self._cancelled = False

    async def work(self) -> None:
        """Bring the attempt to its end; raises `Retry` when it should be begun again later."""
        try:
            await self._commit(await self._executed())
            log.info("run_ended", flow=self._run.flow)
        except asyncio.CancelledError:
            await self._leave()
            await self._hand_back()
            raise
        except RunCancelled:
            log.info("run_cancelled", flow=self._run.flow)
            await self._leave()
        except RunPaused:
            await settled(self._rest())
        except SafelightError as error:
            await self._failed(error)
        except Exception:
            log.exception("run_fault", flow=self._run.flow)
            await self._fail(_problem(Internal()), "internal")
        finally:
            await asyncio.shield(asyncio.to_thread(shutil.rmtree, self._tools.folder, ignore_errors=True))

    async def _executed(self) -> Outcome:
        flow = await self._core.flows.of(self._run)
        self._policy = flow.retry
        inputs = self._inputs()
        self._tools.prepare()
        self._tools.saved = {file.id: file for file in await self._checkpoints.saved()}
        try:
            return await self._watched(self._seated(flow, inputs))
        finally:
            await self._marks.stop()

    async def _seated(self, flow: Flow, inputs: Mapping[str, Sequence[File]]) -> Outcome:
        """What the execution makes, whose time counts from when it may use the sandbox."""
        limit = min(flow.timeout or math.inf, self._core.settings.flow_timeout)
        await self._seat.take(flow)
        try:
            async with asyncio.timeout(limit) as clock:
                return await self._execution(flow, inputs, limit)
        except TimeoutError as fault:
            if not clock.expired():
                raise
            raise RunTimeout(seconds=f"{limit:g}") from fault
        finally:
            self._seat.leave()

    def _inputs(self) -> Mapping[str, Sequence[File]]:
        for id in run_files(self._run):
            if id not in self._files:
                raise FileNotFound(id=id)
        self._tools.private = any(file.private for file in self._files.values())
        self._tools.first = next((self._files[id] for group in self._run.inputs.values() for id in group), None)
        return {name: [self._files[id] for id in group] for name, group in self._run.inputs.items()}

    async def _execution(self, flow: Flow, inputs: Mapping[str, Sequence[File]], limit: float) -> Outcome:
        return await self._execute(
            flow,
            inputs,
            self._run.params,
            self._run.metadata,
            self._run.id,
            self._tools,
            self._tell,
            self._seat,
            date=self._run.created_at,
            timeout=limit,
            node_timeout=self._core.settings.node_timeout,
            flows=self._core.flows.get,
            resume=self._checkpoints.resume,
            checkpoint=self._checkpoints.note,
            halt=self._pause.is_asked,
        )

    async def _rest(self) -> None:
        """Lay the run down as far as it has come; what could not be kept of it is done again when it goes on."""
        await self._checkpoints.lay_down(self._tools.every_file)
        rested = await self._runs.rest(self._run.id, self._run.attempt, self._marks.states, now())
        if rested is None:
            await self._leave()
        elif rested.status == "queued":
            await self._runs.enqueue(run_slip(self._core.settings.key_prefix, rested))
        log.info("run_paused", flow=self._run.flow)

    async def _watched(self, execution: Coroutine[Any, Any, Outcome]) -> Outcome:
        """What the execution makes; it is cancelled as soon as the run is, which ends its sandbox child."""
        work = asyncio.create_task(execution)
        watch = asyncio.create_task(self._watch(work))
        try:
            return await work
        except asyncio.CancelledError as cause:
            if self._cancelled:
                raise RunCancelled from cause
            raise
        finally:
            await ended([watch])

    async def _watch(self, work: asyncio.Task[Any]) -> None:
        await asyncio.sleep(WATCH_AFTER)
        while True:
            try:
                await self._until_cancelled()
                self._cancelled = True
                work.cancel()
                return
            except RecordsUnavailable:
                await asyncio.sleep(1)

    async def _until_cancelled(self) -> None:
        async with self._core.events.ending(self._run.id) as end:
            while await self._is_running():
                await end.wait()

    async def _is_running(self) -> bool:
        run = await self._core.records.runs.get(self._run.id)
        return run.attempt == self._run.attempt and run.status not in ENDED

    async def _commit(self, outcome: Outcome) -> None:
        run, tools = self._run, self._tools
        done = await self._runs.commit(
            run.id, run.attempt, self._marks.states, outcome.outputs, tools.files, now(), outcome.facts, tools.stored
        )
        if done is None or self._tries > 1:
            await self._leave()
        if done is None:
            return
        await self._checkpoints.forget()
        for id, facts in outcome.learned.items():
            await self._learn(id, facts)

    async def _learn(self, id: str, facts: Mapping[str, Any]) -> None:
        """Put what was found out about an input on its record and beside its bytes; it may be gone meanwhile."""
        with contextlib.suppress(FileNotFound):
            file = await self._core.records.files.learn(id, facts)
            await describe(self._core.records.files, self._core.storages[file.storage], file)

    async def _failed(self, error: SafelightError) -> None:
        if isinstance(error, RecordsUnavailable):
            raise error
        if isinstance(error, CHILD_FAULTS):
            with contextlib.suppress(RecordsUnavailable):
                await self._core.records.series.count({("sandbox", error.code): 1})
        times = self._policy.times
        most = min(times, CRASH_TRIES) if isinstance(error, ImageCrashed) else times
        if error.retryable and self._tries < most:
            log.warning("run_postponed", code=error.code, tries=self._tries, exc_info=error)
            await self._checkpoints.keep()
            await self._leave()
            await self._hand_back(_problem(error))
            raise _later(self._tries, self._policy, error.retry_after) from error
        log.info("run_failed", code=error.code, node=error.node, reason=error.message, exc_info=error.__cause__)
        await self._fail(_problem(error), _letter(error))

    def _tell(self, node: str, state: NodeState) -> None:
        self._marks.emit(node, state)
        self._trace.node(node, state)

    async def _fail(self, problem: Problem, letter: LetterReason | None) -> None:
        self._trace.failed(problem)
        nodes = {id: _closed(state) for id, state in (dict(self._run.nodes) | self._marks.states).items()}
        await self._checkpoints.keep()
        await self._runs.fail(self._run.id, self._run.attempt, problem, nodes, now(), letter)
        await self._leave()

    async def _hand_back(self, why: Problem | None = None) -> None:
        """Say that the run waits in the queue again, where its job already is."""
        with contextlib.suppress(RecordsUnavailable):
            await asyncio.shield(self._runs.release(self._run.id, self._run.attempt, now(), why))

    async def _leave(self) -> None:
        """Take away the bytes of outputs that will never be seen, also when this worker is being stopped.

        Those are its own, unless they are on record, and what workers that were lost over this attempt left.
        """
        cleaning = asyncio.ensure_future(self._clean())
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.shield(cleaning)
        await cleaning

    async def _clean(self) -> None:
        try:
            await self._tools.discard()
        except SafelightError as error:
            log.warning("outputs_left_behind", code=error.code, files=[file.key for file in self._tools.files])


def _problem(error: SafelightError) -> Problem:
    return Problem(code=error.code, message=error.message, node=error.node)


def _letter(error: SafelightError) -> LetterReason | None:
    """Why a run that failed for good is a dead letter; one whose input or flow is at fault is none."""
    if isinstance(error, Internal):
        return "internal"
    return "exhausted" if error.retryable else None


def _closed(state: NodeState) -> NodeState:
    """A node's state after its run has failed: what had not ended will not."""
    if state.status in ("queued", "running", "waiting"):
        return state.model_copy(update={"status": "cancelled"})
    return state


class Marks:
    """Puts node states on record in batches, one every `PACE` seconds; those of a shorter run go with its end."""

    def __init__(self, records: Records, run: Run, claim: str = "") -> None:
        self._runs = records.runs.under(claim)
        self._run = run
        self._waiting: dict[str, NodeState] = {}
        self._sending: asyncio.Task[None] | None = None
        self._due: asyncio.TimerHandle | None = None
        self.states: dict[str, NodeState] = {}
        """The last state heard of each node."""

    def emit(self, node: str, state: NodeState) -> None:
        """Note the state of a node; it is on record soon, unless `stop` comes first.

        What a run had come to before it was paused is not told again.
        """
        earlier = self._run.nodes[node].status if node in self._run.nodes else None
        if earlier in ("completed", "skipped") and state.status in ("running", earlier):
            return
        self.states[node] = self._waiting[node] = state
        if self._due is None:
            self._due = asyncio.get_running_loop().call_later(PACE, self._begin)

    async def stop(self) -> None:
        """Put nothing more on record; what was not sent yet is among the `states`."""
        if self._due is not None:
            self._due.cancel()
        if self._sending is not None:
            await self._sending

    def _begin(self) -> None:
        self._due = None
        if self._sending is None or self._sending.done():
            self._sending = asyncio.create_task(self._send())
        elif self._waiting:
            self._due = asyncio.get_running_loop().call_later(PACE, self._begin)

    async def _send(self) -> None:
        batch, self._waiting = self._waiting, {}
        try:
            await self._runs.mark(self._run.id, self._run.attempt, batch)
        except RecordsUnavailable:  # what could not be sent waits for the next state, or for the end
            self._waiting = batch | self._waiting


class RunTools(WorkerTools):
    """The world as a run may touch it: its inputs, its outputs, and a folder that is wiped afterwards."""

    def __init__(self, core: Core, run: Run, sandbox: Sandbox, tries: int = 1) -> None:
        super().__init__(core, sandbox)
        self._run = run
        self._tries = tries
        self._loading = asyncio.Lock()
        self._claimed: dict[str, Path] = {}
        self._first: str | None = None
        self._folder = core.settings.data_dir / "tmp" / f"run-{run.id}-{run.attempt}-{id(self):x}"
        self.private = False
        """Whether outputs are private, because an input is."""
        self.first: File | None = None
        """The first of the inputs."""
        self.files: list[File] = []
        """What was saved so far."""
        self.saved: dict[str, File] = {}
        """What was saved before the run was paused, by id; it is not put into storage again."""
        self.stored = 0.0
        """Seconds it took to put that into storage, one after the other."""

    @property
    def every_file(self) -> Sequence[File]:
        """What was saved, now or before the run was paused."""
        return list((self.saved | {file.id: file for file in self.files}).values())

    def prepare(self) -> None:
        """Make the folder."""
        self._folder.mkdir(parents=True)

    @property
    def folder(self) -> Path:
        return self._folder

    @property
    def about(self) -> About:
        return About(self._run.flow, self._run.id, self._run.params, self._run.metadata)

    async def load(self, file: File) -> Path:
        """Where the bytes of `file` lie on this machine; raises `StorageKeyNotFound` when they are gone."""
        storage = self._core.storages[file.storage]
        local = storage.local_path(file.key)
        if local is not None:
            if not local.is_file():
                raise StorageKeyNotFound(key=file.key)
            return local
        async with self._loading:
            copy = self._folder / f"input-{file.id}"
            if not copy.exists():
                await copy_to(storage, file.key, copy)
            return copy

    async def save(self, made: Made) -> Output:
        """Keep an output under the run's own keys; nobody sees it before the run commits.

        Raises `PathInvalid`, `NodeInvalid` (no such storage), `StorageUnavailable` or `StorageFull`.
        """
        file = self._file(made)
        storage = self._storage(made)
        self._claim(made, file.key)
        self.files = [known for known in self.files if known.id != file.id] + [file]
        if await self._is_saved(file, storage):
            return self._output(made, file)
        bytes_put = storage.put(file.key, chunks(made.artifact.path, file.size), file.size, file.mime)
        began = perf_counter()
        faults = await asyncio.gather(bytes_put, write_manifest(storage, file), return_exceptions=True)
        self.stored += perf_counter() - began
        for fault in faults:
            if isinstance(fault, BaseException):
                raise fault
        return self._output(made, file)

    async def _is_saved(self, file: File, storage: Storage) -> bool:
        before = self.saved.get(file.id)
        if before is None or (before.storage, before.key, before.sha256) != (file.storage, file.key, file.sha256):
            return False
        there = await storage.stat(file.key)  # a worker that left since then may have taken it away
        return there is not None and there.size == file.size

    def _output(self, made: Made, file: File) -> Output:
        return Output(
            node=made.node,
            source=made.artifact.node,
            id=file.id,
            path=made.path,
            mime=file.mime,
            size=file.size,
            width=file.image.width if file.image else None,
            height=file.image.height if file.image else None,
            sha256=file.sha256,
        )

    async def send(self, call: Call) -> Reply:
        """Call a server outside as the run's project may; raises what `called` does."""
        return await self.called(call, self._project, self._folder)

    def calling(self, type: str, place: str) -> AbstractAsyncContextManager[None]:
        """What is around a call that `send` does not make; raises `CircuitOpen` on entering."""
        return self.watched(self._project, type, place)

    @property
    def _project(self) -> Project:
        return self._core.settings.projects[self._run.project]

    async def discard(self) -> None:
        """Remove the bytes of everything saved, by this try or one before it, that no record names."""
        saved = self.every_file
        if not saved:
            return
        # A commit may have arrived whose answer did not, or have been somebody else's.
        records = await self._core.records.files.get_many([file.id for file in saved])
        named = {file.key for file in records if file is not None}
        for file in saved:
            for key in self._keys(file):
                if key not in named:
                    await delete_bytes(self._core.storages[file.storage], key)

    def _keys(self, file: File) -> Sequence[str]:
        """Where the file is, and where the tries before this one would have put it."""
        place = file.key.removeprefix(self._folder_of(self._tries))
        earlier = range(max(1, self._tries - EARLIER), self._tries)
        return [file.key, *(self._folder_of(tries) + place for tries in earlier)]

    def _folder_of(self, tries: int) -> str:
        """Every try has a folder of its own, as one whose worker was believed dead may still be at work."""
        return run_folder(self._run) + (f".{tries}" if tries > 1 else "")

    def _storage_name(self, made: Made) -> str:
        return made.storage or self._core.settings.projects[self._run.project].storage

    def _storage(self, made: Made) -> Storage:
        try:
            return self._core.storages[self._storage_name(made)]
        except KeyError as cause:
            reason = f"storage: there is none named `{self._storage_name(made)}`"
            raise NodeInvalid(reason=reason, node=made.node) from cause

    def _file(self, made: Made) -> File:
        artifact, at = made.artifact, now()
        return File(
            id=self._id(made),
            project=self._run.project,
            storage=self._storage_name(made),
            key=checked_key(f"{self._folder_of(self._tries)}/{made.node}/{made.path}"),
            name=PurePosixPath(made.path).name,
            mime=made.media_type or artifact.mime,
            size=artifact.size,
            sha256=artifact.sha256,
            image=artifact.image,
            private=self.private,
            folder=made.folder,
            created_at=at,
            stored_at=at,
            run=self._run.id,
            path=made.path,
            node=artifact.node,
            root=self._root(artifact),
        )

    def _root(self, artifact: Artifact) -> str | None:
        """What it was made of at the very beginning; of several, the first input of the run."""
        origin = artifact.origin or self.first
        return (origin.root or origin.id) if origin else None

    def _id(self, made: Made) -> str:
        """The same one at every try; that of the first output may have been told before."""
        own = str(uuid5(UUID(self._run.id), f"{made.node}/{made.path}"))
        if self._run.promise is None:
            return own
        self._first = self._first or own
        return self._run.promise if own == self._first else own

    def _claim(self, made: Made, key: str) -> None:
        """Raise `PathInvalid` when this output, or a manifest, would replace another output of the run.

        The same file under the same path is a node's second try.
        """
        mine = made.artifact.path
        taken = self._claimed.get(key, mine) != mine
        if taken or key + MANIFEST in self._claimed or key.removesuffix(MANIFEST) in self._claimed.keys() - {key}:
            raise PathInvalid(path=made.path, reason="another output of this run has that path", node=made.node)
        self._claimed[key] = mine


async def chunks(path: Path, size: int) -> AsyncIterator[bytes]:
    """The bytes of a file of this machine."""
    with path.open("rb", buffering=0) as file:
        if size <= CHUNK:  # just written, so it is in memory, and a thread would cost more than the copy
            yield file.read(size)
            return
        while chunk := await asyncio.to_thread(file.read, CHUNK):
            yield chunk
