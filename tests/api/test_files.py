"""Files over HTTP: sent, described, fetched in whole and in part, kept, deleted."""

from __future__ import annotations

import hashlib

import pytest

from .house import House, Multipart, photo

SAFE_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; sandbox",
    "Cross-Origin-Resource-Policy": "cross-origin",
    "Referrer-Policy": "no-referrer",
    "Accept-Ranges": "bytes",
}
TEXT = b"0123456789" * 100


async def test_file_sent_as_the_body_is_measured_and_fetched_again(house: House) -> None:
    picture = photo(120, 80)
    async with house.ask("POST", "/v1/files?name=red.jpg", data=picture) as answer:
        assert answer.status == 201
        file = await answer.json()
        assert answer.headers["Location"] == f"{house.base}/v1/files/{file['id']}"
    assert (file["name"], file["mime"], file["size"]) == ("red.jpg", "image/jpeg", len(picture))
    assert file["sha256"] == hashlib.sha256(picture).hexdigest()
    assert (file["image"]["width"], file["image"]["height"]) == (120, 80)
    assert file["stored_at"] and file["expires_at"] is None
    assert set(file).isdisjoint({"key", "storage", "project"})
    async with house.ask("GET", file["url"], key=None) as answer:
        assert await answer.read() == picture
    assert await house.json("GET", f"/v1/files/{file['id']}") == file


async def test_form_with_one_file_is_answered_with_the_file(house: House) -> None:
    form = (
        Multipart()
        .field("metadata", '{"shoot": "may"}')
        .field("any", photo(), "ph\u00f6to.jpg", "Content-Type: image/jpeg\r\n")
    )
    file = await house.json("POST", "/v1/files", 201, **form.end())
    assert (file["name"], file["metadata"]) == ("ph\u00f6to.jpg", {"shoot": "may"})


async def test_form_with_several_files_is_answered_with_a_list(house: House) -> None:
    form = Multipart().field("a", b"first", "a.txt").field("b", b"second", "b.txt")
    answer = await house.json("POST", "/v1/files", 201, **form.end())
    assert [file["name"] for file in answer["items"]] == ["a.txt", "b.txt"]


async def test_name_comes_from_content_disposition(house: House) -> None:
    headers = {"Content-Disposition": "attachment; filename=\"x.txt\"; filename*=UTF-8''%E2%82%AC.txt"}
    file = await house.json("POST", "/v1/files", 201, data=TEXT, headers=headers)
    assert file["name"] == "\u20ac.txt"


async def test_file_larger_than_any_buffer_arrives_whole(house: House) -> None:
    noise = hashlib.shake_256(b"seed").digest(2_900_000)

    async def chunks():
        for start in range(0, len(noise), 70_001):
            yield noise[start : start + 70_001]

    file = await house.json("POST", "/v1/files?name=noise.bin", 201, data=chunks())
    assert file["sha256"] == hashlib.sha256(noise).hexdigest()
    async with house.ask("GET", file["url"], key=None) as answer:
        assert await answer.read() == noise


@pytest.mark.parametrize("step", [1, 2, 7, 4099])
async def test_form_in_pieces_of_any_size_arrives_whole(house: House, step: int) -> None:
    tricky = b"\r\n--frontie\r\n--fronti\r\n-\r\r\n--" * 20
    form = Multipart().field("metadata", '{"k": "v"}').field("a", tricky, "a.bin").field("b", b"\r\n", "b.bin").end()

    async def pieces():
        for start in range(0, len(form["data"]), step):
            yield form["data"][start : start + step]

    answer = await house.json("POST", "/v1/files", 201, data=pieces(), headers=form["headers"])
    digests = [file["sha256"] for file in answer["items"]]
    assert digests == [hashlib.sha256(content).hexdigest() for content in (tricky, b"\r\n")]


async def test_list_goes_on_with_its_cursor_and_shows_no_other_project(house: House) -> None:
    sent = [await house.send(b"%d" % number, f"{number}.txt") for number in range(5)]
    await house.send(b"theirs", key="other-key")
    first = await house.json("GET", "/v1/files?limit=2")
    second = await house.json("GET", f"/v1/files?limit=2&cursor={first['next']}")
    third = await house.json("GET", f"/v1/files?limit=2&cursor={second['next']}")
    listed = [file["id"] for page in (first, second, third) for file in page["items"]]
    assert listed == [file["id"] for file in reversed(sent)]
    assert third["next"] is None


