"""`/v1/files`: send, list, look at, store, delete, fetch."""

from __future__ import annotations

from collections.abc import AsyncIterable, Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from typing import Any

from aiohttp import web
from pydantic import TypeAdapter, ValidationError

from pipeline import labels
from pipeline.acts import settled
from pipeline.api.addresses import content_path, content_url
from pipeline.api.bodies import FORM, Form, Part, is_form
from pipeline.api.content import send
from pipeline.api.dialects.native.shapes import ContentQuery, FileShape, Listing, Metadata, SendQuery
from pipeline.api.endpoint import PROJECT, Call, Endpoint, answer
from pipeline.api.idempotency import HEADER, once
from pipeline.api.problems import request_invalid
from pipeline.describe import BINARY, Raw
from pipeline.disposition import disposition_name
from pipeline.errors import (
    BodyEmpty,
    BodyTimeout,
    BodyTooSlow,
    FileEmpty,
    FileInfected,
    FileNotFound,
    FileTooLarge,
    FileTooSmall,
    FlowNotFound,
    FlowPaused,
    FolderInvalid,
    FormPartsTooMany,
    ImageSizeUnknown,
    ImageTooLarge,
    ImageTooSmall,
    ImageUnreadable,
    InputMissing,
    InputUnknown,
    MetadataInvalid,
    MultipartBroken,
    ParamsInvalid,
    QuotaExceeded,
    RangeNotSatisfiable,
    RequestInvalid,
    RouteUnknown,
    RunEnded,
    RunNotFound,
    SafelightError,
    ScannerUnavailable,
    ScanTooLarge,
    SignatureExpired,
    SignatureInvalid,
    StorageFull,
    SvgInvalid,
    SvgRefused,
    TagInvalid,
    TypeMismatch,
    TypeNotAllowed,
)
from pipeline.model import File, Follow, Grant, Intake

UNDECLARED = frozenset({"application/octet-stream", "application/x-www-form-urlencoded", "binary/octet-stream", FORM})
"""Types that clients put on a body without having looked at it."""

SENDING = (
    BodyEmpty,
    BodyTimeout,
    BodyTooSlow,
    FileEmpty,
    FileInfected,
    FileTooLarge,
    FileTooSmall,
    FolderInvalid,
    FormPartsTooMany,
    ImageSizeUnknown,
    ImageTooLarge,
    ImageTooSmall,
    ImageUnreadable,
    MetadataInvalid,
    MultipartBroken,
    QuotaExceeded,
    RouteUnknown,
    ScanTooLarge,
    ScannerUnavailable,
    StorageFull,
    SvgInvalid,
    SvgRefused,
    TagInvalid,
    TypeMismatch,
    TypeNotAllowed,
)
"""What sending a file can be refused for."""

FOLLOWING = (FlowNotFound, FlowPaused, InputMissing, InputUnknown, ParamsInvalid)
"""What naming a flow can be refused for."""

_metadata = TypeAdapter(Metadata)
_params = TypeAdapter(dict[str, Any])


async def create(call: Call) -> web.Response:
    """A form with one file, or a body that is the file, is answered with the File; several with a list of them."""
    query = call.query(SendQuery)

    async def receive() -> list[File]:
        received = Received(call)
        async with received:
            await (_receive_form if is_form(call.request) else _receive_body)(call, query, received)
        return received.files

    async def acknowledge(files: list[File]) -> web.Response:
        if len(files) > 1:
            return answer(Listing[FileShape](items=file_shapes(call, files), next=None), 201)
        headers = {"Location": f"{call.base_url}/v1/files/{files[0].id}"}
        return answer(file_shape(call, files[0]), 201, headers)

    if call.header(HEADER) is None:  # nothing more is done that must come to its end
        return await acknowledge(await receive())
    return await once(call, receive, acknowledge)


