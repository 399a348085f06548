"""What nobody needs any more is removed here: expired, abandoned or left behind by a process that died.

Every sweep works in short steps, does no harm when it is done twice or by many workers at once, and goes on where it
stopped. What has a record is removed through the verbs that own it; bytes without one only when it is sure that no
record was lost: a file whose manifest lies beside it stays, for `safelight index rebuild` makes its record again.
"""

from __future__ import annotations

import asyncio
import re
import shutil
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import TypeVar
from uuid import UUID, uuid5

import structlog

from pipeline.errors import SafelightError, StorageUnavailable
from pipeline.files import Files
from pipeline.model import ENDED, File, Upload
from pipeline.records import Records
from pipeline.records.derivatives import Unused
from pipeline.records.retention import Standing
from pipeline.records.sweeps import Swept
from pipeline.settings import Settings
from pipeline.staging import Staged, Staging
from pipeline.storage.base import Listed, Storage
from pipeline.stored import MANIFEST
from pipeline.uploads import Uploads

BATCH = 100
MOST = 1000
"""What one sweep removes, or fails to, before it lets others have their turn."""
MOST_EVENTS = 50_000
MOST_COUNTS = 50
"""Steps of counting that one sweep takes for each project."""
MOST_KEYS = 10_000
"""Keys of one storage that one sweep looks at."""
AT_ONCE = 8
"""Files that are removed at the same time."""
TEMPORARY_AGE = timedelta(hours=1)
"""No copy of a file is read for so long."""
START = datetime(1970, 1, 1, tzinfo=UTC)

_ID = r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"
_KEY = re.compile(
    rf"[^/]+/(?:files/[0-9a-f]{{2}}/(?P<file>{_ID})/[^/]+|derived/[0-9a-f]{{2}}/(?P<origin>{_ID})/.+|runs/(?P<run>{_ID})(?:-(?P<attempt>\d+))?(?:\.\d+)?/.+)"
)
_RUN_FOLDER = re.compile(rf"run-(?P<run>{_ID})-(?P<attempt>\d+)-[0-9a-f]+")
_COPY = re.compile(_ID)

T = TypeVar("T")

log = structlog.stdlib.get_logger(__name__)


