"""What every storage promises, run over each member of the room's index."""

from __future__ import annotations

import asyncio
import gc
import tracemalloc
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import timedelta
from hashlib import sha256
from pathlib import Path
from uuid import uuid4

import pytest

from pipeline.errors import BodyIncomplete, BodyTooLong, PathInvalid, RangeNotSatisfiable, StorageKeyNotFound
from pipeline.model import Intake, Upload, now
from pipeline.staging import staging_for
from pipeline.storage import STORAGES, ByteRange, LocalStorage, MemoryStorage, S3Storage, Storage, open_storage
from pipeline.storage.base import PIECE, Content

MIB = 1024 * 1024
KEY = "demo/files/ab/abcdef/photo.webp"
TYPE = "image/webp"


@pytest.fixture(params=list(STORAGES))
async def storage(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Storage]:
    urls: dict[str, Callable[[], str]] = {
        "memory": lambda: "memory://",
        "file": lambda: f"file://{tmp_path}/files",
        "s3": lambda: request.getfixturevalue("s3_url").replace("/tests?", f"/{uuid4()}?"),
    }
    opened = open_storage(urls[request.param]())
    yield opened
    await opened.close()


async def leftovers(storage: Storage) -> list[str]:
    """Everything in the storage, finished or not."""
    match storage:
        case MemoryStorage():
            return sorted(storage.kept)
        case LocalStorage():
            return sorted(str(path.relative_to(storage.root)) for path in storage.root.rglob("*") if path.is_file())
        case S3Storage():
            begun = await (await storage.client()).list_multipart_uploads(Bucket=storage.bucket.name)
            unfinished = [u["Key"] for u in begun.get("Uploads", []) if u["Key"].startswith(storage.bucket.prefix)]
            everything = [*await storage.below(storage.bucket.prefix), *unfinished]
            return sorted(key.removeprefix(f"{storage.bucket.prefix}/") for key in everything)
    raise AssertionError(storage)


async def pieces(*chunks: bytes) -> AsyncIterator[bytes]:
    for chunk in chunks:
        yield chunk


async def bytes_of(storage: Storage, key: str = KEY, part: ByteRange | None = None) -> bytes:
    return b"".join([piece async for piece in storage.open(key, part)])


async def test_what_was_put_can_be_read(storage: Storage) -> None:
    assert await storage.put(KEY, pieces(b"one ", b"", b"two"), 7, TYPE) == 7
    assert await bytes_of(storage) == b"one two"
    found = await storage.stat(KEY)
    assert found and (found.size, found.media_type) == (7, TYPE)
    assert await leftovers(storage) == [KEY]


async def test_what_need_not_last_can_be_read_at_once(storage: Storage) -> None:
    for text in (b"one", b"another"):
        assert await storage.put(KEY, pieces(text), len(text), TYPE, lasting=False) == len(text)
        assert await bytes_of(storage) == text
    assert await leftovers(storage) == [KEY]


async def test_no_bytes_are_bytes_too(storage: Storage) -> None:
    assert await storage.put(KEY, pieces(), 0, TYPE) == 0
    assert await bytes_of(storage) == b""
    found = await storage.stat(KEY)
    assert found and found.size == 0


async def test_a_second_put_replaces_the_first(storage: Storage) -> None:
    await storage.put(KEY, pieces(b"first, and longer"), None, TYPE)
    first = await storage.stat(KEY)
    await storage.put(KEY, pieces(b"second"), None, TYPE)
    second = await storage.stat(KEY)
    assert await bytes_of(storage) == b"second"
    assert first and second and first.etag != second.etag


async def test_small_files_that_come_at_once_lie_beside_each_other(storage: Storage) -> None:
    keys = [f"demo/files/ab/{number}/photo.webp" for number in range(20)]
    bundles = [[Content(key, key.encode(), TYPE), Content(f"{key}.json", b"{}", "application/json")] for key in keys]
    await asyncio.gather(*map(storage.put_all, bundles))
    assert {key: await bytes_of(storage, key) for key in keys} == {key: key.encode() for key in keys}
    assert await leftovers(storage) == sorted([*keys, *(f"{key}.json" for key in keys)])
    found = await storage.stat(keys[7])
    assert found and (found.size, found.media_type) == (len(keys[7]), TYPE)


