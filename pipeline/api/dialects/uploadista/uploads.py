"""Uploads: created, filled slice by slice, looked at, given up; segments of a parallel upload are joined."""

from __future__ import annotations

import hashlib
import time
from contextlib import suppress
from typing import Any

from aiohttp import web

from pipeline.acts import settled
from pipeline.api.dialects.uploadista import auth, rows
from pipeline.api.dialects.uploadista.errors import code_of, details_of, refused
from pipeline.api.dialects.uploadista.params import InputFile, Segment, body, segment_of
from pipeline.api.endpoint import UUID, Call, plain
from pipeline.errors import (
    ChecksumMismatch,
    FileNotFound,
    RunNotFound,
    SafelightError,
    TypeMismatch,
    TypeNotAllowed,
    UploadComplete,
    UploadNotFound,
)
from pipeline.model import Event, File, Grant, Intake, Upload, now
from pipeline.uploads.growing import Grown
from pipeline.vendors.uploadista import (
    DIALECT,
    TYPE,
    Document,
    Said,
    kept_metadata,
    metadata_of,
    moment,
    said_of,
    with_facts,
)

LARGEST_CHUNK = 100_000_000
"""Bytes of one request."""
OPTIMAL_CHUNK = 8 * 2**20
SMALLEST_CHUNK = 64 * 2**10
BUFFER = "buffer"
"""What clients call the storage of a file of which they say no more."""
JOINED = "parallel-"
"""How the id begins that a client makes up for what it uploaded in segments."""
UNFIT = (ChecksumMismatch, TypeMismatch, TypeNotAllowed)
"""What bytes are refused for that are not what was declared."""
REFUSED = "upload.refused"
EMPTY = hashlib.sha256(b"").hexdigest()
"""What some clients send as the checksum of every file."""


# Storages


def storage_of(call: Call, grant: Grant, name: str) -> str:
    """The storage of this name, if the project uses it; raises `STORAGE_NOT_AUTHORIZED` or `DATASTORE_NOT_FOUND`."""
    project = grant.project
    if name in {project.storage, *(route.storage for route in project.routes.values())}:
        return name
    if name in call.core.settings.storages:
        raise refused("STORAGE_NOT_AUTHORIZED", f"The storage `{name[:64]}` is not open to this client.")
    raise refused("DATASTORE_NOT_FOUND", f"There is no storage `{name[:64]}`.")


async def capabilities(call: Call) -> web.Response:
    grant = await auth.may(call, "upload:read")
    name = call.request.match_info.get("storage") or call.request.query.get("storageId")
    if not name:
        raise refused("VALIDATION_ERROR", "Storage ID is required")
    storage_of(call, grant, name)
    most = grant.project.limits.max_file_size
    powers = {
        "supportsParallelUploads": True,
        "supportsConcatenation": True,
        "supportsDeferredLength": True,
        "supportsResumableUploads": True,
        "supportsTransactionalUploads": True,
        "requiresOrderedChunks": True,
        "supportsStreamingRead": True,
        "supportsStreamingWrite": True,
        "requiresMimeTypeValidation": True,
        "maxConcurrentUploads": 6,
        "minChunkSize": SMALLEST_CHUNK,
        "maxChunkSize": LARGEST_CHUNK,
        "optimalChunkSize": OPTIMAL_CHUNK,
        "maxParts": 10_000,
        "maxValidationSize": most,
    }
    return plain({"storageId": name, "capabilities": powers, "timestamp": moment(now())})


# Creating


async def create(call: Call) -> web.Response:
    caller = await auth.of_request(call)
    grant = auth.checked(call, caller, "upload:create")
    ask = await body(call, InputFile, "Storage ID is required")
    storage, told = storage_of(call, grant, ask.storageId), metadata_of(ask.metadata)
    segment, name = segment_of(told), ask.fileName or "file"
    said = Said(
        metadata=with_facts(told, ask.type, ask.fileName or "", ask.lastModified),
        storage=ask.storageId,
        type=ask.type,
        checksum=ask.checksum.lower() if ask.checksum else None,
        segment=_place(grant, segment) if segment else None,
        until=time.time() + auth.REMEMBERED,
        granted=caller.permissions,
    )
    intake = Intake(
        name=name,
        declared_type=ask.type or None,
        declared_size=_size(ask),
        sha256=_checksum(ask),
        metadata=kept_metadata(told),
        storage=storage,
        may_be_empty=True,
        closes=ask.uploadLengthDeferred and segment is None,
        dialect=DIALECT,
        marks=said.mark,
    )
    upload = await call.core.growing.begin(grant, intake, piece=segment is not None)
    if upload.intake.declared_size == 0 and not upload.piece:  # its client sends nothing more
        return plain(rows.of_grown(call, await call.core.slicing.complete(grant, upload.id)))
    return plain(rows.of_grown(call, Grown(upload)))


def _size(ask: InputFile) -> int | None:
    if ask.uploadLengthDeferred:
        return None
    if ask.size is None:
        raise refused("INVALID_LENGTH", "size is required unless uploadLengthDeferred is true")
    return int(ask.size)


def _checksum(ask: InputFile) -> str | None:
    """What the bytes are to come to, unless it is what some clients take for the checksum of any file."""
    algorithm = ask.checksumAlgorithm or "sha256"
    if ask.checksum is None:
        return None
    if algorithm != "sha256":
        raise refused("VALIDATION_ERROR", "checksumAlgorithm: only sha256 is supported")
    value = ask.checksum.lower()
    if len(value) != len(EMPTY) or not all(digit in "0123456789abcdef" for digit in value):
        raise refused("VALIDATION_ERROR", "checksum: 64 hex digits are expected")
    return None if value == EMPTY and (ask.size or ask.uploadLengthDeferred) else value


