"""Errors as RFC 9457 problem documents; the only place where an error becomes HTTP for the native API."""

from __future__ import annotations

from collections.abc import Mapping
from http.client import responses as phrases
from typing import Any

import orjson
from aiohttp import web
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from pipeline.documents import Complaint
from pipeline.errors import (
    MethodNotAllowed,
    RangeNotSatisfiable,
    RateExceeded,
    RequestInvalid,
    RouteNotFound,
    SafelightError,
    UpgradeRequired,
)

PROBLEM_TYPE = "application/problem+json"
RETRY_AFTER = 5
"""Seconds a caller is asked to wait when the fault does not say."""
CHALLENGE = 'Bearer realm="safelight"'

_complaints = TypeAdapter(list[Complaint])


class ProblemDocument(BaseModel):
    """Why a request was refused or failed."""

    model_config = ConfigDict(json_schema_mode="serialization")  # type: ignore[typeddict-unknown-key]

    type: str = Field(description="Where the code is explained.")
    title: str
    status: int
    code: str = Field(description="Stable; what a program should look at.")
    detail: str = Field(description="One sentence for people.")
    instance: str = Field(description="The request's id, also in X-Request-Id and in the server's log.")
    node: str | None = Field(default=None, description="The node of the flow it is about.")
    complaints: list[dict[str, Any]] | None = Field(default=None, description="Every fault of a flow document.")


def problem(
    error: SafelightError, request_id: str, status: int | None = None, more: Mapping[str, Any] | None = None
) -> web.Response:
    """The answer that tells a caller of `error`; in a dialect with its own status, and `more` in the document."""
    status = status or error.status
    document = {**_document(status, error.code, error.message, request_id), **_details(error), **(more or {})}
    return _answer(status, document, _headers(error))


def refusal(error: web.HTTPException, request_id: str) -> web.Response:
    """The answer for what aiohttp itself refuses, in our shape."""
    if isinstance(error, web.HTTPMethodNotAllowed):
        return problem(MethodNotAllowed(allowed=", ".join(sorted(error.allowed_methods))), request_id)
    if isinstance(error, web.HTTPNotFound):
        return problem(RouteNotFound(), request_id)
    return broken_request(error.status, error.reason, request_id)


def broken_request(status: int, reason: str, request_id: str) -> web.Response:
    """The answer to a request that is not sound HTTP."""
    return _answer(status, _document(status, RequestInvalid.code, reason, request_id), {})


def request_invalid(error: ValidationError) -> RequestInvalid:
    """What pydantic found wrong, in one sentence with the place of each fault."""
    faults = [f"{'.'.join(map(str, fault['loc'])) or 'body'}: {fault['msg']}" for fault in error.errors()]
    return RequestInvalid(reason="; ".join(faults[:10]))


def _document(status: int, code: str, detail: str, request_id: str) -> dict[str, Any]:
    title = phrases.get(status) or code.replace("_", " ").capitalize()
    return {
        "type": f"/docs#{code}",
        "title": title,
        "status": status,
        "code": code,
        "detail": detail,
        "instance": request_id,
    }


def _details(error: SafelightError) -> dict[str, Any]:
    details: dict[str, Any] = {}
    if error.node is not None:
        details["node"] = error.node
    if complaints := error.facts.get("complaints"):
        details["complaints"] = _complaints.dump_python(list(complaints), mode="json")
    return details


def _headers(error: SafelightError) -> dict[str, str]:
    headers: dict[str, str] = {}
    if error.status == 401:
        headers["WWW-Authenticate"] = CHALLENGE
    if isinstance(error, RateExceeded):
        headers |= {"RateLimit-Limit": str(error.facts["limit"]), "RateLimit-Remaining": "0"}
        headers["RateLimit-Reset"] = str(error.facts["seconds"])
    if isinstance(error, UpgradeRequired):
        headers["Upgrade"] = "websocket"
    return headers | asked_headers(error, error.status)


def asked_headers(error: SafelightError, status: int) -> dict[str, str]:
    """What HTTP asks of an answer with this error and status, in whatever words: RFC 9110, 10.2.1, 10.2.3 and 14.4."""
    headers: dict[str, str] = {}
    if status in (429, 503, 504) or error.retry_after is not None:
        headers["Retry-After"] = str(error.retry_after or RETRY_AFTER)
    if isinstance(error, MethodNotAllowed):
        headers["Allow"] = error.facts["allowed"]
    if isinstance(error, RangeNotSatisfiable):
        headers["Content-Range"] = f"bytes */{error.facts['size']}"
    return headers


def _answer(status: int, document: Mapping[str, Any], headers: Mapping[str, str]) -> web.Response:
    return web.Response(
        status=status,
        body=orjson.dumps(document),
        headers={**headers, "Content-Type": PROBLEM_TYPE, "Cache-Control": "no-store"},
    )
