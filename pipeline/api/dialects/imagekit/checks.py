"""`checks` of an upload: conditions on the request, the file and what its header says, before the file is let in."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pipeline.api.dialects.imagekit.comparing import Kind, matches, meant
from pipeline.api.dialects.imagekit.errors import invalid, refused
from pipeline.api.dialects.imagekit.query import Comparison, QueryInvalid, Tree, comparisons, holds
from pipeline.api.dialects.imagekit.wishes import Wish
from pipeline.model import File
from pipeline.vendors.imagekit import Fields, coordinates, film, value_of

FAILED = "Your request did not pass the checks."
CUSTOM = "request.customMetadata."

KINDS: Mapping[str, Kind] = {
    "request.fileName": "text",
    "request.useUniqueFileName": "flag",
    "request.tags": "list",
    "request.folder": "text",
    "request.isPrivateFile": "flag",
    "request.isPublished": "flag",
    "request.customCoordinates": "text",
    "request.webhookUrl": "text",
    "request.overwriteFile": "flag",
    "request.overwriteAITags": "flag",
    "request.overwriteTags": "flag",
    "request.overwriteCustomMetadata": "flag",
    "file.size": "size",
    "file.mime": "text",
    "mediaMetadata.width": "number",
    "mediaMetadata.height": "number",
    "mediaMetadata.duration": "number",
    "mediaMetadata.bitRate": "number",
    "mediaMetadata.videoCodec": "text",
    "mediaMetadata.audioCodec": "text",
}
"""What can be asked for, beside fields of custom metadata."""
OF_FIELDS: Mapping[str, Kind] = {
    "Text": "text",
    "Textarea": "text",
    "Number": "number",
    "Date": "time",
    "Boolean": "flag",
    "SingleSelect": "text",
    "MultiSelect": "list",
}
"""What a field of custom metadata holds, by its type."""


class Checks:
    """The checks of one upload, sound in themselves; refused where they are not."""

    def __init__(self, tree: Tree, wish: Wish, fields: Fields) -> None:
        self._tree = tree
        self._wish = wish
        self._fields = fields
        for one in comparisons(tree):
            self._check(one)

    def look(self, file: File) -> None:
        """Refuse a file that does not pass."""
        found = self._of_request() | _of_file(file)

        def look(one: Comparison) -> bool:
            kind = self._kind(one.field)
            return matches(_rooted(one), self._value(one.field, file, found), kind)

        if not holds(self._tree, look):
            raise refused(FAILED)

    def _check(self, one: Comparison) -> None:
        try:
            for value in one.values:
                meant(value, self._kind(one.field))
        except QueryInvalid as cause:
            raise invalid("checks", str(cause)) from cause

    def _kind(self, field: str) -> Kind:
        if field in KINDS:
            return KINDS[field]
        schema = self._fields.get(field.removeprefix(CUSTOM)) if field.startswith(CUSTOM) else None
        if schema is None:
            raise QueryInvalid(f"There is no field `{field[:64]}`.")
        return OF_FIELDS[schema["type"]]

    def _value(self, field: str, file: File, found: Mapping[str, Any]) -> Any:
        if field in KINDS:
            return found.get(field)
        name = field.removeprefix(CUSTOM)
        if name not in file.metadata:
            return None
        return _compared(value_of(self._fields[name], file.metadata[name]), self._kind(field))

    def _of_request(self) -> dict[str, Any]:
        wish = self._wish
        return {
            "request.fileName": wish.name,
            "request.tags": list(wish.tags or ()),
            "request.folder": f"{wish.folder}/",
            "request.customCoordinates": coordinates(wish.region),
            "request.webhookUrl": wish.webhook,
            **{f"request.{name}": value for name, value in wish.flags.items()},
        }


def _compared(value: Any, kind: Kind) -> Any:
    """A value of custom metadata as comparisons of its kind have it."""
    if isinstance(value, list):
        return [str(one).lower() if isinstance(one, bool) else str(one) for one in value]
    return meant(value, kind)


def _of_file(file: File) -> dict[str, Any]:
    told = {"height": file.image.height, "width": file.image.width} if file.image else film(file)
    measured = {f"mediaMetadata.{name}": value for name, value in told.items()}
    return {"file.size": file.size, "file.mime": file.mime, **measured}


def _rooted(one: Comparison) -> Comparison:
    """Folders are compared from the root on, `a/b/`, however they are written."""
    if one.field != "request.folder":
        return one
    values = tuple(_place(str(value), whole=one.operator != ":") for value in one.values)
    return Comparison(one.field, one.operator, values if isinstance(one.value, tuple) else values[0], one.negated)


def _place(folder: str, *, whole: bool) -> str:
    place = folder.lstrip("/")
    return f"{place.rstrip('/')}/" if whole else place
