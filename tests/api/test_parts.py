"""Uploads in parts, by presigned PUT and by one-time address, on disk and on a real S3; signatures and rates."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import io
import os
import time
from collections.abc import AsyncIterator, Mapping
from random import Random
from typing import Any
from uuid import uuid4

import aiohttp
import pytest
from redis.asyncio import Redis

from pipeline.storage.base import Content

from .conftest import serving
from .house import House, Multipart, photo

MIB = 1024 * 1024
PART = 5 * MIB
CONFIG = """
data_dir: "{data}"
flows_dir: "{data}/flows"
redis_url: "{redis}"
body_timeout: 2s
storages: {{default: "file://{data}/files", cloud: "{s3}"}}
projects:
  local: {{api_keys: [local-key, local-new-key], secret_key: local-secret, public_key: local-public}}
  cloud: {{api_keys: [cloud-key], storage: cloud}}
  strict: {{api_keys: [strict-key], secret_key: strict-secret, public_key: strict-public, require_signed_uploads: true}}
  huge: {{api_keys: [huge-key], limits: {{max_file_size: 60TB}}}}
  slow: {{api_keys: [slow-key], limits: {{requests_per_minute: 5}}}}
"""


@pytest.fixture(scope="module")
async def house(redis_url: str, s3_url: str, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[House]:
    s3 = s3_url.replace("/tests?", f"/tests/{uuid4()}?")
    async with serving(CONFIG, redis_url, tmp_path_factory.mktemp("parts"), "local-key", s3=s3) as house:
        yield house


@pytest.fixture(autouse=True)
async def emptied(redis: Redis) -> None:
    """Nothing that an earlier test counted or burnt."""


def noise(size: int, seed: int = 1) -> bytes:
    return Random(seed).randbytes(size)


async def put(url: str, body: bytes, **headers: str) -> tuple[int, Mapping[str, str], str]:
    async with (
        aiohttp.ClientSession(skip_auto_headers=["Content-Type"]) as session,
        session.put(url, data=io.BytesIO(body), headers=headers) as answer,
    ):
        return answer.status, answer.headers, await answer.text()


async def content(house: House, file: dict[str, Any]) -> bytes:
    async with house.session.get(file["url"]) as answer:
        return await answer.read()


# Parts


@pytest.mark.parametrize("key", ["local-key", "cloud-key"])
async def test_parts_in_any_order_sent_again_become_the_file(house: House, key: str) -> None:
    body = noise(2 * PART + 777)
    upload = await house.json(
        "POST", "/v1/uploads", 201, key=key, json={"name": "big.bin", "size": len(body), "way": "parts"}
    )
    assert [part["size"] for part in upload["parts"]] == [PART, PART, 777] and upload["part_size"] == PART
    urls = [part["url"] for part in upload["parts"]]
    assert all(url.startswith("http") for url in urls)
    assert all((house.base in url) == (key == "local-key") for url in urls), "S3 is asked directly"
    status, headers, _ = await put(urls[2], body[2 * PART :])
    assert status == 200 and headers["ETag"]
    assert (await put(urls[0], noise(PART, 9)))[0] == 200
    await house.problem("POST", f"/v1/uploads/{upload['id']}/finish", 409, "PARTS_MISSING", key=key)
    listed = (await house.json("GET", f"/v1/uploads/{upload['id']}/parts", key=key))["items"]
    assert [part["received"] for part in listed] == [PART, 0, 777]
    sent = await asyncio.gather(put(urls[0], body[:PART]), put(urls[1], body[PART : 2 * PART]))
    tags = [{"number": number, "etag": told["ETag"]} for number, (_, told, _) in enumerate(sent, 1)]
    file = await house.json("POST", f"/v1/uploads/{upload['id']}/finish", 201, key=key, json={"parts": tags})
    assert (file["id"], file["size"], file["sha256"]) == (upload["id"], len(body), hashlib.sha256(body).hexdigest())
    assert await content(house, file) == body
    assert await house.json("POST", f"/v1/uploads/{upload['id']}/finish", 201, key=key) == file
    assert (await put(urls[0], body[:PART]))[0] in (404, 400)
    assert await content(house, file) == body


async def test_a_part_of_the_wrong_size_is_refused_and_leaves_the_right_one(house: House) -> None:
    body = noise(PART + 10)
    upload = await house.json("POST", "/v1/uploads", 201, json={"size": len(body), "way": "parts"})
    first, last = (part["url"] for part in upload["parts"])
    assert (await put(last, body[PART:]))[0] == 200
    for wrong in (body[PART:-1], body[PART:] + b"x", b""):
        status, _, text = await put(last, wrong)
        assert status == 422 and "PART_SIZE_WRONG" in text
    await house.problem("PUT", last, 422, "PART_SIZE_WRONG", data=chunked(b"a" * 5, b"b" * 7), key=None)
    await house.problem("PUT", last, 422, "PART_SIZE_WRONG", data=chunked(b"a" * 5), key=None)
    assert (await put(first, body[:PART]))[0] == 200
    file = await house.json("POST", f"/v1/uploads/{upload['id']}/finish", 201)
    assert await content(house, file) == body


async def chunked(*chunks: bytes) -> AsyncIterator[bytes]:
    for chunk in chunks:
        yield chunk


async def test_a_cut_part_is_not_there_and_can_be_sent_again(house: House) -> None:
    upload = await house.json("POST", "/v1/uploads", 201, json={"size": PART, "way": "parts"})
    (url,) = (part["url"] for part in upload["parts"])
    path = url.removeprefix(house.base)
    head = f"PUT {path} HTTP/1.1\r\nHost: x\r\nContent-Length: {PART}\r\n\r\n".encode()
    answer = await house.speak(head, b"x" * 100_000)
    assert b" 408 " in answer.split(b"\r\n")[0]
    assert (await house.json("GET", f"/v1/uploads/{upload['id']}/parts"))["items"][0]["received"] == 0
    body = noise(PART, 4)
    assert (await put(url, body))[0] == 200
    assert await content(house, await house.json("POST", f"/v1/uploads/{upload['id']}/finish", 201)) == body


async def test_nonsense_about_parts_is_told_as_what_it_is(house: House) -> None:
    for ask, code in (
        ({"way": "parts"}, "SIZE_REQUIRED"),
        ({"way": "parts", "size": 10, "part_size": 1000}, "PART_SIZE_INVALID"),
        ({"way": "parts", "size": 10, "part_size": 10**12}, "PART_SIZE_INVALID"),
        ({"way": "put"}, "SIZE_REQUIRED"),
    ):
        await house.problem("POST", "/v1/uploads", 422, code, json=ask)
    await house.problem("POST", "/v1/uploads", 413, "FILE_TOO_LARGE", json={"way": "parts", "size": 10**13})
    upload = await house.json("POST", "/v1/uploads", 201, json={"size": 9, "way": "parts"})
    patched = {"Upload-Offset": "0", "Content-Type": "application/octet-stream"}
    await house.problem("PATCH", f"/v1/uploads/{upload['id']}", 409, "UPLOAD_WAY_WRONG", data=b"x", headers=patched)
    await house.problem("GET", f"/v1/uploads/{upload['id']}/parts", 404, "UPLOAD_NOT_FOUND", key="cloud-key")


async def test_never_more_than_ten_thousand_parts(house: House) -> None:
    more = {"way": "parts", "size": 10_000 * PART + 1}
    for ask in (more | {"part_size": PART}, {"way": "parts", "size": 50 * 10**12, "part_size": 10**9}):
        await house.problem("POST", "/v1/uploads", 422, "PART_SIZE_INVALID", key="huge-key", json=ask)
    upload = await house.json("POST", "/v1/uploads", 201, key="huge-key", json=more)
    sizes = [part["size"] for part in upload["parts"]]
    assert (sum(sizes), upload["part_size"], set(sizes[:-1])) == (more["size"], PART + 1, {PART + 1})
    assert len(sizes) <= 10_000 and [part["number"] for part in upload["parts"]] == [*range(1, len(sizes) + 1)]
    assert len({part["url"] for part in upload["parts"]}) == len(sizes)
    path = f"/v1/uploads/{upload['id']}"
    tags = [{"number": number, "etag": "x"} for number in range(1, 10_002)]
    await house.problem("POST", f"{path}/finish", 400, "REQUEST_INVALID", key="huge-key", json={"parts": tags})
    await house.problem("POST", f"{path}/finish", 409, "PARTS_MISSING", key="huge-key", json={"parts": tags[:10_000]})
    await house.json("DELETE", path, 204, key="huge-key")


async def test_what_a_finish_says_of_parts_must_be_so(house: House) -> None:
    body = noise(PART + 9, 3)
    ask = {"size": len(body), "way": "parts"}
    upload = await house.json("POST", "/v1/uploads", 201, key="cloud-key", json=ask)
    first, last = (part["url"] for part in upload["parts"])
    for wrong in (body[PART:] + b"x", body[PART:-1]):
        assert (await put(last, wrong))[0] == 403, "S3 itself takes no other length"
    finish = f"/v1/uploads/{upload['id']}/finish"
    told = await house.problem("POST", finish, 409, "PARTS_MISSING", key="cloud-key")
    assert "2 of its parts" in told["detail"] or "1, 2" in told["detail"]
    tags = [(await put(url, piece))[1]["ETag"] for url, piece in ((last, body[PART:]), (first, body[:PART]))][::-1]

    def saying(*parts: tuple[int, str]) -> dict[str, Any]:
        return {"key": "cloud-key", "json": {"parts": [{"number": number, "etag": tag} for number, tag in parts]}}

    await house.problem("POST", finish, 422, "PART_TAG_WRONG", **saying((1, tags[1]), (2, tags[1])))
    await house.problem("POST", finish, 400, "REQUEST_INVALID", **saying((1, tags[0]), (1, tags[0])))
    await house.problem("POST", finish, 400, "REQUEST_INVALID", **saying((0, tags[0])))
    bare = [tag.strip('"') for tag in tags]
    file = await house.json("POST", finish, 201, **saying((2, bare[1]), (1, bare[0])))
    assert await content(house, file) == body


async def test_an_address_of_a_part_is_good_for_nothing_else(house: House) -> None:
    upload = await house.json("POST", "/v1/uploads", 201, json={"size": 9, "way": "parts"})
    (url,) = (part["url"] for part in upload["parts"])
    token = url.rpartition("/")[2]
    told, mac = token.split(".")
    forged = ("A" if mac[5] != "A" else "B").join((mac[:5], mac[6:]))
    for wrong in (f"{told}.{forged}", f"{told[:-2]}AA.{mac}", told, "x", f"{token}.{mac}", "é", "a" * 7900):
        await house.problem("PUT", f"/v1/parts/{wrong}", 403, "SIGNATURE_INVALID", data=b"123456789", key=None)
    await house.problem("PUT", f"/v1/put/{token}", 403, "SIGNATURE_INVALID", data=b"123456789", key=None)
    await house.problem("POST", f"/v1/once/{token}", 403, "SIGNATURE_INVALID", data=b"123456789", key=None)
    late = house.core.parts._seals.seal("part", "local", time.time() - 5, {"id": upload["id"], "part": 1})
    await house.problem("PUT", f"/v1/parts/{late}", 403, "SIGNATURE_EXPIRED", data=b"123456789", key=None)
    older = house.core.parts._seals
    assert older.open("part", token)[1] == {"id": upload["id"], "part": 1}


async def test_a_refused_type_is_refused_with_the_first_part(house: House) -> None:
    declared = {"size": PART, "way": "parts", "type": "image/png", "name": "a.png"}
    upload = await house.json("POST", "/v1/uploads", 201, json=declared)
    (url,) = (part["url"] for part in upload["parts"])
    status, _, text = await put(url, b"%PDF-1.7\n" + b"x" * (PART - 9))
    assert status == 415 and "TYPE_MISMATCH" in text


# One PUT


@pytest.mark.parametrize("key", ["local-key", "cloud-key"])
async def test_a_presigned_put_takes_its_type_and_length_only(house: House, key: str) -> None:
    picture = photo(200, 100)
    ask = {"name": "p.jpg", "size": len(picture), "type": "image/jpeg", "way": "put"}
    upload = await house.json("POST", "/v1/uploads", 201, key=key, json=ask)
    url, headers = upload["put"]["url"], upload["put"]["headers"]
    assert headers == {"Content-Type": "image/jpeg"}
    assert (house.base in url) == (key == "local-key")
    assert (await put(url, picture, **{"Content-Type": "image/png"}))[0] == 403
    assert (await put(url, picture))[0] == 403
    assert (await put(url, picture[:-1], **headers))[0] == 403
    assert (await put(url, picture + b"x", **headers))[0] == 403
    refused = "BODY_INCOMPLETE"
    await house.problem("POST", f"/v1/uploads/{upload['id']}/finish", 400, refused, key=key)
    assert (await put(url, b"x" * len(picture), **headers))[0] in (200, 415)
    status, told, _ = await put(url, picture, **headers)
    assert status == 200 and told["ETag"]
    file = await house.json("POST", f"/v1/uploads/{upload['id']}/finish", 201, key=key)
    assert (file["image"]["width"], file["mime"]) == (200, "image/jpeg")
    await put(url, b"y" * len(picture), **headers)
    assert await content(house, file) == picture, "an address changes no file"


async def begun(house: House, body: bytes, name: str = "a.bin") -> tuple[str, str]:
    """The id of an upload by one PUT, and where its bytes go."""
    upload = await house.json("POST", "/v1/uploads", 201, json={"size": len(body), "way": "put", "name": name})
    return upload["id"], upload["put"]["url"]


def waiting(house: House) -> list[str]:
    """What lies in the staging of the disk."""
    return sorted(os.listdir(house.data / "files" / ".staging"))


async def test_a_presigned_put_that_is_refused_leaves_the_earlier_one(house: House) -> None:
    body = noise(50_000)
    id, url = await begun(house, body)
    octets = {"Content-Type": "application/octet-stream"}
    assert (await put(url, body, **octets))[0] == 200
    assert waiting(house) == [id]
    await house.problem("PUT", url, 403, "PUT_LENGTH_WRONG", data=chunked(body[:-1]), headers=octets, key=None)
    bodies = [noise(50_000, seed) for seed in range(2, 8)]
    assert waiting(house) == [id] and (house.data / "files/.staging" / id).read_bytes() == body
    assert {status for status, _, _ in await asyncio.gather(*(put(url, one, **octets) for one in bodies))} == {200}
    file = await house.json("POST", f"/v1/uploads/{id}/finish", 201)
    assert await content(house, file) in bodies and waiting(house) == []
    assert (await put(url, body, **octets))[0] == 404 and waiting(house) == []


async def test_a_presigned_put_counts_only_while_nobody_ends_the_upload(house: House) -> None:
    body, octets = noise(9000), {"Content-Type": "application/octet-stream"}
    holds = house.core.uploads._holds

    async def sent(ended: bool) -> int:
        id, url = await begun(house, body)
        async with holds.of(id):
            going = asyncio.create_task(put(url, body, **octets))
            async with asyncio.timeout(10):
                while f"free:{id}" not in holds._bell._rings:
                    await asyncio.sleep(0.005)
            assert not going.done(), "nothing is acknowledged that may not count"
            if ended:
                await house.core.records.uploads.delete(id)
        status, _, _ = await going
        if not ended:
            assert await content(house, await house.json("POST", f"/v1/uploads/{id}/finish", 201)) == body
        return status

    assert await asyncio.gather(sent(False), sent(True)) == [200, 404]
    assert waiting(house) == []


async def test_an_end_that_broke_off_before_it_was_on_record_can_be_asked_for_again(house: House) -> None:
    picture = photo(120, 80)
    id, url = await begun(house, picture, "p.jpg")
    assert (await put(url, picture, **{"Content-Type": "application/octet-stream"}))[0] == 200
    upload = await house.core.records.uploads.get(id)
    await house.core.storages["default"].put_all([Content(upload.key, picture, "image/jpeg")])
    file = await house.json("POST", f"/v1/uploads/{id}/finish", 201)
    assert (file["image"]["width"], file["sha256"]) == (120, hashlib.sha256(picture).hexdigest())
    assert await content(house, file) == picture and waiting(house) == []
    kept = house.data / "files" / upload.key
    assert kept.with_name(kept.name + ".json").exists()
    assert await house.json("POST", f"/v1/uploads/{id}/finish", 201) == file


# Tickets


async def test_a_ticket_takes_one_file_from_somebody_without_a_key(house: House) -> None:
    picture = photo()
    ask = {"types": ["image/*"], "max_size": 1_000_000, "metadata": {"from": "guest"}, "name": "fixed.jpg"}
    ticket = await house.json("POST", "/v1/tickets", 201, json=ask)
    url = ticket["url"]
    await house.problem("POST", url, 415, "TYPE_NOT_ALLOWED", data=b"%PDF-1.7 not a picture", key=None)
    await house.problem("POST", url, 400, "BODY_EMPTY", key=None)
    await house.problem("POST", url, 413, "FILE_TOO_LARGE", data=b"x" * 1_000_001, key=None)
    form = Multipart().field("file", picture, "own.jpg").end()
    file = await house.json("POST", url, 201, key=None, **form)
    assert (file["name"], file["metadata"], file["sha256"]) == (
        "fixed.jpg",
        {"from": "guest"},
        hashlib.sha256(picture).hexdigest(),
    )
    await house.problem("POST", url, 409, "TICKET_USED", data=picture, key=None)
    assert (await house.json("GET", f"/v1/files/{file['id']}"))["id"] == file["id"]


async def test_of_fifty_who_come_at_once_with_one_ticket_one_gets_in(house: House) -> None:
    url = (await house.json("POST", "/v1/tickets", 201, json={}))["url"]

    async def use(number: int) -> int:
        async with house.ask("POST", url, data=b"file %d" % number, key=None) as answer:
            return answer.status

    assert sorted(await asyncio.gather(*map(use, range(50)))) == [201] + [409] * 49


async def test_a_ticket_whose_body_broke_off_is_good_again(house: House) -> None:
    url = (await house.json("POST", "/v1/tickets", 201, json={}))["url"]
    head = f"POST {url.removeprefix(house.base)} HTTP/1.1\r\nHost: x\r\nContent-Length: 5000\r\n\r\n".encode()
    assert b" 408 " in (await house.speak(head, b"half")).split(b"\r\n")[0]
    await house.json("POST", url, 201, data=b"whole", key=None)


# Signed uploads


def shown(expires: float, token: str = "", secret: str = "strict-secret", key: str = "strict-public") -> dict[str, str]:
    until = str(int(expires))
    told = hmac.new(secret.encode(), f"{key}\n{until}\n{token}".encode(), "sha256").hexdigest()
    return {"X-Public-Key": key, "X-Signature": told, "X-Expires": until, "X-Token": token}


async def test_a_page_uploads_with_a_public_key_and_a_signature(house: House) -> None:
    soon = time.time() + 60
    file = await house.json("POST", "/v1/files", 201, data=b"signed", key=None, headers=shown(soon))
    assert (await house.json("GET", f"/v1/files/{file['id']}", key="strict-key"))["id"] == file["id"]
    for headers, status, code in (
        ({"X-Public-Key": "strict-public"}, 403, "SIGNATURE_REQUIRED"),
        (shown(soon, secret="wrong"), 403, "SIGNATURE_INVALID"),
        (shown(soon) | {"X-Expires": str(int(soon) + 1)}, 403, "SIGNATURE_INVALID"),
        (shown(soon) | {"X-Expires": "soon"}, 403, "SIGNATURE_INVALID"),
        (shown(time.time() - 5), 403, "SIGNATURE_EXPIRED"),
        ({"X-Public-Key": "nobody"}, 401, "KEY_INVALID"),
    ):
        await house.problem("POST", "/v1/files", status, code, data=b"x", key=None, headers=headers)
    await house.problem("GET", "/v1/files", 401, "KEY_REQUIRED", key=None, headers=shown(soon))


async def test_a_token_is_burnt_by_its_first_use(house: House) -> None:
    async def send(number: int) -> int:
        headers = shown(time.time() + 60, "once-only")
        async with house.ask("POST", "/v1/files", data=b"n%d" % number, key=None, headers=headers) as answer:
            return answer.status

    assert sorted(await asyncio.gather(*map(send, range(30)))) == [201] + [409] * 29
    await house.problem(
        "POST", "/v1/files", 409, "TOKEN_USED", data=b"x", key=None, headers=shown(time.time() + 60, "once-only")
    )


async def test_an_upload_begun_under_a_signature_goes_on_with_the_public_key(house: House) -> None:
    upload = await house.json("POST", "/v1/uploads", 201, json={"size": 4}, key=None, headers=shown(time.time() + 60))
    page = {"X-Public-Key": "strict-public"}
    path = f"/v1/uploads/{upload['id']}"
    await house.json("PATCH", path, data=b"page", key=None, headers=page | {"Upload-Offset": "0"})
    assert (await house.json("POST", path + "/finish", 201, key=None, headers=page))["size"] == 4


async def test_a_project_that_asks_for_no_signature_takes_its_public_key(house: House) -> None:
    file = await house.json("POST", "/v1/files?public_key=local-public", 201, data=b"open", key=None)
    assert file["size"] == 4
    old = shown(time.time() + 60, secret="local-new-key", key="local-public")
    await house.json("POST", "/v1/files", 201, data=b"old", key=None, headers=old)


# Rates


async def test_one_request_too_many_is_told_when_to_come_back(house: House) -> None:
    for _ in range(5):
        await house.json("GET", "/v1/files", key="slow-key")
    async with house.ask("GET", "/v1/files", key="slow-key") as answer:
        problem = await answer.json(content_type="application/problem+json")
        assert (answer.status, problem["code"]) == (429, "RATE_EXCEEDED")
        assert 1 <= int(answer.headers["Retry-After"]) <= 60
        assert answer.headers["RateLimit-Limit"] == "5" and answer.headers["RateLimit-Remaining"] == "0"
        assert answer.headers["RateLimit-Reset"] == answer.headers["Retry-After"]
    await house.json("GET", "/v1/files")
