"""Errors in the vendor's words: always `{message, help}` with its statuses, and never one that invites a vain retry.

Its clients try 408, 409, 429 and 5xx again by themselves, which would upload a file twice; so what a user did wrong is
a 400 (Upload API reference, section Errors), and `x-should-retry` says of the rest whether trying again can help.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson
from aiohttp import web

from pipeline import errors as ours
from pipeline.api.endpoint import ID
from pipeline.api.problems import RETRY_AFTER
from pipeline.api.voices import Voice
from pipeline.errors import SafelightError

HELP = "What this server speaks of ImageKit, and what not, is told in its docs/dialects/imagekit.md."
INTERVAL = 60_000
"""Milliseconds over which requests are counted."""
TRIED_AGAIN = frozenset({408, 409, 429})
"""Statuses below 500 that clients try again by themselves."""

NO_KEY = "Your request does not contain private API key."
UNKNOWN_KEY = "Your account cannot be authenticated."
NO_FILE = "Your request is missing file parameter."
TOO_LARGE = "Your request contains invalid file parameter. The file size exceeds limits."
UNREADABLE_FORM = "Your request contains invalid multipart form data."

Row = tuple[int, str]

OURS: Mapping[type[SafelightError], Row] = {
    ours.RouteNotFound: (404, "Requested resource could not be found."),
    ours.MethodNotAllowed: (405, "This method is not allowed for the requested resource."),
    ours.KeyRequired: (401, NO_KEY),
    ours.KeyInvalid: (403, UNKNOWN_KEY),
    ours.RateExceeded: (429, "You have exceeded the rate limit for this API."),
    ours.FileNotFound: (404, "The requested asset does not exist."),
    ours.VersionsTooMany: (400, "A file can have a maximum of 100 versions."),
    ours.BodyEmpty: (400, NO_FILE),
    ours.FileEmpty: (400, "Your request contains invalid file parameter. The file is empty."),
    ours.FileTooLarge: (400, TOO_LARGE),
    ours.ScanTooLarge: (400, TOO_LARGE),
    ours.MultipartBroken: (400, UNREADABLE_FORM),
    ours.BodyTypeUnsupported: (400, UNREADABLE_FORM),
    ours.FetchesTooMany: (429, "Too many files are being downloaded for this account; try again shortly."),
}
"""Status and text of our errors where the vendor has its own; the nearest class in an error's line counts."""

PASSED = frozenset({401, 403, 404, 405, 408, 429})
"""Statuses of ours below 500 that mean the same there; what else the caller did wrong is a 400."""
BUSY: tuple[type[SafelightError], ...] = (ours.UploadBusy, ours.UploadTakenOver)
"""What is over in a moment and nobody's fault."""


class ImagekitRefused(SafelightError):
    """What the vendor has words for and the house no error; `status` and `more` of the document are among the facts."""

    code, status, sentence = "IMAGEKIT_REFUSED", 400, "{text}"


def refused(text: str, status: int = 400, **more: Any) -> ImagekitRefused:
    """An error with this message; `more` stands in the document beside it, such as `reason`."""
    return ImagekitRefused(text=text, answered=status, more=more)


def invalid(field: str, why: str = "") -> ImagekitRefused:
    """The error of a field of a form that cannot be used."""
    return refused(f"Your request contains invalid {field} parameter.{f' {why}' if why else ''}")


def missing(field: str) -> ImagekitRefused:
    """The error of a field that has to be there."""
    return refused(f"Your request is missing {field} parameter.")


def row_of(error: SafelightError) -> Row:
    """Status and message that an error is told with."""
    if isinstance(error, ImagekitRefused):
        return error.facts.get("answered", error.status), error.message
    if isinstance(error, BUSY):
        return 503, error.message
    for kind in type(error).__mro__:
        if issubclass(kind, SafelightError) and kind in OURS:
            return OURS[kind]
    return error.status if error.status in PASSED or error.status >= 500 else 400, error.message


class ImagekitVoice(Voice):
    """A document with `message` and `help` for whatever goes wrong; clients read both unguarded."""

    def told(self, request: web.Request, error: SafelightError, request_id: str) -> web.Response:
        status, message = row_of(error)
        document = {"message": message, "help": HELP, **error.facts.get("more", {})}
        headers = {"Cache-Control": "no-store", **_headers(error, status)}
        return web.Response(
            status=status, body=orjson.dumps(document), content_type="application/json", headers=headers
        )

    def headers(self, request: web.Request) -> Mapping[str, str]:
        return {"x-ik-requestId": request.get(ID, "")}


VOICE = ImagekitVoice()


def _headers(error: SafelightError, status: int) -> dict[str, str]:
    headers: dict[str, str] = {}
    again = error.retryable or status in (429, 503)
    if status in TRIED_AGAIN or status >= 500:
        headers["x-should-retry"] = "true" if again else "false"
    if again and status in (429, 503):
        headers["Retry-After"] = str(error.retry_after or RETRY_AFTER)
    if isinstance(error, ours.RateExceeded):
        headers["X-RateLimit-Limit"] = str(error.facts["limit"])
        headers["X-RateLimit-Reset"] = str(error.facts["seconds"] * 1000)
        headers["X-RateLimit-Interval"] = str(INTERVAL)
    if isinstance(error, ours.MethodNotAllowed):
        headers["Allow"] = error.facts["allowed"]
    return headers