def _place(grant: Grant, segment: Segment) -> dict[str, Any]:
    told = f"{grant.project.id}\n{segment.totalSegments}\n{segment.parentFingerprint}"
    name = f"{DIALECT}:{hashlib.sha256(told.encode(errors='replace')).hexdigest()}"
    return {"name": name, "index": segment.segmentIndex, "total": segment.totalSegments}


# Filling


async def patch(call: Call) -> web.Response:
    """Take a chunk, all of it or nothing."""
    grant, id = await auth.for_upload(call, "upload:create"), _id(call)
    try:
        grown = await _extended(call, grant, id)
    except UploadNotFound:
        return plain(await _other(call, grant, id))
    if grown.file and not grown.before:
        call.metrics.uploads.labels(DIALECT, "accepted").inc()
    if not grown.file:
        await call.core.records.trails.note(id, grown.upload.offset)  # after each chunk, however soon the next comes
    if file := await _landed(call, grant, grown.upload):
        return plain({**rows.of_file(call, file), "id": id})
    return plain(rows.of_grown(call, grown))


async def _extended(call: Call, grant: Grant, id: str) -> Grown:
    length, offset = call.request.content_length, _offset(call)
    begun = await call.core.slicing.standing(grant, id)
    try:
        return await call.core.slicing.extend(grant, begun, call.body, most=LARGEST_CHUNK, length=length, offset=offset)
    except UNFIT as fault:
        call.metrics.uploads.labels(DIALECT, fault.code).inc()
        await settled(_told_unfit(call, grant, begun.upload, fault))
        raise refused(code_of(fault), fault.message, uploadId=id, **details_of(fault)) from fault


async def _told_unfit(call: Call, grant: Grant, upload: Upload, fault: SafelightError) -> None:
    """Tell who follows the upload that its bytes are not what was declared, and fail the job it was for."""
    reason = "checksum_mismatch" if isinstance(fault, ChecksumMismatch) else "mimetype_mismatch"
    facts = {"reason": reason, **details_of(fault)}
    await call.core.events.append(Event(type=REFUSED, project=upload.project, subject=upload.id, facts=facts))
    if belongs := said_of(upload).flow:
        with suppress(RunNotFound):
            await call.core.runs.unfit(grant, belongs["jobId"], belongs["nodeId"], fault)


def _offset(call: Call) -> int | None:
    """Where the chunk is to go, if a header says so, which the vendor's clients do not send."""
    text = call.header("Upload-Offset")
    if text is None:
        return None
    if not (text.isascii() and text.isdigit() and len(text) <= 16):
        raise refused("VALIDATION_ERROR", "Upload-Offset: a number of bytes is expected")
    return int(text)


async def _landed(call: Call, grant: Grant, upload: Upload) -> File | None:
    """The whole, when the upload was its last segment to come."""
    place = said_of(upload).segment
    if not upload.piece or place is None or upload.offset != upload.intake.declared_size:
        return None
    intake = upload.intake.model_copy(update={"declared_size": None, "sha256": None, "marks": {}})
    return await call.core.segments.landed(grant, place["name"], place["index"], place["total"], upload.id, intake)


# Looking


async def get(call: Call) -> web.Response:
    grant = await auth.for_upload(call, "upload:read")
    return plain(await record(call, grant, call.place("id")))


async def record(call: Call, grant: Grant, id: str) -> Document:
    """What there is under an id of an upload, a segment, a joined upload or a file; raises `UploadNotFound`."""
    first = id.removeprefix(JOINED).partition(",")[0].lower()
    if not UUID.fullmatch(first):
        raise UploadNotFound(id=id[:64])
    if id.startswith(JOINED):
        return {**await _other(call, grant, first), "id": id}
    try:
        return rows.of_grown(call, await call.core.slicing.standing(grant, first))
    except UploadNotFound:
        return await _other(call, grant, first)


async def _other(call: Call, grant: Grant, id: str) -> Document:
    """What a segment became a part of, or a file that came another way; raises `UploadNotFound`."""
    if file := await call.core.segments.whole(grant, id):
        return {**rows.of_file(call, file), "id": id}
    try:
        return rows.of_file(call, await call.core.files.get(grant, id))
    except FileNotFound as cause:
        raise UploadNotFound(id=id) from cause


async def delete(call: Call) -> web.Response:
    """Forget an upload that is no file yet."""
    grant, id = await auth.may(call, "upload:cancel"), _id(call)
    try:
        await call.core.uploads.abort(grant, id)
    except UploadNotFound:
        if await _is_there(call, grant, id):
            raise UploadComplete(id=id) from None
        raise
    call.metrics.uploads.labels(DIALECT, "aborted").inc()
    return web.Response(status=204)


async def _is_there(call: Call, grant: Grant, id: str) -> bool:
    try:
        await record(call, grant, id)
    except SafelightError:
        return False
    return True


def _id(call: Call) -> str:
    return call.id(UploadNotFound)


def declared(media_type: Any) -> str | None:
    """A type as it is declared by a client that says one where it knows none."""
    return media_type if isinstance(media_type, str) and media_type not in ("", TYPE) else None
