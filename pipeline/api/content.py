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
from pipeline.model import File
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


async def send(request: web.Request, file: File, storage: Storage, *, download: bool = False) -> web.StreamResponse:
    """Answer with the bytes of `file`, or the part asked for; raises `RangeNotSatisfiable`, `StorageKeyNotFound`."""
    headers = _headers(file, download)
    if _matches(request.headers.get("If-None-Match", ""), file.sha256):
        return web.Response(status=304, headers={name: headers[name] for name in ("ETag", "Cache-Control")})
    span = _span(request, file)
    headers["Content-Length"] = str(span.size)
    if span.partial:
        headers["Content-Range"] = f"bytes {span.start}-{span.stop - 1}/{file.size}"
    status = 206 if span.partial else 200
    if request.method == "HEAD":
        return web.Response(status=status, headers=headers)
    path = storage.local_path(file.key)
    if path is not None:
        return await _send_local(request, path, span, status, headers)
    return await _send_stream(request, file, storage, span, status, headers)


def _headers(file: File, download: bool) -> dict[str, str]:
    media_type = file.mime if SAFE_TYPE.fullmatch(file.mime) else "application/octet-stream"
    return {
        "Content-Type": media_type,
        "Content-Disposition": disposition(file.name, attachment=download or media_type not in INLINE),
        "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; sandbox",
        "X-Content-Type-Options": "nosniff",
        "Cross-Origin-Resource-Policy": "cross-origin",
        "Referrer-Policy": "no-referrer",
        "Accept-Ranges": "bytes",
        "ETag": f'"{file.sha256}"',
        "Cache-Control": PRIVATE_CACHE if file.private else PUBLIC_CACHE,
    }


def disposition(name: str, *, attachment: bool) -> str:
    """A Content-Disposition with the name in plain ASCII and in full."""
    plain = re.sub(r"[^\w .,()+@=-]", "_", name, flags=re.ASCII)
    kind = "attachment" if attachment else "inline"
    return f"{kind}; filename=\"{plain}\"; filename*=UTF-8''{quote(name, safe='')}"


def _matches(condition: str, etag: str) -> bool:
    tags = [tag.strip().removeprefix("W/") for tag in condition.split(",")]
    return "*" in tags or f'"{etag}"' in tags


def _span(request: web.Request, file: File) -> Span:
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
    request: web.Request, file: File, storage: Storage, span: Span, status: int, headers: dict[str, str]
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
