"""Files, awaited and refused uploads as rows, with addresses that open them, and what a key names."""

from __future__ import annotations

from contextlib import suppress
from datetime import datetime

from pipeline.api.addresses import content_url
from pipeline.api.dialects.uploadkit.errors import kind_of, told_of
from pipeline.api.endpoint import Call
from pipeline.errors import FileNotFound, UploadExpired, UploadNotFound
from pipeline.model import File, Grant, Upload
from pipeline.records.failures import Failure
from pipeline.vendors.uploadkit import Document, failed_row, file_row, key_of, parts_of, public_url, upload_row

Kept = File | Upload | Failure
"""What has a row."""
SHOWN = 100


def of_file(call: Call, file: File) -> Document:
    """A file; what is private has an address that opens it for an hour."""
    if file.private:
        return file_row(file, content_url(call, file.id, file.project, private=True))
    return file_row(file, public_url(call.base_url, key_of(file)))


def of_upload(call: Call, upload: Upload) -> Document:
    return upload_row(upload, call.base_url)


def of_failure(call: Call, failure: Failure) -> Document:
    told = told_of(failure.error, kind_of(call.request))
    return failed_row(failure.upload, failure.at, told.code, told.text)


def of(call: Call, kept: Kept) -> Document:
    if isinstance(kept, Failure):
        return of_failure(call, kept)
    return of_upload(call, kept) if isinstance(kept, Upload) else of_file(call, kept)


def id_and_birth(kept: Kept) -> tuple[str, datetime]:
    """By which rows are in order."""
    born = kept.upload if isinstance(kept, Failure) else kept
    return born.id, born.created_at


async def named(call: Call, grant: Grant, key: str) -> Kept:
    """What a key of the project names, also while its bytes are awaited or were refused; raises `FileNotFound`."""
    id = id_of(key, grant.project.id)
    try:
        return await call.core.files.get(grant, id)
    except FileNotFound as missing:
        found = await _awaited(call, grant, id) or await call.core.records.failures.get(grant.project.id, id)
        if found is None:
            raise missing_key(key) from missing
        return found


async def _awaited(call: Call, grant: Grant, id: str) -> Upload | None:
    with suppress(UploadNotFound, UploadExpired):
        upload = await call.core.uploads.known(grant, id)
        return None if upload.way == "append" else upload
    return None


def id_of(key: str, project: str) -> str:
    """The id in a key of the project; raises `FileNotFound` for what is none."""
    parts = parts_of(key)
    if parts is None or parts[0] != project:
        raise missing_key(key)
    return parts[1]


def missing_key(key: str) -> FileNotFound:
    return FileNotFound(id=key[:SHOWN])
