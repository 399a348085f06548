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
from pathlib import Path, PurePosixPath
from typing import Any, TypeVar
from uuid import UUID, uuid5

import structlog
from arq import Retry

from pipeline.acts import ended
from pipeline.artifacts import Made
from pipeline.core import Core
from pipeline.errors import (
    FileNotFound,
    ImageCrashed,
    Internal,
    NodeInvalid,
    PathInvalid,
    RecordsUnavailable,
    RunCancelled,
    RunNotFound,
    RunTimeout,
    SafelightError,
    StorageKeyNotFound,
)
from pipeline.graph.execute import Outcome, execute
from pipeline.graph.flow import Flow
from pipeline.imaging.header import facts_of
from pipeline.imaging.sandbox import Sandbox
from pipeline.model import ENDED, File, ImageFacts, NodeState, Output, Problem, Run, now
from pipeline.records import Records
from pipeline.runs import run_folder
from pipeline.storage.base import Storage, checked_key
from pipeline.uploads import MANIFEST, copy_to, delete_bytes, write_manifest

TRIES = 3
"""How often one attempt is begun when what it stands on fails (storage, records)."""
CRASH_TRIES = 2
BACK_OFF = 2.0
"""Seconds before the second try; each later one waits twice as long."""
WATCH_AFTER = 0.5
"""Seconds before a run is watched for its cancellation; most have ended by then."""
CHUNK = 1 << 20
SHIPPED_ASSETS = Path(__file__).parent.parent / "pipeline" / "imaging" / "assets"

T = TypeVar("T")
Job = Callable[..., Coroutine[Any, Any, None]]
Execute = Callable[..., Awaitable[Outcome]]
"""`pipeline.graph.execute.execute`, or a stand-in of the same shape."""

log = structlog.stdlib.get_logger(__name__)


class Jobs:
    """The jobs this process can do, on what it was given once."""

    def __init__(self, core: Core, sandbox: Sandbox, execute: Execute = execute) -> None:
        self._core = core
        self._sandbox = sandbox
        self._execute = execute
        self.running: set[str] = set()
        """Ids of the runs that are being executed now."""

    async def run_flow(self, context: Mapping[str, Any], run_id: str, attempt: int) -> None:
        """Execute this attempt of a run; nothing happens when it is not its turn any more."""
        with structlog.contextvars.bound_contextvars(run=run_id, attempt=attempt):
            try:
                run = await self._core.records.runs.start(run_id, attempt, now())
                if run is not None:
                    await self._work(run, tries=context["job_try"])
            except RecordsUnavailable as fault:
                # Without records not even a failure can be told, so this one is tried for ever.
                raise _later(context["job_try"]) from fault

    async def _work(self, run: Run, tries: int) -> None:
        self.running.add(run.id)
        try:
            await Attempt(self._core, self._sandbox, self._execute, run, tries).work()
        finally:
            self.running.discard(run.id)


def _later(tries: int) -> Retry:
    return Retry(defer=min(BACK_OFF * 2 ** (tries - 1), 30))