async def test_another_projects_file_is_not_there(house: House) -> None:
    file = await house.send(TEXT)
    for method, path in (("GET", ""), ("DELETE", ""), ("POST", "/store")):
        await house.problem(method, f"/v1/files/{file['id']}{path}", 404, "FILE_NOT_FOUND", key="other-key")
    await house.json("GET", f"/v1/files/{file['id']}")


async def test_deleted_file_leaves_nothing(house: House) -> None:
    before = await house.leftovers()
    file = await house.send(TEXT)
    await house.json("DELETE", f"/v1/files/{file['id']}", 204)
    assert await house.leftovers() == before
    await house.problem("DELETE", f"/v1/files/{file['id']}", 404, "FILE_NOT_FOUND")
    await house.problem("GET", f"/v1/files/{file['id']}/content", 404, "FILE_NOT_FOUND")


async def test_file_expires_until_it_is_stored(house: House) -> None:
    file = await house.send(photo(), "p.jpg", key="draft-key")
    assert file["stored_at"] is None and file["expires_at"]
    stored = await house.json("POST", f"/v1/files/{file['id']}/store", key="draft-key")
    assert stored["stored_at"] and stored["expires_at"] is None
    assert await house.json("POST", f"/v1/files/{file['id']}/store", key="draft-key") == stored


# The bytes


async def test_content_has_headers_that_keep_a_browser_safe(house: House) -> None:
    file = await house.send(photo(), "red.jpg")
    async with house.ask("GET", file["url"], key=None) as answer:
        assert {name: answer.headers[name] for name in SAFE_HEADERS} == SAFE_HEADERS
        assert answer.headers["Content-Type"] == "image/jpeg"
        assert answer.headers["ETag"] == f'"{file["sha256"]}"'
        assert answer.headers["Cache-Control"] == "public, max-age=31536000, immutable"
        assert answer.headers["Content-Disposition"].startswith("inline; ")


@pytest.mark.parametrize(
    "body",
    [
        b"<html><script>alert(1)</script></html>",
        b'<svg xmlns="http://www.w3.org/2000/svg"><script>alert(1)</script></svg>',
        b"%PDF-1.4\n%\xe2\xe3\xcf\xd3\n",
    ],
)
async def test_what_could_carry_a_script_is_an_attachment(house: House, body: bytes) -> None:
    file = await house.send(body, "page.html")
    async with house.ask("GET", file["url"], key=None) as answer:
        assert answer.headers["Content-Disposition"].startswith("attachment; ")
        assert {name: answer.headers[name] for name in SAFE_HEADERS} == SAFE_HEADERS


async def test_file_name_in_the_header_is_plain_and_full(house: House) -> None:
    file = await house.json("POST", "/v1/files", 201, params={"name": 'a"b;\u20ac \u202egpj.txt'}, data=TEXT)
    async with house.ask("GET", file["url"], key=None) as answer:
        header = answer.headers["Content-Disposition"]
    assert header == "attachment; filename=\"a_b__ gpj.txt\"; filename*=UTF-8''a%22b%3B%E2%82%AC%20gpj.txt"


@pytest.mark.parametrize(
    ("asked", "status", "start", "stop"),
    [
        ("bytes=0-0", 206, 0, 1),
        ("bytes=10-19", 206, 10, 20),
        ("bytes=990-", 206, 990, 1000),
        ("bytes=990-5000", 206, 990, 1000),
        ("bytes=-10", 206, 990, 1000),
        ("bytes=-5000", 206, 0, 1000),
        ("bytes=5-2", 200, 0, 1000),
        ("bytes=0-1,5-6", 200, 0, 1000),
        ("lines=1-2", 200, 0, 1000),
        ("bytes=abc", 200, 0, 1000),
    ],
)
async def test_range(house: House, asked: str, status: int, start: int, stop: int) -> None:
    file = await house.send(TEXT)
    async with house.ask("GET", file["url"], key=None, headers={"Range": asked}) as answer:
        assert (answer.status, await answer.read()) == (status, TEXT[start:stop])
        wanted = f"bytes {start}-{stop - 1}/1000" if status == 206 else None
        assert answer.headers.get("Content-Range") == wanted


