"""How much memory a worker holds, with its sandbox children."""

from __future__ import annotations

import os
import resource
from pathlib import Path

PROC = Path("/proc")


def held_memory() -> int:
    """Bytes that this process and all it started hold in memory; of this process at its peak where none can tell."""
    if not (PROC / "self/statm").exists():
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return sum(_resident(pid) for pid in _family(os.getpid()))


def _family(pid: int) -> list[int]:
    children: dict[int, list[int]] = {}
    for folder in PROC.glob("[1-9]*"):
        children.setdefault(_parent(folder), []).append(int(folder.name))
    family = [pid]
    for member in family:  # grows while it is walked
        family += children.get(member, [])
    return family


def _parent(folder: Path) -> int:
    try:
        # The name of the program stands before it in brackets, and may hold anything.
        return int((folder / "stat").read_text().rpartition(")")[2].split()[1])
    except OSError:  # it ended meanwhile
        return 0


def _resident(pid: int) -> int:
    try:
        return int((PROC / f"{pid}/statm").read_text().split()[1]) * resource.getpagesize()
    except (OSError, IndexError):  # it ended meanwhile
        return 0
