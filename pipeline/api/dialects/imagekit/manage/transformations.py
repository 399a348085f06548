"""`/v1/named-transformations`: transformations that addresses have by a name."""

from __future__ import annotations

import re
from typing import Any

from aiohttp import web

from pipeline.acts import settled
from pipeline.api.dialects.imagekit.delivery.named import KIND
from pipeline.api.dialects.imagekit.delivery.steps import steps_of
from pipeline.api.dialects.imagekit.errors import invalid, refused
from pipeline.api.dialects.imagekit.manage.ask import Ask, new_id, nothing, told
from pipeline.errors import RequestInvalid, SheetExists, SheetNotFound
from pipeline.model import Sheet
from pipeline.vendors.imagekit import Document, moment

LONGEST = 4000
"""Characters of a transformation."""
NONE_SUCH = "The requested named transformation does not exist."
TAKEN = "A named transformation with this name already exists."

_NAME = re.compile(r"\w{1,100}", re.ASCII)


async def listed(ask: Ask) -> web.Response:
    """All of them as a bare list."""
    return told([_shown(sheet) for sheet in await ask.records.sheets.every(ask.project, KIND)])


async def get(ask: Ask) -> web.Response:
    return told(_shown(await _known(ask)))


async def create(ask: Ask) -> web.Response:
    name = _name(ask)
    enabled = ask.flag("enabled") if ask.fields.get("enabled") is not None else True
    body = {"name": name, "transformation": _transformation(ask), "enabled": enabled}
    try:
        made = await settled(ask.records.sheets.add(ask.project, KIND, new_id(), body, name))
    except SheetExists as cause:
        raise refused(TAKEN) from cause
    return told(_shown(made), 201)


async def change(ask: Ask) -> web.Response:
    known, wanted = await _known(ask), dict[str, Any]()
    if ask.fields.get("name") is not None:
        wanted["name"] = _name(ask)
    if ask.fields.get("transformation") is not None:
        wanted["transformation"] = _transformation(ask)
    if ask.fields.get("enabled") is not None:
        wanted["enabled"] = ask.flag("enabled")
    change = ask.records.sheets.change(
        ask.project, KIND, known.id, lambda body: {**body, **wanted}, lambda name: wanted.get("name", name)
    )
    try:
        return told(_shown(await settled(change)))
    except SheetExists as cause:
        raise refused(TAKEN) from cause


async def delete(ask: Ask) -> web.Response:
    known = await _known(ask)
    await settled(ask.records.sheets.delete(ask.project, KIND, known.id))
    return nothing()


async def _known(ask: Ask) -> Sheet:
    try:
        return await ask.records.sheets.get(ask.project, KIND, ask.call.place("id"))
    except SheetNotFound as cause:
        raise refused(NONE_SUCH, 404) from cause


def _name(ask: Ask) -> str:
    name = ask.text("name")
    if not _NAME.fullmatch(name):
        raise invalid("name", "It should have letters, digits and _ only.")
    return name


def _transformation(ask: Ask) -> str:
    text = ask.text("transformation").removeprefix("tr:")
    if len(text) > LONGEST:
        raise invalid("transformation", f"It should have at most {LONGEST} characters.")
    try:
        steps = steps_of(text)
    except RequestInvalid as cause:
        raise invalid("transformation", cause.message) from cause
    if not steps:
        raise invalid("transformation")
    return text


def _shown(sheet: Sheet) -> Document:
    told = {name: sheet.body[name] for name in ("name", "transformation", "enabled")}
    return {"id": sheet.id, **told, "createdAt": moment(sheet.created_at), "updatedAt": moment(sheet.updated_at)}
