"""A warm crew of child processes for work on strangers' bytes: whatever a call does to its child, it costs that call.

Each child is a pebble pool of one, because what children share (a pipe, its locks) one dying child can spoil for all.
The crew, its queue and its deadlines live on the event loop, by its clock; a dead child is replaced by a new pool.
"""

from __future__ import annotations

import asyncio
import os
import pickle
import socket
from collections.abc import Callable
from concurrent.futures.process import BrokenProcessPool
from contextlib import suppress
from multiprocessing import get_context
from typing import Any, TypeVar, cast

import orjson
import structlog
from pebble import ProcessExpired, ProcessPool

from pipeline.errors import ImageCrashed, ImageMemoryExceeded, ImageTimeout, Internal, SafelightError, SandboxClosed
from pipeline.imaging.child import (
    LARGEST_REPORT,
    Answer,
    Limits,
    Spawned,
    adopt,
    dotted,
    perform,
    prepare,
    report,
)

__all__ = ["Limits", "Sandbox", "report"]

T = TypeVar("T")
Progress = Callable[[dict[str, Any]], None]

WARM_UP = 60.0
"""Seconds a child may take to become ready."""
FIRST_PAUSE, LONGEST_PAUSE = 0.1, 10.0
"""Seconds between attempts to replace a child when that fails."""
REPORTS_AT_ONCE = 1000

log = structlog.get_logger(__name__)


class ChildTraceback(Exception):
    """The traceback of what went wrong inside a child, as text, for the log."""


class NotBegunError(Exception):
    """The child died before it began the call, which any other child may do."""


