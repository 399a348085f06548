"""Uploads: what is created, how chunks count whole or not at all, what is refused, what segments are joined to."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import random
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import pytest

from pipeline.model import now
from tests.api.dialects.uploadista.desk import BYTES, KEY, Desk, at_once, photo

UNKNOWN = "00000000-0000-4000-8000-000000000000"
PDF = {"type": "application/pdf"}
CREATE = {"storageId": "default", "type": "text/plain", "size": 10, "fileName": "a.txt"}


async def test_an_upload_in_two_chunks_is_a_file_that_is_fetched(ud: Desk) -> None:
    begun = await ud.begin(11, lastModified=1717000000000, metadata=json.dumps({"album": "cats", "rank": 3}))
    assert begun["offset"] == 0 and begun["size"] == 11 and "url" not in begun
    assert begun["storage"] == {"id": "default", "type": "text/plain", "path": ""}
    assert begun["metadata"] == {
        "album": "cats",
        "rank": 3,
        "type": "text/plain",
        "fileName": "a.txt",
        "lastModified": "1717000000000",
    }
    assert None not in begun.values()
    half = await ud.chunk(begun["id"], b"hello ")
    assert half == begun | {"offset": 6}
    done = await ud.chunk(begun["id"], b"there")
    assert done["offset"] == done["size"] == 11 and done["metadata"] == begun["metadata"]
    assert await ud.fetched(done["url"]) == b"hello there"
    assert await ud.ok("GET", f"/upload/{begun['id']}") == done
    file = await ud.house.core.files.get(ud.grant(), begun["id"])
    assert file.metadata == {"album": "cats", "rank": "3"} and file.name == "a.txt"


ENCODED = {
    "json": json.dumps({"a": "b", "n": 1}),
    "base64 of json": base64.b64encode(json.dumps({"a": "b", "n": 1}).encode()).decode(),
    "tus pairs": f"a {base64.b64encode(b'b').decode()},flag,n {base64.b64encode(b'1').decode()}",
    "nothing": "",
    "no text of any kind": "{broken",
    "json that is no object": "[1]",
}
READ: dict[str, dict[str, Any]] = {
    "json": {"a": "b", "n": 1},
    "base64 of json": {"a": "b", "n": 1},
    "tus pairs": {"a": "b", "flag": "", "n": "1"},
}


@pytest.mark.parametrize("kind", ENCODED)
async def test_metadata_is_read_however_it_is_written(ud: Desk, kind: str) -> None:
    begun = await ud.begin(1, metadata=ENCODED[kind])
    assert begun["metadata"] == READ.get(kind, {}) | {"type": "text/plain", "fileName": "a.txt"}


async def test_metadata_beyond_what_a_file_keeps_is_answered_all_the_same(ud: Desk) -> None:
    told = {"kept": "x", "a key with blanks": "y", "deep": {"list": [1, None]}, "long": "z" * 5000}
    done = await ud.chunk((await ud.begin(1, metadata=json.dumps(told)))["id"], b"x")
    assert told.items() <= done["metadata"].items()
    file = await ud.house.core.files.get(ud.grant(), done["id"])
    assert file.metadata == {"kept": "x", "deep": '{"list":[1,null]}'}


async def test_capabilities_in_both_forms(ud: Desk) -> None:
    told = await ud.ok("GET", "/upload/capabilities?storageId=default")
    assert told["storageId"] == "default" and told["timestamp"]
    powers = told["capabilities"]
    assert powers["minChunkSize"] <= powers["optimalChunkSize"] <= powers["maxChunkSize"] == 100_000_000
    assert powers["supportsParallelUploads"] and powers["supportsDeferredLength"] and powers["supportsResumableUploads"]
    assert (await ud.ok("GET", "/upload/default/capabilities"))["capabilities"] == powers
    assert await ud.refused("GET", "/upload/capabilities") == (400, "VALIDATION_ERROR")
    assert await ud.refused("GET", "/upload/shared/capabilities") == (401, "STORAGE_NOT_AUTHORIZED")


# Chunks


async def test_a_chunk_that_breaks_off_counts_for_nothing(ud: Desk) -> None:
    id = (await ud.begin(10))["id"]
    await ud.chunk(id, b"0123")
    head = (
        f"PATCH /uploadista/api/upload/{id} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {KEY}\r\n"
        f"Content-Type: {BYTES}\r\nContent-Length: 6\r\n\r\n"
    )
    await ud.house.speak(head.encode(), b"45", close=True)
    answer = await ud.house.speak(head.encode() + b"456")  # and falls silent
    assert b" 400 " in answer.split(b"\r\n")[0] and b'"ABORTED"' in answer
    assert (await ud.ok("GET", f"/upload/{id}"))["offset"] == 4
    done = await ud.chunk(id, b"456789")
    assert await ud.fetched(done["url"]) == b"0123456789"


async def test_what_a_killed_server_had_kept_of_a_chunk_is_not_kept_twice(ud: Desk) -> None:
    id, content = (await ud.begin(30))["id"], bytes(range(48, 78))
    await ud.chunk(id, content[:10])
    core = ud.house.core

    async def part() -> AsyncIterator[bytes]:
        yield content[10:17]

    await core.uploads.append(ud.grant(), id, 10, part())  # into the staging, and no answer was given
    assert (await ud.ok("GET", f"/upload/{id}"))["offset"] == 10
    assert (await ud.chunk(id, content[10:15]))["offset"] == 15
    assert (await ud.chunk(id, content[15:25]))["offset"] == 25
    await core.uploads.append(ud.grant(), id, 25, one(content[25:]))
    done = await ud.chunk(id, content[25:])
    assert done["offset"] == 30 and await ud.fetched(done["url"]) == content


async def test_chunks_on_s3(ud: Desk) -> None:
    content, key = random.Random(3).randbytes(300_000), "ud-cloud-key"
    begun = await ud.ok("POST", "/upload", CREATE | {"storageId": "cloud", "size": 300_000, "type": ""}, key=key)
    id, grant = begun["id"], ud.grant("cloud")
    await ud.chunk(id, content[:100_000], key=key)
    assert (await ud.chunk(id, content[:100_000], key=key))["offset"] == 100_000
    await ud.house.core.uploads.append(grant, id, 100_000, one(content[100_000:150_000]))  # and the server was killed
    assert (await ud.ok("GET", f"/upload/{id}", key=key))["offset"] == 100_000
    await ud.chunk(id, content[100_000:200_000], key=key)
    done = await ud.chunk(id, content[200_000:], key=key)
    assert done["storage"]["id"] == "cloud" and await ud.fetched(done["url"]) == content


async def one(chunk: bytes) -> AsyncIterator[bytes]:
    yield chunk


async def test_a_chunk_sent_again_because_its_answer_was_lost_is_not_appended_twice(ud: Desk) -> None:
    id = (await ud.begin(10))["id"]
    await ud.chunk(id, b"0123")
    assert (await ud.chunk(id, b"0123"))["offset"] == 4
    assert (await ud.chunk(id, b"4567"))["offset"] == 8
    assert (await ud.chunk(id, b"456789"))["offset"] == 8  # again, and longer this time
    done = await ud.chunk(id, b"89")
    assert done["offset"] == 10 and await ud.fetched(done["url"]) == b"0123456789"
    for _ in range(3):
        assert await ud.chunk(id, b"89") == done
    assert await ud.refused("PATCH", f"/upload/{id}", b"xyz") == (413, "ERR_SIZE_EXCEEDED")


@pytest.mark.parametrize("lengths", [(9, 3, 8), (9, 8, 1), (1, 9, 2), (500, 300, 150)])
async def test_a_chunk_that_is_sent_again_shorter_or_longer_is_not_kept_twice(
    ud: Desk, lengths: tuple[int, ...]
) -> None:
    """As after a 409, or after an answer that was lost, when the network made the client change its slices."""
    content, sent = random.Random(5).randbytes(1000), 0
    id = (await ud.begin(1000, type=""))["id"]
    for length in lengths:
        after = await ud.chunk(id, content[sent : sent + length])
        assert after["offset"] == sent + length
        again = max(1, length // 2) if length > 1 else 5  # from the offset before, whose answer was lost
        assert await ud.chunk(id, content[sent : sent + again]) == after
        sent = after["offset"]
    record = await ud.chunk(id, content[sent:-1])
    done = await ud.chunk(id, content[record["offset"] :])
    assert done["offset"] == 1000 and await ud.fetched(done["url"]) == content
    assert await ud.chunk(id, content[-1:]) == done


async def test_a_file_of_equal_chunks_ends_right(ud: Desk) -> None:
    size, step = 1000, 150
    record, requests = await ud.begin(size, type=""), 0
    while record["offset"] < size:
        record = await ud.chunk(record["id"], bytes(min(step, size - record["offset"])))
        requests += 1
    assert await ud.fetched(record["url"]) == bytes(size) and requests < 2 * (size // step + 1)


async def test_an_offset_that_is_told_decides(ud: Desk) -> None:
    id = (await ud.begin(12))["id"]
    assert (await ud.chunk(id, b"0000", Upload_Offset="0"))["offset"] == 4
    assert (await ud.chunk(id, b"0000", Upload_Offset="4"))["offset"] == 8
    assert (await ud.chunk(id, b"0000", Upload_Offset="4"))["offset"] == 8
    told = await ud.ask("PATCH", f"/upload/{id}", b"1111", Upload_Offset="4")
    assert (told.status, told.document["code"]) == (409, "INVALID_OFFSET")
    assert told.document["details"] == {"expected": 8, "actual": 4}
    assert await ud.refused("PATCH", f"/upload/{id}", b"1", Upload_Offset="x") == (400, "VALIDATION_ERROR")
    assert await ud.fetched((await ud.chunk(id, b"1111", Upload_Offset="8"))["url"]) == b"000000001111"


async def test_one_chunk_at_a_time_is_kept(ud: Desk) -> None:
    id = (await ud.begin(10))["id"]
    async with ud.house.core.holds.of(f"slices:{id}"):
        told = await ud.ask("PATCH", f"/upload/{id}", b"01234")
    assert (told.status, told.document["code"]) == (423, "UPLOAD_LOCKED") and told.headers["Retry-After"] == "1"


async def test_a_stalled_chunk_blocks_nobody_and_changes_nothing_later(ud: Desk) -> None:
    id = (await ud.begin(10))["id"]
    url, headers = f"{ud.house.base}/uploadista/api/upload/{id}", {"Authorization": f"Bearer {KEY}"}

    async def stalled(body: bytes, held: asyncio.Event, read: asyncio.Event) -> Any:
        async def slow() -> AsyncIterator[bytes]:
            read.set()  # the server asks for bytes once it has looked where they belong
            yield body[:2]
            await held.wait()
            yield body[2:]

        async with ud.house.session.patch(url, data=slow(), headers=headers, expect100=True) as answer:
            return answer.status, (await answer.json())

    turns = [(body, asyncio.Event(), asyncio.Event()) for body in (b"abcde", b"01234")]
    going = [asyncio.create_task(stalled(*turn)) for turn in turns]
    for _, _, read in turns:
        await read.wait()
    assert (await ud.chunk(id, b"01234"))["offset"] == 5
    turns[0][1].set()
    status, other = await going[0]
    assert (status, other["code"]) == (409, "INVALID_OFFSET")
    turns[1][1].set()
    status, same = await going[1]
    assert (status, same["offset"]) == (200, 5)
    assert await ud.fetched((await ud.chunk(id, b"56789"))["url"]) == b"0123456789"


async def test_a_length_that_is_left_open(ud: Desk) -> None:
    begun = await ud.begin(0, uploadLengthDeferred=True)
    assert begun["sizeIsDeferred"] is True and "size" not in begun and begun["offset"] == 0
    assert (await ud.chunk(begun["id"], b"01234"))["offset"] == 5
    assert (await ud.chunk(begun["id"], b""))["offset"] == 5
    more = await ud.chunk(begun["id"], b"567")
    assert more["offset"] == 8 and "size" not in more and "url" not in more
    assert await ud.house.core.uploads.expire(begun["id"], now() + timedelta(days=2))
    done = await ud.ok("GET", f"/upload/{begun['id']}")
    assert done["offset"] == done["size"] == 8 and await ud.fetched(done["url"]) == b"01234567"
    nothing = await ud.begin(0, uploadLengthDeferred=True)
    assert await ud.house.core.uploads.expire(nothing["id"], now() + timedelta(days=2))
    assert await ud.refused("GET", f"/upload/{nothing['id']}") == (404, "FILE_NOT_FOUND")


async def test_an_empty_file_is_there_at_once(ud: Desk) -> None:
    begun = await ud.begin(0)
    assert begun["size"] == begun["offset"] == 0 and await ud.fetched(begun["url"]) == b""


# Checks


async def test_a_declared_checksum_holds_unless_it_is_that_of_nothing(ud: Desk) -> None:
    right, wrong, empty = (hashlib.sha256(told).hexdigest() for told in (b"hello", b"other", b""))
    done = await ud.begin(5, checksum=right.upper(), checksumAlgorithm="sha256")
    assert (done["checksum"], done["checksumAlgorithm"]) == (right, "sha256")
    assert (await ud.chunk(done["id"], b"hello"))["url"]
    sent = await ud.begin(5, checksum=wrong, checksumAlgorithm="sha256")
    told = await ud.ask("PATCH", f"/upload/{sent['id']}", b"hello")
    assert (told.status, told.document["code"]) == (400, "CHECKSUM_MISMATCH")
    details = {"uploadId": sent["id"], "expected": wrong, "actual": right, "algorithm": "sha256"}
    assert told.document["details"] == details
    assert await ud.refused("GET", f"/upload/{sent['id']}") == (404, "FILE_NOT_FOUND")
    trap = await ud.begin(5, checksum=empty, checksumAlgorithm="sha256")
    assert (await ud.chunk(trap["id"], b"hello"))["url"]
    content = random.Random(5).randbytes(5_000_000)
    large = await ud.begin(len(content), type="", checksum=hashlib.sha256(content).hexdigest())
    await ud.chunk(large["id"], content[:3_000_000])
    await ud.chunk(large["id"], content[:3_000_000])
    assert await ud.fetched((await ud.chunk(large["id"], content[3_000_000:]))["url"]) == content


async def test_bytes_that_are_not_what_was_declared(ud: Desk) -> None:
    sent = await ud.begin(len(photo()), type="application/pdf", fileName="a.pdf")
    told = await ud.ask("PATCH", f"/upload/{sent['id']}", photo())
    assert (told.status, told.document["code"]) == (400, "MIMETYPE_MISMATCH")
    details = {"uploadId": sent["id"], "expected": "application/pdf", "actual": "image/jpeg"}
    assert told.document["details"] == details
    assert await ud.refused("POST", "/upload", CREATE | PDF, key="ud-pictures-key") == (400, "MIMETYPE_MISMATCH")


@pytest.mark.parametrize(
    ("change", "refusal"),
    [
        ({"storageId": None}, (400, "VALIDATION_ERROR")),
        ({"storageId": "nowhere"}, (500, "DATASTORE_NOT_FOUND")),
        ({"storageId": "shared"}, (401, "STORAGE_NOT_AUTHORIZED")),
        ({"size": -1}, (400, "VALIDATION_ERROR")),
        ({"size": "ten"}, (400, "VALIDATION_ERROR")),
        ({"size": None}, (400, "INVALID_LENGTH")),
        ({"size": 13_000_000}, (413, "ERR_MAX_SIZE_EXCEEDED")),
        ({"checksum": "ab", "checksumAlgorithm": "sha256"}, (400, "VALIDATION_ERROR")),
        ({"checksum": "d41d8cd98f00b204e9800998ecf8427e", "checksumAlgorithm": "md5"}, (400, "VALIDATION_ERROR")),
    ],
)
async def test_what_cannot_be_begun(ud: Desk, change: dict[str, Any], refusal: Any) -> None:
    assert await ud.refused("POST", "/upload", CREATE | change) == refusal


async def test_requests_that_are_none(ud: Desk) -> None:
    assert await ud.refused("POST", "/upload", b"{", Content_Type="application/json") == (400, "VALIDATION_ERROR")
    assert await ud.refused("POST", "/upload", [1]) == (400, "VALIDATION_ERROR")
    assert await ud.refused("POST", "/upload", b"x") == (415, "UNSUPPORTED_CONTENT_TYPE")
    assert await ud.refused("GET", "/nothing") == (404, "NOT_FOUND")
    told = await ud.ask("PUT", f"/upload/{UNKNOWN}", b"x")
    assert (told.status, told.document["code"]) == (405, "METHOD_NOT_ALLOWED")
    assert told.headers["Allow"] == "DELETE, GET, HEAD, PATCH"
    for id in (UNKNOWN, "no-id"):
        assert await ud.refused("GET", f"/upload/{id}") == (404, "FILE_NOT_FOUND")
        assert await ud.refused("PATCH", f"/upload/{id}", b"x") == (404, "FILE_NOT_FOUND")
        assert await ud.refused("DELETE", f"/upload/{id}") == (404, "FILE_NOT_FOUND")
    id = (await ud.begin(10))["id"]
    assert await ud.refused("GET", f"/upload/{id}", key="ud-other-key") == (404, "FILE_NOT_FOUND")
    assert await ud.refused("PATCH", f"/upload/{id}", b"x", key="ud-other-key") == (404, "FILE_NOT_FOUND")


async def test_more_than_there_may_be(ud: Desk) -> None:
    id = (await ud.begin(4))["id"]
    assert await ud.refused("PATCH", f"/upload/{id}", b"01234") == (413, "ERR_SIZE_EXCEEDED")
    assert (await ud.ok("GET", f"/upload/{id}"))["offset"] == 0
    assert (await ud.chunk(id, b"0123"))["url"]
    open_end = (await ud.begin(0, uploadLengthDeferred=True, type=""))["id"]
    too_much = await ud.refused("PATCH", f"/upload/{open_end}", bytes(12_000_001))
    assert too_much == (413, "ERR_MAX_SIZE_EXCEEDED")
    told = await ud.ask("POST", "/upload", CREATE, key="ud-small-key")
    await ud.chunk(told.document["id"], b"0123456789", key="ud-small-key")
    assert await ud.refused("POST", "/upload", CREATE, key="ud-small-key") == (402, "QUOTA_EXCEEDED")


async def test_an_upload_that_has_expired(ud: Desk) -> None:
    id = (await ud.begin(10))["id"]
    records: Any = ud.house.redis
    key = f"{ud.house.core.settings.key_prefix}upload:{id}"
    kept = json.loads(await records.hget(key, "text"))
    await records.hset(key, "text", json.dumps(kept | {"expires_at": "2020-01-01T00:00:00Z"}))
    assert await ud.refused("PATCH", f"/upload/{id}", b"x") == (410, "FILE_NO_LONGER_EXISTS")
    assert await ud.refused("GET", f"/upload/{id}") == (410, "FILE_NO_LONGER_EXISTS")


async def test_an_upload_is_given_up(ud: Desk) -> None:
    id = (await ud.begin(10))["id"]
    await ud.chunk(id, b"0123")
    told = await ud.ask("DELETE", f"/upload/{id}")
    assert (told.status, told.body) == (204, b"")
    assert await ud.refused("GET", f"/upload/{id}") == (404, "FILE_NOT_FOUND")
    assert not [path for path in (ud.house.data / "files").rglob("*") if id in str(path) and path.is_file()]
    done = await ud.begin(4)
    await ud.chunk(done["id"], b"0123")
    assert await ud.refused("DELETE", f"/upload/{done['id']}") == (400, "INVALID_TERMINATION")


# Segments


def segment(index: int, total: int = 3, fingerprint: str = "cat-1") -> str:
    told = {"parallelUpload": "true", "segmentIndex": index, "totalSegments": total, "parentFingerprint": fingerprint}
    return ",".join(f"{key} {base64.b64encode(str(value).encode()).decode()}" for key, value in told.items())


async def test_segments_side_by_side_are_joined(ud: Desk) -> None:
    content = photo() + random.Random(7).randbytes(9000)
    cuts = [content[:3000], content[3000:4000], content[4000:]]

    async def sent(index: int) -> Any:
        body = cuts[index]
        record = await ud.begin(len(body), type="image/jpeg", fileName="cat.jpg", metadata=segment(index))
        while record["offset"] < len(body):
            record = await ud.chunk(record["id"], body[record["offset"] : record["offset"] + 1500])
        return record

    records = await at_once(*(sent(index) for index in range(3)))
    joined = [record for record in records if "url" in record]
    assert len(joined) == 1
    for record in records:
        found = await ud.ok("GET", f"/upload/{record['id']}")
        assert found["url"] == joined[0]["url"] and found["id"] == record["id"]
        assert found["size"] == found["offset"] == len(content)
    made_up = "parallel-" + ",".join(record["id"] for record in records)
    whole = await ud.ok("GET", f"/upload/{made_up}")
    assert whole["id"] == made_up and await ud.fetched(whole["url"]) == content
    again = await ud.chunk(records[0]["id"], cuts[0][-100:])  # its answer was lost
    assert again["url"] == joined[0]["url"]
    assert await ud.refused("GET", f"/upload/parallel-{UNKNOWN}") == (404, "FILE_NOT_FOUND")


async def test_a_segment_without_the_others_is_no_file(ud: Desk) -> None:
    record = await ud.begin(4, metadata=segment(0, 2, "alone"))
    record = await ud.chunk(record["id"], b"0123")
    assert record["offset"] == 4 and "url" not in record
    assert (await ud.ask("DELETE", f"/upload/{record['id']}")).status == 204
