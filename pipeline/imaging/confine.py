"""What a sandbox child denies itself before it meets a stranger's bytes: the network, other company, more memory.

What is denied stays denied in whatever it spawns. Linux can do all of it; elsewhere a child keeps the network, and what
it spawned may outlive a worker that is killed.
"""

from __future__ import annotations

import ctypes
import os
import platform
import resource
import signal
import socket
import struct
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from multiprocessing.context import SpawnProcess
from multiprocessing.popen_spawn_posix import Popen
from pathlib import Path
from typing import Any

ROOM_FOR_MAPS = 8 * 2**30
"""Bytes of address space beside the memory limit, into which files may be mapped to be read."""
ROOM_FOR_THREADS = 64 * 2**20
"""Bytes beside what a call is narrowed to: stacks, 8 MiB each, count whole as soon as a thread starts."""
FIRST_FOR_THE_KERNEL_TO_KILL = "1000"
PR_SET_PDEATHSIG, PR_SET_NO_NEW_PRIVS = 1, 38


@dataclass(frozen=True)
class Limits:
    """What a child may use: bytes of memory beyond what it needs idle, descriptors, bytes of one file it writes."""

    memory: int
    open_files: int
    file_size: int


# Who ends with whom


class Spawned(SpawnProcess):
    """A spawned process that leads a group of its own, and the whole group ends when it does or is told to.

    It ends at once: it ignores the polite signal.
    """

    @staticmethod
    def _Popen(process_obj: Any) -> Popen:  # noqa: N802 - the name multiprocessing calls
        return _Leader(process_obj)

    def terminate(self) -> None:
        self.kill()


class _Leader(Popen):
    """The first of a group; its number is the group's, and cannot become anybody else's until it is reaped."""

    def kill(self) -> None:
        if self.returncode is None:
            self._end_group()
            super().kill()

    def poll(self, flag: int = os.WNOHANG) -> int | None:
        if self.returncode is None and sys.platform == "linux":
            with suppress(ChildProcessError):
                if os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOWAIT | flag) is not None:
                    self._end_group()
        return super().poll(flag)

    def _end_group(self) -> None:
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, signal.SIGKILL)


def lead(parent: int) -> None:
    """Lead a group of one's own, which nobody in it can leave, and end when `parent` does."""
    with suppress(OSError):
        os.setsid()
    if sys.platform == "linux":
        _end_with(parent)
        with suppress(OSError):
            Path("/proc/self/oom_score_adj").write_text(FIRST_FOR_THE_KERNEL_TO_KILL)


def spawned(command: Sequence[str], **options: Any) -> subprocess.Popen[bytes]:
    """`subprocess.Popen(command, **options)` for use inside a child: the program ends when the child does.

    However the child ends, also when it is the worker that is killed; and when the thread that called this does.
    """
    if sys.platform == "linux":
        # Between fork and exec: a single call into the C library, which has been loaded before.
        options["preexec_fn"] = partial(_end_with, os.getpid())
    return subprocess.Popen(command, **options)


def _end_with(parent: int) -> None:
    _prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)


def _prctl(option: int, value: int) -> int:
    words = (ctypes.c_ulong(word) for word in (value, 0, 0, 0))
    return int(_C.prctl(option, *words))


_C = ctypes.CDLL(None, use_errno=True)


# The network


@dataclass(frozen=True)
class _Machine:
    """How Linux numbers its calls on one kind of processor; see asm/unistd.h and linux/audit.h."""

    architecture: int
    seccomp: int
    sockets: tuple[int, ...]
    """socket, socketpair: refused but for AF_UNIX."""
    refused: tuple[int, ...]
    """connect, the ways around the others (io_uring_setup, pidfd_getfd, ptrace, process_vm_writev), and those out of
    the group (setpgid, setsid)."""


MACHINES = {
    "x86_64": _Machine(0xC000003E, 317, (41, 53), (42, 425, 438, 101, 311, 109, 112)),
    "aarch64": _Machine(0xC00000B7, 277, (198, 199), (203, 425, 438, 117, 271, 154, 157)),
}
SET_MODE_FILTER, GET_ACTION_AVAIL, ALL_THREADS = 1, 2, 1
KILL, REFUSE, ALLOW = 0x8000_0000, 0x0005_0000 | 1, 0x7FFF_0000
"""End the process, answer EPERM, let it pass."""
NUMBER, ARCHITECTURE, FIRST_ARGUMENT = 0, 4, 16
"""Where the kernel puts them before the filter; the lower half of the argument, which is all that it reads of it."""
LOAD, IF_EQUAL, IF_AT_LEAST, ANSWER = 0x20, 0x15, 0x35, 0x06
FOREIGN_NUMBERS = 0x4000_0000
"""Where x32 begins, a second set of numbers for the calls of x86_64."""


class _Filters(ctypes.Structure):
    _fields_ = [("length", ctypes.c_ushort), ("instructions", ctypes.c_char_p)]


