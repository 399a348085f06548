"""How an upload becomes a file of the media library: at a path of its own, or as a version of what lies there."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass

from pipeline import names
from pipeline.api.dialects.imagekit.checks import Checks
from pipeline.api.dialects.imagekit.content import Content
from pipeline.api.dialects.imagekit.errors import invalid, refused
from pipeline.api.dialects.imagekit.fields import checked, completed
from pipeline.api.dialects.imagekit.wishes import Wish
from pipeline.api.dialects.native.files import Received
from pipeline.api.endpoint import Call
from pipeline.errors import VersionsTooMany
from pipeline.model import File, Intake
from pipeline.records.lineages import lineage_of
from pipeline.shelving import MOST_VERSIONS
from pipeline.vendors.imagekit import Fields

EXISTS = (
    "A file with the same name already exists at the exact location. We could not overwrite it because both "
    "overwriteFile and useUniqueFileName are set to false."
)

Look = Callable[[File], None]
Make = Callable[[Intake, Look], Awaitable[File]]


@dataclass(frozen=True)
class Storing:
    """One upload: what it asks for, the bytes it is of, and the fields that its custom metadata has to fit."""

    call: Call
    wish: Wish
    content: Content
    fields: Fields
    checks: Checks | None

    async def file(self, make: Make | None = None) -> File:
        """The file it becomes; `make` makes it of other bytes than those that came.

        Refused for what cannot be replaced, has too many versions, or does not pass the checks; raises `UploadBusy`.
        """
        wish, make = self.wish, make or self.taken
        if wish.flags["useUniqueFileName"]:
            return await make(await self._intake(names.unique(wish.name), None), self._look)
        project = self.call.project
        async with self.call.core.shelving.places.turn(project, wish.folder, wish.name):
            found = await self.call.core.records.lineages.at(project, wish.folder, wish.name)
            intake = await self._intake(wish.name, found)
            return await make(intake if found is None else await self._next(intake, found), self._look)

    async def taken(self, intake: Intake, look: Look) -> File:
        """The bytes that came, as this file."""
        received = Received(self.call, "imagekit")
        async with received:
            return await received.take(intake, aiter(self.content.bytes), look)

    async def _next(self, intake: Intake, found: File) -> Intake:
        """The claims for the version after those that are there."""
        if not self.wish.flags["overwriteFile"]:
            raise refused(EXISTS)
        lineage = lineage_of(found)
        versions = await self.call.core.records.lineages.versions(found.project, lineage)
        if len(versions) >= MOST_VERSIONS:
            raise VersionsTooMany(most=MOST_VERSIONS)
        version = 1 + max((one.version for one in versions), default=found.version)
        return intake.model_copy(update={"lineage": lineage, "version": version})

    async def _intake(self, name: str, found: File | None) -> Intake:
        wish, content = self.wish, self.content
        is_pictured = wish.region is not None and (await content.mime()).startswith("image/")
        return Intake(
            name=name,
            folder=wish.folder,
            declared_size=content.bytes.size,
            metadata=self._metadata(found),
            tags=self._tags(found),
            facts=self._facts(found),
            region=wish.region if is_pictured else None,
            store=True,
            private=self._private(found),
            published=wish.flags["isPublished"],
            description=wish.description,
            source=content.source,
            dialect="imagekit",
        )

    # What a version takes over from the one before it, where it says nothing itself

    def _tags(self, found: File | None) -> tuple[str, ...]:
        if self.wish.tags is not None:
            return self.wish.tags
        return found.tags if found and not self.wish.flags["overwriteTags"] else ()

    def _facts(self, found: File | None) -> Mapping[str, object]:
        tags = found.facts.get("ai_tags") if found and not self.wish.flags["overwriteAITags"] else None
        return {"ai_tags": tags} if tags else {}

    def _metadata(self, found: File | None) -> Mapping[str, str]:
        if self.wish.custom is not None:
            return completed(self.fields, checked(self.fields, self.wish.custom))
        return found.metadata if found and not self.wish.flags["overwriteCustomMetadata"] else {}

    def _private(self, found: File | None) -> bool:
        """A private file becomes public only where an upload says so."""
        if self.wish.private is not None:
            return self.wish.private
        return found is not None and found.private

    def _look(self, file: File) -> None:
        region, image = file.region, file.image
        if (
            region
            and image
            and not (region.x + region.width <= image.width and region.y + region.height <= image.height)
        ):
            raise invalid("customCoordinates", f"The picture has {image.width} x {image.height} pixels.")
        if self.checks:
            self.checks.look(file)
