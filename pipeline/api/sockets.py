"""WebSockets (RFC 6455): what happens is told no faster than it is read, and what is asked in between is answered.

Waiting costs little: nothing is compressed, for that would need more memory for each than all the rest.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from dataclasses import dataclass

import structlog
from aiohttp import WSCloseCode, WSMsgType, web

from pipeline.acts import ended
from pipeline.api.endpoint import Call
from pipeline.errors import UpgradeRequired

HEARTBEAT = 25.0
"""Seconds of silence after which the other side is asked whether it is still there; half as long it may be silent."""
WRITE_PATIENCE = 30.0
"""Seconds a reader may take to make room for the next message."""
LINGERING = 60.0
"""Seconds for which a socket on which nothing will be told any more stays open, for who closes it himself."""
FAREWELL = 2.0
"""Seconds in which the other side may answer that it is closed."""
LONGEST = 4096
"""Bytes of a message that is taken."""
WAITING = 16 * 1024
"""Bytes that are told before it is looked whether they are read."""

log = structlog.stdlib.get_logger(__name__)


@dataclass(frozen=True)
class Farewell:
    """The last that is told: the socket is closed with this code (RFC 6455, section 7.4)."""

    code: int


Told = AsyncGenerator[str | Farewell, None]
Answered = Callable[[str | None], str | None]
"""What is answered to a message, if anything; None stands for one that is no text."""


async def converse(call: Call, told: Told, answered: Answered) -> web.StreamResponse:
    """Tell all that is `told` until a `Farewell`, the other side goes or the server stops; 1001 says that it did.

    Who does not read what is told is cut off. Raises `UpgradeRequired` for a request that does not ask for a socket.
    """
    socket = Socket(call.request)
    await socket.open()
    if await call.streams.wait(socket.spoken(told, answered)) is None:
        await socket.close(WSCloseCode.GOING_AWAY)
    return socket.line


class Socket:
    """One of them, from its beginning to its end."""

    def __init__(self, request: web.Request) -> None:
        self._request = request
        self.line = web.WebSocketResponse(
            heartbeat=HEARTBEAT, compress=False, max_msg_size=LONGEST, timeout=FAREWELL, writer_limit=WAITING
        )

    async def open(self) -> None:
        """Raises `UpgradeRequired`."""
        if not self.line.can_prepare(self._request):
            raise UpgradeRequired
        await self.line.prepare(self._request)

    async def spoken(self, told: Told, answered: Answered) -> bool:
        """True once it is over."""
        telling = asyncio.create_task(self._told(told))
        try:
            async for message in self.line:
                answer = answered(message.data if message.type is WSMsgType.TEXT else None)
                if answer is not None:
                    await self._send(answer)
        except ConnectionError:
            pass  # the other side is gone
        except TimeoutError:
            self._cut()
        finally:
            await ended([telling])
        return True

    async def close(self, code: int) -> None:
        """Say so, and wait a moment for the other side to hear it."""
        try:
            async with asyncio.timeout(2 * FAREWELL):
                await self.line.close(code=code)
        except TimeoutError:
            self._cut()

    async def _told(self, told: Told) -> None:
        """Tell everything, and close."""
        try:
            await self.close(await self._tell(told))
        except ConnectionError:
            pass
        except TimeoutError:
            self._cut()
        except Exception:
            log.exception("socket_broken")
            await self.close(WSCloseCode.INTERNAL_ERROR)

    async def _tell(self, told: Told) -> int:
        async with aclosing(told):
            async for one in told:
                if isinstance(one, Farewell):
                    return one.code
                await self._send(one)
        await asyncio.sleep(LINGERING)
        return WSCloseCode.OK

    async def _send(self, text: str) -> None:
        """Raises `TimeoutError` when nobody reads."""
        async with asyncio.timeout(WRITE_PATIENCE):
            await self.line.send_str(text)

    def _cut(self) -> None:
        log.info("socket_cut")
        if self._request.transport is not None:
            self._request.transport.abort()
