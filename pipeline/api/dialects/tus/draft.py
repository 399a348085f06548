"""The IETF's draft of resumable uploads (draft-ietf-httpbis-resumable-upload), where it shares the verbs of tus.

Unlike in tus an upload ends when a request says so (`Upload-Complete: ?1`), whatever its length; its fields are
structured (RFC 9651), and a field with another type of value counts as not sent.
"""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from typing import Any

from aiohttp import web

from pipeline.api.dialects.native.files import file_shape
from pipeline.api.dialects.tus import claims
from pipeline.api.dialects.tus.acts import counted
from pipeline.api.dialects.tus.speech import DRAFT_SPOKEN, TusVoice, became, largest, location, offered
from pipeline.api.endpoint import Call
from pipeline.api.problems import problem
from pipeline.disposition import disposition_name
from pipeline.errors import (
    BodyTooLong,
    BodyTypeUnsupported,
    FileTooLarge,
    OffsetMismatch,
    RequestInvalid,
    SafelightError,
    SizeInconsistent,
    UploadBusy,
    UploadComplete,
    UploadExpired,
    UploadNotFound,
)
from pipeline.model import Upload, now
from pipeline.uploads.growing import Grown, Stretch

BYTES = "application/partial-upload"
INTEROP = "8"
"""Of the draft; its numbers fall away with the RFC."""
PROBLEM = "https://iana.org/assignments/http-problem-types#"
INCONSISTENT = (BodyTooLong, SizeInconsistent)
UNFINISHED = (OffsetMismatch, UploadNotFound, UploadExpired, UploadBusy, RequestInvalid, BodyTypeUnsupported)
"""Errors of an upload, not of what all its bytes together are."""

_BOOLEAN = re.compile(r" *\?([01])(?:;.*)? *", re.ASCII)
_INTEGER = re.compile(r" *(\d{1,15})(?:;.*)? *", re.ASCII)


class DraftVoice(TusVoice):
    """As tus, and for the draft with the problem types and fields that it names."""

    def told(self, request: web.Request, error: SafelightError, request_id: str) -> web.Response:
        if DRAFT_SPOKEN not in request:
            return super().told(request, error, request_id)
        answer = problem(error, request_id, 400 if isinstance(error, INCONSISTENT) else None, _type_of(error))
        if isinstance(error, OffsetMismatch):
            answer.headers["Upload-Offset"] = str(error.facts["expected"])
            answer.headers["Upload-Complete"] = "?0"
        elif _is_last(request) and not error.retryable and not isinstance(error, (*UNFINISHED, *INCONSISTENT)):
            answer.headers["Upload-Complete"] = "?1"
        if isinstance(error, FileTooLarge):
            answer.headers["Upload-Limit"] = f"max-size={error.facts['limit']}"
        return answer


def _type_of(error: SafelightError) -> dict[str, Any]:
    if isinstance(error, OffsetMismatch):
        offsets = {"expected-offset": error.facts["expected"], "provided-offset": error.facts["given"]}
        return {"type": f"{PROBLEM}mismatching-upload-offset", **offsets}
    if isinstance(error, INCONSISTENT):
        return {"type": f"{PROBLEM}inconsistent-upload-length"}
    return {"type": f"{PROBLEM}completed-upload"} if isinstance(error, UploadComplete) else {}


async def options(call: Call) -> web.Response:
    headers = {"Accept-Patch": BYTES, "Upload-Limit": f"max-size={largest(call)}"}
    return web.Response(status=204, headers=offered(call) | headers)


async def create(call: Call) -> web.Response:
    """A new upload, told of before its bytes are read so that it can be gone on with whatever becomes of this."""
    last = _is_last(call.request)
    if last is None:
        raise RequestInvalid(reason="Send `Upload-Complete: ?1`, or `?0` when more will come, or `Tus-Resumable`.")
    size = _size(call, 0, last)
    told = claims.intake(call, size, {claims.DRAFT: INTEROP})
    name = disposition_name(call.header("Content-Disposition") or "")
    declared = call.request.content_type if call.header("Content-Type") not in (None, BYTES) else None
    claimed = {"name": name or told.name, "declared_type": told.declared_type or declared}
    upload = await call.core.growing.begin(call.grant, told.model_copy(update=claimed))
    place = {"Location": location(call, upload.id), "Upload-Limit": _limits(call, upload)}
    stretch = Stretch(0, call.request.content_length if call.request.body_exists else 0, last=last)
    async with aclosing(_informed(call, place)) as body:
        grown = await counted(call, call.core.growing.extend(call.grant, upload.id, stretch, body))
    return _answer(call, grown, place)


