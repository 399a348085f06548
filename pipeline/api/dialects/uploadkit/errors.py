"""Errors in the vendor's words, of which there are three kinds, and in S3's at the addresses that take bytes.

The reference page has `{error: "<text>", code}`, for who sends `x-api-key`. The shipped server and SDK have
`{error: {type, code, message, suggestion, details}}`, for who sends a Bearer key; the handler that pages talk to has
the same with some codes of its own. Statuses and codes differ too: `TABLE`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple
from xml.sax.saxutils import escape

import orjson
from aiohttp import web

from pipeline import errors as ours
from pipeline.api.problems import asked_headers
from pipeline.api.voices import Voice
from pipeline.errors import SafelightError

KEY_HEADER = "x-api-key"
Kind = Literal["page", "sdk", "handler"]
"""Who is told: a client of the reference page, one of the shipped server, or a page that talks to the handler."""


class Word(NamedTuple):
    """A code and the status it comes with."""

    code: str
    status: int


class Words(NamedTuple):
    """One thing that can go wrong, as each kind of client knows it."""

    page: Word
    sdk: Word
    handler: Word


def _same(code: str, status: int) -> Words:
    return Words(*(Word(code, status),) * 3)


TABLE: Mapping[str, Words] = {
    "key": _same("UNAUTHORIZED", 401),
    "body": _same("VALIDATION_ERROR", 400),
    "missing": _same("NOT_FOUND", 404),
    "route": Words(Word("NOT_FOUND", 404), Word("NOT_FOUND", 404), Word("ROUTE_NOT_FOUND", 404)),
    "size": Words(Word("FILE_TOO_LARGE", 403), Word("TIER_LIMIT_EXCEEDED", 403), Word("FILE_TOO_LARGE", 413)),
    "type": Words(Word("INVALID_FILE_TYPE", 403), Word("INVALID_FILE_TYPE", 400), Word("INVALID_FILE_TYPE", 415)),
    "content": Words(Word("FILE_REJECTED", 403), Word("FILE_REJECTED", 400), Word("FILE_REJECTED", 400)),
    "room": _same("TIER_LIMIT_EXCEEDED", 403),
    "storage": _same("FILE_NOT_IN_STORAGE", 422),
    "parts": _same("INVALID_PART", 400),
    "small": _same("FILE_TOO_SMALL_FOR_MULTIPART", 400),
    "twice": _same("DUPLICATE_SLUG", 409),
    "settings": _same("MANAGED_BY_SETTINGS", 400),
    "action": _same("UNKNOWN_ACTION", 400),
    "signature": _same("INVALID_SIGNATURE", 403),
    "rate": _same("RATE_LIMITED", 429),
    "method": _same("METHOD_NOT_ALLOWED", 405),
    "no picture": _same("UNSUPPORTED_TRANSFORM_TYPE", 415),
    "transform": _same("INVALID_TRANSFORM_URL", 400),
    "transform signature": _same("INVALID_TRANSFORM_SIGNATURE", 403),
    "transform expired": _same("TRANSFORM_URL_EXPIRED", 403),
    "busy": _same("TEMPORARILY_UNAVAILABLE", 503),
    "fault": Words(Word("INTERNAL_ERROR", 500), Word("INTERNAL_ERROR", 500), Word("HANDLER_ERROR", 500)),
}
"""Every code and status that is told, but for errors of ours that the vendor has no word for: those keep our code."""

OURS: Mapping[type[SafelightError], str] = {
    ours.KeyRequired: "key",
    ours.KeyInvalid: "key",
    ours.RequestInvalid: "body",
    ours.BodyEmpty: "body",
    ours.BodyTimeout: "body",
    ours.BodyTooSlow: "body",
    ours.CursorInvalid: "body",
    ours.EncodingUnsupported: "body",
    ours.MetadataInvalid: "body",
    ours.PartSizeInvalid: "body",
    ours.FileNotFound: "missing",
    ours.RouteNotFound: "missing",
    ours.SheetNotFound: "missing",
    ours.StorageKeyNotFound: "missing",
    ours.UploadExpired: "missing",
    ours.UploadNotFound: "missing",
    ours.UploadWayWrong: "missing",
    ours.RouteUnknown: "route",
    ours.FileTooLarge: "size",
    ours.ScanTooLarge: "size",
    ours.SvgRefused: "type",
    ours.TypeMismatch: "type",
    ours.TypeNotAllowed: "type",
    ours.FileInfected: "content",
    ours.FileTooSmall: "content",
    ours.ImageSizeUnknown: "content",
    ours.ImageTooLarge: "content",
    ours.ImageTooSmall: "content",
    ours.ImageUnreadable: "content",
    ours.SvgInvalid: "content",
    ours.QuotaExceeded: "room",
    ours.BodyIncomplete: "storage",
    ours.PartsMissing: "storage",
    ours.PartNumberInvalid: "parts",
    ours.PartSizeWrong: "parts",
    ours.PartTagWrong: "parts",
    ours.PartTooSmall: "parts",
    ours.SheetExists: "twice",
    ours.SignatureExpired: "signature",
    ours.SignatureInvalid: "signature",
    ours.SignatureRequired: "signature",
    ours.TokenUsed: "signature",
    ours.RateExceeded: "rate",
    ours.MethodNotAllowed: "method",
    ours.DerivativePending: "busy",
    ours.UploadBusy: "busy",
    ours.UploadTakenOver: "busy",
    ours.Internal: "fault",
}
"""Which row of the table an error of ours is; the nearest class in its line counts."""

TEXTS: Mapping[str, str] = {
    "key": "Invalid or missing API key",
    "fault": "An unexpected error occurred",
    "storage": "File not found in storage. Upload may not have completed.",
}
"""What is told instead of our own sentence."""
SUGGESTIONS: Mapping[str, str] = {
    "key": "Send a key of the project as `Authorization: Bearer uk_live_...` or as `x-api-key`.",
    "settings": "Change it in the settings of this server.",
}
TYPES: Mapping[int, str] = {401: "authentication_error", 429: "rate_limit_error"}
"""Of an error, by its status; any other below 500 is an `invalid_request`."""


class UploadkitRefused(SafelightError):
    """What has a row of the table and is no error of the house; `details` are what is wrong by field."""

    code, status, sentence = "UPLOADKIT_REFUSED", 400, "{text}"


def refused(row: str, text: str, details: Mapping[str, Sequence[str]] | None = None) -> UploadkitRefused:
    """The error of a row of the table."""
    return UploadkitRefused(row=row, text=text, details=details)


def invalid(details: Mapping[str, Sequence[str]]) -> UploadkitRefused:
    """The error of a body or query whose fields are not sound."""
    return refused("body", "Invalid request body", details)


class Told(NamedTuple):
    """What an error is told as."""

    code: str
    status: int
    text: str
    suggestion: str | None = None
    details: Mapping[str, Sequence[str]] | None = None


def told_of(error: SafelightError, kind: Kind) -> Told:
    """What a client of this kind is told of an error."""
    row, details = _row_of(error), error.facts.get("details")
    if row is None:
        status = error.status if error.status >= 500 or error.status in (401, 403, 404, 409) else 400
        return Told(error.code, status, error.message)
    word = getattr(TABLE[row], kind)
    text = TEXTS.get(row, error.message)
    if isinstance(error, ours.RateExceeded):
        text = f"Rate limit exceeded. Try again in {error.facts['seconds']} seconds."
    if isinstance(error, ours.CursorInvalid | ours.MetadataInvalid):
        field = "cursor" if isinstance(error, ours.CursorInvalid) else "metadata"
        text, details = "Invalid request body", {field: [error.message]}
    return Told(word.code, word.status, text, SUGGESTIONS.get(row), details)


def _row_of(error: SafelightError) -> str | None:
    if isinstance(error, UploadkitRefused):
        row: str = error.facts["row"]
        return row
    kinds = (kind for kind in type(error).__mro__ if issubclass(kind, SafelightError))
    return next((OURS[kind] for kind in kinds if kind in OURS), None)


class ApiVoice(Voice):
    """In the words that the key of a request asks for, or always in those of one `kind`."""

    def __init__(self, kind: Kind | None = None) -> None:
        self._kind = kind

    def told(self, request: web.Request, error: SafelightError, request_id: str) -> web.Response:
        kind = self._kind or kind_of(request)
        told = told_of(error, kind)
        document = _flat(told) if kind == "page" else _nested(told)
        headers = {"Cache-Control": "no-store", **_headers(error, told.status)}
        return web.Response(
            status=told.status, body=orjson.dumps(document), content_type="application/json", headers=headers
        )


VOICE = ApiVoice()


def kind_of(request: web.Request) -> Kind:
    """Which client this is: only the SDK's sends a Bearer key."""
    is_sdk = KEY_HEADER not in request.headers and "Authorization" in request.headers
    return "sdk" if is_sdk else "page"


