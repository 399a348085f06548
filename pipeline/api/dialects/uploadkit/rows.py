"""Files and awaited uploads as rows, with addresses that open them, and what a key names."""

from __future__ import annotations

from pipeline.api.dialects.native.files import content_url
from pipeline.api.endpoint import Call
from pipeline.errors import FileNotFound, UploadExpired, UploadNotFound
from pipeline.model import File, Grant, Upload
from pipeline.vendors.uploadkit import Document, file_row, key_of, parts_of, public_url, upload_row

SHOWN = 100


def of_file(call: Call, file: File) -> Document:
    """A file; what is private has an address that opens it for an hour."""
    if file.private:
        return file_row(file, content_url(call, file.id, file.project, private=True))
    return file_row(file, public_url(call.base_url, key_of(file)))


def of_upload(call: Call, upload: Upload) -> Document:
    return upload_row(upload, call.base_url)


def of(call: Call, kept: File | Upload) -> Document:
    return of_upload(call, kept) if isinstance(kept, Upload) else of_file(call, kept)


async def named(call: Call, grant: Grant, key: str) -> File | Upload:
    """What a key of the project names, also while its bytes are awaited; raises `FileNotFound`."""
    id = id_of(key, grant.project.id)
    try:
        return await call.core.files.get(grant, id)
    except FileNotFound as missing:
        try:
            upload = await call.core.uploads.known(grant, id)
        except (UploadNotFound, UploadExpired):
            raise missing_key(key) from missing
        if upload.way == "append":
            raise missing_key(key) from missing
        return upload


def id_of(key: str, project: str) -> str:
    """The id in a key of the project; raises `FileNotFound` for what is none."""
    parts = parts_of(key)
    if parts is None or parts[0] != project:
        raise missing_key(key)
    return parts[1]


def missing_key(key: str) -> FileNotFound:
    return FileNotFound(id=key[:SHOWN])
