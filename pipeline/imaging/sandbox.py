"""A warm crew of child processes for work on strangers' bytes: whatever a call does to its child, it costs that call.

Each child is a pebble pool of one, because what children share (a pipe, its locks) one dying child can spoil for all.
The pool starts its process and buries it; in between, calls, reports and answers pass over one socket on the event
loop, where the crew, its queue and its deadlines live too. A dead child is replaced by a new pool.
"""

from __future__ import annotations

import asyncio
import os
import pickle
import socket
from collections.abc import Callable, Iterator
from contextlib import suppress
from multiprocessing import get_context
from typing import Any, TypeVar, cast

import orjson
import structlog
from pebble import ProcessPool

from pipeline.errors import ImageCrashed, ImageMemoryExceeded, ImageTimeout, Internal, SafelightError, SandboxClosed
from pipeline.imaging.child import (
    ANSWER,
    HEAD,
    LARGEST,
    LETTER,
    REPORT,
    Answer,
    adopt,
    allow,
    dotted,
    prepare,
    report,
    serve,
)
from pipeline.imaging.confine import Limits, Spawned

__all__ = ["Limits", "Sandbox", "allow", "report"]

T = TypeVar("T")
Progress = Callable[[dict[str, Any]], None]

WARM_UP = 60.0
"""Seconds a child may take to become ready."""
FIRST_PAUSE, LONGEST_PAUSE = 0.1, 10.0
"""Seconds between attempts to replace a child when that fails."""
READ_AT_ONCE = 256 * 1024

log = structlog.get_logger(__name__)


class ChildTraceback(Exception):
    """The traceback of what went wrong inside a child, as text, for the log."""


class NotBegunError(Exception):
    """The child died before it began the call, which any other child may do."""


