"""What a request says of a file and of its media before there is one: where it is filed, and all it is to remember."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pipeline import labels, names
from pipeline.api.dialects.ittybit.ask import object_of, text_of
from pipeline.api.dialects.ittybit.errors import BadRequest
from pipeline.model import Intake
from pipeline.vendors.ittybit.files import split
from pipeline.vendors.ittybit.words import ITTYBIT

OF_FILE = ("ref", "label", "language")
"""What is said of a file itself."""
OF_MEDIA = ("title", "alt", "label", "alias")
"""What is said of the media that begins with it."""
KNOWN = frozenset({
    *OF_FILE, *OF_MEDIA, "filename", "folder", "metadata", "url", "media_id", "async", "empty", "resumable", "expiry",
    "conditions", "workflow_id", "id", "object", "kind", "files", "urls",
})  # fmt: skip
"""What has a meaning of its own; of the rest the media remembers what it was told."""
MOST_BYTES = 64 * 1024
"""Of all that is to be remembered."""


@dataclass(frozen=True)
class Place:
    """Where a file is filed and what it is called; None where nothing was said."""

    folder: str | None
    name: str | None


def place_of(fields: Mapping[str, Any]) -> Place:
    """What `folder` and `filename` say, the latter with folders of its own if it has any.

    Raises `BadRequest` or `FolderInvalid`.
    """
    folder, filename = text_of(fields, "folder"), text_of(fields, "filename")
    inner, _, name = (filename or "").strip("/").rpartition("/")
    said = None if folder is None and not inner else labels.folder("/".join(part for part in (folder, inner) if part))
    return Place(said, names.ittybit(name) if name else None)


def intake_of(fields: Mapping[str, Any], name: str = "file") -> Intake:
    """The claims of a request; raises `BadRequest`, `FolderInvalid` or `MetadataTooMany`."""
    place, metadata = place_of(fields), object_of(fields, "metadata")
    texts, rest = split(metadata)
    said: dict[str, Any] = {key: value for key in OF_FILE if (value := text_of(fields, key)) is not None}
    said |= {"metadata": rest} if rest else {}
    said |= {"media": media} if (media := media_said(fields)) else {}
    if len(str(said)) + len(str(metadata)) > MOST_BYTES:
        raise BadRequest(reason=f"What is to be remembered of a file may have {MOST_BYTES} bytes at most.")
    return Intake(
        name=place.name or name,
        folder=place.folder or "",
        metadata=texts,
        facts={ITTYBIT: said} if said else {},
        dialect="ittybit",
    )


def media_said(fields: Mapping[str, Any]) -> dict[str, Any]:
    """What a media is to remember."""
    said: dict[str, Any] = {key: text_of(fields, key, 5000) for key in OF_MEDIA if fields.get(key) is not None}
    return said | {key: value for key, value in fields.items() if key not in KNOWN and value is not None}
