"""The inside of a sandbox: how a child process confines itself, does one call after the other and reports on them.

Everything here runs in children only, except that `report` does nothing elsewhere.
"""

from __future__ import annotations

import ctypes
import faulthandler
import importlib
import os
import pickle
import resource
import signal
import socket
import sys
import traceback
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.context import SpawnProcess
from pathlib import Path
from typing import Any, Literal

import orjson

from pipeline.errors import SafelightError

Verdict = Literal["done", "refused", "failed", "memory"]
Answer = tuple[Verdict, bytes, str]
"""What became of a call: its pickled result or SafelightError, and the traceback of what went wrong."""

LARGEST_REPORT = 32_768
"""Bytes of one report, as JSON."""
ROOM_FOR_MAPS = 8 * 2**30
"""Bytes of address space beside the memory limit, into which files may be mapped to be read."""
ENVIRONMENT = {"VIPS_CONCURRENCY": "1", "VIPS_BLOCK_UNTRUSTED": "1"}
FIRST_FOR_THE_KERNEL_TO_KILL = "1000"
PR_SET_PDEATHSIG = 1
M_ARENA_MAX, ARENAS = -8, 2


@dataclass(frozen=True)
class Limits:
    """What a child may use: bytes of memory beyond what it needs idle, descriptors, bytes of one file it writes."""

    memory: int
    open_files: int
    file_size: int


class Spawned(SpawnProcess):
    """A spawned process that ends at once when told to: it ignores the polite signal."""

    def terminate(self) -> None:
        self.kill()


class _Line:
    """The way back to the parent, and which call is speaking."""

    def __init__(self, mouth: socket.socket) -> None:
        self.mouth = mouth
        self.call = 0

    def begin(self, call: int) -> None:
        """Say that the call has begun, so that its parent knows whom a death concerns."""
        self.call = call
        self.say(None)

    def say(self, facts: Mapping[str, Any] | None) -> None:
        datagram = orjson.dumps({"call": self.call, "facts": facts})
        if len(datagram) > LARGEST_REPORT:
            raise ValueError(f"a report of {len(datagram)} bytes is longer than {LARGEST_REPORT}")
        with suppress(OSError):
            self.mouth.send(datagram)


# A child is one process with one parent: this is its only way to know the line it was born with.
_line: _Line | None = None


def report(facts: Mapping[str, Any]) -> None:
    """Tell whoever waits for the running call how far it is; JSON values only, nothing happens outside a child.

    Arrives in order and before the call's result. Waits while the parent is busy reading earlier reports.
    """
    if _line is not None:
        _line.say(facts)


def adopt(mouth: socket.socket, parent: int) -> None:
    """Make this process a child: it ends with `parent`, ignores the terminal, and will start libvips tamed."""
    global _line
    _line = _Line(mouth)
    with suppress(OSError):
        os.setsid()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    faulthandler.enable()
    os.environ.update(ENVIRONMENT)
    if sys.platform == "linux":
        _adopt_on_linux(parent)


def _adopt_on_linux(parent: int) -> None:
    library = ctypes.CDLL(None)
    library.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)
    with suppress(AttributeError):
        library.mallopt(M_ARENA_MAX, ARENAS)
    with suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text(FIRST_FOR_THE_KERNEL_TO_KILL)


def prepare(limits: Limits, warm: str | None) -> None:
    """Load what the calls will need, then close the limits around it; `warm` is `module:function`."""
    _tame_libvips()
    if warm is not None:
        module, _, name = warm.partition(":")
        getattr(importlib.import_module(module), name)()
    _confine(limits)


def _tame_libvips() -> None:
    import pyvips

    # The program's main module, which a spawned process imports first, may have started libvips already.
    pyvips.vips_lib.vips_concurrency_set(1)
    pyvips.block_untrusted_set(True)
    pyvips.cache_set_max(0)


def _confine(limits: Limits) -> None:
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    _lower(resource.RLIMIT_NOFILE, limits.open_files)
    _lower(resource.RLIMIT_FSIZE, limits.file_size)
    if sys.platform == "linux":
        pages = [int(number) for number in Path("/proc/self/statm").read_text().split()]
        mapped, writable = pages[0] * resource.getpagesize(), pages[5] * resource.getpagesize()
        _lower(resource.RLIMIT_DATA, writable + limits.memory)
        _lower(resource.RLIMIT_AS, mapped + limits.memory + ROOM_FOR_MAPS)


def _lower(limit: int, wanted: int) -> None:
    hard = resource.getrlimit(limit)[1]
    wanted = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    resource.setrlimit(limit, (wanted, wanted))


def perform(call: int, letter: bytes) -> Answer:
    """Do one call, pickled as function and arguments; nothing it raises leaves this process as an exception."""
    if _line is not None:
        _line.begin(call)
    try:
        function, arguments = pickle.loads(letter)  # noqa: S301 - the letter comes from our parent
        return "done", pickle.dumps(function(*arguments)), ""
    except SystemExit as leave:
        os._exit(leave.code if isinstance(leave.code, int) else 1)
    except Exception as fault:
        return _verdict(fault)


def _verdict(fault: Exception) -> Answer:
    trace = "".join(traceback.format_exception(fault))
    if _ran_out_of_memory(fault):
        return "memory", b"", trace
    if isinstance(fault, SafelightError):
        with suppress(Exception):
            return "refused", pickle.dumps(fault), trace
    return "failed", b"", trace


def _ran_out_of_memory(fault: BaseException | None) -> bool:
    """Whether memory is behind the fault or anything that led to it; libvips says so in words only."""
    while fault is not None:
        library = type(fault).__module__.partition(".")[0] == "pyvips"
        if isinstance(fault, MemoryError) or (library and "out of memory" in str(fault)):
            return True
        fault = fault.__cause__ or fault.__context__
    return False


def dotted(function: Callable[[], None]) -> str:
    """The name by which a child finds `function` again: `module:function`."""
    return f"{function.__module__}:{function.__qualname__}"
