"""One `safelight up` per data folder: a lock that lives as long as its last process, and a note of where it answers."""

from __future__ import annotations

import fcntl
import json
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pipeline.cli.console import Exit, Refusal
from pipeline.cli.target import NOTE, running

PATIENCE = 10.0
"""Seconds to wait for the embedded Valkey of an `up` that was killed to write its last bytes."""


@contextmanager
def claimed(data: Path) -> Iterator[int]:
    """The descriptor of the lock on `data`; refuses when another `up` runs on the folder."""
    try:
        data.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(data / "up.lock", os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as cause:
        raise Refusal(f"The data folder {data} cannot be used: {cause.strerror}.", code=Exit.FAILED) from cause
    try:
        _lock(descriptor, data)
        yield descriptor
    finally:
        os.close(descriptor)


def _lock(descriptor: int, data: Path) -> None:
    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError as cause:
            note = running(data)
            if note or time.monotonic() > deadline:
                raise _taken(data, note) from cause
            time.sleep(0.05)


def _taken(data: Path, note: Mapping[str, Any] | None) -> Refusal:
    where = f" (pid {note['pid']}, {note['address']})" if note else ""
    return Refusal(
        f"Safelight already runs on the data folder {data}{where}.",
        "stop it, or give this one a folder of its own with --data.",
        Exit.FAILED,
    )


@contextmanager
def noted(data: Path, note: Mapping[str, Any]) -> Iterator[None]:
    """Keep `note` in the data folder, readable by its owner only, while the block runs."""
    path, draft = data / NOTE, data / f".{NOTE}"
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as file:
        json.dump(note, file)
    draft.replace(path)
    try:
        yield
    finally:
        path.unlink(missing_ok=True)
