"""A storage in a folder of this machine: written aside, synced, renamed, so that a reader sees all or nothing.

Bytes go from the event loop into the page cache in batches of 1 MiB, which beats a thread per chunk; whatever waits
for the disk (fsync, rename, reading) runs in a thread. Small files put at the same time share one and the syncs of
their folders.
"""

from __future__ import annotations

import errno
import mimetypes
import os
import shutil
import stat
import time
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from functools import partial
from itertools import islice
from pathlib import Path
from typing import NamedTuple
from urllib.parse import unquote
from uuid import uuid4

from pipeline.errors import PathInvalid, StorageKeyNotFound, StorageUnavailable
from pipeline.storage.base import PIECE, STAGING, ByteRange, Content, Listed, Stat, Tally, checked_key
from pipeline.storage.bundles import Bundles
from pipeline.storage.drafts import BATCH, Draft, faults_spoken, finished, made_folders, sync_folder
from pipeline.storage.together import Together

DRAFT = "put-"
"""How the names of unfinished `put`s begin."""
DRAFT_AGE = 24 * 3600
"""A draft not written to for so long was left by a process that died, seconds."""
SMALL = BATCH
"""Files up to so many bytes are put onto the disk together."""
LISTED = 500
"""Keys that are listed in one visit to a thread."""
UNLINKED = {errno.EMLINK, errno.EPERM, errno.EXDEV, errno.ENOTSUP, errno.EOPNOTSUPP}
"""Where a file cannot have one more name."""


class LocalStorage:
    """Finished bytes as files below `root`, the key as their path; `file:///srv/safelight`, `file://./data/files`."""

    def __init__(self, root: Path) -> None:
        self.root = root.resolve()
        self._prepared = False
        self._landings = Together(self._moved)
        self._bundles = Bundles(self.root, self.staging, DRAFT)

    @classmethod
    def from_url(cls, url: str, environ: Mapping[str, str]) -> LocalStorage:
        """The storage at `file://<path>`; a path without a leading slash is relative to the working directory."""
        return cls(Path(unquote(url.removeprefix("file://"))))

    @property
    def staging(self) -> Path:
        """The folder for unfinished files, on the same filesystem so that a rename puts them into place."""
        return self.root / STAGING

    async def put(
        self, key: str, chunks: AsyncIterable[bytes], size: int | None, media_type: str, *, lasting: bool = True
    ) -> int:
        path = self.path(key)
        await self.prepare()
        tally = Tally(size)
        draft = Draft.create(self.staging / f"{DRAFT}{uuid4()}")
        try:
            async for chunk in chunks:
                await draft.take(tally.took(chunk))
            total = tally.total()
            draft.flush()
            await (self._settled(draft, path) if lasting else finished(partial(self._rename_only, draft.path, path)))
        finally:
            draft.close()
            draft.path.unlink(missing_ok=True)
        return total

    async def put_all(self, contents: Sequence[Content]) -> None:
        (folder,) = {checked_key(content.key).rpartition("/")[0] for content in contents}
        if not self._prepared:
            await self.prepare()
        try:
            await self._bundles.put(folder, contents)
        except StorageUnavailable as fault:
            if not isinstance(fault.__cause__, FileNotFoundError):
                raise
            await self.prepare()  # somebody took the folder of unfinished files away
            await self._bundles.put(folder, contents)

    async def open(self, key: str, part: ByteRange | None = None) -> AsyncIterator[bytes]:
        path = self.path(key)
        descriptor = _opened(path)
        try:
            size = os.fstat(descriptor).st_size
            position, stop = part.within(size) if part else (0, size)
            while position < stop:
                piece = await finished(partial(_read, descriptor, min(PIECE, stop - position), position))
                position += len(piece)
                yield piece
        finally:
            os.close(descriptor)

    async def stat(self, key: str) -> Stat | None:
        found = _lstat(self.path(key))
        if found is None or not stat.S_ISREG(found.st_mode):
            return None
        etag = f"{found.st_ino:x}-{found.st_size:x}-{found.st_mtime_ns:x}"
        return Stat(found.st_size, type_by_name(key), etag)

    async def delete(self, key: str) -> None:
        path = self.path(key)
        await finished(partial(self._remove, path))

    async def copy(self, source: str, target: str) -> None:
        paths = self.path(source), self.path(target)
        await self.prepare()
        await finished(partial(self._copy, *paths))

    async def url(
        self, key: str, expires: float, media_type: str | None = None, attachment: str | None = None
    ) -> str | None:
        return None

    async def presign_put(self, key: str, expires: float, media_type: str, size: int) -> str | None:
        return None

    def local_path(self, key: str) -> Path | None:
        return self.path(key)

    async def listing(self, after: str | None = None) -> AsyncGenerator[Listed, None]:
        walk = _walk(self.root, "", tuple(after.split("/")) if after else ())
        while batch := await finished(lambda: list(islice(walk, LISTED))):
            for listed in batch:
                yield listed

    async def check(self) -> None:
        await self.prepare()
        probe = Draft.create(self.staging / f"{DRAFT}{uuid4()}")
        try:
            await probe.take(b"\0")
            probe.flush()
            await finished(probe.sync)
        finally:
            probe.close()
            probe.path.unlink(missing_ok=True)

    async def close(self) -> None:
        return

    def path(self, key: str) -> Path:
        """Where `key` lies; raises `PathInvalid` when it would leave the root, through a symbolic link too."""
        path = self.root / checked_key(key)
        for step in (path, *path.parents):
            if step == self.root:
                return path
            if step.is_symlink():
                raise PathInvalid(path=key[:100], reason="a symbolic link lies on its way")
        raise PathInvalid(path=key[:100], reason="it leaves the storage")

    async def prepare(self) -> None:
        """Make the folders and remove what killed writers left, once."""
        if not self._prepared or not self.staging.is_dir():
            await finished(self._prepare)
            self._prepared = True

    def settle(self, draft: Draft, path: Path) -> None:
        """Move a written draft to `path` so that it survives a power cut from here on; blocks."""
        self._landings.settle_now(_Landing(draft, path))

    async def _settled(self, draft: Draft, path: Path) -> None:
        if draft.position > SMALL:
            await finished(partial(self.settle, draft, path))
        else:
            await self._landings.settle(_Landing(draft, path))

    def _moved(self, landing: _Landing) -> set[Path]:
        landing.draft.sync()
        with faults_spoken(landing.path):
            return {landing.path.parent, *self._rename(landing.draft.path, landing.path)}

    def _rename_only(self, source: Path, target: Path) -> None:
        with faults_spoken(target):
            self._rename(source, target)

    def _rename(self, source: Path, target: Path) -> set[Path]:
        """Returns the folders that got a new entry on the way."""
        changed: set[Path] = set()
        while True:
            try:
                changed |= made_folders(target.parent, self.root)
                source.replace(target)
                return changed
            except FileNotFoundError:  # a delete took an empty folder away under us
                if not source.exists():
                    raise

    def _copy(self, source: Path, target: Path) -> None:
        """Bytes under a key never change, so that a second name for them is a copy."""
        found, draft = _lstat(source), self.staging / f"{DRAFT}{uuid4()}"
        if found is None or not stat.S_ISREG(found.st_mode):
            raise StorageKeyNotFound
        try:
            with faults_spoken(target):
                _link(source, draft)
                changed = {target.parent, *self._rename(draft, target)}
                for folder in changed:
                    sync_folder(folder)
        finally:
            draft.unlink(missing_ok=True)  # two names of one file are not renamed onto each other

    def _remove(self, path: Path) -> None:
        with faults_spoken(path), suppress(FileNotFoundError, NotADirectoryError, IsADirectoryError):
            path.unlink()
        for folder in path.parents:
            if folder == self.root:
                return
            with suppress(OSError):  # not empty, or gone already
                folder.rmdir()
            if folder.exists():
                return

    def _prepare(self) -> None:
        with faults_spoken(self.staging):
            made_folders(self.staging, self.root)
            oldest = time.time() - DRAFT_AGE
            for draft in self.staging.glob(f"{DRAFT}*"):
                with suppress(FileNotFoundError):
                    if draft.stat().st_mtime < oldest:
                        shutil.rmtree(draft) if draft.is_dir() else draft.unlink()


