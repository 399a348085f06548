"""The IETF's draft of resumable uploads on the addresses of tus, where the setting asks for it."""

from __future__ import annotations

import asyncio
import hashlib
import re
from collections.abc import AsyncIterator
from typing import Any

import pytest

from .conftest import serving
from .house import CONFIG, House, photo

PARTIAL = {"Content-Type": "application/partial-upload"}
PROBLEM = "https://iana.org/assignments/http-problem-types#"


@pytest.fixture(scope="module")
async def draft(redis_url: str, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[House]:
    text = CONFIG + "resumable_draft: true\n"
    async with serving(text, redis_url, tmp_path_factory.mktemp("draft")) as house:
        yield house


async def ask(house: House, method: str, path: str, status: int, **more: Any) -> Any:
    async with house.ask(method, path, **more) as answer:
        text = await answer.text()
        assert answer.status == status, (answer.status, text)
        assert "Tus-Resumable" not in answer.headers
        return answer


async def patch(house: House, place: str, offset: int, complete: str, body: bytes, status: int, **more: str) -> Any:
    headers = PARTIAL | {"Upload-Offset": str(offset), "Upload-Complete": complete}
    named = {name.replace("_", "-"): value for name, value in more.items()}
    return await ask(house, "PATCH", place, status, headers=headers | named, data=body)


async def test_a_file_as_a_series_of_parts(draft: House) -> None:
    body = photo(300, 200)
    about = {"Content-Disposition": "inline; filename*=UTF-8''%C3%9Cn%C3%AF.jpg", "Content-Type": "image/jpeg"}
    answer = await ask(
        draft,
        "POST",
        "/tus",
        201,
        headers=about | {"Upload-Complete": "?0", "Upload-Length": str(len(body))},
        data=body[:700],
    )
    place = answer.headers["Location"]
    assert (answer.headers["Upload-Complete"], answer.headers["Upload-Offset"]) == ("?0", "700")
    assert re.fullmatch(r"max-size=3000000, max-age=863\d\d", answer.headers["Upload-Limit"])
    standing = await ask(draft, "HEAD", place, 204)
    assert (standing.headers["Upload-Offset"], standing.headers["Upload-Length"]) == ("700", str(len(body)))
    assert (standing.headers["Upload-Complete"], standing.headers["Cache-Control"]) == ("?0", "no-store")
    middle = await patch(draft, place, 700, "?0", body[700:], 204)
    assert middle.headers["Upload-Complete"] == "?0"  # its length alone does not end it
    assert (await ask(draft, "HEAD", place, 204)).headers["Upload-Complete"] == "?0"
    last = await patch(draft, place, len(body), "?1", b"", 201)
    file = await last.json()
    assert (last.headers["Upload-Complete"], file["name"], file["mime"]) == ("?1", "Ünï.jpg", "image/jpeg")
    assert file["sha256"] == hashlib.sha256(body).hexdigest()
    done = await ask(draft, "HEAD", place, 204)
    assert (done.headers["Upload-Complete"], done.headers["Safelight-File"]) == ("?1", file["id"])


async def test_a_whole_file_and_one_of_unknown_length(draft: House) -> None:
    answer = await ask(draft, "POST", "/tus", 201, headers={"Upload-Complete": "?1"}, data=b"whole")
    assert (answer.headers["Upload-Complete"], (await answer.json())["size"]) == ("?1", 5)
    answer = await ask(draft, "POST", "/tus", 201, headers={"Upload-Complete": "?0"})
    place = answer.headers["Location"]
    assert "Upload-Length" not in (await ask(draft, "HEAD", place, 204)).headers
    await patch(draft, place, 0, "?0", b"123", 204)

    async def chunked() -> AsyncIterator[bytes]:
        yield b"45"
        yield b"6"

    headers = PARTIAL | {"Upload-Offset": "3", "Upload-Complete": "?1"}
    last = await ask(draft, "PATCH", place, 201, headers=headers, data=chunked())
    assert ((await last.json())["size"], last.headers["Upload-Offset"]) == (6, "6")
    assert (await ask(draft, "HEAD", place, 204)).headers["Upload-Length"] == "6"


async def test_the_upload_is_told_of_before_its_bytes_are_read(draft: House) -> None:
    """104 (Upload Resumption Supported), and what came before the cut is kept under the place it told."""
    head = (
        "POST /tus HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer demo-key\r\nUpload-Complete: ?1\r\n"
        "Content-Length: 1000\r\nContent-Disposition: inline; filename=a.txt\r\n\r\n"
    )
    reader, writer = await asyncio.open_connection("127.0.0.1", draft.port)
    writer.write(head.encode() + b"a" * 400)
    async with asyncio.timeout(10):
        told = (await reader.readuntil(b"\r\n\r\n")).decode()
    assert told.startswith("HTTP/1.1 104 Upload Resumption Supported\r\n") and "Upload-Limit: max-size=" in told
    place = re.search(r"Location: (\S+)", told)[1]  # type: ignore[index]
    kept = int((await ask(draft, "HEAD", place, 204)).headers["Upload-Offset"])
    assert kept in (0, 400)  # nothing, when the question overtook the bytes
    async with asyncio.timeout(10):
        assert b"UPLOAD_TAKEN_OVER" in await reader.readuntil(b"}")  # by the question
    writer.close()
    last = await patch(draft, place, kept, "?1", b"a" * (1000 - kept), 201)
    assert (await last.json())["sha256"] == hashlib.sha256(b"a" * 1000).hexdigest()


async def test_refusals_have_the_problem_types_of_the_draft(draft: House) -> None:
    headers = {"Upload-Complete": "?0", "Upload-Length": "10"}
    place = (await ask(draft, "POST", "/tus", 201, headers=headers, data=b"123")).headers["Location"]
    wrong = await patch(draft, place, 5, "?0", b"456", 409)
    problem = await wrong.json(content_type="application/problem+json")
    assert (problem["type"], wrong.headers["Upload-Offset"]) == (f"{PROBLEM}mismatching-upload-offset", "3")
    assert (problem["expected-offset"], problem["provided-offset"]) == (3, 5)
    for told, body, complete in (("11", b"4", "?0"), ("10", b"4", "?1"), ("10", b"45678901", "?0")):
        wrong = await patch(draft, place, 3, complete, body, 400, Upload_Length=told)
        problem = await wrong.json(content_type="application/problem+json")
        assert problem["type"] == f"{PROBLEM}inconsistent-upload-length"
    await ask(draft, "PATCH", place, 415, headers={"Upload-Offset": "3", "Upload-Complete": "?0"}, data=b"4")
    for missing in ({"Upload-Offset": "3"}, {"Upload-Complete": "?0"}, {"Upload-Offset": "3", "Upload-Complete": "1"}):
        await ask(draft, "PATCH", place, 400, headers=PARTIAL | missing, data=b"4")
    await ask(draft, "HEAD", place, 400, headers={"Upload-Offset": "3"})
    await patch(draft, place, 3, "?1", b"4567890", 201)
    wrong = await patch(draft, place, 10, "?1", b"", 400)
    assert (await wrong.json(content_type=None))["type"] == f"{PROBLEM}completed-upload"
    wrong = await patch(draft, place, 10, "?0", b"1", 400)
    assert (await wrong.json(content_type=None))["type"] == f"{PROBLEM}inconsistent-upload-length"
    cut = photo()[:-200]
    wrong = await ask(draft, "POST", "/tus", 422, headers={"Upload-Complete": "?1"}, data=cut)
    assert wrong.headers["Upload-Complete"] == "?1"  # all of it came; it is the picture that is broken
    big = await ask(draft, "POST", "/tus", 413, headers={"Upload-Complete": "?0", "Upload-Length": "3000001"})
    assert big.headers["Upload-Limit"] == "max-size=3000000"
    await ask(draft, "POST", "/tus", 400)


async def test_cancelling_and_discovery(draft: House) -> None:
    place = (await ask(draft, "POST", "/tus", 201, headers={"Upload-Complete": "?0"}, data=b"123")).headers["Location"]
    await ask(draft, "DELETE", place, 204)
    await ask(draft, "HEAD", place, 404)
    async with draft.ask("OPTIONS", "/tus") as answer:
        assert answer.headers["Accept-Patch"] == "application/partial-upload"
        assert answer.headers["Upload-Limit"] == "max-size=3000000"


async def test_tus_is_spoken_beside_it(draft: House) -> None:
    tus = {"Tus-Resumable": "1.0.0"}
    async with draft.ask("POST", "/tus", headers=tus | {"Upload-Length": "3"}) as answer:
        assert (answer.status, answer.headers["Tus-Resumable"]) == (201, "1.0.0")
        place = answer.headers["Location"]
    body = tus | {"Upload-Offset": "0", "Content-Type": "application/offset+octet-stream"}
    async with draft.ask("PATCH", place, headers=body, data=b"123") as answer:
        assert (answer.status, answer.headers["Upload-Offset"]) == (204, "3")
    assert (await ask(draft, "HEAD", place, 204)).headers["Upload-Complete"] == "?1"
    async with draft.ask("POST", "/tus", headers={"Tus-Resumable": "2", "Upload-Length": "3"}) as answer:
        assert answer.status == 412