def _flat(told: Told) -> Mapping[str, Any]:
    faults = "; ".join(f"{field}: {' '.join(texts)}" for field, texts in (told.details or {}).items())
    return {"error": f"{told.text}: {faults}" if faults else told.text, "code": told.code}


def _nested(told: Told) -> Mapping[str, Any]:
    type = TYPES.get(told.status, "api_error" if told.status >= 500 else "invalid_request")
    more = {"suggestion": told.suggestion, "details": told.details}
    error = {"type": type, "code": told.code, "message": told.text}
    return {"error": error | {name: value for name, value in more.items() if value}}


def _headers(error: SafelightError, status: int) -> dict[str, str]:
    headers = asked_headers(error, status)
    if isinstance(error, ours.RateExceeded):
        headers |= {"X-RateLimit-Limit": str(error.facts["limit"]), "X-RateLimit-Remaining": "0"}
    return headers


# S3's words

MISMATCH = Word("SignatureDoesNotMatch", 403)
DENIED = Word("AccessDenied", 403)
S3: Mapping[type[SafelightError], Word] = {
    ours.SignatureInvalid: MISMATCH,
    ours.PutTypeWrong: MISMATCH,
    ours.PutLengthWrong: MISMATCH,
    ours.BodyTooLong: MISMATCH,
    ours.PartSizeWrong: MISMATCH,
    ours.SignatureExpired: DENIED,
    ours.UploadNotFound: DENIED,
    ours.UploadExpired: DENIED,
    ours.UploadWayWrong: DENIED,
    ours.BodyIncomplete: Word("IncompleteBody", 400),
    ours.RequestInvalid: Word("IncompleteBody", 400),
    ours.BodyTimeout: Word("RequestTimeout", 400),
    ours.BodyTooSlow: Word("RequestTimeout", 400),
    ours.MethodNotAllowed: Word("MethodNotAllowed", 405),
    ours.UploadBusy: Word("SlowDown", 503),
    ours.UploadTakenOver: Word("SlowDown", 503),
}
"""Codes of the S3 API reference, section Error responses, and their statuses; the nearest class of an error counts."""
S3_TEXTS: Mapping[Word, str] = {
    MISMATCH: "The request signature we calculated does not match the signature you provided. Type and length of the "
    "body are part of it.",
}


class StorageVoice(Voice):
    """An XML document as S3 answers with."""

    def told(self, request: web.Request, error: SafelightError, request_id: str) -> web.Response:
        word = _s3_word(error)
        text = "Request has expired" if isinstance(error, ours.SignatureExpired) else error.message
        text = S3_TEXTS.get(word, text)
        body = (
            '<?xml version="1.0" encoding="UTF-8"?>\n'
            f"<Error><Code>{word.code}</Code><Message>{escape(text)}</Message>"
            f"<RequestId>{escape(request_id)}</RequestId></Error>"
        )
        headers = {"Cache-Control": "no-store", **_headers(error, word.status)}
        return web.Response(status=word.status, text=body, content_type="application/xml", headers=headers)


def _s3_word(error: SafelightError) -> Word:
    for kind in type(error).__mro__:
        if issubclass(kind, SafelightError) and kind in S3:
            return S3[kind]
    if error.status < 500:
        return Word("InvalidRequest", 400)
    return Word("ServiceUnavailable", 503) if error.retryable else Word("InternalError", 500)
