"""`/v1/files/{id}` and its details: look at a file, change it, delete it with all its versions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from aiohttp import web

from pipeline.acts import settled
from pipeline.api.dialects.imagekit.errors import invalid
from pipeline.api.dialects.imagekit.extensions import check_extensions, start_extensions
from pipeline.api.dialects.imagekit.fields import checked, completed, fields_of
from pipeline.api.dialects.imagekit.manage.ask import Ask, current_of, nothing, told, versions_of
from pipeline.api.dialects.imagekit.manage.saved_extensions import resolved
from pipeline.api.dialects.imagekit.wishes import coordinates_of, extensions_of, tags_of, webhook_of
from pipeline.errors import FileNotFound
from pipeline.files import Act
from pipeline.labels import PRINTED
from pipeline.model import Edit, File, Grant, Region
from pipeline.vendors.imagekit import Document

EVERY = "all"
"""What removes all that extensions found."""


async def get(ask: Ask) -> web.Response:
    return told(await ask.document(await current_of(ask)))


# Changing


async def change(ask: Ask) -> web.Response:
    file, extensions = await current_of(ask), await _extensions(ask)
    webhook = webhook_of(ask.text("webhookUrl")) if ask.fields.get("webhookUrl") else None
    shown = await settled(_changed(ask, file))
    if extensions:
        file = await current_of(ask)
        shown["extensionStatus"] = await start_extensions(ask.core, ask.grant, file, extensions, webhook)
    return told(shown)


async def _extensions(ask: Ask) -> Sequence[Mapping[str, Any]]:
    """What is to be found out about the file, or done to it, once it is changed."""
    asked = await resolved(ask.core, ask.project, extensions_of(ask.fields.get("extensions")))
    check_extensions(ask.grant.project, asked)
    return asked


async def _changed(ask: Ask, file: File) -> Document:
    edit = await _edit(ask, file)
    if edit.model_fields_set:
        file = await ask.core.files.edit(ask.grant, file.id, edit, PRINTED)
    if ask.fields.get("publish") is not None:
        file = await _published(ask)
    return await ask.document(file)


async def _edit(ask: Ask, file: File) -> Edit:
    """What the fields of a request make of a file; refused for the first that cannot be."""
    fields, wanted = ask.fields, dict[str, Any]()
    if "tags" in fields:
        wanted["tags"] = tags_of(texts_of(fields["tags"] or [], "tags"))
    if "customCoordinates" in fields:
        wanted["region"] = _region(fields["customCoordinates"])
    if fields.get("description") is not None:
        if not isinstance(fields["description"], str):
            raise invalid("description", "It should be a string.")
        wanted["description"] = fields["description"]
    if fields.get("removeAITags") is not None:
        wanted["facts"] = without_ai_tags(file, fields["removeAITags"])
    if fields.get("customMetadata") is not None:
        wanted["merge_metadata"] = await _metadata(ask, file, fields["customMetadata"])
    return Edit(**wanted)


def _region(given: Any) -> Region | None:
    if given is None or given == "":
        return None
    if not isinstance(given, str):
        raise invalid("customCoordinates", "It should be null or a string in the format x,y,width,height.")
    return coordinates_of(given)


async def _metadata(ask: Ask, file: File, given: Any) -> Mapping[str, str | None]:
    """What becomes of the file's metadata; a required field that is emptied gets its default."""
    if not isinstance(given, Mapping):
        raise invalid("customMetadata", "It should be an object.")
    fields = await fields_of(ask.core, ask.project)
    kept = checked(fields, given)
    known = {name: text for name, text in file.metadata.items() if name in fields}
    return kept | completed(fields, known | kept)


async def _published(ask: Ask) -> File:
    """The file, published or no more, with all its versions where that is asked for."""
    wish = ask.fields["publish"]
    published = wish.get("isPublished") if isinstance(wish, Mapping) else None
    if not isinstance(published, bool):
        raise invalid("publish", "isPublished should be true or false.")
    versions = await versions_of(ask)
    for version in versions[:-1] if wish.get("includeFileVersions") is True else ():
        await ask.core.files.edit(ask.grant, version.id, Edit(published=published))
    return await ask.core.files.edit(ask.grant, versions[-1].id, Edit(published=published))


def texts_of(given: Any, field: str) -> list[str]:
    """A list of texts; refused for what is none."""
    if not isinstance(given, list) or not all(isinstance(one, str) for one in given):
        raise invalid(field, "It should be an array of strings.")
    return given


def without_ai_tags(file: File, given: Any) -> Mapping[str, Any]:
    """The facts of a file without these, or with none, of what extensions found it to show."""
    gone = None if given == EVERY else texts_of(given, "removeAITags")
    found = file.facts.get("ai_tags") or ()
    return {"ai_tags": [tag for tag in found if gone is not None and tag.get("name") not in gone]}


# Deleting


async def delete(ask: Ask) -> web.Response:
    await current_of(ask)
    await settled(_removed(ask))
    return nothing()


async def _removed(ask: Ask) -> None:
    await removing(ask)(ask.grant, ask.call.place("id").lower())


def removing(ask: Ask) -> Act:
    """Deletes every version of a file by its id, the current one last; raises `FileNotFound`."""

    async def remove(grant: Grant, id: str) -> File:
        versions = await ask.records.lineages.versions(ask.project, id)
        if not versions:
            raise FileNotFound(id=id)
        for version in versions:
            await ask.core.files.delete(grant, version.id)
        return versions[-1]

    return remove