class Received:
    """The files taken in for one request of `dialect`; when the block fails, none of them is left."""

    def __init__(self, call: Call, dialect: str = "native") -> None:
        self._call = call
        self._dialect = dialect
        self.files: list[File] = []

    @property
    def grant(self) -> Grant:
        """For whom they are taken in."""
        return self._call.grant

    async def __aenter__(self) -> Received:
        return self

    async def __aexit__(self, kind: object, fault: BaseException | None, trace: object) -> None:
        if fault is not None:
            await settled(self.discard())

    async def take(
        self, intake: Intake, chunks: AsyncIterable[bytes], look: Callable[[File], None] | None = None
    ) -> File:
        """Take one file in and count how that ended; `look` may refuse it."""
        outcome = "cut"
        try:
            file = await self._call.core.uploads.accept(self._call.grant, intake, chunks, look=look)
            outcome = "accepted"
        except SafelightError as error:
            outcome = error.code
            raise
        finally:
            self._call.metrics.uploads.labels(self._dialect, outcome).inc()
        self.files.append(file)
        return file

    async def discard(self) -> None:
        """Delete what was taken in."""
        for file in self.files:
            if file.follow:
                with suppress(RunNotFound, RunEnded):
                    await self._call.core.runs.cancel(self._call.grant, file.follow)
            with suppress(FileNotFound):
                await self._call.core.files.delete(self._call.grant, file.id)


async def _receive_body(call: Call, query: SendQuery, received: Received) -> None:
    if not call.request.body_exists:
        raise BodyEmpty
    name = query.name or disposition_name(call.header("Content-Disposition") or "")
    declared = declared_type(call.request.content_type) if call.header("Content-Type") else None
    intake = Intake(
        name=name or "file",
        declared_type=declared,
        declared_size=call.request.content_length,
        store=query.store,
        private=query.private,
        route=query.route,
        follow=_follow(query, {}),
        folder=query.folder,
        tags=labels.tags(query.tag),
    )
    await received.take(intake, call.body)


async def _receive_form(call: Call, query: SendQuery, received: Received) -> None:
    metadata: Mapping[str, str] = {}
    async for part in Form(call.request, call.body):
        if part.is_file:
            intake = part_intake(part, store=query.store, private=query.private, metadata=metadata)
            filed = {"folder": query.folder, "tags": labels.tags(query.tag), "route": query.route}
            await received.take(intake.model_copy(update={"follow": _follow(query, metadata), **filed}), part)
        elif received.files:
            raise RequestInvalid(reason=f"The field `{part.name[:64]}` is not read here; metadata goes before files.")
        else:
            metadata = {**metadata, **await _labelled(part)}
    if not received.files:
        raise BodyEmpty


async def _labelled(part: Part) -> Mapping[str, str]:
    """What a text field says of the files behind it: `metadata` all at once, as JSON, any other one key of it."""
    text = await part.text()
    if part.name == "metadata":
        return parse_metadata(text)
    return {part.name: text} if text else {}


def _follow(query: SendQuery, metadata: Mapping[str, str]) -> Follow | None:
    params = parse_params(query.params) if query.params else {}
    return Follow(flow=query.flow, params=params, metadata=metadata) if query.flow else None


def parse_params(text: str) -> dict[str, Any]:
    """A JSON object; raises `RequestInvalid`."""
    try:
        return _params.validate_json(text)
    except ValidationError as cause:
        raise request_invalid(cause) from cause


def part_intake(
    part: Part, *, store: bool | None = None, private: bool = False, metadata: Mapping[str, str] | None = None
) -> Intake:
    """What a field of a form claims about the file in it."""
    return Intake(
        name=part.filename or "file",
        declared_type=declared_type(part.media_type),
        declared_size=part.size,
        metadata=metadata or {},
        store=store,
        private=private,
    )


def declared_type(content_type: str | None) -> str | None:
    """A Content-Type as a claim about a file, None when it claims nothing."""
    return None if content_type in UNDECLARED else content_type


def parse_metadata(text: str) -> Mapping[str, str]:
    """A JSON object of texts; raises `RequestInvalid`."""
    try:
        return _metadata.validate_json(text)
    except ValidationError as cause:
        raise request_invalid(cause) from cause


