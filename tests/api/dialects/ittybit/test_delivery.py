"""The delivery domain: files by path, signed addresses, and bytes that are put there whole or in chunks."""

from __future__ import annotations

import asyncio
import base64
import hmac
import time
from typing import Any

import pytest

from tests.api.house import photo

from .desk import BARE, OLDER, Desk, Told

CHUNK = {"Content-Type": "application/octet-stream"}


async def sign(it: Desk, status: int = 201, **fields: Any) -> Any:
    return await it.ok("POST", "/signatures", fields, status)


async def put(it: Desk, url: str, data: bytes, **headers: str) -> Told:
    return await it.ask("PUT", url, data=data, key=None, headers={**CHUNK, **BARE, **headers})


async def test_a_file_is_put_and_fetched_by_its_path(it: Desk) -> None:
    content, url = photo(50, 40), f"{it.house.base}/ittybit/d/demo/shop/shoes/red%20one.jpg"
    file = await it.ok("PUT", url, data=content, status=201)
    assert (file["folder"], file["filename"], file["filesize"]) == ("shop/shoes", "red one.jpg", len(content))
    assert (file["width"], file["status"], file["object"]) == (50, "ready", "source")
    async with it.house.session.get(url) as answer:
        assert (await answer.read(), answer.headers["Content-Disposition"][:6]) == (content, "inline")
    newer = await it.ok("PUT", url, data=photo(60, 40), status=201)
    async with it.house.session.get(url) as answer:
        assert await answer.read() == photo(60, 40)
    assert newer["id"] != file["id"]
    async with it.house.session.get(file["url"]) as answer:  # what was there before is still what it is
        assert await answer.read() == content
    async with it.house.session.get(url, headers={"Range": "bytes=0-9"}) as answer:
        assert (answer.status, await answer.read()) == (206, photo(60, 40)[:10])
    enveloped = await it.ok("PUT", url, data=content, status=201, headers=OLDER)
    assert (enveloped["data"]["filename"], enveloped["error"]) == ("red one.jpg", None)
    assert await it.refused("PUT", url, 401, data=content, key=None)
    assert await it.refused("PUT", url, 404, data=content, key="it-other-key") == "Project not found."
    assert await it.refused("PUT", url, 400, data=b"") == "The file `red one.jpg` is empty."
    assert await it.refused("GET", f"{it.house.base}/ittybit/d/demo/no/such.jpg", 404) == "File not found."
    assert await it.refused("GET", f"{it.house.base}/ittybit/d/nobody/a.jpg", 404) == "File not found."


async def test_signed_addresses(it: Desk) -> None:
    told = await sign(it, filename="signed.jpg", folder="in", method="put")
    domain = f"{it.house.base.removeprefix('http://')}/ittybit/d/demo"
    assert {name: told[name] for name in ("domain", "filename", "folder", "method")} == {
        "domain": domain, "filename": "signed.jpg", "folder": "in", "method": "put"}  # fmt: skip
    assert abs(told["expiry"] - time.time() - 3600) < 5
    assert told["url"] == (
        f"http://{domain}/in/signed.jpg?expiry={told['expiry']}&method=put&signature={told['signature']}"
    )
    for _ in range(2):  # it is good until it expires
        assert (await put(it, told["url"], photo())).status == 201
    assert await it.refused("GET", told["url"], 403, key=None) == "This URL is not signed for GET."
    reading = await sign(it, filename="in/signed.jpg")
    assert (reading["method"], reading["folder"]) == ("get", "in")
    assert (await it.ask("GET", reading["url"], key=None)).document == photo()
    assert await it.refused("PUT", reading["url"], 403, data=photo(), key=None)
    short = told["url"].replace("&method=put", "")  # as the documentation writes it
    assert (await put(it, short, photo())).status == 201
    later = told["url"].replace(str(told["expiry"]), str(told["expiry"] + 1))
    for url in (told["url"][:-3] + "AAA", told["url"].replace("signed.jpg", "other.jpg"), later):
        assert (await put(it, url, photo())).status == 403
    expiry = int(time.time()) - 1
    message = f"put\n/ittybit/d/demo\nlate.jpg\n{expiry}".encode()
    late = base64.urlsafe_b64encode(hmac.digest(b"it-demo-secret", message, "sha256")).decode().rstrip("=")
    url = f"{it.house.base}/ittybit/d/demo/late.jpg?expiry={expiry}&signature={late}"
    assert "expired" in await it.refused("PUT", url, 403, data=photo(), key=None)
    gone = await sign(it, filename="in/signed.jpg", method="delete")
    assert (await it.ask("DELETE", gone["url"], key=None)).status == 202


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({}, "`filename` is required."),
        ({"filename": "a", "method": "patch"}, "`method` must be one of get, put, post, delete."),
        ({"filename": "a", "expiry": 1}, "`expiry` must be a Unix timestamp in the future."),
        ({"filename": "a", "expiry": "x"}, "`expiry` must be a Unix timestamp in the future."),
        ({"filename": "a", "folder": ".."}, "`.` and `..` are no folders"),
    ],
)
async def test_what_cannot_be_signed(it: Desk, fields: dict[str, Any], words: str) -> None:
    assert words in await it.refused("POST", "/signatures", 400, fields)


