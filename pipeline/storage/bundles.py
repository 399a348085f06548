"""Small files that come into a new folder together: written into one aside, synced, and put in place by one rename.

They go from the event loop into the page cache; what waits for the disk is done in a thread, for as many bundles at a
time as have come meanwhile, which share it and the syncs of the folders above.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import stat
import time
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from pipeline.errors import PathInvalid, StorageUnavailable
from pipeline.storage.base import Content
from pipeline.storage.drafts import faults_spoken, finished, made_folders, sync_folder

SETTLERS = 4
"""Threads in which bundles are put in place at once."""
SOUND_SECONDS = 10.0
"""For so long a folder is known to be no symbolic link."""
MOST_SOUND = 4096
FLAGS = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


@dataclass
class Bundle:
    """Files in a folder `aside` that is to be `folder`, and what is told when it is: nothing, or what went wrong."""

    aside: str
    folder: str
    over: asyncio.Future[Exception | None]
    open: list[int] = field(default_factory=list)

    def write(self, contents: Iterable[Content]) -> None:
        """Hand everything to the operating system."""
        os.mkdir(self.aside)  # noqa: PTH102 - a path of pathlib costs more than the call
        for content in contents:
            descriptor = os.open(f"{self.aside}/{content.key.rpartition('/')[2]}", FLAGS, 0o640)
            self.open.append(descriptor)
            written = os.write(descriptor, content.body)
            while written < len(content.body):
                written += os.write(descriptor, content.body[written:])

    def sync(self) -> None:
        """Wait until the disk has it; blocks."""
        for descriptor in self.open:
            os.fsync(descriptor)
        self.close()
        sync_folder(self.aside)

    def close(self) -> None:
        while self.open:
            os.close(self.open.pop())


class Bundles:
    """Puts bundles into place below `root`; `staging` is where they lie until then."""

    def __init__(self, root: Path, staging: Path, prefix: str) -> None:
        self._root = str(root)
        self._start = f"{staging}/{prefix}"
        self._waiting: list[Bundle] = []
        self._settlers = 0
        self._sound: dict[str, float] = {}

    async def put(self, folder: str, contents: Sequence[Content]) -> None:
        """Keep `contents`, whose keys all lie in `folder`, which is new; raises `PathInvalid`, `StorageFull`, ..."""
        self._check(folder.rpartition("/")[0])
        place = f"{self._root}/{folder}"
        over: asyncio.Future[Exception | None] = asyncio.get_running_loop().create_future()
        bundle = Bundle(f"{self._start}{folder.rpartition('/')[2]}", place, over)
        try:
            with faults_spoken(place):
                bundle.write(contents)
            await self._settled(bundle)
        except BaseException:
            bundle.close()
            await finished(partial(shutil.rmtree, bundle.aside, ignore_errors=True))
            raise

    def _check(self, folder: str) -> None:
        """Raise `PathInvalid` when a symbolic link lies on the way there; what was sound is asked again in a while."""
        path, now = self._root, time.monotonic()
        if self._sound.get(folder, 0.0) > now:
            return
        for part in folder.split("/"):
            path = f"{path}/{part}"
            try:
                if stat.S_ISLNK(os.lstat(path).st_mode):
                    raise PathInvalid(path=folder[:100], reason="a symbolic link lies on its way")
            except OSError:
                return  # nothing is there yet, or the rename says what
        if len(self._sound) >= MOST_SOUND:
            self._sound.clear()
        self._sound[folder] = now + SOUND_SECONDS

    async def _settled(self, bundle: Bundle) -> None:
        self._waiting.append(bundle)
        if self._settlers < SETTLERS:
            self._settlers += 1
            asyncio.get_running_loop().create_task(self._settle_waiting()).add_done_callback(_retrieved)
        try:
            fault = await asyncio.shield(bundle.over)
        except asyncio.CancelledError:
            await asyncio.wait([bundle.over])
            raise
        if fault is not None:
            raise fault

    async def _settle_waiting(self) -> None:
        try:
            while self._waiting:
                bundles, self._waiting = self._waiting, []
                faults: Sequence[Exception | None] = [StorageUnavailable()] * len(bundles)
                try:
                    faults = await finished(partial(self._settle, bundles))
                finally:
                    for bundle, fault in zip(bundles, faults, strict=True):
                        bundle.over.set_result(fault)
        finally:
            self._settlers -= 1  # in the very step that found nobody waiting

    def _settle(self, bundles: Sequence[Bundle]) -> list[Exception | None]:
        """Put several in place so that they survive a power cut; returns what went wrong with each. Blocks."""
        changed = [self._moved(bundle) for bundle in bundles]
        synced = {folder: _synced(folder) for found in changed if isinstance(found, set) for folder in found}
        return [
            found if isinstance(found, Exception) else next(filter(None, map(synced.get, found)), None)
            for found in changed
        ]

    def _moved(self, bundle: Bundle) -> set[str] | Exception:
        """The folders that have to be synced for it."""
        try:
            with faults_spoken(bundle.folder):
                bundle.sync()
                return self._renamed(bundle)
        except Exception as fault:
            return fault

    def _renamed(self, bundle: Bundle) -> set[str]:
        above = bundle.folder.rpartition("/")[0]
        changed = {above}
        while True:
            with suppress(FileNotFoundError):
                os.rename(bundle.aside, bundle.folder)  # noqa: PTH104
                return changed
            os.lstat(bundle.aside)
            # Nothing is in it yet, or a delete took it away under us.
            changed.update(map(str, made_folders(Path(above), Path(self._root))))


def _synced(folder: str) -> Exception | None:
    try:
        with faults_spoken(folder):
            sync_folder(folder)
    except Exception as fault:
        return fault
    return None


def _retrieved(settling: asyncio.Task[None]) -> None:
    if not settling.cancelled():
        settling.exception()  # those who wait were told
