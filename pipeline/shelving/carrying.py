"""What a haul does: it goes through the files a hundred at a time, and notes before each hundred how far it is.

Whoever takes it over from there comes to the same: what was copied is not copied again, what was moved is found no
more, and of what was in hand it is seen to that what lies beside its bytes says what its record does.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from datetime import timedelta
from typing import NamedTuple

from pipeline.errors import FileNotFound, RecordsUnavailable, SafelightError
from pipeline.files import BATCH, Act, Files, Outcome
from pipeline.model import (
    Edit,
    File,
    FileQuery,
    FolderCopy,
    FolderDelete,
    FolderMove,
    Grant,
    Haul,
    HaulFault,
    Problem,
    Reached,
    Redraw,
)
from pipeline.records import Records
from pipeline.records.finding import Order
from pipeline.records.lineages import lineage_of
from pipeline.shelving.folders import Folders, is_within
from pipeline.shelving.places import Places

TOLD = 100
"""Faults that are told one by one."""
OLDEST = Order("created", down=False)
TICK = timedelta(microseconds=1)

Note = Callable[[Reached], Awaitable[None]]
"""Puts on record how far a haul is; raises what is to stop it."""


class Ride(NamedTuple):
    """A haul under way, for whom, and where it is noted how far it is."""

    grant: Grant
    haul: Haul
    note: Note

    @property
    def project(self) -> str:
        return self.haul.project


class Carrying:
    """Does hauls, or what is left of them."""

    def __init__(self, records: Records, files: Files, folders: Folders, places: Places) -> None:
        self._records = records
        self._files = files
        self._folders = folders
        self._places = places

    async def carry(self, grant: Grant, haul: Haul, note: Note) -> Reached:
        """Do it to its end, telling `note` before each step how far it is; returns with what could not be done.

        Raises what `note` does, `RecordsUnavailable`, and what keeps all of it from being done.
        """
        ride, wish = Ride(grant, haul, note), haul.wish
        if isinstance(wish, FolderCopy):
            return await self._copy(ride, wish)
        if isinstance(wish, FolderMove):
            return haul.reached if wish.source == wish.target else await self._move(ride, wish)
        if isinstance(wish, FolderDelete):
            return await self._delete(ride, wish)
        return await self._redraw(ride, wish)

    # Copying

    async def _copy(self, ride: Ride, wish: FolderCopy) -> Reached:
        """Copy what was there when it was asked for; every copy has an id that follows from the haul."""

        async def act(grant: Grant, id: str) -> File:
            file = await self._files.get(grant, id)
            versions = await self._records.lineages.versions(ride.project, lineage_of(file))
            then = [version for version in versions if version.created_at <= ride.haul.created_at]
            if then and is_within(then[-1].folder, wish.source):
                chosen = then if wish.versions else then[-1:]
                await self._places.copy(grant, chosen, _there(then[-1].folder, wish), ride.haul.id)
            return file

        reached = await self._shelve(ride, wish, ride.haul.reached)
        query = FileQuery(below=wish.source, before=ride.haul.created_at + TICK)
        reached, _ = await self._through(ride, query, act, reached)
        return reached

    # Moving

    async def _move(self, ride: Ride, wish: FolderMove) -> Reached:
        """Move what is there, until there is nothing that can be moved."""

        async def act(grant: Grant, id: str) -> File:
            file = await self._files.get(grant, id)
            current = await self._records.lineages.get(ride.project, lineage_of(file))
            if is_within(current.folder, wish.source):
                await self._places.move(grant, current, _there(current.folder, wish), current.name)
            elif is_within(file.folder, wish.source):  # a version that was filed apart from the current one
                await self._files.edit(grant, id, Edit(folder=current.folder))
            return file

        reached, query = ride.haul.reached, FileQuery(below=wish.source)
        while True:
            reached = await self._described(ride, wish, reached)
            reached, carried = await self._through(ride, query, act, reached)
            if not carried:
                return await self._shelve(ride, wish, reached)
            reached = anew(reached)

    async def _described(self, ride: Ride, wish: FolderMove, reached: Reached) -> Reached:
        """See to it that manifests say what the records of the files in hand do: a move may have broken off between."""

        async def act(grant: Grant, id: str) -> File:
            file = await self._files.get(grant, id)
            lineages = {lineage_of(file)}
            if is_within(file.folder, wish.source):  # of those before it some may be there already
                there = await self._records.lineages.at(ride.project, _there(file.folder, wish), file.name)
                lineages |= {lineage_of(there)} if there else set()
            for lineage in lineages:
                for version in await self._records.lineages.versions(ride.project, lineage):
                    await self._files.describe(grant, version.id)
            return file

        if not reached.hand:
            return reached
        files = [file for file in await self._records.files.get_many(reached.hand) if file is not None]
        faults, _ = await self._each(ride, files, act)
        return _with(reached, faults)

    async def _shelve(self, ride: Ride, wish: FolderCopy | FolderMove, reached: Reached) -> Reached:
        """Have every folder there that is noted here; moved, none is noted here any more."""
        faults: list[tuple[HaulFault, bool]] = []
        for folder in await self._folders.noted(ride.project, wish.source):
            try:
                await self._folders.make(ride.project, _there(folder, wish))
            except RecordsUnavailable:
                raise
            except SafelightError as error:
                faults.append((_fault(error, f"/{folder}"), False))
        if isinstance(wish, FolderMove) and not faults:
            await self._folders.forget(ride.project, wish.source)
        return _with(reached, faults)

    # Deleting

    async def _delete(self, ride: Ride, wish: FolderDelete) -> Reached:
        """Delete what was there when it was asked for; what has come meanwhile was not meant, and keeps the folder."""

        async def act(grant: Grant, id: str) -> File:
            file = await self._files.get(grant, id)
            return await self._files.delete(grant, id) if is_within(file.folder, wish.source) else file

        query = FileQuery(below=wish.source, before=ride.haul.created_at + TICK)
        reached, _ = await self._through(ride, query, act, ride.haul.reached, alike=_id)
        if not reached.failed:
            await self._folders.forget(ride.project, wish.source, ride.haul.created_at)
        return reached

    # Making anew

    async def _redraw(self, ride: Ride, wish: Redraw) -> Reached:
        for lineage in await self._named(ride, wish):
            for version in await self._records.lineages.versions(ride.project, lineage):
                with suppress(FileNotFound):
                    await self._files.redraw(ride.grant, version.id)
        return await self._redraw_all(ride, wish.path) if wish.every else ride.haul.reached

    async def _named(self, ride: Ride, wish: Redraw) -> Sequence[str]:
        """The lineages of the file that is named, and of the one at the path."""
        found = [wish.lineage] if wish.lineage else []
        if wish.every:
            return found
        folder, _, name = wish.path.removeprefix("/").rpartition("/")
        file = await self._records.lineages.at(ride.project, folder, name)
        return [*found, lineage_of(file)] if file else found

    async def _redraw_all(self, ride: Ride, start: str) -> Reached:
        """Every file, and version of one, whose path begins so."""

        async def act(grant: Grant, id: str) -> File:
            file = await self._files.get(grant, id)
            if _path(file).startswith(start):
                await self._files.redraw(grant, id)
            return file

        query = FileQuery(below=start.strip("/").rpartition("/")[0] if start.strip("/") else None)
        reached, _ = await self._through(ride, query, act, ride.haul.reached, alike=_id)
        return reached

    # A hundred at a time

    async def _through(
        self, ride: Ride, query: FileQuery, act: Act, reached: Reached, alike: Callable[[File], str] = lineage_of
    ) -> tuple[Reached, int]:
        """Do `act` to the files looked for, from where it was reached on; how far it is then, and to how many it did.

        Of those `alike` that come together it is done to one.
        """
        done = 0
        while True:
            page = await self._records.files.find(ride.project, query, reached.place, BATCH, OLDEST)
            files = [*{alike(file): file for file in page.items}.values()]
            reached = reached.model_copy(update={"hand": tuple(file.id for file in files)})
            await ride.note(reached)
            faults, carried = await self._each(ride, files, act)
            done += carried
            reached = _with(reached, faults).model_copy(update={"place": page.next, "hand": ()})
            if page.next is None:
                return reached, done

    async def _each(self, ride: Ride, files: Sequence[File], act: Act) -> tuple[Sequence[tuple[HaulFault, bool]], int]:
        """What became of it: the faults, each with whether it may pass, and the number of files it was done to."""
        if not files:
            return [], 0
        outcomes = await self._files.each(ride.grant, [file.id for file in files], act)
        faults = [
            (_fault(outcome.error, _path(file), file.id), outcome.error.retryable)
            for file, outcome in zip(files, outcomes, strict=True)
            if outcome.error is not None and not _is_gone(outcome)
        ]
        return faults, sum(outcome.error is None for outcome in outcomes)


def anew(reached: Reached) -> Reached:
    """Where one begins that is done once more for those it could not be done to."""
    return Reached(hand=tuple(fault.file for fault in reached.faults if fault.file))


def _is_gone(outcome: Outcome) -> bool:
    """Whether it was deleted meanwhile; raises `RecordsUnavailable`, which is no fault of the file."""
    if isinstance(outcome.error, RecordsUnavailable):
        raise outcome.error
    return isinstance(outcome.error, FileNotFound)


def _with(reached: Reached, faults: Sequence[tuple[HaulFault, bool]]) -> Reached:
    known = {fault.file or fault.path for fault in reached.faults}
    fresh = [(fault, passing) for fault, passing in faults if (fault.file or fault.path) not in known]
    update = {
        "faults": (*reached.faults, *(fault for fault, _ in fresh))[:TOLD],
        "failed": reached.failed + len(fresh),
        "passing": reached.passing or any(passing for _, passing in fresh),
    }
    return reached.model_copy(update=update)


def _fault(error: SafelightError, path: str, file: str | None = None) -> HaulFault:
    return HaulFault(file=file, path=path, error=Problem(code=error.code, message=error.message))


def _id(file: File) -> str:
    return file.id


def _path(file: File) -> str:
    return f"/{file.folder}/{file.name}" if file.folder else f"/{file.name}"


def _there(folder: str, wish: FolderCopy | FolderMove) -> str:
    """Where a folder in the source is to be."""
    return wish.target + folder[len(wish.source) :]
