"""What the Upload API refuses, in the vendor's words, and that nothing is left of it."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiohttp import web

from pipeline.api.dialects.imagekit import content
from pipeline.api.dialects.imagekit.errors import row_of
from pipeline.api.dialects.imagekit.query import QueryInvalid, parse
from pipeline.errors import UploadBusy, UploadTakenOver, every_error
from tests.api.conftest import answering
from tests.api.house import Multipart, photo

from .desk import UPLOAD, UPLOAD_V2, Desk, Field, form, signature, signed
from .test_upload import token

FILE: Field = ("file", b"some text", "a.txt")
NAME: Field = ("fileName", "a.txt")


async def refused(ik: Desk, fields: list[Field], path: str = UPLOAD, **more: Any) -> tuple[int, str]:
    return await ik.refusal("POST", path, form(fields), **more)


async def test_who_may_not(ik: Desk) -> None:
    no_key = "Your request does not contain private API key."
    assert await refused(ik, [FILE, NAME], key=None) == (401, no_key)
    for wrong in ("private_wrong_key", "public_test_key"):
        assert await refused(ik, [FILE, NAME], key=wrong) == (403, "Your account cannot be authenticated.")
    for header in ("Basic !!!", "Basic eA=="):
        headers = {"Authorization": header}
        assert (await refused(ik, [FILE, NAME], key=None, headers=headers))[0] == 403
    assert await refused(ik, [FILE, NAME], key=None, headers={"Authorization": "Basic Og=="}) == (401, no_key)
    given = signed()
    status, message = await refused(ik, [FILE, NAME, *given.items()])
    assert (status, "only one method" in message) == (400, True)
    await ik.ok("POST", UPLOAD, form([FILE, NAME, *given.items()]), key=None)  # which used nothing up
    assert (await refused(ik, [FILE, NAME, *signed(publicKey="public_none").items()], key=None))[0] == 403
    other = {**signed(), "publicKey": "public_other_key"}
    assert await refused(ik, [FILE, NAME, *other.items()], key=None) == (
        400, "Your request contains invalid signature parameter.")  # fmt: skip


async def test_signatures_that_are_no_use(ik: Desk) -> None:
    at = int(time.time())
    for expire in (str(at - 1), str(at + 3700), f"{at}000", "soon", "1e9", "-1"):
        status, message = await refused(ik, [FILE, NAME, *signed(expire=expire).items()], key=None)
        assert status == 400
        assert message.startswith("Your request contains invalid expire parameter.")
        assert "less than 1 hour into the future" in message
        assert f"the server's time is {str(at)[:7]}" in message
        assert ("milliseconds" in message) is (len(expire) == 13)
    for name in ("publicKey", "token", "expire", "signature"):
        given = signed()
        del given[name]
        status, message = await refused(ik, [FILE, NAME, *given.items()], key=None)
        assert (status, message) == (400, f"Your request is missing {name} parameter.")
    upper = signed()
    await ik.ok(
        "POST", UPLOAD, form([FILE, NAME, *{**upper, "signature": upper["signature"].upper()}.items()]), key=None
    )


async def test_a_token_is_used_up_by_whatever_comes_of_it(ik: Desk) -> None:
    given = signed(token="8cbdb59b-6246-4f8f-b0e0-77b34c4e9e63")
    assert (await refused(ik, [FILE, *given.items()], key=None))[1] == "Your request is missing fileName parameter."
    used = "A token with value '8cbdb59b-6246-4f8f-b0e0-77b34c4e9e63' has been used before."
    again = await ik.send(
        "POST", UPLOAD, form([FILE, NAME, *given.items()]), key=None, headers={"Origin": "https://x.y"}
    )
    assert (again.status, again.document["message"].startswith(used)) == (400, True)
    assert again.headers["Access-Control-Allow-Origin"] == "*"
    later = str(int(given["expire"]) + 60)
    renewed = {**given, "expire": later, "signature": signature(given["token"], later)}
    assert (await refused(ik, [FILE, NAME, *renewed.items()], key=None))[1].startswith(used)
    assert await ik.house.redis.ttl(await _only_token(ik)) > 10 * 365 * 86_400


async def _only_token(ik: Desk) -> bytes:
    (key,) = await ik.house.redis.keys("imagekit:token:*")
    return bytes(key)


async def test_of_one_token_shown_at_once_one_is_good(ik: Desk) -> None:
    given = signed()
    answers = await asyncio.gather(
        *(ik.send("POST", UPLOAD, form([FILE, NAME, *given.items()]), key=None) for _ in range(5))
    )
    assert sorted(answer.status for answer in answers) == [200, 400, 400, 400, 400]


async def test_jwts_that_are_no_use(ik: Desk) -> None:
    said, at = {"fileName": "a.txt"}, int(time.time())
    tokens = {
        "": "Your request is missing token parameter.",
        "nonsense": "The token is not a valid JWT.",
        token(said, "private_wrong_key"): "The signature of the token is not valid.",
        token(said, seconds=3700): "at most 1 hour",
        token(said, iat=at - 100, exp=at - 1): "The token has expired.",
        token(said, iat=at + 500, exp=at + 900): "not in the future",
        token({**said, "tags": "a"}): "The payload of the token does not match the request at `tags`.",
        token({}): "The payload of the token does not match the request at `fileName`.",
        token({"fileName": "b.txt"}): "does not match the request at `fileName`.",
    }
    for given, wanted in tokens.items():
        status, message = await refused(ik, [FILE, NAME, *([("token", given)] if given else [])], UPLOAD_V2, key=None)
        assert (status, wanted in message) == (400, True), message
    status, message = await refused(ik, [FILE, NAME, ("token", token(said))], UPLOAD_V2)
    assert (status, "only one method" in message) == (400, True)


BAD_FIELDS = (
    ({"fileName": ""}, "Your request is missing fileName parameter."),
    ({"folder": "../up"}, "Invalid folder path. It cannot have `.` or `..` in it."),
    ({"folder": "a/./b"}, "Invalid folder path."),
    ({"folder": "/".join("abcdefghij" * 6)}, "Invalid folder path."),
    ({"tags": "a%b"}, "Your request contains invalid tags parameter. % is not allowed."),
    ({"tags": "a" * 501}, "should not exceed 500"),
    ({"isPrivateFile": "yes"}, "Your request contains invalid isPrivateFile parameter."),
    ({"useUniqueFileName": "1"}, "Your request contains invalid useUniqueFileName parameter."),
    ({"customCoordinates": "1,2,3"}, "x,y,width,height"),
    ({"customMetadata": "{"}, "Your request contains invalid customMetadata parameter. It should be valid JSON."),
    ({"customMetadata": "[]"}, "It should be a JSON object."),
    ({"customMetadata": '{"nothing": 1}'}, "nothing: This custom metadata field does not exist."),
    ({"extensions": '{"name": "remove-bg"}'}, "Your request contains invalid extensions parameter."),
    ({"extensions": '[{"name": "make-coffee"}]'}, "There is no extension make-coffee."),
    ({"extensions": '[{"name": "remove-bg"}]'}, "The extension remove-bg is not enabled"),
    ({"webhookUrl": "http://[x"}, "Your request contains invalid webhookUrl parameter."),
    ({"webhookUrl": "ftp://x"}, "Your request contains invalid webhookUrl parameter."),
    ({"transformation": "w-100"}, "It should be valid JSON."),
    ({"transformation": '{"before": "w-100"}'}, "with pre, post or both"),
    ({"transformation": '{"pre": ""}'}, "pre should be a transformation string"),
    ({"transformation": '{"pre": "l-image,i-a.png"}'}, "Your request contains invalid transformation parameter."),
    ({"transformation": '{"pre": "w-100"}'}, "A pre-transformation can be applied to images only."),
    ({"transformation": '{"post": [{"type": "dance", "value": "w-1"}]}'}, "should be one of transformation"),
    ({"transformation": '{"post": [{"type": "transformation"}]}'}, "needs a value"),
    ({"transformation": '{"post": [{"type": "gif-to-video"}]}'}, "can be applied to GIF files only"),
    ({"transformation": '{"post": [{"type": "abs", "value": "sr-240"}]}'}, "should be hls or dash"),
    ({"transformation": '{"post": [{"type": "transformation", "value": "w-9"}]}'}, "to images and videos only"),
    ({"checks": '"file.size" <'}, "Your request contains invalid checks parameter."),
    ({"checks": '"request.customMetadata.day" > 99999y'}, "There is no field"),
    ({"checks": '"file.colour" = "red"'}, "There is no field `file.colour`."),
    ({"checks": '"file.size" < "large"'}, "`large` is no size"),
)  # fmt: skip


async def test_fields_that_cannot_be_read(ik: Desk) -> None:
    before = await ik.house.leftovers()
    for changed, wanted in BAD_FIELDS:
        fields = {"fileName": "a.txt", **changed}
        status, message = await refused(ik, [FILE, *fields.items()])
        assert (status, wanted in message) == (400, True), (changed, message)
    assert await ik.house.leftovers() == before


async def test_files_that_are_none(ik: Desk) -> None:
    missing = (400, "Your request is missing file parameter.")
    assert await refused(ik, [NAME]) == missing
    assert await refused(ik, [("file", ""), NAME]) == missing
    assert await refused(ik, [("file", b"", "a.txt"), NAME]) == missing
    assert await ik.refusal("POST", UPLOAD) == missing
    assert (await refused(ik, [FILE, FILE, NAME]))[0] == 400
    assert (await refused(ik, [("file", "data:image/png;base64,?!"), NAME]))[0] == 400
    assert (await ik.refusal("POST", UPLOAD, {"file": "x", "fileName": "a"}))[0] == 400
    broken = Multipart().field("file", b"x", "a").open()
    assert (await ik.refusal("POST", UPLOAD, broken["data"], headers=broken["headers"]))[0] == 400
    too_large = (400, "Your request contains invalid file parameter. The file size exceeds limits.")
    large = b"\xff" * (2_000_000 + 1)
    assert await refused(ik, [("file", large, "a.bin"), NAME]) == too_large
    assert await refused(ik, [NAME, *signed().items(), ("file", large, "a.bin")], key=None) == too_large
    assert (await refused(ik, [FILE, NAME], key="private_pictures_key"))[0] == 400
    region = {"fileName": "a.jpg", "customCoordinates": "100,70,50,50"}
    assert (await refused(ik, [("file", photo(120, 80), "a.jpg"), *region.items()]))[1].endswith("120 x 80 pixels.")


async def test_what_is_there_is_not_replaced_against_its_will(ik: Desk) -> None:
    await ik.upload(b"first", "a.txt")
    given = {"fileName": "a.txt", "useUniqueFileName": "false", "overwriteFile": "false"}
    status, message = await refused(ik, [FILE, *given.items()])
    assert (status, "because both overwriteFile and useUniqueFileName are set to false" in message) == (400, True)
    assert (await ik.ok("POST", UPLOAD, form([FILE, *given.items(), ("folder", "b")])))["filePath"] == "/b/a.txt"


async def test_a_file_has_a_hundred_versions_at_most(ik: Desk) -> None:
    made = await ik.upload(b"first", "a.txt")
    records, id = ik.house.core.records, made["fileId"]
    first = await records.lineages.get("demo", id)
    for number in range(2, 101):
        copy = first.model_copy(update={"id": f"{number:08x}{first.id[8:]}", "lineage": id, "version": number})
        await records.files.create(copy)
    status, message = await refused(ik, [FILE, NAME, ("useUniqueFileName", "false")])
    assert (status, message) == (400, "A file can have a maximum of 100 versions.")


@pytest.fixture(scope="module")
async def elsewhere() -> AsyncIterator[str]:
    """A server that answers late, with errors, with nothing, or with too much."""

    async def answer(request: web.Request) -> web.StreamResponse:
        name = request.match_info["name"]
        if name == "silent":
            await asyncio.sleep(0.6)
        if name == "large":
            return web.Response(body=b"\xff" * 4_100_000)
        return web.Response(status={"gone": 404, "ill": 500}.get(name, 200), body=b"")

    app = web.Application()
    app.router.add_get("/{name}", answer)
    async with answering(app) as port:
        yield f"http://127.0.0.1:{port}"


async def test_addresses_at_which_nothing_is_found(ik: Desk, elsewhere: str) -> None:
    wanted = "Your request contains invalid file parameter. The file could not be downloaded"
    for name in ("gone", "ill"):
        status, message = await refused(ik, [("file", f"{elsewhere}/{name}"), NAME])
        assert (status, message.startswith(wanted)) == (400, True), message
    for url in ("http://[::1]:1/x", "https://127.0.0.1:1/"):
        assert (await refused(ik, [("file", url), NAME]))[0] == 400
    assert (await refused(ik, [("file", f"{elsewhere}/empty"), NAME]))[0] == 400
    assert "exceeds limits" in (await refused(ik, [("file", f"{elsewhere}/large"), NAME]))[1]
    inside = await refused(ik, [("file", f"{elsewhere}/gone"), NAME], key="private_other_key")
    assert (inside[0], inside[1].startswith(wanted)) == (400, True)


async def test_a_source_has_eight_seconds_to_answer(ik: Desk, elsewhere: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert content.TO_HEADERS == 8
    monkeypatch.setattr(content, "TO_HEADERS", 0.2)
    status, message = await refused(ik, [("file", f"{elsewhere}/silent"), NAME])
    assert (status, "sent nothing for 0.2 seconds" in message) == (400, True)


async def test_what_is_no_address_here(ik: Desk) -> None:
    assert (await ik.refusal("GET", "/imagekit/v1/nothing"))[0] == 404
    answer = await ik.send("PUT", UPLOAD)
    assert (answer.status, set(answer.document)) == (405, {"message", "help"})
    session, url = ik.house.session, ik.house.base + UPLOAD
    asking = {"Origin": "https://page.example", "Access-Control-Request-Method": "POST"}
    async with session.options(url, headers=asking) as allowed:
        assert (allowed.status, allowed.headers["Access-Control-Allow-Origin"]) == (204, "*")


async def test_too_many_requests(ik: Desk) -> None:
    answers = [await ik.send("POST", UPLOAD, form([FILE, NAME]), key="private_slow_key") for _ in range(2)]
    assert [answer.status for answer in answers] == [200, 429]
    headers = answers[1].headers
    assert (headers["X-RateLimit-Limit"], headers["X-RateLimit-Interval"]) == ("1", "60000")
    assert int(headers["X-RateLimit-Reset"]) == int(headers["Retry-After"]) * 1000
    assert headers["x-should-retry"] == "true"
    assert all(value for value in headers.values())  # a client cannot read empty ones


def test_nothing_a_user_did_wrong_has_a_status_that_clients_try_again() -> None:
    for kind in every_error():
        error = kind(**dict.fromkeys(re.findall(r"{(\w+)", kind.sentence), "x"))
        status, message = row_of(error)
        assert message
        if error.status < 500 and not isinstance(error, UploadBusy | UploadTakenOver):
            assert status in (400, 401, 403, 404, 405, 408, 429), kind


def test_queries_that_cannot_be_read() -> None:
    for text in ("", "a", "a =", "a = 1 b = 2", "(a = 1", "a = 1)", 'a = "x', "a IN []", "a IN [1", "a NOT < 1",
                 "1a = 2", "a = ,", "(" * 21 + "a=1" + ")" * 21, " AND ".join(["a=1"] * 201)):  # fmt: skip
        with pytest.raises(QueryInvalid):
            parse(text)
