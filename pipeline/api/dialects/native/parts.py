"""Uploads in numbered parts and by one presigned PUT: what their addresses are, and the two of ours that take bytes."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from aiohttp import web

from pipeline.api.dialects.native.files import BYTES, SENDING
from pipeline.api.dialects.native.shapes import (
    PartShape,
    PartsShape,
    PutAddress,
    UploadPartsShape,
    UploadPutShape,
    upload_shape,
)
from pipeline.api.endpoint import Call, Endpoint, answer
from pipeline.errors import (
    PartNumberInvalid,
    PartSizeWrong,
    PutLengthWrong,
    PutTypeWrong,
    SignatureExpired,
    SignatureInvalid,
    UploadBusy,
    UploadExpired,
    UploadNotFound,
    UploadWayWrong,
)
from pipeline.model import Upload
from pipeline.uploads.parts import PART, PUT, Slot, put_type, slots_of


async def begun(call: Call, upload: Upload) -> web.Response:
    """A new upload with the addresses its bytes go to."""
    headers = {"Location": f"{call.base_url}/v1/uploads/{upload.id}", "Cache-Control": "no-store"}
    told = upload_shape(upload).model_dump()
    if upload.way == "put":
        url = await call.core.parts.put_url(upload, call.base_url)
        wanted = {"Content-Type": put_type(upload)}
        put = PutAddress(url=url, headers=wanted, size=told["size"], expires_at=call.core.parts.expires(upload))
        return answer(UploadPutShape(**told, put=put), 201, headers)
    parts = await _addressed(call, upload, slots_of(upload))
    expires = call.core.parts.expires(upload)
    return answer(
        UploadPartsShape(**told, part_size=upload.part_size, parts=parts, urls_expire_at=expires), 201, headers
    )


async def listed(call: Call) -> web.Response:
    id = call.id(UploadNotFound)
    slots = await call.core.parts.slots(call.grant, id)
    upload = await call.core.uploads.get(call.grant, id)
    return answer(PartsShape(items=await _addressed(call, upload, slots)))


async def _addressed(call: Call, upload: Upload, slots: Sequence[Slot]) -> tuple[PartShape, ...]:
    # The first alone: it may open what all the others belong to.
    first = await call.core.parts.url(upload, 1, call.base_url)
    rest = [call.core.parts.url(upload, slot.number, call.base_url) for slot in slots[1:]]
    urls = [first, *await asyncio.gather(*rest)]
    return tuple(
        PartShape(number=slot.number, size=slot.size, received=slot.received, url=url)
        for slot, url in zip(slots, urls, strict=True)
    )


async def put_part(call: Call) -> web.Response:
    grant, id, number = call.core.parts.opened(PART, call.place("token"))
    call.speaks_for(grant)
    await call.core.parts.put_part(grant, id, number, call.body, call.request.content_length)
    return _taken(f"{id}-{number}")


async def put(call: Call) -> web.Response:
    grant, id, _ = call.core.parts.opened(PUT, call.place("token"))
    call.speaks_for(grant)
    declared, length = call.header("Content-Type"), call.request.content_length
    await call.core.parts.put(grant, id, call.body, declared, length)
    return _taken(id)


def _taken(tag: str) -> web.Response:
    """As S3 answers a PUT: clients of it wait for an entity tag."""
    return web.Response(status=200, headers={"ETag": f'"{tag}"', "Cache-Control": "no-store"})


SEALED = (SignatureInvalid, SignatureExpired, UploadNotFound, UploadExpired, UploadWayWrong, UploadBusy)

ENDPOINTS: Sequence[Endpoint] = (
    Endpoint(
        "GET",
        "/v1/uploads/{id}/parts",
        "See which parts are there, and where each goes.",
        act=listed,
        tag="uploads",
        answers={200: PartsShape},
        errors=(UploadNotFound, UploadExpired, UploadWayWrong),
        by_public_key="known",
    ),
    Endpoint(
        "PUT",
        "/v1/parts/{token}",
        "Put one part; sent again it replaces the earlier one.",
        act=put_part,
        tag="uploads",
        body=BYTES,
        answers={200: None},
        errors=(*SEALED, *SENDING, PartNumberInvalid, PartSizeWrong),
        public=True,
    ),
    Endpoint(
        "PUT",
        "/v1/put/{token}",
        "Put the whole file, of the declared type and size; then finish the upload.",
        act=put,
        tag="uploads",
        headers={"Content-Type": "The declared one, to the letter."},
        body=BYTES,
        answers={200: None},
        errors=(*SEALED, *SENDING, PutTypeWrong, PutLengthWrong),
        public=True,
    ),
)
