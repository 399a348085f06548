"""Groups over HTTP: fixed lists, and all of one as a zip or a tar, whatever happens meanwhile."""

from __future__ import annotations

import asyncio
import io
import tarfile
import zipfile
from typing import Any
from uuid import uuid4

import aiohttp
import pytest

from pipeline.storage import LocalStorage

from .house import House, photo


async def sent(house: House, name: str, body: bytes, query: str = "", **more: Any) -> Any:
    return await house.json("POST", f"/v1/files?name={name}{query}", 201, data=body, **more)


async def grouped(house: House, *ids: str, **more: Any) -> Any:
    return await house.json("POST", "/v1/groups", 201, json={"files": list(ids)}, **more)


def unpacked(form: str, body: bytes) -> list[tuple[str, bytes]]:
    """What an independent reader finds, in its order, checksums compared."""
    if form == "zip":
        with zipfile.ZipFile(io.BytesIO(body)) as archive:
            assert archive.testzip() is None
            return [(entry.filename, archive.read(entry)) for entry in archive.infolist()]
    with tarfile.open(fileobj=io.BytesIO(body), mode="r:") as packed:
        return [(entry.name, file.read()) for entry in packed if (file := packed.extractfile(entry))]


async def test_a_group_keeps_order_and_repeats_and_tells_how_many_it_has(house: House) -> None:
    one, two = await sent(house, "1.txt", b"one"), await sent(house, "2.txt", b"two")
    made = await grouped(house, two["id"], one["id"], two["id"].upper())
    assert made["id"].endswith("~3") and made["count"] == 3
    assert [file["id"] for file in made["files"]] == [two["id"], one["id"], two["id"]]
    assert await house.json("GET", f"/v1/groups/{made['id']}") == made
    assert await house.json("GET", f"/v1/groups/{made['id'].replace('~', '%7E').upper()}") == made
    await house.json("DELETE", f"/v1/files/{one['id']}", 204)
    found = await house.json("GET", f"/v1/groups/{made['id']}")
    assert [file and file["id"] for file in found["files"]] == [two["id"], None, two["id"]]
    assert found["archives"] == {}


async def test_groups_are_listed_and_forgotten_while_their_files_stay(house: House) -> None:
    file = await sent(house, "1.txt", b"one")
    made = [(await grouped(house, file["id"]))["id"] for _ in range(5)]
    page = await house.json("GET", "/v1/groups?limit=3")
    rest = await house.json("GET", f"/v1/groups?limit=3&cursor={page['next']}")
    assert [group["id"] for group in (*page["items"], *rest["items"])] == made[::-1] and rest["next"] is None
    await house.problem("DELETE", f"/v1/groups/{made[0]}", 404, "GROUP_NOT_FOUND", key="other-key")
    await house.json("DELETE", f"/v1/groups/{made[0]}", 204)
    await house.problem("DELETE", f"/v1/groups/{made[0]}", 404, "GROUP_NOT_FOUND")
    await house.problem("GET", f"/v1/groups/{made[0]}", 404, "GROUP_NOT_FOUND")
    await house.problem("GET", f"/v1/groups/{made[0]}/archive/zip", 404, "GROUP_NOT_FOUND", key=None)
    assert (await house.json("GET", f"/v1/files/{file['id']}"))["id"] == file["id"]
    told = [event.type for event in await house.core.events.read("demo", made[0])]
    assert told == ["group.created", "group.deleted"]


async def test_a_group_is_of_the_project_s_own_files_only(house: House) -> None:
    mine, foreign = await sent(house, "1.txt", b"one"), await sent(house, "2.txt", b"two", key="other-key")
    for stranger in (foreign["id"], str(uuid4()), "no id"):
        ask = {"files": [mine["id"], stranger]}
        await house.problem("POST", "/v1/groups", 404, "FILE_NOT_FOUND", json=ask)
    for none in ([], [mine["id"]] * 1001):
        await house.problem("POST", "/v1/groups", 400, "REQUEST_INVALID", json={"files": none})
    assert (await grouped(house, *[mine["id"]] * 1000))["id"].endswith("~1000")
    assert len((await house.json("GET", "/v1/groups"))["items"]) == 1
    for id in ("x", str(uuid4()), f"{uuid4()}~0", f"{uuid4()}~1", f"{uuid4()}~00001"):
        await house.problem("GET", f"/v1/groups/{id}", 404, "GROUP_NOT_FOUND")


