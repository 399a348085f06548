"""What may come in: every limit at its edge by every way bytes come, types, routes, SVG; of the rest, nothing stays."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from redis.asyncio import Redis

from tests.imaging.attacks import SCRIPTS, attack, svg
from tests.imaging.test_purify import judged

from .conftest import serving
from .house import TINY, House, Multipart, photo

CONFIG = """
data_dir: "{data}"
flows_dir: "{data}/flows"
redis_url: "{redis}"
body_timeout: 2s
storages: {{default: "file://{data}/files", other: "file://{data}/elsewhere"}}
projects:
  sized: {{api_keys: [sized-key], limits: {{min_file_size: 10, max_file_size: 1000}}}}
  routed:
    api_keys: [routed-key]
    public_key: routed-public
    allowed_types: ["image/*", "text/*"]
    routes:
      small: {{min_size: 20, max_size: 30}}
      wide: {{min_width: 40, max_width: 80}}
      high: {{min_height: 30, max_height: 60}}
      area: {{min_pixels: 1200, max_pixels: 2400}}
      pictures: {{types: [image/*]}}
      jpegs: {{types: [image/jpeg], storage: other}}
      shrunk: {{flow: tiny}}
  raw: {{api_keys: [raw-key]}}
  pure: {{api_keys: [pure-key], svg: sanitise, limits: {{min_file_size: 400}}}}
  none: {{api_keys: [none-key], svg: refuse}}
"""
WAYS = ("body", "form", "append", "open append", "parts", "put", "ticket")
"""By which a file can come; an open append does not say beforehand how large it will be."""


@pytest.fixture(scope="module")
async def house(redis_url: str, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[House]:
    async with serving(CONFIG, redis_url, tmp_path_factory.mktemp("entry"), "routed-key") as house:
        yield house


@pytest.fixture(autouse=True)
async def emptied(redis: Redis) -> None:
    """Nothing that an earlier test left."""


async def sent(house: House, way: str, body: bytes, name: str = "file.bin", **ask: Any) -> tuple[int, dict[str, Any]]:
    """Status and document that sending a file ends with, at whichever step."""
    key, extra = ask.pop("key", house.key), dict(ask)
    if way in ("body", "form"):
        query = {"name": name, **extra} if way == "body" else extra
        form = Multipart().field("file", body, name).end() if way == "form" else {"data": body}
        return await said(house, "POST", "/v1/files", key, params=query, **form)
    if way == "ticket":
        status, told = await said(house, "POST", "/v1/tickets", key, json={"name": name, **extra})
        return await said(house, "POST", told["url"], None, data=body) if status == 201 else (status, told)
    size = {} if way == "open append" else {"size": len(body)}
    asked = {"name": name, "way": way.removeprefix("open "), **size, **extra}
    status, upload = await said(house, "POST", "/v1/uploads", key, json=asked)
    if status != 201:
        return status, upload
    status, told = await filled(house, way, upload, body, key)
    return (status, told) if status != 200 else await said(house, "POST", f"/v1/uploads/{upload['id']}/finish", key)


async def filled(house: House, way: str, upload: dict[str, Any], body: bytes, key: str) -> tuple[int, dict[str, Any]]:
    if way == "parts":
        return await said(house, "PUT", upload["parts"][0]["url"], None, data=body)
    if way == "put":
        return await said(house, "PUT", upload["put"]["url"], None, data=body, headers=upload["put"]["headers"])
    half = len(body) // 2
    path, octets = f"/v1/uploads/{upload['id']}", {"Content-Type": "application/octet-stream"}
    await said(house, "PATCH", path, key, data=body[:half], headers={**octets, "Upload-Offset": "0"})
    return await said(house, "PATCH", path, key, data=body[half:], headers={**octets, "Upload-Offset": str(half)})


async def said(house: House, method: str, path: str, key: str | None, **body: Any) -> tuple[int, dict[str, Any]]:
    async with house.ask(method, path, key=key, **body) as answer:
        return answer.status, await answer.json(content_type=None) if await answer.read() else {}


async def accepted(house: House, way: str, body: bytes, name: str = "file.bin", **ask: Any) -> dict[str, Any]:
    status, file = await sent(house, way, body, name, **ask)
    assert status == 201, file
    return file


async def refused(house: House, way: str, body: bytes, code: str, name: str = "file.bin", **ask: Any) -> None:
    """The file is refused with this code, and nothing of it is left."""
    files, records = await house.leftovers()
    status, told = await sent(house, way, body, name, **ask)
    assert told.get("code") == code, (status, told)
    assert 400 <= status < 500
    left, known = await house.leftovers()
    assert left == files
    if way not in ("parts", "put"):  # of which other bytes may still take the place
        assert known == records


# Sizes


@pytest.mark.parametrize("way", WAYS)
async def test_the_sizes_of_a_project_hold_to_the_byte(house: House, way: str) -> None:
    for size in (10, 1000):
        assert (await accepted(house, way, b"x" * size, key="sized-key"))["size"] == size
    await refused(house, way, b"x" * 9, "FILE_TOO_SMALL", key="sized-key")
    await refused(house, way, b"x" * 1001, "FILE_TOO_LARGE", key="sized-key")


@pytest.mark.parametrize("way", WAYS)
async def test_the_sizes_of_a_route_hold_to_the_byte(house: House, way: str) -> None:
    for size in (20, 30):
        assert (await accepted(house, way, b"x" * size, route="small"))["size"] == size
    await refused(house, way, b"x" * 19, "FILE_TOO_SMALL", route="small")
    await refused(house, way, b"x" * 31, "FILE_TOO_LARGE", route="small")
    await accepted(house, way, b"x" * 31)


async def test_a_stream_of_unknown_length_is_cut_at_the_limit(house: House) -> None:
    async def endless() -> AsyncIterator[bytes]:
        while True:
            yield b"x" * 500

    await house.problem("POST", "/v1/files", 413, "FILE_TOO_LARGE", key="sized-key", data=endless())
    await house.problem("POST", "/v1/files?route=small", 413, "FILE_TOO_LARGE", data=endless())


async def test_an_empty_file_is_told_to_be_empty(house: House) -> None:
    form = Multipart().field("file", b"", "a.txt").end()
    await house.problem("POST", "/v1/files", 422, "FILE_EMPTY", key="sized-key", **form)


@pytest.mark.parametrize(
    ("path", "headers", "key", "status"),
    [
        ("/v1/files", {"Content-Length": "1001"}, "sized-key", 413),
        ("/v1/files", {"Content-Length": "9"}, "sized-key", 422),
        ("/v1/files?route=small", {"Content-Length": "31"}, "routed-key", 413),
        ("/v1/files?route=jpegs", {"Content-Length": "31", "Content-Type": "video/mp4"}, "routed-key", 415),
        ("/v1/files", {"Content-Length": "31", "Content-Type": "application/pdf"}, "routed-key", 415),
        ("/v1/files", {"Content-Length": "31", "Content-Type": "image/svg+xml"}, "none-key", 415),
        ("/v1/files?route=unknown", {"Content-Length": "31"}, "routed-key", 422),
    ],
)
async def test_what_is_declared_is_refused_before_a_byte_is_asked_for(
    house: House, path: str, headers: dict[str, str], key: str, status: int
) -> None:
    lines = {"Host": "x", "Authorization": f"Bearer {key}", "Expect": "100-continue", **headers}
    head = f"POST {path} HTTP/1.1\r\n" + "".join(f"{name}: {value}\r\n" for name, value in lines.items())
    reader, writer = await asyncio.open_connection("127.0.0.1", house.port)
    writer.write(head.encode() + b"\r\n")
    first = await asyncio.wait_for(reader.readline(), 15)
    writer.close()
    assert first.startswith(f"HTTP/1.1 {status} ".encode()), "and no 100 Continue came before"


async def test_an_announced_file_is_refused_before_it_comes(house: House) -> None:
    for way in ("append", "parts", "put"):
        for ask, status, code in (
            ({"size": 31, "route": "small"}, 413, "FILE_TOO_LARGE"),
            ({"size": 19, "route": "small"}, 422, "FILE_TOO_SMALL"),
            ({"size": 31, "route": "jpegs", "type": "video/mp4"}, 415, "TYPE_NOT_ALLOWED"),
            ({"size": 31, "route": "nowhere"}, 422, "ROUTE_UNKNOWN"),
        ):
            await house.problem("POST", "/v1/uploads", status, code, json={"way": way, **ask})
        await house.problem(
            "POST",
            "/v1/uploads",
            415,
            "SVG_REFUSED",
            key="none-key",
            json={"type": "image/svg+xml", "size": 9, "way": way},
        )


# Pictures


@pytest.mark.parametrize(
    ("route", "within", "beyond"),
    [
        ("wide", [(40, 9), (80, 9)], {(39, 9): "IMAGE_TOO_NARROW", (81, 9): "IMAGE_TOO_WIDE"}),
        ("high", [(9, 30), (9, 60)], {(9, 29): "IMAGE_TOO_LOW", (9, 61): "IMAGE_TOO_HIGH"}),
        ("area", [(40, 30), (40, 60)], {(109, 11): "IMAGE_TOO_SMALL", (7, 343): "IMAGE_TOO_LARGE"}),
    ],
)
@pytest.mark.parametrize("way", ["body", "append", "parts", "ticket"])
async def test_the_size_of_a_picture_holds_to_the_pixel(
    house: House, way: str, route: str, within: list[tuple[int, int]], beyond: dict[tuple[int, int], str]
) -> None:
    for size in within:
        file = await accepted(house, way, photo(*size), "a.jpg", route=route)
        assert (file["image"]["width"], file["image"]["height"]) == size
    for size, code in beyond.items():
        await refused(house, way, photo(*size), code, "a.jpg", route=route)


async def test_a_picture_is_measured_as_it_is_shown(house: House) -> None:
    """An SVG has no pixels of its own, and what turns it counts."""
    await accepted(house, "body", svg("").replace('width="64"', 'width="80"').encode(), "a.svg", route="wide")
    await refused(
        house, "body", svg("").replace('width="64"', 'width="81"').encode(), "IMAGE_TOO_WIDE", "a.svg", route="wide"
    )


async def test_a_picture_whose_size_cannot_be_told_does_not_pass_where_sizes_count(house: House) -> None:
    odd = b"<!DOCTYPE svg>" + svg("").encode()
    await refused(house, "body", odd, "IMAGE_SIZE_UNKNOWN", "a.svg", route="wide")
    icon = b"\0\0\1\0\1\0\x10\x10\0\0\1\0\x20\0" + bytes(60)
    await refused(house, "body", icon, "IMAGE_SIZE_UNKNOWN", "a.ico", route="wide")
    await accepted(house, "body", odd, "a.svg")
    await accepted(house, "body", b"no picture at all", "a.txt", route="wide")


# Types


@pytest.mark.parametrize("way", WAYS)
async def test_types_are_those_of_the_bytes_by_project_and_route(house: House, way: str) -> None:
    await accepted(house, way, b"some words", "a.png")
    await refused(house, way, b"some words", "TYPE_NOT_ALLOWED", "a.png", route="pictures")
    await accepted(house, way, photo(form="PNG"), "a.txt", route="pictures")
    await refused(house, way, photo(form="PNG"), "TYPE_NOT_ALLOWED", "a.jpg", route="jpegs")
    await refused(house, way, b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n", "TYPE_NOT_ALLOWED", "a.jpg")


async def test_a_ticket_narrows_what_its_route_allows(house: House) -> None:
    asked = {"types": ["image/png", "text/*"], "route": "pictures"}
    await accepted(house, "ticket", photo(form="PNG"), **asked)
    await refused(house, "ticket", photo(), "TYPE_NOT_ALLOWED", **asked)
    await refused(house, "ticket", b"words", "TYPE_NOT_ALLOWED", **asked)


async def test_a_flow_that_follows_narrows_too(house: House) -> None:
    await house.json("PUT", "/v1/flows/tiny", 201, data=TINY, headers={"Content-Type": "application/yaml"})
    await refused(house, "append", b"words", "TYPE_NOT_ALLOWED", route="shrunk")
    await refused(house, "body", b"words", "TYPE_NOT_ALLOWED", flow="tiny")
    await refused(house, "body", photo(1001, 1000), "IMAGE_TOO_LARGE", "a.jpg", route="shrunk")
    await accepted(house, "body", b"words")


# Routes


@pytest.mark.parametrize("way", ["body", "form", "append", "parts", "put", "ticket"])
async def test_a_route_chooses_the_storage_and_starts_its_flow(house: House, way: str) -> None:
    await house.json("PUT", "/v1/flows/tiny", 201, data=TINY, headers={"Content-Type": "application/yaml"})
    picture = photo(111, 77)
    file = await house.core.records.files.get((await accepted(house, way, picture, "a.jpg", route="jpegs"))["id"])
    assert (file.route, file.storage, file.follow) == ("jpegs", "other", None)
    assert (house.data / "elsewhere" / file.key).read_bytes() == picture
    followed = await house.core.records.files.get((await accepted(house, way, picture, "a.jpg", route="shrunk"))["id"])
    assert followed.follow is not None
    run = await house.json("GET", f"/v1/runs/{followed.follow}")
    assert (run["flow"], run["inputs"]) == ("tiny", {"photo": [followed.id]})


async def test_an_unknown_route_is_refused_everywhere(house: House) -> None:
    for way in WAYS:
        await refused(house, way, b"words", "ROUTE_UNKNOWN", route="imageuploader")
    await refused(house, "body", b"words", "ROUTE_UNKNOWN", route="small", key="sized-key")


# SVG

CLEAN = svg('<rect width="64" height="32" fill="#c20" stroke="url(#a)"/>' + "<title>kept</title>" * 20)
FOUL = CLEAN.replace("<rect", "<script>alert(1)</script><rect onclick='alert(1)'")


@pytest.mark.parametrize("way", WAYS)
async def test_an_svg_is_kept_as_it_is_and_served_as_an_attachment(house: House, way: str) -> None:
    file = await accepted(house, way, FOUL.encode(), "a.svg", key="raw-key")
    async with house.session.get(file["url"]) as answer:
        assert await answer.read() == FOUL.encode()
        assert answer.headers["Content-Disposition"].startswith("attachment")
        assert "sandbox" in answer.headers["Content-Security-Policy"]


@pytest.mark.parametrize("way", WAYS)
async def test_an_svg_is_freed_of_what_acts_before_anybody_sees_it(house: House, way: str) -> None:
    file = await accepted(house, way, FOUL.encode(), "a.svg", key="pure-key")
    async with house.session.get(file["url"]) as answer:
        content = await answer.read()
        assert answer.headers["Content-Type"] == "image/svg+xml"
    judged(content)
    assert (file["size"], file["sha256"]) == (len(content), hashlib.sha256(content).hexdigest())
    assert (file["image"]["width"], file["image"]["height"]) == (64, 32)
    assert not any(
        "alert" in path.read_text(errors="replace") for path in (house.data / "files" / "pure").rglob("a.svg*")
    )


async def test_every_attack_comes_in_harmless(house: House) -> None:
    for name in SCRIPTS:
        body = attack(name, "http://127.0.0.1:9/hit") + b"\n" * 400
        file = await accepted(
            house, "body", body.replace(b"</svg>", b"<desc>" + b"." * 400 + b"</desc></svg>"), key="pure-key"
        )
        async with house.session.get(file["url"]) as answer:
            judged(await answer.read())


async def test_a_clean_svg_stays_as_it_was_cleaned(house: House) -> None:
    first = await accepted(house, "body", FOUL.encode(), "a.svg", key="pure-key")
    async with house.session.get(first["url"]) as answer:
        content = await answer.read()
    again = await accepted(house, "body", content, "a.svg", key="pure-key")
    assert again["sha256"] == first["sha256"]


@pytest.mark.parametrize("way", ["body", "append", "parts"])
async def test_an_svg_that_cannot_be_made_safe_is_refused(house: House, way: str) -> None:
    broken = CLEAN.replace("</svg>", "<g>").encode()
    await refused(house, way, broken, "SVG_INVALID", "a.svg", key="pure-key")


@pytest.mark.parametrize("way", WAYS)
async def test_no_svg_comes_in_where_they_are_refused(house: House, way: str) -> None:
    await refused(house, way, CLEAN.encode(), "SVG_REFUSED", "a.svg", key="none-key")
    await refused(
        house, way, b"\n<?xml version='1.0'?><!-- x -->" + CLEAN.encode(), "SVG_REFUSED", "a.txt", key="none-key"
    )
    await accepted(house, way, photo(), "a.svg", key="none-key")


async def test_a_cut_finish_of_a_purified_svg_is_taken_up_again(house: House) -> None:
    """The file under its key is smaller than what was declared, which must not count as bytes that are missing."""
    upload = await house.json("POST", "/v1/uploads", 201, key="pure-key", json={"size": len(FOUL), "name": "a.svg"})
    path, octets = f"/v1/uploads/{upload['id']}", {"Content-Type": "application/octet-stream", "Upload-Offset": "0"}
    await house.json("PATCH", path, key="pure-key", data=FOUL.encode(), headers=octets)
    record = await house.core.records.uploads.get(upload["id"])
    await house.core.stagings["default"].promote(record, "image/svg+xml")
    Path(house.data / "files" / record.key).write_bytes(CLEAN.encode())
    assert (await house.json("GET", path, key="pure-key"))["offset"] == len(FOUL)
    file = await house.json("POST", f"{path}/finish", 201, key="pure-key")
    assert file["id"] == upload["id"]
