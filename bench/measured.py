"""What every contestant in Python prints of itself: CPU and wall seconds an image, and its peak memory, as JSON."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path


def tell(act: Callable[[], object], times: int) -> None:
    """Do `act` once to warm up, then `times` over; CPU is user and system time of all threads of this process."""
    act()
    cpu, wall = time.process_time(), time.perf_counter()
    for _ in range(times):
        act()
    cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
    print(json.dumps({"cpu": cpu / times, "wall": wall / times, "peak_mib": peak_mib()}))


def peak_mib(pid: int | str = "self") -> float:
    """The most memory a process has had resident so far."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:")) / 1024


def resident_mib(pid: int | str = "self") -> float:
    """The memory a process has resident now."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS:")) / 1024


def cpu_seconds(pid: int) -> float:
    """User and system time of another process so far; see clock_getcpuclockid(3) for how Linux numbers its clock."""
    return time.clock_gettime((~pid << 3) | 2)
