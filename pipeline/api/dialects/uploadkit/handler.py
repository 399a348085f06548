"""The handler that the browser SDK talks to, offered here under the project's public key; no API key is with a page.

`<UploadKitProvider endpoint="https://<server>/uploadkit/handler/<public key>">`; where a project takes signed uploads
only, a server of its own signs, and the endpoint goes on with `/<expires>/<signature>`.
"""

from __future__ import annotations

from typing import Any

from aiohttp import web

from pipeline.acts import settled
from pipeline.api.dialects.uploadkit import auth, routes, rows
from pipeline.api.dialects.uploadkit.errors import refused
from pipeline.api.dialects.uploadkit.params import (
    HandlerAsk,
    HandlerComplete,
    HandlerRequest,
    RequestAsk,
    read,
    said,
)
from pipeline.api.dialects.uploadkit.upload import completed, requested
from pipeline.api.endpoint import Call, plain
from pipeline.errors import UploadNotFound
from pipeline.model import Grant
from pipeline.vendors.uploadkit import TYPE, parts_of

NAMELESS = "upload"


async def route(call: Call) -> web.Response:
    """What a page may choose."""
    grant = await auth.page(call)
    entry = await routes.find(call, grant, call.place("route"))
    told: dict[str, Any] = {"maxFileSize": entry.largest(grant.project), "allowedTypes": list(entry.types) or ["*/*"]}
    return plain(told | ({"maxFileCount": entry.max_files} if entry.max_files else {}))


async def act(call: Call) -> web.Response:
    grant = await auth.page(call)
    await routes.find(call, grant, call.place("route"))
    told = await read(call)
    action = said(HandlerAsk, told).action
    if action == "request-upload":
        return await _request(call, grant, said(HandlerRequest, told))
    if action == "upload-complete":
        return await _complete(call, grant, said(HandlerComplete, told))
    raise refused("action", f"Unknown action: {str(action)[:64]}")


async def _request(call: Call, grant: Grant, told: HandlerRequest) -> web.Response:
    ask = RequestAsk(
        fileName=told.fileName or NAMELESS,
        fileSize=told.contentLength,
        contentType=told.contentType or TYPE,
        routeSlug=call.place("route"),
        metadata=told.metadata,
    )
    return plain(await requested(call, grant, ask))


async def _complete(call: Call, grant: Grant, told: HandlerComplete) -> web.Response:
    parts = parts_of(told.key) if told.key else None
    if told.key is not None and (parts is None or parts[1] != told.fileId.lower()):
        raise UploadNotFound(id=told.fileId[:64])
    row = rows.of_file(call, await settled(completed(call, grant, told.fileId, None)))
    return plain({"ok": True, "file": row, "url": row["url"], "metadata": row["metadata"]})