async def test_what_is_said_with_a_signature_is_remembered(it: Desk) -> None:
    told = await sign(it, filename="m.jpg", method="put", metadata={"title": "m", "n": 1}, resumable=True)
    file = (await put(it, told["url"], photo())).document
    assert file["metadata"] == {"title": "m", "n": 1}


async def test_a_sealed_project_signs_what_it_tells_of(it: Desk) -> None:
    sealed = Desk(it.house, "it-sealed-key")
    file = await sealed.file()
    assert "signature=" in file["url"]
    assert (await it.ask("GET", file["url"], key=None)).document == photo()
    assert (await it.ask("GET", file["url"].partition("?")[0], key=None)).status == 404
    assert (await it.ask("GET", file["url"].partition("?")[0], key="it-sealed-key")).document == photo()
    assert (await it.ask("GET", file["url"].partition("?")[0], key="it-other-key")).status == 404


def chunks(content: bytes, size: int) -> list[tuple[int, bytes]]:
    return [(start, content[start : start + size]) for start in range(0, len(content), size)]


async def test_chunks_in_any_order_and_again(it: Desk) -> None:
    content = photo(700, 500, "PNG") + bytes(3000)
    url, total = f"{it.house.base}/ittybit/d/demo/big/film.bin", len(content)

    async def send(start: int, piece: bytes, sign: str = "=") -> Told:
        header = f"bytes{sign}{start}-{start + len(piece) - 1}/{total}"
        return await it.ask("PUT", url, data=piece, headers={**CHUNK, **BARE, "Content-Range": header})

    (first, *middle, last) = chunks(content, 700)
    told = await asyncio.gather(*(send(*one) for one in (*reversed(middle), first)))
    assert {one.status for one in told} == {202}
    assert (await send(middle[0][0], b"x" * 700)).status == 202  # replaced by what comes again
    assert (await send(*middle[0], sign=" ")).status == 202
    done = await send(*last)
    assert (done.status, done.document["filesize"], done.document["filename"]) == (201, total, "film.bin")
    assert (await send(*last)).document["id"] == done.document["id"]  # its answer was lost
    async with it.house.session.get(url) as answer:
        assert await answer.read() == content
    assert not list((it.house.data / "files/.staging").iterdir())
    fresh = bytes(reversed(content))
    again = [await send(*one) for one in chunks(fresh, 2000)]
    assert [one.status for one in again] == [*[202] * (len(again) - 1), 201]
    async with it.house.session.get(url) as answer:
        assert await answer.read() == fresh
    async with it.house.session.get(done.document["url"]) as answer:
        assert await answer.read() == content