class Sandbox:
    """Runs functions in `children` warm processes of at most `memory` bytes each, one call at a time in each.

    `warm`, an importable function, runs once in each child before it takes calls; a child is renewed after
    `calls_per_child` of them, or when it holds `recycle_memory` bytes more than before the first. Functions called
    must be importable, what they take and give is pickled. `open_files` and `file_size`, bytes of one file written,
    bound a child further. On Linux it has no network, and what it spawned ends with it.
    """

    def __init__(
        self,
        children: int,
        memory: int,
        warm: Callable[[], None] | None = None,
        *,
        calls_per_child: int = 1000,
        recycle_memory: int = 512 * 2**20,
        open_files: int = 512,
        file_size: int = 4 * 2**30,
    ) -> None:
        self._children = children
        self._limits = Limits(memory, open_files, file_size)
        self._warm = dotted(warm) if warm else None
        self._calls_per_child, self._recycle_memory = calls_per_child, recycle_memory
        self._networked = False
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
        if answer.verdict == "done":
            return pickle.loads(answer.payload)  # noqa: S301 - our own child pickled it
        cause = ChildTraceback(answer.trace)
        if answer.verdict == "memory":
            # What it could not get, it may not have given back either.
            child.end()
            limits = (self._limits.memory, answer.allowed)
            raise ImageMemoryExceeded(limit=min(limit for limit in limits if limit is not None)) from cause
        if answer.verdict == "refused":
            raise pickle.loads(answer.payload) from cause  # noqa: S301 - our own child pickled it
        log.error("a sandbox call failed", traceback=answer.trace)
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
        worn = child.calls >= self._calls_per_child or child.grown > self._recycle_memory
        if worn and not child.worn:
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
        network = await child.start(self._limits, self._warm)
        if network is not None and not self._networked:
            self._networked = True
            log.warning("sandbox children can reach the network", reason=network)
        self._idle.put_nowait(child)

    async def _replace(self) -> None:
        pause = FIRST_PAUSE
        while not self._closing.is_set():
            try:
                return await self._hire()
            except SandboxClosed:
                return None
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
    """One process, the pool that started it, and the line on which it is spoken to."""

    def __init__(self, on_end: Callable[[_Child, asyncio.Future[None]], None]) -> None:
        self.alive, self.ready, self.busy = True, False, False
        self.calls, self.grown = 0, 0
        """Calls it was given, and bytes it holds beyond what it held when it became ready."""
        self.worn, self.relieved = False, False
        self._on_end = on_end
        self._loop = asyncio.get_running_loop()
        self._reason: SafelightError | None = None
        self._gone: asyncio.Future[None] = self._loop.create_future()
        self._answer: asyncio.Future[Answer | None] | None = None
        self._progress: Progress | None = None
        self._unread = False
        self._held = 0
        self._heard = bytearray()
        self._line, self._far_end = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        self._line.setblocking(False)
        self._context = _OneProcess()
        self._pool = ProcessPool(
            max_workers=1, initializer=adopt, initargs=(self._far_end, os.getpid()), context=self._context
        )

    async def start(self, limits: Limits, warm: str | None) -> str | None:
        """Return when the process is ready for calls, with why it can reach the network if it can.

        Raises `Internal` when it cannot become ready.
        """
        try:
            self._launch()
            answer = await self.call(pickle.dumps((prepare, (limits, warm))), WARM_UP, None)
            if answer.verdict != "done":
                raise Internal from ChildTraceback(answer.trace)
            self.calls, self.grown, self._held, self.ready = 0, 0, answer.held, True
            return cast(str | None, pickle.loads(answer.payload))  # noqa: S301 - our own child pickled it
        except NotBegunError as cause:
            raise Internal from cause
        finally:
            if not self.ready:
                self.end()

    def _launch(self) -> None:
        # From this thread: the kernel ends the process when the thread that started it ends.
        if not self._pool.active or self._context.born is None:
            raise Internal
        self._far_end.close()
        self._loop.add_reader(self._line, self._hear)
        self._pool.schedule(serve)

    async def call(self, letter: bytes, timeout: float, progress: Progress | None) -> Answer:
        """Have the process do what `letter` says; raises `ImageTimeout`, `ImageCrashed`, or `NotBegunError`."""
        self.calls += 1
        self.busy, self._progress, self._answer = True, progress, self._loop.create_future()
        try:
            async with asyncio.timeout(timeout):
                answer = await self._answered(HEAD.pack(LETTER, len(letter)) + letter)
            if answer is None:
                raise await self._cause_of_death()
        except TimeoutError as cause:
            self.end()
            raise ImageTimeout(seconds=timeout) from cause
        except BaseException:
            self.end()
            raise
        finally:
            self.busy, self._progress, self._answer = False, None, None
        self.grown = answer.held - self._held
        return answer

    async def _answered(self, piece: bytes) -> Answer | None:
        """What comes of `piece`; None when the process dies over it."""
        assert self._answer is not None
        try:
            await self._loop.sock_sendall(self._line, piece)
        except OSError:
            self._unread = True
            self.end()
        return await self._answer

    async def _cause_of_death(self) -> Exception:
        if self._reason is not None:
            return self._reason
        if self._unread:
            return NotBegunError()
        await asyncio.wait({self._gone})
        code = self._context.born.exitcode if self._context.born else None
        log.warning("a sandbox child died during a call", exit_code=code)
        return ImageCrashed(exit_code=code)

    def _hear(self) -> None:
        """Take in what the process has said; when it has died there is nothing more, or an error."""
        try:
            heard = self._line.recv(READ_AT_ONCE)
        except BlockingIOError:
            return
        except OSError:
            # So Linux says that something was never read at the other end, once all that came from there has been.
            self._unread, heard = True, b""
        if not heard:
            self.end()
        self._heard += heard
        for kind, content in self._pieces():
            self._pass_on(kind, content)

    def _pieces(self) -> Iterator[tuple[int, bytes]]:
        while len(self._heard) >= HEAD.size:
            kind, size = HEAD.unpack_from(self._heard)
            if size > LARGEST.get(kind, 0):
                self.end()
                return
            end = HEAD.size + size
            if len(self._heard) < end:
                return
            content = bytes(self._heard[HEAD.size : end])
            del self._heard[:end]
            yield kind, content

    def _pass_on(self, kind: int, content: bytes) -> None:
        """Give a piece to whoever waits for the running call; without one, it is too late."""
        if self._answer is None or self._answer.done():
            return
        if kind == ANSWER:
            try:
                self._answer.set_result(pickle.loads(content))  # noqa: S301 - our own child pickled it
            except Exception:
                log.exception("an answer of a sandbox child makes no sense")
                self.end()
        elif kind == REPORT and self._progress is not None:
            try:
                self._progress(orjson.loads(content))
            except Exception:
                log.exception("a listener to progress failed")

    def end(self, reason: SafelightError | None = None) -> None:
        """Kill the process and let go of it; `reason` is what a running call raises. A second time is fine."""
        if not self.alive:
            return
        self.alive, self._reason = False, reason
        if self._answer is not None and not self._answer.done():
            self._answer.set_result(None)
        self._pool.stop()  # type: ignore[no-untyped-call]
        self._loop.remove_reader(self._line)
        if self._context.born is not None and self._context.born.pid is not None:
            self._context.born.kill()
        self._gone = self._loop.run_in_executor(None, self._pool.join)
        self._gone.add_done_callback(self._close)
        self._on_end(self, self._gone)

    def _close(self, _: asyncio.Future[None]) -> None:
        self._line.close()
        self._far_end.close()
