"""Idempotency-Key on what creates."""

from __future__ import annotations

import asyncio

from .house import House, Multipart, photo

KEY = {"Idempotency-Key": "8e03978e-40d5-43dd-bc93-6894a57f9324"}


async def test_file_sent_again_is_answered_with_the_first_file(house: House) -> None:
    file = await house.send(photo(), headers=KEY)
    async with house.ask("POST", "/v1/files?name=file.bin", data=photo(), headers=KEY) as answer:
        assert (answer.status, answer.headers["Idempotency-Replayed"]) == (201, "true")
        assert answer.headers["Location"].endswith(file["id"])
        assert await answer.json() == file
    assert len((await house.json("GET", "/v1/files"))["items"]) == 1


async def test_form_with_another_boundary_is_the_same_request(house: House) -> None:
    ids = set()
    for boundary in ("frontier", "boundary"):
        form = Multipart(boundary, headers=KEY).field("photo", photo(), "p.jpg").end()
        ids.add((await house.json("POST", "/v1/files", 201, **form))["id"])
    assert len(ids) == 1


async def test_key_used_for_something_else(house: House) -> None:
    await house.send(b"text", headers=KEY)
    await house.problem("POST", "/v1/groups", 422, "IDEMPOTENCY_MISMATCH", json={"files": ["a"]}, headers=KEY)
    await house.problem("POST", "/v1/files?name=other", 422, "IDEMPOTENCY_MISMATCH", data=b"text", headers=KEY)


async def test_key_of_another_project_is_another_key(house: House) -> None:
    mine = await house.send(b"text", headers=KEY)
    theirs = await house.send(b"text", headers=KEY, key="other-key")
    assert mine["id"] != theirs["id"]


async def test_body_of_a_replay_is_not_read(house: House) -> None:
    body = b"x" * 2_000_000
    file = await house.send(body, "x.txt", headers=KEY)
    head = (
        "POST /v1/files?name=x.txt HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer demo-key\r\n"
        f"Content-Type: application/octet-stream\r\nContent-Length: {len(body)}\r\n"
        f"Idempotency-Key: {KEY['Idempotency-Key']}\r\n\r\n"
    )
    reader, writer = await asyncio.open_connection("127.0.0.1", house.port)
    writer.write(head.encode())
    said = await asyncio.wait_for(reader.readuntil(b"}"), 5)
    writer.close()
    assert said.startswith(b"HTTP/1.1 201 ") and file["id"].encode() in said
    assert b"Connection: close" in said


async def test_request_that_failed_may_be_sent_again(house: House) -> None:
    form = Multipart(headers=KEY).field("photo", photo(), "p.jpg")
    await house.problem("POST", "/v1/files", 400, "MULTIPART_BROKEN", **form.open(b"--fr"))
    await house.json("POST", "/v1/files", 201, **form.end())


async def test_refusal_that_would_be_the_same_is_kept(house: House) -> None:
    ask = {"files": ["3f0c8a51-0000-4000-8000-000000000000"]}
    await house.problem("POST", "/v1/groups", 404, "FILE_NOT_FOUND", json=ask, headers=KEY)
    async with house.ask("POST", "/v1/groups", json=ask, headers=KEY) as answer:
        assert (answer.status, answer.headers["Idempotency-Replayed"]) == (404, "true")
        assert answer.content_type == "application/problem+json"


async def test_two_at_once_have_one_effect(house: House) -> None:
    async def send() -> int:
        async with house.ask("POST", "/v1/files", data=photo(), headers=KEY) as answer:
            return answer.status

    statuses = await asyncio.gather(*(send() for _ in range(8)))
    assert set(statuses) <= {201, 409}
    assert len((await house.json("GET", "/v1/files"))["items"]) == 1


async def test_key_of_a_client_that_vanished_is_free_again(house: House) -> None:
    head = (
        "POST /v1/files HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer demo-key\r\nContent-Length: 1000000\r\n"
        f"Content-Type: application/octet-stream\r\nIdempotency-Key: {KEY['Idempotency-Key']}\r\n\r\n"
    )
    before = await house.leftovers()
    await house.speak(head.encode(), b"x" * 200_000, close=True)
    async with asyncio.timeout(10):
        while await house.leftovers() != before:
            await asyncio.sleep(0.02)
    await house.json("POST", "/v1/files", 201, data=b"y" * 1_000_000, headers=KEY)


async def test_key_that_is_none(house: House) -> None:
    await house.problem("POST", "/v1/files", 400, "REQUEST_INVALID", data=b"x", headers={"Idempotency-Key": "k" * 256})
