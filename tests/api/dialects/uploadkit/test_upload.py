"""Request, PUT, complete: on disk and on S3, type and length locked, in both of the vendor's documents."""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from random import Random
from urllib.parse import parse_qs, urlsplit

import pytest

from pipeline.api.app import create_app
from pipeline.api.dialects.uploadkit.storage import derived, signature
from pipeline.core import open_core
from tests.api.conftest import answering
from tests.api.house import photo

from .desk import LIVE, MIB, Desk, key_path, page, sdk, wish, xml


@pytest.mark.parametrize("headers", [page(), sdk(), sdk("uk_live_cloud")])
async def test_a_file_comes_in_three_steps(uk: Desk, headers: dict[str, str]) -> None:
    picture = photo(160, 90)
    ask = wish(picture, "Grüße aus Köln.jpg", route="default", metadata={"userId": "123"})
    asked = await uk.ok("POST", "/upload/request", ask, headers)
    assert asked.keys() == {"fileId", "uploadUrl", "key", "cdnUrl"} and all(isinstance(v, str) for v in asked.values())
    ours = "cloud" not in str(headers)
    assert asked["uploadUrl"].startswith(uk.house.base) == ours, "a bucket is asked directly"
    project = "demo" if ours else "cloud"
    assert asked["key"].startswith(f"{project}/default/{asked['fileId']}/Gr")
    assert asked["cdnUrl"] == f"{uk.house.base}/uploadkit/cdn/{asked['key']}"
    assert "X-Amz-Signature=" in asked["uploadUrl"]
    assert (await uk.send("GET", asked["cdnUrl"], {})).status == 404

    sent = await uk.put(asked["uploadUrl"], picture)
    assert (sent.status, sent.body) == (200, b"") and sent.headers["ETag"].startswith('"')
    file = await uk.ok("POST", "/upload/complete", {"fileId": asked["fileId"]}, headers)
    expected = {
        "id": asked["fileId"], "key": asked["key"], "name": "Grüße aus Köln.jpg", "size": len(picture),
        "type": "image/jpeg", "url": asked["cdnUrl"], "status": "UPLOADED", "metadata": {"userId": "123"},
    }  # fmt: skip
    for told in (file, file["file"]):
        assert {name: told[name] for name in expected} == expected
        assert told["createdAt"].endswith("Z")
        assert (told["fileName"], told["fileSize"], told["contentType"]) == (file["name"], len(picture), "image/jpeg")
    found = await uk.send("GET", asked["cdnUrl"], {})
    assert (found.status, found.body, found.headers["Content-Type"]) == (200, picture, "image/jpeg")
    assert "immutable" in found.headers["Cache-Control"]

    for _ in range(2):  # nothing is UPLOADING any more
        again = await uk.ask("POST", "/upload/complete", {"fileId": asked["fileId"]}, headers)
        assert again.status == 404 and b"NOT_FOUND" in again.body
    late = await uk.put(asked["uploadUrl"], photo(160, 90, colour="#0000ff")[: len(picture)])
    assert late.status != 200 or not ours
    assert (await uk.send("GET", asked["cdnUrl"], {})).body == picture


@pytest.mark.parametrize("key", [LIVE, "uk_live_cloud"])
async def test_type_and_length_are_part_of_the_signature(uk: Desk, key: str) -> None:
    picture = photo()
    asked = await uk.ok("POST", "/upload/request", wish(picture, route="default"), page(key))
    url = asked["uploadUrl"]
    for body, media_type in (
        (picture, "image/png"), (picture, None), (picture, "image/jpeg; charset=x"),
        (picture[:-1], "image/jpeg"), (picture + b"x", "image/jpeg"),
    ):  # fmt: skip
        answer = await uk.put(url, body, media_type)
        assert xml(answer)[:2] == (403, "SignatureDoesNotMatch"), (media_type, answer.body)
    forged = url.replace("X-Amz-Signature=", "X-Amz-Signature=0")
    moved = url.replace(asked["fileId"], "11111111-1111-4111-8111-111111111111")
    for wrong in (forged, moved):
        assert xml(await uk.put(wrong, picture))[0] == 403
    document = {"fileId": asked["fileId"]}
    flat, nested = await uk.refusals("POST", "/upload/complete", document, key)
    assert flat[:2] == nested[:2] == (422, "FILE_NOT_IN_STORAGE")
    for colour in ("#00ff00", "#cc2200"):  # until it is complete, the last one counts
        last = photo(colour=colour)
        last += b"\0" * (len(picture) - len(last))
        assert (await uk.put(url, last[: len(picture)])).status == 200
    file = await uk.ok("POST", "/upload/complete", document, page(key))
    assert (await uk.send("GET", file["url"], {})).body == last[: len(picture)]


