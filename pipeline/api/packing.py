"""A group of files as one archive, made while it is sent."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import aclosing

from aiohttp import web

from pipeline.api.content import PRIVATE_CACHE, disposition
from pipeline.api.endpoint import Call
from pipeline.archives import MEDIA_TYPES, Form, length_of, members_of, packed
from pipeline.model import File, Group


async def send_archive(
    call: Call, group: Group, form: Form, files: Sequence[File], name: str | None
) -> web.StreamResponse:
    """The first piece is made before the status goes out; a fault behind it cuts the connection."""
    members = members_of(files, call.core.storages)
    response = web.StreamResponse(headers=_headers(group, form, name, files))
    response.content_length = length_of(form, members)
    if response.content_length is None:
        response.enable_chunked_encoding()
    async with aclosing(packed(form, members)) as pieces:
        first = b"" if call.request.method == "HEAD" else await anext(pieces)
        await response.prepare(call.request)
        if call.request.method != "HEAD":
            await response.write(first)
            async for piece in pieces:
                await response.write(piece)
    await response.write_eof()
    return response


def _headers(group: Group, form: Form, name: str | None, files: Sequence[File]) -> dict[str, str]:
    return {
        "Content-Type": MEDIA_TYPES[form],
        "Content-Disposition": disposition(name or f"{group.id}.{form}", attachment=True),
        "Content-Security-Policy": "default-src 'none'; sandbox",
        "Accept-Ranges": "none",
        "Cache-Control": PRIVATE_CACHE if any(file.private for file in files) else "no-cache",
    }
