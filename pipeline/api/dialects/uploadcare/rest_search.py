"""`/files/search/`: as much of it as our own finding of files answers; a condition beyond that is complained of."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from aiohttp import web

from pipeline.api.dialects.uploadcare.paging import time_of
from pipeline.api.dialects.uploadcare.rest import Ask, told
from pipeline.api.dialects.uploadcare.rest_errors import complaint
from pipeline.errors import CursorInvalid
from pipeline.model import File, FileQuery, FileSort
from pipeline.records.finding import Order

PAGE, LONGEST, WINDOW = 20, 100, 1000
SHORTEST = 4
"""Characters of a term."""
SORTS: Mapping[str, FileSort] = {"datetime_uploaded": "created", "size": "size", "original_filename": "name"}
CONDITIONS = ("query", "phrase", "exact", "datetime_uploaded", "size", "is_image", "tags")
TICK = timedelta(microseconds=1)
_METADATA = re.compile(r"metadata\[(.+)]")


async def search(ask: Ask) -> web.Response:
    limit, offset = _number(ask, "limit", PAGE, LONGEST), _number(ask, "offset", 0, WINDOW)
    if offset + limit > WINDOW:
        raise complaint("offset", f"`offset` + `limit` must not exceed {WINDOW}.")
    fields = ask.fields()
    query, order = _query(fields), _order(fields.get("sort"))
    files, more = await _found(ask, query, order, offset, limit)
    total, _ = await ask.call.core.records.files.count(ask.project, query)
    following = offset + limit
    path = f"{ask.call.base_url}/files/search/?limit={limit}&offset={following}"
    appdata = "appdata" in ask.query("include")
    return told(
        {
            "next": path if more and following + limit <= WINDOW else None,
            "previous": None,
            "total": total,
            "per_page": limit,
            "results": [ask.shown(file, appdata=appdata) for file in files],
        }
    )


async def _found(ask: Ask, query: FileQuery, order: Order, offset: int, limit: int) -> tuple[Sequence[File], bool]:
    """The page behind `offset`, and whether there is another one."""
    found: list[File] = []
    cursor, wanted = None, offset + limit + 1
    while len(found) < wanted:
        try:
            part = await ask.call.core.records.files.find(ask.project, query, cursor, wanted - len(found), order)
        except CursorInvalid as cause:
            raise complaint("offset", "The list has changed; begin anew.") from cause
        found += part.items
        cursor = part.next
        if cursor is None:
            break
    return found[offset : offset + limit], len(found) == wanted


def _query(fields: Mapping[str, Any]) -> FileQuery:
    if not any(fields.get(name) is not None for name in CONDITIONS):
        raise complaint("non_field_errors", f"At least one of {', '.join(CONDITIONS)} is required.")
    asked: dict[str, Any] = {}
    if fields.get("query") is not None:
        asked["part"] = _term(fields["query"], "query")
    for name, value in _inner(fields, "phrase"):
        if name != "original_filename":
            raise complaint(f"phrase.{name}", "Not searched here.")
        asked["part"] = _term(value, f"phrase.{name}")
    for name, value in _inner(fields, "exact"):
        _exact(asked, name, _texts(value, f"exact.{name}"))
    for name, value in _inner(fields, "tags"):
        _tagged(asked, name, _texts(value, f"tags.{name}"))
    asked |= _times(_inner(fields, "datetime_uploaded")) | _sizes(_inner(fields, "size"))
    if fields.get("is_image") is not None:
        if fields["is_image"] is not True:
            raise complaint("is_image", "What is no picture is not searched for here.")
        asked["types"] = ("image/*",)
    return FileQuery(**asked)


def _exact(asked: dict[str, Any], name: str, values: Sequence[str]) -> None:
    key = _METADATA.fullmatch(name)
    if name == "detected_mime_type":
        asked["types"] = tuple(values)
    elif name == "original_filename" and len(values) == 1:
        asked["name"] = values[0]
    elif key and len(values) == 1:
        asked["metadata"] = {**asked.get("metadata", {}), key.group(1): values[0]}
    else:
        raise complaint(f"exact.{name}", "Not searched here, or not for more than one value.")


def _tagged(asked: dict[str, Any], name: str, tags: Sequence[str]) -> None:
    if name not in ("any", "all"):
        raise complaint(f"tags.{name}", "Not searched here.")
    asked["any_tags" if name == "any" else "tags"] = tuple(tag.lower() for tag in tags)


def _times(bounds: Sequence[tuple[str, Any]]) -> dict[str, datetime]:
    places = {"gt": ("since", TICK), "gte": ("since", 0 * TICK), "lt": ("before", 0 * TICK), "lte": ("before", TICK)}
    found: dict[str, datetime] = {}
    for name, value in bounds:
        at = time_of(str(value))
        if name not in places or at is None:
            raise complaint(f"datetime_uploaded.{name}", "Not a valid bound.")
        field, more = places[name]
        found[field] = at + more
    return found


def _sizes(bounds: Sequence[tuple[str, Any]]) -> dict[str, int]:
    places = {"gt": ("min_size", 1), "gte": ("min_size", 0), "lt": ("max_size", -1), "lte": ("max_size", 0)}
    found: dict[str, int] = {}
    for name, value in bounds:
        if name not in places or not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < 2**53:
            raise complaint(f"size.{name}", "Not a valid bound.")
        field, more = places[name]
        found[field] = value + more
    return found


def _order(sort: Any) -> Order:
    """Files are sorted by one thing only; how well they fit is none of it."""
    keys = _texts(sort, "sort") if sort else ["-datetime_uploaded"]
    field = keys[0].lstrip("-")
    if field == "score":
        return Order()
    if field not in SORTS:
        raise complaint("sort", f'"{keys[0][:64]}" is not a valid choice.')
    return Order(SORTS[field], keys[0].startswith("-"))


def _inner(fields: Mapping[str, Any], name: str) -> Sequence[tuple[str, Any]]:
    inner = fields.get(name)
    if inner is not None and not isinstance(inner, dict):
        raise complaint(name, "Expected a dictionary.")
    return [(key, value) for key, value in (inner or {}).items() if value is not None]


def _texts(value: Any, name: str) -> Sequence[str]:
    if not isinstance(value, list) or not value or not all(isinstance(text, str) for text in value):
        raise complaint(name, "Expected a list of strings.")
    return value


def _term(value: Any, name: str) -> str:
    if not isinstance(value, str) or len(value) < SHORTEST:
        raise complaint(name, f"Must be at least {SHORTEST} characters.")
    return value


def _number(ask: Ask, name: str, default: int, most: int) -> int:
    text = ask.query(name) or str(default)
    if not (text.isascii() and text.isdigit() and len(text) <= 6 and int(text) <= most):
        raise complaint(name, f"A number of {most} at most is required.")
    return int(text)
