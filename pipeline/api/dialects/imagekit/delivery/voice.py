"""How delivery tells of errors: a status, one sentence, and both with a code in the header `ik-error`."""

from __future__ import annotations

import re
from collections.abc import Mapping

from aiohttp import web

from pipeline.api.dialects.imagekit.errors import OURS as WORDS
from pipeline.api.endpoint import ID
from pipeline.api.problems import asked_headers
from pipeline.api.voices import Voice
from pipeline.errors import (
    FileNotFound,
    SafelightError,
    SignatureExpired,
    SignatureInvalid,
    SignatureRequired,
)

LONGEST = 300
"""Characters of the header."""
SIGNING = (SignatureInvalid, SignatureExpired, SignatureRequired)


class DeliveryVoice(Voice):
    """404 for what is not there or not published, 401 for what a signature has to open, 400 for what cannot be made."""

    def told(self, request: web.Request, error: SafelightError, request_id: str) -> web.Response:
        message = _message(error)
        headers = {"Cache-Control": "no-store", "ik-error": _line(f"{error.code} - {message}")}
        headers |= asked_headers(error, error.status)
        return web.Response(status=_status(error), text=f"{message}\n", headers=headers)

    def headers(self, request: web.Request) -> Mapping[str, str]:
        return {"x-ik-requestId": request.get(ID, "")}


def _message(error: SafelightError) -> str:
    if isinstance(error, SignatureRequired):
        return "This file is private; its address has to be signed."
    return WORDS[FileNotFound][1] if isinstance(error, FileNotFound) else error.message


def _status(error: SafelightError) -> int:
    if isinstance(error, SIGNING):
        return 401
    if error.status in (404, 410):
        return 404
    return 400 if error.status in (409, 413, 415, 422) else error.status


def _line(text: str) -> str:
    """A text as a header can hold it."""
    return re.sub(r"[^\x20-\x7e]+", "?", text)[:LONGEST]
