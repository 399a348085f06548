"""Files being written: in batches of 1 MiB, which nobody copies, from the event loop while the disk keeps up."""

from __future__ import annotations

import asyncio
import errno
import fcntl
import os
import stat
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from pipeline.errors import PathInvalid, StorageFull, StorageUnavailable
from pipeline.storage.base import STAGING

BATCH = 1024 * 1024
"""How many bytes are gathered for one write, bytes."""
MOST = 500
"""How many chunks are; a system call takes twice as many."""
SLOW = 0.01
"""A batch that takes the system longer than so many seconds has met the disk: the next one does so in a thread."""
FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
COLLISION = {errno.ENOTDIR, errno.EISDIR, errno.ENOTEMPTY, errno.EEXIST}

T = TypeVar("T")


class Draft:
    """A file being written, in batches."""

    def __init__(self, path: Path, descriptor: int, position: int) -> None:
        self.path = path
        self.position = position
        """Where the next batch goes, bytes."""
        self._descriptor = descriptor
        self._batch: list[bytes] = []
        self._size = 0
        self._is_slow = False

    @classmethod
    def create(cls, path: Path) -> Draft:
        """A new file, or the same one emptied."""
        return cls._open(path, os.O_CREAT | os.O_TRUNC)

    @classmethod
    def resume(cls, path: Path) -> Draft:
        """A file as it is, to be written on at its end; made when it is not there."""
        return cls._open(path, os.O_CREAT)

    @classmethod
    def _open(cls, path: Path, flags: int) -> Draft:
        with faults_spoken(path):
            descriptor = os.open(path, os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC | flags, 0o640)
            return cls(path, descriptor, os.fstat(descriptor).st_size)

    def lock(self) -> bool:
        """Whether nobody else who asks has this very file open; so it stays until we close it, or end in any way."""
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        except OSError:  # a filesystem without such locks
            return True
        return True

    async def take(self, chunk: bytes) -> None:
        """Keep `chunk`, in the file at the latest with the next `flush`; waits for a disk that cannot keep up."""
        self._batch.append(chunk)
        self._size += len(chunk)
        if self._size < BATCH and len(self._batch) < MOST:
            return
        if self._is_slow:
            await finished(self.flush)
        else:
            self.flush()

    def flush(self) -> None:
        """Hand everything to the operating system."""
        batch, self._batch, self._size = self._batch, [], 0
        began = time.perf_counter()
        self._write_out(batch)
        self._is_slow = time.perf_counter() - began > SLOW

    def sync(self) -> None:
        """Wait until the disk has what was flushed; blocks."""
        with faults_spoken(self.path):
            os.fsync(self._descriptor)

    def close(self) -> None:
        os.close(self._descriptor)

    def _write_out(self, batch: Sequence[bytes | memoryview]) -> None:
        with faults_spoken(self.path):
            while batch:
                length = os.pwritev(self._descriptor, batch, self.position)
                self.position += length
                batch = _behind(batch, length)


def _behind(batch: Sequence[bytes | memoryview], length: int) -> Sequence[bytes | memoryview]:
    """What of a batch comes after its first `length` bytes."""
    for index, chunk in enumerate(batch):
        if length < len(chunk):
            return [memoryview(chunk)[length:], *batch[index + 1 :]]
        length -= len(chunk)
    return ()


@contextmanager
def faults_spoken(path: Path | str) -> Iterator[None]:
    """Turns the operating system's faults into ours."""
    try:
        yield
    except OSError as error:
        if error.errno in FULL:
            raise StorageFull from error
        # Where bytes only wait, no key is to blame for what lies in the way.
        if error.errno in COLLISION and STAGING not in (path := Path(path)).parts:
            raise PathInvalid(path=path.name, reason="a folder and a file of that name cannot both be") from error
        raise StorageUnavailable from error


def made_folders(folder: Path, root: Path) -> set[Path]:
    """Make `folder` and those above it below `root`; the folders that have a new entry. Blocks."""
    steps = [step for step in (folder, *folder.parents) if step.is_relative_to(root)]
    while True:
        missing = [step for step in steps if not step.exists()]
        try:
            folder.mkdir(parents=True, exist_ok=True)
            return {step.parent for step in missing}
        except FileExistsError:  # also when a delete took the empty folder away before it was looked at
            if any(map(_is_in_the_way, steps)):
                raise


def _is_in_the_way(path: Path) -> bool:
    """Whether something else than a folder lies there."""
    try:
        return not stat.S_ISDIR(path.lstat().st_mode)
    except FileNotFoundError:
        return False


async def finished(work: Callable[[], T]) -> T:
    """What `work` returns, run in a thread; a cancelled caller still waits for its end, so that files can be closed."""
    running = asyncio.get_running_loop().run_in_executor(None, work)
    try:
        return await asyncio.shield(running)
    except asyncio.CancelledError:
        await asyncio.wait([running])
        raise


def sync_folder(folder: Path | str) -> None:
    """Wait until the disk knows the names in `folder`; blocks."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