async def get(call: Call) -> web.Response:
    return answer(file_shape(call, await owned(call, call.id(FileNotFound))))


async def delete(call: Call) -> web.Response:
    await settled(call.core.files.delete(call.grant, call.id(FileNotFound)))
    return web.Response(status=204)


async def content(call: Call) -> web.StreamResponse:
    query = call.query(ContentQuery)
    file = await call.core.records.files.get(call.id(FileNotFound))
    if file.project in call.core.settings.projects:
        call.request[PROJECT] = call.core.settings.projects[file.project]
    check_visitor(call, [file], content_path(file.id), query)
    return await send(call.request, file, call.core.storages[file.storage], download=query.download)


def check_visitor(call: Call, files: Iterable[File], path: str, query: ContentQuery) -> None:
    """What is private opens to a signature of its path, what is not published to nobody; both to a key of its project.

    Raises `FileNotFound`, or what is wrong with the signature.
    """
    for file in files:
        if _is_owner(call, file.project):
            continue
        if not file.published:
            raise FileNotFound(id=file.id)
        if file.private:
            call.access.check_signature(file.project, path, query.expires or "", query.signature or "")


def _is_owner(call: Call, project: str) -> bool:
    return call.visitor is not None and call.visitor.project.id == project and not call.visitor.public


async def owned(call: Call, file_id: str) -> File:
    """The caller's own file; raises `FileNotFound` for anybody else's."""
    file = await call.core.records.files.get(file_id)
    if file.project != call.project:
        raise FileNotFound(id=file_id)
    return file


def file_shape(call: Call, file: File) -> FileShape:
    kept = file.model_dump(exclude={"project", "storage", "key", "image", "region", "folder"})
    url = content_url(call, file.id, file.project, private=file.private)
    return FileShape(**kept, image=file.image, region=file.region, folder=f"/{file.folder}", url=url)


def file_shapes(call: Call, files: Iterable[File]) -> tuple[FileShape, ...]:
    return tuple(file_shape(call, file) for file in files)


FORM_SCHEMA = {
    "type": "object",
    "properties": {
        "metadata": {"type": "string", "description": "A JSON object of texts; goes before the file."},
        "file": BINARY,
    },
    "required": ["file"],
}
BYTES = Raw("application/octet-stream", BINARY)
IDEMPOTENCY = {"Idempotency-Key": "The same request sent again with the same key gets the first answer."}
RANGES = {"Range": "One range of bytes.", "If-Range": "The ETag the range belongs to.", "If-None-Match": "An ETag."}
OPENING = (FileNotFound, RangeNotSatisfiable, SignatureInvalid, SignatureExpired)
CONTENT = {200: Raw("*/*", BINARY), 206: Raw("*/*", BINARY), 304: None}

ENDPOINTS: Sequence[Endpoint] = (
    Endpoint(
        "POST",
        "/v1/files",
        "Send a file, as the body or in a form.",
        act=create,
        tag="files",
        query=SendQuery,
        headers=IDEMPOTENCY,
        body=(BYTES, Raw(FORM, FORM_SCHEMA)),
        answers={201: FileShape},
        errors=(*SENDING, *FOLLOWING),
        by_public_key="signed",
    ),
    Endpoint(
        "GET",
        "/v1/files/{id}",
        "Look at a file.",
        act=get,
        tag="files",
        answers={200: FileShape},
        errors=(FileNotFound,),
    ),
    Endpoint(
        "DELETE",
        "/v1/files/{id}",
        "Delete a file, its bytes and its record.",
        act=delete,
        tag="files",
        answers={204: None},
        errors=(FileNotFound,),
    ),
    Endpoint(
        "GET",
        "/v1/files/{id}/content",
        "Fetch the bytes of a file.",
        act=content,
        tag="files",
        query=ContentQuery,
        headers=RANGES,
        answers=CONTENT,
        errors=OPENING,
        public=True,
    ),
)