class Sweeps:
    """Removes what is over; with `dry` nothing is removed and everything is counted."""

    def __init__(
        self,
        *,
        settings: Settings,
        records: Records,
        storages: Mapping[str, Storage],
        stagings: Mapping[str, Staging],
        uploads: Uploads,
        files: Files,
    ) -> None:
        self._settings = settings
        self._records = records
        self._storages = storages
        self._stagings = stagings
        self._uploads = uploads
        self._files = files

    async def sweep(self, name: str, *, dry: bool = False) -> Swept:
        """Do one of `SWEEPS` and keep a report of it; raises `RecordsUnavailable` or `StorageUnavailable`."""
        at, began = await self._now(), time.monotonic()
        swept = await SWEEPS[name](self, dry)
        if not dry:
            await self._records.sweeps.note(name, swept, at, time.monotonic() - began)
        if swept.gone or swept.postponed or swept.spared:
            log.info("swept", sweep=name, dry=dry, **swept.model_dump())
        return swept

    async def uploads(self, dry: bool = False) -> Swept:
        """Remove uploads that were not finished within `upload_expiry`, with what arrived of them."""
        before = await self._now()

        async def expired(passed: int) -> Sequence[Upload]:
            return await self._records.uploads.expired(before, BATCH, passed)

        return await self._all(expired, self._stored(self._uploads.expire, before), dry)

    async def files(self, dry: bool = False) -> Swept:
        """Remove files that were not stored within `unstored_expiry`: bytes, manifest and record."""
        before = await self._now()

        async def expired(passed: int) -> Sequence[File]:
            return await self._records.files.expired(before, BATCH, passed)

        return await self._all(expired, self._stored(self._files.expire, before), dry)

    async def outputs(self, dry: bool = False) -> Swept:
        """Remove what runs made longer ago than `output_retention`, if that is set."""
        if self._settings.output_retention is None:
            return Swept()
        before = await self._ago(self._settings.output_retention)
        places = await self._records.sweeps.places("outputs")
        swept = Swept()
        for project in await self._projects(dry):
            swept += await self._outputs_of(project, before, places.get(project), dry)
        return swept

    async def runs(self, dry: bool = False) -> Swept:
        """Forget runs that ended longer ago than `run_retention`, with their events; what they made stays."""
        before = await self._ago(self._settings.run_retention)
        swept = Swept()
        for status in sorted(ENDED):
            swept += await self._runs_of(status, before, dry)
        return swept

    async def letters(self, dry: bool = False) -> Swept:
        """Drop dead letters older than `letter_ttl`; their runs stay as long as any that ended."""
        before = await self._ago(self._settings.letter_ttl)
        if dry:
            return Swept(gone=await self._records.letters.old(before))
        gone = 0
        while dropped := await self._records.letters.expire(before, BATCH):
            gone += dropped
            if gone >= MOST:
                return Swept(gone=gone, more=True)
        return Swept(gone=gone)

    async def events(self, dry: bool = False) -> Swept:
        """Forget events older than `event_retention`, also of projects that are no longer in the settings."""
        before = await self._ago(self._settings.event_retention)
        swept = Swept()
        for project in await self._projects(dry):
            swept += await self._events_of(project, before, dry)
        return swept

    async def orphans(self, dry: bool = False) -> Swept:
        """Remove bytes in the storages that belong to no file, upload or run and are older than `orphan_grace`."""
        before = await self._ago(self._settings.orphan_grace)
        places = await self._records.sweeps.places("orphans")
        swept = Swept()
        for name in self._storages:
            swept += await self._reached(name, self._orphans_of(name, before, places.get(name), dry))
        return swept

    async def usage(self, dry: bool = False) -> Swept:
        """Count the files of every project anew, put sums and indexes right, and remove entries without a file."""
        swept = Swept()
        for project in () if dry else self._settings.projects:
            swept += await self._counted(project)
        return swept

    async def derivatives(self, dry: bool = False) -> Swept:
        """Remove what was made on the fly and nobody asked for within `derivative_retention`, if that is set."""
        if self._settings.derivative_retention is None:
            return Swept()
        before = await self._ago(self._settings.derivative_retention)
        unused = partial(self._records.derivatives.unused, before, BATCH)
        return await self._all(unused, self._unused, dry)

    async def staged(self, dry: bool = False) -> Swept:
        """Remove unfinished bytes that belong to no upload and are older than `orphan_grace`."""
        before = await self._ago(self._settings.orphan_grace)
        swept = Swept()
        for name, staging in self._stagings.items():
            swept += await self._reached(name, self._staged_in(staging, before, dry))
        return swept

    async def folders(self, dry: bool = False) -> Swept:
        """Remove what dead processes left in the folder for temporary files on this machine."""
        before = datetime.now(UTC) - TEMPORARY_AGE
        old = await asyncio.to_thread(_older, self._settings.data_dir / "tmp", before)
        # Looked at after the folders: a run that begins now makes a new one.
        standing, alive = await self._standing([folder.run for folder in old if folder.run]), await self._alive()
        left = [folder for folder in old if folder.run not in alive and folder.is_left(standing)]
        if not dry:
            await asyncio.to_thread(_remove, [folder.path for folder in left])
        return Swept(gone=len(left))

    # One after the other

    async def _all(
        self, due: Callable[[int], Awaitable[Sequence[T]]], expire: Callable[[T], Awaitable[Swept]], dry: bool
    ) -> Swept:
        """Expire all that is `due`, of which those that had to be left are passed over from then on."""
        swept, passed = Swept(), 0
        while batch := await due(passed):
            done = Swept(gone=len(batch)) if dry else await self._each(batch, expire)
            swept += done
            passed += len(batch) if dry else len(batch) - done.gone
            if len(batch) < BATCH:
                break
            if not dry and swept.gone + swept.postponed >= MOST:
                return swept + Swept(more=swept.gone > 0)
        return swept

    async def _each(self, batch: Sequence[T], expire: Callable[[T], Awaitable[Swept]]) -> Swept:
        turns = asyncio.Semaphore(AT_ONCE)

        async def one(kept: T) -> Swept:
            async with turns:
                return await expire(kept)

        return sum(await asyncio.gather(*map(one, batch)), Swept())

    def _stored(
        self, expire: Callable[[str, datetime], Awaitable[bool]], before: datetime
    ) -> Callable[[Upload | File], Awaitable[Swept]]:
        """How to expire what lies in a storage: nothing is done to what lies in one that left the settings."""

        async def one(kept: Upload | File) -> Swept:
            if kept.storage not in self._storages:
                log.warning("sweep_spared", id=kept.id, storage=kept.storage)
                return Swept(spared=1)
            return await self._tried(kept.id, expire(kept.id, before))

        return one

    async def _unused(self, unused: Unused) -> Swept:
        return await self._tried(unused.key, self._files.drop_derivative(*unused))

    async def _reached(self, storage: str, sweep: Awaitable[Swept]) -> Swept:
        """What a sweep of one storage did; one that is away keeps nobody from the others."""
        try:
            return await sweep
        except StorageUnavailable as error:
            log.warning("sweep_postponed", storage=storage, code=error.code, exc_info=error)
            return Swept(postponed=1)

    async def _tried(self, id: str, act: Awaitable[bool | None]) -> Swept:
        try:
            return Swept(gone=int(await act is not False))
        except SafelightError as error:
            log.warning("sweep_postponed", id=id, code=error.code, exc_info=error)
            return Swept(postponed=1)

    async def _outputs_of(self, project: str, before: datetime, place: str | None, dry: bool) -> Swept:
        """The project's files are looked at in the order they were made, each once if nothing goes wrong."""
        since, passed, seen = datetime.fromisoformat(place) if place and not dry else START, 0, 0
        swept, stuck = Swept(), None
        expire = self._stored(self._files.expire_output, before)
        while files := await self._records.files.made(project, since, before, BATCH, passed):
            outputs = [file for file in files if file.run is not None]
            done = Swept(gone=len(outputs)) if dry else await self._each(outputs, expire)
            removed = not dry and done.gone == len(outputs)
            stuck = stuck or (None if dry or removed else since)
            newest, seen = files[-1].created_at, seen + len(files)
            tied = sum(file.created_at == newest and not (removed and file.run) for file in files)
            since, passed = newest, tied + (passed if newest == since else 0)
            swept += done
            if seen >= MOST_KEYS and not dry:
                swept += Swept(more=stuck is None)
                break
        if not dry:
            await self._records.sweeps.go_on("outputs", project, (stuck or since).isoformat())
        return swept

    async def _runs_of(self, status: str, before: datetime, dry: bool) -> Swept:
        swept, passed = Swept(), 0
        while runs := await self._records.retention.ended(status, before, BATCH, passed):
            due = [run for run in runs if run.ended_by(before)]
            gone = len(due) if dry else await self._records.retention.forget(due)
            swept += Swept(gone=gone)
            passed += len(runs) if dry else len(runs) - gone
            if not dry and swept.gone >= MOST:
                return swept + Swept(more=True)
        return swept

    async def _projects(self, dry: bool) -> Sequence[str]:
        """Those of the settings, the one without a name, and those that were in them once and have something left."""
        ours = {"", *self._settings.projects}
        if not dry:
            await self._records.retention.note_projects(self._settings.projects)
        return sorted(ours | await self._records.retention.noted_projects())

    async def _events_of(self, project: str, before: datetime, dry: bool) -> Swept:
        if dry:
            return Swept(gone=await self._records.retention.old_events(project, before, self._settings.event_cap))
        gone = 0
        while trimmed := await self._records.retention.trim(project, before):
            gone += trimmed
            if gone >= MOST_EVENTS:
                return Swept(gone=gone, more=True)
        if project and project not in self._settings.projects:
            await self._records.retention.leave(project)
        return Swept(gone=gone)

    async def _counted(self, project: str) -> Swept:
        swept = Swept()
        for _ in range(MOST_COUNTS):
            counted = await self._records.usage.count(project)
            swept += Swept(gone=counted.wrong)
            for id in counted.bare:
                await self._tried(id, self._records.files.shelve(id))
            if counted.done:
                if counted.wrong:
                    log.warning("usage_put_right", project=project)
                return swept
        return swept + Swept(more=True)

    # Bytes without a record

    async def _orphans_of(self, name: str, before: datetime, place: str | None, dry: bool) -> Swept:
        swept, seen, old = Swept(), 0, list[Listed]()
        last: str | None = None
        async with aclosing(self._storages[name].listing(None if dry else place)) as listing:
            async for listed in listing:
                seen, last = seen + 1, listed.key
                if listed.modified < before and _KEY.fullmatch(listed.key):
                    old.append(listed)
                if len(old) == BATCH:
                    swept, old = swept + await self._judged(name, old, dry), []
                if seen == MOST_KEYS and not dry:
                    swept += Swept(more=True)
                    break
        swept += await self._judged(name, old, dry)
        if not dry:
            await self._records.sweeps.go_on("orphans", name, last if swept.more else None)
        return swept

    async def _judged(self, name: str, old: Sequence[Listed], dry: bool) -> Swept:
        """What became of some keys of a storage."""
        found = [_Found.of(listed.key) for listed in old]
        # In this order: what an upload or a run turns into is a file by the time it is asked for.
        arriving = await self._records.uploads.known([one.file for one in found if one.file])
        standing = await self._standing([one.run for one in found if one.run])
        owned = await self._owned(name, [one for one in found if not one.origin]) | await self._derived(name, found)
        swept = Swept()
        for one in found:
            if one.key not in owned and one.file not in arriving and not one.may_come(standing):
                swept += await self._orphan(name, one, standing, dry)
        return swept

    async def _owned(self, name: str, found: Sequence[_Found]) -> set[str]:
        """Those of the keys that are bytes or manifest of a file on record."""
        places = [(one, base, one.id_at(base)) for one in found for base in one.bases]
        files = await self._records.files.get_many([id for _, _, id in places])
        return {
            one.key
            for (one, base, _), file in zip(places, files, strict=True)
            if file is not None and (file.storage, file.key) == (name, base)
        }

    async def _derived(self, name: str, found: Sequence[_Found]) -> set[str]:
        """Those of the keys that are listed as made of a file on record."""
        origins = list(dict.fromkeys(one.origin for one in found if one.origin))
        files = await self._records.files.get_many(origins)
        there = [id for id, file in zip(origins, files, strict=True) if file is not None]
        listed = [one for id in there for one in await self._records.derivatives.of(id)]
        return {derivative.key for derivative in listed if derivative.storage == name}

    async def _orphan(self, name: str, one: _Found, standing: Mapping[str, Standing], dry: bool) -> Swept:
        storage = self._storages[name]
        if one.run not in standing and await self._is_described(storage, one):
            return Swept(spared=1)
        return Swept(gone=1) if dry else await self._tried(one.key, self._take_away(storage, one))

    async def _take_away(self, storage: Storage, one: _Found) -> None:
        await storage.delete(one.key)
        if one.origin:
            await self._records.derivatives.forget(one.origin, [one.key])

    async def _is_described(self, storage: Storage, one: _Found) -> bool:
        """Whether bytes and manifest lie beside each other, so that there was a record once, or is to be one."""
        beside = [one.key + MANIFEST, *(base for base in one.bases if base != one.key)]
        return any([await storage.stat(key) is not None for key in beside])

    async def _staged_in(self, staging: Staging, before: datetime, dry: bool) -> Swept:
        swept = Swept()
        async with aclosing(staging.left(before)) as listing:
            left = [staged async for staged in listing]
        for start in range(0, len(left), BATCH):
            for staged in await self._abandoned(left[start : start + BATCH]):
                swept += Swept(gone=1) if dry else await self._tried(staged.name, staging.discard(staged))
        return swept

    async def _abandoned(self, left: Sequence[Staged]) -> Sequence[Staged]:
        """Those of the unfinished bytes that nobody can finish; whatever may be another program's is none of them."""
        found = [(staged, _Found.of(staged.key) if staged.key else None) for staged in left]
        uploads = {staged.name: staged.upload or (one and one.file) for staged, one in found}
        arriving = await self._records.uploads.known([id for id in uploads.values() if id])
        standing = await self._standing([one.run for _, one in found if one and one.run])
        return [
            staged
            for staged, one in found
            if uploads[staged.name] not in arriving
            and not (one and one.may_come(standing))
            and (staged.key is None or (one and one.is_ours))
        ]

    async def _standing(self, runs: Sequence[str]) -> Mapping[str, Standing]:
        return await self._records.retention.standing(list(dict.fromkeys(runs)))

    async def _alive(self) -> set[str]:
        return {run for beat in await self._records.workers.list() for run in beat.running}

    async def _now(self) -> datetime:
        return await self._records.schedules.time()

    async def _ago(self, seconds: float) -> datetime:
        return await self._now() - timedelta(seconds=seconds)


