"""What the sandbox tests have children do; children import it by name."""

from __future__ import annotations

import ctypes
import errno
import os
import resource
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pyvips

from pipeline.errors import FileTooLarge, ImageTooLarge, ImageUnreadable
from pipeline.imaging import child
from pipeline.imaging.confine import spawned
from pipeline.imaging.sandbox import allow, report

WARMED: list[int] = []


def warm() -> None:
    WARMED.append(os.getpid())


def warm_and_fail() -> None:
    raise LookupError("nothing to warm with")


def add(one: int, other: int) -> int:
    return one + other


def pid() -> int:
    return os.getpid()


def segfault() -> None:
    ctypes.string_at(0)


def abort() -> None:
    os.abort()


def leave(code: int) -> None:
    os._exit(code)


def leave_politely(code: int) -> None:
    sys.exit(code)


def hang(started: str | None = None) -> None:
    if started is not None:
        Path(started).write_text(str(os.getpid()))
    while True:
        time.sleep(3600)


def spin(started: str) -> None:
    """Busy inside C code that never returns to the interpreter."""
    Path(started).write_text(str(os.getpid()))
    library = ctypes.PyDLL(None)
    while True:
        library.usleep(600_000_000)


def killed_by_the_kernel() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def eat(count: int) -> int:
    return len(bytearray(count))


def eat_with_libvips(side: int) -> float:
    """Make libvips keep a picture in memory."""
    return float(pyvips.Image.black(side, side, bands=3).copy_memory().avg())


def eat_and_blame_the_image(count: int) -> None:
    try:
        bytearray(count)
    except (MemoryError, ValueError) as cause:
        raise ImageUnreadable(reason="it does not open") from cause


def refuse(limit: int) -> None:
    try:
        raise OSError("the disk says no")
    except OSError as cause:
        raise FileTooLarge(limit=limit, node="thumb") from cause


def fail() -> None:
    raise LookupError("something nobody thought of")


def give_back_what_cannot_be_sent() -> object:
    return threading.Lock()


def count_aloud(to: int) -> int:
    for number in range(to):
        report({"number": number})
    return to


def count_then_die(to: int) -> None:
    count_aloud(to)
    ctypes.string_at(0)


def chatter(started: str) -> None:
    Path(started).write_text(str(os.getpid()))
    while True:
        report({"said": "x" * 1000})


def say_too_much() -> None:
    report({"said": "x" * 100_000})


def condition() -> Mapping[str, Any]:
    """How this child is confined."""
    return {
        "session": os.getsid(0),
        "pid": os.getpid(),
        "interrupt": signal.getsignal(signal.SIGINT) == signal.SIG_IGN,
        "terminate": signal.getsignal(signal.SIGTERM) == signal.SIG_IGN,
        "core": resource.getrlimit(resource.RLIMIT_CORE),
        "files": resource.getrlimit(resource.RLIMIT_NOFILE),
        "concurrency": pyvips.vips_lib.vips_concurrency_get(),
        "cache": pyvips.vips_lib.vips_cache_get_max(),
        "warmed": list(WARMED),
    }


def write_and_read_with_libvips(folder: str) -> dict[str, float]:
    """The mean of a picture after a round through each format."""
    picture = pyvips.Image.black(256, 256, bands=3).linear(1, 128).cast("uchar").copy(interpretation="srgb")
    means = {}
    for ending in ("jpg", "png", "webp", "gif", "tif", "avif"):
        path = f"{folder}/round.{ending}"
        picture.write_to_file(path)
        means[ending] = float(pyvips.Image.new_from_file(path).extract_band(0).avg())
    return means


def thumbnail_with_threads(path: str, width: int) -> tuple[int, int]:
    made = pyvips.Image.thumbnail(path, width).copy_memory()
    return made.width, made.height


def open_svg() -> None:
    pyvips.Image.svgload_buffer(b'<svg xmlns="http://www.w3.org/2000/svg" width="5" height="5"/>').avg()


def spare_bytes(path: str, count: int) -> None:
    with Path(path).open("wb") as file:
        file.truncate(count)


# What a child may not do


def opened(family: int, kind: int) -> str:
    """The name of the error that opening a socket ends with, empty when it opens."""
    try:
        socket.socket(family, kind).close()
    except OSError as refusal:
        return errno.errorcode[refusal.errno or 0]
    return ""


def opened_in_a_thread(family: int, kind: int) -> str:
    with ThreadPoolExecutor(1) as beside:
        return beside.submit(opened, family, kind).result()


