"""`/v1/uploads/{id}/events`: bytes as they arrive, the file they become, and the run that follows, in one stream."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing, suppress
from dataclasses import dataclass

from aiohttp import web

from pipeline.api.dialects.native.runs import RESUME, STREAM
from pipeline.api.dialects.native.shapes import EventShape, EventsQuery, event_shape
from pipeline.api.endpoint import Call, Endpoint
from pipeline.api.sse import COMMENT, SILENCE, frame
from pipeline.errors import RunNotFound, UploadExpired, UploadNotFound
from pipeline.model import ENDED, Event, now
from pipeline.records.trails import Bytes


@dataclass
class Trail:
    """What is followed: an upload and the run after it, if there is to be one; `size` in bytes, None while unknown."""

    upload: str
    run: str | None
    size: int | None
    offset: int | None = None
    """How far it is known to be; None when it is a file by now."""

    def has_news(self, told: Bytes) -> bool:
        """Whether it has come further; bytes that a cut took away again are not told."""
        if self.offset is None or (told.offset is not None and told.offset <= self.offset):
            return False
        self.offset = told.offset
        return True


async def events(call: Call) -> web.StreamResponse:
    """From the start, or after the id that was seen last, to the end of the run; 204 when nothing will follow."""
    trail = await _trail(call, call.id(UploadNotFound))
    after = call.header("Last-Event-ID") or call.query(EventsQuery).from_ or "0"
    if trail.offset is None and await _over(call, trail, after):
        return web.Response(status=204)
    return await call.streams.send(call.request, _frames(call, trail, after))


async def _trail(call: Call, id: str) -> Trail:
    """Raises `UploadNotFound` or `UploadExpired`."""
    try:
        upload = await call.core.uploads.get(call.grant, id)
        return Trail(id, upload.run, upload.intake.declared_size, upload.offset)
    except UploadNotFound:
        (file,) = await call.core.records.files.get_many([id])
        if file is None or file.project != call.project:
            raise
        return Trail(id, file.follow, file.size)


async def _frames(call: Call, trail: Trail, after: str) -> AsyncGenerator[bytes, None]:
    if trail.offset is not None:
        yield _progressed(trail, trail.offset)
    trails, has_ended = call.core.records.trails, False
    async with aclosing(trails.follow(call.project, trail.upload, trail.run, after, SILENCE)) as told:
        async for one in told:
            if isinstance(one, Bytes):
                if trail.has_news(one):
                    yield _progressed(trail, one.offset)
                if one.offset is None:
                    return
                continue
            if one is not None:
                after = one.id
                yield frame(one.id, one.type, event_shape(one))
                has_ended = has_ended or _is_end(trail, one)
            if one is None or has_ended:  # the last one of all may be another, such as of the run's dead letter
                if await _over(call, trail, after):
                    return
                yield COMMENT


def _progressed(trail: Trail, offset: int | None) -> bytes:
    """How many bytes there are, which is no event of the log and so has no id; without any, that none will come."""
    kind = "upload.dropped" if offset is None else "upload.progressed"
    facts = {} if offset is None else {"offset": offset, "size": trail.size}
    return frame("", kind, EventShape(id="", type=kind, subject=trail.upload, at=now(), facts=facts))


def _is_end(trail: Trail, event: Event) -> bool:
    if trail.run is None:
        return event.type in ("file.uploaded", "file.stored")
    return event.subject == trail.run and event.type.removeprefix("run.") in ENDED


async def _over(call: Call, trail: Trail, after: str) -> bool:
    """Whether nothing follows `after`."""
    if not await _ended(call, trail):
        return False
    subjects = [id for id in (trail.upload, trail.run) if id]
    return not any([await call.core.events.read(call.project, id, after, 1) for id in subjects])


async def _ended(call: Call, trail: Trail) -> bool:
    """Whether the run has ended; without one, whether there is a file. What is gone without a trace has ended too."""
    if trail.run is not None:
        with suppress(RunNotFound):
            return (await call.core.records.runs.get(trail.run)).status in ENDED
    return not await call.core.records.uploads.known([trail.upload])


ENDPOINTS: Sequence[Endpoint] = (
    Endpoint(
        "GET",
        "/v1/uploads/{id}/events",
        "Follow an upload: its bytes, the file it becomes, and the run after it to its end.",
        act=events,
        tag="uploads",
        query=EventsQuery,
        headers=RESUME,
        answers={200: STREAM, 204: None},
        errors=(UploadNotFound, UploadExpired),
        by_public_key="known",
    ),
)
