"""UploadKit's words for what is here: keys, files as the API and webhooks show them, metadata with JSON values.

A key is `{project}/{route}/{id}/{name}`. Clients carry it as it is; what counts in it is the project and the id, so it
goes on naming a file that was given another name. Where the vendor's documents differ among themselves (`name` and
`fileName`, `id` and `_id`), all of their words are told.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

import orjson

from pipeline import names
from pipeline.errors import MetadataKeyForbidden
from pipeline.model import File, Upload

NO_ROUTE = "default"
"""What stands in the key of a file that came by no route."""
ADDRESS = "/uploadkit/cdn/"
"""Below it files are fetched without an API key, each under its key."""
OTHER_VALUES = "uploadkit:json"
"""The key of metadata that lists the keys whose values are not texts and are kept as JSON."""
TYPE = "application/octet-stream"

_ID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)

Document = dict[str, Any]


# Keys


def key_of(kept: File | Upload) -> str:
    """The key of a file, or of what will be one."""
    if isinstance(kept, Upload):
        route, name = kept.intake.route, kept.intake.name
    else:
        route, name = kept.route, kept.name
    return f"{kept.project}/{route or NO_ROUTE}/{kept.id}/{names.uploadkit(name)}"


def parts_of(key: str) -> tuple[str, str] | None:
    """Project and id that a key names, None for what is no key of ours."""
    parts = key.split("/")
    if len(parts) < 4 or not _ID.fullmatch(parts[-2]):
        return None
    return parts[0], parts[-2].lower()


def escaped(key: str) -> str:
    """A key as it stands in an address, its slashes as they are."""
    return quote(key, safe="/")


def public_url(base: str, key: str) -> str:
    """Where anybody fetches the file of a key."""
    return base + ADDRESS + escaped(key)


# Metadata


def kept_metadata(given: Mapping[str, Any]) -> dict[str, str]:
    """Metadata as the house keeps it: texts as they are, any other value, and an empty text, as JSON."""
    if OTHER_VALUES in given:
        raise MetadataKeyForbidden(key=OTHER_VALUES)
    others = [key for key, value in given.items() if not isinstance(value, str) or not value]
    kept = {key: orjson.dumps(value).decode() if key in others else value for key, value in given.items()}
    return kept | ({OTHER_VALUES: ",".join(others)} if others else {})


def shown_metadata(kept: Mapping[str, str]) -> Document:
    """The same as it was given; a value that somebody else has changed since is told as the text it is."""
    others = kept.get(OTHER_VALUES, "").split(",")
    return {key: _value(text, key in others) for key, text in kept.items() if key != OTHER_VALUES}


def _value(text: str, is_json: bool) -> Any:
    if not is_json:
        return text
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        return text


# Files


def moment(at: datetime) -> str:
    """A time as the vendor writes it."""
    return at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def file_row(file: File, url: str | None, status: str = "UPLOADED") -> Document:
    """A file with everything that is told of one."""
    told = _row(file.id, key_of(file), file.name, file.size, file.mime, file.metadata)
    times = {"createdAt": moment(file.created_at), "updatedAt": moment(file.updated_at or file.created_at)}
    return told | {"url": url, "status": status, **times, "projectId": file.project}


def upload_row(upload: Upload, base: str) -> Document:
    """The same of a file whose bytes are awaited."""
    key, intake = key_of(upload), upload.intake
    told = _row(upload.id, key, intake.name, intake.declared_size or 0, intake.declared_type or TYPE, intake.metadata)
    at = moment(upload.created_at)
    times = {"createdAt": at, "updatedAt": at}
    return told | {"url": public_url(base, key), "status": "UPLOADING", **times, "projectId": upload.project}


def failed_row(upload: Upload, at: datetime, code: str, reason: str) -> Document:
    """The same of one that was refused, and why; the vendor has the status and no words for the reason."""
    why = {"status": "FAILED", "url": None, "failureCode": code, "failureReason": reason}
    return upload_row(upload, "") | why | {"updatedAt": moment(at)}


def _row(id: str, key: str, name: str, size: int, media_type: str, metadata: Mapping[str, str]) -> Document:
    names = {"id": id, "_id": id, "key": key, "name": name, "fileName": name}
    facts = {"size": size, "fileSize": size, "type": media_type, "contentType": media_type}
    return names | facts | {"metadata": shown_metadata(metadata)}
