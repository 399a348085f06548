"""`/multipart/`: large files in parts that go to absolute addresses, in any order and several at once."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from aiohttp import web

from pipeline.acts import settled
from pipeline.api.dialects.uploadcare import auth
from pipeline.api.dialects.uploadcare.errors import refused
from pipeline.api.dialects.uploadcare.params import Params, read
from pipeline.api.dialects.uploadcare.upload import PUB_KEY, intake_of, typed
from pipeline.api.endpoint import UUID, Call, plain
from pipeline.errors import FileNotFound, FileTooLarge, PartSizeInvalid, PartSizeWrong
from pipeline.model import File, Grant, Intake, Upload
from pipeline.uploads.parts import LARGEST_PART, MOST_PARTS, PART_SIZE, slots_of
from pipeline.vendors.uploadcare import file_info

SMALLEST = 10 * 1024 * 1024
"""Bytes below which a file is sent directly."""
LASTS = 86_400.0
"""Seconds for which the addresses of parts take bytes."""
MOST_DIGITS = 15


async def start(call: Call) -> web.Response:
    params = await read(call)
    grant = await auth.sender(call, params, PUB_KEY)
    intake = _intake(grant, params)
    upload = await _begun(call, grant, intake, _part_size(params, intake.declared_size or 0))
    return plain({"uuid": upload.id, "parts": await _addresses(call, upload)})


def _intake(grant: Grant, params: Params) -> Intake:
    for name in ("filename", "size", "content_type"):
        if not params.get(name):
            raise refused("RequestParamRequiredError", name)
    size = _number(params.get("size"), "MultipartSizeInvalidError")
    if size < SMALLEST:
        raise refused("MultipartFileSizeTooSmallError", SMALLEST)
    claims = {"name": params.get("filename"), "declared_type": typed(params.get("content_type")), "declared_size": size}
    return intake_of(grant, params, params.get("UPLOADCARE_STORE")).model_copy(update=claims)


def _part_size(params: Params, size: int) -> int | None:
    """What the client asks for; without a wish, parts grow with files of more than the most parts there may be."""
    if not params.get("part_size"):
        return max(PART_SIZE, -(-size // MOST_PARTS))
    wanted = _number(params.get("part_size"), "MultipartPartSizeInvalidError")
    if wanted < PART_SIZE:
        raise refused("MultipartPartSizeTooSmallError", PART_SIZE)
    if wanted > LARGEST_PART:
        raise refused("MultipartPartSizeTooBigError", LARGEST_PART)
    return wanted


def _number(text: str, row: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= MOST_DIGITS):
        raise refused(row)
    return int(text)


async def _begun(call: Call, grant: Grant, intake: Intake, part_size: int | None) -> Upload:
    try:
        return await call.core.parts.begin(grant, intake, part_size)
    except FileTooLarge as cause:
        raise refused("MultipartFileSizeLimitExceededError") from cause
    except PartSizeInvalid as cause:  # so many parts of this size there may not be
        raise refused("MultipartPartSizeTooSmallError", -(-(intake.declared_size or 0) // MOST_PARTS)) from cause


async def _addresses(call: Call, upload: Upload) -> Sequence[str]:
    # The first alone: it may open what all the others belong to.
    parts, slots = call.core.parts, slots_of(upload)
    first = await parts.url(upload, 1, call.base_url, LASTS)
    rest = [parts.url(upload, slot.number, call.base_url, LASTS) for slot in slots[1:]]
    return [first, *await asyncio.gather(*rest)]


async def complete(call: Call) -> web.Response:
    """The file that the parts are; while some are missing the upload stays, so that they can follow."""
    params = await read(call)
    grant = auth.page(call, params, PUB_KEY)
    id = params.get("uuid").lower()
    if not id:
        raise refused("MultipartFileIdRequiredError")
    if not UUID.fullmatch(id):
        raise refused("UUIDInvalidError")
    if await _is_file(call, grant, id):
        raise refused("MultipartFileAlreadyUploadedError")
    return plain(file_info(await settled(_finished(call, grant, id))))


async def _is_file(call: Call, grant: Grant, id: str) -> bool:
    try:
        await call.core.files.get(grant, id)
    except FileNotFound:
        return False
    return True


async def _finished(call: Call, grant: Grant, id: str) -> File:
    try:
        file = await call.core.parts.finish(grant, id)
    except PartSizeWrong as wrong:
        slots = await call.core.parts.slots(grant, id)
        if sum(slot.received for slot in slots) > sum(slot.size for slot in slots):
            raise refused("MultipartUploadSizeTooLargeError") from wrong
        raise
    call.metrics.uploads.labels("uploadcare", "accepted").inc()
    return file
