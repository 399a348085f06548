"""The sockets of jobs and of uploads, on whichever web process: everything from the beginning on, then what happens.

Nothing lies in a process: who comes late, or again, is told from the event log what he missed.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import aclosing
from datetime import datetime
from typing import Any, Literal, TypeVar
from uuid import uuid4

import orjson
from aiohttp import WSCloseCode, web

from pipeline.api.dialects.uploadista import auth, rows, uploads
from pipeline.api.dialects.uploadista.errors import UploadistaRefused, code_of
from pipeline.api.dialects.uploadista.events import FlowTale, UploadTale
from pipeline.api.endpoint import UUID, Call
from pipeline.api.sockets import Farewell, Told, converse
from pipeline.errors import (
    FlowNotFound,
    KeyInvalid,
    KeyRequired,
    RecordsUnavailable,
    RunNotFound,
    SafelightError,
    UploadNotFound,
)
from pipeline.graph.flow import Flow
from pipeline.model import ENDED, Event, Grant, Run, now
from pipeline.records.trails import Bytes
from pipeline.vendors.uploadista import Document, envelope, moment

PREFIX = "/uploadista/ws/"
UNAUTHORIZED = 4001
LOOK = 60.0
"""Seconds of silence after which the log is looked at although nothing was heard."""
AGAIN = 1.0
"""Seconds between two looks at records that are away."""

MOMENT = 0.5
GONE = Bytes(None)

Kind = Literal["flow", "upload"]
T = TypeVar("T")


async def flow(call: Call) -> web.StreamResponse:
    """What becomes of a job; its id in the query, as `jobId`, is worth more than that in the path."""
    return await converse(call, _opened(call, "flow", _id(call, "jobId")), answered)


async def upload(call: Call) -> web.StreamResponse:
    """What becomes of an upload; its id in the query, as `uploadId`, is worth more than that in the path."""
    return await converse(call, _opened(call, "upload", _id(call, "uploadId")), answered)


async def nothing(call: Call) -> web.StreamResponse:
    """Whatever else lies there."""
    return await converse(call, _lost(), answered)


def answered(text: str | None) -> str | None:
    """A `ping` gets its `pong`, what is no message is told so, and any other is taken without a word."""
    try:
        said = orjson.loads(text or "")
    except orjson.JSONDecodeError:
        said = None
    if not isinstance(said, dict):
        return _written("error", message="Invalid message format")
    return _written("pong") if said.get("type") == "ping" else None


# Who may listen


async def _opened(call: Call, kind: Kind, id: str) -> Told:
    """What is told to who may hear it; anybody else learns why he may not."""
    tell = _of_job if kind == "flow" else _of_upload
    try:
        grant = await _until_there(lambda: _visitor(call, kind, id))
        async with aclosing(tell(call, grant, id)) as told:
            async for one in told:
                yield one
    except (KeyRequired, KeyInvalid, UploadistaRefused) as refusal:
        method = "token" if "token" in call.request.query else "cookies"
        yield _written("auth-failed", message=refusal.message, code="AUTH_FAILED", authMethod=method)
        yield Farewell(UNAUTHORIZED)
    except SafelightError as fault:
        yield _written("error", message=fault.message, code=code_of(fault))
        yield Farewell(WSCloseCode.OK)


async def _visitor(call: Call, kind: Kind, id: str) -> Grant:
    """Whom the token in the query, else the request, speaks for; raises what is wrong with it."""
    permission = "flow:status" if kind == "flow" else "upload:read"
    if (token := call.request.query.get("token")) is not None:
        grant = auth.checked(call, auth.of_bearer(call, token), permission)
        await call.core.records.rates.check(grant.project)
        return grant
    if call.request.match_info.get("id", "").lower() != id:
        return await auth.may(call, permission)
    return await (auth.for_job if kind == "flow" else auth.for_upload)(call, permission)


def _id(call: Call, name: str) -> str:
    return (call.request.query.get(name) or call.request.match_info.get("id", "")).lower()


# What they hear


async def _of_job(call: Call, grant: Grant, id: str) -> Told:
    run = await _until_there(lambda: _run(call, grant, id))
    yield _welcome("flow", jobId=id)

    async def outputs() -> Sequence[Document]:
        return await rows.outputs(call, await _until_there(lambda: call.core.records.runs.get(id)))

    tale = FlowTale(run, await _until_there(lambda: _flow(call, run)), outputs, _recording(call, grant))
    if run.status in ENDED and not await _until_there(lambda: call.core.events.read(run.project, id, limit=1)):
        for payload in await tale.ended(run):
            yield _envelope("flow_event", payload, run.finished_at or now())
        return
    async with aclosing(_followed(call, run.project, None, id)) as told:
        async for one in told:
            if isinstance(one, Event):
                async for payload in tale.of(one):
                    yield _envelope("flow_event", payload, one.at)
            if tale.over:
                return


async def _of_upload(call: Call, grant: Grant, id: str) -> Told:
    begun = await _until_there(lambda: uploads.record(call, grant, id))
    yield _welcome("upload", uploadId=id)
    tale, complete = UploadTale(begun, _recording(call, grant)), "url" in begun
    for payload in await tale.start(complete=complete):
        yield _envelope("upload_event", payload, now())
    if complete:
        return
    async with aclosing(_followed(call, grant.project.id, id, None)) as told:
        async for one in told:
            for event in await _why(call, grant, id) if one == GONE else [one]:
                for payload in await tale.of(event):
                    yield _envelope("upload_event", payload, event.at if isinstance(event, Event) else now())
            if tale.over:
                return


async def _why(call: Call, grant: Grant, id: str) -> Sequence[Event | Bytes]:
    """What is told of an upload that is gone, and that it is: why it was refused is on record a moment later."""
    await asyncio.sleep(MOMENT)
    return [*await _until_there(lambda: call.core.events.read(grant.project.id, id)), GONE]


async def _lost() -> Told:
    yield _written("invalid-path", message="There is no socket at this address.", expectedPrefix=PREFIX)
    yield Farewell(WSCloseCode.OK)


async def _run(call: Call, grant: Grant, id: str) -> Run:
    if not UUID.fullmatch(id):
        raise RunNotFound(id=id[:64])
    return await call.core.runs.get(grant, id)


async def _outputs(call: Call, id: str) -> Sequence[Document]:
    return await rows.outputs(call, await call.core.records.runs.get(id))


async def _flow(call: Call, run: Run) -> Flow | None:
    try:
        return await call.core.flows.of(run)
    except FlowNotFound:
        return None


def _recording(call: Call, grant: Grant) -> Callable[[str], Awaitable[Document | None]]:
    async def record(id: str) -> Document | None:
        try:
            return await _until_there(lambda: uploads.record(call, grant, id))
        except UploadNotFound:
            return None

    return record


async def _followed(
    call: Call, project: str, upload: str | None, run: str | None
) -> AsyncGenerator[Event | Bytes, None]:
    """Everything from the beginning on; records that are away hold it up and no more, for no client comes again."""
    after = "0"
    while True:
        try:
            async with aclosing(call.core.records.trails.follow(project, upload, run, after, LOOK)) as told:
                async for one in told:
                    if isinstance(one, Event):
                        after = one.id
                    if one is not None:
                        yield one
        except RecordsUnavailable:
            await asyncio.sleep(AGAIN)


async def _until_there(ask: Callable[[], Awaitable[T]]) -> T:
    """What `ask` comes to once the records are there."""
    while True:
        try:
            return await ask()
        except RecordsUnavailable:
            await asyncio.sleep(AGAIN)


# How it is written


def _welcome(kind: Kind, **ids: str) -> str:
    return _written("connection", message=f"Connected to the {kind}.", id=str(uuid4()), **ids)


def _envelope(kind: str, payload: Document, at: datetime) -> str:
    return orjson.dumps(envelope(kind, payload, at)).decode()


def _written(kind: str, **told: Any) -> str:
    return orjson.dumps({"type": kind, **told, "timestamp": moment(now())}).decode()