async def test_the_same_request_again_makes_no_second_group(house: House) -> None:
    file, headers = await sent(house, "1.txt", b"one"), {"Idempotency-Key": "group"}
    first = await grouped(house, file["id"], headers=headers)
    assert await grouped(house, file["id"], headers=headers) == first
    assert len((await house.json("GET", "/v1/groups"))["items"]) == 1


async def test_a_member_is_fetched_by_its_number(house: House) -> None:
    one, two = await sent(house, "1.txt", b"one"), await sent(house, "2.txt", b"two", "&private=true")
    base = f"/v1/groups/{(await grouped(house, one['id'], two['id']))['id']}/files"
    async with house.ask("GET", f"{base}/0", key=None, headers={"Range": "bytes=1-"}) as answer:
        assert (answer.status, await answer.read()) == (206, b"ne")
    await house.problem("GET", f"{base}/1", 403, "SIGNATURE_INVALID", key=None)
    await house.problem("GET", f"{base}/1", 403, "SIGNATURE_INVALID", key="other-key")
    async with house.ask("GET", f"{base}/1") as answer:
        assert await answer.read() == b"two"
    await house.problem("GET", f"{base}/2", 404, "MEMBER_NOT_FOUND", key=None)
    await house.problem("GET", f"{base}/-1", 404, "NOT_FOUND", key=None)
    await house.json("DELETE", f"/v1/files/{one['id']}", 204)
    await house.problem("GET", f"{base}/0", 404, "MEMBER_GONE", key=None)


@pytest.mark.parametrize("form", ["zip", "tar"])
async def test_all_of_a_group_comes_as_one_archive(house: House, form: str) -> None:
    bodies = [photo(), b"", photo(40, 30), b"words " * 50_000, bytes(range(256)) * 9000]
    names = ["a.jpg", "leer.jpg", "A.jpg", "größe.txt", "a.jpg"]
    files = [await sent(house, name, body or b"x") for name, body in zip(names, bodies, strict=True)]
    made = await grouped(house, *(file["id"] for file in files))
    async with house.ask("GET", made["archives"][form], key=None) as answer:
        body = await answer.read()
        assert answer.status == 200
        assert answer.content_type == {"zip": "application/zip", "tar": "application/x-tar"}[form]
        assert f'attachment; filename="{made["id"].replace("~", "_")}.{form}"' in answer.headers["Content-Disposition"]
        length = answer.headers.get("Content-Length")
    found = unpacked(form, body)
    assert [name for name, _ in found] == ["a.jpg", "leer.jpg", "A-2.jpg", "größe.txt", "a-3.jpg"]
    assert [content for _, content in found] == [part or b"x" for part in bodies]
    assert length == (str(len(body)) if form == "tar" else None)
    if form == "zip":
        assert len(body) < sum(map(len, bodies)) - 250_000  # the words were deflated
    async with house.ask("HEAD", made["archives"][form], key=None) as answer:
        assert (answer.status, answer.headers.get("Content-Length"), await answer.read()) == (200, length, b"")