def opened_by_a_program(family: int, kind: int) -> str:
    """The same, of a program that the child runs."""
    program = f"from tests.imaging.acts import opened; print(opened({family}, {kind}))"
    environ = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    ran = subprocess.run([sys.executable, "-c", program], env=environ, capture_output=True, text=True, check=True)
    return ran.stdout.strip()


def called(number: int, *arguments: int) -> str:
    """The name of the error that a call of the kernel by its number ends with, empty when there is none."""
    library = ctypes.CDLL(None, use_errno=True)
    answer = library.syscall(*(ctypes.c_long(word) for word in (number, *arguments)))
    return errno.errorcode[ctypes.get_errno()] if answer < 0 else ""


def connected(path: str) -> str:
    with socket.socket(socket.AF_UNIX) as end:
        try:
            end.connect(path)
        except OSError as refusal:
            return errno.errorcode[refusal.errno or 0]
    return ""


def talked_within() -> bytes:
    one, other = socket.socketpair()
    with one, other:
        one.sendall(b"still there")
        return other.recv(100)


def opened_as_32_bits() -> int:
    """The exit code of a program that opens an internet socket the way programs of 32 bits do."""
    return subprocess.run([sys.executable, "-c", AS_32_BITS], stderr=subprocess.DEVNULL).returncode


# push rbx; mov ebx, AF_INET; mov ecx, SOCK_STREAM; xor edx, edx; mov eax, 359 (socket); int 0x80; pop rbx; ret
AS_32_BITS = """
import ctypes, mmap
code = bytes.fromhex("53 bb02000000 b901000000 31d2 b867010000 cd80 5b c3")
page = mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
page.write(code)
function = ctypes.CFUNCTYPE(ctypes.c_int)(ctypes.addressof(ctypes.c_char.from_buffer(page)))
raise SystemExit(0 if function() >= 0 else 1)
"""


def allow_and_eat(allowed: int, count: int) -> int:
    allow(allowed)
    return eat(count)


def allow_and_refuse(allowed: int) -> None:
    allow(allowed)
    raise ImageTooLarge(pixels=2, limit=1)


def allow_and_thumbnail(allowed: int, path: str) -> tuple[int, int]:
    allow(allowed)
    return thumbnail_with_threads(path, 300)


KEPT: list[bytes] = []


def keep(count: int) -> int:
    """Hold on to memory after the call, as a leak does."""
    KEPT.append(b"x" * count)
    return os.getpid()


def eat_for_good_measure(count: int) -> None:
    """Fill memory and give it back."""
    assert len(b"x" * count) == count


def untrusted(folder: str) -> dict[str, str]:
    """What the loaders that libvips does not trust say to a file."""
    path = f"{folder}/file"
    Path(path).write_bytes(b"P5 1 1 255\n0")
    said = {}
    for name in UNTRUSTED:
        try:
            pyvips.Operation.call(name, path, *((1, 1, 1) if name == "rawload" else ()))
            said[name] = "opened"
        except pyvips.Error as refusal:
            said[name] = str(refusal)
    return said


UNTRUSTED = ("svgload", "csvload", "rawload", "vipsload")


# What a child spawns


def spawn_and_hang(note: str) -> None:
    """Run a program beside, note its number, and never end."""
    Path(note).write_text(str(subprocess.Popen(LONG).pid))
    hang()


def spawn_bound_and_hang(note: str) -> None:
    Path(note).write_text(str(spawned(LONG).pid))
    hang()


def spawn_and_crash(note: str) -> None:
    Path(note).write_text(str(subprocess.Popen(LONG).pid))
    segfault()


def spawn_and_return(note: str) -> None:
    Path(note).write_text(str(subprocess.Popen(LONG).pid))


def spawn_apart() -> str:
    """The name of the error that starting a program in a group of its own ends with."""
    try:
        subprocess.Popen(LONG, start_new_session=True)
    except OSError as refusal:
        return errno.errorcode[refusal.errno or 0]
    return ""


def ask_a_program(words: str) -> str:
    with spawned(["cat"], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as program:
        return program.communicate(words.encode())[0].decode()


LONG = ("sleep", "600")


# What passes over the line


def length(content: bytes) -> int:
    return len(content)


def blob(count: int) -> bytes:
    return bytes(range(256)) * (count // 256)


def speak_nonsense() -> None:
    """Say what no child says, and then nothing more."""
    assert child._line is not None
    child._line._end.sendall(b"\xff" * 100)
    hang()
