"""Answers that are asked for again and again, kept ready: the decision which bytes an address means, and small bytes.

What is kept is forgotten as soon as its file is changed or removed, which every process hears of. While it cannot be
heard, nothing is answered from here.
"""

from __future__ import annotations

import os
import re
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from email.utils import formatdate
from math import inf
from pathlib import Path
from uuid import uuid4

from aiohttp import web

from pipeline.model import Derivative, File, Project

LARGEST = 256 * 1024
"""Bytes up to which an answer is given from here; larger ones are for the kernel to send."""
MOST_ENTRIES = 20_000
MOST_CHANGES = 10_000
"""Changes of files that are remembered, against answers that were being prepared meanwhile."""
LONGEST = 4096
"""Bytes of a request that is looked at here."""

# A request without a body, in one piece, and nothing that RFC 9112 would have to be asked about.
REQUEST = re.compile(
    rb"GET ([\x21-\x7e]+) HTTP/1\.1(?:\r\n[!#$%&'*+.^_`|~0-9A-Za-z-]+:[\t\x20-\x7e\x80-\xff]*)+\r\n\r\n"
)
HEADER = re.compile(rb"\r\n([^:\r\n]+):[\t ]*([^\r\n]*)")
STRANGE = frozenset(
    {b"content-length", b"transfer-encoding", b"upgrade", b"expect", b"range", b"trailer", b"te", b"authorization"}
)
"""What makes a request one for the long way."""
REQUEST_ID = re.compile(rb"[\w.:-]{1,128}")
TAG = re.compile(rb'(?:W/)?("[^"]*")')

Count = Callable[[int, float], None]
"""Hears the status and the seconds of every answer."""
Allow = Callable[[str | None, Project], Mapping[str, str]]
"""Which headers let pages of an origin read the answers of a project."""


@dataclass(slots=True)
class Ready:
    """One answer: its head without what changes from time to time, and where its bytes lie."""

    head: bytes
    unchanged: bytes
    """The head of a 304."""
    etag: bytes
    sent: File | Derivative
    headers: Mapping[str, str]
    place: str
    path: Path | None
    project: Project
    files: tuple[str, ...]
    count: Count
    use: Callable[[], None]
    """Told once in a while that it is still asked for."""
    until: float = inf
    """When it must not be given any more, Unix seconds."""
    used: float = 0.0
    origins: dict[bytes, bytes] = field(default_factory=dict)


@dataclass(slots=True)
class _Target:
    """How many answers there are for one target, and whether `Accept` decides which."""

    varies: bool
    entries: int = 0


Key = tuple[bytes, bytes, bytes]