@pytest.mark.parametrize("form", ["zip", "tar"])
async def test_an_archive_of_what_is_only_stored_tells_its_length(house: House, form: str) -> None:
    files = [await sent(house, f"{number}.jpg", photo(100 + number, 80)) for number in range(3)]
    made = await grouped(house, *(file["id"] for file in files))
    url = f"{made['archives'][form]}?name=Fotos.{form}"
    async with house.ask("HEAD", url, key=None) as head, house.ask("GET", url, key=None) as answer:
        body = await answer.read()
        assert int(head.headers["Content-Length"]) == len(body) == int(answer.headers["Content-Length"])
        assert f'filename="Fotos.{form}"' in answer.headers["Content-Disposition"]
    assert len(unpacked(form, body)) == 3
    if form == "zip":
        with zipfile.ZipFile(io.BytesIO(body)) as archive:
            assert {entry.compress_type for entry in archive.infolist()} == {zipfile.ZIP_STORED}
    await house.problem("GET", f"/v1/groups/{made['id']}/archive/rar", 404, "NOT_FOUND", key=None)


async def test_an_archive_with_a_private_file_opens_to_those_who_may(house: House) -> None:
    one, two = await sent(house, "1.txt", b"one"), await sent(house, "2.txt", b"two", "&private=true")
    made = await grouped(house, one["id"], two["id"])
    path = f"/v1/groups/{made['id']}/archive/zip"
    for key in (None, "other-key"):
        await house.problem("GET", path, 403, "SIGNATURE_INVALID", key=key)
    await house.problem("GET", made["archives"]["tar"].replace("/tar", "/zip"), 403, "SIGNATURE_INVALID", key=None)
    for url, key in ((path, ""), (made["archives"]["zip"], None)):
        async with house.ask("GET", url, key=key) as answer:
            assert len(unpacked("zip", await answer.read())) == 2
            assert answer.headers["Cache-Control"].startswith("private")


async def test_an_archive_without_one_of_its_files_is_refused(house: House) -> None:
    one, two = await sent(house, "1.jpg", photo()), await sent(house, "2.jpg", photo(9, 9))
    made = await grouped(house, one["id"], two["id"])
    storage = house.core.storages["default"]
    assert isinstance(storage, LocalStorage)
    record = await house.core.records.files.get(one["id"])
    storage.path(record.key).rename(house.data / "aside")
    await house.problem("GET", made["archives"]["zip"], 404, "BYTES_NOT_FOUND", key=None)
    await house.problem("GET", made["archives"]["tar"], 404, "BYTES_NOT_FOUND", key=None)
    (house.data / "aside").unlink()
    await house.json("DELETE", f"/v1/files/{two['id']}", 204)
    await house.problem("GET", made["archives"]["zip"], 404, "MEMBER_GONE", key=None)


@pytest.mark.parametrize("form", ["zip", "tar"])
@pytest.mark.parametrize("fate", ["vanishes", "shrinks"])
async def test_a_file_that_vanishes_half_way_cuts_the_connection(house: House, form: str, fate: str) -> None:
    whole = await sent(house, "1.bin", bytes(400_000))
    doomed = await sent(house, "2.bin", b"\1" * 400_000)
    made = await grouped(house, whole["id"], whole["id"], doomed["id"])
    storage = house.core.storages["default"]
    assert isinstance(storage, LocalStorage)
    path = storage.path((await house.core.records.files.get(doomed["id"])).key)
    if fate == "vanishes":
        path.unlink()
    else:
        path.write_bytes(b"\1" * 1000)
    with pytest.raises((aiohttp.ClientPayloadError, aiohttp.ClientConnectionError)):
        async with house.ask("GET", made["archives"][form], key=None) as answer:
            assert answer.status == 200
            await answer.read()


async def test_archives_at_once_and_readers_that_leave_hold_nobody_up(house: House) -> None:
    files = [await sent(house, f"{number}.txt", b"words and words " * 100_000) for number in range(3)]
    made = await grouped(house, *(file["id"] for file in files))

    async def leaves() -> None:
        async with house.ask("GET", made["archives"]["zip"], key=None) as answer:
            await answer.content.readexactly(1000)
            answer.close()

    async def stays(form: str) -> int:
        async with house.ask("GET", made["archives"][form], key=None) as answer:
            return len(unpacked(form, await answer.read()))

    await asyncio.gather(*(leaves() for _ in range(12)))
    assert await asyncio.gather(*(stays(form) for form in ("zip", "tar") * 6)) == [3] * 12
