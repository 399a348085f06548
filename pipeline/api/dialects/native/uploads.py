"""`/v1/uploads`: files that arrive in several requests."""

from __future__ import annotations

from collections.abc import Sequence

from aiohttp import web

from pipeline.acts import settled
from pipeline.api.bodies import JSON_LIMIT, require_json
from pipeline.api.dialects.native.files import BYTES, IDEMPOTENCY, SENDING, declared_type, file_shape
from pipeline.api.dialects.native.shapes import FileShape, UploadAsk, UploadShape, upload_shape
from pipeline.api.endpoint import Call, Endpoint, answer, digest_of, parsed
from pipeline.api.idempotency import once
from pipeline.errors import (
    BodyIncomplete,
    BodyTooLong,
    FileTooLarge,
    OffsetMismatch,
    RequestInvalid,
    SafelightError,
    UploadBusy,
    UploadExpired,
    UploadNotFound,
)
from pipeline.model import Intake, Upload

HIGHEST_OFFSET = 2**53


async def begin(call: Call) -> web.Response:
    require_json(call.request)
    text = await call.body.whole(JSON_LIMIT)
    ask = parsed(UploadAsk, text)
    intake = Intake(
        name=ask.name,
        declared_type=declared_type(ask.type),
        declared_size=ask.size,
        metadata=ask.metadata,
        store=ask.store,
        private=ask.private,
    )

    async def ready() -> Intake:
        return intake

    async def create(intake: Intake) -> web.Response:
        upload = await call.core.uploads.begin(call.grant, intake)
        headers = {"Location": f"{call.base_url}/v1/uploads/{upload.id}"}
        return _answer(upload, 201, headers)

    return await once(call, ready, create, digest=digest_of(text))


async def append(call: Call) -> web.Response:
    offset = _offset(call.header("Upload-Offset"))
    upload_id = call.id(UploadNotFound)
    return _answer(await call.core.uploads.append(call.grant, upload_id, offset, call.body))


async def get(call: Call) -> web.Response:
    return _answer(await call.core.uploads.get(call.grant, call.id(UploadNotFound)))


async def finish(call: Call) -> web.Response:
    outcome = "failed"
    try:
        file = await settled(call.core.uploads.finish(call.grant, call.id(UploadNotFound)))
        outcome = "accepted"
    except SafelightError as error:
        outcome = error.code
        raise
    finally:
        call.metrics.uploads.labels("native", outcome).inc()
    return answer(file_shape(call, file), 201, {"Location": f"{call.base_url}/v1/files/{file.id}"})


async def abort(call: Call) -> web.Response:
    await settled(call.core.uploads.abort(call.grant, call.id(UploadNotFound)))
    return web.Response(status=204)


def _offset(header: str | None) -> int:
    if header is None or not (header.isascii() and header.isdigit()) or int(header[:17]) > HIGHEST_OFFSET:
        raise RequestInvalid(reason="Upload-Offset must say in bytes where the body goes.")
    return int(header)


def _answer(upload: Upload, status: int = 200, headers: dict[str, str] | None = None) -> web.Response:
    standing = {"Upload-Offset": str(upload.offset), "Cache-Control": "no-store"}
    if upload.intake.declared_size is not None:
        standing["Upload-Length"] = str(upload.intake.declared_size)
    return answer(upload_shape(upload), status, standing | (headers or {}))


OPENING = (UploadNotFound, UploadExpired)

ENDPOINTS: Sequence[Endpoint] = (
    Endpoint(
        "POST",
        "/v1/uploads",
        "Announce a file that will come in parts.",
        act=begin,
        tag="uploads",
        headers=IDEMPOTENCY,
        body=UploadAsk,
        answers={201: UploadShape},
        errors=(FileTooLarge,),
    ),
    Endpoint(
        "GET",
        "/v1/uploads/{id}",
        "See how far an upload has come.",
        act=get,
        tag="uploads",
        answers={200: UploadShape},
        errors=OPENING,
    ),
    Endpoint(
        "PATCH",
        "/v1/uploads/{id}",
        "Add bytes at the offset; what came before a cut is kept.",
        act=append,
        tag="uploads",
        headers={"Upload-Offset": "Where the bytes go; must be where the upload stands."},
        body=BYTES,
        answers={200: UploadShape},
        errors=(*OPENING, *SENDING, OffsetMismatch, UploadBusy, BodyTooLong),
    ),
    Endpoint(
        "POST",
        "/v1/uploads/{id}/finish",
        "Turn an upload whose bytes are all there into its file.",
        act=finish,
        tag="uploads",
        answers={201: FileShape},
        errors=(*OPENING, *SENDING, UploadBusy, BodyIncomplete),
    ),
    Endpoint(
        "DELETE",
        "/v1/uploads/{id}",
        "Forget an upload and what arrived of it.",
        act=abort,
        tag="uploads",
        answers={204: None},
        errors=(UploadNotFound, UploadBusy),
    ),
)
