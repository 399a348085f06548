"""Folders: those that hold files are found by them, others are noted, so that they stay while they are empty."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from datetime import datetime

from pipeline import labels
from pipeline.errors import SheetExists
from pipeline.model import FileQuery, Sheet, new_id
from pipeline.records import Records
from pipeline.records.folders import FOLDER

AT_ONCE = 500


def is_within(folder: str, outer: str) -> bool:
    """Whether a folder is another one, or lies in it."""
    return not outer or folder == outer or folder.startswith(f"{outer}/")


class Folders:
    """The folders of every project, each named by its path `a/b`."""

    def __init__(self, records: Records) -> None:
        self._records = records

    async def is_there(self, project: str, folder: str) -> bool:
        """Whether there are files in a folder, or it is noted; the root always is."""
        if not folder or await self._records.sheets.named(project, FOLDER, folder):
            return True
        return bool((await self._records.files.find(project, FileQuery(below=folder), None, 1)).items)

    async def every(self, project: str) -> Mapping[str, datetime]:
        """All of them by name, and when each came to be."""
        found = dict(await self._records.files.tree(project))
        for folder, sheet in (await self.noted(project)).items():
            found[folder] = min(sheet.created_at, found.get(folder, sheet.created_at))
        return dict(sorted(found.items()))

    async def noted(self, project: str, outer: str = "") -> Mapping[str, Sheet]:
        """Those that are noted and lie in `outer`, or are it."""
        found: dict[str, Sheet] = {}
        cursor = None
        while True:
            page = await self._records.sheets.list(project, FOLDER, cursor, AT_ONCE)
            found |= {sheet.name: sheet for sheet in page.items if sheet.name and is_within(sheet.name, outer)}
            cursor = page.next
            if cursor is None:
                return found

    async def make(self, project: str, folder: str) -> None:
        """Have a folder, and every one it lies in, whether or not there are files in it; a second time is fine.

        Raises `FolderInvalid` or `SheetsTooMany`.
        """
        for one in labels.above(labels.folder(folder)):
            with suppress(SheetExists):
                await self._records.sheets.add(project, FOLDER, new_id(), {}, one)

    async def forget(self, project: str, folder: str, before: datetime | None = None) -> None:
        """Note no longer that there is this folder, and those in it, as far as they were noted `before` then."""
        for sheet in (await self.noted(project, folder)).values():
            if before is None or sheet.created_at <= before:
                await self._records.sheets.delete(project, FOLDER, sheet.id)
