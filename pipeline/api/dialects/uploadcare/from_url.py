"""`/from_url/`: files that are fetched, and how far that has come."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from aiohttp import web

from pipeline.acts import settled
from pipeline.api.dialects.uploadcare import auth
from pipeline.api.dialects.uploadcare.errors import filled, is_true, refused
from pipeline.api.dialects.uploadcare.params import Params, read
from pipeline.api.dialects.uploadcare.upload import intake_of, spelled
from pipeline.api.endpoint import PROJECT, UUID, Call, plain
from pipeline.errors import FetchNotFound
from pipeline.model import Fetch, File, Grant
from pipeline.vendors.uploadcare import file_info

UNKNOWN = "unknown"

BROKE: Mapping[str, str] = {
    "SOURCE_REJECTED": "DownloadFileHTTPClientError",
    "SOURCE_NOT_FOUND": "DownloadFileHTTPClientError",
    "SOURCE_FAILED": "DownloadFileHTTPServerError",
    "SOURCE_UNREACHABLE": "DownloadFileHTTPNetworkError",
    "SOURCE_BROKEN": "DownloadFileHTTPNetworkError",
    "SOURCE_ENCODED": "DownloadFileHTTPNetworkError",
    "SOURCE_INFLATES": "DownloadFileHTTPNetworkError",
    "BODY_INCOMPLETE": "DownloadFileHTTPNetworkError",
    "BODY_TOO_LONG": "DownloadFileHTTPNetworkError",
    "REDIRECT_REFUSED": "DownloadFileHTTPURLValidationError",
    "ADDRESS_REFUSED": "DownloadFileHTTPURLValidationError",
    "URL_INVALID": "DownloadFileHTTPURLValidationError",
    "REDIRECTS_TOO_MANY": "URLRedirectsLimitExceededError",
    "HOST_NOT_FOUND": "HostnameNotFoundError",
    "FILE_TOO_LARGE": "DownloadFileSizeLimitExceededError",
    "SCAN_TOO_LARGE": "DownloadFileSizeLimitExceededError",
    "FETCH_TIMEOUT": "DownloadFileTimeLimitExceededError",
    "SOURCE_SILENT": "DownloadFileTimeLimitExceededError",
    "SOURCE_TOO_SLOW": "DownloadFileTimeLimitExceededError",
    "FETCH_CANCELLED": "DownloadFileTaskFailedError",
    "FETCH_GIVEN_UP": "DownloadFileTaskFailedError",
    "INTERNAL": "DownloadFileInternalServerError",
    "STORAGE_FULL": "DownloadFileInternalServerError",
    "STORAGE_UNAVAILABLE": "DownloadFileInternalServerError",
    "SCANNER_UNAVAILABLE": "DownloadFileInternalServerError",
    "QUOTA_EXCEEDED": "AccountLimitsExceededError",
    "FILE_INFECTED": "DownloadFileValidationFailedError",
    "TYPE_NOT_ALLOWED": "DownloadFileValidationFailedError",
    "TYPE_MISMATCH": "DownloadFileValidationFailedError",
    "FILE_EMPTY": "DownloadFileValidationFailedError",
    "FILE_TOO_SMALL": "DownloadFileValidationFailedError",
    "SVG_REFUSED": "DownloadFileValidationFailedError",
    "SVG_INVALID": "DownloadFileValidationFailedError",
    "IMAGE_UNREADABLE": "DownloadFileValidationFailedError",
    "IMAGE_TOO_LARGE": "DownloadFileValidationFailedError",
}
"""What a fetch that broke is told to have met, by the code of our error; what is not here is `DownloadFileError`."""


async def begin(call: Call) -> web.Response:
    params = await read(call)
    grant = await auth.sender(call, params, "pub_key")
    url = params.get("source_url")
    if not url:
        raise refused("SourceURLRequiredError")
    fetch = await settled(_begun(call, grant, params, url))
    if fetch.status == "success" and (file := await _file(call, fetch)):
        return plain({"type": "file_info", **file_info(file)})
    return plain({"type": "token", "token": fetch.id})


async def _begun(call: Call, grant: Grant, params: Params, url: str) -> Fetch:
    intake = intake_of(grant, params, params.get("store"))
    name = spelled(params.get("filename")) or None
    check = is_true(params.get("check_URL_duplicates"))
    return await call.core.fetching.begin(
        grant, url, intake, name, check=check, save=params.flag("save_URL_duplicates")
    )


async def status(call: Call) -> web.Response:
    """The token is what entitles; one that nobody gave out, or long ago, is of unknown status."""
    params = await read(call)
    token = params.get("token")
    if not token:
        raise refused("TokenRequiredError")
    return plain(await _standing(call, token.lower()))


async def _standing(call: Call, token: str) -> Mapping[str, Any]:
    fetch = None
    if UUID.fullmatch(token):
        with suppress(FetchNotFound):
            fetch = await call.core.records.fetches.get(token)
    if fetch is None:
        return {"status": UNKNOWN}
    if fetch.project in call.core.settings.projects:
        call.request[PROJECT] = call.core.settings.projects[fetch.project]
    if fetch.status in ("waiting", "progress"):
        # Some clients read both numbers in every state.
        total = UNKNOWN if fetch.total is None else fetch.total
        return {"status": fetch.status, "done": fetch.done, "total": total}
    if fetch.status == "success":
        file = await _file(call, fetch)
        return {"status": "success", **file_info(file)} if file else _broken("DownloadFileNotFoundError")
    return _told(call, fetch)


def _told(call: Call, fetch: Fetch) -> Mapping[str, Any]:
    code, message = (fetch.error.code, fetch.error.message) if fetch.error else ("", "")
    row = BROKE.get(code, "DownloadFileError")
    if row == "DownloadFileSizeLimitExceededError":
        limit = call.core.settings.projects[fetch.project].limits.max_file_size
        return _broken(row, fetch.total or f"{fetch.done}+", limit)
    if row == "DownloadFileTimeLimitExceededError":
        return _broken(row, f"{call.core.settings.fetch_timeout:g}")
    blanks = {"DownloadFileValidationFailedError": [message]}
    taking = row.startswith("DownloadFileHTTP")
    return _broken(row, *(blanks.get(row) or ([message.rstrip(".")] if taking else [])))


def _broken(row: str, *blanks: object) -> Mapping[str, Any]:
    return {"status": "error", "error": filled(row, blanks), "error_code": row}


async def _file(call: Call, fetch: Fetch) -> File | None:
    (file,) = await call.core.records.files.get_many([fetch.file]) if fetch.file else (None,)
    return file
