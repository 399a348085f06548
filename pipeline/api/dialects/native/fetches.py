"""`/v1/fetches`: files that are got from URLs."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping, Sequence
from datetime import datetime
from typing import Any

from aiohttp import web
from pydantic import Field

from pipeline.acts import settled
from pipeline.api.bodies import JSON_LIMIT, require_json
from pipeline.api.dialects.native.files import IDEMPOTENCY, file_shape
from pipeline.api.dialects.native.shapes import NAME_LENGTH, Ask, FileShape, Metadata, Shape
from pipeline.api.endpoint import Call, Endpoint, answer, digest_of, parsed
from pipeline.api.idempotency import body_of, once
from pipeline.api.sse import COMMENT, SILENCE, frame
from pipeline.describe import Raw
from pipeline.dialing import LONGEST_URL
from pipeline.errors import (
    AddressRefused,
    FetchEnded,
    FetchesTooMany,
    FetchNotFound,
    FlowNotFound,
    FlowPaused,
    FolderInvalid,
    MetadataInvalid,
    ParamsInvalid,
    RouteUnknown,
    TagInvalid,
    UrlHostMalformed,
    UrlHostMissing,
    UrlInvalid,
    UrlSchemeMissing,
    UrlSchemeUnknown,
)
from pipeline.model import Fetch, FetchStatus, Follow, Intake, Problem
from pipeline.uploads.fetching import OPEN

LONGEST_WAIT = 60.0
LOOK_AGAIN = 0.5
"""Seconds between two looks at a fetch whose progress is followed."""


class FetchAsk(Ask):
    """A file that is to be got from where it lies."""

    url: str = Field(max_length=LONGEST_URL)
    name: str | None = Field(default=None, max_length=NAME_LENGTH, description="Left out, as its server calls it.")
    metadata: Metadata = Field(default={})
    tags: tuple[str, ...] = ()
    folder: str = ""
    store: bool | None = None
    private: bool = False
    route: str | None = Field(default=None, max_length=100, description="The route of the project it comes in by.")
    flow: str | None = Field(default=None, max_length=200, description="The flow that runs on it when it is there.")
    params: Mapping[str, Any] = Field(default={}, description="For the flow.")
    check_duplicates: bool = Field(
        default=False, description="If this URL was fetched before, answer with the file it became then."
    )
    save_duplicates: bool | None = Field(
        default=None, description="Remember the URL for 30 days; left out, as `check_duplicates`."
    )
    reuse: bool = Field(default=False, description="If a stored file has the same bytes, become that one.")


class FetchQuery(Ask):
    wait: float = Field(default=0, ge=0, description="Seconds to hold the answer until the fetch ends, 60 at most.")


class FetchShape(Shape):
    """How far a file has come from its URL."""

    id: str
    url: str
    status: FetchStatus
    done: int = Field(description="Bytes that have come.")
    total: int | None = Field(description="Bytes that are to come, null while nobody knows.")
    tries: int
    file: FileShape | None = Field(description="What it became; null until then, and when that was deleted since.")
    error: Problem | None
    created_at: datetime
    ended_at: datetime | None


async def begin(call: Call) -> web.Response:
    wait = call.query(FetchQuery).wait
    require_json(call.request)
    text = await call.body.whole(JSON_LIMIT)
    ask = parsed(FetchAsk, text)

    async def ready() -> FetchAsk:
        return ask

    async def create(ask: FetchAsk) -> web.Response:
        fetch = await call.core.fetching.begin(
            call.grant,
            ask.url,
            _intake(ask),
            ask.name,
            check=ask.check_duplicates,
            save=ask.save_duplicates,
            reuse=ask.reuse,
        )
        return await _answer(call, fetch)

    made = await once(call, ready, create, digest=digest_of(text))
    return await _waited(call, made, wait) if made.status == 202 and wait else made


async def get(call: Call) -> web.Response:
    return await _answer(call, await _ended(call, call.id(FetchNotFound), call.query(FetchQuery).wait), going=200)


async def cancel(call: Call) -> web.Response:
    await settled(call.core.fetching.cancel(call.grant, call.id(FetchNotFound)))
    return web.Response(status=204)


async def events(call: Call) -> web.StreamResponse:
    """A frame with the whole fetch whenever it has come further; the last one is its end, after which nothing comes."""
    fetch = await call.core.fetching.get(call.grant, call.id(FetchNotFound))
    if fetch.status not in OPEN and call.header("Last-Event-ID") == _place(fetch):
        return web.Response(status=204)
    return await call.streams.send(call.request, _frames(call, fetch.id))


async def _frames(call: Call, id: str) -> AsyncGenerator[bytes, None]:
    shown, quiet = "", 0.0
    async with call.core.events.ending(id) as end:
        while True:
            fetch = await call.core.fetching.get(call.grant, id)
            if _place(fetch) != shown:
                shown, quiet = _place(fetch), 0.0
                yield frame(shown, fetch.status, await _shape(call, fetch))
            elif quiet >= SILENCE:
                quiet = 0.0
                yield COMMENT
            if fetch.status not in OPEN:
                return
            await end.wait(LOOK_AGAIN)
            quiet += LOOK_AGAIN


def _place(fetch: Fetch) -> str:
    return f"{fetch.tries}-{fetch.status}-{fetch.done}"


def _intake(ask: FetchAsk) -> Intake:
    follow = Follow(flow=ask.flow, params=ask.params, metadata=ask.metadata) if ask.flow else None
    return Intake(
        metadata=ask.metadata,
        tags=ask.tags,
        folder=ask.folder,
        store=ask.store,
        private=ask.private,
        route=ask.route,
        follow=follow,
    )


async def _waited(call: Call, made: web.Response, seconds: float) -> web.Response:
    begun = FetchShape.model_validate_json(body_of(made))
    return await _answer(call, await _ended(call, begun.id, seconds))


async def _ended(call: Call, id: str, seconds: float) -> Fetch:
    """The fetch once it has ended, or as it stands when the time is up or the server stops."""
    if not seconds:
        return await call.core.fetching.get(call.grant, id)
    fetch = await call.streams.wait(call.core.fetching.wait(call.grant, id, min(seconds, LONGEST_WAIT)))
    return fetch or await call.core.fetching.get(call.grant, id)


async def _answer(call: Call, fetch: Fetch, going: int = 202) -> web.Response:
    headers = {"Location": f"{call.base_url}/v1/fetches/{fetch.id}", "Cache-Control": "no-store"}
    return answer(await _shape(call, fetch), going if fetch.status in OPEN else 200, headers)


async def _shape(call: Call, fetch: Fetch) -> FetchShape:
    (file,) = await call.core.records.files.get_many([fetch.file]) if fetch.file else (None,)
    told = fetch.model_dump(include={"id", "url", "status", "done", "total", "tries", "created_at", "ended_at"})
    return FetchShape(**told, file=file_shape(call, file) if file else None, error=fetch.error)


URLS = (
    AddressRefused,
    FetchesTooMany,
    UrlInvalid,
    UrlHostMalformed,
    UrlHostMissing,
    UrlSchemeMissing,
    UrlSchemeUnknown,
)
"""What a URL can be refused for before anything is asked of its server."""
CLAIMS = (FlowNotFound, FlowPaused, FolderInvalid, MetadataInvalid, ParamsInvalid, RouteUnknown, TagInvalid)
"""What can be refused of what is said of the file."""

ENDPOINTS: Sequence[Endpoint] = (
    Endpoint(
        "POST",
        "/v1/fetches",
        "Have a file fetched from a URL.",
        act=begin,
        tag="fetches",
        query=FetchQuery,
        headers=IDEMPOTENCY,
        body=FetchAsk,
        answers={200: FetchShape, 202: FetchShape},
        errors=(*URLS, *CLAIMS),
        by_public_key="signed",
    ),
    Endpoint(
        "GET",
        "/v1/fetches/{id}",
        "See how far a fetch has come.",
        act=get,
        tag="fetches",
        query=FetchQuery,
        answers={200: FetchShape},
        errors=(FetchNotFound,),
        by_public_key="known",
    ),
    Endpoint(
        "GET",
        "/v1/fetches/{id}/events",
        "Follow a fetch to its end.",
        act=events,
        tag="fetches",
        headers={"Last-Event-ID": "Nothing is sent when nothing is new since this event."},
        answers={200: Raw("text/event-stream", {"type": "string"}), 204: None},
        errors=(FetchNotFound,),
        by_public_key="known",
    ),
    Endpoint(
        "DELETE",
        "/v1/fetches/{id}",
        "Cancel a fetch; nothing of it is left.",
        act=cancel,
        tag="fetches",
        answers={204: None},
        errors=(FetchNotFound, FetchEnded),
        by_public_key="known",
    ),
)
