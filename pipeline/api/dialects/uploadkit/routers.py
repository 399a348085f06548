"""`/projects/<id>/routers` and `/routers/<id>`: routes that are made, changed and removed over the API."""

from __future__ import annotations

from aiohttp import web

from pipeline.acts import settled
from pipeline.api.dialects.uploadkit import auth, routes
from pipeline.api.dialects.uploadkit.errors import UploadkitRefused, refused
from pipeline.api.dialects.uploadkit.params import RouterAsk, RouterChange, body
from pipeline.api.endpoint import Call, plain
from pipeline.errors import SheetExists, SheetNotFound
from pipeline.model import Grant, Sheet, new_id
from pipeline.vendors.uploadkit import Document, moment


async def listed(call: Call) -> web.Response:
    grant = await owner(call)
    return plain({"routers": [_shown(grant, entry) for entry in await routes.every(call, grant)]})


async def create(call: Call) -> web.Response:
    grant = await owner(call)
    ask = await body(call, RouterAsk)
    if ask.slug in grant.project.routes or ask.slug == routes.DEFAULT:
        raise _twice(ask.slug)
    sheet = await settled(_added(call, grant, ask.slug, ask))
    answer = plain({"router": _shown(grant, routes.of_sheet(sheet))})
    answer.set_status(201)
    return answer


async def change(call: Call) -> web.Response:
    grant = await auth.server(call)
    ask = await body(call, RouterChange)
    entry = await _known(call, grant)
    if entry.origin == "built in":
        base = RouterChange.model_validate({**routes.DEFAULT_BODY, **ask.body()})
        sheet = await settled(_added(call, grant, routes.DEFAULT, base))
    else:
        records, said = call.core.records.sheets, ask.body()
        changing = records.change(grant.project.id, routes.KIND, entry.id, lambda old: {**old, **said})
        sheet = await settled(changing)
    return plain({"router": _shown(grant, routes.of_sheet(sheet))})


async def delete(call: Call) -> web.Response:
    grant = await auth.server(call)
    entry = await _known(call, grant)
    if entry.origin == "built in":
        raise refused("settings", "Every project has the route `default`; change it, or define it in the settings.")
    await settled(call.core.records.sheets.delete(grant.project.id, routes.KIND, entry.id))
    return plain({"ok": True})


async def owner(call: Call) -> Grant:
    """Whom a request speaks for, if the project in its path is theirs; else refused as if there were none."""
    grant = await auth.server(call)
    if call.place("id") != grant.project.id:
        raise refused("missing", f"Project '{call.place('id')[:64]}' not found")
    return grant


async def _known(call: Call, grant: Grant) -> routes.Entry:
    """The route of the id in the path, if it can be changed here."""
    id = call.place("id")
    if id in grant.project.routes:
        raise refused("settings", f"The route '{id[:100]}' is made by the settings and changed there.")
    for entry in await routes.every(call, grant):
        if entry.id == id:
            return entry
    raise SheetNotFound(kind="file route", id=id[:64])


async def _added(call: Call, grant: Grant, slug: str, ask: RouterChange) -> Sheet:
    try:
        return await call.core.records.sheets.add(grant.project.id, routes.KIND, new_id(), ask.body(), slug)
    except SheetExists as cause:
        raise _twice(slug) from cause


def _twice(slug: str) -> UploadkitRefused:
    return refused("twice", f"A file router with slug '{slug}' already exists in this project")


def _shown(grant: Grant, entry: routes.Entry) -> Document:
    told: Document = {
        "id": entry.id,
        "_id": entry.id,
        "slug": entry.slug,
        "projectId": grant.project.id,
        "maxFileSize": entry.largest(grant.project),
        "maxFileCount": entry.max_files,
        "allowedTypes": list(entry.types),
        "webhookUrl": entry.webhook,
    }
    sheet = entry.sheet
    times = {"createdAt": moment(sheet.created_at), "updatedAt": moment(sheet.updated_at)} if sheet else {}
    return told | times