async def _informed(call: Call, place: Mapping[str, str]) -> AsyncGenerator[bytes, None]:
    """The body, of which nothing is read before the client knows the place.

    It is told in this request's turn: whoever asked for the offset before that would not end this request, and hear of
    an offset that still moves.
    """
    await call.body.inform("104 Upload Resumption Supported", {**place, "Upload-Draft-Interop-Version": INTEROP})
    async for chunk in call.body:
        yield chunk


async def ask(call: Call) -> web.Response:
    if "Upload-Offset" in call.request.headers or "Upload-Complete" in call.request.headers:
        raise RequestInvalid(reason="To ask for the offset, send neither Upload-Offset nor Upload-Complete.")
    grown = await call.core.growing.standing(call.grant, call.id(UploadNotFound), settle=False)
    if grown.file is None and claims.DRAFT not in grown.upload.intake.marks:
        grown = await call.core.growing.standing(call.grant, grown.upload.id)
    headers = {**_standing(grown), "Upload-Limit": _limits(call, grown.upload), "Cache-Control": "no-store"}
    if grown.upload.intake.declared_size is not None:
        headers["Upload-Length"] = str(grown.upload.intake.declared_size)
    if grown.file is not None:
        headers |= became(call, grown.file, grown.upload.run)
    return web.Response(status=204, headers=headers)


async def go_on(call: Call) -> web.Response:
    if call.request.content_type != BYTES:
        raise BodyTypeUnsupported(found=call.request.content_type, expected=BYTES)
    id, offset, last = call.id(UploadNotFound), _integer(call, "Upload-Offset"), _is_last(call.request)
    if offset is None or last is None:
        raise RequestInvalid(reason="Send Upload-Offset, a number of bytes, and Upload-Complete, `?1` or `?0`.")
    length = call.request.content_length if call.request.body_exists else 0
    stretch = Stretch(offset, length, _size(call, offset, last), last)
    grown = await counted(call, call.core.growing.extend(call.grant, id, stretch, call.body))
    if grown.before:
        raise UploadComplete(id=id)
    return _answer(call, grown)


def _answer(call: Call, grown: Grown, place: Mapping[str, str] | None = None) -> web.Response:
    """What a plain upload would have been answered with, once the file is there."""
    headers = {**_standing(grown), **(place or {})}
    if grown.file is None:
        return web.Response(status=201 if place else 204, headers=headers)
    headers |= became(call, grown.file, grown.upload.run)
    text = file_shape(call, grown.file).model_dump_json().encode()
    return web.Response(status=201, body=text, headers=headers, content_type="application/json")


def _standing(grown: Grown) -> dict[str, str]:
    complete = "?0" if grown.file is None else "?1"
    return {"Upload-Offset": str(grown.upload.offset), "Upload-Complete": complete}


def _limits(call: Call, upload: Upload) -> str:
    age = max(0, int((upload.expires_at - now()).total_seconds()))
    return f"max-size={largest(call)}, max-age={age}"


def _size(call: Call, offset: int, last: bool) -> int | None:
    """The whole length as it follows from the request; raises `SizeInconsistent` when two sayings disagree."""
    told, rest = _integer(call, "Upload-Length"), call.request.content_length
    if not call.request.body_exists:
        rest = 0
    ends = offset + rest if last and rest is not None else None
    if told is not None and ends is not None and told != ends:
        raise SizeInconsistent(id=call.request.match_info.get("id", ""), declared=told, given=ends)
    return told if ends is None else ends


def _is_last(request: web.Request) -> bool | None:
    match = _BOOLEAN.fullmatch(request.headers.get("Upload-Complete", ""))
    return match.group(1) == "1" if match else None


def _integer(call: Call, name: str) -> int | None:
    match = _INTEGER.fullmatch(call.header(name) or "")
    return int(match.group(1)) if match else None
