"""A file of a server outside as it comes: each address judged when it is dialled, each wait bounded, no byte kept.

What the answer claims about itself is no more than a hint: its length is checked against what came, its type is not
looked at. Errors never hold the URL, which may be somebody's secret.
"""

from __future__ import annotations

import asyncio
import re
import zlib
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from email.utils import parsedate_to_datetime

from aiohttp import (
    ClientConnectorCertificateError,
    ClientConnectorDNSError,
    ClientConnectorError,
    ClientError,
    ClientResponse,
    InvalidURL,
    ServerTimeoutError,
)
from yarl import URL

from pipeline.dialing import is_refused
from pipeline.disposition import disposition_name
from pipeline.errors import (
    AddressRefused,
    FetchTimeout,
    FileEmpty,
    HostNotFound,
    RedirectsTooMany,
    SafelightError,
    SourceBroken,
    SourceEncoded,
    SourceFailed,
    SourceInflates,
    SourceNotFound,
    SourceRejected,
    SourceSilent,
    SourceTooSlow,
    SourceUnreachable,
    UrlHostMalformed,
)
from pipeline.model import now
from pipeline.outbound import NO_SUCH_NAME, REDIRECTS, TRY_LATER, Outbound, unspoken
from pipeline.sources import is_literal, onward, source_url

LONGEST_DELAY = 60
"""Seconds of a Retry-After that are waited at most."""
INFLATED = 256 * 1024
"""Bytes that a compressed answer is inflated to in one step."""
GROWTH, GROWTH_AFTER = 100, 10 * 1024 * 1024
"""How many times its size a compressed answer may grow to, once there are so many bytes of it."""
PACKED = {"application/gzip", "application/x-gzip", "application/x-gunzip", "application/x-tgz"}
"""Types of files that are compressed themselves; servers often say it of the transfer too, which is then no reason."""


@dataclass(frozen=True)
class Bounds:
    """What a source must keep to: seconds in all, to its headers and between bytes; bytes a second after `head`."""

    within: float = 600.0
    head: float = 10.0
    silence: float = 20.0
    slowest: int = 1024
    redirects: int = 5


class Downloads:
    """Opens files outside."""

    def __init__(self, outbound: Outbound, bounds: Bounds | None = None) -> None:
        self._outbound = outbound
        self._bounds = bounds or Bounds()

    @asynccontextmanager
    async def open(self, url: str, *, private: bool = False) -> AsyncIterator[Download]:
        """The file at `url`, to be read inside the block; `private` lets it lie at private addresses, on any port.

        Raises, before the block: `UrlInvalid`, `AddressRefused`, `HostNotFound`, `RedirectRefused`, `RedirectsTooMany`,
        `SourceUnreachable`, `SourceSilent`, `SourceBroken`, `SourceFailed`, `SourceRejected`, `SourceNotFound`,
        `SourceEncoded`, `FileEmpty`; while it is read also `SourceTooSlow`, `SourceInflates` and `FetchTimeout`.
        """
        guard, clock = self._outbound.guard(private), Clock(self._bounds)
        at = source_url(url, guard)
        async with AsyncExitStack() as open:
            for _ in range(self._bounds.redirects + 1):
                response = await self._asked(open, at, private, clock)
                location = response.headers.get("Location")
                if response.status not in REDIRECTS or not location:
                    yield Download(response, clock)
                    return
                await open.aclose()
                at = onward(at, location, guard)
            raise RedirectsTooMany(most=self._bounds.redirects)

    async def _asked(self, open: AsyncExitStack, url: URL, private: bool, clock: Clock) -> ClientResponse:
        try:
            async with clock.waiting(self._bounds.head):
                return await open.enter_async_context(self._outbound.asked(url, private=private))
        except ClientError as fault:
            raise _told(fault, url, private) from unspoken(fault)


class Clock:
    """How long a source has been waited for, and how much came meanwhile."""

    def __init__(self, bounds: Bounds) -> None:
        self._bounds = bounds
        self._loop = asyncio.get_running_loop()
        self._ends = self._loop.time() + bounds.within
        self._waited = 0.0

    @asynccontextmanager
    async def waiting(self, seconds: float) -> AsyncIterator[None]:
        """Wait in the block for so many seconds at most; raises `SourceSilent` or `FetchTimeout`."""
        begun = self._loop.time()
        try:
            async with asyncio.timeout_at(min(begun + seconds, self._ends)) as limit:
                yield
        except TimeoutError as fault:
            if not limit.expired():
                raise SourceUnreachable(reason="there is no connection") from fault
            if self._loop.time() >= self._ends:
                raise FetchTimeout(seconds=f"{self._bounds.within:g}") from None
            raise SourceSilent(seconds=f"{seconds:g}") from None
        finally:
            self._waited += self._loop.time() - begun

    def check(self, received: int) -> None:
        """Raise `SourceTooSlow` or `FetchTimeout` when only so many bytes have come by now."""
        if self._loop.time() >= self._ends:
            raise FetchTimeout(seconds=f"{self._bounds.within:g}")
        if received < (self._waited - self._bounds.head) * self._bounds.slowest:
            raise SourceTooSlow(rate=self._bounds.slowest)

    async def next(self, response: ClientResponse) -> bytes:
        """The bytes that came meanwhile, none at the end."""
        async with self.waiting(self._bounds.silence):
            return await response.content.readany()


