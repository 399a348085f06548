"""Custom metadata: the fields a project has defined, and whether what is sent for them fits.

A value is kept as text among the metadata of its file, where other dialects see it too: numbers and flags as in JSON,
several choices as a JSON list.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

from pipeline.api.dialects.imagekit.errors import refused
from pipeline.core import Core
from pipeline.vendors.imagekit import FIELD_KIND, Fields, schemas, text_of

MISFIT = "Your request contains invalid customMetadata parameter."


async def fields_of(core: Core, project: str) -> Fields:
    """The schemas of a project's fields by their names."""
    return schemas(await core.records.sheets.every(project, FIELD_KIND))


def checked(fields: Fields, given: Mapping[str, Any]) -> dict[str, str | None]:
    """Values as they are kept, None for each that is to be removed; refused with `errors` by the name of the field."""
    faults: dict[str, str] = {}
    kept: dict[str, str | None] = {}
    for name, value in given.items():
        if name not in fields:
            faults[name] = "This custom metadata field does not exist."
        elif value is None or value == "" or value == []:
            kept[name] = None
        elif fault := fault_of(fields[name], value):
            faults[name] = fault
        else:
            kept[name] = text_of(value)
    if faults:
        told = "; ".join(f"{name[:64]}: {fault}" for name, fault in faults.items())
        raise refused(f"{MISFIT} {told}", errors=faults)
    return kept


def completed(fields: Fields, kept: Mapping[str, str | None]) -> dict[str, str]:
    """What a file is to have for which custom metadata was sent: required fields left out get their default values.

    Refused where there is none.
    """
    whole = {name: text for name, text in kept.items() if text is not None}
    for name, schema in fields.items():
        if not schema.get("isValueRequired") or name in whole:
            continue
        if (default := schema.get("defaultValue")) not in (None, "", []):
            whole[name] = text_of(default)
        else:
            raise refused(f"{MISFIT} {name}: A value is required.", errors={name: "A value is required."})
    return whole


def fault_of(schema: Mapping[str, Any], value: Any) -> str | None:
    """Why a value does not fit a field, None when it does."""
    return FAULTS[schema["type"]](schema, value)


def _text_fault(schema: Mapping[str, Any], value: Any) -> str | None:
    if not isinstance(value, str):
        return "The value should be a string."
    least, most = schema.get("minLength"), schema.get("maxLength")
    if least is not None and len(value) < least:
        return f"The value should have at least {least} characters."
    if most is not None and len(value) > most:
        return f"The value should have at most {most} characters."
    return None


def _number_fault(schema: Mapping[str, Any], value: Any) -> str | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return "The value should be a number."
    return _range_fault(schema, value, lambda limit: limit)


def _date_fault(schema: Mapping[str, Any], value: Any) -> str | None:
    at = moment(value)
    return "The value should be a date in ISO 8601 format." if at is None else _range_fault(schema, at, moment)


def _range_fault(schema: Mapping[str, Any], value: Any, read: Callable[[Any], Any]) -> str | None:
    least, most = schema.get("minValue"), schema.get("maxValue")
    if least is not None and (limit := read(least)) is not None and value < limit:
        return f"The value should be at least {least}."
    if most is not None and (limit := read(most)) is not None and value > limit:
        return f"The value should be at most {most}."
    return None


def _flag_fault(schema: Mapping[str, Any], value: Any) -> str | None:
    return None if isinstance(value, bool) else "The value should be true or false."


def _choice_fault(schema: Mapping[str, Any], value: Any) -> str | None:
    fits = any(value == option and type(value) is type(option) for option in schema.get("selectOptions", ()))
    return None if fits else "The value should be one of the select options."


def _choices_fault(schema: Mapping[str, Any], value: Any) -> str | None:
    if not isinstance(value, list):
        return "The value should be an array."
    return next(filter(None, (_choice_fault(schema, one) for one in value)), None)


def moment(value: Any) -> datetime | None:
    """A date in ISO 8601 with or without a time, in UTC where it names no zone; None for what is none."""
    try:
        at = datetime.fromisoformat(value)
    except (TypeError, ValueError):
        return None
    return at if at.tzinfo else at.replace(tzinfo=UTC)


FAULTS: Mapping[str, Callable[[Mapping[str, Any], Any], str | None]] = {
    "Text": _text_fault,
    "Textarea": _text_fault,
    "Number": _number_fault,
    "Date": _date_fault,
    "Boolean": _flag_fault,
    "SingleSelect": _choice_fault,
    "MultiSelect": _choices_fault,
}
"""By the type of a field."""
