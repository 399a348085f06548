"""What only a storage in S3 has: addresses for others, an address of its own, and a server that can fail."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from uuid import uuid4

import aiohttp
import pytest

from pipeline.errors import SettingsInvalid, StorageFull, StorageUnavailable
from pipeline.storage import S3Storage, Storage, open_storage

KEY = "demo/files/ab/abcdef/photo.png"
ACCOUNT = "access_key=a&secret_key=s"


@pytest.fixture
async def storage(s3_url: str) -> AsyncIterator[Storage]:
    opened = open_storage(s3_url.replace("/tests?", f"/{uuid4()}?"))
    yield opened
    await opened.close()


@pytest.fixture
def silent_port() -> Iterator[int]:
    """A port where somebody listens and never says a word."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


@asynccontextmanager
async def answering(status: str, code: str) -> AsyncIterator[str]:
    """The endpoint of a server that answers everything with one S3 error."""
    body = f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>no</Message></Error>".encode()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        head = f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
        writer.write(head.encode() + body)
        await writer.drain()
        writer.close()
        await writer.wait_closed()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"


async def pieces(*chunks: bytes) -> AsyncIterator[bytes]:
    for chunk in chunks:
        yield chunk


async def test_an_address_gives_the_bytes_with_the_wished_type_and_name(storage: Storage) -> None:
    await storage.put(KEY, pieces(b"pixels"), None, "image/png")
    plain = await storage.url(KEY, 60)
    wished = await storage.url(KEY, 60, "application/pdf", 'é "1".pdf')
    assert plain and wished
    async with aiohttp.ClientSession() as session:
        async with session.get(plain) as answer:
            assert (answer.status, await answer.read()) == (200, b"pixels")
            assert answer.headers["Content-Type"] == "image/png"
        async with session.get(wished, headers={"Range": "bytes=1-2"}) as answer:
            assert (answer.status, await answer.read()) == (206, b"ix")
            assert answer.headers["Content-Type"] == "application/pdf"
            assert answer.headers["Content-Disposition"] == "attachment; filename*=UTF-8''%C3%A9%20%221%22.pdf".replace(
                '"', "%22"
            )


async def test_an_address_is_for_its_own_key_only(storage: Storage) -> None:
    await storage.put(KEY, pieces(b"pixels"), None, "image/png")
    await storage.put("secret", pieces(b"secret"), None, "text/plain")
    url = await storage.url(KEY, 60)
    assert url
    async with aiohttp.ClientSession() as session, session.get(url.replace(KEY, "secret")) as answer:
        assert answer.status == 403


async def test_a_put_address_takes_this_type_and_size_and_nothing_else(storage: Storage) -> None:
    url = await storage.presign_put(KEY, 60, "image/png", 6)
    assert url
    async with aiohttp.ClientSession() as session:
        for body, media_type in ((b"pixels", "text/html"), (b"pixels and more", "image/png"), (b"few", "image/png")):
            async with session.put(url, data=body, headers={"Content-Type": media_type}) as answer:
                assert answer.status == 403
        assert await storage.stat(KEY) is None
        async with session.put(url, data=b"pixels", headers={"Content-Type": "image/png"}) as answer:
            assert answer.status == 200
    found = await storage.stat(KEY)
    assert found and (found.size, found.media_type) == (6, "image/png")


async def test_the_media_type_is_remembered(storage: Storage) -> None:
    for length in (10, 9 * 1024 * 1024):
        await storage.put("no-extension", pieces(bytes(length)), None, "image/avif")
        found = await storage.stat("no-extension")
        assert found and (found.size, found.media_type) == (length, "image/avif")


async def test_a_server_that_is_not_there_is_told_within_five_seconds() -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    storage = open_storage(f"s3://bucket/x?endpoint=http://127.0.0.1:{port}&{ACCOUNT}")
    began = time.monotonic()
    for verb in (storage.check(), storage.stat(KEY), storage.put(KEY, pieces(b"x"), None, "a/b"), storage.delete(KEY)):
        with pytest.raises(StorageUnavailable):
            await verb
    with pytest.raises(StorageUnavailable):
        await anext(storage.open(KEY))
    assert time.monotonic() - began < 5 * 5
    await storage.close()