async def test_an_address_ends_after_fifteen_minutes(uk: Desk) -> None:
    picture = photo()
    asked = await uk.ok("POST", "/upload/request", wish(picture))
    query = parse_qs(urlsplit(asked["uploadUrl"]).query)
    assert query["X-Amz-Expires"] == ["900"]
    project = uk.house.core.settings.projects["demo"]
    past = int(time.time()) - 1000
    date = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(past))
    signed = signature(derived(project, "put")[0], asked["key"], "image/jpeg", len(picture), past + 900)
    base = asked["uploadUrl"].partition("?")[0]
    late = await uk.put(f"{base}?X-Amz-Date={date}&X-Amz-Expires=900&X-Amz-Signature={signed}", picture)
    assert xml(late) == (403, "AccessDenied", "Request has expired")
    longer = await uk.put(f"{base}?X-Amz-Date={date}&X-Amz-Expires=9000&X-Amz-Signature={signed}", picture)
    assert xml(longer)[:2] == (403, "SignatureDoesNotMatch")
    for odd in ("", "?X-Amz-Date=now&X-Amz-Expires=900", f"?X-Amz-Date={date}&X-Amz-Expires=-"):
        assert xml(await uk.put(base + odd, picture))[:2] == (403, "SignatureDoesNotMatch")
    assert xml(await uk.put(f"{uk.house.base}/uploadkit/storage/x?{'a' * 10}", b"x"))[0] == 403
    assert xml(await uk.send("POST", asked["uploadUrl"], {}))[:2] == (405, "MethodNotAllowed")


def test_the_worked_signature() -> None:
    told = signature(b"upload_secret_test", "uploads/abc/p.jpg", "image/jpeg", 2048000, 1760000900)
    assert told == "689766f829b7d2d938f617d1b4866e0002ab1fac64a2f2196dcc658b52f81667"


async def test_a_body_of_unknown_length_is_measured(uk: Desk) -> None:
    content = Random(4).randbytes(300_000)

    async def pieces(body: bytes) -> AsyncIterator[bytes]:
        for start in range(0, len(body), 100_000):
            yield body[start : start + 100_000]

    asked = await uk.ok("POST", "/upload/request", wish(content, "noise.bin", "application/x-noise"))
    for wrong in (content[:-1], content + b"x"):
        answer = await uk.put(asked["uploadUrl"], pieces(wrong), "application/x-noise")
        assert xml(answer)[:2] == (403, "SignatureDoesNotMatch")
        assert (await uk.ask("POST", "/upload/complete", {"fileId": asked["fileId"]})).status == 422
    assert (await uk.put(asked["uploadUrl"], pieces(content), "application/x-noise")).status == 200
    file = await uk.ok("POST", "/upload/complete", {"fileId": asked["fileId"]})
    assert (await uk.send("GET", file["url"], {})).body == content


async def test_pages_may_put_and_read_the_entity_tag(uk: Desk) -> None:
    picture = photo()
    asked = await uk.ok("POST", "/upload/request", wish(picture))
    page_of = {"Origin": "https://shop.example"}
    asking = page_of | {"Access-Control-Request-Method": "PUT", "Access-Control-Request-Headers": "content-type"}
    before = await uk.send("OPTIONS", asked["uploadUrl"], asking)
    assert before.status == 204 and before.headers["Access-Control-Allow-Origin"] == "*"
    assert "PUT" in before.headers["Access-Control-Allow-Methods"]
    assert before.headers["Access-Control-Allow-Headers"] == "content-type"
    put = await uk.send("PUT", asked["uploadUrl"], page_of | {"Content-Type": "image/jpeg"}, picture)
    assert put.status == 200 and put.headers["Access-Control-Allow-Origin"] == "*"
    assert "ETag" in put.headers["Access-Control-Expose-Headers"]
    asking |= {"Access-Control-Request-Method": "PATCH", "Access-Control-Request-Headers": "x-api-key"}
    api = await uk.send("OPTIONS", "/uploadkit/api/v1/files", asking)
    assert api.status == 204 and "PATCH" in api.headers["Access-Control-Allow-Methods"]


async def test_bytes_that_are_not_what_was_declared_are_refused(uk: Desk) -> None:
    text = b"just words " * 40
    asked = await uk.ok("POST", "/upload/request", wish(text))
    assert xml(await uk.put(asked["uploadUrl"], text))[:2] == (400, "InvalidRequest")
    for headers, told in ((page("uk_live_cloud"), (403, "code")), (sdk("uk_live_cloud"), (400, "error"))):
        asked = await uk.ok("POST", "/upload/request", wish(text, route="default"), headers)
        assert (await uk.put(asked["uploadUrl"], text)).status == 200, "a bucket looks at no bytes"
        answer = await uk.ask("POST", "/upload/complete", {"fileId": asked["fileId"]}, headers)
        assert answer.status == told[0] and b"INVALID_FILE_TYPE" in answer.body
        again = await uk.ask("POST", "/upload/complete", {"fileId": asked["fileId"]}, headers)
        assert (again.status, again.json) == (answer.status, answer.json)
        row = (await uk.ok("GET", key_path(asked["key"]), headers=headers))["file"]
        assert (row["status"], row["url"], row["failureCode"]) == ("FAILED", None, "INVALID_FILE_TYPE")


