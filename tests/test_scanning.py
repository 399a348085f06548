"""How the words of a virus scanner are taken; conversations with a whole one are in tests/nodes and tests/api."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from pipeline.errors import SafelightError, ScannerUnavailable, ScanTooLarge
from pipeline.scanning import Scanner

VERSION = "ClamAV 1.4.3/27500"


async def nothing() -> AsyncIterator[bytes]:
    yield b""


async def asked(*replies: str) -> str | None:
    """The signature that a scanner with these replies tells of."""

    async def converse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for number, reply in enumerate(replies, 1):
            await reader.readuntil(b"\0")
            writer.write(f"{number}: {reply}\0".encode())
        await reader.read()
        writer.close()

    server = await asyncio.start_server(converse, "127.0.0.1", 0)
    async with server:
        return (await Scanner("127.0.0.1", server.sockets[0].getsockname()[1]).scan(nothing())).signature


async def test_what_is_clean_and_what_is_found() -> None:
    assert await asked(VERSION, "stream: OK") is None
    assert await asked(VERSION, "stream: Win.Test.EICAR_HDB-1 FOUND") == "Win.Test.EICAR_HDB-1"


@pytest.mark.parametrize(
    ("replies", "fault"),
    [
        ((VERSION, "stream: Heuristics.Limits.Exceeded.MaxFileSize FOUND"), ScanTooLarge),
        ((VERSION, "INSTREAM size limit exceeded. ERROR"), ScanTooLarge),
        ((VERSION, "stream: Can't allocate memory ERROR"), ScannerUnavailable),
        ((VERSION, "stream: OK or so"), ScannerUnavailable),
        ((VERSION, ""), ScannerUnavailable),
        (("Redis 7",), ScannerUnavailable),
    ],
)
async def test_what_is_not_said_to_be_clean_is_not(replies: tuple[str, ...], fault: type[SafelightError]) -> None:
    with pytest.raises(fault):
        await asked(*replies)
