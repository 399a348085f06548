"""The bytes of a large body straight from its socket: in pieces of 1 MiB that nobody copies on the way.

What a parser and a loop between them do to every byte (three copies, in pieces of 256 KiB) is most of what a large
upload costs a server otherwise.
"""

from __future__ import annotations

import asyncio
import os
import socket

PIECE = 1024 * 1024
"""Bytes read at once."""


class Tap:
    """Reads `size` bytes that are still to come over a connection whose own reading pauses meanwhile."""

    def __init__(self, descriptor: int, size: int) -> None:
        """Raises `OSError` where there are no more descriptors to be had."""
        self.rest = size
        """Bytes that have not been read."""
        self._socket = socket.socket(fileno=os.dup(descriptor))
        self._socket.setblocking(False)
        self._loop = asyncio.get_running_loop()
        self._ready: asyncio.Future[None] | None = None

    async def read(self) -> bytes:
        """The next bytes as soon as there are any; b"" when the client is gone, or `close` was called."""
        await asyncio.sleep(0)  # a client that sends without a pause must not have the loop to itself
        while self._socket.fileno() >= 0:
            try:
                piece = self._socket.recv(min(PIECE, self.rest))
            except BlockingIOError:
                await self._wait()
            except OSError:
                return b""
            else:
                self.rest -= len(piece)
                return piece
        return b""

    def close(self) -> None:
        """Leave the socket to its connection; a second time is fine."""
        if self._socket.fileno() >= 0:
            self._loop.remove_reader(self._socket)
            self._socket.close()
        self._wake()

    async def _wait(self) -> None:
        self._ready = self._loop.create_future()
        self._loop.add_reader(self._socket, self._wake)
        try:
            await self._ready
        finally:
            if self._socket.fileno() >= 0:
                self._loop.remove_reader(self._socket)

    def _wake(self) -> None:
        if self._ready is not None and not self._ready.done():
            self._ready.set_result(None)