async def test_a_server_that_says_nothing_fails_the_check_within_six_seconds(silent_port: int) -> None:
    storage = open_storage(f"s3://bucket/x?endpoint=http://127.0.0.1:{silent_port}&{ACCOUNT}")
    began = time.monotonic()
    with pytest.raises(StorageUnavailable):
        await storage.check()
    assert time.monotonic() - began < 6
    await storage.close()


@pytest.mark.parametrize(
    ("status", "code", "error"),
    [
        ("503 Slow Down", "SlowDown", StorageUnavailable),
        ("403 Forbidden", "AccessDenied", StorageUnavailable),
        ("404 Not Found", "NoSuchBucket", StorageUnavailable),
        ("507 Insufficient Storage", "XMinioStorageFull", StorageFull),
    ],
)
async def test_a_server_that_refuses(status: str, code: str, error: type[Exception]) -> None:
    async with answering(status, code) as endpoint:
        storage = open_storage(f"s3://bucket/x?endpoint={endpoint}&{ACCOUNT}")
        with pytest.raises(error):
            await storage.put(KEY, pieces(b"x"), None, "image/png")
        with pytest.raises(error):
            await storage.check()
        await storage.close()


async def test_a_bucket_that_does_not_exist_fails_the_check(s3_url: str) -> None:
    storage = open_storage(s3_url.replace("s3://safelight-tests/", "s3://No.Such_Bucket/"))
    with pytest.raises(StorageUnavailable):
        await storage.check()
    await storage.close()


def test_an_address_is_read_whole() -> None:
    storage = open_storage(
        "s3://media/prod/files/?endpoint=http://127.0.0.1:8333&region=eu-1&access_key=env:KEY&secret_key=s%26",
        {"KEY": "k"},
    )
    assert isinstance(storage, S3Storage)
    bucket = storage.bucket
    assert (bucket.name, bucket.prefix, bucket.endpoint) == ("media", "prod/files", "http://127.0.0.1:8333")
    assert (bucket.region, bucket.access_key, bucket.secret_key) == ("eu-1", "k", "s&")
    assert storage.place("a/b") == "prod/files/a/b"


def test_the_keys_may_stand_before_the_bucket_or_outside() -> None:
    named, bare = open_storage("s3://key:se%2Fcret@media"), open_storage("s3://media")
    assert isinstance(named, S3Storage) and isinstance(bare, S3Storage)
    assert (named.bucket.access_key, named.bucket.secret_key) == ("key", "se/cret")
    assert (bare.bucket.access_key, bare.bucket.endpoint, bare.bucket.prefix) == (None, None, "")
    assert bare.place("a") == "a"


@pytest.mark.parametrize(
    ("url", "word"),
    [
        ("s3://", "bucket"),
        ("s3://media?endpont=http://x", "endpont"),
        ("s3://media?endpoint=127.0.0.1:8333", "http://"),
        ("s3://media?access_key=env:NOT_SET&secret_key=x", "NOT_SET"),
        ("ftp://media", "ftp"),
        ("media", "s3://"),
    ],
)
def test_an_address_that_is_wrong_says_what(url: str, word: str) -> None:
    with pytest.raises(SettingsInvalid) as refused:
        open_storage(url, {})
    assert word in refused.value.message


async def test_what_is_large_is_copied_in_parts(storage: Storage) -> None:
    assert isinstance(storage, S3Storage)
    body = bytes(range(256)) * (20 * 4096) + b"end"
    await storage.put("source", pieces(body), len(body), "video/mp4")
    await storage.copy("source", "target")
    assert b"".join([piece async for piece in storage.open("target")]) == body
    found = await storage.stat("target")
    assert found and found.media_type == "video/mp4"
    left = [begun.key async for begun in storage.begun("")]  # other tests share the bucket
    assert not [key for key in left if key.endswith("target")]
