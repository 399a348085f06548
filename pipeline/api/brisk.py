"""The short way of a connection: a plain request whose answer lies ready is answered before anybody parses it."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any, Protocol, cast

from aiohttp import web


class Answers(Protocol):
    """Who may have the answer to a request ready."""

    def answer(self, request: bytes) -> Sequence[bytes] | None: ...


class Brisk(web.RequestHandler):
    """A connection that takes the short way where it is sure to stand between two requests.

    It is sure as long as every piece that came was one whole request without a body; who pipelines, sends bodies or
    sends heads in pieces gets the same answers the long way.
    """

    __slots__ = ("_sure",)

    def __init__(self, manager: web.Server, **settings: Any) -> None:
        super().__init__(manager, **settings)
        self._sure = True

    def data_received(self, data: bytes) -> None:
        if self._sure:
            shelf: Answers | None = getattr(self._manager, "shelf", None)
            if shelf is not None and data.startswith(b"GET /") and self._is_idle():
                answer = shelf.answer(data)
                if answer is not None:
                    self._send(answer)
                    return
            self._sure = _is_whole(data)
        super().data_received(data)

    def _is_idle(self) -> bool:
        """Whether nothing is being answered, and the client has taken what was."""
        if self._waiter is None or self._waiter.done() or self._messages or self._upgraded:
            return False
        if self._force_close or self._close or self._payload_parser is not None or self.transport is None:
            return False
        return cast(asyncio.WriteTransport, self.transport).get_write_buffer_size() == 0

    def _send(self, answer: Sequence[bytes]) -> None:
        assert self.transport is not None
        self._request_count += 1
        cast(asyncio.WriteTransport, self.transport).writelines(answer)
        self._next_keepalive_close_time = self._loop.time() + self._keepalive_timeout


def _is_whole(data: bytes) -> bool:
    """Whether these bytes are one request without a body, so that the next ones begin another."""
    if not data.startswith((b"GET ", b"HEAD ")) or data.find(b"\r\n\r\n") != len(data) - 4:
        return False
    head = data.lower()
    return b"content-length" not in head and b"transfer-encoding" not in head and b"upgrade" not in head