async def test_small_files_are_not_put_outside(storage: Storage) -> None:
    with pytest.raises(PathInvalid):
        await storage.put_all([Content("demo/../../x", b"x", TYPE)])
    assert await leftovers(storage) == []


async def test_the_tag_of_unchanged_bytes_stays(storage: Storage) -> None:
    await storage.put(KEY, pieces(b"same"), None, TYPE)
    assert await storage.stat(KEY) == await storage.stat(KEY)


@pytest.mark.parametrize("length", [4, 9 * MIB])
async def test_an_untrue_size_leaves_nothing(storage: Storage, length: int) -> None:
    with pytest.raises(BodyIncomplete):
        await storage.put(KEY, pieces(bytes(length)), length + 1, TYPE)
    with pytest.raises(BodyTooLong):
        await storage.put(KEY, pieces(bytes(length), b"x"), length, TYPE)
    assert await storage.stat(KEY) is None
    assert await leftovers(storage) == []


async def test_a_failed_put_leaves_the_earlier_bytes(storage: Storage) -> None:
    await storage.put(KEY, pieces(b"earlier"), None, TYPE)
    with pytest.raises(BodyIncomplete):
        await storage.put(KEY, pieces(b"later"), 6, TYPE)
    assert await bytes_of(storage) == b"earlier"
    assert await leftovers(storage) == [KEY]


@pytest.mark.parametrize("length", [100, 20 * MIB])
async def test_a_sender_that_breaks_off_leaves_nothing(storage: Storage, length: int) -> None:
    async def broken() -> AsyncIterator[bytes]:
        yield bytes(length)
        raise ConnectionResetError("the client went away")

    with pytest.raises(ConnectionResetError):
        await storage.put(KEY, broken(), None, TYPE)
    assert await leftovers(storage) == []


@pytest.mark.parametrize("length", [100, 20 * MIB])
async def test_a_cancelled_put_leaves_nothing(storage: Storage, length: int) -> None:
    arrived = asyncio.Event()

    async def endless() -> AsyncIterator[bytes]:
        yield bytes(length)
        arrived.set()
        await asyncio.Event().wait()

    putting = asyncio.create_task(storage.put(KEY, endless(), None, TYPE))
    await arrived.wait()
    putting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await putting
    assert await leftovers(storage) == []


@pytest.mark.parametrize(
    ("part", "expected"),
    [
        (ByteRange(0, 0), b"0"),
        (ByteRange(2, 4), b"234"),
        (ByteRange(7), b"789"),
        (ByteRange(9, 9), b"9"),
        (ByteRange(0), b"0123456789"),
        (ByteRange(5, 1000), b"56789"),
    ],
)
async def test_a_part_is_exact(storage: Storage, part: ByteRange, expected: bytes) -> None:
    await storage.put(KEY, pieces(b"0123456789"), None, TYPE)
    assert await bytes_of(storage, part=part) == expected


async def test_a_part_beyond_the_end_is_refused_with_the_size(storage: Storage) -> None:
    await storage.put(KEY, pieces(b"0123456789"), None, TYPE)
    await storage.put("empty", pieces(), None, TYPE)
    for key, part, size in [(KEY, ByteRange(10), 10), (KEY, ByteRange(99, 100), 10), ("empty", ByteRange(0), 0)]:
        with pytest.raises(RangeNotSatisfiable) as refused:
            await bytes_of(storage, key, part)
        assert refused.value.facts["size"] == size


async def test_what_is_not_there(storage: Storage) -> None:
    await storage.put("folder/file", pieces(b"x"), None, TYPE)
    for key in ("nothing", "folder", "folder/other", "folder/file/below"):
        assert await storage.stat(key) is None
        with pytest.raises(StorageKeyNotFound):
            await bytes_of(storage, key)
        with pytest.raises(StorageKeyNotFound):
            await bytes_of(storage, key, ByteRange(1, 2))
        await storage.delete(key)
    assert await leftovers(storage) == ["folder/file"]


async def test_deleting_twice_is_fine_and_spares_the_neighbours(storage: Storage) -> None:
    await storage.put(KEY, pieces(b"x"), None, TYPE)
    await storage.put(KEY + ".json", pieces(b"{}"), None, "application/json")
    await storage.delete(KEY)
    await storage.delete(KEY)
    assert await storage.stat(KEY) is None
    assert await leftovers(storage) == [KEY + ".json"]


