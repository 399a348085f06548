"""`/v1/customMetadataFields`: what custom metadata files may have, each field with a type and the limits it allows.

A field that is deleted keeps its name: no other can have it (reference, Delete custom metadata field). Its values stay
with the files, where they are no custom metadata any more.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from aiohttp import web

from pipeline.acts import settled
from pipeline.api.dialects.imagekit.errors import invalid, missing, refused
from pipeline.api.dialects.imagekit.fields import fault_of, moment
from pipeline.api.dialects.imagekit.manage.ask import Ask, is_id, new_id, nothing, told
from pipeline.errors import SheetExists, SheetNotFound
from pipeline.labels import KEY_LENGTH, KEYS, VALUE_LENGTH
from pipeline.model import Sheet
from pipeline.vendors.imagekit import FIELD_KIND, Document, text_of

DELETED_KIND = f"{FIELD_KIND}.deleted"
RESERVED = "_internal_original_created_datetime"
LONGEST_DESCRIPTION = 500
MOST_OPTIONS = 500
NO_FIELD = "No such custom metadata field exists"
TAKEN = "A custom metadata field with this name already exists"
LABEL_TAKEN = "A custom metadata field with this label already exists"
MISFIT = "Invalid field object"
NOT_ALLOWED = "not allowed for this type"

NUMBERED = ("minLength", "maxLength")
RANGED = ("minValue", "maxValue")
ALLOWED: Mapping[str, tuple[str, ...]] = {
    "Text": NUMBERED,
    "Textarea": NUMBERED,
    "Number": RANGED,
    "Date": RANGED,
    "Boolean": (),
    "SingleSelect": ("selectOptions",),
    "MultiSelect": ("selectOptions",),
}
"""What a schema may say, by its type, beside `defaultValue` and `isValueRequired`."""

_NAME = re.compile(rf"[A-Za-z0-9_.:-]{{1,{KEY_LENGTH}}}")


# Looking


async def listed(ask: Ask) -> web.Response:
    """All of them as a bare list, with `includeDeleted` those too that are no more."""
    found = await ask.records.sheets.every(ask.project, FIELD_KIND)
    if ask.query("includeDeleted") == "true":
        found = [*found, *await ask.records.sheets.every(ask.project, DELETED_KIND)]
    return told([_shown(sheet) for sheet in found])


def _shown(sheet: Sheet) -> Document:
    told = {"id": sheet.id, "name": sheet.body["name"], "label": sheet.body["label"], "schema": sheet.body["schema"]}
    return told | ({"description": sheet.body["description"]} if sheet.body.get("description") else {})


# Changing


async def create(ask: Ask) -> web.Response:
    name, label = ask.text("name"), ask.text("label")
    if not _NAME.fullmatch(name) or name == RESERVED:
        raise invalid("name", f"It should have 1 to {KEY_LENGTH} letters, digits and - _ . : and not be reserved.")
    schema = ask.fields.get("schema")
    if schema is None:
        raise missing("schema")
    body = {"name": name, "label": label, "schema": checked(schema), "description": _description(ask)}
    return told(_shown(await settled(_created(ask, name, body))), 201)


async def _created(ask: Ask, name: str, body: Mapping[str, Any]) -> Sheet:
    async with ask.core.holds.of(f"imagekit.fields:{ask.project}"):
        await _check_label(ask, body["label"])
        if await ask.records.sheets.named(ask.project, DELETED_KIND, name):
            raise refused(TAKEN)
        if await ask.records.sheets.count(ask.project, FIELD_KIND) >= KEYS:
            raise refused(f"There can be at most {KEYS} custom metadata fields.")
        try:
            return await ask.records.sheets.add(ask.project, FIELD_KIND, new_id(), body, name)
        except SheetExists as cause:
            raise refused(TAKEN) from cause


async def change(ask: Ask) -> web.Response:
    known = await _field(ask)
    if all(ask.fields.get(name) is None for name in ("label", "schema", "description")):
        raise refused("Your request is missing label or schema parameter.")
    return told(_shown(await settled(_changed(ask, known))))


async def _changed(ask: Ask, known: Sheet) -> Sheet:
    fields = ask.fields
    async with ask.core.holds.of(f"imagekit.fields:{ask.project}"):
        wanted: dict[str, Any] = {}
        if fields.get("label") is not None:
            wanted["label"] = ask.text("label")
            await _check_label(ask, wanted["label"], known.id)
        if fields.get("description") is not None:
            wanted["description"] = _description(ask)
        if fields.get("schema") is not None:
            wanted["schema"] = _merged(known.body["schema"], fields["schema"])
        return await ask.records.sheets.change(ask.project, FIELD_KIND, known.id, lambda body: {**body, **wanted})


def _merged(known: Mapping[str, Any], given: Any) -> Mapping[str, Any]:
    """The schema with what is given over what was; its type stays."""
    if not isinstance(given, Mapping):
        raise invalid("schema", "It should be an object.")
    return checked({**known, **given, "type": known["type"]})


async def delete(ask: Ask) -> web.Response:
    await settled(_deleted(ask, await _field(ask)))
    return nothing()


async def _deleted(ask: Ask, known: Sheet) -> None:
    await ask.records.sheets.add(ask.project, DELETED_KIND, known.id, known.body, known.name)
    await ask.records.sheets.delete(ask.project, FIELD_KIND, known.id)


async def _field(ask: Ask) -> Sheet:
    id = ask.call.place("id").lower()
    if not is_id(id):
        raise invalid("ID")
    try:
        return await ask.records.sheets.get(ask.project, FIELD_KIND, id)
    except SheetNotFound as cause:
        raise refused(NO_FIELD, 404) from cause


async def _check_label(ask: Ask, label: str, own: str | None = None) -> None:
    for sheet in await ask.records.sheets.every(ask.project, FIELD_KIND):
        if sheet.id != own and sheet.body["label"] == label:
            raise refused(LABEL_TAKEN)


def _description(ask: Ask) -> str:
    text = ask.fields.get("description") or ""
    if not isinstance(text, str) or len(text) > LONGEST_DESCRIPTION:
        raise invalid("description", f"It should be a string of at most {LONGEST_DESCRIPTION} characters.")
    return text


# Schemas


def checked(given: Any) -> Mapping[str, Any]:
    """A schema that is sound in itself; refused with `errors` by what is wrong with it."""
    if not isinstance(given, Mapping):
        raise invalid("schema", "It should be an object.")
    schema = {name: value for name, value in given.items() if value is not None}
    kind = schema.get("type")
    if not isinstance(kind, str) or kind not in ALLOWED:
        raise refused(MISFIT, errors={"type": f"should be one of {', '.join(ALLOWED)}"})
    faults = {name: fault for name, value in schema.items() if (fault := _fault(name, value, kind))}
    if not faults:
        faults = _together(schema)
    if faults:
        raise refused(f"{MISFIT} {'; '.join(f'{name}: {fault}' for name, fault in faults.items())}", errors=faults)
    return schema


def _fault(name: str, value: Any, kind: str) -> str | None:
    if name in ("type", "defaultValue"):
        return None
    if name == "isValueRequired":
        return None if isinstance(value, bool) else "should be of type boolean"
    if name not in ALLOWED[kind]:
        return NOT_ALLOWED
    return CHECKS[name](value, kind)


def _length_fault(value: Any, kind: str) -> str | None:
    fits = isinstance(value, int | float) and not isinstance(value, bool) and value >= 0 and value == int(value)
    return None if fits else "should be of type number"


def _value_fault(value: Any, kind: str) -> str | None:
    if kind == "Date":
        return None if moment(value) else "should be a date in ISO 8601 format"
    fits = isinstance(value, int | float) and not isinstance(value, bool)
    return None if fits else "should be of type number"


def _options_fault(value: Any, kind: str) -> str | None:
    if not isinstance(value, list) or not 0 < len(value) <= MOST_OPTIONS:
        return f"should be an array of 1 to {MOST_OPTIONS} options"
    if not all(isinstance(one, str | int | float | bool) and one != "" for one in value):
        return "should have strings, numbers and booleans only"
    if any(len(text_of(one)) > VALUE_LENGTH for one in value):
        return f"should have options of at most {VALUE_LENGTH} characters"
    return None


CHECKS: Mapping[str, Callable[[Any, str], str | None]] = {
    "minLength": _length_fault,
    "maxLength": _length_fault,
    "minValue": _value_fault,
    "maxValue": _value_fault,
    "selectOptions": _options_fault,
}


def _together(schema: Mapping[str, Any]) -> dict[str, str]:
    """What is wrong with the parts of a schema beside each other."""
    faults: dict[str, str] = {}
    if "selectOptions" in ALLOWED[schema["type"]] and "selectOptions" not in schema:
        faults["selectOptions"] = "is required for this type"
    read: Callable[[Any], Any] = moment if schema["type"] == "Date" else (lambda value: value)
    for least, most in (NUMBERED, RANGED):
        if least in schema and most in schema and read(schema[least]) > read(schema[most]):
            faults[most] = f"should not be less than {least}"
    default = schema.get("defaultValue")
    if schema.get("isValueRequired") and default in (None, "", []):
        faults["defaultValue"] = "is required when isValueRequired is true"
    elif default is not None and not faults and (fault := fault_of(schema, default)):
        faults["defaultValue"] = fault
    return faults
