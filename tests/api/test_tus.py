"""tus 1.0 as its protocol text has it, byte by byte over a real socket."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
from collections.abc import AsyncIterator, Mapping
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Any

import aiohttp
import google_crc32c
import pytest

from .house import House, photo

TUS = {"Tus-Resumable": "1.0.0"}
BYTES = {"Content-Type": "application/offset+octet-stream"}
CHECKSUMS = ("sha1", "sha256", "md5", "crc32c")


def b64(text: str | bytes) -> str:
    return base64.b64encode(text.encode() if isinstance(text, str) else text).decode()


def pairs(**metadata: str) -> dict[str, str]:
    return {"Upload-Metadata": ",".join(f"{key} {b64(value)}" for key, value in metadata.items())}


def checksum(body: bytes, algorithm: str = "sha1") -> dict[str, str]:
    if algorithm == "crc32c":
        return {"Upload-Checksum": f"crc32c {b64(google_crc32c.value(body).to_bytes(4, 'big'))}"}
    return {"Upload-Checksum": f"{algorithm} {b64(hashlib.new(algorithm, body).digest())}"}


class Tus:
    """A client that sends exactly what it is told."""

    def __init__(self, house: House) -> None:
        self.house = house

    async def ask(
        self, method: str, path: str, status: int, headers: Mapping[str, str] | None = None, **more: Any
    ) -> Any:
        async with self.house.ask(method, path, headers=TUS | dict(headers or {}), **more) as answer:
            text = await answer.text()
            assert answer.status == status, (answer.status, text)
            assert answer.headers["Tus-Resumable"] == "1.0.0"
            return answer

    async def code(
        self, method: str, path: str, status: int, headers: Mapping[str, str] | None = None, **more: Any
    ) -> str:
        answer = await self.ask(method, path, status, headers, **more)
        problem = await answer.json(content_type="application/problem+json")
        assert problem["status"] == status and problem["detail"]
        return problem["code"]

    async def create(self, length: int | None, **headers: str) -> str:
        size = {"Upload-Defer-Length": "1"} if length is None else {"Upload-Length": str(length)}
        answer = await self.ask("POST", "/tus", 201, size | {k.replace("_", "-"): v for k, v in headers.items()})
        return answer.headers["Location"]

    async def patch(self, place: str, offset: int, body: Any, status: int = 204, **headers: str) -> Any:
        named = {k.replace("_", "-"): v for k, v in headers.items()}
        return await self.ask("PATCH", place, status, BYTES | {"Upload-Offset": str(offset)} | named, data=body)

    async def offset(self, place: str) -> int:
        return int((await self.ask("HEAD", place, 200)).headers["Upload-Offset"])

    async def content(self, answer: Any) -> bytes:
        async with self.house.session.get(answer.headers["Safelight-Url"]) as content:
            return await content.read()


@pytest.fixture
def tus(house: House) -> Tus:
    return Tus(house)


async def slowly(*pieces: bytes, pause: float = 0.0) -> AsyncIterator[bytes]:
    for piece in pieces:
        yield piece
        await asyncio.sleep(pause)


# Core


async def test_a_file_in_three_requests(tus: Tus) -> None:
    body = photo(300, 200)
    metadata = pairs(filename="Ünï.jpg", filetype="image/jpeg", album="May")
    answer = await tus.ask("POST", "/tus", 201, {"Upload-Length": str(len(body))} | metadata)
    place = answer.headers["Location"]
    assert place.startswith("/tus/") and answer.headers["Upload-Offset"] == "0"
    assert timedelta(hours=23) < parsedate_to_datetime(answer.headers["Upload-Expires"]) - datetime.now(UTC)
    first = await tus.patch(place, 0, body[:700])
    assert (first.headers["Upload-Offset"], "Upload-Expires" in first.headers) == ("700", True)
    standing = await tus.ask("HEAD", place, 200)
    assert (standing.headers["Upload-Offset"], standing.headers["Upload-Length"]) == ("700", str(len(body)))
    assert standing.headers["Upload-Metadata"] == metadata["Upload-Metadata"]
    assert standing.headers["Cache-Control"] == "no-store"
    last = await tus.patch(place, 700, body[700:])
    assert last.headers["Upload-Offset"] == str(len(body)) and "Upload-Expires" not in last.headers
    file = await tus.house.json("GET", f"/v1/files/{last.headers['Safelight-File']}")
    assert (file["name"], file["mime"], file["metadata"]) == ("Ünï.jpg", "image/jpeg", {"album": "May"})
    assert (file["sha256"], place.endswith(file["id"])) == (hashlib.sha256(body).hexdigest(), True)
    assert await tus.content(last) == body


async def test_a_lost_last_answer_is_given_again(tus: Tus) -> None:
    place = await tus.create(5, **pairs(filename="a.txt"))
    await tus.patch(place, 0, b"12345")
    standing = await tus.ask("HEAD", place, 200)
    assert (standing.headers["Upload-Offset"], standing.headers["Upload-Length"]) == ("5", "5")
    assert standing.headers["Upload-Metadata"] == pairs(filename="a.txt")["Upload-Metadata"]
    assert await tus.content(standing) == b"12345"
    assert (await tus.patch(place, 5, b"")).headers["Upload-Offset"] == "5"
    assert await tus.code("PATCH", place, 409, BYTES | {"Upload-Offset": "0"}, data=b"12345") == "OFFSET_MISMATCH"
    assert await tus.code("PATCH", place, 413, BYTES | {"Upload-Offset": "5"}, data=b"6") == "BODY_TOO_LONG"
    key = next(key for key in await tus.house.redis.keys("safelight:ended:*"))
    assert 80_000 < await tus.house.redis.ttl(key) <= 86_400


async def test_options_tell_what_is_spoken(house: House) -> None:
    for path in ("/tus", "/tus/", "/tus/00000000-0000-4000-8000-000000000000"):
        async with house.ask("OPTIONS", path, key=None) as answer:
            assert (answer.status, answer.headers["Tus-Version"]) == (204, "1.0.0")
            assert answer.headers["Tus-Max-Size"] == "5000000000"  # of any project
            assert answer.headers["Tus-Checksum-Algorithm"] == "sha1,sha256,md5,crc32c"
            assert answer.headers["Tus-Extension"].split(",") == [
                "creation", "creation-with-upload", "creation-defer-length", "expiration", "checksum", "termination",
                "concatenation",
            ]  # fmt: skip
            assert "Tus-Resumable" not in answer.headers and "Accept-Patch" not in answer.headers
    async with house.ask("OPTIONS", "/tus") as answer:
        assert answer.headers["Tus-Max-Size"] == "3000000"


async def test_every_refusal_is_one_of_the_protocol(tus: Tus) -> None:
    nowhere = "/tus/00000000-0000-4000-8000-000000000000"
    for method in ("HEAD", "PATCH", "DELETE"):
        answer = await tus.ask(method, nowhere, 404, BYTES | {"Upload-Offset": "0"})
        assert "Upload-Offset" not in answer.headers
        await tus.ask(method, nowhere, 401, key=None)
        await tus.ask(method, nowhere, 401, key="nobody's")
    await tus.ask("POST", "/tus", 401, {"Upload-Length": "1"}, key=None)
    for path, method, allowed in (
        ("/tus", "PUT", "OPTIONS, POST"),
        (nowhere, "PUT", "DELETE, HEAD, OPTIONS, PATCH, POST"),
    ):
        answer = await tus.ask(method, path, 405)
        assert answer.headers["Allow"] == allowed
    assert await tus.code("POST", nowhere, 405) == "METHOD_NOT_ALLOWED"
    await tus.ask("PATCH", "/tus/..%2F..%2Fsecret", 404, BYTES | {"Upload-Offset": "0"})
    for path, method in (("/tus", "POST"), (nowhere, "HEAD"), (nowhere, "PATCH"), (nowhere, "DELETE")):
        for version in ({"Tus-Resumable": "0.2.2"}, {"Tus-Resumable": ""}):
            answer = await tus.ask(method, path, 412, version | {"Upload-Length": "1"})
            assert answer.headers["Tus-Version"] == "1.0.0"
    async with tus.house.ask("POST", "/tus", headers={"Upload-Length": "1"}) as answer:
        assert (answer.status, answer.headers["Tus-Resumable"]) == (412, "1.0.0")


async def test_an_unknown_version_changes_nothing(tus: Tus) -> None:
    before = await tus.house.leftovers()
    await tus.ask("POST", "/tus", 412, {"Tus-Resumable": "2.0.0", "Upload-Length": "9"})
    assert await tus.house.leftovers() == before
    place = await tus.create(9)
    await tus.ask("PATCH", place, 412, BYTES | {"Tus-Resumable": "0.9", "Upload-Offset": "0"}, data=b"123")
    await tus.ask("DELETE", place, 412, {"Tus-Resumable": "0.9"})
    assert await tus.offset(place) == 0


async def test_a_wrong_offset_or_type_changes_nothing(tus: Tus) -> None:
    place = await tus.create(10)
    await tus.patch(place, 0, b"12345")
    for wrong in ("0", "4", "6", "10", "999"):
        answer = await tus.ask("PATCH", place, 409, BYTES | {"Upload-Offset": wrong}, data=b"abc")
        assert answer.headers["Upload-Offset"] == "5"
    for broken in ({}, {"Upload-Offset": "-1"}, {"Upload-Offset": "five"}, {"Upload-Offset": "9" * 40}):
        await tus.ask("PATCH", place, 400, BYTES | broken, data=b"abc")
    for kind in ("application/octet-stream", "text/plain", "application/partial-upload"):
        await tus.ask("PATCH", place, 415, {"Content-Type": kind, "Upload-Offset": "5"}, data=b"abc")
    coded = BYTES | {"Upload-Offset": "5", "Content-Encoding": "gzip"}
    assert await tus.code("PATCH", place, 415, coded, data=b"abc") == "CONTENT_ENCODING_UNSUPPORTED"
    assert await tus.offset(place) == 5


async def test_more_than_announced_is_refused_before_it_counts(tus: Tus) -> None:
    place = await tus.create(10)
    await tus.patch(place, 0, b"12345")
    assert await tus.code("PATCH", place, 413, BYTES | {"Upload-Offset": "5"}, data=b"678901") == "BODY_TOO_LONG"
    assert await tus.offset(place) == 5
    # Without a Content-Length it shows only while it arrives; such an upload is over, and nothing of it is left.
    before = await tus.house.leftovers()
    assert (
        await tus.code("PATCH", place, 413, BYTES | {"Upload-Offset": "5"}, data=slowly(b"6789", b"01"))
        == "BODY_TOO_LONG"
    )
    await tus.ask("HEAD", place, 404)
    assert len((await tus.house.leftovers())[0]) == len(before[0]) - 1


async def test_the_method_may_be_told_by_a_header(tus: Tus) -> None:
    place = await tus.create(6)
    patch = BYTES | {"X-HTTP-Method-Override": "PATCH", "Upload-Offset": "0"}
    assert (await tus.ask("POST", place, 204, patch, data=b"123")).headers["Upload-Offset"] == "3"
    assert (await tus.ask("POST", place, 200, {"X-HTTP-Method-Override": "HEAD"})).headers["Upload-Offset"] == "3"
    await tus.ask("POST", place, 204, {"X-HTTP-Method-Override": "DELETE"})
    await tus.ask("HEAD", place, 404)


async def test_another_project_sees_nothing(tus: Tus) -> None:
    place = await tus.create(6)
    done = await tus.create(0)
    for method in ("HEAD", "PATCH", "DELETE"):
        for one in (place, done):
            await tus.ask(method, one, 404, BYTES | {"Upload-Offset": "0"}, key="other-key")
    assert await tus.offset(place) == 0 and await tus.offset(done) == 0


# Creation


async def test_what_a_creation_must_say(tus: Tus) -> None:
    before = await tus.house.leftovers()
    for headers in (
        {},
        {"Upload-Length": "1", "Upload-Defer-Length": "1"},
        {"Upload-Defer-Length": "0"},
        {"Upload-Defer-Length": "2"},
        {"Upload-Length": "-1"},
        {"Upload-Length": "1.5"},
        {"Upload-Length": "9" * 30},
        {"Upload-Length": "1", "Upload-Concat": "whole"},
        {"Upload-Length": "1", "Upload-Metadata": "filename"} | {"Upload-Metadata": "filename a,filename b"},
        {"Upload-Length": "1", "Upload-Metadata": "filename !!!"},
        {"Upload-Length": "1", "Upload-Metadata": f"filename {b64(bytes([255, 254]))}"},
        {"Upload-Length": "1", "Upload-Metadata": ",,"},
        {"Upload-Length": "1"} | pairs(params="{}"),
        {"Upload-Length": "1"} | pairs(**{"a" * 65: "b"}),
        {"Upload-Length": "1"} | pairs(note="b" * 600),
    ):
        await tus.ask("POST", "/tus", 400, headers)
    assert await tus.code("POST", "/tus", 413, {"Upload-Length": "3000001"}) == "FILE_TOO_LARGE"
    assert await tus.house.leftovers() == before


async def test_metadata_comes_back_as_it_was_sent(tus: Tus) -> None:
    told = f"empty , filename {b64('a.txt')},  odd/key {b64('')}, is_confidential"
    place = await tus.create(3, **{"Upload-Metadata": told})
    assert (await tus.ask("HEAD", place, 200)).headers["Upload-Metadata"] == told
    answer = await tus.patch(place, 0, b"abc")
    file = await tus.house.json("GET", f"/v1/files/{answer.headers['Safelight-File']}")
    assert (file["name"], file["metadata"]) == ("a.txt", {})


async def test_an_empty_file_is_complete_at_once(tus: Tus) -> None:
    answer = await tus.ask("POST", "/tus", 201, {"Upload-Length": "0"} | pairs(filename="none.txt"))
    file = await tus.house.json("GET", f"/v1/files/{answer.headers['Safelight-File']}")
    assert (file["size"], file["name"], answer.headers["Upload-Offset"]) == (0, "none.txt", "0")
    assert await tus.content(answer) == b""
    assert await tus.offset(answer.headers["Location"]) == 0


async def test_a_creation_brings_all_bytes_or_the_first(tus: Tus) -> None:
    body = photo()
    headers = BYTES | {"Upload-Length": str(len(body))} | pairs(filename="a.jpg")
    whole = await tus.ask("POST", "/tus/", 201, headers, data=body)
    assert whole.headers["Upload-Offset"] == str(len(body)) and await tus.content(whole) == body
    assert await tus.offset(whole.headers["Location"]) == len(body)
    first = await tus.ask("POST", "/tus", 201, headers, data=body[:100])
    assert (first.headers["Upload-Offset"], "Safelight-File" in first.headers) == ("100", False)
    assert await tus.content(await tus.patch(first.headers["Location"], 100, body[100:])) == body
    before = await tus.house.leftovers()
    assert await tus.code("POST", "/tus", 413, headers, data=body + b"!") == "BODY_TOO_LONG"
    assert await tus.house.leftovers() == before
    plain = await tus.ask("POST", "/tus", 201, headers | {"Content-Type": "text/plain"}, data=body)
    assert plain.headers["Upload-Offset"] == "0"  # only a body of that type counts


async def test_a_length_may_be_told_later_and_only_once(tus: Tus) -> None:
    place = await tus.create(None)
    standing = await tus.ask("HEAD", place, 200)
    assert standing.headers["Upload-Defer-Length"] == "1" and "Upload-Length" not in standing.headers
    await tus.patch(place, 0, b"1234")
    for wrong in ("3", "-1", "x"):
        await tus.patch(place, 4, b"5", 400, Upload_Length=wrong)
    await tus.patch(place, 4, b"5", 413, Upload_Length="3000001")
    assert "Upload-Length" not in (await tus.ask("HEAD", place, 200)).headers
    await tus.patch(place, 4, b"5", Upload_Length="8")
    standing = await tus.ask("HEAD", place, 200)
    assert standing.headers["Upload-Length"] == "8" and "Upload-Defer-Length" not in standing.headers
    await tus.patch(place, 5, b"678", 400, Upload_Length="9")
    assert await tus.content(await tus.patch(place, 5, b"678", Upload_Length="8")) == b"12345678"


async def test_a_length_told_with_nothing_more_ends_it(tus: Tus) -> None:
    place = await tus.create(None)
    await tus.patch(place, 0, b"1234")
    assert await tus.content(await tus.patch(place, 4, b"", Upload_Length="4")) == b"1234"


# What it becomes


async def test_an_upload_starts_the_flow_it_names(tus: Tus, worker: object) -> None:
    body = photo(200, 100)
    metadata = pairs(filename="a.jpg", flow="tiny", params=json.dumps({"quality": 50}), album="May")
    answer = await tus.ask("POST", "/tus", 201, {"Upload-Length": str(len(body))} | metadata)
    last = await tus.patch(answer.headers["Location"], 0, body)
    run = await tus.house.json("GET", f"/v1/runs/{last.headers['Safelight-Run']}")
    assert (run["flow"], run["inputs"], run["params"]) == (
        "tiny",
        {"photo": [last.headers["Safelight-File"]]},
        {"quality": 50},
    )
    again = await tus.ask("HEAD", answer.headers["Location"], 200)
    assert again.headers["Safelight-Run"] == run["id"]
    async with asyncio.timeout(30):
        while run["status"] not in ("completed", "failed"):
            run = await tus.house.json("GET", f"/v1/runs/{run['id']}")
            await asyncio.sleep(0.05)
    assert run["outputs"][0]["width"] == 40


async def test_a_flow_that_cannot_be_is_refused_at_creation(tus: Tus) -> None:
    before = await tus.house.leftovers()
    size = {"Upload-Length": "10"}
    assert await tus.code("POST", "/tus", 404, size | pairs(flow="nosuch")) == "FLOW_NOT_FOUND"
    for params in ("{", "[]", '{"quality": 900}', '{"unknown": 1}'):
        assert await tus.code("POST", "/tus", 422, size | pairs(flow="tiny", params=params)) == "PARAMS_INVALID"
    assert await tus.code("POST", "/tus", 413, {"Upload-Length": "2500000"} | pairs(flow="tiny")) == "FILE_TOO_LARGE"
    assert await tus.house.leftovers() == before


async def test_bytes_that_are_refused_end_the_upload(tus: Tus) -> None:
    before = await tus.house.leftovers()
    for body, key, headers, status, code in (
        (b"just text" * 2000, "draft-key", {}, 415, "TYPE_NOT_ALLOWED"),
        (b"just text", "demo-key", pairs(filetype="image/png"), 415, "TYPE_MISMATCH"),
        (photo()[:-200], "demo-key", {}, 422, "IMAGE_UNREADABLE"),
    ):
        answer = await tus.ask("POST", "/tus", 201, {"Upload-Length": str(len(body))} | headers, key=key)
        place = answer.headers["Location"]
        found = await tus.code("PATCH", place, status, BYTES | {"Upload-Offset": "0"}, data=body, key=key)
        assert found == code
        await tus.ask("HEAD", place, 404, key=key)
        await tus.code("POST", "/tus", status, BYTES | {"Upload-Length": str(len(body))} | headers, data=body, key=key)
    assert await tus.house.leftovers() == before


async def test_bytes_all_there_become_a_file_when_their_request_did_not_see_to_it(tus: Tus) -> None:
    place = await tus.create(5, **pairs(filename="a.txt"))
    id = place.rpartition("/")[2]
    await tus.house.json("PATCH", f"/v1/uploads/{id}", data=b"12345", headers={"Upload-Offset": "0"})
    answer = await tus.ask("HEAD", place, 200)
    assert answer.headers["Upload-Offset"] == "5" and await tus.content(answer) == b"12345"


# Expiration, termination


async def test_an_expired_upload_is_gone(tus: Tus) -> None:
    place = await tus.create(5)
    await tus.patch(place, 0, b"12")
    key = f"safelight:upload:{place.rpartition('/')[2]}"
    text = json.loads(await tus.house.redis.hget(key, "text"))
    await tus.house.redis.hset(key, "text", json.dumps(text | {"expires_at": "2020-01-01T00:00:00Z"}))
    assert "Upload-Offset" not in (await tus.ask("HEAD", place, 410)).headers
    assert await tus.code("PATCH", place, 410, BYTES | {"Upload-Offset": "2"}, data=b"345") == "UPLOAD_EXPIRED"
    await tus.ask("DELETE", place, 204)
    await tus.ask("HEAD", place, 404)


async def test_a_terminated_upload_leaves_nothing(tus: Tus) -> None:
    before = await tus.house.leftovers()
    place = await tus.create(5)
    await tus.patch(place, 0, b"12")
    await tus.ask("DELETE", place, 204)
    for method in ("HEAD", "PATCH", "DELETE"):
        await tus.ask(method, place, 404, BYTES | {"Upload-Offset": "2"})
    done = await tus.create(3)
    await tus.patch(done, 0, b"123")
    await tus.ask("DELETE", done, 204)
    await tus.ask("HEAD", done, 404)
    assert await tus.house.leftovers() == before


async def test_a_page_uploads_with_the_public_key_and_deletes_no_file(tus: Tus) -> None:
    page = {"X-Public-Key": "insidepublic"}
    answer = await tus.ask("POST", "/tus", 201, page | {"Upload-Length": "3"}, key=None)
    place = answer.headers["Location"]
    last = await tus.ask("PATCH", place, 204, page | BYTES | {"Upload-Offset": "0"}, data=b"abc", key=None)
    assert "Safelight-Url" in last.headers
    assert (await tus.ask("HEAD", place, 200, page, key=None)).headers["Upload-Offset"] == "3"
    await tus.ask("DELETE", place, 401, page, key=None)  # the id of a file is no secret
    other = (await tus.ask("POST", "/tus", 201, page | {"Upload-Length": "3"}, key=None)).headers["Location"]
    await tus.ask("DELETE", other, 204, page, key=None)
    await tus.ask("HEAD", place, 401, {"X-Public-Key": "wrong"}, key=None)
    async with tus.house.session.options(
        tus.house.base + place, headers={"Origin": "https://a.example", "Access-Control-Request-Method": "PATCH"}
    ) as preflight:
        assert "PATCH" in preflight.headers["Access-Control-Allow-Methods"]
    exposed = (await tus.ask("HEAD", place, 200, page | {"Origin": "https://a.example"}, key=None)).headers
    for name in ("Location", "Upload-Offset", "Upload-Length", "Tus-Resumable", "Upload-Metadata", "Safelight-File"):
        assert name in exposed["Access-Control-Expose-Headers"]


# Checksum


@pytest.mark.parametrize("algorithm", CHECKSUMS)
async def test_only_bytes_with_the_right_checksum_count(tus: Tus, algorithm: str) -> None:
    body = photo(600, 400)
    place = await tus.create(len(body))
    right = checksum(body[:2000], algorithm)
    await tus.patch(place, 0, body[:2000], **right)
    wrong = BYTES | {"Upload-Offset": "2000"} | right
    assert await tus.code("PATCH", place, 460, wrong, data=body[2000:]) == "CHECKSUM_MISMATCH"
    assert await tus.code("PATCH", place, 460, wrong, data=slowly(body[2000:2500], body[2500:])) == "CHECKSUM_MISMATCH"
    assert await tus.offset(place) == 2000
    last = await tus.patch(place, 2000, body[2000:], **checksum(body[2000:], algorithm))
    assert await tus.content(last) == body


async def test_a_checksum_that_cannot_be_is_refused(tus: Tus) -> None:
    place = await tus.create(5)
    for broken in (
        "sha1",
        "sha1 !!",
        f"sha1 {b64(b'short')}",
        "",
        "sha512 " + b64(bytes(64)),
        "crc32 AAAAAA==",
        f"SHA1 {b64(bytes(20))}",
    ):
        await tus.patch(place, 0, b"12345", 400, Upload_Checksum=broken)
    assert await tus.offset(place) == 0
    before = await tus.house.leftovers()
    for headers in ({"Upload-Length": "5"}, {"Upload-Length": "9"}):
        await tus.ask("POST", "/tus", 460, BYTES | headers | checksum(b"other"), data=b"12345")
    assert await tus.house.leftovers() == before
    whole = await tus.ask("POST", "/tus", 201, BYTES | {"Upload-Length": "5"} | checksum(b"12345"), data=b"12345")
    assert await tus.content(whole) == b"12345"


async def test_a_checked_chunk_that_breaks_off_never_counts(tus: Tus) -> None:
    body = bytes(range(256)) * 2000
    place = await tus.create(len(body))
    await tus.patch(place, 0, body[:1000])
    head = (
        f"PATCH {place} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer demo-key\r\nTus-Resumable: 1.0.0\r\n"
        f"Content-Type: application/offset+octet-stream\r\nUpload-Offset: 1000\r\n"
        f"Content-Length: {len(body) - 1000}\r\n"
        f"Upload-Checksum: {checksum(body[1000:])['Upload-Checksum']}\r\n\r\n"
    )
    _, writer = await asyncio.open_connection("127.0.0.1", tus.house.port)
    writer.write(head.encode() + body[1000:-1])
    await writer.drain()
    await asyncio.sleep(0.1)
    writer.close()
    assert await tus.offset(place) == 1000
    assert list(tus.house.data.rglob("tmp/*")) == []
    assert await tus.content(await tus.patch(place, 1000, body[1000:], **checksum(body[1000:]))) == body


# Concatenation


async def test_pieces_are_joined_in_the_order_of_the_list(tus: Tus) -> None:
    body = photo(400, 300)
    cuts = [body[:5000], body[5000:5001], body[5001:]]
    places = []
    for cut in reversed(cuts):
        place = await tus.create(len(cut), Upload_Concat="partial", **pairs(filename="not.this"))
        await tus.patch(place, 0, cut)
        standing = await tus.ask("HEAD", place, 200)
        assert (standing.headers["Upload-Concat"], standing.headers["Upload-Offset"]) == ("partial", str(len(cut)))
        assert "Safelight-File" not in standing.headers
        places.insert(0, place)
    concat = {"Upload-Concat": f"final;{tus.house.base}{places[0]} {places[1]} {places[2]}"}
    final = await tus.ask("POST", "/tus", 201, concat | pairs(filename="whole.jpg"))
    assert await tus.content(final) == body
    file = await tus.house.json("GET", f"/v1/files/{final.headers['Safelight-File']}")
    assert (file["name"], file["mime"], file["metadata"]) == ("whole.jpg", "image/jpeg", {})
    standing = await tus.ask("HEAD", final.headers["Location"], 200)
    assert standing.headers["Upload-Concat"] == concat["Upload-Concat"]
    assert (standing.headers["Upload-Length"], standing.headers["Upload-Offset"]) == (str(len(body)),) * 2
    for offset in ("0", str(len(body))):
        answer = BYTES | {"Upload-Offset": offset}
        assert await tus.code("PATCH", final.headers["Location"], 403, answer, data=b"x") == "UPLOAD_JOINED"
    doubled = await tus.ask("POST", "/tus", 201, {"Upload-Concat": f"final;{places[1]} {places[1]}"})
    assert await tus.content(doubled) == cuts[1] * 2
    for place in places:
        await tus.ask("DELETE", place, 204)
        await tus.ask("HEAD", place, 404)


async def test_what_cannot_be_joined(tus: Tus) -> None:
    part = await tus.create(3, Upload_Concat="partial")
    await tus.patch(part, 0, b"123")
    short, whole = await tus.create(3, Upload_Concat="partial"), await tus.create(3)
    await tus.patch(short, 0, b"1")
    await tus.patch(whole, 0, b"123")
    before = await tus.house.leftovers()
    nowhere = "/tus/00000000-0000-4000-8000-000000000000"
    for members in (
        "", " ", short, f"{part} {short}", whole, nowhere, f"{part},{part}", "/tus/", "/etc/passwd", f"..{part}",
        f"/tus/../..{part}", f"/v1/files/{part[5:]}", f"/tus/%2e%2e/{part[5:]}", f"{part}/", f"{part}?a", "http://[",
        f"/elsewhere{part}", part[5:],
    ):  # fmt: skip
        if members != f"{part}?a":
            await tus.ask("POST", "/tus", 400, {"Upload-Concat": f"final;{members}"})
    await tus.ask("POST", "/tus", 400, {"Upload-Concat": f"final;{part}"}, key="other-key")
    await tus.ask("POST", "/tus", 400, {"Upload-Concat": f"final;{part}", "Upload-Length": "3"})
    assert await tus.house.leftovers() == before
    many = " ".join([part] * 100)
    assert len(await tus.content(await tus.ask("POST", "/tus", 201, {"Upload-Concat": f"final;{many}"}))) == 300


async def test_joined_bytes_keep_to_the_limits(tus: Tus) -> None:
    part = await tus.create(2_000_000, Upload_Concat="partial")
    await tus.patch(part, 0, bytes(2_000_000))
    assert await tus.code("POST", "/tus", 413, {"Upload-Concat": f"final;{part} {part}"}) == "FILE_TOO_LARGE"
    answer = await tus.ask("POST", "/tus", 201, {"Upload-Length": "5", "Upload-Concat": "partial"}, key="draft-key")
    text = answer.headers["Location"]
    await tus.ask("PATCH", text, 204, BYTES | {"Upload-Offset": "0"}, data=b"words", key="draft-key")
    refused = await tus.code("POST", "/tus", 415, {"Upload-Concat": f"final;{text}"}, key="draft-key")
    assert refused == "TYPE_NOT_ALLOWED"


# Two requests for one upload


class Stalled:
    """A request whose client has sent a part of the body and then says nothing more."""

    def __init__(self, house: House, place: str, offset: int, length: int) -> None:
        self._port = house.port
        self._head = (
            f"PATCH {place} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer demo-key\r\nTus-Resumable: 1.0.0\r\n"
            f"Content-Type: application/offset+octet-stream\r\nUpload-Offset: {offset}\r\n"
            f"Content-Length: {length}\r\n\r\n"
        ).encode()

    async def send(self, body: bytes) -> None:
        self._reader, self._writer = await asyncio.open_connection("127.0.0.1", self._port)
        self._writer.write(self._head + body)
        await self._writer.drain()

    def cut(self) -> None:
        self._writer.transport.abort()

    async def answer(self) -> bytes:
        """What it is told, for which it need not close."""
        try:
            async with asyncio.timeout(10):
                return await self._reader.readuntil(b"}")
        finally:
            self._writer.close()


async def until_held(house: House, place: str) -> None:
    async with asyncio.timeout(10):
        while not await house.redis.exists(f"safelight:lock:{place.rpartition('/')[2]}"):
            await asyncio.sleep(0.005)


@pytest.mark.parametrize("method", ["HEAD", "PATCH", "DELETE"])
async def test_a_newer_request_ends_a_stalled_one(tus: Tus, method: str) -> None:
    place = await tus.create(500_000)
    stalled = Stalled(tus.house, place, 0, 500_000)
    await stalled.send(b"a" * 200_000)
    await until_held(tus.house, place)
    await asyncio.sleep(0.1)
    began = asyncio.get_running_loop().time()
    if method == "HEAD":
        assert await tus.offset(place) == 200_000
    elif method == "PATCH":
        assert int((await tus.patch(place, 0, b"b", 409)).headers["Upload-Offset"]) == 200_000
    else:
        await tus.ask("DELETE", place, 204)
    assert asyncio.get_running_loop().time() - began < 1
    answer = await stalled.answer()
    assert answer.startswith(b"HTTP/1.1 423 ") and b"UPLOAD_TAKEN_OVER" in answer and b"Connection: close" in answer
    if method != "DELETE":
        done = await tus.patch(place, 200_000, b"a" * 300_000)
        assert await tus.content(done) == b"a" * 500_000


async def test_of_two_patches_at_one_offset_one_wins(tus: Tus) -> None:
    place = await tus.create(900_000)
    bodies = [bytes([65 + number]) * 300_000 for number in range(6)]

    async def send(body: bytes) -> int:
        headers = TUS | BYTES | {"Upload-Offset": "0"}
        async with tus.house.ask(
            "PATCH",
            place,
            headers=headers,
            data=slowly(*[body[at : at + 50_000] for at in range(0, 300_000, 50_000)], pause=0.01),
        ) as answer:
            return answer.status

    statuses = await asyncio.gather(*(send(body) for body in bodies), return_exceptions=True)
    told = [status for status in statuses if not isinstance(status, aiohttp.ClientError)]
    assert set(told) <= {204, 409, 423} and told.count(204) <= 1
    offset = await tus.offset(place)
    last = await tus.patch(place, offset, b"z" * (900_000 - offset))
    content = await tus.content(last)
    assert len(content) == 900_000 and len(set(content[:offset])) <= 1


async def test_what_came_before_a_cut_is_kept_and_told_exactly(tus: Tus) -> None:
    body = photo(1200, 900, "PNG") + bytes(400_000)
    place = await tus.create(len(body))
    offset = 0
    while offset + 100_000 < len(body):
        stalled = Stalled(tus.house, place, offset, len(body) - offset)
        await stalled.send(body[offset : offset + 100_000])
        await until_held(tus.house, place)
        stalled.cut()
        kept = await tus.offset(place)
        assert offset <= kept <= offset + 100_000
        if kept == offset:  # the cut was faster than the bytes
            kept += 50_000
            await tus.patch(place, offset, body[offset:kept])
        offset = kept
    assert await tus.content(await tus.patch(place, offset, body[offset:])) == body