async def test_a_refused_upload_is_a_failed_row_that_costs_nothing(uk: Desk) -> None:
    headers = sdk("uk_live_full")
    asked = []
    for fill in (b"a", b"b"):  # together more than the project may have, which nobody knows before they have come
        body = fill * 1500
        asked.append(await uk.ok("POST", "/upload/request", wish(body, "a.bin", "application/x-a", "default"), headers))
        assert (await uk.put(asked[-1]["uploadUrl"], body, "application/x-a")).status == 200
    first, second = ({"fileId": one["fileId"]} for one in asked)
    await uk.ok("POST", "/upload/complete", first, headers)
    told = await asyncio.gather(*(uk.ask("POST", "/upload/complete", second, headers) for _ in range(4)))
    assert {answer.status for answer in told} == {403} and len({answer.body for answer in told}) == 1
    refusal = told[0].json["error"]
    assert refusal["code"] == "TIER_LIMIT_EXCEEDED"
    rows = (await uk.ok("GET", "/files", headers=headers))["files"]
    assert {row["id"]: row["status"] for row in rows} == {first["fileId"]: "UPLOADED", second["fileId"]: "FAILED"}
    failed = (await uk.ok("GET", key_path(asked[1]["key"]), headers=headers))["file"]
    assert failed in rows and failed["failureReason"] == refusal["message"]
    assert (failed["name"], failed["size"], failed["url"]) == ("a.bin", 1500, None)
    assert (await uk.ok("GET", "/files?limit=1", headers=headers))["nextCursor"]
    logged = (await uk.ok("GET", "/logs?since=2020-01-01T00:00:00Z", headers=headers))["logs"]
    assert sorted(row["status"] for row in logged) == ["FAILED", "UPLOADED"]
    assert (await uk.ok("GET", "/usage", headers=headers))["usage"]["storageUsed"] == 1500
    assert (await uk.send("GET", asked[1]["cdnUrl"], {})).status == 404
    assert (await uk.put(asked[1]["uploadUrl"], b"b" * 1500, "application/x-a")).status == 403

    path = key_path(asked[1]["key"])
    assert (await uk.ask("PATCH", path, {"metadata": {"a": "b"}}, headers)).status == 404
    assert (await uk.ask("GET", path, headers=sdk("uk_live_other"))).status == 404
    await uk.ok("DELETE", key_path(asked[0]["key"]), headers=headers)
    await uk.upload(b"c" * 1900, "c.bin", "application/x-a", "default", headers)
    assert (await uk.ok("DELETE", path, headers=headers))["deleted"]
    assert (await uk.ask("GET", path, headers=headers)).status == 404
    assert (await uk.ask("POST", "/upload/complete", second, headers)).status == 404


async def test_of_many_who_complete_at_once_at_two_servers_one_makes_the_file(uk: Desk) -> None:
    asked = await uk.ok("POST", "/upload/request", wish(photo(), metadata={"by": "nobody"}))
    await uk.put(asked["uploadUrl"], photo())
    id, house = asked["fileId"], uk.house

    async with open_core(house.core.settings) as core, answering(create_app(core)) as port:
        other = Desk(replace(house, base=f"http://127.0.0.1:{port}", core=core))
        async with house.core.uploads._holds.of(id):
            going = [
                asyncio.create_task(desk.ask("POST", "/upload/complete", {"fileId": id, "metadata": {"by": str(n)}}))
                for n, desk in enumerate([uk, other] * 3)
            ]
            async with asyncio.timeout(10):
                while sum(len(one.uploads._holds._bell._rings.get(f"free:{id}", ())) for one in (house.core, core)) < 6:
                    await asyncio.sleep(0.005)
        answers = await asyncio.gather(*going)
    assert [answer.status for answer in answers] == [200] * 6
    told = [{**answer.json["file"], "url": ""} for answer in answers]  # each server tells its own address
    assert told == [told[0]] * 6 and told[0]["status"] == "UPLOADED" and told[0]["metadata"]["by"] in "012345"
    assert (await uk.ok("GET", key_path(asked["key"])))["metadata"] == told[0]["metadata"]
    assert [event.type for event in await house.core.events.read("demo", id, None, 9)] == [
        "file.uploaded",
        "file.stored",
    ]
    assert (await uk.ok("GET", "/usage"))["usage"]["storageUsed"] == len(photo())


