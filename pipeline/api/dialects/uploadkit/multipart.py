"""`/upload/multipart/`: files of more than 10 MiB in parts of 5 MiB, each put to an address of its own."""

from __future__ import annotations

import asyncio

from aiohttp import web

from pipeline.acts import settled
from pipeline.api.dialects.uploadkit import auth, rows, storage
from pipeline.api.dialects.uploadkit.errors import refused
from pipeline.api.dialects.uploadkit.params import PairAsk, PartsAsk, RequestAsk, body
from pipeline.api.dialects.uploadkit.upload import awaited, completed, finished, opened
from pipeline.api.endpoint import Call, plain
from pipeline.errors import UploadNotFound
from pipeline.model import Grant, Intake, Upload
from pipeline.uploads.parts import PART_SIZE, slots_of
from pipeline.vendors.uploadkit import Document, key_of

SMALL = 10 * 2**20
"""Bytes up to which a file is put at once."""
LASTS = 3600.0
"""Seconds for which the addresses of parts take bytes."""


async def init(call: Call) -> web.Response:
    grant = await auth.server(call)
    ask = await body(call, RequestAsk)
    if ask.fileSize <= SMALL:
        text = f"Multipart uploads are for files of more than {SMALL} bytes; use /api/v1/upload/request."
        raise refused("small", text)

    async def begin(known: Grant, intake: Intake) -> Upload:
        return await call.core.parts.begin(known, intake, PART_SIZE)

    upload = await opened(call, grant, ask, begin)
    told: Document = {"fileId": upload.id, "uploadId": upload_id(upload.id), "key": key_of(upload)}
    return plain(told | {"parts": await _addressed(call, upload)})


async def _addressed(call: Call, upload: Upload) -> list[Document]:
    # The first alone: it may open what all the others belong to.
    parts, slots, base = call.core.parts, slots_of(upload), call.base_url
    first = await parts.url(upload, 1, base, LASTS, storage.PART_ADDRESS)
    rest = [parts.url(upload, slot.number, base, LASTS, storage.PART_ADDRESS) for slot in slots[1:]]
    urls = [first, *await asyncio.gather(*rest)]
    return [{"partNumber": slot.number, "uploadUrl": url} for slot, url in zip(slots, urls, strict=True)]


async def complete(call: Call) -> web.Response:
    grant = await auth.server(call)
    ask = await body(call, PartsAsk)
    _check_pair(ask)
    tags = {part.partNumber: part.etag for part in ask.parts}
    return finished(rows.of_file(call, await settled(completed(call, grant, ask.fileId, ask.metadata, tags))))


async def abort(call: Call) -> web.Response:
    grant = await auth.server(call)
    ask = await body(call, PairAsk)
    _check_pair(ask)
    upload = await awaited(call, grant, ask.fileId, ("parts",))
    await settled(call.core.uploads.abort(grant, upload.id))
    return plain({"ok": True, "aborted": True})


def _check_pair(ask: PairAsk) -> None:
    if ask.uploadId != upload_id(ask.fileId.lower()):
        raise UploadNotFound(id=ask.fileId[:64])


def upload_id(id: str) -> str:
    """What an upload in parts is called beside its file."""
    return id.replace("-", "")
