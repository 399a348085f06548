"""`/v1/uploads`: files that arrive in several requests."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from aiohttp import web

from pipeline import labels
from pipeline.acts import settled
from pipeline.api.bodies import JSON_LIMIT, require_json
from pipeline.api.dialects.native.files import BYTES, FOLLOWING, IDEMPOTENCY, SENDING, declared_type, file_shape
from pipeline.api.dialects.native.parts import begun
from pipeline.api.dialects.native.shapes import (
    FileShape,
    FinishAsk,
    UploadAsk,
    UploadPartsShape,
    UploadPutShape,
    UploadShape,
    upload_shape,
)
from pipeline.api.endpoint import Call, Endpoint, answer, digest_of, parsed
from pipeline.api.idempotency import once
from pipeline.errors import (
    BodyIncomplete,
    BodyTooLong,
    FileTooLarge,
    FileTooSmall,
    OffsetMismatch,
    PartSizeInvalid,
    PartSizeWrong,
    PartsMissing,
    PartTagWrong,
    RequestInvalid,
    RouteUnknown,
    SafelightError,
    ScanTooLarge,
    SizeRequired,
    SvgRefused,
    TypeNotAllowed,
    UploadBusy,
    UploadExpired,
    UploadNotFound,
)
from pipeline.model import Follow, Intake, Upload, now
from pipeline.uploads.writing import REFUSALS, RESUMABLE

HIGHEST_OFFSET = 2**53
GOES_ON = (*RESUMABLE, PartsMissing, PartSizeWrong, PartTagWrong, UploadNotFound, UploadExpired, UploadBusy)
"""What a finish is refused for that is not the end of the upload."""


async def begin(call: Call) -> web.Response:
    require_json(call.request)
    text = await call.body.whole(JSON_LIMIT)
    ask = parsed(UploadAsk, text)
    follow = Follow(flow=ask.flow, input=ask.input, params=ask.params, metadata=ask.metadata) if ask.flow else None
    intake = Intake(
        follow=follow,
        route=ask.route,
        name=ask.name,
        declared_type=declared_type(ask.type),
        declared_size=ask.size,
        metadata=ask.metadata,
        tags=labels.tags(ask.tags),
        folder=ask.folder,
        region=ask.region,
        store=ask.store,
        private=ask.private,
    )

    async def ready() -> Intake:
        return intake

    async def create(intake: Intake) -> web.Response:
        with counted(call, (SafelightError,)):
            return await opened(intake)

    async def opened(intake: Intake) -> web.Response:
        if ask.way == "parts":
            return await begun(call, await call.core.parts.begin(call.grant, intake, ask.part_size))
        if ask.way == "put":
            return await begun(call, await call.core.parts.begin_put(call.grant, intake))
        upload = await call.core.uploads.begin(call.grant, intake)
        headers = {"Location": f"{call.base_url}/v1/uploads/{upload.id}"}
        return _answer(upload, 201, headers)

    return await once(call, ready, create, digest=digest_of(text))


async def append(call: Call) -> web.Response:
    offset = _offset(call.header("Upload-Offset"))
    upload_id = call.id(UploadNotFound)
    with counted(call, REFUSALS):
        upload = await call.core.uploads.append(call.grant, upload_id, offset, call.body)
    return _answer(upload)


async def get(call: Call) -> web.Response:
    return _answer(await call.core.uploads.get(call.grant, call.id(UploadNotFound)))


async def finish(call: Call) -> web.Response:
    began = now()
    ask = await call.json(FinishAsk) if call.request.body_exists else FinishAsk()
    tags = {part.number: part.etag for part in ask.parts}
    with counted(call, (SafelightError,), but=GOES_ON):
        file = await settled(call.core.parts.finish(call.grant, call.id(UploadNotFound), tags))
    if file.created_at >= began:  # and not the answer that was lost
        call.metrics.uploads.labels("native", "accepted").inc()
    return answer(file_shape(call, file), 201, {"Location": f"{call.base_url}/v1/files/{file.id}"})


async def abort(call: Call) -> web.Response:
    await settled(call.core.uploads.abort(call.grant, call.id(UploadNotFound)))
    return web.Response(status=204)


@contextmanager
def counted(
    call: Call, ends: tuple[type[SafelightError], ...], but: tuple[type[SafelightError], ...] = ()
) -> Iterator[None]:
    """Count the upload as ended by one of `ends`, unless it goes on after it as after those of `but`."""
    try:
        yield
    except ends as error:
        if not isinstance(error, but):
            call.metrics.uploads.labels("native", error.code).inc()
        raise


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
CLAIMED = (RouteUnknown, ScanTooLarge, SvgRefused, TypeNotAllowed)
"""What a file can be refused for before a byte has come."""

ENDPOINTS: Sequence[Endpoint] = (
    Endpoint(
        "POST",
        "/v1/uploads",
        "Announce a file that will come in parts.",
        act=begin,
        tag="uploads",
        headers=IDEMPOTENCY,
        body=UploadAsk,
        answers={201: (UploadShape, UploadPartsShape, UploadPutShape)},
        errors=(FileTooLarge, FileTooSmall, *CLAIMED, PartSizeInvalid, SizeRequired, *FOLLOWING),
        by_public_key="signed",
    ),
    Endpoint(
        "GET",
        "/v1/uploads/{id}",
        "See how far an upload has come.",
        act=get,
        tag="uploads",
        answers={200: UploadShape},
        errors=OPENING,
        by_public_key="known",
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
        by_public_key="known",
    ),
    Endpoint(
        "POST",
        "/v1/uploads/{id}/finish",
        "Turn an upload whose bytes are all there into its file.",
        act=finish,
        tag="uploads",
        body=FinishAsk,
        answers={201: FileShape},
        errors=(*OPENING, *SENDING, UploadBusy, BodyIncomplete, PartsMissing, PartSizeWrong, PartTagWrong),
        by_public_key="known",
    ),
    Endpoint(
        "DELETE",
        "/v1/uploads/{id}",
        "Forget an upload and what arrived of it.",
        act=abort,
        tag="uploads",
        answers={204: None},
        errors=(UploadNotFound, UploadBusy),
        by_public_key="known",
    ),
)
