"""Calls to servers outside: every dial judged, every wait and every answer bounded, no secret in what goes wrong.

Errors and their causes never hold the URL, a header or a body, as these may hold secrets and causes go to the log.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import re
import socket
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import ExitStack, asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any, BinaryIO
from uuid import uuid4

from aiohttp import (
    BufferedReaderPayload,
    ClientConnectorDNSError,
    ClientConnectorError,
    ClientError,
    ClientPayloadError,
    ClientResponse,
    ClientSession,
    ClientTimeout,
    DummyCookieJar,
    FormData,
    InvalidURL,
    ServerTimeoutError,
)
from aiohttp.abc import AbstractResolver
from multidict import CIMultiDict
from standardwebhooks import Webhook
from yarl import URL

from pipeline import sniff
from pipeline.calls import Call, Enclosure, Form, Reply, Seal
from pipeline.dialing import ANYWHERE, OUTSIDE, Guard, is_refused
from pipeline.errors import AddressRefused, AnswerInvalid, CallFailed, CallRejected, NodeInvalid
from pipeline.model import now

CONNECT_WITHIN = 5.0
"""Seconds to look a name up and reach its server."""
SILENCE = 10.0
"""Longest wait for the next bytes of an answer that has begun, seconds."""
TRY_LATER = {408, 425, 429}
"""Statuses below 500 that say: not now."""
REDIRECTS = {301, 302, 303, 307, 308}
NO_SUCH_NAME = {socket.EAI_NONAME, getattr(socket, "EAI_NODATA", socket.EAI_NONAME)}
UNFIT_FOR_HEADERS = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")
BASE64 = re.compile(r"(whsec_)?[A-Za-z0-9+/]{4,}={0,2}")


class Outbound:
    """The one HTTP client towards outside; made in a running loop, closed when the process ends."""

    def __init__(
        self,
        public: Guard = OUTSIDE,
        private: Guard = ANYWHERE,
        resolver: AbstractResolver | None = None,
    ) -> None:
        self._guards = {False: public, True: private}
        # Apart, so that a connection one project may have is never at hand for another.
        self._sessions = {allowed: _session(guard, resolver) for allowed, guard in self._guards.items()}

    async def close(self) -> None:
        for session in self._sessions.values():
            await session.close()

    def guard(self, private: bool) -> Guard:
        """Which addresses may be dialled for who may reach private ones, or may not."""
        return self._guards[private]

    @asynccontextmanager
    async def asked(self, url: URL, *, private: bool = False) -> AsyncIterator[ClientResponse]:
        """The answer to a GET as it begins, whatever its status; no redirect is followed.

        Raises what aiohttp does; who calls bounds the wait, and says of a fault no more than `unspoken` does.
        """
        async with self._sessions[private].get(url, allow_redirects=False) as response:
            try:
                yield response
            finally:
                response.close()  # what was not read is not waited for

    async def send(self, call: Call, folder: Path, *, private: bool = False) -> Reply:
        """Make the call; the answer, when there is room for one, lies in a new file of `folder`.

        `private` lets it reach private addresses and any port. Raises `AddressRefused`, `CallFailed` (retryable: no
        connection, no end in time, broken off, 5xx, 408, 425, 429), `CallRejected` (any other status that is no
        success) and `AnswerInvalid` (too large, compressed).
        """
        try:
            async with asyncio.timeout(call.within):
                return await self._sent(call, folder, private)
        except ClientError as fault:
            raise _told(fault, private) from unspoken(fault)
        except TimeoutError:
            raise CallFailed(reason=f"it did not end within {call.within:g} seconds") from None

    async def _sent(self, call: Call, folder: Path, private: bool) -> Reply:
        guard, headers = self._guards[private], _headers(call)
        url = guard.url(call.url)
        for _ in range(call.redirects + 1 if call.method == "GET" else 1):
            async with self._answered(call, url, headers, private) as response:
                location = response.headers.get("Location")
                if call.method != "GET" or response.status not in REDIRECTS or not location or not call.redirects:
                    return await _received(response, call, folder)
                before, url = url, guard.onward(url, location)
                headers = headers if url.origin() == before.origin() else CIMultiDict()
        raise CallFailed(reason=f"it redirects more than {call.redirects} times")

    @asynccontextmanager
    async def _answered(
        self, call: Call, url: URL, headers: CIMultiDict[str], private: bool
    ) -> AsyncIterator[ClientResponse]:
        with _body(call) as body:
            async with self._sessions[private].request(
                call.method, url, data=body, headers=headers, allow_redirects=False
            ) as response:
                try:
                    yield response
                finally:
                    response.close()  # what was not read is not waited for


def _session(guard: Guard, resolver: AbstractResolver | None) -> ClientSession:
    return ClientSession(
        connector=guard.connector(resolver),
        cookie_jar=DummyCookieJar(),
        trust_env=False,  # a proxy would look names up and dial for us
        auto_decompress=False,
        timeout=ClientTimeout(total=None, connect=CONNECT_WITHIN),
        headers={"User-Agent": "Safelight", "Accept-Encoding": "identity"},
    )


# What goes out


def _headers(call: Call) -> CIMultiDict[str]:
    headers: CIMultiDict[str] = CIMultiDict()
    for name, value in call.headers.items():
        headers[name] = value  # the last of two spellings counts
    if call.seal:
        headers.update(_sealed(call.seal, call.body))
    for name, value in headers.items():
        if UNFIT_FOR_HEADERS.search(value):
            raise NodeInvalid(reason=f"the value of the header `{name}` holds a control character")
    return headers


def _sealed(seal: Seal, body: Any) -> Mapping[str, str]:
    at = now()
    headers = {"webhook-id": seal.id, "webhook-timestamp": str(int(at.timestamp()))}
    if seal.secret is None:
        return headers
    if not BASE64.fullmatch(seal.secret):
        raise NodeInvalid(reason="the secret that signs is to be base64, such as `whsec_...`")
    assert isinstance(body, bytes)
    key = base64.b64decode(seal.secret.removeprefix("whsec_") + "==")
    return headers | {"webhook-signature": Webhook(key).sign(seal.id, at, body.decode())}


@contextmanager
def _body(call: Call) -> Iterator[Any]:
    with ExitStack() as opened:
        if isinstance(call.body, Enclosure):
            file = opened.enter_context(call.body.path.open("rb"))
            yield BufferedReaderPayload(file, content_type=call.body.mime, filename=None)
        elif isinstance(call.body, Form):
            yield _form(call.body, opened.enter_context(call.body.file.path.open("rb")))
        else:
            yield call.body


def _form(form: Form, file: BinaryIO) -> FormData:
    # As browsers do: names in UTF-8, quotes escaped.
    data = FormData(quote_fields=False, default_to_multipart=True)
    for name, value in form.fields.items():
        data.add_field(name, value)
    name = "".join(letter for letter in form.file.name if letter.isprintable()) or "file"
    data.add_field(form.part, file, content_type=form.file.mime, filename=name)
    return data


# What comes in


async def _received(response: ClientResponse, call: Call, folder: Path) -> Reply:
    _check_status(response.status)
    if call.room is None:
        return Reply(response.status)
    coding = response.headers.get("Content-Encoding", "identity").strip().lower()
    if coding not in ("identity", ""):
        raise AnswerInvalid(reason="it is compressed, which was not asked for")
    if (response.content_length or 0) > call.room:
        raise _too_long(call.room)
    path = folder / f"answer-{uuid4().hex}"
    try:
        return await _kept(response, path, call.room)
    except BaseException:
        path.unlink(missing_ok=True)
        raise


def _check_status(status: int) -> None:
    if status >= 500 or status in TRY_LATER:
        raise CallFailed(reason=f"it answered {status}", answered=status)
    if not 200 <= status < 300:
        raise CallRejected(answered=status)


async def _kept(response: ClientResponse, path: Path, room: int) -> Reply:
    digest, size, head = hashlib.sha256(), 0, b""
    with path.open("wb") as file:
        while chunk := await _next(response):
            size += len(chunk)
            if size > room:
                raise _too_long(room)
            head = head if len(head) >= sniff.HEAD_SIZE else head + chunk
            digest.update(chunk)
            await asyncio.to_thread(file.write, chunk)
    mime = sniff.media_type(head[: sniff.HEAD_SIZE])
    return Reply(response.status, path, size, digest.hexdigest(), mime)


async def _next(response: ClientResponse) -> bytes:
    """The bytes that came meanwhile, none at the end."""
    try:
        async with asyncio.timeout(SILENCE):
            return await response.content.readany()
    except TimeoutError:
        raise CallFailed(reason=f"nothing came for {SILENCE:g} seconds") from None


def _too_long(room: int) -> AnswerInvalid:
    return AnswerInvalid(reason=f"it is longer than {room} bytes")


# What goes wrong


def _told(fault: ClientError, private: bool) -> AddressRefused | CallFailed:
    """What may be said of a fault; whether a name exists inside is not, where inside is not to be reached."""
    cause = fault.os_error if isinstance(fault, ClientConnectorError) else None
    if isinstance(fault, InvalidURL) or is_refused(cause):
        return AddressRefused()
    if isinstance(fault, ClientConnectorDNSError) and not private and getattr(cause, "errno", 0) in NO_SUCH_NAME:
        return AddressRefused()
    if isinstance(fault, ClientConnectorError | ServerTimeoutError):
        return CallFailed(reason="there is no connection")
    if isinstance(fault, ClientPayloadError):
        return CallFailed(reason="it broke off")
    return CallFailed(reason="the connection was lost")


def unspoken(fault: ClientError) -> OSError:
    """The fault for the log, without the words of the library, which may quote the URL."""
    cause = fault.os_error if isinstance(fault, ClientConnectorError) else fault
    if isinstance(cause, OSError) and is_refused(cause):
        return cause
    return OSError(type(cause).__name__, getattr(cause, "errno", None))