EVIL = [
    "",
    ".",
    "..",
    "/etc/passwd",
    "../x",
    "a/../../b",
    "a/..",
    "a/./b",
    "a//b",
    "a/",
    "a\\b",
    "a\0b",
    "a\nb",
    "a/" + "x" * 256,
    "/".join(["long"] * 250),
    ".staging",
    ".staging/x",
]


@pytest.mark.parametrize("key", EVIL)
async def test_no_key_leaves_the_storage(storage: Storage, key: str) -> None:
    refused: list[Callable[[], Awaitable[object]]] = [
        lambda: storage.put(key, pieces(b"x"), None, TYPE),
        lambda: bytes_of(storage, key),
        lambda: storage.stat(key),
        lambda: storage.delete(key),
    ]
    for verb in refused:
        with pytest.raises(PathInvalid):
            await verb()
    assert await leftovers(storage) == []


@pytest.mark.parametrize(
    "key", ["größe/日本語 😀.png", "a b/c+d%20e&f=g#h?.png", "...dots/.hidden", "k" * 255, "a'\"*:<>|"]
)
async def test_unusual_keys_are_kept_as_they_are(storage: Storage, key: str) -> None:
    await storage.put(key, pieces(key.encode()), None, "image/png")
    assert await bytes_of(storage, key) == key.encode()
    assert await leftovers(storage) == [key]
    await storage.delete(key)
    assert await leftovers(storage) == []


async def test_twenty_mebibytes_pass_through_in_bounded_memory(storage: Storage) -> None:
    block = bytes(range(256)) * 401  # 100 KiB and a bit: parts end inside of chunks
    count = 20 * MIB // len(block)

    async def many() -> AsyncIterator[bytes]:
        for _ in range(count):
            yield block

    await storage.check()  # connections and tables are made before memory is measured
    gc.collect()
    tracemalloc.start()
    try:
        await storage.put(KEY, many(), count * len(block), TYPE)
        received, longest = sha256(), 0
        async for piece in storage.open(KEY):
            received.update(piece)
            longest = max(longest, len(piece))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert received.digest() == sha256(block * count).digest()
    assert longest <= PIECE
    if not isinstance(storage, MemoryStorage):
        assert peak < 20 * MIB
    part = ByteRange(9 * MIB, 9 * MIB + 999)
    assert await bytes_of(storage, part=part) == (block * count)[9 * MIB : 9 * MIB + 1000]


async def test_puts_at_once_to_one_key_leave_one_of_them_whole(storage: Storage) -> None:
    bodies = [bytes([number]) * 300_000 for number in range(8)]
    await asyncio.gather(*(storage.put(KEY, pieces(body[:7], body[7:]), 300_000, TYPE) for body in bodies))
    assert await bytes_of(storage) in bodies
    assert await leftovers(storage) == [KEY]


async def test_puts_and_deletes_at_once_do_not_disturb_each_other(storage: Storage) -> None:
    async def come_and_go(number: int) -> None:
        for _ in range(10):
            await storage.put(f"shared/folder/{number}", pieces(b"x"), 1, TYPE)
            await storage.delete(f"shared/folder/{number}")

    await asyncio.gather(*(come_and_go(number) for number in range(6)))
    assert await leftovers(storage) == []


async def test_a_reader_keeps_what_it_opened_or_is_told(storage: Storage) -> None:
    await storage.put(KEY, pieces(bytes(3 * MIB)), None, TYPE)
    reading = storage.open(KEY)
    first = await anext(reading)
    await reading.aclose()  # type: ignore[attr-defined]
    assert first == bytes(len(first))


async def test_check_leaves_nothing(storage: Storage) -> None:
    await storage.check()
    assert await leftovers(storage) == []


async def test_a_local_path_is_where_the_bytes_are(storage: Storage) -> None:
    await storage.put(KEY, pieces(b"here"), None, TYPE)
    path = storage.local_path(KEY)
    assert path is None or path.read_bytes() == b"here"


