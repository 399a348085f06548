"""The bytes of a file as an answer: conditions, single ranges, and headers that make hostile content harmless.

Conditions and ranges follow RFC 9110 sections 13 and 14, the file name RFC 6266.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, cast
from urllib.parse import quote

from aiohttp import web

from pipeline.errors import RangeNotSatisfiable, StorageKeyNotFound
from pipeline.model import Derivative, File
from pipeline.storage.base import ByteRange, Storage

INLINE = frozenset({"image/jpeg", "image/png", "image/webp", "image/avif", "image/gif"})
"""Types a browser may show: raster images that carry no script."""
SAFE_TYPE = re.compile(r"[\w.+-]+/[\w.+-]+", re.ASCII)
SMALL = 256 * 1024
"""Up to here a file on disk is read at once; beyond, the kernel sends it."""
PUBLIC_CACHE = "public, max-age=31536000, immutable"
PRIVATE_CACHE = "private, no-cache"
RANGE = re.compile(r"bytes=(?:(\d{1,18})-(\d{0,18})|-(\d{1,18}))", re.ASCII)


@dataclass(frozen=True)
class Span:
    """Which bytes are sent, `start` up to but not including `stop`, and whether that is a part."""

    start: int
    stop: int
    partial: bool = False

    @property
    def size(self) -> int:
        return self.stop - self.start


ACCEL = web.AppKey("accel", str)
"""The setting `accel_redirect`, where it is set."""
KEPT = ("ETag", "Cache-Control", "Vary")
"""What a 304 repeats of the headers."""


async def send(request: web.Request, file: File, storage: Storage, *, download: bool = False) -> web.StreamResponse:
    """Answer with the bytes of `file`, or the part asked for; raises `RangeNotSatisfiable`, `StorageKeyNotFound`."""
    return await send_bytes(request, file, storage, _headers(file, download))


async def send_bytes(
    request: web.Request, file: File | Derivative, storage: Storage, headers: dict[str, str], body: bytes | None = None
) -> web.StreamResponse:
    """Answer with these bytes under these headers, or the part asked for; `body` are all of them, if they are at hand.

    Raises what `send` does.
    """
    if _matches(request.headers.get("If-None-Match", ""), file.sha256):
        return web.Response(status=304, headers={name: headers[name] for name in KEPT if name in headers})
    span = _span(request, file)
    headers["Content-Length"] = str(span.size)
    if span.partial:
        headers["Content-Range"] = f"bytes {span.start}-{span.stop - 1}/{file.size}"
    status = 206 if span.partial else 200
    if request.method == "HEAD":
        return web.Response(status=status, headers=headers)
    if body is not None:
        return web.Response(status=status, headers=headers, body=body[span.start : span.stop])
    path = storage.local_path(file.key)
    if path is not None and ACCEL in request.app:
        return _handed_over(request.app[ACCEL], path, file, headers)
    if path is not None:
        return await _send_local(request, path, span, status, headers)
    return await _send_stream(request, file, storage, span, status, headers)


def _headers(file: File, download: bool) -> dict[str, str]:
    shown = disposition(file.name, attachment=download or media_type_of(file) not in INLINE)
    return content_headers(file, shown, PRIVATE_CACHE if file.private else PUBLIC_CACHE)


def media_type_of(file: File | Derivative) -> str:
    """The type it is sent as."""
    return file.mime if SAFE_TYPE.fullmatch(file.mime) else "application/octet-stream"


def content_headers(file: File | Derivative, shown: str, cache: str) -> dict[str, str]:
    """What is said of bytes that strangers sent or that were made of such: a browser may show and keep them, no more.

    `shown` is the Content-Disposition, `cache` the Cache-Control.
    """
    return {
        "Content-Type": media_type_of(file),
        "Content-Disposition": shown,
        "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; sandbox",
        "X-Content-Type-Options": "nosniff",
        "Cross-Origin-Resource-Policy": "cross-origin",
        "Referrer-Policy": "no-referrer",
        "Accept-Ranges": "bytes",
        "ETag": f'"{file.sha256}"',
        "Cache-Control": cache,
    }


def _handed_over(accel: str, path: Path, file: File | Derivative, headers: dict[str, str]) -> web.Response:
    """An answer whose bytes, all or the part asked for, the server in front of this one sends."""
    kept = {name: text for name, text in headers.items() if name not in ("Content-Length", "Content-Range")}
    if accel == "x-sendfile":
        return web.Response(headers=kept | {"X-Sendfile": str(path)})
    return web.Response(headers=kept | {"X-Accel-Redirect": f"{accel}{quote(f'{file.storage}/{file.key}')}"})


def disposition(name: str, *, attachment: bool) -> str:
    """A Content-Disposition with the name in plain ASCII and in full."""
    plain = re.sub(r"[^\w .,()+@=-]", "_", name, flags=re.ASCII)
    kind = "attachment" if attachment else "inline"
    return f"{kind}; filename=\"{plain}\"; filename*=UTF-8''{quote(name, safe='')}"


def _matches(condition: str, etag: str) -> bool:
    tags = [tag.strip().removeprefix("W/") for tag in condition.split(",")]
    return "*" in tags or f'"{etag}"' in tags


def _span(request: web.Request, file: File | Derivative) -> Span:
    """What a Range header asks for; one that is none, or several, or of other bytes, is answered with everything."""
    whole = Span(0, file.size)
    match = RANGE.fullmatch(request.headers.get("Range", "").replace(" ", ""))
    if match is None or request.headers.get("If-Range", f'"{file.sha256}"') != f'"{file.sha256}"':
        return whole
    first, last, tail = match.groups()
    if tail is not None:
        start, stop = max(0, file.size - int(tail)), file.size
    else:
        start, stop = int(first), min(file.size, int(last) + 1) if last else file.size
        if last and int(last) < start:
            return whole
    if start >= file.size:
        raise RangeNotSatisfiable(size=file.size)
    return Span(start, stop, partial=True)


async def _send_local(
    request: web.Request, path: Path, span: Span, status: int, headers: dict[str, str]
) -> web.StreamResponse:
    try:
        opened = await asyncio.to_thread(path.open, "rb")
    except FileNotFoundError as cause:
        raise StorageKeyNotFound from cause
    try:
        if span.size <= SMALL:
            return web.Response(status=status, headers=headers, body=await asyncio.to_thread(_read, opened, span))
        return await _send_file(request, opened, span, web.StreamResponse(status=status, headers=headers))
    finally:
        opened.close()


def _read(opened: BinaryIO, span: Span) -> bytes:
    opened.seek(span.start)
    return opened.read(span.size)


async def _send_file(
    request: web.Request, opened: BinaryIO, span: Span, response: web.StreamResponse
) -> web.StreamResponse:
    await response.prepare(request)
    if request.transport is None:
        raise ConnectionResetError
    loop = asyncio.get_running_loop()
    try:
        await loop.sendfile(cast(asyncio.WriteTransport, request.transport), opened, span.start, span.size)
    except NotImplementedError:  # uvloop has none
        opened.seek(span.start)
        for left in range(span.size, 0, -SMALL):
            await response.write(await asyncio.to_thread(opened.read, min(SMALL, left)))
    await response.write_eof()
    return response


async def _send_stream(
    request: web.Request,
    file: File | Derivative,
    storage: Storage,
    span: Span,
    status: int,
    headers: dict[str, str],
) -> web.StreamResponse:
    """The first piece is asked for before the status goes out, so that missing bytes are still a clean error."""
    part = ByteRange(span.start, span.stop - 1) if span.partial else None
    async with aclosing(cast(AsyncGenerator[bytes, None], storage.open(file.key, part))) as pieces:
        first = await anext(pieces, b"")
        response = web.StreamResponse(status=status, headers=headers)
        await response.prepare(request)
        await response.write(first)
        async for piece in pieces:
            await response.write(piece)
    await response.write_eof()
    return response
