"""What the sandbox tests have children do; children import it by name."""

from __future__ import annotations

import ctypes
import os
import resource
import signal
import sys
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyvips

from pipeline.errors import FileTooLarge, ImageUnreadable
from pipeline.imaging.sandbox import report

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