def _link(source: Path, draft: Path) -> None:
    """Give the bytes another name, or copy them where they cannot have one; blocks."""
    try:
        os.link(source, draft, follow_symlinks=False)
    except FileNotFoundError as cause:
        raise StorageKeyNotFound from cause
    except OSError as fault:
        if fault.errno not in UNLINKED:
            raise
        shutil.copyfile(source, draft)
        with draft.open("rb") as copied:
            os.fsync(copied.fileno())


def _walk(folder: Path, above: str, after: tuple[str, ...]) -> Iterator[Listed]:
    """The files below `folder` by the parts of their keys, from behind `after` on; blocks."""
    for entry in _entries(folder):
        first = after[0] if after else ""
        if entry.name < first or (not above and entry.name == STAGING):
            continue
        if entry.is_dir(follow_symlinks=False):
            deeper = after[1:] if entry.name == first else ()
            yield from _walk(folder / entry.name, f"{above}{entry.name}/", deeper)
        elif entry.name != first and (found := _lstat(folder / entry.name)) and stat.S_ISREG(found.st_mode):
            yield Listed(above + entry.name, found.st_size, datetime.fromtimestamp(found.st_mtime, UTC))


def _entries(folder: Path) -> list[os.DirEntry[str]]:
    """What lies in a folder, by name; names that are no Unicode were not given by us."""
    try:
        with os.scandir(folder) as entries:
            return sorted((entry for entry in entries if _is_spelt(entry.name)), key=lambda entry: entry.name)
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        raise StorageUnavailable from error


def _is_spelt(name: str) -> bool:
    return not any("\ud800" <= character <= "\udfff" for character in name)


class _Landing(NamedTuple):
    """A draft on its way to its place."""

    draft: Draft
    path: Path


def type_by_name(key: str) -> str:
    """The media type that the extension of `key` stands for."""
    return TYPES.guess_type(key, strict=False)[0] or "application/octet-stream"


# An own table: the module's own functions read /etc/mime.types, which differs between machines.
TYPES = mimetypes.MimeTypes()


def _opened(path: Path) -> int:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise StorageKeyNotFound from error
    except OSError as error:
        raise StorageUnavailable from error
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise StorageKeyNotFound
    return descriptor


def _read(descriptor: int, length: int, position: int) -> bytes:
    try:
        piece = os.pread(descriptor, length, position)
    except OSError as error:
        raise StorageUnavailable from error
    if not piece:
        raise StorageUnavailable from EOFError("the file became shorter while it was read")
    return piece


def _lstat(path: Path) -> os.stat_result | None:
    try:
        return path.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise StorageUnavailable from error
