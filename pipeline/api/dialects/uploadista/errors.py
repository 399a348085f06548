"""Errors in the vendor's words: its codes with their statuses, the text both as `error` and as `message`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson
from aiohttp import web

from pipeline import errors as ours
from pipeline.api.problems import CHALLENGE, RETRY_AFTER
from pipeline.api.voices import Voice
from pipeline.errors import SafelightError
from pipeline.model import now
from pipeline.vendors.uploadista import moment

TABLE: Mapping[str, int] = {
    "ABORTED": 400,
    "INVALID_TERMINATION": 400,
    "INVALID_LENGTH": 400,
    "VALIDATION_ERROR": 400,
    "CHECKSUM_MISMATCH": 400,
    "MIMETYPE_MISMATCH": 400,
    "VIRUS_DETECTED": 400,
    "FLOW_JOB_ERROR": 400,
    "FLOW_INPUT_VALIDATION_ERROR": 400,
    "AUTHENTICATION_REQUIRED": 401,
    "FLOW_NOT_AUTHORIZED": 401,
    "STORAGE_NOT_AUTHORIZED": 401,
    "QUOTA_EXCEEDED": 402,
    "PERMISSION_DENIED": 403,
    "ORGANIZATION_MISMATCH": 403,
    "NOT_FOUND": 404,
    "FILE_NOT_FOUND": 404,
    "FLOW_NOT_FOUND": 404,
    "FLOW_JOB_NOT_FOUND": 404,
    "QUEUE_ITEM_NOT_FOUND": 404,
    "METHOD_NOT_ALLOWED": 405,
    "INVALID_OFFSET": 409,
    "FLOW_PAUSED": 409,
    "FLOW_CANCELLED": 409,
    "FILE_NO_LONGER_EXISTS": 410,
    "ERR_SIZE_EXCEEDED": 413,
    "ERR_MAX_SIZE_EXCEEDED": 413,
    "UNSUPPORTED_CONTENT_TYPE": 415,
    "UPLOAD_LOCKED": 423,
    "RATE_LIMITED": 429,
    "DATASTORE_NOT_FOUND": 500,
    "VIRUS_SCAN_FAILED": 500,
    "UNKNOWN_ERROR": 500,
    "FILE_WRITE_ERROR": 503,
    "CIRCUIT_BREAKER_OPEN": 503,
    "UNAVAILABLE": 503,
}
"""Every code that is told with its status."""

OURS: Mapping[type[SafelightError], str] = {
    ours.KeyRequired: "AUTHENTICATION_REQUIRED",
    ours.KeyInvalid: "AUTHENTICATION_REQUIRED",
    ours.KeyNotAdmin: "PERMISSION_DENIED",
    ours.RequestInvalid: "VALIDATION_ERROR",
    ours.BodyEmpty: "VALIDATION_ERROR",
    ours.CursorInvalid: "VALIDATION_ERROR",
    ours.NameInvalid: "VALIDATION_ERROR",
    ours.ParamsInvalid: "FLOW_INPUT_VALIDATION_ERROR",
    ours.SizeRequired: "INVALID_LENGTH",
    ours.SizeInconsistent: "INVALID_LENGTH",
    ours.BodyIncomplete: "ABORTED",
    ours.BodyTimeout: "ABORTED",
    ours.BodyTooSlow: "ABORTED",
    ours.UploadComplete: "INVALID_TERMINATION",
    ours.ChecksumMismatch: "CHECKSUM_MISMATCH",
    ours.TypeMismatch: "MIMETYPE_MISMATCH",
    ours.TypeNotAllowed: "MIMETYPE_MISMATCH",
    ours.SvgRefused: "MIMETYPE_MISMATCH",
    ours.FileInfected: "VIRUS_DETECTED",
    ours.ScannerUnavailable: "VIRUS_SCAN_FAILED",
    ours.QuotaExceeded: "QUOTA_EXCEEDED",
    ours.RouteNotFound: "NOT_FOUND",
    ours.FileNotFound: "FILE_NOT_FOUND",
    ours.UploadNotFound: "FILE_NOT_FOUND",
    ours.UploadWayWrong: "FILE_NOT_FOUND",
    ours.StorageKeyNotFound: "FILE_NOT_FOUND",
    ours.UploadExpired: "FILE_NO_LONGER_EXISTS",
    ours.FlowNotFound: "FLOW_NOT_FOUND",
    ours.FlowVersionNotFound: "FLOW_NOT_FOUND",
    ours.FlowPaused: "FLOW_PAUSED",
    ours.InputMissing: "FLOW_INPUT_VALIDATION_ERROR",
    ours.InputUnknown: "FLOW_INPUT_VALIDATION_ERROR",
    ours.InputNotMany: "FLOW_INPUT_VALIDATION_ERROR",
    ours.UrlInvalid: "FLOW_INPUT_VALIDATION_ERROR",
    ours.AddressRefused: "FLOW_INPUT_VALIDATION_ERROR",
    ours.RunNotFound: "FLOW_JOB_NOT_FOUND",
    ours.RunEnded: "FLOW_JOB_ERROR",
    ours.RunNotEnded: "FLOW_JOB_ERROR",
    ours.RunNotPaused: "FLOW_JOB_ERROR",
    ours.RunPaused: "FLOW_JOB_ERROR",
    ours.InputNotAwaited: "FLOW_JOB_ERROR",
    ours.RunCancelled: "FLOW_CANCELLED",
    ours.LetterNotFound: "QUEUE_ITEM_NOT_FOUND",
    ours.MethodNotAllowed: "METHOD_NOT_ALLOWED",
    ours.OffsetMismatch: "INVALID_OFFSET",
    ours.BodyTooLong: "ERR_SIZE_EXCEEDED",
    ours.FileTooLarge: "ERR_MAX_SIZE_EXCEEDED",
    ours.ScanTooLarge: "ERR_MAX_SIZE_EXCEEDED",
    ours.BodyTypeUnsupported: "UNSUPPORTED_CONTENT_TYPE",
    ours.EncodingUnsupported: "UNSUPPORTED_CONTENT_TYPE",
    ours.UploadBusy: "UPLOAD_LOCKED",
    ours.UploadTakenOver: "UPLOAD_LOCKED",
    ours.RateExceeded: "RATE_LIMITED",
    ours.FetchesTooMany: "RATE_LIMITED",
    ours.StorageUnavailable: "FILE_WRITE_ERROR",
    ours.StorageFull: "FILE_WRITE_ERROR",
    ours.CircuitOpen: "CIRCUIT_BREAKER_OPEN",
    ours.Internal: "UNKNOWN_ERROR",
}
"""Which code an error of ours is told as; the nearest class in its line counts."""


class UploadistaRefused(SafelightError):
    """What has a code of the vendor's and is no error of the house."""

    code, status, sentence = "UPLOADISTA_REFUSED", 400, "{text}"


