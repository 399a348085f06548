"""Request bodies as they arrive: never held whole, every wait bounded, forms taken apart on the way.

Whoever stops reading early need not care for the rest: the connection is closed after the answer.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from typing import Protocol, Self

from aiohttp import HttpVersion11, web
from aiohttp.http_exceptions import HttpProcessingError
from multipart import MultipartError, MultipartSegment, PushMultipartParser, parse_options_header

from pipeline.api.server import Connection
from pipeline.api.taps import PIECE, Tap
from pipeline.disposition import disposition_name
from pipeline.errors import (
    BodyEmpty,
    BodyTimeout,
    BodyTooSlow,
    BodyTypeUnsupported,
    EncodingUnsupported,
    FieldsTooMany,
    FormPartsTooMany,
    MultipartBroken,
    RequestInvalid,
)

FIELD_LIMIT = 64 * 1024
"""Bytes in one text field of a form."""
PART_LIMIT = 200
TEXT_LIMIT = 100
"""Text fields in one form."""
STRAY_LIMIT = 64 * 1024
"""Bytes a form may carry outside of its parts."""
JSON_LIMIT = 1024 * 1024
LONGEST_BOUNDARY = 200
SLOWEST = 256
"""Bytes a second that a body must keep up, over as long as one silence may last; what came before buys no more."""
LARGE = 2 * PIECE
"""Bytes still to come from which on they are read from the socket itself."""
FORM = "multipart/form-data"


def refuse_encoding(request: web.Request) -> None:
    """Raise `EncodingUnsupported` for a body that would grow when unpacked."""
    encoding = request.headers.get("Content-Encoding", "").strip().lower()
    if encoding not in ("", "identity"):
        raise EncodingUnsupported(encoding=encoding[:40])


class Body:
    """The bytes of one request; iterate, or `read` piece by piece until b""."""

    def __init__(self, request: web.Request, timeout: float) -> None:
        self._request = request
        self._timeout = timeout
        self._begun: float | None = None
        self._tap: Tap | None = None
        self._spare = timeout
        self.received = 0

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        if piece := await self.read():
            return piece
        raise StopAsyncIteration

    async def read(self) -> bytes:
        """The next bytes, b"" after the last; raises `BodyTimeout`, `BodyTooSlow` or `RequestInvalid` (bad framing)."""
        await self._begin()
        asked = time.monotonic()
        try:
            if (piece := self._at_hand()) is None:
                async with asyncio.timeout(self._timeout):
                    piece = await self._next()
        except TimeoutError as cause:
            raise BodyTimeout(seconds=f"{self._timeout:g}") from cause
        except (web.RequestPayloadError, HttpProcessingError) as cause:
            raise RequestInvalid(reason="The framing of the body is broken.") from cause
        if piece:
            self._keep_pace(len(piece), time.monotonic() - asked)
        self.received += len(piece)
        return piece

    def _at_hand(self) -> bytes | None:
        """What the parser has already, b"" at the end, which needs no timer; None if it has to be waited for."""
        if self._is_large():
            return None
        content = self._request.content
        piece: bytes = content.read_nowait()
        return piece if piece or content.at_eof() else None

    async def _next(self) -> bytes:
        """From the socket while that pays, else from the parser, which knows too what comes of a client that left."""
        connection = self._request.protocol
        if not isinstance(connection, Connection) or not self._is_large():
            return await self._request.content.readany()
        self._tap = self._tap or connection.tapped(self._request, self.received)
        piece = await self._tap.read() if self._tap else b""
        if self._tap and (not piece or not self._tap.rest):
            connection.untap()
        return piece or await self._request.content.readany()

    def _is_large(self) -> bool:
        return self._tap is not None or (self._request.content_length or 0) - self.received >= LARGE

    async def whole(self, limit: int) -> bytes:
        """All of it, when it is at most `limit` bytes; else raises `RequestInvalid`."""
        pieces: list[bytes] = []
        while piece := await self.read():
            pieces.append(piece)
            if self.received > limit:
                raise RequestInvalid(reason=f"This body may have {limit} bytes at most.")
        return b"".join(pieces)

    async def _begin(self) -> None:
        """Ask for the bytes only now: a refusal reaches a waiting client before it has sent any."""
        if self._begun is not None:
            return
        self._begun = time.monotonic()
        waiting = self._request.headers.get("Expect", "").lower() == "100-continue"
        if waiting:
            await self.inform("100 Continue")

    async def inform(self, status: str, headers: Mapping[str, str] | None = None) -> None:
        """Tell something before the answer (RFC 9110, section 15.2); a client of HTTP/1.0 would take it for one."""
        if self._request.version < HttpVersion11:
            return
        fields = "".join(f"{name}: {value}\r\n" for name, value in (headers or {}).items())
        await self._request.writer.write(f"HTTP/1.1 {status}\r\n{fields}\r\n".encode())
        self._request.writer.output_size = 0

    def _keep_pace(self, length: int, waited: float) -> None:
        """Only what the client lets us wait counts: a storage that takes its time is not its fault."""
        self._spare = min(self._timeout, self._spare + length / SLOWEST) - waited
        if self._spare < 0:
            raise BodyTooSlow(rate=SLOWEST)


class Part:
    """One field of a form; iterate over its bytes once."""

    def __init__(self, segment: MultipartSegment, events: _Events) -> None:
        self._events = events
        self._ended = False
        self.name: str = segment.name or ""
        self.filename = _filename(segment)
        self.media_type: str | None = segment.content_type
        self.size = _declared_size(segment)

    @property
    def is_file(self) -> bool:
        return self.filename is not None

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        piece = None if self._ended else await self._events.next()
        if isinstance(piece, bytes):
            return piece
        self._ended = True
        raise StopAsyncIteration

    async def text(self) -> str:
        """The field as text; raises `RequestInvalid` when it is too long or not UTF-8."""
        pieces = bytearray()
        async for piece in self:
            pieces += piece
            if len(pieces) > FIELD_LIMIT:
                raise RequestInvalid(reason=f"The field `{self.name}` may have {FIELD_LIMIT} bytes at most.")
        try:
            return pieces.decode()
        except UnicodeDecodeError as cause:
            raise RequestInvalid(reason=f"The field `{self.name}` is not UTF-8 text.") from cause

    async def skip(self) -> None:
        async for _ in self:
            pass


class Source(Protocol):
    """Where the bytes of a form come from."""

    received: int

    async def read(self) -> bytes: ...


class _Begun:
    """A body of which the beginning was read already."""

    def __init__(self, body: Source, begun: bytes) -> None:
        self._body = body
        self._begun = begun
        self.received = body.received

    async def read(self) -> bytes:
        piece, self._begun = self._begun or await self._body.read(), b""
        self.received = self._body.received
        return piece


async def form_of(request: web.Request, body: Source, most_texts: int = TEXT_LIMIT) -> Form:
    """The form in a body, also where a page set its Content-Type by hand and so kept the boundary from being told.

    It is then what the first line says behind `--` (RFC 2046, section 5.1.1). Raises `BodyEmpty` or `MultipartBroken`.
    """
    _, options = parse_options_header(request.headers.get("Content-Type", ""))
    if options.get("boundary"):
        return Form(request, body, most_texts)
    begun = b""
    while b"\r\n" not in begun and len(begun) <= LONGEST_BOUNDARY and (piece := await body.read()):
        begun += piece
    if not begun:
        raise BodyEmpty
    line, end, _ = begun.partition(b"\r\n")
    if not end or not 2 < len(line) <= LONGEST_BOUNDARY or not line.startswith(b"--") or not line.isascii():
        raise MultipartBroken(reason="its Content-Type has no usable boundary, nor has its first line")
    return Form(request, _Begun(body, begun), most_texts, line[2:].decode().rstrip())


class Form:
    """The parts of a multipart body in the order they arrive; read each before asking for the next."""

    def __init__(self, request: web.Request, body: Source, most_texts: int = TEXT_LIMIT, boundary: str = "") -> None:
        self._events = _Events(body, boundary or _boundary(request), PART_LIMIT - TEXT_LIMIT + most_texts)
        self._most_texts = most_texts
        self._part: Part | None = None
        self._texts = 0

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Part:
        if self._part is not None:
            await self._part.skip()
        segment = await self._events.next()
        if not isinstance(segment, MultipartSegment):
            raise StopAsyncIteration
        self._part = Part(segment, self._events)
        self._count(self._part)
        return self._part

    def _count(self, part: Part) -> None:
        self._texts += not part.is_file
        if self._texts > self._most_texts:
            raise FieldsTooMany(most=self._most_texts)


class _Events:
    """What the parser sees: a segment, its bytes, None at its end, and again; None after the last."""

    def __init__(self, body: Source, boundary: str, most_parts: int) -> None:
        self._body = body
        self._most_parts = most_parts
        self._parts = 0
        try:
            self._parser = PushMultipartParser(boundary)
        except MultipartError as cause:
            raise MultipartBroken(reason=str(cause).rstrip(".")) from cause
        self._pending: Iterator[MultipartSegment | bytes | None] = iter(())
        self._stray = 0
        self._over = False

    async def next(self) -> MultipartSegment | bytes | None:
        try:
            while not self._over:
                for event in self._pending:
                    self._stray = 0
                    self._count(event)
                    return event
                await self._feed()
        except MultipartError as cause:
            raise MultipartBroken(reason=str(cause).rstrip(".")) from cause
        return None

    def _count(self, event: MultipartSegment | bytes | None) -> None:
        self._parts += isinstance(event, MultipartSegment)
        if self._parts > self._most_parts:
            raise FormPartsTooMany(most=self._most_parts)

    async def _feed(self) -> None:
        """Hand the parser the next piece; between two events only so many bytes may pass."""
        if self._stray > STRAY_LIMIT:
            raise MultipartBroken(reason="too many bytes outside of its parts")
        piece = await self._body.read()
        if not piece:
            self._over = True
            if not self._body.received:
                raise BodyEmpty
            self._parser.close()
            return
        self._stray += len(piece)
        self._pending = iter(self._parser.parse(piece))


def is_form(request: web.Request) -> bool:
    return request.content_type == FORM


def is_json(request: web.Request) -> bool:
    return request.content_type == "application/json" or request.content_type.endswith("+json")


def require_json(request: web.Request) -> None:
    """Raise `BodyTypeUnsupported` unless the body is declared as JSON."""
    if not is_json(request):
        raise BodyTypeUnsupported(found=request.content_type, expected="application/json")


def _filename(segment: MultipartSegment) -> str | None:
    header = segment.header("Content-Disposition", "")
    if "filename*" in header.lower():
        return disposition_name(header)
    name: str | None = segment.filename
    return name


def _declared_size(segment: MultipartSegment) -> int | None:
    size = segment.header("Content-Length")
    return int(size) if size else None


def _boundary(request: web.Request) -> str:
    _, options = parse_options_header(request.headers.get("Content-Type", ""))
    boundary: str | None = options.get("boundary")
    if not boundary or len(boundary) > LONGEST_BOUNDARY:
        raise MultipartBroken(reason="its Content-Type has no usable boundary")
    return boundary
