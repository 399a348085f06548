"""What is refused while bytes stream, and that the digest is that of the bytes."""

from __future__ import annotations

import asyncio
import hashlib
import os
import threading
from collections.abc import AsyncIterator

import pytest

from pipeline.arrival import HASH_AHEAD, HASH_BATCH, Arrival, Digest, Rules
from pipeline.errors import (
    BodyIncomplete,
    BodyTooLong,
    FileEmpty,
    FileTooLarge,
    TypeMismatch,
    TypeNotAllowed,
)

PNG = b"\x89PNG\r\n\x1a\n" + bytes(range(256)) * 64


class Sender:
    """Chunks, and how many of them were asked for."""

    def __init__(self, *chunks: bytes, fault: Exception | None = None) -> None:
        self.chunks, self.fault, self.asked = list(chunks), fault, 0

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for chunk in self.chunks:
            self.asked += 1
            yield chunk
        if self.fault:
            raise self.fault


def rules(
    limit: int = 10**9,
    size: int | None = None,
    declared: str | None = None,
    allowed: tuple[tuple[str, ...], ...] = (("*/*",),),
) -> Rules:
    return Rules("photo.png", limit, size, declared, allowed)


async def taken(arrival: Arrival) -> bytes:
    await arrival.open()
    return b"".join([chunk async for chunk in arrival])


async def test_the_bytes_come_through_with_type_size_and_digest() -> None:
    body = PNG * 300
    pieces = [body[at : at + 70_000] for at in range(0, len(body), 70_000)]
    arrival = Arrival(Sender(*pieces), rules(size=len(body), declared="image/png"), whole=True)
    assert await taken(arrival) == body
    assert (arrival.media_type, arrival.size) == ("image/png", len(body))
    assert await arrival.digest.hex() == hashlib.sha256(body).hexdigest()


async def test_a_forbidden_type_is_refused_after_its_first_chunk() -> None:
    sender = Sender(*[PNG] * 1000)
    with pytest.raises(TypeNotAllowed, match="image/png"):
        await Arrival(sender, rules(allowed=(("*/*",), ("image/jpeg", "video/*"))), whole=True).open()
    assert sender.asked == 1


async def test_a_lie_about_the_type_is_refused_after_its_first_chunk() -> None:
    sender = Sender(*[b"just some text, " * 1024] * 10)
    with pytest.raises(TypeMismatch):
        await Arrival(sender, rules(declared="image/png"), whole=True).open()
    assert sender.asked == 1


async def test_no_more_than_the_limit_is_ever_handed_on() -> None:
    arrival = Arrival(Sender(*[PNG] * 10), rules(limit=3 * len(PNG) + 5), whole=True)
    await arrival.open()
    passed = 0
    with pytest.raises(FileTooLarge, match=str(3 * len(PNG) + 5)):
        async for chunk in arrival:
            passed += len(chunk)
    assert passed == 3 * len(PNG)


async def test_a_body_longer_or_shorter_than_declared_is_refused() -> None:
    with pytest.raises(BodyTooLong):
        await taken(Arrival(Sender(PNG, PNG), rules(size=len(PNG) + 1), whole=True))
    with pytest.raises(BodyIncomplete, match=f"after {len(PNG)} of {len(PNG) + 1}"):
        await taken(Arrival(Sender(PNG), rules(size=len(PNG) + 1), whole=True))
    with pytest.raises(BodyIncomplete):
        await taken(Arrival(Sender(PNG[:10]), rules(size=20), whole=True))


async def test_an_empty_body_is_refused() -> None:
    with pytest.raises(FileEmpty, match=r"photo\.png"):
        await taken(Arrival(Sender(b"", b""), rules(), whole=True))


async def test_a_later_part_is_counted_from_its_offset_and_not_typed() -> None:
    arrival = Arrival(Sender(b"abc"), rules(size=10), offset=7)
    assert await taken(arrival) == b"abc"
    assert (arrival.size, arrival.media_type) == (10, None)
    with pytest.raises(BodyTooLong):
        await taken(Arrival(Sender(b"abcd"), rules(size=10), offset=7))


async def test_what_came_before_a_cut_is_handed_on_by_a_part() -> None:
    arrival = Arrival(Sender(b"abc", fault=ConnectionResetError()), rules())
    await arrival.open()
    kept = b""
    with pytest.raises(ConnectionResetError):
        async for chunk in arrival:
            kept += chunk
    assert kept == b"abc"


@pytest.mark.parametrize(
    "sizes", [[0], [1, 2, 3], [HASH_BATCH] * 3, [HASH_BATCH * 3 + 1, 5], [100_000] * 50, [HASH_BATCH] * 12]
)
async def test_the_digest_is_that_of_hashlib(sizes: list[int]) -> None:
    digest, known = Digest(), hashlib.sha256()
    for size in sizes:
        chunk = os.urandom(size)
        known.update(chunk)
        await digest.add(chunk)
    assert await digest.hex() == known.hexdigest()


async def test_a_digest_that_falls_behind_holds_the_bytes_back() -> None:
    goes_on, known = threading.Event(), hashlib.sha256()

    class Slow:
        def update(self, data: bytes) -> None:
            goes_on.wait(20)
            known.update(data)

        def digest(self) -> bytes:
            return known.digest()

    async def fed(digest: Digest, taken: list[int]) -> None:
        for _ in range(40):
            await digest.add(bytes(HASH_BATCH))
            taken.append(HASH_BATCH)

    digest, taken = Digest(Slow()), list[int]()
    feeding = asyncio.create_task(fed(digest, taken))
    done, _ = await asyncio.wait([feeding], timeout=0.5)
    assert not done and sum(taken) <= HASH_AHEAD + HASH_BATCH
    goes_on.set()
    await feeding
    assert await digest.hex() == hashlib.sha256(bytes(40 * HASH_BATCH)).hexdigest()
