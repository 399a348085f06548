"""Small files that come into a new folder together: written into one aside, synced, and put in place by one rename.

They go from the event loop into the page cache; what waits for the disk is shared by as many as have come meanwhile.
"""

from __future__ import annotations

import os
import shutil
import stat
import time
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from itertools import count
from pathlib import Path
from uuid import uuid4

from pipeline.errors import PathInvalid
from pipeline.storage.base import Content
from pipeline.storage.drafts import faults_spoken, finished, made_folders, sync_folder
from pipeline.storage.together import Together

SOUND_SECONDS = 10.0
"""For so long a folder is known to be no symbolic link."""
MOST_SOUND = 4096
FLAGS = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


@dataclass
class Bundle:
    """Files in a folder `aside` that is to be `folder`."""

    aside: str
    folder: str
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
        self._start = f"{staging}/{prefix}{uuid4()}-"
        self._numbers = count()
        self._together = Together(self._moved)
        self._sound: dict[str, float] = {}

    async def put(self, folder: str, contents: Sequence[Content]) -> None:
        """Keep `contents`, whose keys all lie in `folder`, which is new; raises `PathInvalid`, `StorageFull`, ..."""
        self._check(folder.rpartition("/")[0])
        place = f"{self._root}/{folder}"
        bundle = Bundle(f"{self._start}{next(self._numbers)}", place)
        try:
            with faults_spoken(place):
                bundle.write(contents)
            await self._together.settle(bundle)
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

    def _moved(self, bundle: Bundle) -> set[str]:
        with faults_spoken(bundle.folder):
            bundle.sync()
            return self._renamed(bundle)

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