class Download:
    """One file as it comes, to be iterated once; its bytes are as they are, not as they were sent."""

    def __init__(self, response: ClientResponse, clock: Clock) -> None:
        _check_status(response)
        self._response = response
        self._clock = clock
        self._inflating = _inflating(response)
        self.size = None if self._inflating else response.content_length
        """Its bytes, as far as the server tells."""
        self.received = 0
        """Bytes handed on so far."""
        self.name = _name(response)
        """What the server calls it, else the last part of the address it was found at; may be empty."""

    async def __aiter__(self) -> AsyncIterator[bytes]:
        taken = 0
        try:
            while chunk := await self._clock.next(self._response):
                taken += len(chunk)
                self._clock.check(taken)
                for piece in self._pieces(chunk, taken):
                    self.received += len(piece)
                    yield piece
        except ClientError as fault:
            raise SourceBroken from unspoken(fault)
        if self._inflating and taken and not self._inflating.eof:
            raise SourceBroken

    def _pieces(self, chunk: bytes, taken: int) -> Iterator[bytes]:
        if self._inflating is None:
            yield chunk
            return
        try:
            yield from self._inflated(chunk, taken)
        except zlib.error as fault:
            raise SourceBroken from fault

    def _inflated(self, chunk: bytes, taken: int) -> Iterator[bytes]:
        assert self._inflating is not None
        while chunk:
            if self._inflating.eof:  # of a member; another one follows (RFC 1952, section 2.2)
                self._inflating = zlib.decompressobj(16 + zlib.MAX_WBITS)
            if piece := self._inflating.decompress(chunk, INFLATED):
                if self.received + len(piece) > max(GROWTH_AFTER, GROWTH * taken):
                    raise SourceInflates(times=GROWTH)
                yield piece
            chunk = self._inflating.unconsumed_tail or self._inflating.unused_data


def _inflating(response: ClientResponse) -> zlib._Decompress | None:
    """What takes the coding off that was put on although none was asked for; raises `SourceEncoded`.

    Many servers compress whatever they are asked, so gzip is borne; every inflated byte counts like one that was sent.
    """
    coding = response.headers.get("Content-Encoding", "").strip().lower()
    if coding in ("", "identity") or (coding in ("gzip", "x-gzip") and response.content_type in PACKED):
        return None
    if coding not in ("gzip", "x-gzip"):
        raise SourceEncoded(coding=coding[:40])
    return zlib.decompressobj(16 + zlib.MAX_WBITS)


def _check_status(response: ClientResponse) -> None:
    status = response.status
    if status >= 500 or status in TRY_LATER:
        raise SourceFailed(answered=status, retry_after=_delay(response.headers.get("Retry-After", "")))
    if status in (404, 410):
        raise SourceNotFound(answered=status)
    if not 200 <= status < 300:
        raise SourceRejected(answered=status)
    if status in (204, 205) or response.content_length == 0:
        raise FileEmpty(name=_name(response)[:200])


def _delay(text: str) -> int | None:
    """Seconds that a Retry-After asks for (RFC 9110, section 10.2.3), not more than we have the patience for."""
    if re.fullmatch(r"\d{1,9}", text):
        return min(int(text), LONGEST_DELAY)
    try:
        seconds = (parsedate_to_datetime(text) - now()).total_seconds()
    except (ValueError, TypeError):
        return None
    return max(0, min(int(seconds), LONGEST_DELAY))


def _name(response: ClientResponse) -> str:
    given = response.headers.get("Content-Disposition", "")
    try:
        given = given.encode("utf-8", "surrogateescape").decode()
    except UnicodeDecodeError:
        given = given.encode("utf-8", "surrogateescape").decode("iso-8859-1")
    return disposition_name(given) or response.url.name


def _told(fault: ClientError, url: URL, private: bool) -> SafelightError:
    """What may be said of a fault: whether a name is known inside is not, where inside is not to be reached."""
    cause = fault.os_error if isinstance(fault, ClientConnectorError) else None
    if is_refused(cause):
        return AddressRefused() if private or is_literal(url) else HostNotFound()
    if isinstance(fault, ClientConnectorDNSError) and getattr(cause, "errno", 0) in NO_SUCH_NAME:
        return HostNotFound()
    if isinstance(fault, InvalidURL):
        return UrlHostMalformed()
    if isinstance(fault, ClientConnectorCertificateError):
        return SourceUnreachable(reason="its certificate does not hold")
    if isinstance(fault, ClientConnectorError | ServerTimeoutError):
        return SourceUnreachable(reason="there is no connection")
    return SourceBroken()
