"""How the REST API tells of errors: `{"detail": ...}`, or a list of complaints for each field."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson
from aiohttp import web

from pipeline import errors as ours
from pipeline.api.problems import RETRY_AFTER
from pipeline.api.voices import Voice
from pipeline.errors import SafelightError


class Unauthorized(SafelightError):
    code, status, sentence = "UPLOADCARE_UNAUTHORIZED", 401, "{reason}"


class NotAcceptable(SafelightError):
    code, status = "UPLOADCARE_NOT_ACCEPTABLE", 406
    sentence = "Could not satisfy the request Accept header."


class Conflict(SafelightError):
    code, status, sentence = "UPLOADCARE_CONFLICT", 409, "{reason}"


class Complaints(SafelightError):
    """What is wrong with the fields of a request; `fields` is told as it is."""

    code, status, sentence = "UPLOADCARE_COMPLAINTS", 400, "The request is not sound."


class RestVoice(Voice):
    """The status that REST clients look at, and a JSON document whose type has no charset."""

    def told(self, request: web.Request, error: SafelightError, request_id: str) -> web.Response:
        status = 404 if error.status in (404, 410) else error.status if error.status != 422 else 400
        headers = {"Content-Type": "application/json", "Cache-Control": "no-store"}
        if status in (429, 503):
            headers["Retry-After"] = str(error.retry_after or RETRY_AFTER)
        if isinstance(error, ours.MethodNotAllowed):
            headers["Allow"] = error.facts["allowed"]
        if status == 401:
            headers["WWW-Authenticate"] = "Uploadcare"
        return web.Response(status=status, body=orjson.dumps(_document(request, error, status)), headers=headers)


def _document(request: web.Request, error: SafelightError, status: int) -> Mapping[str, Any]:
    if isinstance(error, Complaints):
        fields: Mapping[str, Any] = error.facts["fields"]
        return fields
    if isinstance(error, ours.RateExceeded):
        return {"detail": f"Request was throttled. Expected available in {error.facts['seconds']} seconds."}
    if isinstance(error, ours.MethodNotAllowed):
        return {"detail": f'Method "{request.method}" not allowed.'}
    if status == 404:
        return {"detail": "Not found."}
    return {"detail": "Internal error." if status == 500 else error.message}


def complaint(field: str, text: str) -> Complaints:
    """What is wrong with one field."""
    return Complaints(fields={field: [text]})
