"""Fixed ordered lists of files: made once, looked at, packed, and taken apart again without harm to the files."""

from __future__ import annotations

import re
from collections.abc import Sequence

from pipeline.errors import FileNotFound, GroupInvalid, GroupNotFound, MemberGone, MemberNotFound
from pipeline.model import File, Grant, Group, new_id
from pipeline.records import Records

MOST = 1000
"""Files of one group."""
ID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}~[1-9][0-9]{0,3}", re.IGNORECASE)


class Groups:
    """The verbs on groups; one of another project is not found."""

    def __init__(self, records: Records) -> None:
        self._records = records

    def drafted(self, grant: Grant, ids: Sequence[str], effects: Sequence[str] = ()) -> Group:
        """A group that can be made, its id `<uuid>~<how many>`; a file may come more than once. Raises `GroupInvalid`.

        `effects` are what a dialect does to each file when it is delivered, as many as there are files, or none.
        """
        if not 0 < len(ids) <= MOST or len(effects) not in (0, len(ids)):
            raise GroupInvalid(most=MOST)
        members = tuple(id.lower() for id in ids)
        shown = tuple(effects) if any(effects) else ()
        return Group(id=f"{new_id()}~{len(ids)}", project=grant.project.id, files=members, effects=shown)

    async def create(self, group: Group) -> Group:
        """Keep the group, unless it is kept; raises `FileNotFound` when one of its files is not of its project."""
        for id, file in zip(group.files, await self.files(group), strict=True):
            if file is None:
                raise FileNotFound(id=id[:64])
        await self._records.groups.create(group)
        return group

    async def get(self, grant: Grant, id: str) -> Group:
        """The project's group; raises `GroupNotFound`."""
        group = await self.known(id)
        if group.project != grant.project.id:
            raise GroupNotFound(id=id[:64])
        return group

    async def known(self, id: str) -> Group:
        """The group of whichever project; raises `GroupNotFound`, also for what can be no id."""
        if not ID.fullmatch(id):
            raise GroupNotFound(id=id[:64])
        return await self._records.groups.get(id.lower())

    async def files(self, group: Group) -> list[File | None]:
        """Its files in their order, None in the place of one that was deleted since."""
        found = await self._records.files.get_many(group.files)
        return [file if file and file.project == group.project else None for file in found]

    async def whole(self, group: Group) -> list[File]:
        """Its files in their order; raises `MemberGone` when one was deleted since."""
        found: list[File] = []
        for id, file in zip(group.files, await self.files(group), strict=True):
            if file is None:
                raise MemberGone(id=group.id, file=id)
            found.append(file)
        return found

    async def member(self, group: Group, place: int) -> File:
        """File number `place`, from 0; raises `MemberNotFound`, or `MemberGone` when it was deleted since."""
        if not 0 <= place < len(group.files):
            raise MemberNotFound(id=group.id, place=place)
        (file,) = await self._records.files.get_many([group.files[place]])
        if file is None or file.project != group.project:
            raise MemberGone(id=group.id, file=group.files[place])
        return file

    async def delete(self, grant: Grant, id: str) -> Group:
        """Forget the group, its files stay; raises `GroupNotFound`, also the second time."""
        group = await self.get(grant, id)
        if not await self._records.groups.delete(group.id):
            raise GroupNotFound(id=id[:64])
        return group