class Sandbox:
    """Runs functions in `children` warm processes of at most `memory` bytes each, one call at a time in each.

    `warm`, an importable function, runs once in each child before it takes calls; a child is renewed after
    `calls_per_child` of them. Functions called must be importable, what they take and give is pickled. `open_files`
    and `file_size`, bytes of one file written, bound a child further.
    """

    def __init__(
        self,
        children: int,
        memory: int,
        warm: Callable[[], None] | None = None,
        *,
        calls_per_child: int = 1000,
        open_files: int = 512,
        file_size: int = 4 * 2**30,
    ) -> None:
        self._children = children
        self._limits = Limits(memory, open_files, file_size)
        self._warm = dotted(warm) if warm else None
        self._calls_per_child = calls_per_child
        self._crew: set[_Child] = set()
        self._idle: asyncio.LifoQueue[_Child | None] = asyncio.LifoQueue()
        self._chores: set[asyncio.Future[Any]] = set()
        self._starting: asyncio.Task[None] | None = None
        self._closing = asyncio.Event()

    async def start(self) -> None:
        """Return when every child is ready; raises `Internal` when one cannot become so."""
        if self._starting is None:
            self._starting = asyncio.create_task(self._hire_all())
        await asyncio.shield(self._starting)

    async def call(
        self,
        function: Callable[..., T],
        *arguments: Any,
        timeout: float,
        on_progress: Progress | None = None,
    ) -> T:
        """What `function(*arguments)` returns in a child; `on_progress` gets what it reports, in order, on this loop.

        `timeout` counts seconds from when a child takes the call. Raises the function's own `SafelightError`,
        `ImageTimeout`, `ImageCrashed` when the child died, `ImageMemoryExceeded`, and `Internal` for any other
        exception. Cancelling the await ends the child.
        """
        await self.start()
        letter = pickle.dumps((function, arguments))
        while True:
            child = await self._take()
            try:
                answer = await child.call(letter, timeout, on_progress)
            except NotBegunError:
                continue
            finally:
                self._hand_back(child)
            return cast(T, self._opened(answer, child))

    async def close(self) -> None:
        """End every child; calls that run or wait raise `SandboxClosed`."""
        self._closing.set()
        self._idle.put_nowait(None)
        if self._starting is not None:
            self._keep(self._starting)
        for child in tuple(self._crew):
            child.end(SandboxClosed())
        while chores := [chore for chore in self._chores if not chore.done()]:
            await asyncio.wait(chores)

    def _opened(self, answer: Answer, child: _Child) -> Any:
        verdict, payload, trace = answer
        if verdict == "done":
            return pickle.loads(payload)  # noqa: S301 - our own child pickled it
        cause = ChildTraceback(trace)
        if verdict == "memory":
            # What it could not get, it may not have given back either.
            child.end()
            raise ImageMemoryExceeded(limit=self._limits.memory) from cause
        if verdict == "refused":
            raise pickle.loads(payload) from cause  # noqa: S301 - our own child pickled it
        log.error("a sandbox call failed", traceback=trace)
        raise Internal from cause

    # Who works, who waits

    async def _take(self) -> _Child:
        while True:
            child = await self._idle.get()
            if child is None:
                self._idle.put_nowait(None)
                raise SandboxClosed
            if child.alive:
                return child

    def _hand_back(self, child: _Child) -> None:
        if child.relieved:
            child.end()
        if not child.alive:
            return
        self._idle.put_nowait(child)
        if child.calls >= self._calls_per_child and not child.worn:
            child.worn = True
            self._keep(asyncio.create_task(self._relieve(child)))

    async def _relieve(self, child: _Child) -> None:
        """Let a new child take over from a worn one, which serves until the new one is ready."""
        await self._replace()
        child.relieved = True
        if not child.busy:
            child.end()

    # Hiring

    async def _hire_all(self) -> None:
        await asyncio.gather(*(self._hire() for _ in range(self._children)))

    async def _hire(self) -> None:
        if self._closing.is_set():
            raise SandboxClosed
        child = _Child(self._on_end)
        self._crew.add(child)
        await child.start(self._limits, self._warm)
        self._idle.put_nowait(child)

    async def _replace(self) -> None:
        pause = FIRST_PAUSE
        while not self._closing.is_set():
            try:
                return await self._hire()
            except (SafelightError, OSError, RuntimeError) as cause:
                log.error("a sandbox child could not be started", retry_in=pause, cause=repr(cause))
            with suppress(TimeoutError):
                await asyncio.wait_for(self._closing.wait(), pause)
            pause = min(2 * pause, LONGEST_PAUSE)
        return None

    def _on_end(self, child: _Child, gone: asyncio.Future[None]) -> None:
        self._keep(gone)
        self._crew.discard(child)
        if child.ready and not child.relieved and not self._closing.is_set():
            self._keep(asyncio.create_task(self._replace()))

    def _keep(self, chore: asyncio.Future[Any]) -> None:
        self._chores.add(chore)
        chore.add_done_callback(self._chores.discard)


class _OneProcess:
    """The spawn context as pebble uses it, for one process only: a dead child takes its pool with it."""

    def __init__(self) -> None:
        context = get_context("spawn")
        self.Pipe, self.RLock, self.get_start_method = context.Pipe, context.RLock, context.get_start_method
        self.born: Spawned | None = None

    def Process(self, **arguments: Any) -> Spawned:  # noqa: N802 - the name a context gives it
        if self.born is not None:
            raise OSError("this pool has had its process")
        self.born = Spawned(**arguments)
        return self.born


