"""The bytes of a file, or of what was made of it, as an answer that caches may keep and that is kept ready here too."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import inf

from aiohttp import web

from pipeline.api.content import ACCEL, KEPT, PUBLIC_CACHE, content_headers, disposition, send_bytes
from pipeline.api.endpoint import PROJECT, Call
from pipeline.api.metrics import labels_of
from pipeline.api.shelf import LARGEST, SHELF, Ready, head_of
from pipeline.errors import StorageKeyNotFound
from pipeline.model import Derivative, File, Project
from pipeline.storage.base import Storage


@dataclass(frozen=True)
class Showing:
    """How bytes are shown: under which name, in the page or as a download, and whether `Accept` chose them."""

    name: str
    attachment: bool
    varies: bool = False
    seconds: int | None = None
    """For how long the address opens them; None for as long as the file is there."""
    cache: str = PUBLIC_CACHE
    """What caches may do."""
    hints: tuple[str, ...] = ()
    """Other headers that had a say; such an answer is not kept ready."""
    queried: bool = False
    """Whether the address, its query in it, is all that decides."""
    until: float = inf
    """When the address does not open them any more, Unix seconds."""
    is_kept: bool = True
    """Whether what it stands on is called out when it changes, so that it can be kept ready."""

    @property
    def control(self) -> str:
        return self.cache if self.seconds is None else f"public, max-age={self.seconds}"

    @property
    def vary(self) -> str:
        return ", ".join((*(("Accept",) if self.varies else ()), *self.hints))

    @property
    def lasts(self) -> bool:
        """Whether the same request gets the same answer until something is called out."""
        return self.is_kept and self.seconds is None and not self.hints


class Serving:
    """Sends public bytes; it is made before anything is looked up that its answer stands on.

    That are files and, by what is called out when they change, what is told `also`.
    """

    def __init__(self, call: Call, *also: str) -> None:
        self._call = call
        self._also = also
        self._shelf = call.request.app[SHELF]
        self._since = self._shelf.now

    def stands_on(self, *words: str) -> None:
        """Have the answer forgotten when one of these is called out, also when it was since this was made."""
        self._also += words

    async def again(self) -> web.StreamResponse | None:
        """The answer that was decided before for the same address, None when there was none."""
        ready = self._shelf.find(self._call.request)
        if ready is None:
            return None
        request, storage = self._call.request, self._call.core.storages[ready.sent.storage]
        request[PROJECT] = ready.project
        ready.use()
        try:
            body = await self._at_hand(ready.sent, storage) if ready.sent.size <= LARGEST else None
            return await send_bytes(request, ready.sent, storage, dict(ready.headers), body)
        except StorageKeyNotFound:
            self._shelf.drop(ready)
            return None

    async def original(self, file: File, project: Project, showing: Showing) -> web.StreamResponse:
        """Answer with a file as it was sent; raises `RangeNotSatisfiable` or `StorageKeyNotFound`."""
        return await self._sent(file, project, showing, [file])

    async def derivative(
        self, found: Derivative, project: Project, showing: Showing, files: Sequence[File]
    ) -> web.StreamResponse:
        """Answer with what was made of these files, the first above all; raises what `original` does."""
        return await self._sent(found, project, showing, files)

    async def _sent(
        self, sent: File | Derivative, project: Project, showing: Showing, files: Sequence[File]
    ) -> web.StreamResponse:
        request, storage = self._call.request, self._call.core.storages[sent.storage]
        shown = disposition(showing.name, attachment=showing.attachment)
        headers = content_headers(sent, shown, showing.control)
        if showing.vary:
            headers["Vary"] = showing.vary
        body: bytes | None = None
        if request.method == "GET" and ACCEL not in request.app:
            body = await self._at_hand(sent, storage) if sent.size <= LARGEST else None
            if showing.lasts:
                ready = self._ready(sent, headers, project, files, showing.until)
                self._shelf.keep(request, ready, self._since, showing.varies, showing.queried)
        return await send_bytes(request, sent, storage, dict(headers), body)

    async def _at_hand(self, sent: File | Derivative, storage: Storage) -> bytes:
        """All of the bytes, from memory if they are there; raises `StorageKeyNotFound`."""
        place = _place(sent)
        body = self._shelf.body(place)
        if body is None:
            body = b"".join([piece async for piece in storage.open(sent.key)])
            self._shelf.put(place, body)
        return body

    def _ready(
        self, sent: File | Derivative, headers: dict[str, str], project: Project, files: Sequence[File], until: float
    ) -> Ready:
        core = self._call.core
        path = core.storages[sent.storage].local_path(sent.key)
        name = files[0].id, sent.key

        def use() -> None:
            if isinstance(sent, Derivative):
                core.delivering.used(*name)

        return Ready(
            head=b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n%b" % (sent.size, head_of(headers.items())),
            unchanged=b"HTTP/1.1 304 Not Modified\r\n" + head_of((n, headers[n]) for n in KEPT if n in headers),
            etag=headers["ETag"].encode(),
            sent=sent,
            headers=headers,
            place=_place(sent),
            path=path,
            project=project,
            files=(*self._also, *(file.id for file in files)),
            count=self._call.metrics.counting(*labels_of(self._call.request)),
            use=use,
            until=until,
        )


def _place(sent: File | Derivative) -> str:
    return f"{sent.storage}/{sent.key}"
