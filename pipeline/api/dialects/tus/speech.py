"""How tus tells of things: its own status for some errors, and the headers in which it says how an upload stands."""

from __future__ import annotations

from collections.abc import Mapping
from email.utils import format_datetime

from aiohttp import web

from pipeline.api.addresses import content_url
from pipeline.api.dialects.tus.claims import CONCAT, METADATA
from pipeline.api.endpoint import Call
from pipeline.api.problems import problem
from pipeline.api.voices import Voice
from pipeline.errors import (
    BodyIncomplete,
    BodyTooLong,
    ChecksumMismatch,
    OffsetMismatch,
    ProtocolUnknown,
    SafelightError,
)
from pipeline.model import File, Upload
from pipeline.uploads.checking import ALGORITHMS
from pipeline.uploads.growing import Grown

VERSION = "1.0.0"
EXTENSIONS = (
    "creation",
    "creation-with-upload",
    "creation-defer-length",
    "expiration",
    "checksum",
    "termination",
    "concatenation",
)
STATUSES: Mapping[type[SafelightError], int] = {ChecksumMismatch: 460, BodyTooLong: 413, BodyIncomplete: 400}
"""Where tus wants another status than the error's own."""
DRAFT_SPOKEN = web.RequestKey("draft_spoken", bool)
"""Whether a request is one of the IETF's draft."""


class TusVoice(Voice):
    """Problem documents, with the statuses and headers of tus 1.0."""

    def told(self, request: web.Request, error: SafelightError, request_id: str) -> web.Response:
        status = next((status for kind, status in STATUSES.items() if isinstance(error, kind)), error.status)
        answer = problem(error, request_id, status)
        if isinstance(error, ProtocolUnknown):
            answer.headers["Tus-Version"] = VERSION
        if isinstance(error, OffsetMismatch):
            answer.headers["Upload-Offset"] = str(error.facts["expected"])
        return answer

    def headers(self, request: web.Request) -> Mapping[str, str]:
        silent = request.method == "OPTIONS" or DRAFT_SPOKEN in request
        return {} if silent else {"Tus-Resumable": VERSION}


def offered(call: Call) -> dict[str, str]:
    """What is spoken here, and up to what size: the caller's limit, or for a stranger the largest of any project."""
    return {
        "Tus-Version": VERSION,
        "Tus-Extension": ",".join(EXTENSIONS),
        "Tus-Max-Size": str(largest(call)),
        "Tus-Checksum-Algorithm": ",".join(ALGORITHMS),
    }


def largest(call: Call) -> int:
    """The most bytes a file of the caller's may have."""
    projects = [call.visitor.project] if call.visitor else list(call.core.settings.projects.values())
    return max((project.limits.max_file_size for project in projects), default=0)


def location(call: Call, id: str) -> str:
    """Where an upload is gone on with: a path, unless it is set how the world reaches us; proxies can rename hosts."""
    return f"{call.base_url if call.core.settings.public_url else ''}/tus/{id}"


def standing(call: Call, grown: Grown) -> dict[str, str]:
    """How far it has come, when it expires, and what it has become."""
    told = {"Upload-Offset": str(grown.upload.offset)}
    if grown.file is None:
        told["Upload-Expires"] = format_datetime(grown.upload.expires_at, usegmt=True)
        return told
    return told | became(call, grown.file, grown.upload.run)


def described(upload: Upload) -> dict[str, str]:
    """What it was begun with."""
    marks, size = upload.intake.marks, upload.intake.declared_size
    told = {"Upload-Defer-Length": "1"} if size is None else {"Upload-Length": str(size)}
    if marks.get(METADATA):
        told["Upload-Metadata"] = marks[METADATA]
    if marks.get(CONCAT):
        told["Upload-Concat"] = marks[CONCAT]
    return told


def became(call: Call, file: File, run: str | None) -> dict[str, str]:
    """The file, where it is fetched, and the run that was started with it.

    A private file's signed address is told to those with an API key only: a page may know the id of any upload.
    """
    told = {"Safelight-File": file.id}
    if not file.private or call.header("Authorization"):
        told["Safelight-Url"] = content_url(call, file.id, file.project, private=file.private)
    return told | ({"Safelight-Run": run} if run else {})
