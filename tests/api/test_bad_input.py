"""Bad input: each a 4xx with code and sentence, and nothing left behind in the storage folder or in Redis."""

from __future__ import annotations

import asyncio
import gzip
import json
import struct
import zlib
from collections.abc import AsyncIterator
from typing import Any

import pytest

from .house import House, Multipart, photo

RUNS = "/v1/flows/tiny/runs"
FORM = "multipart/form-data; boundary=frontier"


@pytest.fixture
async def clean(house: House, request: pytest.FixtureRequest) -> AsyncIterator[House]:
    """The house; once the test is over, nothing may be left in it."""
    before = await house.leftovers()
    yield house
    await _settle(house, before, looks=20 if "cut_off" in request.node.name else 1)


async def _settle(house: House, before: Any, looks: int) -> None:
    """A cut connection is noticed in its own time, perhaps only after the first look; nothing else may take any."""
    quiet = 0
    async with asyncio.timeout(10):
        while quiet < looks:
            quiet = quiet + 1 if await house.leftovers() == before else 0
            await asyncio.sleep(0.01)
    assert await house.leftovers() == before


def bomb(width: int = 30_000, height: int = 30_000) -> bytes:
    """A PNG of few bytes and very many pixels."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    head = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    rows = zlib.compress(b"\0" * ((width // 8 + 1) * 64), 9)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


def run_form(picture: bytes, name: str = "p.jpg", **fields: str) -> dict[str, Any]:
    form = Multipart()
    for field, value in fields.items():
        form.field(field, value)
    return form.field("photo", picture, name, "Content-Type: application/octet-stream\r\n").end()


# What is sent


async def test_wrong_type_for_the_project(clean: House) -> None:
    await clean.problem("POST", "/v1/files", 415, "TYPE_NOT_ALLOWED", key="draft-key", data=b"just text")


async def test_wrong_type_for_the_flow(clean: House) -> None:
    await clean.problem("POST", RUNS, 415, "TYPE_NOT_ALLOWED", **run_form(b"just text", "t.txt"))


async def test_declared_type_that_the_bytes_deny(clean: House) -> None:
    headers = {"Content-Type": "application/pdf"}
    await clean.problem("POST", "/v1/files", 415, "TYPE_MISMATCH", data=photo(), headers=headers)


async def test_truncated_image(clean: House) -> None:
    await clean.problem("POST", "/v1/files", 422, "IMAGE_UNREADABLE", data=photo(400, 400)[:-800])


async def test_lying_image(clean: House) -> None:
    lie = b"\x89PNG\r\n\x1a\n" + b"no chunk in here" * 10
    await clean.problem("POST", "/v1/files", 422, "IMAGE_UNREADABLE", data=lie)


async def test_bomb(clean: House) -> None:
    assert len(bomb()) < 20_000
    await clean.problem("POST", "/v1/files", 422, "IMAGE_TOO_LARGE", data=bomb())


async def test_more_pixels_than_the_flow_takes(clean: House) -> None:
    await clean.problem("POST", RUNS, 422, "IMAGE_TOO_LARGE", **run_form(photo(1200, 1000)))


async def test_empty_body(clean: House) -> None:
    await clean.problem("POST", "/v1/files", 400, "BODY_EMPTY")
    await clean.problem("POST", "/v1/files", 400, "BODY_EMPTY", **Multipart().field("metadata", "{}").end())


async def test_empty_file(clean: House) -> None:
    await clean.problem("POST", "/v1/files", 422, "FILE_EMPTY", **Multipart().field("file", b"", "e.txt").end())
    await clean.problem("POST", RUNS, 422, "FILE_EMPTY", **run_form(b""))


async def test_file_larger_than_the_project_allows(clean: House) -> None:
    await clean.problem("POST", "/v1/files", 413, "FILE_TOO_LARGE", data=b"x" * 3_000_001)


async def test_file_that_grows_beyond_the_limit_while_it_streams(clean: House) -> None:
    async def endless() -> AsyncIterator[bytes]:
        for _ in range(1000):
            yield b"x" * 100_000

    await clean.problem("POST", "/v1/files", 413, "FILE_TOO_LARGE", data=endless())


async def test_file_larger_than_the_flow_takes(clean: House) -> None:
    big = photo() + b"\0" * 2_000_000
    await clean.problem("POST", RUNS, 413, "FILE_TOO_LARGE", **run_form(big))


# How it is sent


@pytest.mark.parametrize(
    ("body", "content_type"),
    [
        (b"no boundary in here at all", FORM),
        (b"", f"{FORM}; x"),
        (b"--frontier\r\nContent-Disposition: form-data; name=a; filename=b\r\n\r\nhalf", FORM),
        (b"--frontier\r\nContent-Type: text/plain\r\n\r\nx\r\n--frontier--\r\n", FORM),
        (b"--frontier\r\n" + b"X: " + b"y" * 9000 + b"\r\n\r\n", FORM),
        (b"--frontier--\r\n", "multipart/form-data"),
        (b"junk\r\n" * 100_000, FORM),
    ],
)  # fmt: skip
async def test_broken_multipart(clean: House, body: bytes, content_type: str) -> None:
    async with clean.ask("POST", "/v1/files", data=body, headers={"Content-Type": content_type}) as answer:
        document = await answer.json(content_type="application/problem+json")
    assert answer.status == 400
    assert document["code"] in ("MULTIPART_BROKEN", "BODY_EMPTY")


async def test_files_before_the_break_go_too(clean: House) -> None:
    form = Multipart().field("a", b"first", "a.txt").field("b", photo(), "b.jpg")
    await clean.problem("POST", "/v1/files", 400, "MULTIPART_BROKEN", **form.open(b"--fron"))


async def test_part_longer_or_shorter_than_it_says(clean: House) -> None:
    for length in (3, 99):
        form = Multipart().field("a", b"12345", "a.txt", f"Content-Length: {length}\r\n")
        async with clean.ask("POST", "/v1/files", **form.end()) as answer:
            assert answer.status == 400
            assert (await answer.json(content_type=None))["code"] in (
                "MULTIPART_BROKEN",
                "BODY_TOO_LONG",
                "BODY_INCOMPLETE",
            )


async def test_too_many_or_too_long_text_fields(clean: House) -> None:
    await clean.problem("POST", RUNS, 400, "REQUEST_INVALID", **Multipart().field("metadata", "x" * 70_000).end())
    form = Multipart()
    for _ in range(101):
        form.field("metadata", "{}")
    await clean.problem("POST", RUNS, 400, "REQUEST_INVALID", **form.end())


async def test_thousands_of_tiny_parts(clean: House) -> None:
    form = Multipart()
    for number in range(2000):
        form.field("file", b"x", f"{number}.txt")
    await clean.problem("POST", "/v1/files", 413, "FORM_PARTS_TOO_MANY", **form.end())


async def test_compressed_body(clean: House) -> None:
    headers = {"Content-Encoding": "gzip", "Content-Type": "application/octet-stream"}
    packed = gzip.compress(b"x" * 100_000)
    await clean.problem("POST", "/v1/files", 415, "CONTENT_ENCODING_UNSUPPORTED", data=packed, headers=headers)


async def test_silent_client_is_told_and_let_go(clean: House) -> None:
    said = await clean.speak(_head(1000, b"text/plain"), b"x" * 500)
    assert said.startswith(b"HTTP/1.1 408 ")
    assert b'"BODY_TIMEOUT"' in said


async def test_client_that_drips_is_let_go(clean: House) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", clean.port)
    writer.write(_head(1000, b"text/plain"))
    async with asyncio.timeout(15):
        answer = asyncio.create_task(reader.readline())
        while not answer.done():
            writer.write(b"x")
            await asyncio.wait([answer], timeout=0.2)
    writer.close()
    assert answer.result().startswith(b"HTTP/1.1 408 ")


async def test_client_cut_off_in_the_middle_leaves_nothing(clean: House) -> None:
    await clean.speak(_head(1_000_000, b"text/plain"), b"x" * 300_000, close=True)


async def test_client_cut_off_in_a_form_leaves_nothing(clean: House) -> None:
    form = Multipart().field("a", b"first", "a.txt").field("photo", photo(), "b.jpg")
    head = _head(1_000_000, b"multipart/form-data; boundary=frontier")
    await clean.speak(head, form.body, close=True)


async def test_broken_chunks(clean: House) -> None:
    head = _head(None, b"text/plain")
    said = await clean.speak(head, b"5\r\nhello\r\nZZZ\r\nmore\r\n")
    assert said.startswith((b"HTTP/1.1 400 ", b"HTTP/1.0 400 "))
    assert b"application/problem+json" in said


async def test_what_is_not_http_is_told_so(clean: House) -> None:
    for nonsense in (
        b"\x16\x03\x01\x02\x00\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
        b"GET /\x01 HTTP/1.1\r\n\r\n",
    ):
        said = await clean.speak(nonsense)
        assert said.startswith((b"HTTP/1.1 400 ", b"HTTP/1.0 400 ")), said
        assert json.loads(said.partition(b"\r\n\r\n")[2])["code"] == "REQUEST_INVALID"


async def test_length_and_chunks_together_are_refused(clean: House) -> None:
    head = b"POST /v1/files HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
    assert (await clean.speak(head)).startswith((b"HTTP/1.1 400 ", b"HTTP/1.0 400 "))


async def test_unread_body_is_not_taken_for_a_request(clean: House) -> None:
    smuggled = b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n"
    head = _head(len(smuggled) + 500_000, b"image/png", path=b"/v1/flows/none/runs")
    said = await clean.speak(head, smuggled, smuggled)
    assert said.count(b"HTTP/1.1 ") == 1
    assert said.startswith(b"HTTP/1.1 404 ")
    assert b"Connection: close" in said


async def test_refusal_comes_before_the_body_is_asked_for(clean: House) -> None:
    head = _head(
        1_000_000, b"multipart/form-data; boundary=f", path=b"/v1/flows/none/runs", more=b"Expect: 100-continue\r\n"
    )
    reader, writer = await asyncio.open_connection("127.0.0.1", clean.port)
    writer.write(head)
    assert (await asyncio.wait_for(reader.readline(), 5)).startswith(b"HTTP/1.1 404 ")
    writer.close()


async def test_wanted_body_is_asked_for(clean: House) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", clean.port)
    writer.write(_head(8, b"multipart/form-data; boundary=frontier", more=b"Expect: 100-continue\r\n"))
    assert await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 5) == b"HTTP/1.1 100 Continue\r\n\r\n"
    writer.write(b"no form!")
    assert (await asyncio.wait_for(reader.readline(), 5)).startswith(b"HTTP/1.1 400 ")
    writer.close()


# What is asked for


async def test_unknown_flow(clean: House) -> None:
    await clean.problem("POST", "/v1/flows/nothing/runs", 404, "FLOW_NOT_FOUND", **run_form(photo()))
    await clean.problem("POST", "/v1/flows/%2e%2e%2fetc/runs", 404, "FLOW_NOT_FOUND", **run_form(photo()))


async def test_paused_flow(clean: House) -> None:
    await clean.json("POST", "/v1/flows/tiny/pause")
    await clean.problem("POST", RUNS, 409, "FLOW_PAUSED", **run_form(photo()))


@pytest.mark.parametrize("params", ['{"quality": 101}', '{"quality": "best"}', '{"qualty": 5}'])
async def test_wrong_params_before_or_after_the_file(clean: House, params: str) -> None:
    document = await clean.problem("POST", RUNS, 422, "PARAMS_INVALID", **run_form(photo(), params=params))
    assert "qual" in document["detail"]
    form = Multipart().field("photo", photo(), "p.jpg").field("params", params)
    await clean.problem("POST", RUNS, 422, "PARAMS_INVALID", **form.end())


async def test_params_that_are_no_json(clean: House) -> None:
    await clean.problem("POST", RUNS, 400, "REQUEST_INVALID", **run_form(photo(), params="{quality: 3"))
    await clean.problem("POST", RUNS, 400, "REQUEST_INVALID", **run_form(photo(), metadata='{"a": {"b": 1}}'))


async def test_missing_input(clean: House) -> None:
    form = Multipart().field("first", b"one", "a.txt")
    document = await clean.problem("POST", "/v1/flows/pair/runs", 422, "INPUT_MISSING", **form.end())
    assert "second" in document["detail"]


async def test_unknown_input(clean: House) -> None:
    form = Multipart().field("first", b"one", "a.txt").field("third", b"two", "b.txt")
    await clean.problem("POST", "/v1/flows/pair/runs", 422, "INPUT_UNKNOWN", **form.end())


async def test_two_files_for_an_input_of_one(clean: House) -> None:
    form = Multipart().field("photo", photo(), "a.jpg").field("photo", photo(), "b.jpg")
    await clean.problem("POST", RUNS, 422, "INPUT_NOT_MANY", **form.end())


async def test_file_that_does_not_exist_as_an_input(clean: House) -> None:
    ask = {"inputs": {"photo": {"file": "3f0c8a51-0000-4000-8000-000000000000"}}}
    await clean.problem("POST", RUNS, 404, "FILE_NOT_FOUND", json=ask)


@pytest.mark.parametrize(
    ("given", "status", "code"),
    [
        ({"url": "http://127.0.0.1/a.jpg"}, 422, "ADDRESS_REFUSED"),
        ({"url": "http://[::ffff:a00:1]/a.jpg"}, 422, "ADDRESS_REFUSED"),
        ({"url": "ftp://example.com/a.jpg"}, 422, "URL_SCHEME_UNKNOWN"),
        ({"url": "example.com"}, 422, "URL_SCHEME_MISSING"),
        ({"url": "https://example.com/a.jpg", "file": "3f0c8a51-0000-4000-8000-000000000000"}, 400, "REQUEST_INVALID"),
        ({"name": "a.jpg"}, 400, "REQUEST_INVALID"),
    ],
)
async def test_url_as_an_input(given: dict[str, str], status: int, code: str, clean: House) -> None:
    await clean.problem("POST", RUNS, status, code, json={"inputs": {"photo": given}})


@pytest.mark.parametrize(
    "text", ["{", "[]", '{"inputs": 5}', '{"nodes": {}}', "\udcff".encode("utf-8", "surrogateescape")]
)
async def test_json_that_is_no_run(clean: House, text: str | bytes) -> None:
    headers = {"Content-Type": "application/json"}
    await clean.problem("POST", RUNS, 400, "REQUEST_INVALID", data=text, headers=headers)


async def test_body_of_another_type(clean: House) -> None:
    await clean.problem(
        "POST", RUNS, 415, "CONTENT_TYPE_UNSUPPORTED", data=b"x", headers={"Content-Type": "text/plain"}
    )


def _head(length: int | None, content_type: bytes, path: bytes = b"/v1/files", more: bytes = b"") -> bytes:
    framing = b"Transfer-Encoding: chunked" if length is None else b"Content-Length: %d" % length
    return b"POST %s HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer demo-key\r\nContent-Type: %s\r\n%s\r\n%s\r\n" % (
        path,
        content_type,
        framing,
        more,
    )