@pytest.mark.parametrize("asked", ["bytes=1000-", "bytes=4000-5000", "bytes=-0"])
async def test_range_beyond_the_end(house: House, asked: str) -> None:
    file = await house.send(TEXT)
    await house.problem("GET", file["url"], 416, "RANGE_NOT_SATISFIABLE", headers={"Range": asked})
    async with house.ask("GET", file["url"], headers={"Range": asked}) as answer:
        assert answer.headers["Content-Range"] == "bytes */1000"


async def test_range_of_a_large_file(house: House) -> None:
    noise = hashlib.shake_256(b"seed").digest(1_500_000)
    file = await house.send(noise)
    async with house.ask("GET", file["url"], key=None, headers={"Range": "bytes=100000-1400000"}) as answer:
        assert await answer.read() == noise[100_000:1_400_001]


async def test_range_counts_only_for_the_same_bytes(house: House) -> None:
    file = await house.send(TEXT)
    for etag, status in ((f'"{file["sha256"]}"', 206), ('"else"', 200)):
        async with house.ask("GET", file["url"], headers={"Range": "bytes=0-9", "If-Range": etag}) as answer:
            assert answer.status == status


async def test_known_bytes_are_not_sent_again(house: House) -> None:
    file = await house.send(TEXT)
    for condition in (f'"{file["sha256"]}"', f'W/"{file["sha256"]}"', f'"x", "{file["sha256"]}"', "*"):
        async with house.ask("GET", file["url"], headers={"If-None-Match": condition}) as answer:
            assert (answer.status, await answer.read()) == (304, b"")
    async with house.ask("GET", file["url"], headers={"If-None-Match": '"other"'}) as answer:
        assert answer.status == 200


async def test_head_tells_without_bytes(house: House) -> None:
    file = await house.send(TEXT)
    async with house.ask("HEAD", file["url"], key=None) as answer:
        assert (answer.status, answer.headers["Content-Length"], await answer.read()) == (200, "1000", b"")
    async with house.ask("HEAD", file["url"], key=None, headers={"Range": "bytes=0-9"}) as answer:
        assert (answer.status, answer.headers["Content-Length"]) == (206, "10")


# Private files


async def test_private_file_opens_to_its_signature_or_its_own_key(house: House) -> None:
    file = await house.json("POST", "/v1/files?private=true", 201, data=TEXT)
    path = f"/v1/files/{file['id']}/content"
    assert file["url"].startswith(f"{house.base}{path}?expires=")
    async with house.ask("GET", file["url"], key=None) as answer:
        assert (answer.status, await answer.read()) == (200, TEXT)
        assert answer.headers["Cache-Control"] == "private, no-cache"
    async with house.ask("GET", path) as answer:
        assert answer.status == 200
    await house.problem("GET", path, 403, "SIGNATURE_INVALID", key=None)
    await house.problem("GET", path, 403, "SIGNATURE_INVALID", key="other-key")
    await house.problem("GET", file["url"][:-1] + "x", 403, "SIGNATURE_INVALID", key=None)
    await house.problem("GET", file["url"].replace("expires=", "expires=1"), 403, "SIGNATURE_INVALID", key=None)


async def test_signature_opens_no_other_file_and_ends(house: House) -> None:
    file = await house.json("POST", "/v1/files?private=true", 201, data=TEXT)
    second = await house.json("POST", "/v1/files?private=true", 201, data=b"second")
    await house.problem("GET", file["url"].replace(file["id"], second["id"]), 403, "SIGNATURE_INVALID", key=None)
    from pipeline.api.access import Access

    past = Access(house.core.settings.projects).sign("demo", f"/v1/files/{file['id']}/content", 1_000_000_000)
    await house.problem("GET", past, 403, "SIGNATURE_EXPIRED", key=None)
