"""`/upload/`: ask for an address, put the bytes there, say that they are there."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence

from aiohttp import web

from pipeline import labels
from pipeline.acts import settled
from pipeline.api.dialects.uploadkit import auth, routes, rows, storage
from pipeline.api.dialects.uploadkit.params import CompleteAsk, Metadata, RequestAsk, body
from pipeline.api.endpoint import UUID, Call, plain
from pipeline.errors import FileTooLarge, SafelightError, UploadNotFound
from pipeline.model import File, Grant, Intake, Upload
from pipeline.vendors.uploadkit import Document, kept_metadata, key_of, public_url

WAYS = ("put", "parts")
"""How bytes come to addresses that were given out."""

Begin = Callable[[Grant, Intake], Awaitable[Upload]]


async def request(call: Call) -> web.Response:
    grant = await auth.server(call)
    return plain(await requested(call, grant, await body(call, RequestAsk)))


async def requested(call: Call, grant: Grant, ask: RequestAsk) -> Document:
    """A new upload as it is told, with where its bytes go."""
    upload = await opened(call, grant, ask, call.core.parts.begin_put)
    key = key_of(upload)
    address = await storage.address(call, upload)
    return {"fileId": upload.id, "uploadUrl": address, "key": key, "cdnUrl": public_url(call.base_url, key)}


async def opened(call: Call, grant: Grant, ask: RequestAsk, begin: Begin) -> Upload:
    """A new upload, judged in the vendor's order: its route, its size, its type, the room that is left."""
    entry = await routes.find(call, grant, ask.routeSlug)
    project = grant.project
    if ask.fileSize > (most := entry.largest(project)):
        raise routes.too_large(entry, most)
    if not entry.takes(project, ask.contentType):
        raise routes.wrong_type(entry, project, ask.contentType)
    intake = entry.intake(
        name=ask.fileName,
        declared_type=ask.contentType,
        declared_size=ask.fileSize,
        metadata=kept_metadata(ask.metadata or {}),
        store=None if grant.public else True,  # a server's word is enough
    )
    try:
        return await begin(routes.known(grant, entry.slug), intake)
    except FileTooLarge as cause:  # a flow may want less
        raise routes.too_large(entry, cause.facts["limit"]) from cause


async def complete(call: Call) -> web.Response:
    grant = await auth.server(call)
    ask = await body(call, CompleteAsk)
    return finished(rows.of_file(call, await settled(completed(call, grant, ask.fileId, ask.metadata))))


def finished(row: Document) -> web.Response:
    """A file that has arrived, as both of the vendor's documents show it."""
    return plain({**row, "file": row})


async def completed(
    call: Call, grant: Grant, id: str, metadata: Metadata | None, tags: Mapping[int, str] | None = None
) -> File:
    """The file that an upload becomes, with other metadata if it is told; raises `UploadNotFound` once it is one.

    Of several at once all have the same file; what was refused is refused again for the same reason.
    """
    other = None if metadata is None else labels.metadata(kept_metadata(metadata))
    try:
        upload = await awaited(call, grant, id, WAYS if tags is None else ("parts",))
        return await _ended(call, routes.known(grant, upload.intake.route), upload, tags, other)
    except UploadNotFound as missing:
        if UUID.fullmatch(id) and (failure := await call.core.records.failures.get(grant.project.id, id.lower())):
            raise failure.error from missing
        raise


async def _ended(
    call: Call, grant: Grant, upload: Upload, tags: Mapping[int, str] | None, metadata: Mapping[str, str] | None
) -> File:
    outcome = "cut"
    try:
        ended = await call.core.parts.end(grant, upload, tags, metadata)
        outcome = "" if ended.before else "accepted"
    except SafelightError as error:
        outcome = error.code
        raise
    finally:
        if outcome:
            call.metrics.uploads.labels("uploadkit", outcome).inc()
    return ended.file


async def awaited(call: Call, grant: Grant, id: str, ways: Sequence[str]) -> Upload:
    """The project's upload of this id whose bytes come to addresses it was given; raises `UploadNotFound`."""
    if not UUID.fullmatch(id):
        raise UploadNotFound(id=id[:64])
    upload = await call.core.uploads.known(grant, id.lower())
    if upload.way not in ways:
        raise UploadNotFound(id=id)
    return upload