class Attempt:
    """One attempt of one run in this process."""

    def __init__(self, core: Core, sandbox: Sandbox, execute: Execute, run: Run, tries: int) -> None:
        self._core = core
        self._sandbox = sandbox
        self._execute = execute
        self._run = run
        self._tries = tries
        self._marks = Marks(core.records, run)
        self._tools = RunTools(core, run, sandbox)
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
        except SafelightError as error:
            await self._failed(error)
        except Exception:
            log.exception("run_fault", flow=self._run.flow)
            await self._fail(Problem(code=Internal.code, message=Internal().message))
        finally:
            await asyncio.shield(asyncio.to_thread(shutil.rmtree, self._tools.folder, ignore_errors=True))

    async def _executed(self) -> Outcome:
        flow = await self._core.flows.get(self._run.flow, self._run.version)
        inputs = await self._inputs()
        limit = min(flow.timeout or math.inf, self._core.settings.flow_timeout)
        self._tools.prepare()
        try:
            async with asyncio.timeout(limit) as clock:
                return await self._watched(self._execution(flow, inputs, limit))
        except TimeoutError as fault:
            if not clock.expired():
                raise
            raise RunTimeout(seconds=f"{limit:g}") from fault

    async def _inputs(self) -> Mapping[str, Sequence[File]]:
        ids = list(dict.fromkeys(id for group in self._run.inputs.values() for id in group))
        found: dict[str, File] = {}
        for id, file in zip(ids, await self._core.records.files.get_many(ids), strict=True):
            if file is None:
                raise FileNotFound(id=id)
            found[id] = file
        self._tools.private = any(file.private for file in found.values())
        return {name: [found[id] for id in group] for name, group in self._run.inputs.items()}

    async def _execution(self, flow: Flow, inputs: Mapping[str, Sequence[File]], limit: float) -> Outcome:
        return await self._execute(
            flow,
            inputs,
            self._run.params,
            self._run.metadata,
            self._run.id,
            self._tools,
            self._marks.emit,
            self._sandbox,
            date=self._run.created_at,
            timeout=limit,
            node_timeout=self._core.settings.node_timeout,
            flows=self._core.flows.get,
        )

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
        follow = self._core.events.follow(self._run.project, self._run.id, "0")
        async with contextlib.aclosing(follow) as events:
            async for event in events:
                if event is not None and event.type == "run.cancelled" and not await self._is_running():
                    return

    async def _is_running(self) -> bool:
        run = await self._core.records.runs.get(self._run.id)
        return run.attempt == self._run.attempt and run.status not in ENDED

    async def _commit(self, outcome: Outcome) -> None:
        await self._marks.flush()
        run, tools = self._run, self._tools
        done = await self._core.records.runs.commit(
            run.id, run.attempt, self._marks.states, outcome.outputs, tools.files, now(), outcome.facts
        )
        if done is None:
            await self._leave()
            return
        for id, facts in outcome.learned.items():
            await self._learn(id, facts)

    async def _learn(self, id: str, facts: Mapping[str, Any]) -> None:
        """Put what was found out about an input on its record and beside its bytes; it may be gone meanwhile."""
        with contextlib.suppress(FileNotFound):
            file = await self._core.records.files.learn(id, facts)
            await write_manifest(self._core.storages[file.storage], file)

    async def _failed(self, error: SafelightError) -> None:
        if isinstance(error, RecordsUnavailable):
            raise error
        most = CRASH_TRIES if isinstance(error, ImageCrashed) else TRIES
        if error.retryable and self._tries < most:
            log.warning("run_postponed", code=error.code, tries=self._tries, exc_info=error)
            await self._leave()
            await self._hand_back()
            raise _later(self._tries) from error
        log.info("run_failed", code=error.code, node=error.node, reason=error.message, exc_info=error.__cause__)
        await self._fail(Problem(code=error.code, message=error.message, node=error.node))

    async def _fail(self, problem: Problem) -> None:
        nodes = {id: _closed(state) for id, state in (dict(self._run.nodes) | self._marks.states).items()}
        await self._core.records.runs.fail(self._run.id, self._run.attempt, problem, nodes, now())
        await self._leave()

    async def _hand_back(self) -> None:
        """Say that the run waits in the queue again, where its job already is."""
        with contextlib.suppress(RecordsUnavailable):
            await asyncio.shield(self._core.records.runs.release(self._run.id, self._run.attempt, now()))

    async def _leave(self) -> None:
        """Take away the bytes of outputs that will never be seen, also when this worker is being stopped."""
        cleaning = asyncio.ensure_future(self._clean())
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.shield(cleaning)
        await cleaning

    async def _clean(self) -> None:
        try:
            if not await self._is_committed():
                await self._tools.discard()
        except SafelightError as error:
            log.warning("outputs_left_behind", code=error.code, files=[file.key for file in self._tools.files])

    async def _is_committed(self) -> bool:
        # The same attempt may have been delivered twice, or a commit may have arrived whose answer did not.
        try:
            run = await self._core.records.runs.get(self._run.id)
        except RunNotFound:
            return False
        return run.status == "completed" and run.attempt == self._run.attempt


def _closed(state: NodeState) -> NodeState:
    """A node's state after its run has failed: what had not ended will not."""
    if state.status in ("queued", "running", "waiting"):
        return state.model_copy(update={"status": "cancelled"})
    return state


