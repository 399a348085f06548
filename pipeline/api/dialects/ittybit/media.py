"""`/media`: what belongs together, with every file of it by its ref."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from aiohttp import web

from pipeline.acts import settled
from pipeline.api.dialects.ittybit import collecting, files
from pipeline.api.dialects.ittybit.ask import Ask, object_of, text_of
from pipeline.api.dialects.ittybit.claims import OF_MEDIA, media_said
from pipeline.api.dialects.ittybit.collecting import ALIAS, MEDIA
from pipeline.api.dialects.ittybit.errors import BadRequest, Missing
from pipeline.errors import FileNotFound, SheetExists, SheetNotFound
from pipeline.model import Edit, Fetch, File, FileQuery, new_id
from pipeline.vendors.ittybit.files import Media, media_object, own
from pipeline.vendors.ittybit.words import ITTYBIT, id_of


async def listed(ask: Ask) -> web.Response:
    found, total = await collecting.listed(ask, files.query_of(ask).types, down=files.order_of(ask).down)
    return ask.listed([media_object(ask.view, media) for media in found], total)


async def get(ask: Ask) -> web.Response:
    return ask.told(media_object(ask.view, await _asked(ask)))


async def create(ask: Ask) -> web.Response:
    """An empty media that files are put with, or one that begins with the file at a URL."""
    fields = ask.fields()
    if fields.get("url") is not None:
        found = await files.fetched(ask, fields, await files.claimed(ask, fields))
        id = (found.promise or found.id) if isinstance(found, Fetch) else found.root or found.id
        media = await collecting.find(ask, id)
    else:
        body = {**media_said(fields), "metadata": object_of(fields, "metadata")}
        sheet = await ask.call.core.records.sheets.add(ask.project, MEDIA, new_id(), body)
        media = await collecting.told_by(ask.call.core, sheet)
    if alias := text_of(fields, "alias"):
        await name(ask, alias, media.id)
    return ask.told(media_object(ask.view, media), 202 if media.waits else 201)


async def name(ask: Ask, alias: str, id: str) -> None:
    """Have a media found by an alias from now on."""
    await named(ask.call.core.records.sheets, ask.project, alias, id)


async def named(sheets: Any, project: str, alias: str, id: str) -> None:
    """The same for whoever has no request of a server."""
    try:
        await sheets.add(project, ALIAS, alias, {"media": id})
    except SheetExists:
        await sheets.change(project, ALIAS, alias, lambda _: {"media": id})


async def change(ask: Ask) -> web.Response:
    """Other `title`, `alt`, `label` or `alias`; of `metadata` the given keys, null removes one."""
    fields, media = ask.fields(), await _asked(ask)
    if media.first and media.first.id == media.id:
        edit = _edit(media.first, fields)
        await settled(ask.call.core.files.edit(ask.grant, media.id, edit))
    else:
        await _noted(ask, media, fields)
    if alias := text_of(fields, "alias"):
        await name(ask, alias, media.id)
    return ask.told(media_object(ask.view, await collecting.find(ask, media.id)))


def _edit(first: File, fields: Mapping[str, Any]) -> Edit:
    edit = files.edit_of(first, {key: fields[key] for key in ("metadata", "folder", "filename") if key in fields})
    said = dict(edit.facts[ITTYBIT])
    said["media"] = _said(own(first).get("media", {}), fields)
    return edit.model_copy(update={"facts": {ITTYBIT: said}})


def _said(before: Mapping[str, Any], fields: Mapping[str, Any]) -> dict[str, Any]:
    """What a media remembers after a change."""
    given = {**media_said(fields), **{key: None for key in OF_MEDIA if key in fields and fields[key] is None}}
    return {key: value for key, value in {**before, **given}.items() if value is not None}


async def _noted(ask: Ask, media: Media, fields: Mapping[str, Any]) -> None:
    """Change a media that began without a file, or whose first file is gone."""
    given = object_of(fields, "metadata")

    def changed(body: Mapping[str, Any]) -> Mapping[str, Any]:
        merged = {**body.get("metadata", {}), **given}
        return {**_said(body, fields), "metadata": {key: one for key, one in merged.items() if one is not None}}

    sheets = ask.call.core.records.sheets
    try:
        await sheets.change(ask.project, MEDIA, media.id, changed)
    except SheetNotFound:
        if media.waits:
            raise BadRequest(reason="The file has not been fetched yet.") from None
        await sheets.add(ask.project, MEDIA, media.id, changed({}))


async def delete(ask: Ask) -> web.Response:
    """Delete a media with all its files."""
    media, core = await _asked(ask), ask.call.core
    await settled(_deleted(ask, media))
    await core.records.sheets.delete(ask.project, MEDIA, media.id)
    return ask.told({"message": "Media deleted."}, 202)


async def _deleted(ask: Ask, media: Media) -> None:
    core, gone = ask.call.core, list(media.files)
    while gone:
        for file in gone:
            with suppress(FileNotFound):
                await core.files.delete(ask.grant, file.id)
        gone = await collecting.found(core, ask.project, FileQuery(root=media.id), collecting.MOST_FILES)


async def _asked(ask: Ask) -> Media:
    """The media in the path, by its id or its alias."""
    text = ask.call.place("id")
    if (id := id_of(text, "med")) is not None:
        return await collecting.find(ask, id)
    with suppress(SheetNotFound):
        sheet = await ask.call.core.records.sheets.get(ask.project, ALIAS, text)
        return await collecting.find(ask, sheet.body["media"])
    raise Missing(what="Media")