async def test_metadata_keeps_its_values_and_is_replaced_on_complete(uk: Desk) -> None:
    given = {"userId": "123", "count": 5, "deep": {"a": [1, None]}, "none": None, "yes": True, "empty": "", "list": []}
    asked = await uk.ok("POST", "/upload/request", wish(photo(), metadata=given))
    row = (await uk.ok("GET", key_path(asked["key"])))["file"]
    assert (row["status"], row["metadata"]) == ("UPLOADING", given)
    await uk.put(asked["uploadUrl"], photo())
    file = await uk.ok("POST", "/upload/complete", {"fileId": asked["fileId"], "metadata": {"only": 1.5}})
    assert file["metadata"] == {"only": 1.5}
    native = await uk.house.json("GET", f"/v1/files/{asked['fileId']}", key=LIVE)
    assert native["metadata"] == {"only": "1.5", "uploadkit:json": "only"}
    for odd in ({"a b": 1}, {"long": "x" * 600}, {f"k{n}": "v" for n in range(60)}, {"uploadkit:json": "x"}):
        answer = await uk.ask("POST", "/upload/request", wish(photo(), metadata=odd))
        assert answer.json["error"]["code"] == "VALIDATION_ERROR" and answer.json["error"]["details"]["metadata"]


# Parts


@pytest.mark.parametrize("key", [LIVE, "uk_live_cloud"])
async def test_a_large_file_comes_in_parts(uk: Desk, key: str) -> None:
    content = Random(7).randbytes(10 * MIB + 5)
    ask = wish(content, "film.bin", "application/x-film", "default")
    begun = await uk.ok("POST", "/upload/multipart/init", ask, sdk(key))
    assert begun.keys() == {"fileId", "uploadId", "key", "parts"}
    assert [part["partNumber"] for part in begun["parts"]] == [1, 2, 3]
    pieces = [content[start : start + 5 * MIB] for start in range(0, len(content), 5 * MIB)]
    pair = {"fileId": begun["fileId"], "uploadId": begun["uploadId"]}
    early = {**pair, "parts": [{"partNumber": 1, "etag": '"x"'}]}
    assert (await uk.ask("POST", "/upload/multipart/complete", early, sdk(key))).json["error"]["code"] == (
        "FILE_NOT_IN_STORAGE"
    )
    urls = [part["uploadUrl"] for part in begun["parts"]]
    puts = [uk.put(url, piece, "application/x-film") for url, piece in zip(urls, pieces, strict=True)]
    tags = [answer.headers["ETag"] for answer in await asyncio.gather(*puts)]
    parts = [{"partNumber": number, "etag": tag} for number, tag in enumerate(tags, 1)]
    for wrong in ({**pair, "uploadId": "x"}, {**pair, "fileId": "x"}):
        for path, more in (("complete", {"parts": parts}), ("abort", {})):
            answer = await uk.ask("POST", f"/upload/multipart/{path}", {**wrong, **more}, sdk(key))
            assert (answer.status, answer.json["error"]["code"]) == (404, "NOT_FOUND")
    file = await uk.ok("POST", "/upload/multipart/complete", {**pair, "parts": parts, "metadata": {"n": 1}}, sdk(key))
    assert (file["file"]["size"], file["file"]["status"], file["file"]["metadata"]) == (
        len(content), "UPLOADED", {"n": 1})  # fmt: skip
    found = await uk.send("GET", file["file"]["url"], {})
    assert hashlib.sha256(found.body).digest() == hashlib.sha256(content).digest()
    assert (await uk.ask("POST", "/upload/multipart/complete", {**pair, "parts": parts}, sdk(key))).status == 404


async def test_an_upload_in_parts_can_be_given_up(uk: Desk) -> None:
    small = {"fileName": "a.bin", "fileSize": 10 * MIB, "contentType": "application/x-a", "routeSlug": "default"}
    for told in await uk.refusals("POST", "/upload/multipart/init", small):
        assert told[:2] == (400, "FILE_TOO_SMALL_FOR_MULTIPART")
    begun = await uk.ok("POST", "/upload/multipart/init", small | {"fileSize": 10 * MIB + 1})
    pair = {"fileId": begun["fileId"], "uploadId": begun["uploadId"]}
    assert [row["status"] for row in (await uk.ok("GET", "/files"))["files"]] == ["UPLOADING"]
    assert await uk.ok("POST", "/upload/multipart/abort", pair) == {"ok": True, "aborted": True}
    assert (await uk.ask("POST", "/upload/multipart/abort", pair)).status == 404
    assert (await uk.ok("GET", "/files"))["files"] == []
    big = small | {"fileSize": 55 * MIB}
    assert (await uk.ask("POST", "/upload/multipart/init", big)).json["error"]["code"] == "TIER_LIMIT_EXCEEDED"