class _Child:
    """One process, the pool that started it, and the socket it reports by."""

    def __init__(self, on_end: Callable[[_Child, asyncio.Future[None]], None]) -> None:
        self.alive, self.ready, self.busy = True, False, False
        self.calls = 0
        self.worn, self.relieved = False, False
        self._on_end = on_end
        self._loop = asyncio.get_running_loop()
        self._death: asyncio.Future[SafelightError | None] = self._loop.create_future()
        self._gone: asyncio.Future[None] = self._loop.create_future()
        self._progress: Progress | None = None
        self._begun = 0
        self._ear, self._mouth = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._ear.setblocking(False)
        self._context = _OneProcess()
        self._pool = ProcessPool(
            max_workers=1, initializer=adopt, initargs=(self._mouth, os.getpid()), context=self._context
        )

    async def start(self, limits: Limits, warm: str | None) -> None:
        """Return when the process is ready for calls; raises `Internal` when it cannot become so."""
        try:
            self._launch()
            verdict, _, trace = await self.call(pickle.dumps((prepare, (limits, warm))), WARM_UP, None)
            if verdict != "done":
                raise Internal from ChildTraceback(trace)
            self.ready = True
        except NotBegunError as cause:
            raise Internal from cause
        finally:
            if not self.ready:
                self.end()

    def _launch(self) -> None:
        # From this thread: the kernel ends the process when the thread that started it ends.
        if not self._pool.active or self._context.born is None:
            raise Internal
        self._mouth.close()
        self._loop.add_reader(self._context.born.sentinel, self.end)
        self._loop.add_reader(self._ear, self._hear)

    async def call(self, letter: bytes, timeout: float, progress: Progress | None) -> Answer:
        """Have the process perform `letter`; raises `ImageTimeout`, `ImageCrashed`, or `NotBegunError`."""
        self.calls += 1
        self.busy, self._progress = True, progress
        try:
            return await self._answer(letter, timeout)
        except BaseException:
            self.end()
            raise
        finally:
            self.busy, self._progress = False, None

    async def _answer(self, letter: bytes, timeout: float) -> Answer:
        try:
            answer = asyncio.wrap_future(self._pool.schedule(perform, (self.calls, letter)))
        except RuntimeError as cause:
            raise NotBegunError from cause
        signs: set[asyncio.Future[Any]] = {answer, self._death}
        try:
            seen, _ = await asyncio.wait(signs, timeout=timeout, return_when=asyncio.FIRST_COMPLETED)
            self._hear()
            with suppress(ProcessExpired, BrokenProcessPool):
                if answer in seen:
                    return answer.result()
        finally:
            answer.cancel()
        if not seen:
            raise ImageTimeout(seconds=timeout)
        raise await self._cause_of_death()

    async def _cause_of_death(self) -> Exception:
        self.end()
        ended = self._death.result()
        if ended is not None:
            return ended
        if self._begun != self.calls:
            return NotBegunError()
        await asyncio.wait({self._gone})
        born = self._context.born
        code = born.exitcode if born else None
        log.warning("a sandbox child died during a call", exit_code=code)
        return ImageCrashed(exit_code=code)

    def _hear(self) -> None:
        """Pass on what the process has reported; what is not of the running call is too late."""
        for _ in range(REPORTS_AT_ONCE):
            try:
                said = orjson.loads(self._ear.recv(2 * LARGEST_REPORT))
            except OSError:
                return
            except ValueError:
                continue
            if self.busy and isinstance(said, dict) and said.get("call") == self.calls:
                self._pass_on(said.get("facts"))

    def _pass_on(self, facts: Any) -> None:
        if facts is None:
            self._begun = self.calls
        elif self._progress is not None and isinstance(facts, dict):
            try:
                self._progress(facts)
            except Exception:
                log.exception("a listener to progress failed")

    def end(self, reason: SafelightError | None = None) -> None:
        """Kill the process and let go of it; `reason` is what a running call raises. A second time is fine."""
        if not self.alive:
            return
        self.alive = False
        self._death.set_result(reason)
        self._pool.stop()  # type: ignore[no-untyped-call]
        if self._context.born is not None and self._context.born.pid is not None:
            self._loop.remove_reader(self._context.born.sentinel)
            self._loop.remove_reader(self._ear)
            self._context.born.kill()
        self._gone = self._loop.run_in_executor(None, self._pool.join)
        self._gone.add_done_callback(self._close)
        self._on_end(self, self._gone)

    def _close(self, _: asyncio.Future[None]) -> None:
        self._ear.close()
        self._mouth.close()
