"""`/v1/saved-extensions`: how an extension is to be done, kept under an id that uploads and updates name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from aiohttp import web

from pipeline.acts import settled
from pipeline.api.dialects.imagekit.errors import invalid, refused
from pipeline.api.dialects.imagekit.extensions import EXTENSIONS
from pipeline.api.dialects.imagekit.manage.ask import Ask, new_id, nothing, told
from pipeline.core import Core
from pipeline.errors import SheetNotFound
from pipeline.model import Sheet
from pipeline.vendors.imagekit import Document, moment

KIND = "imagekit.saved_extension"
SAVED = "saved-extension"
"""The name by which uploads and updates ask for one of these, with its `id`."""
LONGEST = 1000
NONE_SUCH = "The requested saved extension does not exist."


async def resolved(core: Core, project: str, asked: Sequence[Mapping[str, Any]]) -> Sequence[Mapping[str, Any]]:
    """Extensions with what is saved in the place of those that name it; refused for an id that is not known."""
    found: list[Mapping[str, Any]] = []
    for one in asked:
        if one["name"] != SAVED:
            found.append(one)
            continue
        try:
            sheet = await core.records.sheets.get(project, KIND, str(one.get("id", "")))
        except SheetNotFound as cause:
            raise invalid("extensions", NONE_SUCH) from cause
        found.append(sheet.body["config"])
    return found


async def listed(ask: Ask) -> web.Response:
    """All of them as a bare list."""
    return told([_shown(sheet) for sheet in await ask.records.sheets.every(ask.project, KIND)])


async def get(ask: Ask) -> web.Response:
    return told(_shown(await _known(ask)))


async def create(ask: Ask) -> web.Response:
    body = {"name": _text(ask, "name"), "description": _text(ask, "description"), "config": _config(ask)}
    made = await settled(ask.records.sheets.add(ask.project, KIND, f"ext_{new_id()}", body))
    return told(_shown(made), 201)


async def change(ask: Ask) -> web.Response:
    known = await _known(ask)
    wanted: dict[str, Any] = {
        name: _text(ask, name) for name in ("name", "description") if ask.fields.get(name) is not None
    }
    if ask.fields.get("config") is not None:
        wanted["config"] = _config(ask)
    changed = ask.records.sheets.change(ask.project, KIND, known.id, lambda body: {**body, **wanted})
    return told(_shown(await settled(changed)))


async def delete(ask: Ask) -> web.Response:
    known = await _known(ask)
    await settled(ask.records.sheets.delete(ask.project, KIND, known.id))
    return nothing()


async def _known(ask: Ask) -> Sheet:
    try:
        return await ask.records.sheets.get(ask.project, KIND, ask.call.place("id"))
    except SheetNotFound as cause:
        raise refused(NONE_SUCH, 404) from cause


def _text(ask: Ask, name: str) -> str:
    text = ask.text(name)
    if len(text) > LONGEST:
        raise invalid(name, f"It should have at most {LONGEST} characters.")
    return text


def _config(ask: Ask) -> Mapping[str, Any]:
    config = ask.fields.get("config")
    if not isinstance(config, Mapping) or config.get("name") not in EXTENSIONS:
        raise invalid("config", f"It should be an object whose name is one of {', '.join(EXTENSIONS)}.")
    return config


def _shown(sheet: Sheet) -> Document:
    times = {"createdAt": moment(sheet.created_at), "updatedAt": moment(sheet.updated_at)}
    return {"id": sheet.id, **sheet.body, **times}