SWEEPS: Mapping[str, Callable[[Sweeps, bool], Awaitable[Swept]]] = {
    "uploads": Sweeps.uploads,
    "files": Sweeps.files,
    "outputs": Sweeps.outputs,
    "runs": Sweeps.runs,
    "letters": Sweeps.letters,
    "events": Sweeps.events,
    "orphans": Sweeps.orphans,
    "usage": Sweeps.usage,
    "derivatives": Sweeps.derivatives,
    "staged": Sweeps.staged,
    "folders": Sweeps.folders,
}


@dataclass(frozen=True)
class _Found:
    """A key of a storage, and whose it is by its form.

    It is of the upload or file `file`, made of the file `origin`, or of an attempt of the run `run`.
    """

    key: str
    file: str | None = None
    origin: str | None = None
    run: str | None = None
    attempt: int = 1

    @classmethod
    def of(cls, key: str) -> _Found:
        match = _KEY.fullmatch(key)
        if match is None:
            return cls(key)
        return cls(key, match["file"], match["origin"], match["run"], int(match["attempt"] or 1))

    @property
    def is_ours(self) -> bool:
        return bool(self.file or self.origin or self.run)

    @property
    def bases(self) -> Sequence[str]:
        """The keys of the files it may belong to: as their bytes, or as their manifest."""
        return [self.key, self.key.removesuffix(MANIFEST)] if self.key.endswith(MANIFEST) else [self.key]

    def id_at(self, base: str) -> str:
        """The id that a file at `base` has."""
        return self.file or str(uuid5(UUID(self.run), base.split("/", 3)[3]))

    def may_come(self, standing: Mapping[str, Standing]) -> bool:
        """Whether its run has not ended, so that it may be an output yet."""
        found = standing.get(self.run or "")
        return found is not None and (not found.ended or found.attempt < self.attempt)


@dataclass(frozen=True)
class _Temporary:
    """Something in the folder for temporary files: of an attempt of a run, or a copy of a file."""

    path: Path
    run: str | None = None
    attempt: int = 0

    def is_left(self, standing: Mapping[str, Standing]) -> bool:
        found = standing.get(self.run or "")
        return found is None or found.ended or found.attempt != self.attempt


def _older(folder: Path, before: datetime) -> Sequence[_Temporary]:
    found = []
    for path in folder.iterdir() if folder.is_dir() else ():
        match, copy = _RUN_FOLDER.fullmatch(path.name), _COPY.fullmatch(path.name)
        if (match or copy) and _modified(path) < before:
            found.append(_Temporary(path, match["run"], int(match["attempt"])) if match else _Temporary(path))
    return found


def _modified(path: Path) -> datetime:
    try:
        return datetime.fromtimestamp(path.stat().st_mtime, UTC)
    except FileNotFoundError:
        return datetime.now(UTC)


def _remove(paths: Sequence[Path]) -> None:
    for path in paths:
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)
