"""The requests of tus 1.0: create, ask, go on, end."""

from __future__ import annotations

from collections.abc import AsyncIterator, Coroutine
from typing import Any, TypeVar

from aiohttp import web

from pipeline.acts import settled
from pipeline.api.dialects.tus import claims
from pipeline.api.dialects.tus.speech import became, described, location, offered, standing
from pipeline.api.endpoint import Call
from pipeline.errors import (
    BodyTooLong,
    BodyTypeUnsupported,
    ChecksumMismatch,
    ChecksumUnknown,
    KeyRequired,
    OffsetMismatch,
    PieceInvalid,
    RequestInvalid,
    SafelightError,
    SizeInconsistent,
    UploadExpired,
    UploadJoined,
    UploadNotFound,
    UploadWayWrong,
)
from pipeline.model import File, Intake
from pipeline.uploads.growing import Grown, Part, Stretch

BYTES = "application/offset+octet-stream"

GOES_ON = (
    ChecksumMismatch,
    ChecksumUnknown,
    OffsetMismatch,
    PieceInvalid,
    RequestInvalid,
    SizeInconsistent,
    UploadExpired,
    UploadNotFound,
    UploadWayWrong,
)
"""Errors of a request after which the upload is what it was."""

T = TypeVar("T")


async def options(call: Call) -> web.Response:
    return web.Response(status=204, headers=offered(call))


async def create(call: Call) -> web.Response:
    """A new upload; with all of its bytes at once it is a File when this is answered."""
    concat = claims.concat(call)
    if concat is not None and concat.startswith(claims.FINAL):
        return await _join(call, concat)
    size = claims.size(call)
    intake = claims.intake(call, size, {claims.CONCAT: concat} if concat else {})
    whole = size == 0 or (_brings_bytes(call) and size == call.request.content_length)
    if whole and not concat:
        checksum = claims.checksum(call)
        file = await counted(call, call.core.growing.accept(call.grant, intake, _body(call), checksum))
        return _created_whole(call, file, size)
    grown = await _begun(call, intake, piece=concat is not None)
    headers = {"Location": location(call, grown.upload.id), **standing(call, grown)}
    return web.Response(status=201, headers=headers)


async def _begun(call: Call, intake: Intake, *, piece: bool) -> Grown:
    checksum = claims.checksum(call) if _brings_bytes(call) else None
    upload = await call.core.growing.begin(call.grant, intake, piece=piece)
    if not _brings_bytes(call):
        return Grown(upload)
    stretch = Stretch(0, call.request.content_length, checksum=checksum)
    try:
        return await counted(call, call.core.growing.extend(call.grant, upload.id, stretch, call.body))
    except BaseException:  # nobody was told where it could be gone on with
        await call.core.cleaning.quietly(call.core.uploads.abort(call.grant, upload.id))
        raise


async def _join(call: Call, concat: str) -> web.Response:
    if "Upload-Length" in call.request.headers or "Upload-Defer-Length" in call.request.headers:
        raise RequestInvalid(reason="The length of a final upload is that of its parts; do not send one.")
    intake = claims.intake(call, None, {claims.CONCAT: concat})
    parts = [Part(id) for id in claims.members(call, concat)]
    file = await counted(call, call.core.growing.join(call.grant, intake, parts))
    return _created_whole(call, file)


def _created_whole(call: Call, file: File, size: int | None = None) -> web.Response:
    headers = {"Location": location(call, file.id), **became(call, file, file.follow)}
    return web.Response(status=201, headers=headers if size is None else headers | {"Upload-Offset": str(size)})


async def ask(call: Call) -> web.Response:
    grown = await call.core.growing.standing(call.grant, call.id(UploadNotFound))
    headers = {**described(grown.upload), **standing(call, grown), "Cache-Control": "no-store"}
    return web.Response(headers=headers)


async def go_on(call: Call) -> web.Response:
    if call.request.content_type != BYTES:
        raise BodyTypeUnsupported(found=call.request.content_type, expected=BYTES)
    id, offset, size = call.id(UploadNotFound), claims.offset(call), claims.count(call, "Upload-Length")
    stretch = Stretch(offset, call.request.content_length, size, checksum=claims.checksum(call))
    try:
        grown = await counted(call, call.core.growing.extend(call.grant, id, stretch, call.body))
    except (OffsetMismatch, BodyTooLong, SizeInconsistent):
        await _refuse_joined(call, id)
        raise
    if grown.before:
        await _refuse_joined(call, id)
    return web.Response(status=204, headers=standing(call, grown))


async def _refuse_joined(call: Call, id: str) -> None:
    """Raise `UploadJoined` for a final upload, which takes no bytes whatever else is wrong with them."""
    try:
        grown = await call.core.growing.standing(call.grant, id, settle=False)
    except UploadNotFound:
        return
    if grown.upload.intake.marks.get(claims.CONCAT, "").startswith(claims.FINAL):
        raise UploadJoined(id=id)


async def end(call: Call) -> web.Response:
    """Forget an upload; what has become a file is deleted only with an API key, for its id is no secret."""
    id = call.id(UploadNotFound)
    try:
        await settled(call.core.uploads.abort(call.grant, id))
    except UploadNotFound:
        await call.core.growing.standing(call.grant, id)
        if call.header("Authorization") is None:
            raise KeyRequired from None
        await settled(call.core.files.delete(call.grant, id))
    return web.Response(status=204)


def _brings_bytes(call: Call) -> bool:
    return call.request.content_type == BYTES and call.request.body_exists


async def _body(call: Call) -> AsyncIterator[bytes]:
    if call.request.body_exists:
        async for chunk in call.body:
            yield chunk


async def counted(call: Call, arriving: Coroutine[Any, Any, T]) -> T:
    """Count an upload that ended: as a file, or by an error after which nothing of it is left."""
    try:
        made = await arriving
    except SafelightError as error:
        if not error.retryable and not isinstance(error, GOES_ON):
            call.metrics.uploads.labels("tus", error.code).inc()
        raise
    if isinstance(made, File) or (isinstance(made, Grown) and made.file and not made.before):
        call.metrics.uploads.labels("tus", "accepted").inc()
    return made