class Shelf:
    """Ready answers by target, host and, where they vary by it, `Accept`; at most `most_bytes` of content."""

    def __init__(self, most_bytes: int, allow: Allow) -> None:
        self._most_bytes = most_bytes
        self._allow = allow
        self._entries: OrderedDict[Key, Ready] = OrderedDict()
        self._targets: dict[bytes, _Target] = {}
        self._of_file: dict[str, set[Key]] = {}
        self._bodies: OrderedDict[str, bytes] = OrderedDict()
        self._held = 0
        self._standing = self._closed = False
        self._clock = self._floor = 0
        """Counts changes; what was looked up before the floor is not known to hold any more."""
        self._changed: OrderedDict[str, int] = OrderedDict()
        self._date = (0, b"")

    def __len__(self) -> int:
        """How many answers are kept."""
        return len(self._entries)

    @property
    def held(self) -> int:
        """Bytes of content that are kept."""
        return self._held

    @property
    def standing(self) -> bool:
        """Whether changes are heard of, so that answers can be kept."""
        return self._standing

    # What is kept

    @property
    def now(self) -> int:
        """The moment before what an answer stands on is looked up."""
        return self._clock

    def keep(self, request: web.Request, ready: Ready, since: int, varies: bool, queried: bool = False) -> None:
        """Keep an answer to `request` that was prepared from what was looked up `since`.

        One to a query is kept only where the query alone, as it was sent, decides it: `queried`.
        """
        if not self._standing or not _is_plain(request) or (request.query_string and not queried):
            return
        if since < self._floor or any(self._changed.get(file, -1) > since for file in ready.files):
            return
        key = _key(request, varies)
        self._drop(key)
        known = self._targets.setdefault(key[0], _Target(varies))
        known.varies, known.entries = varies, known.entries + 1
        self._entries[key] = ready
        for file in ready.files:
            self._of_file.setdefault(file, set()).add(key)
        while len(self._entries) > MOST_ENTRIES:
            self._drop(next(iter(self._entries)))

    def put(self, place: str, body: bytes) -> None:
        """Keep the bytes of an answer at hand."""
        if len(body) > min(LARGEST, self._most_bytes) or place in self._bodies:
            return
        self._bodies[place] = body
        self._held += len(body)
        while self._held > self._most_bytes:
            self._held -= len(self._bodies.popitem(last=False)[1])

    # What is forgotten

    def changed(self, file: str) -> None:
        """Forget everything that stands on a file."""
        self._clock += 1
        self._changed[file] = self._clock
        self._changed.move_to_end(file)
        if len(self._changed) > MOST_CHANGES:
            self._floor = self._changed.popitem(last=False)[1]
        for key in tuple(self._of_file.get(file, ())):
            place = self._entries[key].place
            self._drop(key)
            self._held -= len(self._bodies.pop(place, b""))

    def stands(self, standing: bool) -> None:
        """Hear whether changes are heard of; when they were not, everything is forgotten."""
        self._standing = standing
        for kept in (self._entries, self._targets, self._of_file, self._bodies):
            kept.clear()
        self._held = 0
        self._clock = self._floor = self._clock + 1

    def close(self) -> None:
        """Answer nothing from here any more."""
        self._closed = True

    def _drop(self, key: Key) -> None:
        ready = self._entries.pop(key, None)
        if ready is None:
            return
        known = self._targets[key[0]]
        known.entries -= 1
        if not known.entries:
            del self._targets[key[0]]
        for file in ready.files:
            self._of_file[file].discard(key)
            if not self._of_file[file]:
                del self._of_file[file]

    def drop(self, ready: Ready) -> None:
        """Forget an answer whose bytes are not there."""
        for key in tuple(self._of_file.get(ready.files[-1], ())):
            if self._entries[key] is ready:
                self._drop(key)

    # What is answered

    def find(self, request: web.Request) -> Ready | None:
        """What was decided for such a request before, for one that came the long way."""
        known = self._targets.get(request.raw_path.encode()) if self._standing and _is_plain(request) else None
        ready = self._entries.get(_key(request, known.varies)) if known else None
        return ready if ready is not None and time.time() < ready.until else None

    def answer(self, request: bytes) -> Sequence[bytes] | None:
        """The whole answer to a request as it came from the socket, None where it has to go the long way."""
        if not self._standing or self._closed or len(request) > LONGEST:
            return None
        known = self._targets.get(request[4 : request.find(b" ", 4)])
        if known is None:
            return None
        began = time.perf_counter()
        headers = _headers(request)
        if headers is None:
            return None
        target = request[4 : request.index(b" ", 4)]
        key = (target, headers.get(b"host", b""), headers.get(b"accept", b"") if known.varies else b"")
        ready = self._entries.get(key)
        if ready is None or ready.sent.size > LARGEST or time.time() >= ready.until:
            return None
        answer = self._said(ready, headers)
        if answer is not None:
            self._entries.move_to_end(key)
            if began - ready.used > 60:
                ready.used = began
                ready.use()
            ready.count(200 if len(answer) > 1 else 304, time.perf_counter() - began)
        return answer

    def _said(self, ready: Ready, headers: Mapping[bytes, bytes]) -> Sequence[bytes] | None:
        condition = headers.get(b"if-none-match")
        if condition is not None and _matches(condition, ready.etag):
            return (ready.unchanged + self._tail(ready, headers),)
        body = self._body(ready)
        return None if body is None else (ready.head + self._tail(ready, headers), body)

    def body(self, place: str) -> bytes | None:
        """The bytes that are kept at hand, None when they are not."""
        body = self._bodies.get(place)
        if body is not None:
            self._bodies.move_to_end(place)
        return body

    def _body(self, ready: Ready) -> bytes | None:
        body = self.body(ready.place)
        if body is not None:
            return body
        body = None if ready.path is None else read_at_once(ready.path, ready.sent.size)
        if body is not None:
            self.put(ready.place, body)
        return body

    def _tail(self, ready: Ready, headers: Mapping[bytes, bytes]) -> bytes:
        given = headers.get(b"x-request-id", b"")
        name = given if REQUEST_ID.fullmatch(given) else str(uuid4()).encode()
        origin = headers.get(b"origin", b"")
        allowed = ready.origins.get(origin)
        if allowed is None:
            allowed = self._allowed(ready, origin)
        return b"Date: %b\r\nX-Request-Id: %b\r\n%b\r\n" % (self._today(), name, allowed)

    def _allowed(self, ready: Ready, origin: bytes) -> bytes:
        told = self._allow(origin.decode("latin-1") or None, ready.project)
        text = head_of(told.items())
        if len(ready.origins) < 16:
            ready.origins[origin] = text
        return text

    def _today(self) -> bytes:
        now = int(time.time())
        if self._date[0] != now:
            self._date = (now, formatdate(now, usegmt=True).encode())
        return self._date[1]


SHELF = web.AppKey("shelf", Shelf)


def read_at_once(path: Path, size: int) -> bytes | None:
    """The bytes of a file of this size, None when they are not in memory already, or are others."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        # Where the kernel would have to wait for the disk it says so instead.
        body = bytearray(size + 1)
        read = os.preadv(descriptor, [body], 0, os.RWF_NOWAIT)
        del body[read:]
        return bytes(body) if read == size else None
    except (OSError, AttributeError):  # not ready, or no such power here
        return None
    finally:
        with suppress(OSError):
            os.close(descriptor)


def head_of(headers: Iterable[tuple[str, str]]) -> bytes:
    """Headers as they are sent."""
    return "".join(f"{name}: {value}\r\n" for name, value in headers).encode("latin-1")


def _headers(request: bytes) -> dict[bytes, bytes] | None:
    """The headers of a plain request, None for any other."""
    if REQUEST.fullmatch(request) is None:
        return None
    found: dict[bytes, bytes] = {}
    for name, value in HEADER.findall(request, request.index(b"\r\n"), len(request) - 2):
        name = name.lower()
        if name in found or name in STRANGE:
            return None
        found[name] = value.rstrip(b"\t ")
    if found.get(b"connection", b"keep-alive").lower() != b"keep-alive":
        return None
    return found


def _matches(condition: bytes, etag: bytes) -> bool:
    return condition.strip() == b"*" or etag in TAG.findall(condition)


def _is_plain(request: web.Request) -> bool:
    """Whether it can be told apart from others by its bytes: no doubled headers, nothing beyond ASCII."""
    names = [name.lower() for name in request.headers]
    told = f"{request.raw_path}{request.host}{request.headers.get('Accept', '')}"
    return len(set(names)) == len(names) and told.isascii()


def _key(request: web.Request, varies: bool) -> Key:
    accept = request.headers.get("Accept", "") if varies else ""
    return request.raw_path.encode(), request.host.encode(), accept.encode()