class Marks:
    """Sends node states on record in batches: one round trip at a time, what happens meanwhile rides in the next."""

    def __init__(self, records: Records, run: Run) -> None:
        self._records = records
        self._run = run
        self._waiting: dict[str, NodeState] = {}
        self._sending: asyncio.Task[None] | None = None
        self.states: dict[str, NodeState] = {}
        """The last state heard of each node."""

    def emit(self, node: str, state: NodeState) -> None:
        """Note the state of a node; it is on record soon, at the latest after `flush`."""
        self.states[node] = self._waiting[node] = state
        if self._sending is None or self._sending.done():
            self._sending = asyncio.create_task(self._send_quietly())

    async def flush(self) -> None:
        """Return when every state heard is on record; raises `RecordsUnavailable`."""
        if self._sending is not None:
            await self._sending
        await self._send()

    async def _send_quietly(self) -> None:
        with contextlib.suppress(RecordsUnavailable):
            await self._send()  # what could not be sent waits for the next state, or for the flush

    async def _send(self) -> None:
        while self._waiting:
            batch, self._waiting = self._waiting, {}
            try:
                await self._records.runs.mark(self._run.id, self._run.attempt, batch)
            except RecordsUnavailable:
                self._waiting = batch | self._waiting
                raise


class RunTools:
    """The world as a run may touch it: its inputs, its outputs, and a folder that is wiped afterwards."""

    def __init__(self, core: Core, run: Run, sandbox: Sandbox) -> None:
        self._core = core
        self._run = run
        self._sandbox = sandbox
        self._loading = asyncio.Lock()
        self._claimed: dict[str, Path] = {}
        self._folder = core.settings.data_dir / "tmp" / f"run-{run.id}-{run.attempt}-{id(self):x}"
        self.private = False
        """Whether outputs are private, because an input is."""
        self.files: list[File] = []
        """What was saved so far."""

    def prepare(self) -> None:
        """Make the folder."""
        self._folder.mkdir(parents=True)

    @property
    def folder(self) -> Path:
        return self._folder

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
        await storage.put(file.key, _chunks(made.artifact.path), file.size, file.mime)
        await write_manifest(storage, file)
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

    def asset(self, name: str) -> Path:
        """The file that `asset:<name>` means, the project's own before the shipped; raises `NodeInvalid`."""
        for folder in (self._core.settings.flows_dir / "assets", SHIPPED_ASSETS):
            with contextlib.suppress(PathInvalid):
                path = folder / checked_key(name)
                if path.is_file() and path.resolve().is_relative_to(folder.resolve()):
                    return path
        raise NodeInvalid(reason=f"There is no asset `{name}`.")

    async def apart(self, function: Callable[..., T], *arguments: Any) -> T:
        """What `function` returns in a sandbox child."""
        return await self._sandbox.call(function, *arguments, timeout=self._core.settings.flow_timeout)

    async def measure(self, path: Path, mime: str) -> ImageFacts | None:
        """What a file is as a picture; raises `ImageUnreadable` and `ImageTooLarge`."""
        settings = self._core.settings
        caps = (settings.max_pixels, settings.max_frames)
        return await facts_of(self._sandbox, str(path), mime, settings.allowed_formats, *caps, settings.node_timeout)

    async def discard(self) -> None:
        """Remove the bytes of everything saved."""
        for file in self.files:
            await delete_bytes(self._core.storages[file.storage], file.key)

    def _storage_name(self, made: Made) -> str:
        return made.storage or self._core.settings.projects[self._run.project].storage

    def _storage(self, made: Made) -> Storage:
        try:
            return self._core.storages[self._storage_name(made)]
        except KeyError as cause:
            raise NodeInvalid(reason=f"There is no storage `{self._storage_name(made)}`.", node=made.node) from cause

    def _file(self, made: Made) -> File:
        artifact, at = made.artifact, now()
        return File(
            id=str(uuid5(UUID(self._run.id), f"{made.node}/{made.path}")),
            project=self._run.project,
            storage=self._storage_name(made),
            key=checked_key(f"{run_folder(self._run)}/{made.node}/{made.path}"),
            name=PurePosixPath(made.path).name,
            mime=made.media_type or artifact.mime,
            size=artifact.size,
            sha256=artifact.sha256,
            image=artifact.image,
            private=self.private,
            created_at=at,
            stored_at=at,
            run=self._run.id,
            path=made.path,
        )

    def _claim(self, made: Made, key: str) -> None:
        """Raise `PathInvalid` when this output, or a manifest, would replace another output of the run.

        The same file under the same path is a node's second try.
        """
        mine = made.artifact.path
        taken = self._claimed.get(key, mine) != mine
        if taken or key + MANIFEST in self._claimed or key.removesuffix(MANIFEST) in self._claimed.keys() - {key}:
            raise PathInvalid(path=made.path, reason="another output of this run has that path", node=made.node)
        self._claimed[key] = mine


async def _chunks(path: Path) -> AsyncIterator[bytes]:
    with path.open("rb") as file:
        while chunk := await asyncio.to_thread(file.read, CHUNK):
            yield chunk