async def test_chunks_in_their_order_are_written_once(it: Desk) -> None:
    content, staging = bytes(range(256)) * 2000, it.house.data / "files/.staging"

    async def send(name: str, start: int, piece: bytes) -> Told:
        header = f"bytes {start}-{start + len(piece) - 1}/{len(content)}"
        url = f"{it.house.base}/ittybit/d/demo/once/{name}"
        return await it.ask("PUT", url, data=piece, headers={**CHUNK, **BARE, "Content-Range": header})

    async def cut(name: str, start: int, piece: bytes) -> None:
        """A chunk whose client is gone behind half of it."""
        place = f"/ittybit/d/demo/once/{name} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {it.key}\r\n"
        range = f"Content-Range: bytes {start}-{start + len(piece) - 1}/{len(content)}\r\n"
        _, writer = await asyncio.open_connection("127.0.0.1", int(it.house.base.rpartition(":")[2]))
        writer.write(f"PUT {place}{range}Content-Length: {len(piece)}\r\n\r\n".encode() + piece[: len(piece) // 2])
        await writer.drain()
        writer.close()
        await writer.wait_closed()

    first, second, *rest = chunks(content, 102_400)
    assert (await send("a.bin", *first)).status == 202
    (staged,) = staging.iterdir()
    place = staged.stat().st_ino
    told = [await send("a.bin", *one) for one in (second, *rest)]
    assert [one.status for one in told] == [202, 202, 202, 201]
    assert place in {path.stat().st_ino for path in it.house.data.glob("files/demo/**/a.bin")}, "it was not copied"
    # What does not follow what is there lies apart, and what comes again takes the place of what came before.
    for one in (first, (second[0], b"x" * 102_400)):
        assert (await send("b.bin", *one)).status == 202
    await cut("b.bin", *rest[0])
    for one in (rest[1], rest[0], (first[0], b"y" * 102_400), second, first):
        assert (await send("b.bin", *one)).status == 202
    told.append(await send("b.bin", *rest[2]))
    assert told[-1].status == 201
    for one in told[-2:]:
        assert (await it.ask("GET", one.document["url"], key=None)).document == content
    assert not list(staging.iterdir())


async def test_the_ranges_of_the_documentation(it: Desk) -> None:
    """Its sample ends the first chunk behind its last byte, and the last one at its last."""
    signed = await sign(it, filename="sample.bin", method="put")
    content = bytes(range(250)) * 4
    told = await put(it, signed["url"], content[:600], **{"Content-Range": "bytes=0-600/1000"})
    assert told.status == 202
    told = await put(it, signed["url"], content[600:], **{"Content-Range": "bytes=600-999/1000"})
    assert (told.status, told.document["filesize"]) == (201, 1000)
    assert (await it.ask("GET", told.document["url"], key=None)).document == content
    whole = await put(it, signed["url"], content, **{"Content-Range": "bytes 0-999/1000"})
    assert whole.status == 201


@pytest.mark.parametrize(
    ("header", "size"),
    [("bytes=0-9", 10), ("0-9/20", 10), ("bytes 0-9/20", 5), ("bytes 15-24/20", 10), ("bytes 9-0/20", 1), ("x", 3)],
)
async def test_ranges_that_cannot_be(it: Desk, header: str, size: int) -> None:
    url = f"{it.house.base}/ittybit/d/demo/odd.bin"
    headers = {**CHUNK, **BARE, "Content-Range": header}
    assert await it.refused("PUT", url, 400, data=bytes(size), headers=headers)


async def test_a_file_that_is_too_large_is_refused_with_its_first_chunk(it: Desk) -> None:
    small, url = Desk(it.house, "it-small-key"), f"{it.house.base}/ittybit/d/small/a.bin"
    headers = {**CHUNK, **BARE, "Content-Range": "bytes 0-9/60000"}
    assert await small.refused("PUT", url, 413, data=bytes(10), headers=headers) == "Request Entity Too Large"


async def test_a_resumable_upload_address(it: Desk) -> None:
    content = photo(300, 200, "PNG")
    told = (await it.ok("POST", "/uploads", {"resumable": True, "filename": "r.png", "metadata": {"a": "b"}}))["data"]
    url, total = told["url"], len(content)
    assert told["resumable"] and "/ittybit/store/resumable?key=" in url

    async def send(start: int, piece: bytes) -> Told:
        header = f"bytes {start}-{start + len(piece) - 1}/{total}"
        return await put(it, url, piece, **{"Content-Range": header})

    assert await it.refused("POST", url, 400, key=None) == "No chunk has been uploaded."
    pieces = chunks(content, 300)
    sent = await asyncio.gather(*(send(*one) for one in pieces[1:]))
    assert {one.status for one in sent} == {202} and sent[0].document["data"]["total"] == total
    assert "Bytes are missing" in await it.refused("POST", url, 409, key=None)
    assert (await send(*pieces[0])).status == 202
    done = await it.ask("POST", url, key=None)
    assert (done.status, done.document["error"]) == (200, None)
    media = done.document["data"]
    assert (media["metadata"], media["filename"], media["files"][0]["filesize"]) == ({"a": "b"}, "r.png", total)
    assert (await it.ask("POST", url, key=None)).document["data"]["id"] == media["id"]  # its answer was lost
    assert (await send(*pieces[0])).status == 410
    assert (await it.ask("GET", media["urls"]["original"], key=None)).document == content
    wish = {"resumable": True, "conditions": [{"prop": "width", "value": ">1000"}]}
    url = (await it.ok("POST", "/uploads", wish))["data"]["url"]
    assert [(await send(*one)).status for one in chunks(content, 9000)] == [202] * -(-total // 9000)
    assert "conditions" in await it.refused("POST", url, 400, key=None)
    assert "Bytes are missing" in await it.refused("POST", url, 409, key=None)  # what is refused is gone
    assert not list((it.house.data / "files/.staging").iterdir())
