"""What is refused, in the vendor's words: bare `{kind, message}`, or an envelope whose `error` says so."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson
from aiohttp import web

from pipeline import errors as ours
from pipeline.api.dialects.ittybit.versions import uploading, version_of
from pipeline.api.endpoint import ID, PROJECT
from pipeline.api.problems import RETRY_AFTER
from pipeline.api.voices import Voice
from pipeline.errors import SafelightError
from pipeline.vendors.ittybit.words import BARE, Document, org_id, project_id

TOO_LARGE = "Request Entity Too Large"

KINDS: Mapping[int, str] = {
    400: "bad_request",
    401: "unauthorized",
    403: "forbidden",
    404: "not_found",
    405: "method_not_allowed",
    408: "request_timeout",
    409: "conflict",
    410: "gone",
    413: "request_entity_too_large",
    416: "range_not_satisfiable",
    429: "rate_limit_exceeded",
    500: "internal_error",
    503: "service_unavailable",
}
"""The statuses that are answered with; another one is 400."""

SPELLED: Mapping[int, int] = {423: 409, 502: 400, 504: 503}


class BadRequest(SafelightError):
    code, status, sentence = "ITTYBIT_BAD_REQUEST", 400, "{reason}"


class Missing(SafelightError):
    code, status, sentence = "ITTYBIT_NOT_FOUND", 404, "{what} not found."


class UrlUnknown(SafelightError):
    code, status, sentence = "ITTYBIT_UPLOAD_URL_UNKNOWN", 404, "Upload URL not found."


class UrlExpired(SafelightError):
    code, status, sentence = "ITTYBIT_UPLOAD_URL_EXPIRED", 403, "This upload URL has expired."


class UrlUsed(SafelightError):
    code, status, sentence = "ITTYBIT_UPLOAD_URL_USED", 410, "This upload URL has already been used."


class EntityTooLarge(SafelightError):
    code, status, sentence = "ITTYBIT_TOO_LARGE", 413, TOO_LARGE


class MethodUnsigned(SafelightError):
    code, status, sentence = "ITTYBIT_METHOD_UNSIGNED", 403, "This URL is not signed for {method}."


class ConditionsUnmet(SafelightError):
    code, status, sentence = "ITTYBIT_CONDITIONS_UNMET", 400, "The file does not meet the conditions: {reason}."


def status_of(error: SafelightError) -> int:
    """The status that an error is told with."""
    status = SPELLED.get(error.status, error.status)
    return status if status in KINDS else 400 if status < 500 else 500


def message_of(error: SafelightError) -> str:
    """Its text."""
    if status_of(error) == 413:
        return TOO_LARGE
    return "Internal error." if error.status == 500 else error.message


class IttybitVoice(Voice):
    """Errors in the shape that the client's version has."""

    def version(self, request: web.Request) -> str:
        return version_of(request)

    def told(self, request: web.Request, error: SafelightError, request_id: str) -> web.Response:
        status = status_of(error)
        headers = {"Content-Type": "application/json", "Cache-Control": "no-store"}
        if status in (429, 503):
            headers["Retry-After"] = str(error.retry_after or RETRY_AFTER)
        if isinstance(error, ours.MethodNotAllowed):
            headers["Allow"] = error.facts["allowed"]
        version = self.version(request)
        told = {"kind": KINDS[status], "message": message_of(error)}
        if version < BARE:
            told = envelope(request, None, version, status, {"type": "error"}, error=told)
        return web.Response(status=status, body=orjson.dumps(told), headers=headers)


class UploadVoice(IttybitVoice):
    """The same for upload addresses, whose pages read `error` of an envelope."""

    def version(self, request: web.Request) -> str:
        return uploading(request)


VOICE = IttybitVoice()
UPLOAD_VOICE = UploadVoice()


def envelope(
    request: web.Request,
    data: Any,
    version: str,
    status: int,
    meta: Mapping[str, Any],
    links: Mapping[str, Any] | None = None,
    error: Mapping[str, Any] | None = None,
) -> Document:
    """What is answered, and what is said about it: of which request, whether an object, a list or an error."""
    project, id = request.get(PROJECT), f"req_{request[ID].replace('-', '')}"
    told: Document = {
        "id": id,
        "request_id": id,
        "org_id": org_id(project.id) if project else None,
        "project_id": project_id(project.id) if project else None,
        "live_mode": True,
        "method": request.method,
        "host": request.host,
        "path": request.path.removeprefix("/ittybit") or "/",
        "version": version,
        "status": status,
        "object": meta.get("type"),
        **meta,
    }
    return {"meta": told, "data": data, "error": error, "links": dict(links or {})}