def refused(code: str, text: str, **details: Any) -> UploadistaRefused:
    """The error of a code of the table."""
    return UploadistaRefused(word=code, text=text, details=details)


def code_of(error: SafelightError) -> str:
    """The code an error is told as."""
    if isinstance(error, UploadistaRefused):
        word: str = error.facts["word"]
        return word
    for known in type(error).__mro__:
        if issubclass(known, SafelightError) and known in OURS:
            return OURS[known]
    if error.status >= 500:
        return "UNAVAILABLE" if error.status == 503 else "UNKNOWN_ERROR"
    return "VALIDATION_ERROR"


def told_of(error: SafelightError) -> dict[str, Any]:
    """An error as a document; `details` say what was expected of bytes that are refused, and what they are."""
    told = {"error": error.message, "message": error.message, "code": code_of(error), "timestamp": moment(now())}
    details = details_of(error)
    return {**told, "details": details} if details else told


def details_of(error: SafelightError) -> Mapping[str, Any]:
    """What was expected and what was there instead."""
    facts = error.facts
    if isinstance(error, UploadistaRefused):
        return dict(facts["details"])
    if isinstance(error, ours.ChecksumMismatch):
        return {name: facts[name] for name in ("expected", "actual", "algorithm") if name in facts}
    if isinstance(error, ours.TypeMismatch):
        return {"expected": facts["declared"], "actual": facts["found"]}
    if isinstance(error, ours.TypeNotAllowed):
        return {"expected": facts["allowed"], "actual": facts["found"]}
    if isinstance(error, ours.OffsetMismatch):
        return {"expected": facts["expected"], "actual": facts["given"]}
    return {}


class UploadistaVoice(Voice):
    """A JSON document with `error`, `message`, `code` and `timestamp`."""

    def __init__(self, *, credentials: bool = True) -> None:
        self.credentials = credentials

    def told(self, request: web.Request, error: SafelightError, request_id: str) -> web.Response:
        status = TABLE[code_of(error)]
        headers = {"Cache-Control": "no-store"}
        if status in (423, 429, 503) or error.retry_after is not None:
            headers["Retry-After"] = str(error.retry_after or (1 if status == 423 else RETRY_AFTER))
        if status == 401:
            headers["WWW-Authenticate"] = CHALLENGE
        if isinstance(error, ours.MethodNotAllowed):
            headers["Allow"] = error.facts["allowed"]
        body = orjson.dumps(told_of(error))
        return web.Response(status=status, body=body, content_type="application/json", headers=headers)


VOICE = UploadistaVoice()
TOKEN_VOICE = UploadistaVoice(credentials=False)
"""Of the address that looks at cookies: pages of other origins are to get nothing for them."""
