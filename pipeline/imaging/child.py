"""The inside of a sandbox: how a child process confines itself, does one call after the other and reports on them.

Everything here runs in children only, except that `report` and `allow` do nothing elsewhere.
"""

from __future__ import annotations

import ctypes
import faulthandler
import importlib
import os
import pickle
import signal
import socket
import struct
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from threading import Lock
from typing import Any, Literal, NamedTuple

import orjson

from pipeline.errors import SafelightError
from pipeline.imaging.confine import Limits, confine, held, lead, narrow, refuse_network, widen

Verdict = Literal["done", "refused", "failed", "memory"]


class Answer(NamedTuple):
    """What became of a call."""

    verdict: Verdict
    payload: bytes = b""
    """Its pickled result or SafelightError."""
    trace: str = ""
    """The traceback of what went wrong."""
    held: int = 0
    """Bytes the child holds now that the call is over."""
    allowed: int | None = None
    """Bytes the call was narrowed to, if it was."""


HEAD = struct.Struct("!BI")
"""What goes before everything on the line: what it is, and of how many bytes."""
LETTER, REPORT, ANSWER = 0, 1, 2
LARGEST = {REPORT: 32_768, ANSWER: 64 * 2**20}
"""Bytes of a report, as JSON, and of an answer."""
NO_MEMORY = ("out of memory", "Insufficient memory", "Error creating thread", "unable to allocate")
"""What libvips, libjpeg and glib say when there is none; a thread wants memory for its stack."""
ENVIRONMENT = {"VIPS_CONCURRENCY": "1", "VIPS_BLOCK_UNTRUSTED": "1"}
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD, M_ARENA_MAX = -1, -3, -8
MALLOC = {M_ARENA_MAX: 2, M_TRIM_THRESHOLD: 64 * 2**20, M_MMAP_THRESHOLD: 32 * 2**20}
"""See mallopt(3). What one picture has freed serves the next: given back, every page would be faulted in anew."""


class _Line:
    """The way to the parent and back, and what concerns the call that is on it."""

    def __init__(self, end: socket.socket) -> None:
        end.setblocking(True)
        self._end = end
        self._ear = end.makefile("rb")
        self._speaking = Lock()
        self.allowed: int | None = None

    def letters(self) -> Iterator[bytes]:
        """One call after the other, until the parent lets go."""
        while head := self._ear.read(HEAD.size):
            yield self._ear.read(HEAD.unpack(head)[1])

    def say(self, kind: int, content: bytes) -> None:
        """Pass something on; waits while the parent is busy with what was said before."""
        with self._speaking:
            self._end.sendall(HEAD.pack(kind, len(content)) + content)


# A child is one process with one parent: this is its only way to know the line it was born with.
_line: _Line | None = None


def report(facts: Mapping[str, Any]) -> None:
    """Tell whoever waits for the running call how far it is; JSON values only, nothing happens outside a child.

    Arrives in order and before the call's result. Waits while the parent is busy reading earlier reports.
    """
    if _line is not None:
        content = orjson.dumps(facts)
        if len(content) > LARGEST[REPORT]:
            raise ValueError(f"a report of {len(content)} bytes is longer than {LARGEST[REPORT]}")
        _line.say(REPORT, content)


def allow(memory: int) -> None:
    """Let the rest of the running call take about `memory` bytes beyond what the child has, never over its own limit.

    More is `ImageMemoryExceeded` as a rule, but decoders may say that the image is damaged, or crash: be generous. The
    next call has the child's whole limit again; nothing happens outside a child.
    """
    if _line is not None:
        narrow(memory)
        _line.allowed = memory


def adopt(end: socket.socket, parent: int) -> None:
    """Make this process a child: it ends with `parent`, ignores the terminal, and will start libvips tamed."""
    global _line
    _line = _Line(end)
    lead(parent)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    faulthandler.enable()
    os.environ.update(ENVIRONMENT)
    keep_freed_memory()


def keep_freed_memory() -> None:
    """Let this process serve the next picture from what the last one has freed, where the C library can."""
    if sys.platform == "linux":
        library = ctypes.CDLL(None)
        with suppress(AttributeError):
            for name, value in MALLOC.items():
                library.mallopt(name, value)


def prepare(limits: Limits, warm: str | None) -> str | None:
    """Load what the calls will need, then close the limits around it; `warm` is `module:function`.

    Returns why this child can reach the network, None when it cannot.
    """
    network = refuse_network()
    _tame_libvips()
    if warm is not None:
        module, _, name = warm.partition(":")
        getattr(importlib.import_module(module), name)()
    confine(limits)
    return network


def _tame_libvips() -> None:
    import pyvips

    # The program's main module, which a spawned process imports first, may have started libvips already.
    pyvips.vips_lib.vips_concurrency_set(1)
    pyvips.block_untrusted_set(True)
    pyvips.cache_set_max(0)


def serve() -> None:
    """Do what the parent asks, one call after the other, for the rest of this process's life."""
    assert _line is not None
    try:
        for letter in _line.letters():
            answer = perform(letter)
            _line.say(ANSWER, pickle.dumps(answer._replace(held=held())))
    finally:
        # Not by way of an exception: only the end of the process tells the parent that there is no answer.
        os._exit(1)


def perform(letter: bytes) -> Answer:
    """Do one call, pickled as function and arguments; nothing it raises leaves this process as an exception."""
    allowed: int | None = None
    try:
        try:
            function, arguments = pickle.loads(letter)  # noqa: S301 - the letter comes from our parent
            payload = pickle.dumps(function(*arguments))
        finally:
            allowed = _widened()
        if len(payload) > LARGEST[ANSWER] // 2:
            raise ValueError(f"an answer of {len(payload)} bytes is too long")
        return Answer("done", payload)
    except SystemExit as leave:
        os._exit(leave.code if isinstance(leave.code, int) else 1)
    except Exception as fault:
        return _verdict(fault)._replace(allowed=allowed)


def _widened() -> int | None:
    """Give the child its whole limit again; returns what the call was allowed."""
    if _line is None or _line.allowed is None:
        return None
    widen()
    allowed, _line.allowed = _line.allowed, None
    return allowed


def _verdict(fault: Exception) -> Answer:
    trace = "".join(traceback.format_exception(fault))
    if _ran_out_of_memory(fault):
        return Answer("memory", trace=trace)
    if isinstance(fault, SafelightError):
        with suppress(Exception):
            return Answer("refused", pickle.dumps(fault), trace)
    return Answer("failed", trace=trace)


def _ran_out_of_memory(fault: BaseException | None) -> bool:
    """Whether memory is behind the fault or anything that led to it; libvips says so in words only."""
    while fault is not None:
        library = type(fault).__module__.partition(".")[0] == "pyvips"
        if isinstance(fault, MemoryError) or (library and any(words in str(fault) for words in NO_MEMORY)):
            return True
        fault = fault.__cause__ or fault.__context__
    return False


def dotted(function: Callable[[], None]) -> str:
    """The name by which a child finds `function` again: `module:function`."""
    return f"{function.__module__}:{function.__qualname__}"
