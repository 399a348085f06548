"""Native uploads in parts."""

from __future__ import annotations

import asyncio
import hashlib

from .house import House, photo

OCTETS = {"Content-Type": "application/octet-stream"}


async def begin(house: House, **ask: object) -> str:
    return (await house.json("POST", "/v1/uploads", 201, json=ask))["id"]


async def test_upload_in_two_parts_becomes_the_file_of_the_same_id(house: House) -> None:
    picture = photo(300, 200)
    async with house.ask(
        "POST", "/v1/uploads", json={"name": "a.jpg", "size": len(picture), "metadata": {"k": "v"}}
    ) as answer:
        upload = await answer.json()
        assert answer.headers["Location"] == f"{house.base}/v1/uploads/{upload['id']}"
        assert answer.headers["Upload-Offset"] == "0"
    path = f"/v1/uploads/{upload['id']}"
    for start, stop in ((0, 700), (700, len(picture))):
        async with house.ask(
            "PATCH", path, data=picture[start:stop], headers=OCTETS | {"Upload-Offset": str(start)}
        ) as answer:
            assert (answer.status, answer.headers["Upload-Offset"]) == (200, str(stop)), await answer.text()
        async with house.ask("HEAD", path) as answer:
            assert (answer.headers["Upload-Offset"], answer.headers["Upload-Length"]) == (str(stop), str(len(picture)))
            assert answer.headers["Cache-Control"] == "no-store"
    file = await house.json("POST", path + "/finish", 201)
    assert (file["id"], file["name"], file["metadata"]) == (upload["id"], "a.jpg", {"k": "v"})
    assert file["sha256"] == hashlib.sha256(picture).hexdigest()
    assert await house.json("POST", path + "/finish", 201) == file
    await house.problem("GET", path, 404, "UPLOAD_NOT_FOUND")


async def test_wrong_offset_changes_nothing(house: House) -> None:
    upload = await begin(house, name="a.txt")
    await house.problem(
        "PATCH", f"/v1/uploads/{upload}", 409, "OFFSET_MISMATCH", data=b"x", headers={"Upload-Offset": "5"}
    )
    for offset in ({}, {"Upload-Offset": "-1"}, {"Upload-Offset": "five"}, {"Upload-Offset": "9" * 40}):
        await house.problem("PATCH", f"/v1/uploads/{upload}", 400, "REQUEST_INVALID", data=b"x", headers=offset)
    assert (await house.json("GET", f"/v1/uploads/{upload}"))["offset"] == 0


async def test_what_came_before_a_cut_is_kept(house: House) -> None:
    upload = await begin(house, name="a.txt", size=500_000)
    head = (
        f"PATCH /v1/uploads/{upload} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer demo-key\r\n"
        "Upload-Offset: 0\r\nContent-Length: 500000\r\n\r\n"
    )
    _, writer = await asyncio.open_connection("127.0.0.1", house.port)
    writer.write(head.encode() + b"a" * 200_000)
    async with asyncio.timeout(15):
        while not list(house.data.rglob(upload)):
            await asyncio.sleep(0.01)
        writer.close()
        while not (await house.json("GET", f"/v1/uploads/{upload}"))["offset"]:
            await asyncio.sleep(0.02)
    while True:
        offset = (await house.json("GET", f"/v1/uploads/{upload}"))["offset"]
        rest = b"a" * (500_000 - offset)
        headers = OCTETS | {"Upload-Offset": str(offset)}
        async with house.ask("PATCH", f"/v1/uploads/{upload}", data=rest, headers=headers) as answer:
            if answer.status not in (409, 423):  # the cut request may still hold the upload
                break
        await asyncio.sleep(0.05)
    file = await house.json("POST", f"/v1/uploads/{upload}/finish", 201)
    assert file["sha256"] == hashlib.sha256(b"a" * 500_000).hexdigest()


async def test_more_than_announced_ends_the_upload(house: House) -> None:
    before = await house.leftovers()
    upload = await begin(house, name="a.txt", size=3)
    headers = OCTETS | {"Upload-Offset": "0"}
    await house.problem("PATCH", f"/v1/uploads/{upload}", 400, "BODY_TOO_LONG", data=b"12345", headers=headers)
    assert await house.leftovers() == before


async def test_less_than_announced_is_not_finished(house: House) -> None:
    upload = await begin(house, name="a.txt", size=5)
    await house.json("PATCH", f"/v1/uploads/{upload}", data=b"123", headers=OCTETS | {"Upload-Offset": "0"})
    await house.problem("POST", f"/v1/uploads/{upload}/finish", 400, "BODY_INCOMPLETE")


async def test_announcement_beyond_the_limit(house: House) -> None:
    before = await house.leftovers()
    await house.problem("POST", "/v1/uploads", 413, "FILE_TOO_LARGE", json={"size": 3_000_001})
    await house.problem("POST", "/v1/uploads", 400, "REQUEST_INVALID", json={"size": -1})
    await house.problem("POST", "/v1/uploads", 400, "REQUEST_INVALID", json={"sise": 1})
    assert await house.leftovers() == before


async def test_aborted_upload_leaves_nothing(house: House) -> None:
    before = await house.leftovers()
    upload = await begin(house, name="a.txt")
    await house.json("PATCH", f"/v1/uploads/{upload}", data=b"123", headers=OCTETS | {"Upload-Offset": "0"})
    await house.json("DELETE", f"/v1/uploads/{upload}", 204)
    await house.problem("GET", f"/v1/uploads/{upload}", 404, "UPLOAD_NOT_FOUND")
    assert await house.leftovers() == before


async def test_upload_of_another_project_is_not_there(house: House) -> None:
    upload = await begin(house, name="a.txt")
    headers = OCTETS | {"Upload-Offset": "0"}
    for method, path in (("GET", ""), ("PATCH", ""), ("DELETE", ""), ("POST", "/finish")):
        await house.problem(
            method, f"/v1/uploads/{upload}{path}", 404, "UPLOAD_NOT_FOUND", key="other-key", headers=headers
        )


async def test_group_lists_its_files_in_order(house: House) -> None:
    files = [await house.send(b"%d" % number) for number in range(3)]
    ids = [file["id"] for file in reversed(files)]
    group = await house.json("POST", "/v1/groups", 201, json={"files": ids})
    assert [file["id"] for file in group["files"]] == ids
    await house.json("DELETE", f"/v1/files/{ids[1]}", 204)
    kept = await house.json("GET", f"/v1/groups/{group['id']}")
    assert [file and file["id"] for file in kept["files"]] == [ids[0], None, ids[2]]
    assert [row["id"] for row in (await house.json("GET", "/v1/groups"))["items"]] == [group["id"]]
    await house.problem("GET", f"/v1/groups/{group['id']}", 404, "GROUP_NOT_FOUND", key="other-key")
    await house.problem("POST", "/v1/groups", 404, "FILE_NOT_FOUND", json={"files": [ids[1]]})
    await house.problem("POST", "/v1/groups", 404, "FILE_NOT_FOUND", json={"files": [ids[0]]}, key="other-key")
    await house.problem("POST", "/v1/groups", 400, "REQUEST_INVALID", json={"files": []})
