"""`searchQuery`: which files and folders fulfil it, and what of it the indexes of the records can find.

Conditions joined by AND at the top are looked up where there is an index: tags, name, folder, size, time of creation,
format, private, and texts of custom metadata. Everything is looked at once more, so that the index may find too much.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from pipeline.api.dialects.imagekit.checks import OF_FIELDS
from pipeline.api.dialects.imagekit.comparing import Kind, matches, meant
from pipeline.api.dialects.imagekit.errors import refused
from pipeline.api.dialects.imagekit.manage.folders import Row, plain
from pipeline.api.dialects.imagekit.query import (
    Comparison,
    Every,
    QueryInvalid,
    Tree,
    comparisons,
    holds,
    parse,
)
from pipeline.model import File, FileQuery
from pipeline.records.cards import found_words
from pipeline.records.lineages import lineage_of
from pipeline.sniff import FORMAT_TYPES, extension
from pipeline.vendors.imagekit import Fields, embedded_metadata, film, value_of

CUSTOM, EMBEDDED = "customMetadata.", "embeddedMetadata."
DOCUMENTATION = "Please refer to the documentation for syntax specification."
DURATIONS = {"": 1.0, "s": 1.0, "sec": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0, "hr": 3600.0}
MICROSECOND = timedelta(microseconds=1)

_DURATION = re.compile(r"(\d{1,9}(?:\.\d{1,6})?)\s*(sec|min|hr|s|m|h)?")


@dataclass(frozen=True)
class Seen:
    """A file with its type, or a folder."""

    type: str
    file: File | None = None
    row: Row | None = None

    @property
    def folder(self) -> str:
        """Where it lies."""
        return self.file.folder if self.file else self.row.parent if self.row else ""

    @property
    def name(self) -> str:
        return self.file.name if self.file else self.row.folder.rpartition("/")[2] if self.row else ""

    @property
    def id(self) -> str:
        return lineage_of(self.file) if self.file else self.row.id if self.row else ""

    @property
    def created_at(self) -> datetime:
        found = self.file or self.row
        assert found is not None
        return found.created_at

    @property
    def updated_at(self) -> datetime:
        return (self.file.updated_at if self.file else None) or self.created_at

    @property
    def format(self) -> str | None:
        if self.file is None:
            return None
        return extension(self.file.mime) or self.file.name.rpartition(".")[2].lower()

    def measure(self, name: str) -> Any:
        """`width` or `height` of what has one, `duration` of a film."""
        if self.file is None:
            return None
        image = self.file.image
        return getattr(image, name) if image and name != "duration" else film(self.file).get(name)

    @property
    def tags(self) -> list[str] | None:
        return [*self.file.tags, *found_words(self.file)] or None if self.file else None


def _of_file(name: str) -> Callable[[Seen], Any]:
    return lambda seen: getattr(seen.file, name) if seen.file else None


FIELDS: Mapping[str, tuple[Kind, Callable[[Seen], Any]]] = {
    "name": ("text", lambda seen: seen.name),
    "tags": ("list", lambda seen: seen.tags),
    "type": ("text", lambda seen: seen.type),
    "id": ("text", lambda seen: seen.id),
    "createdAt": ("time", lambda seen: seen.created_at),
    "updatedAt": ("time", lambda seen: seen.updated_at),
    "width": ("number", lambda seen: seen.measure("width")),
    "height": ("number", lambda seen: seen.measure("height")),
    "size": ("size", _of_file("size")),
    "videoDuration": ("number", lambda seen: seen.measure("duration")),
    "format": ("text", lambda seen: seen.format),
    "private": ("flag", _of_file("private")),
    "published": ("flag", _of_file("published")),
    "transparency": ("flag", lambda seen: seen.file.image.alpha if seen.file and seen.file.image else None),
    "path": ("text", lambda seen: _place(seen.folder)),
    "createdBy": ("text", lambda seen: None),
    "description": ("text", _of_file("description")),
}
"""What can be asked for, what it holds, and where it is found."""
EMBEDDED_KINDS: Mapping[str, Kind] = {"DateTimeOriginal": "time", "GPSLatitude": "number", "GPSLongitude": "number"}


class Search:
    """A query that is sound in itself; refused where it is not."""

    def __init__(self, text: str, fields: Fields) -> None:
        self.text = text
        self._fields = fields
        try:
            self._tree = parse(text)
            for one in comparisons(self._tree):
                self._check(one)
        except QueryInvalid as cause:
            raise refused(f"Invalid search query - {cause} {DOCUMENTATION}") from cause

    @property
    def names_types(self) -> bool:
        """Whether it says which types are looked for."""
        return any(one.field == "type" for one in comparisons(self._tree))

    def finds(self, seen: Seen) -> bool:
        """Whether a file or a folder fulfils it."""
        return holds(self._tree, lambda one: self._look(one, seen))

    def narrowed(self, query: FileQuery) -> FileQuery:
        """The query with what the indexes know of; it finds all that this one does, and may find more."""
        for one in _needed(self._tree):
            query = query.model_copy(update=self._indexed(one, query))
        return query

    def _check(self, one: Comparison) -> None:
        kind = self._kind(one.field)
        try:
            for value in self._spelt(one).values:
                meant(value, kind)
        except QueryInvalid as cause:
            raise QueryInvalid(f"{one.field} field: {cause}") from cause

    def _kind(self, field: str) -> Kind:
        if field in FIELDS:
            return FIELDS[field][0]
        if field.startswith(CUSTOM):
            schema = self._fields.get(field.removeprefix(CUSTOM))
            return OF_FIELDS[schema["type"]] if schema else "text"
        if field.startswith(EMBEDDED):
            return EMBEDDED_KINDS.get(field.removeprefix(EMBEDDED), "text")
        raise QueryInvalid(f"There is no field {field[:64]}.")

    def _look(self, one: Comparison, seen: Seen) -> bool:
        return matches(self._spelt(one), self._value(one.field, seen), self._kind(one.field))

    def _value(self, field: str, seen: Seen) -> Any:
        if field in FIELDS:
            return FIELDS[field][1](seen)
        if seen.file is None:
            return None
        if field.startswith(EMBEDDED):
            return _meant(embedded_metadata(seen.file).get(field.removeprefix(EMBEDDED)), self._kind(field))
        name = field.removeprefix(CUSTOM)
        if name not in self._fields or name not in seen.file.metadata:
            return None
        return _meant(value_of(self._fields[name], seen.file.metadata[name]), self._kind(field))

    def _spelt(self, one: Comparison) -> Comparison:
        """The comparison with its values as they are compared."""
        if one.field == "path":
            return _with(one, lambda value: _place(plain(str(value))))
        if one.field == "format":
            return _with(one, lambda value: {"jpeg": "jpg"}.get(str(value).lower(), str(value).lower()))
        return _with(one, _seconds) if one.field == "videoDuration" else one

    def _indexed(self, one: Comparison, query: FileQuery) -> Mapping[str, Any]:
        values = self._spelt(one).values
        if one.field == "createdAt":
            return _since(one, query)
        if one.field == "size":
            return _sized(one, query)
        if one.field.startswith(CUSTOM) and one.operator == "=" and self._is_text(one.field):
            return {"metadata": {**query.metadata, one.field.removeprefix(CUSTOM): str(values[0])}}
        if one.operator in INDEXED.get(one.field, ()):
            return _by_index(one, values, query)
        return {}

    def _is_text(self, field: str) -> bool:
        schema = self._fields.get(field.removeprefix(CUSTOM))
        return schema is not None and schema["type"] in ("Text", "Textarea", "SingleSelect")


# What the indexes find

INDEXED: Mapping[str, tuple[str, ...]] = {
    "tags": ("=", "in"),
    "name": ("=", ":"),
    "path": ("=", ":"),
    "format": ("=", "in"),
    "private": ("=",),
}
"""Fields that there is an index of, and the operators it serves."""


def _needed(tree: Tree) -> Iterator[Comparison]:
    """The comparisons that have to hold for the whole to hold, but for those that are negated."""
    if isinstance(tree, Comparison):
        if not tree.negated:
            yield tree
    elif isinstance(tree, Every):
        for part in tree.parts:
            yield from _needed(part)


def _by_index(one: Comparison, values: tuple[Any, ...], query: FileQuery) -> Mapping[str, Any]:
    first = values[0]
    if one.field == "tags":
        return {} if query.any_words else {"any_words": tuple(map(str, values))}
    if one.field == "name":
        return {"name" if one.operator == "=" else "prefix": str(first)}
    if one.field == "path":
        folder = str(first).strip("/")
        return {"folder": folder} if one.operator == "=" else {"below": folder or None}
    if one.field == "format":
        types = {**FORMAT_TYPES, "jpg": "image/jpeg"}
        known = [types.get(str(value)) for value in values]
        return {"types": tuple(known)} if all(known) and not query.types else {}
    return {"private": first}


def _since(one: Comparison, query: FileQuery) -> Mapping[str, Any]:
    if one.operator not in ("<", "<=", ">", ">="):
        return {}
    at = meant(one.values[0], "time")
    if one.operator in (">", ">="):
        return {"since": max(filter(None, (query.since, at)))}
    return {"before": min(filter(None, (query.before, at + MICROSECOND)))}


def _sized(one: Comparison, query: FileQuery) -> Mapping[str, Any]:
    size = int(meant(one.values[0], "size"))
    if one.operator in (">", ">="):
        return {"min_size": max(size, query.min_size or 0)}
    if one.operator in ("<", "<="):
        return {"max_size": min(size + 1, size + 1 if query.max_size is None else query.max_size)}
    return {}


# Values


def _with(one: Comparison, read: Callable[[Any], Any]) -> Comparison:
    values = tuple(read(value) for value in one.values)
    return Comparison(one.field, one.operator, values if isinstance(one.value, tuple) else values[0], one.negated)


def _place(folder: str) -> str:
    """A folder as it is compared: from the root, with a slash at its end."""
    return f"/{folder}/" if folder else "/"


def _seconds(value: Any) -> Any:
    match = _DURATION.fullmatch(str(value).strip())
    if match is None:
        raise QueryInvalid(f"`{str(value)[:40]}` is no duration, such as 30sec or 1.5min.")
    return float(match.group(1)) * DURATIONS[match.group(2) or ""]


def _meant(value: Any, kind: Kind) -> Any:
    """A value of metadata as comparisons of its kind have it, None for one that is none."""
    if value is None:
        return None
    if isinstance(value, list):
        return [str(one).lower() if isinstance(one, bool) else str(one) for one in value]
    try:
        return meant(value, kind)
    except QueryInvalid:
        return None
