"""The bytes that an upload is of: those it sent, those it spelt in base64, or those at the address it named.

A part without a filename may be any of them: an address; base64, with or without `data:<type>;base64,` before it; or,
from a client that names no file, the bytes themselves, which are told by what they are.
"""

from __future__ import annotations

import binascii
import re
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from typing import NamedTuple
from urllib.parse import unquote_to_bytes

from pipeline import errors, sniff
from pipeline.api.dialects.imagekit.errors import NO_FILE, invalid, refused
from pipeline.api.dialects.imagekit.form import Sent, aside, head_of, url_in
from pipeline.api.endpoint import Call
from pipeline.downloads import Bounds, Downloads
from pipeline.errors import FileTooLarge, SafelightError
from pipeline.model import Grant
from pipeline.uploads.aside import Aside

TO_HEADERS = 8.0
"""Seconds within which the server of an address has to answer."""
WHITE = b" \t\r\n"
NOT_FETCHED = "The file could not be downloaded from the given URL."

FETCHED: tuple[type[SafelightError], ...] = (
    errors.UrlInvalid,
    errors.AddressRefused,
    errors.HostNotFound,
    errors.RedirectRefused,
    errors.RedirectsTooMany,
    errors.SourceUnreachable,
    errors.SourceBroken,
    errors.SourceFailed,
    errors.SourceRejected,
    errors.SourceEncoded,
    errors.SourceInflates,
    errors.SourceSilent,
    errors.SourceTooSlow,
    errors.FetchTimeout,
)
"""What is told as a file that could not be downloaded, with our reason behind it: no fault of this server."""

_DATA = re.compile(rb"data:([^,]{0,200}?)(;base64)?,", re.IGNORECASE)


class Content(NamedTuple):
    """Bytes, and where they were fetched from."""

    bytes: Aside
    source: str | None = None

    async def mime(self) -> str:
        """Their type, by what they are."""
        return sniff.media_type(await head_of(self.bytes))


class Unspelled(ValueError):
    """What looked like base64 is none."""


@asynccontextmanager
async def opening(call: Call, grant: Grant, sent: Sent) -> AsyncIterator[Content]:
    """What a form sent as its file, to be had within the block.

    Refused when there is none, when it has more bytes than the project takes at once, and for an address at which
    nothing is found (raises what `Downloads.open` does).
    """
    if sent.content is None or not sent.content.size:
        raise refused(NO_FILE)
    async with AsyncExitStack() as stack:
        meant, source = await _meant(call, grant, sent, sent.content, stack)
        most = grant.project.limits.max_file_size if source else grant.project.limits.direct_upload
        if meant.size > most:
            raise FileTooLarge(limit=most)
        yield Content(meant, source)


async def _meant(
    call: Call, grant: Grant, sent: Sent, content: Aside, stack: AsyncExitStack
) -> tuple[Aside, str | None]:
    if sent.is_named:
        return content, None
    if url := await url_in(content):
        return await _fetched(call, grant, url, stack), url
    head = await head_of(content)
    if match := _DATA.match(head):
        return await _from_data(call, content, match, stack), None
    if sniff.media_type(head) not in (sniff.PLAIN_TEXT, sniff.UNKNOWN) or _is_binary(head):
        return content, None
    try:
        return await _decoded(call, content, 0, stack, strict=True), None
    except Unspelled:
        return content, None


def _is_binary(head: bytes) -> bool:
    return any(byte < 9 or byte > 126 for byte in head)


async def _fetched(call: Call, grant: Grant, url: str, stack: AsyncExitStack) -> Aside:
    bounds = Bounds(within=call.core.settings.fetch_timeout, head=TO_HEADERS)
    most, taken = grant.project.limits.max_file_size, _held(call, stack)
    downloads = Downloads(call.core.outbound, bounds)
    try:
        async with downloads.open(url, private=grant.project.allow_private_urls) as download:
            if (download.size or 0) > most:
                raise FileTooLarge(limit=most)
            await taken.take(download, most)
    except FETCHED as cause:
        raise invalid("file", f"{NOT_FETCHED} {cause.message}") from cause
    if not taken.size:
        raise invalid("file", "The file at the given URL is empty.")
    return taken


async def _from_data(call: Call, content: Aside, match: re.Match[bytes], stack: AsyncExitStack) -> Aside:
    """The bytes of a `data:` URL (RFC 2397)."""
    if match.group(2):
        try:
            return await _decoded(call, content, match.end(), stack, strict=False)
        except Unspelled as cause:
            raise invalid("file", "What follows `;base64,` is not base64.") from cause
    taken = _held(call, stack)
    text = b"".join([chunk async for chunk in content])
    await taken.take(_once(unquote_to_bytes(text[match.end() :])))
    return taken


async def _decoded(call: Call, content: Aside, start: int, stack: AsyncExitStack, *, strict: bool) -> Aside:
    taken = _held(call, stack)
    async with aclosing(_base64(content, start, strict=strict)) as pieces:
        await taken.take(pieces)
    return taken


async def _base64(content: Aside, start: int, *, strict: bool) -> AsyncGenerator[bytes, None]:
    """What base64 (RFC 4648, section 4) spells from `start` on; raises `Unspelled`.

    Unless `strict` the alphabet of section 5 is read too, and padding may be left out.
    """
    rest, is_over = b"", False
    async for chunk in content:
        letters, start = chunk[start:].translate(None, WHITE), max(0, start - len(chunk))
        if is_over and letters:
            raise Unspelled
        rest += letters if strict else letters.translate(bytes.maketrans(b"-_", b"+/"))
        whole, rest = rest[: len(rest) // 4 * 4], rest[len(rest) // 4 * 4 :]
        is_over = whole.endswith(b"=")
        yield _plain(whole)
    if rest and strict:
        raise Unspelled
    if rest:
        yield _plain(rest + b"=" * (-len(rest) % 4))


def _plain(letters: bytes) -> bytes:
    try:
        return binascii.a2b_base64(letters, strict_mode=True) if letters else b""
    except binascii.Error as cause:
        raise Unspelled from cause


def _held(call: Call, stack: AsyncExitStack) -> Aside:
    taken = aside(call)
    stack.callback(taken.close)
    return taken


async def _once(content: bytes) -> AsyncIterator[bytes]:
    yield content