def refuse_network() -> str | None:
    """Leave this process no socket but of the Unix family, in every thread and for good.

    Returns why that cannot be had, None when it is done. Connecting is refused too: Redis may be listening on a socket
    file.
    """
    if (why := network_stays_open()) is not None:
        return why
    program = b"".join(_instructions(MACHINES[platform.machine()]))
    filters = _Filters(len(program) // 8, program)
    if _prctl(PR_SET_NO_NEW_PRIVS, 1) != 0:
        return f"prctl: {os.strerror(ctypes.get_errno())}"
    unfiltered = _seccomp(SET_MODE_FILTER, ALL_THREADS, filters)
    if unfiltered > 0:
        return f"thread {unfiltered} cannot be filtered"
    return None if unfiltered == 0 else f"seccomp: {os.strerror(ctypes.get_errno())}"


def network_stays_open() -> str | None:
    """Why the children of this machine can reach the network, None when they cannot; changes nothing."""
    if sys.platform != "linux":
        return f"only Linux can refuse it, this is {sys.platform}"
    if platform.machine() not in MACHINES or sys.maxsize < 2**32:
        return f"there is no filter for {platform.machine()} with {platform.architecture()[0]}"
    if _seccomp(GET_ACTION_AVAIL, 0, ctypes.c_uint32(REFUSE & 0xFFFF_0000)) != 0:
        return f"this kernel has no seccomp filters: {os.strerror(ctypes.get_errno())}"
    return None


def _seccomp(operation: int, flags: int, argument: ctypes._CData) -> int:
    numbers = (MACHINES[platform.machine()].seccomp, operation, flags)
    return int(_C.syscall(*(ctypes.c_long(number) for number in numbers), ctypes.byref(argument)))


def _instructions(machine: _Machine) -> Iterator[bytes]:
    """The filter, in the classic BPF of seccomp(2); a jump counts the instructions it leaves out."""
    yield _step(LOAD, ARCHITECTURE)
    yield _step(IF_EQUAL, machine.architecture, then=1)
    yield _step(ANSWER, KILL)
    yield _step(LOAD, NUMBER)
    yield _step(IF_AT_LEAST, FOREIGN_NUMBERS, otherwise=1)
    yield _step(ANSWER, REFUSE)
    for number in machine.refused:
        yield _step(IF_EQUAL, number, otherwise=1)
        yield _step(ANSWER, REFUSE)
    for number in machine.sockets:
        yield _step(IF_EQUAL, number, otherwise=4)
        yield _step(LOAD, FIRST_ARGUMENT)
        yield _step(IF_EQUAL, socket.AF_UNIX, then=1)
        yield _step(ANSWER, REFUSE)
        yield _step(ANSWER, ALLOW)
    yield _step(ANSWER, ALLOW)


def _step(code: int, value: int, then: int = 0, otherwise: int = 0) -> bytes:
    return struct.pack("=HBBI", code, then, otherwise, value)


# Memory and files


def confine(limits: Limits) -> None:
    """Close the limits around what this process has taken so far."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    _lower(resource.RLIMIT_NOFILE, limits.open_files)
    _lower(resource.RLIMIT_FSIZE, limits.file_size)
    for limit, wanted in _memory_limits(limits.memory):
        _lower(limit, wanted)


def narrow(memory: int) -> None:
    """Let this process take `memory` bytes beyond what it has now, if that is less than it may, until `widen`."""
    for limit, wanted in _memory_limits(memory + ROOM_FOR_THREADS):
        hard = resource.getrlimit(limit)[1]
        resource.setrlimit(limit, (_within(wanted, hard), hard))


def widen() -> None:
    """Let this process take again what `confine` left it."""
    for limit in (resource.RLIMIT_DATA, resource.RLIMIT_AS):
        hard = resource.getrlimit(limit)[1]
        resource.setrlimit(limit, (hard, hard))


def held() -> int:
    """Bytes in memory that are this process's own, as far as the system tells."""
    if sys.platform != "linux":
        return 0
    _, resident, shared, *_ = _pages()
    return (resident - shared) * resource.getpagesize()


def _memory_limits(memory: int) -> Iterator[tuple[int, int]]:
    if sys.platform == "linux":
        mapped, _, _, _, _, writable, _ = _pages()
        yield resource.RLIMIT_DATA, writable * resource.getpagesize() + memory
        yield resource.RLIMIT_AS, mapped * resource.getpagesize() + memory + ROOM_FOR_MAPS


def _pages() -> list[int]:
    with open("/proc/self/statm", "rb", buffering=0) as counts:  # noqa: PTH123 - after every call: the quickest way
        return [int(number) for number in counts.read().split()]


def _lower(limit: int, wanted: int) -> None:
    hard = _within(wanted, resource.getrlimit(limit)[1])
    resource.setrlimit(limit, (hard, hard))


def _within(wanted: int, hard: int) -> int:
    return wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