async def test_every_finished_key_is_listed_once_and_in_the_same_order(storage: Storage) -> None:
    keys = ["a", "a.json", "a-b/c", "demo/files/ab/x/größe 😀.png", "demo/files/ab/x.png", "demo/runs/z", "demo0/z"]
    began = now()
    for key in keys:
        await storage.put(key, pieces(key.encode()), None, TYPE)
    await staging_for(storage).append(an_upload(), 0, pieces(b"unfinished"))
    listed = [entry async for entry in storage.listing()]
    assert sorted(entry.key for entry in listed) == sorted(keys)
    assert {entry.key: entry.size for entry in listed} == {key: len(key.encode()) for key in keys}
    assert all(abs(entry.modified - began) < timedelta(minutes=1) for entry in listed)
    assert [entry async for entry in storage.listing()] == listed


async def test_a_listing_goes_on_behind_any_key(storage: Storage) -> None:
    for number in range(12):
        await storage.put(f"demo/{'ab'[number % 2]}/{number}", pieces(b"x"), None, TYPE)
        await storage.put(f"demo/{'ab'[number % 2]}-{number}", pieces(b"x"), None, TYPE)
    listed = [entry.key async for entry in storage.listing()]
    for place, key in enumerate(listed):
        assert [entry.key async for entry in storage.listing(key)] == listed[place + 1 :], key
    await storage.delete(listed[5])
    assert [entry.key async for entry in storage.listing(listed[5])] == listed[6:]


async def test_an_empty_storage_lists_nothing(storage: Storage) -> None:
    assert [entry async for entry in storage.listing()] == []


def an_upload() -> Upload:
    return Upload(id=str(uuid4()), project="demo", storage="default", key="demo/u", intake=Intake(), expires_at=now())


async def test_a_copy_has_the_bytes_and_a_life_of_its_own(storage: Storage) -> None:
    await storage.put(KEY, pieces(b"once"), None, TYPE)
    await storage.copy(KEY, "demo/files/cd/other.webp")
    await storage.delete(KEY)
    assert await bytes_of(storage, "demo/files/cd/other.webp") == b"once"
    found = await storage.stat("demo/files/cd/other.webp")
    assert found and (found.size, found.media_type) == (4, TYPE)
    assert await leftovers(storage) == ["demo/files/cd/other.webp"]


async def test_replacing_a_copy_or_its_source_leaves_the_other(storage: Storage) -> None:
    await storage.put(KEY, pieces(b"first"), None, TYPE)
    await storage.copy(KEY, "a/copy.webp")
    await storage.put(KEY, pieces(b"second"), None, TYPE)
    assert await bytes_of(storage, "a/copy.webp") == b"first"
    await storage.copy(KEY, "a/copy.webp")
    await storage.put("a/copy.webp", pieces(b"third"), None, TYPE)
    assert await bytes_of(storage) == b"second"
    assert await leftovers(storage) == ["a/copy.webp", KEY]


async def test_a_copy_onto_itself_or_made_twice_is_fine(storage: Storage) -> None:
    await storage.put(KEY, pieces(b"same"), None, TYPE)
    for target in ("a/copy.webp", "a/copy.webp", KEY):
        await storage.copy(KEY, target)
        assert await bytes_of(storage, target) == b"same"
    assert await leftovers(storage) == ["a/copy.webp", KEY]


async def test_what_is_not_there_is_not_copied(storage: Storage) -> None:
    await storage.put("folder/file", pieces(b"x"), None, TYPE)
    for source in ("nothing", "folder", "folder/file/below"):
        with pytest.raises(StorageKeyNotFound):
            await storage.copy(source, "target")
    for evil in ("../x", "a//b", ".staging/x"):
        with pytest.raises(PathInvalid):
            await storage.copy("folder/file", evil)
        with pytest.raises(PathInvalid):
            await storage.copy(evil, "target")
    assert await leftovers(storage) == ["folder/file"]


async def test_copies_at_once_leave_each_of_them_whole(storage: Storage) -> None:
    body = bytes(range(256)) * 5000
    await storage.put(KEY, pieces(body), None, TYPE)
    await asyncio.gather(*(storage.copy(KEY, f"copies/{number % 4}") for number in range(12)))
    for number in range(4):
        assert await bytes_of(storage, f"copies/{number}") == body
    assert await leftovers(storage) == [*(f"copies/{number}" for number in range(4)), KEY]
